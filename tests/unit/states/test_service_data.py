"""
The state that archives all data of a service before any of it is dropped.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

states = load("states", "service_data")
DATA = {"archive of notes": {"old": None, "new": "a proven dump"}}


@pytest.fixture
def apply(monkeypatch, results):
    def run(there, test=False, down=False, obedient=True):
        found, done = dict(there), []

        def archive(_name, _home):
            done.append("archive")
            if obedient:
                found.clear()
            return ["/a/notes/1.dump"]

        def require():
            if down:
                raise CommandExecutionError("nobody listens")

        salt = {
            "service_data.to_archive": lambda name, home: dict(found),
            "service_data.archive": archive,
            "service_data.require_servers": require,
        }
        for name, value in (("__salt__", salt), ("__utils__", results), ("__opts__", {"test": test})):
            monkeypatch.setattr(states, name, value, raising=False)
        return states.archived("notes"), done

    return run


@pytest.mark.parametrize("test", [True, False])
def test_without_data_nothing_is_done(apply, test):
    answer, done = apply({}, test)
    assert (answer["result"], answer["changes"], done) == (True, {}, [])


def test_a_plan_is_what_the_run_archives(apply):
    planned, done = apply(DATA, test=True)
    assert (planned["result"], planned["changes"], done) == (None, DATA, [])
    answer, done = apply(DATA)
    assert (answer["result"], answer["changes"], done) == (True, DATA, ["archive"])
    assert "/a/notes/1.dump" in answer["comment"]


def test_what_is_not_archived_is_a_failure(apply):
    answer, _ = apply(DATA, obedient=False)
    assert (answer["result"], answer["changes"]) == (False, DATA)


def test_a_server_that_cannot_be_asked_is_a_failure_in_a_run_only(apply):
    answer, done = apply({}, down=True)
    assert (answer["result"], answer["comment"], done) == (False, "nobody listens", [])
    assert apply({}, test=True, down=True)[0]["result"] is True
