"""
What all tests share.
"""

import sys

import pytest
import salt
from tree import load

# Salt puts an importer of the old kind in front, which Python passes over and pytest does not.
assert salt
sys.meta_path[:] = [importer for importer in sys.meta_path if hasattr(importer, "find_spec")]


@pytest.fixture(scope="session")
def results():
    """The functions that states answer with, under the names ``__utils__`` gives them."""
    module = load("utils", "results")
    return {
        f"results.{name}": getattr(module, name)
        for name in ("planned_files", "unchanged", "planned", "changed", "failed")
    }
