"""
Asking about sockets, without another user's rights.
"""

import errno
import grp
import os
import pwd
import socket
from pathlib import Path

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

unix_socket = load("modules", "unix_socket")

ME = pwd.getpwuid(os.geteuid()).pw_name
MY_GROUP = grp.getgrgid(os.getegid()).gr_name


@pytest.fixture(autouse=True)
def utils(monkeypatch):
    found = functions("utils", "sockets", "sock_diag", "socket_probe", "client_groups")
    monkeypatch.setattr(unix_socket, "__utils__", found, raising=False)
    return found


@pytest.fixture
def server(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/s")
        listening.listen()
        yield listening


def test_a_directory_is_described_by_names_numbers_and_mode(tmp_path):
    tmp_path.chmod(0o2750)
    assert unix_socket.stat(str(tmp_path)) == {
        "type": "directory",
        "user": ME,
        "group": MY_GROUP,
        "uid": os.geteuid(),
        "gid": os.getegid(),
        "mode": "2750",
    }


def test_each_type_has_its_name(tmp_path, server):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("s")
    os.mkfifo(tmp_path / "fifo")
    kinds = {entry.name: unix_socket.stat(str(entry))["type"] for entry in tmp_path.iterdir()}
    assert kinds == {"s": "socket", "file": "file", "link": "symlink", "fifo": "fifo"}
    assert unix_socket.stat("/dev/null")["type"] == "device"


def test_what_is_not_there_is_absent_also_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    assert unix_socket.stat(f"{tmp_path}/gone") == {"type": "absent"}
    assert unix_socket.stat(f"{tmp_path}/file/below") == {"type": "absent"}


@pytest.mark.parametrize("function", ["stat", "listeners"])
@pytest.mark.parametrize("path", ["run/valkey", "", None])
def test_a_relative_path_is_refused(function, path):
    with pytest.raises(SaltInvocationError, match="not an absolute path"):
        getattr(unix_socket, function)(path)


def test_owning_sets_the_mode_with_its_setgid_bit(tmp_path):
    assert unix_socket.own(str(tmp_path), ME, MY_GROUP, "2750")
    assert unix_socket.stat(str(tmp_path))["mode"] == "2750"


def test_owning_a_socket_leaves_its_listener_reachable(tmp_path, server):
    unix_socket.own(f"{tmp_path}/s", ME, MY_GROUP, 770)
    assert unix_socket.stat(f"{tmp_path}/s")["mode"] == "0770"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/s")


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_owning_neither_follows_a_link_nor_touches_a_file(tmp_path, kind):
    victim = tmp_path / "victim"
    victim.touch(0o600)
    if kind == "symlink":
        (tmp_path / "path").symlink_to(victim)
    else:
        victim.rename(tmp_path / "path")
        victim = tmp_path / "path"
    with pytest.raises(CommandExecutionError, match=f"is a {kind}, not a directory or a socket: nothing was changed"):
        unix_socket.own(f"{tmp_path}/path", ME, MY_GROUP, "0770")
    assert victim.stat().st_mode & 0o7777 == 0o600


def test_owning_through_a_linked_parent_is_refused(tmp_path):
    (tmp_path / "real").mkdir(0o700)
    (tmp_path / "real/inner").mkdir(0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(CommandExecutionError, match=f"write {tmp_path}/real/inner"):
        unix_socket.own(f"{tmp_path}/link/inner", ME, MY_GROUP, "2750")
    assert unix_socket.stat(f"{tmp_path}/real/inner")["mode"] == "0700"


@pytest.mark.parametrize(("user", "group"), [("no-such-user", MY_GROUP), (ME, "no-such-group")])
def test_a_missing_owner_is_named_and_nothing_changes(tmp_path, user, group):
    before = unix_socket.stat(str(tmp_path))
    with pytest.raises(CommandExecutionError, match=r"(user|group) no-such-\w+ does not exist"):
        unix_socket.own(str(tmp_path), user, group, "2750")
    assert unix_socket.stat(str(tmp_path)) == before


def test_a_missing_client_group_names_what_creates_it(tmp_path, monkeypatch):
    def nobody(_):
        raise KeyError

    monkeypatch.setattr(unix_socket.grp, "getgrnam", nobody)
    with pytest.raises(CommandExecutionError, match=r"infra\.valkey creates it"):
        unix_socket.own(str(tmp_path), ME, "valkey-clients", "2750")


def test_a_directory_is_made_with_its_mode_and_making_it_again_changes_nothing(tmp_path):
    path = f"{tmp_path}/new"
    unix_socket.make_directory(path, ME, MY_GROUP)
    made = Path(path).stat()
    unix_socket.make_directory(path, ME, MY_GROUP)
    assert unix_socket.stat(path)["mode"] == "2750"
    assert Path(path).stat().st_ino == made.st_ino


def test_a_directory_is_not_made_in_the_place_of_a_socket(tmp_path, server):
    with pytest.raises(CommandExecutionError, match="is a socket, not a directory"):
        unix_socket.make_directory(f"{tmp_path}/s", ME, MY_GROUP)


def test_no_descriptor_is_left_open(tmp_path):
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are what is compared
    unix_socket.own(str(tmp_path), ME, MY_GROUP, "0750")
    with pytest.raises(CommandExecutionError):
        unix_socket.own(f"{tmp_path}/gone", ME, MY_GROUP, "0750")
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_listener_is_this_process(tmp_path, server):
    (found,) = unix_socket.listeners(f"{tmp_path}/s")
    assert found["pid"] == os.getpid()
    assert found["uid"] == os.geteuid()
    assert found["command"]


def test_a_listener_is_found_through_a_linked_directory(tmp_path, server):
    (tmp_path / "link").symlink_to(tmp_path)
    assert unix_socket.listeners(f"{tmp_path}/link/s")


def test_a_replaced_socket_has_no_listener(tmp_path, server):
    (tmp_path / "s").rename(tmp_path / "old")
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(f"{tmp_path}/s")
        assert unix_socket.listeners(f"{tmp_path}/s") == []


def test_who_listens_on_a_file_is_an_error(tmp_path):
    with pytest.raises(CommandExecutionError, match="is a directory, not a socket"):
        unix_socket.listeners(str(tmp_path))
    with pytest.raises(CommandExecutionError, match="No such file"):
        unix_socket.listeners(f"{tmp_path}/gone")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/valkey-server.service\n", "valkey-server.service"),
        ("1:name=systemd:/a.service\n0::/init.scope\n", "init.scope"),
        ("0::/system.slice/notes.service/libpod-payload-1\n", "notes.service"),
        (
            "0::/system.slice/system-postgresql.slice/postgresql@17-main.service\n",
            "postgresql@17-main.service",
        ),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_unit_is_the_innermost_of_the_unified_path(text, unit):
    assert unix_socket._unit(text) == unit


@pytest.fixture
def answer(monkeypatch, utils):
    """Let connecting answer with an errno, and record the ids it was asked with."""
    asked = []

    def set_answer(code, obstacle=""):
        def connect_as(path, ids, timeout):
            asked.append(ids)
            return code, obstacle

        monkeypatch.setitem(utils, "socket_probe.connect_as", connect_as)
        return asked

    return set_answer


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, "allowed"),
        (errno.EAGAIN, "allowed"),
        (errno.EACCES, "refused"),
        (errno.EPERM, "refused"),
        (errno.ENOENT, "absent"),
        (errno.ENOTDIR, "absent"),
        (errno.ECONNREFUSED, "stale"),
    ],
)
def test_each_answer_of_the_kernel_has_its_outcome(answer, tmp_path, server, code, outcome):
    answer(code, str(tmp_path))
    assert unix_socket.probe(f"{tmp_path}/s", 12345, 12345)["outcome"] == outcome


def test_a_refusal_names_what_refused(answer, tmp_path):
    tmp_path.chmod(0o2750)
    answer(errno.EACCES, str(tmp_path))
    detail = unix_socket.probe(f"{tmp_path}/s", 12345, 12345)["detail"]
    assert detail == f"permission denied by {tmp_path} ({ME}:{MY_GROUP} 2750)"


def test_a_regular_file_is_an_error_and_not_a_stale_socket(answer, tmp_path):
    (tmp_path / "s").touch()
    answer(errno.ECONNREFUSED, str(tmp_path))
    with pytest.raises(CommandExecutionError, match="no stream socket"):
        unix_socket.probe(f"{tmp_path}/s", 12345, 12345)


@pytest.mark.parametrize(
    ("groups", "gids"),
    [((), []), ("", []), (7, [7]), ("7, 8", [7, 8]), ([8, "7", 8], [7, 8]), (MY_GROUP, [os.getegid()])],
)
def test_groups_are_taken_as_names_numbers_or_both(answer, groups, gids):
    asked = answer(0)
    found = unix_socket.probe("/run/s", "12345", MY_GROUP, groups)
    assert asked == [{"uid": 12345, "gid": os.getegid(), "groups": gids}]
    assert found["groups"] == gids


@pytest.mark.parametrize("root", [0, "0", "root"])
def test_a_probe_as_root_is_refused(answer, root):
    asked = answer(0)
    with pytest.raises(SaltInvocationError, match="says nothing"):
        unix_socket.probe("/run/s", root, 0)
    assert not asked


def test_a_user_is_probed_with_the_groups_the_system_gives(answer):
    asked = answer(0)
    unix_socket.probe_user("/run/s", "nobody")
    entry = pwd.getpwnam("nobody")
    groups = sorted(set(os.getgrouplist("nobody", entry.pw_gid)))
    assert asked == [{"uid": entry.pw_uid, "gid": entry.pw_gid, "groups": groups}]


def test_a_user_is_probed_with_no_more_than_the_groups_named(answer):
    asked = answer(0)
    unix_socket.probe_user("/run/s", "nobody", groups=[])
    assert asked[0]["groups"] == []


def test_a_user_that_does_not_exist_is_named(answer):
    with pytest.raises(CommandExecutionError, match="user no-such-user does not exist"):
        unix_socket.probe_user("/run/s", "no-such-user")


def test_a_probe_without_root_says_so_and_leaves_no_child(tmp_path, server, monkeypatch):
    def forbidden(_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", forbidden)
    with pytest.raises(CommandExecutionError, match=r"setgroups: Operation not permitted.*takes root"):
        unix_socket.probe(f"{tmp_path}/s", 12345, 12345)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
