"""
How the commands in bin are loaded: they have no suffix, and find what they share beside themselves.
"""

import importlib.machinery
import importlib.util
import sys

import pytest
from tree import TREE


@pytest.fixture(scope="session")
def command():
    """A function that loads a file of bin as a module without running it."""

    def load(name):
        path = TREE / "bin" / name
        loader = importlib.machinery.SourceFileLoader(f"rick_bin_{path.stem}", str(path))
        spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
        module = importlib.util.module_from_spec(spec)
        # A dataclass looks its module up by name.
        sys.modules[loader.name] = module
        loader.exec_module(module)
        return module

    sys.path.insert(0, str(TREE / "bin"))
    yield load
    sys.path.remove(str(TREE / "bin"))
