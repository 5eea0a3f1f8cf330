"""
How the benchmarks are loaded: what they share as they import it themselves, the commands without running them.
"""

import importlib
from pathlib import Path

import pytest
from tree import load_script


@pytest.fixture(scope="session")
def benchmark_file():
    """A function that loads a file of benchmarks as a module without running it."""
    load_script("benchmarks", "services")  # from now on, what lies beside it is found

    def load(name):
        return importlib.import_module(Path(name).stem) if Path(name).suffix else load_script("benchmarks", name)

    return load
