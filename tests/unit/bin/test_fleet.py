"""
The master and the minions of a fleet, as bin/bootstrap installs them: arguments, files, and what a change means.
"""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from tree import TREE

BOOTSTRAP = TREE / "bin/bootstrap"
STDIN = "-"
FINGER, OTHER = ":".join(["ab"] * 32), ":".join(["cd"] * 32)
PLACES = ("COMMANDS", "MASTER", "MASTER_PKI", "MINION", "MINION_PKI", "MINION_MODULES", "UNITS", "SITE", "SALT")


@pytest.fixture
def fleet(command, monkeypatch, tmp_path):
    """The module with a host of its own: no file of this machine is touched, and no daemon."""
    module = command("fleet.py")
    for name in PLACES:
        monkeypatch.setattr(module, name, tmp_path / str(getattr(module, name)).lstrip("/"))
    module.COMMANDS.mkdir(parents=True)
    (module.SALT / "bin").mkdir(parents=True)
    monkeypatch.setattr(module, "run", lambda *words, **_options: pytest.fail(f"ran {words}"))
    return module


def options(**given):
    nothing = {"minion": "salt.example.test", "token": None, "master_fingerprint": None, "id": None, "adopt": False}
    return SimpleNamespace(**{**nothing, **given})


def belongs_to(fleet, master="salt.example.test", finger=FINGER):
    for path, text in fleet.minion_files("web1", master, finger).items():
        fleet.write(path, text)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--master", "--minion", "salt"),
        ("--minion",),
        ("--minion", "2001:db8::1"),
        ("--minion", "salt:4506"),
        ("--minion", "a b"),
        ("--minion", "-salt"),
        ("--minion", "salt", "--id", "a/b"),
        ("--minion", "salt", "--id", ".."),
        ("--minion", "salt", "--token", "-", "--master-fingerprint", FINGER),
        ("--minion", "salt", "--master-fingerprint", "ab:cd"),
        ("--token", "-"),
        ("--master", "--id", "web1"),
        ("--master-fingerprint", FINGER),
    ],
    ids=str,
)
def test_what_bootstrap_does_not_understand_ends_with_usage(arguments):
    done = subprocess.run([sys.executable, BOOTSTRAP, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bootstrap")


def test_a_first_time_needs_something_to_know_the_master_by(fleet):
    with pytest.raises(fleet.Failure, match=r"bin/enroll ID(.|\n)*--master-fingerprint"):
        fleet.check_minion(options())
    fleet.check_minion(options(token=STDIN))
    fleet.check_minion(options(master_fingerprint=FINGER))


def test_a_minion_of_that_master_needs_nothing_more(fleet):
    belongs_to(fleet)
    fleet.check_minion(options())
    fleet.check_minion(options(id="web1"))
    with pytest.raises(fleet.Failure, match="nothing was changed"):
        fleet.check_minion(options(id="web2"))


def test_a_minion_of_another_master_is_taken_over_only_when_told_so(fleet):
    belongs_to(fleet, master="old.example.test")
    with pytest.raises(fleet.Failure, match=r"minion of old\.example\.test already(.|\n)*--adopt"):
        fleet.check_minion(options(token=STDIN))
    fleet.check_minion(options(token=STDIN, adopt=True))
    with pytest.raises(fleet.Failure, match="right master"):
        fleet.check_minion(options(adopt=True))


def test_a_master_on_this_host_is_known_by_its_own_key(fleet):
    assert not fleet.is_this_host("localhost")
    fleet.write(fleet.MASTER, "")
    fleet.write(fleet.MASTER_PKI / "master.pub", "a key")
    assert fleet.is_this_host("localhost")
    assert not fleet.is_this_host("192.0.2.1")
    assert not fleet.is_this_host("nosuch.invalid")
    fleet.check_minion(options(minion="localhost"))


def test_the_configuration_is_read_as_it_was_written(fleet):
    assert fleet.master_of_this_host() == {}
    belongs_to(fleet)
    assert fleet.master_of_this_host() == {"id": "web1", "master": "salt.example.test", "master_finger": FINGER}


def test_a_host_that_applies_the_tree_by_itself_has_no_master(fleet, command):
    bootstrap = command("bootstrap")
    fleet.write(fleet.MINION, bootstrap.minion_configuration())
    assert fleet.master_of_this_host() == {}


def test_a_token_is_read_from_a_file_or_standard_input_and_is_no_argument(fleet, tmp_path, monkeypatch):
    token = "T" * 43
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    assert fleet.read_token(str(file)) == token
    monkeypatch.setattr(fleet.sys, "stdin", file.open())
    assert fleet.read_token("-") == token
    with pytest.raises(fleet.Failure, match="arguments are shown to all users") as failure:
        fleet.read_token(token)
    assert token not in str(failure.value)
    file.write_text("short")
    with pytest.raises(fleet.Failure, match="is no token"):
        fleet.read_token(str(file))


def test_the_key_of_another_master_goes_and_that_of_this_one_stays(fleet):
    key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"
    known = fleet.MINION_PKI / "minion_master.pub"
    fleet.write(known, key)
    fleet.forget_other_master(fleet.enrollment.fingerprint(key))
    assert known.exists()
    fleet.forget_other_master(OTHER)
    assert not known.exists()


def test_a_master_with_another_key_than_was_said_is_named_with_the_way_out(fleet, monkeypatch):
    belongs_to(fleet)
    said = f"[CRITICAL] … file:\n{FINGER}\nDoes not match the authenticating master's key:\n{OTHER}\nVerify …"
    monkeypatch.setattr(fleet, "run", lambda *words, **_options: subprocess.CompletedProcess(words, 42, "", said))
    with pytest.raises(fleet.Failure, match=rf"has another key.*\n  {FINGER}\n(.|\n)*--master-fingerprint"):
        fleet.call_master()


def test_a_master_that_does_not_answer_at_all_is_a_login_that_failed(fleet, monkeypatch):
    def wait(*words, timeout, **_options):
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setattr(fleet, "run", wait)
    with pytest.raises(fleet.Failure, match=r"cannot log in: no answer within 90 s\n.*4505 and 4506"):
        fleet.log_in("salt.example.test")


@pytest.mark.parametrize("how_far", ["whole", "cut short before"])
def test_who_leaves_keeps_its_own_key_and_nothing_of_the_master(fleet, monkeypatch, how_far):
    ran = []
    monkeypatch.setattr(fleet, "run", lambda *words, **_options: ran.append(words))
    own = fleet.MINION_PKI / "minion.pem"
    fleet.write(own, "key")
    if how_far == "whole":
        fleet.write(fleet.MINION_PKI / "minion_master.pub", "key")
        fleet.write(fleet.MINION_MODULES / "modules/facts.py", "")
    fleet.leave()
    assert ran == [("systemctl", "disable", "--now", "--quiet", "salt-minion.service")]
    assert list(fleet.MINION_PKI.iterdir()) == [own]
    assert not fleet.MINION_MODULES.exists()


def test_a_setting_of_somebody_else_that_wins_is_named(fleet, monkeypatch):
    wanted = {"id": "web1", "master": "salt.example.test"}
    monkeypatch.setattr(fleet, "effective", lambda: {**wanted, "master": "other"})
    with pytest.raises(fleet.Failure, match=r"master: 'other' instead of 'salt\.example\.test'"):
        fleet.check_effective(wanted)


@pytest.mark.parametrize("name", ["localhost", "a/b", "böse"])
def test_a_name_that_cannot_be_an_id_asks_for_one(fleet, monkeypatch, name):
    monkeypatch.setattr(fleet, "effective", lambda: {"id": name})
    with pytest.raises(fleet.Failure, match="--id ID"):
        fleet.default_identity()


def test_what_is_installed_is_written_once(fleet):
    fleet.install(fleet.master_files(), fleet.MASTER_COMMANDS)
    before = {path: path.lstat().st_mtime_ns for path in (fleet.MASTER, *fleet.COMMANDS.iterdir())}
    assert {path.name for path in before} == {fleet.MASTER.name, *fleet.MASTER_COMMANDS}
    fleet.install(fleet.master_files(), fleet.MASTER_COMMANDS)
    assert {path: path.lstat().st_mtime_ns for path in before} == before


def test_a_plan_names_all_of_it_and_changes_nothing(fleet, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(fleet, "show", lambda _unit: {"UnitFileState": "", "ActiveState": "inactive"})
    before = sorted(tmp_path.rglob("*"))
    fleet.plan(fleet.master_files(), fleet.MASTER_COMMANDS, "salt-master")
    said = capsys.readouterr().out
    for expected in (f"write {fleet.MASTER}", "salt-master.service", f"link {fleet.COMMANDS}/salt-run", "start"):
        assert expected in said
    assert sorted(tmp_path.rglob("*")) == before


def test_the_key_that_salt_named_after_the_host_keeps_working_under_its_fixed_name(fleet):
    for name in ("pem", "pub"):
        fleet.write(fleet.MASTER_PKI / f"web1.{name}", f"the {name}")
        (fleet.MASTER_PKI / f"master.{name}").symlink_to(fleet.MASTER_PKI / f"web1.{name}")
    fleet.keep_key()
    for name in ("pem", "pub"):
        path = fleet.MASTER_PKI / f"master.{name}"
        assert not path.is_symlink()
        assert path.read_text() == f"the {name}"
    assert (fleet.MASTER_PKI / "master.pem").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize("changed", ["configuration", "unit", "environment", "a setting of the site"])
def test_a_daemon_is_outdated_once_anything_that_it_was_started_from_is_newer(fleet, changed):
    fleet.install(fleet.master_files(), ())
    later = fleet.MASTER.with_name("60-site.conf")
    fleet.write(later, "timeout: 10\n")
    # Salt writes this one itself, while the daemon runs.
    fleet.write(fleet.MASTER.with_name("_schedule.conf"), "schedule: {}\n")
    unit = fleet.UNITS / "salt-master.service"
    for path in (fleet.MASTER, unit, later, fleet.SALT):
        os.utime(path, (time.time() - 100,) * 2)
    started = {"ExecMainStartTimestampMonotonic": str(int((time.monotonic() - 50) * 1e6))}
    assert not fleet.is_outdated("salt-master", fleet.MASTER, started)
    path = {"configuration": fleet.MASTER, "unit": unit, "environment": fleet.SALT}.get(changed, later)
    os.utime(path)
    assert fleet.is_outdated("salt-master", fleet.MASTER, started)
