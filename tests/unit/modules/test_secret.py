"""
Secrets: made once, delivered through a pipe, and never shown.
"""

import json
import subprocess
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

secret = load("modules", "secret")
secret_files = load("utils", "secret_files")

NAME = "notes-valkey"


class Podman:
    """Podman's secret store, as far as its command line goes; it notes every command line it saw."""

    def __init__(self):
        self.store = {}
        self.commands = []
        self.error = None

    def run(self, command, input=None, **_options):
        self.commands.append(command)
        if self.error:
            if isinstance(self.error, Exception):
                raise self.error
            return subprocess.CompletedProcess(command, 125, "", f"{self.error}\n")
        stdout = ""
        match command[2:]:
            case ["ls", *_]:
                stdout = "".join(f"{name}\n" for name in self.store)
            case ["inspect", "--showsecret", "--", *names]:
                stdout = json.dumps([{"Spec": {"Name": name}, "SecretData": self.store[name]} for name in names])
            case ["create", "--replace", name, "-"]:
                self.store[name] = input
            case ["rm", name]:
                del self.store[name]
            case _:
                raise AssertionError(command)
        return subprocess.CompletedProcess(command, 0, stdout, "")


@pytest.fixture
def podman(monkeypatch, tmp_path):
    podman = Podman()
    monkeypatch.setattr(secret.subprocess, "run", podman.run)
    monkeypatch.setattr(secret.shutil, "which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setattr(secret_files, "DIRECTORY", str(tmp_path / "secrets"))
    names = ("directory", "read", "create", "remove")
    utils = {f"secret_files.{name}": getattr(secret_files, name) for name in names}
    monkeypatch.setattr(secret, "__utils__", utils, raising=False)
    monkeypatch.setattr(secret, "__context__", {}, raising=False)
    return podman


def value():
    return Path(secret.path(NAME)).read_text().strip()


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "../etc/shadow", "a/b", "a b", "a\n", "a" * 254, None, 7])
def test_what_is_no_name_is_refused(podman, name):
    with pytest.raises(SaltInvocationError, match="use letters, digits and"):
        secret.path(name)


def test_the_path_is_in_the_tree_s_own_directory(podman, tmp_path):
    assert secret.path(NAME) == f"{tmp_path}/secrets/{NAME}"


def test_a_secret_is_made_once(podman):
    assert secret.exists(NAME) is False
    assert secret.make(NAME) is True
    first = value()
    assert secret.exists(NAME) is True
    assert secret.make(NAME) is False
    assert value() == first
    assert len(first) >= 43, "256 bits"
    assert Path(secret.path(NAME)).stat().st_mode & 0o777 == 0o600


def test_what_is_delivered_is_the_file_s_value(podman):
    secret.make(NAME)
    assert secret.delivered(NAME) is False
    secret.deliver(NAME)
    assert podman.store == {NAME: value()}
    assert secret.delivered(NAME) is True
    assert secret.in_podman(NAME) is True


@pytest.mark.parametrize("podman_has", [None, "another value, longer than sixteen"])
def test_a_secret_that_podman_lost_or_has_otherwise_is_not_delivered(podman, podman_has):
    secret.make(NAME)
    if podman_has:
        podman.store[NAME] = podman_has
    assert secret.delivered(NAME) is False


def test_a_deleted_file_is_a_new_secret(podman):
    secret.make(NAME)
    secret.deliver(NAME)
    before = value()
    Path(secret.path(NAME)).unlink()
    assert secret.exists(NAME) is False
    assert secret.delivered(NAME) is False
    secret.make(NAME)
    assert value() != before
    assert secret.delivered(NAME) is False


def test_delivering_what_does_not_exist_says_how_to_make_it(podman):
    with pytest.raises(CommandExecutionError, match=r"make it: salt-call secret\.make notes-valkey"):
        secret.deliver(NAME)
    assert podman.commands == []


def test_removing_takes_both_away_and_works_twice(podman):
    secret.make(NAME)
    secret.deliver(NAME)
    for _ in range(2):
        secret.remove(NAME)
        assert podman.store == {}
        assert secret.exists(NAME) is False
        assert secret.in_podman(NAME) is False


def test_podman_is_asked_once_a_run(podman):
    podman.store = {"a": "x" * 20, "b": "y" * 20}
    for name in ("a", "b", "c"):
        secret.delivered(name)
        secret.in_podman(name)
    assert [command[2] for command in podman.commands] == ["ls", "inspect"]


def test_before_podman_is_installed_nothing_is_delivered(podman, monkeypatch):
    monkeypatch.setattr(secret.shutil, "which", lambda command: None)
    secret.make(NAME)
    assert secret.delivered(NAME) is False
    assert podman.commands == []


def test_no_command_line_and_no_answer_shows_a_value(podman):
    podman.store["another"] = "its value is nobody's business"
    answers = [secret.exists(NAME), secret.make(NAME), secret.delivered(NAME), secret.deliver(NAME)]
    shown = value()
    answers += [secret.delivered(NAME), secret.in_podman(NAME), secret.make(NAME), secret.path(NAME)]
    kept = secret.__context__
    answers.append(secret.remove(NAME))
    everything = repr((podman.commands, answers, kept))
    assert shown not in everything
    assert "nobody's business" not in everything


@pytest.mark.parametrize(
    "error", ["no such driver", subprocess.TimeoutExpired(["podman", "secret"], 60), FileNotFoundError("podman")]
)
@pytest.mark.parametrize("function", [secret.delivered, secret.in_podman, secret.deliver, secret.remove])
def test_podman_s_failure_is_told_without_the_value(podman, error, function):
    secret.make(NAME)
    podman.error = error
    with pytest.raises(CommandExecutionError) as raised:
        function(NAME)
    assert str(raised.value).startswith("podman secret ")
    assert value() not in str(raised.value)


def test_a_file_that_others_can_read_is_no_secret(podman):
    secret.make(NAME)
    Path(secret.path(NAME)).chmod(0o644)
    with pytest.raises(CommandExecutionError, match="let others read it"):
        secret.exists(NAME)
