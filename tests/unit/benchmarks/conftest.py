"""
How the benchmarks are loaded: some have no suffix, and all find what they share beside themselves and in bin.
"""

import importlib
import importlib.machinery
import importlib.util
import sys

import pytest
from tree import TREE

FOLDERS = [str(TREE / "benchmarks"), str(TREE / "bin")]


@pytest.fixture(scope="session")
def benchmark_file():
    """A function that loads a file of benchmarks as a module without running it."""

    def load(name):
        path = TREE / "benchmarks" / name
        if path.suffix:
            return importlib.import_module(path.stem)
        loader = importlib.machinery.SourceFileLoader(f"rick_benchmarks_{name}", str(path))
        spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
        module = importlib.util.module_from_spec(spec)
        # A dataclass looks its module up by name.
        sys.modules[loader.name] = module
        loader.exec_module(module)
        return module

    sys.path[:0] = FOLDERS
    yield load
    for folder in FOLDERS:
        sys.path.remove(folder)
