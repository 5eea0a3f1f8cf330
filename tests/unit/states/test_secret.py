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
