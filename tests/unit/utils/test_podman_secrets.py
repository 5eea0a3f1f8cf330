"""
Podman's secrets: read from its files where they are as we know them, asked for otherwise.
"""

import base64
import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError
from tree import load

podman_secrets = load("utils", "podman_secrets")

CREATED = "2026-11-23T23:57:10.285053819Z"
SECONDS = 1795478230.285053
VALUES = {"notes.token": b"first", "notes.web.URL": b'\xff\0 "second"\n'}


class Podman:
    """The command line, as Podman 5.4 and 5.8 answer it; it notes what it was asked."""

    def __init__(self, values):
        self.values, self.commands, self.inputs, self.error = dict(values), [], [], None

    def run(self, command, input=None, **_options):
        self.commands.append(command)
        self.inputs.append(input)
        if isinstance(self.error, Exception):
            raise self.error
        if self.error:
            return subprocess.CompletedProcess(command, 125, b"", f"Error: {self.error}\n".encode())
        stdout = ""
        match command[1:]:
            case ["secret", "ls", "--format", "{{.Name}}"]:
                stdout = "".join(f"{name}\n" for name in self.values)
            case ["secret", "inspect", "--showsecret", "--format", podman_secrets.FORMAT, "--", *names]:
                time = 1795478230285053819
                stdout = "".join(f"id-{name} {time} {time} {self.values[name].hex()} {name}\n" for name in names)
            case ["secret", "create", "--replace", name, "-"]:
                self.values[name] = input
            case ["secret", "rm", "--", *names]:
                for name in names:
                    del self.values[name]
            case _:
                raise AssertionError(command)
        return subprocess.CompletedProcess(command, 0, stdout.encode(), b"")


@pytest.fixture
def podman(monkeypatch, tmp_path):
    podman = Podman(VALUES)
    monkeypatch.setattr(podman_secrets.subprocess, "run", podman.run)
    monkeypatch.setattr(podman_secrets.shutil, "which", lambda command: f"/usr/bin/{command}")
    monkeypatch.setattr(podman_secrets, "STORAGE_CONFS", (str(tmp_path / "storage.conf"),))
    monkeypatch.setattr(podman_secrets, "GRAPH_ROOT", str(tmp_path / "storage"))
    return podman


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "storage", VALUES)


def write_store(root, values):
    """Podman's files, as recorded from 5.4.2."""
    folder = root / "secrets"
    driver = folder / "filedriver"
    driver.mkdir(parents=True)
    entry = {"createdAt": CREATED, "updatedAt": CREATED, "driver": "file", "driverOptions": {"path": str(driver)}}
    index = {
        "secrets": {f"id-{name}": {"name": name, "id": f"id-{name}", **entry} for name in values},
        "nameToID": {name: f"id-{name}" for name in values},
        "idToName": {f"id-{name}": name for name in values},
    }
    (folder / "secrets.json").write_text(json.dumps(index, indent=2))
    data = {f"id-{name}": base64.b64encode(value).decode() for name, value in values.items()}
    (driver / "secretsdata.json").write_text(json.dumps(data, indent=2))
    return folder


def change(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def expected():
    return {
        name: {
            "id": f"id-{name}",
            "created": pytest.approx(SECONDS),
            "updated": pytest.approx(SECONDS),
            "digest": podman_secrets.digest(value),
        }
        for name, value in VALUES.items()
    }


def test_its_files_tell_everything_without_a_process(podman, store):
    assert podman_secrets.read() == expected()
    assert podman.commands == []


def test_the_command_tells_the_same(podman):
    assert podman_secrets.read() == expected()
    assert [command[2] for command in podman.commands] == ["ls", "inspect"]


def test_the_graph_root_is_where_its_configuration_says(podman, tmp_path):
    (tmp_path / "storage.conf").write_text(f'[storage]\ngraphroot = "{tmp_path}/elsewhere"\n')
    write_store(tmp_path / "elsewhere", VALUES)
    assert podman_secrets.read() == expected()
    assert podman.commands == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: (store / "secrets.json").write_text('{"secrets": {"half'),
        lambda store: (store / "secrets.json").write_text("[]"),
        lambda store: (store / "secrets.json").write_text('{"secrets": {"x": {"name": "x"}}}'),
        lambda store: (store / "filedriver/secretsdata.json").unlink(),
        lambda store: (store / "filedriver/secretsdata.json").write_text("{}"),  # the index was written a moment ago
        lambda store: (store / "filedriver/secretsdata.json").write_text(
            '{"id-notes.token": "*", "id-notes.web.URL": 1}'
        ),
        lambda store: change(
            store / "secrets.json", lambda content: content["secrets"]["id-notes.token"].update(driver="pass")
        ),
        lambda store: change(
            store / "secrets.json",
            lambda content: content["secrets"]["id-notes.token"].update(createdAt=7, updatedAt=7),
        ),
        lambda store: (store.parent.parent / "storage.conf").write_text("[storage\n"),
    ],
)
def test_files_that_are_not_as_we_know_them_are_left_to_the_command(podman, store, damage):
    damage(store)
    assert podman_secrets.read() == expected()
    assert podman.commands != []


def test_a_secret_that_its_driver_cannot_show_is_there_with_another_value(podman, monkeypatch):
    shown = podman.run

    def run(command, **options):
        done = shown(command, **options)
        lines = done.stdout.splitlines(keepends=True)
        return subprocess.CompletedProcess(
            command, 0, b"".join(lines[1:]) if "inspect" in command else done.stdout, b""
        )

    monkeypatch.setattr(podman_secrets.subprocess, "run", run)
    found = podman_secrets.read()
    assert set(found) == set(VALUES)
    assert found["notes.token"]["digest"] == ""
    assert found["notes.web.URL"] == expected()["notes.web.URL"]


def test_a_store_without_secrets_takes_no_process(podman, tmp_path):
    (tmp_path / "storage/secrets").mkdir(parents=True)
    assert podman_secrets.read() == {}
    assert podman.commands == []


def test_a_podman_that_never_ran_has_no_secrets(podman):
    podman.values = {}
    assert podman_secrets.read() == {}


def test_without_podman_there_are_no_secrets(podman, monkeypatch, store):
    monkeypatch.setattr(podman_secrets.shutil, "which", lambda command: None)
    assert podman_secrets.read() == {}
    assert podman.commands == []


@given(value=st.binary(min_size=1, max_size=5000))
def test_a_value_goes_through_standard_input_and_nowhere_else(value):
    podman = Podman({})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(podman_secrets.subprocess, "run", podman.run)
        podman_secrets.create("notes.token", value)
    assert podman.values == {"notes.token": value}
    assert podman.commands == [["podman", "secret", "create", "--replace", "notes.token", "-"]]


def test_removing_is_one_process_for_all_and_none_for_nothing(podman):
    podman_secrets.remove([])
    assert podman.commands == []
    podman_secrets.remove(list(VALUES))
    assert podman.values == {}
    assert len(podman.commands) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("no such driver", "no such driver"),
        (subprocess.TimeoutExpired(["podman"], 60, output=b"correct-horse"), "no answer within 60 s"),
        (FileNotFoundError(2, "No such file or directory", "podman"), "No such file"),
    ],
)
@pytest.mark.parametrize("call", [podman_secrets.read, lambda: podman_secrets.create("notes.token", b"correct-horse")])
def test_podman_s_failure_is_told_without_a_value(podman, error, words, call):
    podman.error = error
    with pytest.raises(CommandExecutionError, match=f"podman secret (ls|create): .*{words}") as raised:
        call()
    assert "correct-horse" not in str(raised.value)
