"""
The example application's modules, as Python finds them in its image: beside each other, not in a package.
"""

import sys
from pathlib import Path

import pytest

APPLICATION = Path(__file__).resolve().parents[3] / "examples" / "notes" / "app"


@pytest.fixture(scope="session", autouse=True)
def application_path():
    """Make ``import notes`` work for these tests only."""
    sys.path.insert(0, str(APPLICATION))
    yield
    sys.path.remove(str(APPLICATION))


@pytest.fixture
def notes(application_path, monkeypatch):
    """The module of the web application, its log kept from Salt's handlers, which outlive the test's streams."""
    import notes

    monkeypatch.setattr(notes.log, "propagate", False)
    return notes


@pytest.fixture
def stores(application_path):
    """The module of the two stores."""
    import stores

    return stores


@pytest.fixture
def identity(application_path):
    """The module that describes the process."""
    import identity

    return identity
