"""
An invalid catalogue fails one state, which all services require.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

catalogue = load("states", "catalogue")


@pytest.fixture
def valid(monkeypatch, results):
    def apply(problems, test):
        def asked():
            if isinstance(problems, Exception):
                raise problems
            return problems

        salt = {"catalogue.problems": asked, "catalogue.check": lambda: "2 services, no errors"}
        for name, value in {"__salt__": salt, "__utils__": results, "__opts__": {"test": test}}.items():
            monkeypatch.setattr(catalogue, name, value, raising=False)
        return catalogue.valid("The catalogue is valid")

    return apply


@pytest.mark.parametrize("test", [True, False])
def test_a_valid_catalogue_changes_nothing(valid, test):
    assert valid([], test) == {
        "name": "The catalogue is valid",
        "result": True,
        "changes": {},
        "comment": "2 services, no errors",
    }


@pytest.mark.parametrize("test", [True, False])
def test_every_error_is_in_the_comment(valid, test):
    answer = valid(["rick:services:a: one", "rick:services:b: two"], test)
    assert answer["result"] is False
    assert answer["comment"] == "rick:services:a: one\nrick:services:b: two"


@pytest.mark.parametrize("test", [True, False])
def test_what_cannot_be_asked_is_a_failure(valid, test):
    answer = valid(CommandExecutionError("no pillar"), test)
    assert (answer["result"], answer["comment"]) == (False, "no pillar")
