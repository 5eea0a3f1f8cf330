"""
All secrets of a service through Salt's loader, with real files and Podman's double. Needs root.
"""

import base64
import json
import os
import sys

import loaded
import pytest
from tree import TREE

PLANTED = "PLANTED \"'$HOME %n {{x}} π\nline two\n"
SECRETS = [
    {"name": "notes.token", "generate": {"length": 24, "alphabet": "alphanumeric"}},
    {"name": "notes.smtp", "pillar": "smtp:password"},
]
VALUES = [
    {"name": "notes.web.URL", "parts": [{"text": "x://"}, {"secret": "notes.smtp", "encode": "url"}, {"text": "@y"}]},
    {"name": "notes.web.TOKEN", "parts": [{"secret": "notes.token"}]},
]


@pytest.fixture
def apply(loaders, modules, monkeypatch, tmp_path):
    """Applies a state of ``secret`` in a host of its own."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/podman"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {TREE}/tests/doubles/podman.py "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("STORAGE", f"{tmp_path}/storage")
    (tmp_path / "storage/secrets").mkdir(parents=True)
    monkeypatch.setitem(loaded.of_util(modules, "secret_files"), "DIRECTORY", f"{tmp_path}/secrets")
    monkeypatch.setitem(loaded.of_util(modules, "podman_secrets"), "STORAGE_CONFS", ())
    monkeypatch.setitem(loaded.of_util(modules, "podman_secrets"), "GRAPH_ROOT", f"{tmp_path}/storage")
    pillar = {"smtp": {"password": PLANTED}}
    monkeypatch.setitem(loaded.of_module(modules, "secret"), "__pillar__", pillar)
    return loaded.states_over(loaders, modules)


@pytest.fixture
def store(tmp_path):
    """A function that tells what Podman has, ``{name: value}``."""

    def store():
        folder = tmp_path / "storage/secrets"
        if not (folder / "secrets.json").exists():
            return {}
        data = json.loads((folder / "filedriver/secretsdata.json").read_text())
        entries = json.loads((folder / "secrets.json").read_text())["secrets"].values()
        return {entry["name"]: base64.b64decode(data[entry["id"]]) for entry in entries}

    return store


def test_a_service_s_secrets_go_through_their_whole_life(apply, store, tmp_path):
    (tmp_path / "key").write_bytes(b"\xff\0PLANTED")
    (tmp_path / "key").chmod(0o600)
    given = {"name": "notes", "secrets": [*SECRETS, {"name": "notes.key", "file": f"{tmp_path}/key"}]}
    values = {"name": "notes", "values": VALUES}
    plans = [apply("secret.all_present", test=True, **given), apply("secret.values_present", test=True, **values)]
    assert [plan["result"] for plan in plans] == [None, None], plans
    assert store() == {}
    assert not (tmp_path / "secrets").exists()

    done = [apply("secret.all_present", test=False, **given), apply("secret.values_present", test=False, **values)]
    assert [one["result"] for one in done] == [True, True], done
    assert [one["changes"] for one in done] == [plan["changes"] for plan in plans]
    found = store()
    assert found["notes.smtp"] == (tmp_path / "secrets/notes.smtp").read_bytes() == PLANTED.encode()
    assert found["notes.key"] == b"\xff\0PLANTED"
    assert found["notes.web.URL"] == b"x://PLANTED%20%22%27%24HOME%20%25n%20%7B%7Bx%7D%7D%20%CF%80%0Aline%20two%0A@y"
    assert found["notes.web.TOKEN"] == found["notes.token"]
    for test in (True, False):
        assert apply("secret.all_present", test=test, **given)["changes"] == {}
        assert apply("secret.values_present", test=test, **values)["changes"] == {}
    assert store() == found

    gone = [apply("secret.all_absent", test=test, name="notes") for test in (True, False)]
    assert [one["result"] for one in gone] == [None, True]
    assert gone[0]["changes"] == gone[1]["changes"]
    assert store() == {}
    assert list((tmp_path / "secrets").iterdir()) == []
    assert apply("secret.all_absent", test=False, name="notes")["changes"] == {}
    assert "PLANTED" not in repr([plans, done, gone])


def test_what_is_declared_no_more_stays_until_it_is_taken_away_and_nothing_else_is_touched(
    apply, modules, store, tmp_path
):
    apply("secret.all_present", test=False, name="notes", secrets=SECRETS)
    apply("secret.values_present", test=False, name="notes", values=VALUES)
    before = (tmp_path / "storage/secrets/secrets.json").read_text()
    assert apply("secret.values_present", test=False, name="notes", values=VALUES[1:])["changes"] == {}
    assert apply("secret.all_present", test=False, name="notes", secrets=SECRETS[:1])["changes"] == {}
    modules["secret.remove_undeclared"]("notes", SECRETS[:1], VALUES[1:])
    assert set(store()) == {"notes.token", "notes.web.TOKEN"}
    identities = json.loads((tmp_path / "storage/secrets/secrets.json").read_text())["idToName"]
    assert identities.items() <= json.loads(before)["idToName"].items()


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_pillar_without_the_value_is_a_failure_that_says_where(apply, store, test_mode):
    secrets = [{"name": "notes.other", "pillar": "smtp:other"}]
    result = apply("secret.all_present", test=test_mode, name="notes", secrets=secrets)
    assert result["result"] is False
    assert "service notes: secret other: the pillar has no smtp:other" in result["comment"]
    assert store() == {}


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_value_that_podman_cannot_have_is_a_failure_before_podman_is_asked(apply, store, test_mode):
    values = [{"name": "notes.web.EMPTY", "parts": [{"text": ""}]}]
    result = apply("secret.values_present", test=test_mode, name="notes", values=values)
    assert result["result"] is False
    assert "notes.web.EMPTY: it is empty" in result["comment"]
    assert store() == {}
