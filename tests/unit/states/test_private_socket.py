"""
The states of private sockets, in both modes.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

states = load("states", "private_socket")

TARGET = "/run/postgresql/.s.PGSQL.5432"
CHANGES = {"/run/rick-infra/notes": {"old": None, "new": "root:root 0755"}}

BOTH_MODES = pytest.mark.parametrize("test_mode", [True, False])


class Host:
    """Answers for the execution module, and remembers what was done."""

    def __init__(self):
        self.pending = {}
        self.error = None
        self.stubborn = False
        self.done = []

    def look(self, *_):
        if isinstance(self.error, SaltInvocationError):
            raise self.error
        return self.pending

    def do(self, *arguments):
        if self.error:
            raise self.error
        self.done.append(arguments)
        changes = self.pending
        if not self.stubborn:
            self.pending = {}
        return changes


@pytest.fixture
def host(monkeypatch, results):
    found = Host()
    salt = {
        "private_socket.differences": found.look,
        "private_socket.create": found.do,
        "private_socket.remnants": found.look,
        "private_socket.remove": found.do,
    }
    monkeypatch.setattr(states, "__salt__", salt, raising=False)
    monkeypatch.setattr(states, "__utils__", results, raising=False)
    monkeypatch.setattr(states, "__opts__", {"test": False}, raising=False)
    return found


@pytest.fixture(params=["present", "absent"])
def apply(request, host):
    """Apply either state in a mode."""
    arguments = {"present": ("notes", TARGET, "notes", "postgres-clients"), "absent": ("notes", TARGET)}

    def run(test_mode):
        states.__opts__["test"] = test_mode
        return getattr(states, request.param)(*arguments[request.param])

    return run


@BOTH_MODES
def test_nothing_to_do_is_no_change(host, apply, test_mode):
    answer = apply(test_mode)
    assert answer["result"] is True
    assert answer["changes"] == {}
    assert host.done == []


def test_what_is_planned_is_what_is_changed(host, apply):
    host.pending = CHANGES
    plan = apply(True)
    assert plan["result"] is None
    assert host.done == []
    change = apply(False)
    assert change["result"] is True
    assert change["changes"] == plan["changes"] == CHANGES
    assert apply(False)["changes"] == {}


def test_what_does_not_come_true_is_a_failure_that_shows_what_was_done(host, apply):
    host.pending = CHANGES
    host.stubborn = True
    answer = apply(False)
    assert answer["result"] is False
    assert "/run/rick-infra/notes" in answer["comment"]
    assert answer["changes"] == CHANGES


def test_an_error_fails_the_state_in_its_own_words(host, apply):
    host.pending = CHANGES
    host.error = CommandExecutionError("user notes does not exist")
    assert apply(True)["result"] is None
    answer = apply(False)
    assert answer["result"] is False
    assert answer["comment"] == "user notes does not exist"


@BOTH_MODES
def test_bad_arguments_fail_in_both_modes(host, apply, test_mode):
    host.error = SaltInvocationError("'run/s' is not an absolute path")
    answer = apply(test_mode)
    assert answer["result"] is False
    assert "not an absolute path" in answer["comment"]


class Sockets:
    """A service's private sockets: what is there, and what was done about it."""

    def __init__(self, there=()):
        self.there = set(there)

    def differences(self, _name, target, **_):
        return {} if target in self.there else {target: {"old": None, "new": "listening"}}

    def undeclared(self, _name, targets):
        return [{"target": target, "kind": "x"} for target in sorted(self.there - set(targets))]

    def remnants(self, _name, target, kind):
        return {target: {"old": kind, "new": None}}

    def create(self, _name, target, **_):
        changes = self.differences(_name, target)
        self.there.add(target)
        return changes

    def remove(self, _name, target, kind):
        self.there.discard(target)
        return {target: {"old": kind, "new": None}}


@pytest.fixture
def sockets(monkeypatch, host):
    made = Sockets()
    functions = ("differences", "undeclared", "remnants", "create", "remove")
    salt = {f"private_socket.{name}": getattr(made, name) for name in functions}
    monkeypatch.setattr(states, "__salt__", salt)
    return made


WANTED = [{"target": TARGET, "user": "notes", "group": "postgres-clients"}]
OTHER = "/run/valkey/valkey.sock"


@BOTH_MODES
def test_all_of_a_services_sockets_are_made_and_others_of_its_name_stay(monkeypatch, sockets, test_mode):
    monkeypatch.setitem(states.__opts__, "test", test_mode)
    sockets.there = {OTHER}
    answer = states.all_present("notes", WANTED)
    assert answer["result"] is (None if test_mode else True)
    assert set(answer["changes"]) == {TARGET}
    assert sockets.there == ({OTHER} if test_mode else {OTHER, TARGET})


@BOTH_MODES
def test_all_of_a_services_sockets_are_removed(monkeypatch, sockets, test_mode):
    monkeypatch.setitem(states.__opts__, "test", test_mode)
    sockets.there = {OTHER, TARGET}
    answer = states.all_absent("notes")
    assert answer["result"] is (None if test_mode else True)
    assert set(answer["changes"]) == {TARGET, OTHER}
    assert sockets.there == ({OTHER, TARGET} if test_mode else set())
    if not test_mode:
        assert states.all_absent("notes")["changes"] == {}


@BOTH_MODES
@pytest.mark.parametrize(("wanted", "there"), [(WANTED, {TARGET}), ([], set())])
def test_sockets_that_are_as_declared_are_left_alone(monkeypatch, sockets, test_mode, wanted, there):
    monkeypatch.setitem(states.__opts__, "test", test_mode)
    sockets.there = there
    answer = states.all_present("notes", wanted)
    assert (answer["result"], answer["changes"]) == (True, {})


def test_a_socket_that_is_made_and_still_differs_is_a_failure(monkeypatch, sockets):
    monkeypatch.setitem(states.__salt__, "private_socket.create", lambda *_, **__: {})
    answer = states.all_present("notes", WANTED)
    assert answer["result"] is False
    assert TARGET in answer["comment"]
