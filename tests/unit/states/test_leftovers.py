"""
The state that takes away what is declared no more.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

states = load("states", "leftovers")
LEFT = {"role notes": {"old": "can log in", "new": "locked"}}


@pytest.fixture
def apply(monkeypatch, results):
    def run(there, test=False, obedient=True, error=None):
        found = dict(there)

        def of(_name, _service):
            if error:
                raise CommandExecutionError(error)
            return dict(found)

        def remove(_name, _service):
            if obedient:
                found.clear()

        salt = {"leftovers.of": of, "leftovers.remove": remove}
        for name, value in (("__salt__", salt), ("__utils__", results), ("__opts__", {"test": test})):
            monkeypatch.setattr(states, name, value, raising=False)
        return states.absent("notes", {}), found

    return run


@pytest.mark.parametrize("test_mode", [True, False])
def test_nothing_left_is_no_change(apply, test_mode):
    answer, _ = apply({}, test=test_mode)
    assert (answer["result"], answer["changes"]) == (True, {})


def test_a_plan_is_what_the_run_takes_away(apply):
    planned, there = apply(LEFT, test=True)
    assert (planned["result"], planned["changes"], there) == (None, LEFT, LEFT)
    done, there = apply(LEFT)
    assert (done["result"], done["changes"], there) == (True, LEFT, {})


def test_what_does_not_go_and_what_cannot_be_asked_are_failures(apply):
    answer, _ = apply(LEFT, obedient=False)
    assert answer["result"] is False
    assert "role notes" in answer["comment"]
    answer, _ = apply(LEFT, error="nobody listens")
    assert (answer["result"], answer["comment"]) == (False, "nobody listens")
