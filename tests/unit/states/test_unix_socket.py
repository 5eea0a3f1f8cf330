"""
The states of sockets, in both modes, on real files of one's own.
"""

import grp
import os
import pwd
import socket
from pathlib import Path

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError
from tree import load

states = load("states", "unix_socket")
module = load("modules", "unix_socket")

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name
OWNER = {"user": ME, "group": MY_GROUP}

BOTH_MODES = pytest.mark.parametrize("test_mode", [True, False])


@pytest.fixture(autouse=True)
def loaded(monkeypatch, results, tmp_path):
    utils = {**results, **functions("utils", "sockets", "sock_diag", "client_groups", "textfile")}
    salt = functions("modules", "unix_socket")
    for target in (states, module):
        monkeypatch.setattr(target, "__utils__", utils, raising=False)
    monkeypatch.setattr(states, "__salt__", salt, raising=False)
    monkeypatch.setattr(states, "__opts__", {"test": False}, raising=False)
    monkeypatch.setattr(states, "TMPFILES_FOLDER", f"{tmp_path}/tmpfiles.d")
    return salt


@pytest.fixture
def in_mode(monkeypatch):
    return lambda test_mode: monkeypatch.setitem(states.__opts__, "test", test_mode)


@pytest.fixture
def server(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/s")
        listening.listen()
        (tmp_path / "s").chmod(0o770)
        yield listening


@pytest.fixture
def path(tmp_path):
    return f"{tmp_path}/run"


def twice(in_mode, function, *args, **kwargs):
    """Plan, do, and do again; return the three results."""
    answers = []
    for test_mode in (True, False, False):
        in_mode(test_mode)
        answers.append(function(*args, **kwargs))
    return answers


def test_a_new_directory_is_planned_made_and_then_left_alone(in_mode, path):
    plan, change, again = twice(in_mode, states.directory, path, **OWNER, tmpfiles="a.conf")
    assert plan["result"] is None
    assert change["result"] is True
    assert change["changes"] == plan["changes"] != {}
    assert again["result"] is True
    assert again["changes"] == {}
    assert module.stat(path)["mode"] == "2750"


def test_test_mode_changes_nothing(in_mode, path, tmp_path):
    in_mode(True)
    states.directory(path, **OWNER, tmpfiles="a.conf")
    assert list(tmp_path.iterdir()) == []


@BOTH_MODES
def test_a_missing_group_is_a_plan_in_test_mode_and_an_error_otherwise(in_mode, path, test_mode):
    in_mode(test_mode)
    answer = states.directory(path, ME, "no-such-group")
    assert answer["result"] is (None if test_mode else False)
    assert bool(answer["changes"]) is test_mode
    if not test_mode:
        assert "group no-such-group does not exist" in answer["comment"]


def test_only_what_differs_is_in_the_changes(in_mode, path):
    Path(path).mkdir()
    Path(path).chmod(0o2770)
    plan, change, _ = twice(in_mode, states.directory, path, **OWNER)
    assert plan["changes"] == change["changes"] == {"mode": {"old": "2770", "new": "2750"}}


def test_booting_is_left_to_a_file_with_the_other_lines_of_the_one_it_overrides(path, tmp_path):
    states.directory(path, **OWNER, tmpfiles="postgresql-common.conf", tmpfiles_lines=["d /var/log/x 1775 root a - -"])
    text = (tmp_path / "tmpfiles.d/postgresql-common.conf").read_text()
    assert text.splitlines()[1:] == [f"d {path} 2750 {ME} {MY_GROUP} - -", "d /var/log/x 1775 root a - -"]


def test_a_changed_file_for_booting_is_repaired(in_mode, path, tmp_path):
    states.directory(path, **OWNER, tmpfiles="a.conf")
    (tmp_path / "tmpfiles.d/a.conf").write_text(f"d {path} 0777 root root - -\n")
    _, change, again = twice(in_mode, states.directory, path, **OWNER, tmpfiles="a.conf")
    assert list(change["changes"]) == [f"{tmp_path}/tmpfiles.d/a.conf"]
    assert again["changes"] == {}


@BOTH_MODES
@pytest.mark.parametrize("mode", ["2770", "2751", "0777", "2755", 2770, 0o2750, "rwx"])
def test_a_directory_mode_that_opens_too_much_is_refused_and_changes_nothing(in_mode, path, test_mode, mode):
    in_mode(test_mode)
    answer = states.directory(path, **OWNER, mode=mode)
    assert answer["result"] is False
    assert "mode" in answer["comment"]
    assert not Path(path).exists()


@BOTH_MODES
@pytest.mark.parametrize("tmpfiles", ["../a.conf", "a", "/etc/a.conf", "a/b.conf"])
def test_a_name_that_leads_out_of_the_tmpfiles_folder_is_refused(in_mode, path, test_mode, tmpfiles):
    in_mode(test_mode)
    assert states.directory(path, **OWNER, tmpfiles=tmpfiles)["result"] is False
    assert not Path(path).exists()


@BOTH_MODES
def test_tmpfiles_lines_without_a_file_are_refused(in_mode, path, test_mode):
    in_mode(test_mode)
    assert "tmpfiles_lines without tmpfiles" in states.directory(path, **OWNER, tmpfiles_lines=["d /x"])["comment"]


@BOTH_MODES
@pytest.mark.parametrize("function", ["directory", "socket"])
@pytest.mark.parametrize("name", ["run/valkey", "./s", ""])
def test_a_relative_path_is_refused(in_mode, test_mode, function, name):
    in_mode(test_mode)
    answer = getattr(states, function)(name, **OWNER)
    assert answer["result"] is False
    assert "not an absolute path" in answer["comment"]


@BOTH_MODES
@pytest.mark.parametrize("function", ["directory", "socket"])
@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_a_link_or_a_regular_file_is_refused(in_mode, path, tmp_path, test_mode, function, kind):
    (tmp_path / "victim").touch(0o600)
    if kind == "symlink":
        Path(path).symlink_to("victim")
    else:
        (tmp_path / "victim").rename(path)
    in_mode(test_mode)
    answer = getattr(states, function)(path, **OWNER)
    assert answer["result"] is False
    assert f"{path} is a {kind}, not a {function}" in answer["comment"]
    assert Path(path).stat().st_mode & 0o7777 == 0o600


@BOTH_MODES
@pytest.mark.parametrize("there", [True, False])
def test_a_path_that_leads_through_a_link_is_refused_with_the_real_one(in_mode, tmp_path, test_mode, there):
    (tmp_path / "real").mkdir()
    if there:
        (tmp_path / "real/valkey").mkdir(0o700)
    (tmp_path / "link").symlink_to("real")
    in_mode(test_mode)
    answer = states.directory(f"{tmp_path}/link/valkey", **OWNER)
    assert answer["result"] is False
    assert f"write {tmp_path}/real/valkey" in answer["comment"]


def test_a_directory_that_somebody_else_sets_again_is_a_failure(loaded, path, monkeypatch):
    def undone(*_):
        Path(path).mkdir(0o700)

    monkeypatch.setitem(loaded, "unix_socket.make_directory", undone)
    answer = states.directory(path, **OWNER)
    assert answer["result"] is False
    assert "different again" in answer["comment"]


def test_a_directory_is_removed_with_its_file_for_booting(in_mode, path, tmp_path):
    states.directory(path, **OWNER, tmpfiles="a.conf")
    plan, change, again = twice(in_mode, states.directory_absent, path, tmpfiles="a.conf")
    assert plan["result"] is None
    assert change["changes"] == plan["changes"]
    assert len(change["changes"]) == 2
    assert again["changes"] == {}
    assert list((tmp_path / "tmpfiles.d").iterdir()) == []
    assert not Path(path).exists()


def test_a_directory_in_use_is_not_removed_and_says_by_what(path):
    Path(path).mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}/valkey.sock")
    answer = states.directory_absent(path)
    assert answer["result"] is False
    assert "still in use (valkey.sock): stop its daemon first" in answer["comment"]


@BOTH_MODES
def test_a_file_for_booting_that_is_not_ours_is_not_removed(in_mode, path, tmp_path, test_mode):
    (tmp_path / "tmpfiles.d").mkdir()
    (tmp_path / "tmpfiles.d/a.conf").write_text("d /x\n")
    in_mode(test_mode)
    answer = states.directory_absent(path, tmpfiles="a.conf")
    assert answer["result"] is False
    assert "was not written by unix_socket.directory" in answer["comment"]
    assert (tmp_path / "tmpfiles.d/a.conf").exists()


def test_a_socket_is_planned_repaired_and_then_left_alone(in_mode, tmp_path, server):
    (tmp_path / "s").chmod(0o777)
    plan, change, again = twice(in_mode, states.socket, f"{tmp_path}/s", **OWNER)
    assert plan["result"] is None
    assert plan["changes"] == change["changes"] == {"mode": {"old": "0777", "new": "0770"}}
    assert again["changes"] == {}
    assert again["result"] is True


@BOTH_MODES
def test_a_socket_that_its_daemon_has_yet_to_make_is_an_error_only_when_it_counts(in_mode, tmp_path, test_mode):
    in_mode(test_mode)
    answer = states.socket(f"{tmp_path}/s", **OWNER)
    assert answer["result"] is test_mode
    assert answer["changes"] == {}


@BOTH_MODES
def test_a_socket_mode_for_others_is_refused(in_mode, tmp_path, server, test_mode):
    in_mode(test_mode)
    answer = states.socket(f"{tmp_path}/s", **OWNER, mode="0777")
    assert answer["result"] is False
    assert "lets others in" in answer["comment"]


@pytest.fixture
def doors(loaded, monkeypatch):
    """Say who gets which answer; an exception is raised."""

    def set_doors(**answers):
        def probe_user(path, user, groups=None):
            answer = answers[user]
            if isinstance(answer, Exception):
                raise answer
            return {"outcome": answer, "detail": "why"}

        monkeypatch.setitem(loaded, "unix_socket.probe_user", probe_user)

    return set_doors


@BOTH_MODES
def test_a_socket_open_to_its_user_only_is_as_asserted(in_mode, doors, test_mode):
    doors(notes="allowed", nobody="refused")
    in_mode(test_mode)
    answer = states.accessible("/run/s", "notes")
    assert answer["result"] is True
    assert answer["comment"] == "notes gets into /run/s and nobody does not"


@BOTH_MODES
@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"notes": "refused", "nobody": "refused"}, "notes does not get into /run/s: refused, why"),
        ({"notes": "absent", "nobody": "absent"}, "nobody is not refused at /run/s: absent"),
        ({"notes": "stale", "nobody": "refused"}, "notes does not get into /run/s: stale"),
        ({"notes": "allowed", "nobody": "allowed"}, "nobody is not refused at /run/s: allowed"),
        ({"notes": "allowed", "nobody": "stale"}, "nobody is not refused at /run/s: stale"),
        ({"notes": CommandExecutionError("user notes does not exist")}, "user notes does not exist"),
    ],
)
def test_what_does_not_hold_fails_and_in_test_mode_is_told(in_mode, doors, test_mode, answers, words):
    doors(**answers)
    in_mode(test_mode)
    answer = states.accessible("/run/s", "notes")
    assert answer["result"] is test_mode
    assert answer["changes"] == {}
    assert words in answer["comment"]


@BOTH_MODES
def test_no_outsider_is_tried_if_none_is_named(in_mode, doors, test_mode):
    doors(notes="allowed")
    in_mode(test_mode)
    assert states.accessible("/run/s", "notes", outsider=None)["comment"] == "notes gets into /run/s"


@BOTH_MODES
def test_asserting_about_a_relative_path_fails_in_both_modes(in_mode, doors, test_mode):
    in_mode(test_mode)
    assert states.accessible("run/s", "notes")["result"] is False
