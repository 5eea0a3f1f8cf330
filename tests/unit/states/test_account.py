"""
The states of accounts, in both modes.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

account = load("states", "account")

CHANGES = {"user notes": {"old": None, "new": "made"}}
BOTH = pytest.mark.parametrize("function", ["present", "absent"])


class Host:
    def __init__(self, changes):
        self.changes, self.error, self.deaf, self.given = changes, {}, False, []

    def functions(self):
        ask, act = (lambda *given: self.answer("ask")), self.act
        return {"account.differences": ask, "account.remnants": ask, "account.create": act, "account.remove": act}

    def answer(self, step):
        if step in self.error:
            raise self.error[step]
        return dict(self.changes)

    def act(self, *given):
        changes = self.answer("act")
        self.given.append(given)
        if not self.deaf:
            self.changes = {}
        return changes


@pytest.fixture
def apply(monkeypatch, results):
    def apply(function, host, test, **arguments):
        monkeypatch.setattr(account, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(account, "__utils__", results, raising=False)
        monkeypatch.setattr(account, "__opts__", {"test": test}, raising=False)
        return getattr(account, function)("notes", **arguments)

    return apply


@BOTH
@pytest.mark.parametrize("test_mode", [True, False])
def test_what_is_as_declared_is_left_alone(apply, function, test_mode):
    host = Host({})
    result = apply(function, host, test_mode)
    assert (result["result"], result["changes"], host.given) == (True, {}, [])


@BOTH
def test_what_is_planned_is_what_is_done(apply, function):
    host = Host(CHANGES)
    planned = apply(function, host, True)
    assert (planned["result"], planned["changes"], host.given) == (None, CHANGES, [])
    done = apply(function, host, False)
    assert (done["result"], done["changes"]) == (True, CHANGES)
    assert len(host.given) == 1


@BOTH
@pytest.mark.parametrize("error", [CommandExecutionError("taken"), SaltInvocationError("taken")])
@pytest.mark.parametrize(("test_mode", "step"), [(True, "ask"), (False, "ask"), (False, "act")])
def test_a_refusal_is_a_failure(apply, function, error, test_mode, step):
    host = Host(CHANGES)
    host.error = {step: error}
    result = apply(function, host, test_mode)
    assert (result["result"], result["comment"], host.given) == (False, "taken", [])


@BOTH
def test_what_is_not_so_after_all_is_a_failure(apply, function):
    host = Host(CHANGES)
    host.deaf = True
    result = apply(function, host, False)
    assert result["result"] is False
    assert "user notes" in result["comment"]
    assert result["changes"] == CHANGES


def test_everything_declared_reaches_the_module(apply):
    host = Host(CHANGES)
    directories = [{"path": "/opt/notes/data"}]
    apply("present", host, False, uid=1500, home="/srv/notes", groups=["a"], directories=directories)
    assert host.given == [("notes", 1500, "/srv/notes", ["a"], directories)]


@pytest.mark.parametrize(("data", "words"), [("keep", "locked"), ("archive", "archive"), ("delete", "deleted")])
@pytest.mark.parametrize("test_mode", [True, False])
def test_what_becomes_of_the_files_is_said(apply, data, words, test_mode):
    assert words in apply("absent", Host(CHANGES), test_mode, data=data)["comment"]
