"""
How the commands in bin are loaded.
"""

import pytest
from tree import load_script


@pytest.fixture(scope="session")
def command():
    """A function that loads a file of bin as a module without running it."""
    return lambda name: load_script("bin", name)
