"""
What all tests share.
"""

import sys

import pytest
import salt
from hypothesis import HealthCheck, settings
from tree import load

# Salt puts an importer of the old kind in front, which Python passes over and pytest does not.
assert salt
sys.meta_path[:] = [importer for importer in sys.meta_path if hasattr(importer, "find_spec")]

# Lab machines share the processors with these tests: how long an example takes says nothing about it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(scope="session")
def results():
    """The functions that states answer with, under the names ``__utils__`` gives them."""
    module = load("utils", "results")
    return {
        f"results.{name}": getattr(module, name)
        for name in ("planned_files", "unchanged", "planned", "changed", "failed", "converge")
    }
