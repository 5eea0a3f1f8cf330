"""
What all tests share.
"""

import pytest
from tree import load


@pytest.fixture(scope="session")
def results():
    """The functions that states answer with, under the names ``__utils__`` gives them."""
    module = load("utils", "results")
    return {f"results.{name}": getattr(module, name) for name in ("unchanged", "planned", "changed", "failed")}
