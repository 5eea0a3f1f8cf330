"""
The states of Quadlet units, in both modes.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

states = load("states", "quadlet")

FILE = {"/etc/containers/systemd/notes.pod": {"diff": "+x"}}
WORK = {"notes.pod": {"old": "inactive", "new": "started"}}
BOTH_MODES = pytest.mark.parametrize("test_mode", [True, False])
KINDS = ("pod", "container", "volume", "network", "image")


class Host:
    """Answers for the execution module, and remembers what was done."""

    def __init__(self):
        self.pending = {}
        self.error = None
        self.stubborn = False
        self.missing = []
        self.done = []
        self.planned = []
        self.renewed = None

    def look(self, *arguments):
        if self.error:
            raise self.error
        if len(arguments) == 2 and isinstance(arguments[1], list):
            self.renewed = arguments[1]
        return self.pending

    def do(self, *arguments):
        if self.error:
            raise self.error
        changes = self.pending
        if changes:
            self.done.append(arguments)
        if not self.stubborn:
            self.pending = {}
        return changes

    def refuse(self, _units):
        if self.missing:
            raise CommandExecutionError("still needed")


@pytest.fixture
def host(monkeypatch, results):
    found = Host()
    salt = {
        "quadlet.render": lambda kind, name, **_: f"{kind} {name}",
        "quadlet.diff": found.look,
        "quadlet.write": found.do,
        "quadlet.plan": lambda file, text: found.planned.append((file, text)),
        "quadlet.pending": found.look,
        "quadlet.apply": found.do,
        "quadlet.missing_images": lambda _: found.missing,
        "quadlet.remnants": found.look,
        "quadlet.remove": found.do,
        "quadlet.check_removal": found.refuse,
    }
    monkeypatch.setattr(states, "__salt__", salt, raising=False)
    monkeypatch.setattr(states, "__utils__", results, raising=False)
    monkeypatch.setattr(states, "__opts__", {"test": False}, raising=False)
    monkeypatch.setattr(states, "__running__", {}, raising=False)
    return found


@pytest.fixture(params=[*KINDS, "running", "absent"])
def apply(request, host):
    """Apply any of the states in a mode."""

    def run(test_mode):
        states.__opts__["test"] = test_mode
        if request.param in KINDS:
            return getattr(states, request.param)("notes", definition={"X": {}})
        return getattr(states, request.param)("notes", units=["notes.pod"])

    return run


@BOTH_MODES
def test_nothing_to_do_is_no_change(host, apply, test_mode):
    answer = apply(test_mode)
    assert answer["result"] is True
    assert answer["changes"] == {}
    assert host.done == []


def test_what_is_planned_is_what_is_changed(host, apply):
    host.pending = FILE
    plan = apply(True)
    assert plan["result"] is None
    assert host.done == []
    changed = apply(False)
    assert changed["result"] is True
    assert changed["changes"] == plan["changes"] == FILE
    assert apply(False)["changes"] == {}


@BOTH_MODES
@pytest.mark.parametrize("error", [CommandExecutionError("why not"), SaltInvocationError("why not")])
def test_an_error_is_the_states_comment(host, apply, test_mode, error):
    host.pending, host.error = FILE, error
    answer = apply(test_mode)
    assert answer["result"] is False
    assert answer["comment"] == "why not"
    assert answer["changes"] == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_planned_file_is_known_to_later_states(host, kind):
    host.pending = FILE
    states.__opts__["test"] = True
    getattr(states, kind)("notes", definition={})
    assert host.planned == [(f"notes.{kind}", f"{kind} notes")]


def test_a_planned_removal_is_known_to_later_states(host):
    host.pending = FILE
    states.__opts__["test"] = True
    states.absent("x", ["notes.pod", "notes.network"])
    assert host.planned == [("notes.pod", None), ("notes.network", None)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_differs_after_writing_is_a_failure(host, kind):
    host.pending, host.stubborn = FILE, True
    answer = getattr(states, kind)("notes", definition={})
    assert answer["result"] is False
    assert answer["changes"] == FILE


def test_what_is_left_after_a_removal_is_a_failure(host):
    host.pending, host.stubborn = FILE, True
    answer = states.absent("x", ["notes.pod"])
    assert answer["result"] is False
    assert "/etc/containers/systemd/notes.pod" in answer["comment"]


def test_a_removal_that_is_refused_is_not_planned(host):
    host.pending, host.missing = FILE, ["wiki.container"]
    states.__opts__["test"] = True
    answer = states.absent("x", ["notes.pod"])
    assert answer["result"] is False
    assert host.planned == []


def test_a_plan_names_the_images_that_are_missing_yet(host):
    host.pending, host.missing = WORK, ["localhost/notes:1"]
    states.__opts__["test"] = True
    answer = states.running("x", ["notes.pod"])
    assert answer["result"] is None
    assert "localhost/notes:1" in answer["comment"]


def test_a_plan_counts_with_secrets_that_the_run_renews(host):
    states.__opts__["test"] = True
    states.__running__.update(
        {
            "secret_|-A_|-key_|-present": {"result": None},
            "secret_|-B_|-other_|-present": {"result": True},
            "secret_|-C_|-gone_|-absent": {"result": None},
            "file_|-D_|-/etc/x_|-managed": {"result": None},
        }
    )
    states.running("x", ["notes.pod"])
    assert host.renewed == ["key"]


def test_arguments_reach_the_renderer(host, monkeypatch):
    given = {}
    monkeypatch.setitem(
        states.__salt__, "quadlet.render", lambda *names, **arguments: given.update(arguments) or "text"
    )
    states.container("web", definition={"A": {}}, user="notes", socket_groups=["postgres-clients"])
    assert given == {
        "definition": {"A": {}},
        "source": None,
        "context": None,
        "user": "notes",
        "socket_groups": ["postgres-clients"],
    }
