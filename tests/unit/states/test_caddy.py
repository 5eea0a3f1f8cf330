"""
Caddy's states: what they answer in both modes, from the differences that the execution module sees.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

caddy = load("states", "caddy")

CHANGE = {"/etc/caddy/sites-enabled/notes.caddy": {"diff": "+x"}}
STATES = {
    "configuration_present": {"text": "x"},
    "site_present": {"site": {"domains": ["notes.example.org"], "upstream": "127.0.0.1:8080"}},
    "site_absent": {},
}


class Host:
    def __init__(self, fine=False):
        self.fine, self.acted, self.checked, self.deaf, self.error = fine, [], [], False, None

    def functions(self):
        return {
            "caddy.configuration_differences": self.differences,
            "caddy.site_differences": self.differences,
            "caddy.site_remnants": self.differences,
            "caddy.configuration_apply": self.act,
            "caddy.site_apply": self.act,
            "caddy.site_remove": self.act,
        }

    def differences(self, *_arguments, check=None, plan=True):
        self.checked.append(check)
        if isinstance(self.error, SaltInvocationError):
            raise self.error
        return {} if self.fine else dict(CHANGE)

    def act(self, *arguments):
        if self.error:
            raise self.error
        self.acted.append(arguments)
        self.fine = not self.deaf
        return True


@pytest.fixture
def apply(monkeypatch, results):
    def apply(function, host, test):
        monkeypatch.setattr(caddy, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(caddy, "__utils__", results, raising=False)
        monkeypatch.setattr(caddy, "__opts__", {"test": test}, raising=False)
        result = getattr(caddy, function)("notes", **STATES[function])
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
    assert plan["changes"] == done["changes"] == CHANGE
    assert apply(function, host, test=False)["changes"] == {}


@pytest.mark.parametrize("function", ["configuration_present", "site_present"])
def test_caddy_is_asked_in_a_plan_and_not_twice_in_a_run(apply, function):
    host = Host()
    apply(function, host, test=True)
    assert host.checked == [True]
    apply(function, host, test=False)
    assert host.checked == [True, False, False]


@pytest.mark.parametrize("function", STATES)
def test_a_change_that_does_not_take_is_a_failure_that_tells_what_is_left(apply, function):
    host = Host()
    host.deaf = True
    result = apply(function, host, test=False)
    assert result["result"] is False
    assert "still different" in result["comment"]


@pytest.mark.parametrize("function", STATES)
def test_what_caddy_refuses_is_a_failure_in_its_words(apply, function):
    host = Host()
    host.error = CommandExecutionError("unrecognized directive: nonsense")
    result = apply(function, host, test=False)
    assert (result["result"], result["changes"]) == (False, {})
    assert "unrecognized directive: nonsense" in result["comment"]


@pytest.mark.parametrize("test", [True, False])
def test_bad_input_fails_in_a_plan_too_and_changes_nothing(apply, test):
    host = Host()
    host.error = SaltInvocationError("service notes: site: domains")
    result = apply("site_present", host, test)
    assert (result["result"], host.acted) == (False, [])
    assert "service notes: site: domains" in result["comment"]


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(
    ("kept", "untaken", "acted"),
    [
        (None, None, []),
        ({"site": None}, None, [("notes",)]),
        ({"site": {"domains": ["a.test", "b.test"]}}, {"domains": ["a.test"]}, [("notes", {"domains": ["a.test"]})]),
        ({"site": {"domains": ["a.test"]}}, None, [("notes",)]),
    ],
    ids=["never healthy", "without a site", "one domain is another's now", "all domains are"],
)
def test_the_site_that_is_kept_is_that_of_the_last_healthy_generation(monkeypatch, results, test, kept, untaken, acted):
    host = Host()
    functions = {
        **host.functions(),
        "generation.show": lambda name: kept,
        "caddy.site_untaken": lambda name, site: untaken,
    }
    for name, value in (("__salt__", functions), ("__utils__", results), ("__opts__", {"test": test})):
        monkeypatch.setattr(caddy, name, value, raising=False)
    answer = caddy.site_kept("notes")
    assert answer["changes"] == (CHANGE if acted else {})
    assert host.acted == ([] if test else acted)


def test_a_generation_that_cannot_be_read_is_a_failure(monkeypatch, results):
    def unreadable(name):
        raise CommandExecutionError("healthy.json: Input/output error")

    for name, value in (("__salt__", {"generation.show": unreadable}), ("__utils__", results)):
        monkeypatch.setattr(caddy, name, value, raising=False)
    assert "Input/output error" in caddy.site_kept("notes")["comment"]


@pytest.mark.parametrize("test", [True, False])
def test_a_site_is_judged_before_anything_is_changed(monkeypatch, results, test):
    host = Host()
    for name, value in (("__salt__", host.functions()), ("__utils__", results), ("__opts__", {"test": test})):
        monkeypatch.setattr(caddy, name, value, raising=False)
    answer = caddy.site_acceptable("notes", STATES["site_present"]["site"])
    assert (answer["result"], answer["changes"], host.acted) == (True, {}, [])
    host.error = SaltInvocationError("service notes: site: unrecognized directive")
    answer = caddy.site_acceptable("notes", STATES["site_present"]["site"])
    assert (answer["result"], answer["changes"], host.acted) == (False, {}, [])
    assert "unrecognized directive" in answer["comment"]
