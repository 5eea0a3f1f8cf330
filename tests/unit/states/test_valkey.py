"""
Valkey's states: what they answer in both modes, from the differences that the execution modules see.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

CHANGE = {"loaded": {"old": None, "new": "user notes on #..."}}
STATES = {
    "valkey.administrator_present": {},
    "valkey.settings_applied": {"settings": {"maxmemory": "64mb"}},
    "valkey_user.present": {"user": {"prefix": "notes:"}},
    "valkey_user.absent": {"data": "archive"},
    "valkey_instance.present": {"memory": 64},
    "valkey_instance.absent": {"data": "archive"},
}
NEED_A_SERVER = ("valkey.settings_applied", "valkey_user.present", "valkey_user.absent")


class Host:
    """A Valkey of which only is known whether Salt gets in, and whether it is as declared."""

    def __init__(self, administrator=True, fine=False, keys=False):
        self.administrator, self.fine = administrator, fine
        self.acted, self.deaf, self.error = [], False, None
        self.change = {"keys": {"old": "keys", "new": "archived"}} if keys else CHANGE

    def functions(self):
        return {
            "valkey.server": lambda: {"answers": self.administrator, "administrator": self.administrator},
            "valkey.reachable": self.reachable,
            "valkey.administrator_differences": self.differences,
            "valkey.administrator_apply": self.act,
            "valkey.settings_differences": self.differences,
            "valkey.settings_apply": self.act,
            "valkey_user.differences": self.differences,
            "valkey_user.apply": self.act,
            "valkey_user.remnants": self.differences,
            "valkey_user.remove": self.act,
            "valkey_instance.differences": self.differences,
            "valkey_instance.apply": self.act,
            "valkey_instance.remnants": self.differences,
            "valkey_instance.remove": self.act,
        }

    def reachable(self, instance=None):
        if not self.administrator:
            raise CommandExecutionError(f"nobody listens on the socket of {instance}")

    def differences(self, *_arguments, **_options):
        if isinstance(self.error, SaltInvocationError):
            raise self.error
        return {} if self.fine else {key: dict(change) for key, change in self.change.items()}

    def act(self, *arguments, **_options):
        if self.error:
            raise self.error
        self.acted.append(arguments)
        self.fine = not self.deaf
        return "/archive/notes/1"


@pytest.fixture
def apply(monkeypatch, results):
    def apply(function, host, test, **arguments):
        module, _, name = function.partition(".")
        state = load("states", module)
        monkeypatch.setattr(state, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(state, "__utils__", results, raising=False)
        monkeypatch.setattr(state, "__opts__", {"test": test}, raising=False)
        result = getattr(state, name)("notes", **{**STATES[function], **arguments})
        assert result["name"] == "notes"
        return result

    return apply


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("function", STATES)
def test_what_is_as_declared_is_left_alone(apply, function, test):
    host = Host(fine=True)
    result = apply(function, host, test)
    assert (result["result"], result["changes"], host.acted) == (True, {}, [])


@pytest.mark.parametrize("function", STATES)
def test_the_plan_is_what_the_run_changes(apply, function):
    host = Host()
    plan = apply(function, host, test=True)
    assert (plan["result"], host.acted) == (None, [])
    done = apply(function, host, test=False)
    assert (done["result"], len(host.acted)) == (True, 1)
    assert plan["changes"] != {}
    assert plan["changes"].items() <= done["changes"].items()
    assert apply(function, host, test=False)["changes"] == {}


@pytest.mark.parametrize("function", STATES)
def test_a_change_that_does_not_take_is_a_failure_that_tells_what_is_left(apply, function):
    host = Host()
    host.deaf = True
    result = apply(function, host, test=False)
    assert result["result"] is False
    assert "still different" in result["comment"]


@pytest.mark.parametrize("function", STATES)
def test_what_the_server_refuses_is_a_failure_in_its_words(apply, function):
    host = Host()
    host.error = CommandExecutionError("Unknown command or category name in ACL")
    result = apply(function, host, test=False)
    assert result["result"] is False
    assert "Unknown command" in result["comment"]


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("function", STATES)
def test_bad_input_fails_in_a_plan_too_and_changes_nothing(apply, function, test):
    host = Host()
    host.error = SaltInvocationError("valkey user notes: command rule 'nopass'")
    result = apply(function, host, test)
    assert (result["result"], host.acted) == (False, [])
    assert "nopass" in result["comment"]


@pytest.mark.parametrize("function", NEED_A_SERVER)
def test_without_a_server_a_run_fails_even_if_the_files_are_right(apply, function):
    host = Host(administrator=False, fine=True)
    result = apply(function, host, test=False)
    assert (result["result"], host.acted) == (False, [])
    assert "nobody listens" in result["comment"]


def test_a_user_of_an_instance_needs_that_server(apply):
    result = apply("valkey_user.present", Host(administrator=False), test=False, user={"isolation": "instance"})
    assert "socket of notes" in result["comment"]


def test_a_plan_for_a_user_meets_a_server_that_is_not_there_yet(apply):
    result = apply("valkey_user.present", Host(administrator=False), test=True)
    assert result["result"] is None


def test_what_was_never_there_and_keeps_its_data_needs_no_server(apply):
    result = apply("valkey_user.absent", Host(administrator=False, fine=True), test=False, data="keep")
    assert (result["result"], result["changes"]) == (True, {})


def test_the_administrator_needs_no_server_and_no_login(apply):
    host = Host(administrator=False)
    assert apply("valkey.administrator_present", host, test=False)["result"] is True
    assert len(host.acted) == 1


def test_a_server_that_will_be_started_has_no_settings_to_apply(apply):
    result = apply("valkey.settings_applied", Host(administrator=False), test=True)
    assert (result["result"], result["changes"]) == (True, {})


def test_the_archive_of_keys_is_named_where_it_was_made(apply):
    changes = apply("valkey_user.absent", Host(keys=True), test=False)["changes"]
    assert changes["keys"]["new"] == "archived: /archive/notes/1"


def test_the_archive_of_an_instance_is_named_where_it_was_made(apply):
    assert apply("valkey_instance.absent", Host(), test=False)["changes"]["archive"]["new"] == "/archive/notes/1"
