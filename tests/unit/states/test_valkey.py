"""
Valkey's states: what they answer in both modes, from the differences that the execution module sees.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

valkey = load("states", "valkey")

CHANGE = {"loaded": {"old": None, "new": "user notes on #..."}}
STATES = {
    "administrator_present": {},
    "user_present": {"keys": ["notes:*"]},
    "user_absent": {},
    "settings_applied": {"settings": {"maxmemory": "64mb"}},
}
NEED_A_SERVER = [name for name in STATES if name != "administrator_present"]


class Host:
    """A Valkey of which only is known whether it runs, whether Salt gets in, and whether it is as declared."""

    def __init__(self, answers=True, administrator=True, fine=False):
        self.answers, self.administrator, self.fine = answers, administrator, fine
        self.acted, self.deaf, self.error = [], False, None

    def functions(self):
        return {
            "valkey.server": lambda: {"answers": self.answers, "administrator": self.administrator},
            "valkey.administrator_differences": self.differences,
            "valkey.user_differences": self.differences,
            "valkey.settings_differences": self.differences,
            "valkey.user_exists": lambda name: [] if self.fine else ["file", "server"],
            "valkey.administrator_apply": self.act,
            "valkey.user_apply": self.act,
            "valkey.user_remove": self.act,
            "valkey.settings_apply": self.act,
        }

    def differences(self, *_arguments, **_options):
        if isinstance(self.error, SaltInvocationError):
            raise self.error
        return {} if self.fine else dict(CHANGE)

    def act(self, *arguments, **_options):
        if self.error:
            raise self.error
        self.acted.append(arguments)
        self.fine = not self.deaf
        return True


@pytest.fixture
def apply(monkeypatch, results):
    def apply(function, host, test):
        monkeypatch.setattr(valkey, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(valkey, "__utils__", results, raising=False)
        monkeypatch.setattr(valkey, "__opts__", {"test": test}, raising=False)
        result = getattr(valkey, function)("notes", **STATES[function])
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
    assert plan["changes"] == done["changes"] != {}
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
@pytest.mark.parametrize("function", ["user_present", "settings_applied"])
def test_bad_input_fails_in_a_plan_too_and_changes_nothing(apply, function, test):
    host = Host()
    host.error = SaltInvocationError("valkey user notes: command rule 'nopass'")
    result = apply(function, host, test)
    assert (result["result"], host.acted) == (False, [])
    assert "nopass" in result["comment"]


@pytest.mark.parametrize("function", NEED_A_SERVER)
def test_without_a_server_a_run_fails_and_names_what_should_have_come_before(apply, function):
    host = Host(answers=False, administrator=False)
    result = apply(function, host, test=False)
    assert (result["result"], host.acted) == (False, [])
    assert "valkey-server.service" in result["comment"]


@pytest.mark.parametrize("function", NEED_A_SERVER)
def test_without_its_login_a_run_fails_and_names_the_state_that_repairs_it(apply, function):
    host = Host(administrator=False)
    result = apply(function, host, test=False)
    assert (result["result"], host.acted) == (False, [])
    assert "administrator_present" in result["comment"]


@pytest.mark.parametrize("answers", [True, False])
def test_the_administrator_needs_no_server_and_no_login(apply, answers):
    host = Host(answers=answers, administrator=False)
    assert apply("administrator_present", host, test=False)["result"] is True
    assert len(host.acted) == 1


@pytest.mark.parametrize("answers", [True, False])
def test_a_server_that_will_be_started_has_no_settings_to_apply(apply, answers):
    result = apply("settings_applied", Host(answers=answers, administrator=False), test=True)
    assert (result["result"], result["changes"]) == (True, {})
