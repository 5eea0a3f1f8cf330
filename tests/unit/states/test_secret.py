"""
Secrets that a service needs, in both modes; no result shows a value.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

secret = load("states", "secret")

VALUE = "correct-horse-battery-staple"


class Host:
    """A host's file and Podman's copy of one secret."""

    def __init__(self, file=None, podman=None):
        self.file, self.podman = file, podman
        self.error, self.deaf = None, False
        self.made = 0

    def functions(self):
        return {
            "secret.exists": self.exists,
            "secret.delivered": lambda name: self.file is not None and self.podman == self.file,
            "secret.in_podman": lambda name: self.podman is not None,
            "secret.make": self.make,
            "secret.deliver": self.deliver,
            "secret.remove": self.remove,
        }

    def exists(self, name):
        if self.error == "exists":
            raise SaltInvocationError("secret '../x': use letters")
        return self.file is not None

    def make(self, name):
        if self.file is None:
            self.file = f"{VALUE}-{self.made}"
            self.made += 1

    def deliver(self, name):
        if self.error == "deliver":
            raise CommandExecutionError("podman secret create: no space left")
        if not self.deaf:
            self.podman = self.file

    def remove(self, name):
        if self.error == "remove":
            raise CommandExecutionError("podman secret rm: in use")
        self.file = self.podman = None


@pytest.fixture
def apply(monkeypatch, results):
    def apply(function, host, test):
        monkeypatch.setattr(secret, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(secret, "__utils__", results, raising=False)
        monkeypatch.setattr(secret, "__opts__", {"test": test}, raising=False)
        result = getattr(secret, function)("notes-valkey")
        assert VALUE not in repr(result)
        return result

    return apply


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_secret_that_is_there_and_delivered_is_left_alone(apply, test_mode):
    result = apply("present", Host(VALUE, VALUE), test_mode)
    assert (result["result"], result["changes"]) == (True, {})


@pytest.mark.parametrize(
    ("file", "podman", "changed"),
    [
        (None, None, {"file", "podman"}),
        (None, VALUE, {"file", "podman"}),  # the file was deleted to renew it
        (VALUE, None, {"podman"}),  # Podman lost it
        (VALUE, "another", {"podman"}),
    ],
)
def test_what_is_planned_is_what_is_done(apply, file, podman, changed):
    untouched = Host(file, podman)
    planned = apply("present", untouched, True)
    assert planned["result"] is None
    assert set(planned["changes"]) == changed
    assert (untouched.file, untouched.podman) == (file, podman)

    host = Host(file, podman)
    done = apply("present", host, False)
    assert done["result"] is True
    assert done["changes"] == planned["changes"]
    assert host.file is not None
    assert host.podman == host.file
    assert apply("present", host, True)["changes"] == {}


def test_a_deleted_file_renews_the_secret(apply):
    host = Host(None, VALUE)
    apply("present", host, False)
    assert host.podman != VALUE


@pytest.mark.parametrize("function", ["present", "absent"])
@pytest.mark.parametrize("test_mode", [True, False])
def test_a_bad_name_is_a_failure(apply, function, test_mode):
    host = Host()
    host.error = "exists"
    result = apply(function, host, test_mode)
    assert (result["result"], result["comment"]) == (False, "secret '../x': use letters")


def test_podman_s_refusal_is_a_failure(apply):
    host = Host()
    host.error = "deliver"
    result = apply("present", host, False)
    assert (result["result"], result["comment"]) == (False, "podman secret create: no space left")


def test_a_delivery_that_did_not_arrive_is_a_failure(apply):
    host = Host(VALUE)
    host.deaf = True
    assert apply("present", host, False)["result"] is False


@pytest.mark.parametrize("test_mode", [True, False])
def test_absent_what_is_absent(apply, test_mode):
    result = apply("absent", Host(), test_mode)
    assert (result["result"], result["changes"]) == (True, {})


@pytest.mark.parametrize("test_mode", [True, False])
@pytest.mark.parametrize(
    ("file", "podman", "changed"),
    [(VALUE, VALUE, {"file", "podman"}), (VALUE, None, {"file"}), (None, VALUE, {"podman"})],
)
def test_absent_removes_what_there_is(apply, test_mode, file, podman, changed):
    host = Host(file, podman)
    result = apply("absent", host, test_mode)
    assert result["result"] is (None if test_mode else True)
    assert set(result["changes"]) == changed
    assert (host.file, host.podman) == ((file, podman) if test_mode else (None, None))


def test_a_secret_that_cannot_be_removed_is_a_failure(apply):
    host = Host(VALUE, VALUE)
    host.error = "remove"
    result = apply("absent", host, False)
    assert (result["result"], result["comment"]) == (False, "podman secret rm: in use")


GIVEN = {"all_present": "all", "values_present": "values"}


class Service:
    """A host as the states of all secrets and values of a service see it; ``podman`` stands for one thing to change."""

    def __init__(self, changes):
        self.changes, self.error, self.deaf = dict(changes), None, False
        self.applied = []

    def functions(self):
        found = {}
        for kind in ("all", "values"):
            found[f"secret.{kind}_differences"] = lambda name, given: self.answer("differences")
            found[f"secret.{kind}_apply"] = lambda name, given: self.apply(given)
        found["secret.all_remnants"] = lambda name, keep_files: self.answer("differences")
        found["secret.all_remove"] = lambda name, keep_files: self.apply(keep_files)
        return found

    def answer(self, step):
        if self.error == step:
            raise CommandExecutionError("service notes: secret smtp: the pillar has no smtp:password")
        return dict(self.changes)

    def apply(self, given):
        changes = self.answer("apply")
        self.applied.append(given)
        if not self.deaf:
            self.changes = {}
        return changes


CHANGES = {"podman secret notes.token": {"old": None, "new": "delivered"}}


@pytest.fixture
def converge(monkeypatch, results):
    def converge(function, service, test, *arguments):
        monkeypatch.setattr(secret, "__salt__", service.functions(), raising=False)
        monkeypatch.setattr(secret, "__utils__", results, raising=False)
        monkeypatch.setattr(secret, "__opts__", {"test": test}, raising=False)
        return getattr(secret, function)("notes", *arguments)

    return converge


ALL = pytest.mark.parametrize("function", ["all_present", "values_present", "all_absent"])


@ALL
@pytest.mark.parametrize("test_mode", [True, False])
def test_a_service_as_declared_is_left_alone(converge, function, test_mode):
    service = Service({})
    result = converge(function, service, test_mode)
    assert (result["result"], result["changes"], service.applied) == (True, {}, [])


@ALL
def test_what_is_planned_for_a_service_is_what_is_done(converge, function):
    service = Service(CHANGES)
    planned = converge(function, service, True)
    assert (planned["result"], planned["changes"], service.applied) == (None, CHANGES, [])
    done = converge(function, service, False)
    assert (done["result"], done["changes"]) == (True, CHANGES)
    assert converge(function, service, True)["changes"] == {}


@ALL
@pytest.mark.parametrize(("test_mode", "step"), [(True, "differences"), (False, "differences"), (False, "apply")])
def test_a_secret_that_cannot_be_had_is_a_failure(converge, function, test_mode, step):
    service = Service(CHANGES)
    service.error = step
    result = converge(function, service, test_mode)
    assert result["result"] is False
    assert result["comment"] == "service notes: secret smtp: the pillar has no smtp:password"


@ALL
def test_what_did_not_arrive_is_a_failure(converge, function):
    service = Service(CHANGES)
    service.deaf = True
    result = converge(function, service, False)
    assert result["result"] is False
    assert "podman secret notes.token" in result["comment"]


@pytest.mark.parametrize("function", ["all_present", "values_present"])
def test_a_service_may_declare_nothing(converge, function):
    service = Service(CHANGES)
    converge(function, service, False)
    assert service.applied == [[]]


def test_files_are_kept_when_asked_for(converge):
    service = Service(CHANGES)
    converge("all_absent", service, False, True)
    assert service.applied == [True]
