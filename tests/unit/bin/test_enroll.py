"""
bin/enroll: what it is asked, what it refuses, and whose key it accepts.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from tree import TREE

ENROLL = TREE / "bin/enroll"
FINGER, OTHER = ":".join(["ab"] * 32), ":".join(["cd"] * 32)


def process(*arguments):
    return subprocess.run([sys.executable, ENROLL, *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def enroll(command, monkeypatch, tmp_path):
    module = command("enroll")
    monkeypatch.setattr(module, "MOMENT", 0)
    monkeypatch.setattr(module.syslog, "syslog", lambda *_message: None)
    monkeypatch.setattr(module.fleet, "MASTER", tmp_path / "master.conf")
    # A key is its own fingerprint here.
    monkeypatch.setattr(module.enrollment, "fingerprint", lambda key: key)
    return module


class Keys:
    """A master's keys: ``{state: {id: [key]}}``; ``arrives`` is put there at the next look."""

    def __init__(self, arrives=None, **states):
        self.states, self.arrives, self.accepted = states, arrives or {}, []

    def of(self, identity, state):
        found = self.states.get(state, {}).get(identity, [])
        if state == "pending":  # the last one that is asked for
            self.states.update(self.arrives)
        return found

    def accept_pending(self, identity):
        self.accepted.append(identity)


def asked(fingerprint=FINGER, wait=10):
    return SimpleNamespace(ids=["web1"], fingerprint=fingerprint, wait=wait)


def test_the_help_says_how_a_token_gets_to_its_host():
    done = process("--help")
    assert done.returncode == 0
    for expected in ("--replace", "--fingerprint", "--list", "--remove", "--wait", "standard input", "4507"):
        assert expected in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--list", "web1"),
        ("--remove",),
        ("web1", "web2", "--fingerprint", FINGER),
        ("web1", "--fingerprint", "ab:cd"),
        ("web1", "--replace", "--fingerprint", FINGER),
        ("web1", "--wait", "0"),
        ("web1", "--address", "2001:db8::1"),
        ("web1", "--port", "x"),
    ],
    ids=str,
)
def test_what_it_does_not_understand_ends_with_usage(arguments):
    done = process(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: enroll")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".a", "-a", "a,b", "web*", "a b", "a\n", "ä", "a" * 254])
def test_an_id_that_salt_refuses_or_takes_for_something_else_is_refused(name):
    done = process("--remove", "--", name)
    assert done.returncode == 2
    assert "cannot be the id of a host" in done.stderr


def test_a_host_that_is_no_master_is_told_the_way_to_one(enroll, monkeypatch):
    monkeypatch.setattr(enroll.os, "geteuid", lambda: 0)
    monkeypatch.setattr(enroll.sys, "argv", ["enroll", "--list"])
    with pytest.raises(enroll.Failure, match="bin/bootstrap --master"):
        enroll.main()


def test_the_key_that_was_meant_is_accepted_also_if_it_comes_later(enroll):
    for keys in (Keys(pending={"web1": [FINGER]}), Keys(arrives={"pending": {"web1": [FINGER]}})):
        enroll.accept_one(keys, asked())
        assert keys.accepted == ["web1"]


def test_another_key_is_refused_and_both_fingerprints_are_shown(enroll):
    keys = Keys(pending={"web1": [OTHER]})
    with pytest.raises(enroll.Failure) as failure:
        enroll.accept_one(keys, asked())
    assert FINGER in str(failure.value)
    assert OTHER in str(failure.value)
    assert keys.accepted == []


@pytest.mark.parametrize("state", ["denied", "rejected"])
def test_the_key_that_was_meant_but_turned_away_before_is_told_with_the_way_out(enroll, state):
    keys = Keys(**{state: {"web1": [FINGER]}})
    with pytest.raises(enroll.Failure, match=f"was {state} before: sudo bin/enroll --remove web1"):
        enroll.accept_one(keys, asked())
    assert keys.accepted == []


def test_a_key_that_is_accepted_already_is_no_mistake_and_another_one_is(enroll):
    keys = Keys(accepted={"web1": [FINGER]})
    enroll.accept_one(keys, asked())
    with pytest.raises(enroll.Failure, match="not who you mean"):
        enroll.accept_one(keys, asked(OTHER))
    assert keys.accepted == []


def test_a_key_that_does_not_come_is_not_waited_for_for_ever(enroll):
    with pytest.raises(enroll.Failure, match="no key of web1 came"):
        enroll.accept_one(Keys(), asked(wait=0))


def test_who_is_in_already_gets_no_token(enroll):
    options = SimpleNamespace(ids=["web1", "web2"], replace=False)
    with pytest.raises(enroll.Failure, match=r"web2: a host with that id is in the fleet already(.|\n)*--replace"):
        enroll.enroll(Keys(accepted={"web2": [FINGER]}), options)
