"""
Real sockets and the rights of real users. Needs root.
"""

import contextlib
import grp
import os
import pwd
import socket
import subprocess
import threading

import pytest
from salt.exceptions import CommandExecutionError

MEMBER = "games"  # any two system users and a group that every Debian has
OUTSIDER = "nobody"
GROUP = "audio"
GID = grp.getgrnam(GROUP).gr_gid
OUTSIDER_GID = pwd.getpwnam(OUTSIDER).pw_gid
PYTHON = "/usr/bin/python3"  # one that every user may run


@pytest.fixture
def directory(modules, open_folder):
    """A socket directory as the states leave it."""
    path = f"{open_folder}/run"
    modules.unix_socket.make_directory(path, "daemon", GROUP, "2750")
    return path


@pytest.fixture
def server(modules, directory):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{directory}/s")
        listening.listen()
        modules.unix_socket.own(f"{directory}/s", "daemon", GROUP, "0770")
        yield listening


def as_member(script, *arguments):
    entry = pwd.getpwnam(MEMBER)
    return subprocess.run(
        [PYTHON, "-c", script, *arguments],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[GID],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_socket_made_in_the_directory_inherits_its_group(modules, directory):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{directory}/s")
        assert modules.unix_socket.stat(f"{directory}/s")["group"] == GROUP


def test_membership_opens_and_nothing_else_does(modules, directory, server):
    probe = modules.unix_socket.probe
    path = f"{directory}/s"
    assert probe(path, MEMBER, MEMBER, [GROUP])["outcome"] == "allowed"
    assert probe(path, MEMBER, GROUP, [])["outcome"] == "allowed"
    refused = probe(path, MEMBER, MEMBER, [])
    assert refused["outcome"] == "refused"
    assert refused["detail"] == f"permission denied by {directory} (daemon:{GROUP} 2750)"


def test_the_socket_itself_is_named_if_it_is_what_refuses(modules, directory, server):
    os.chmod(f"{directory}/s", 0o700)  # noqa: PTH101
    detail = modules.unix_socket.probe(f"{directory}/s", MEMBER, MEMBER, [GROUP])["detail"]
    assert detail == f"permission denied by {directory}/s (daemon:{GROUP} 0700)"


def test_the_groups_of_whoever_asks_do_not_help_a_probe(modules, directory, server):
    mine = os.getgroups()
    os.setgroups([GID])
    try:
        assert modules.unix_socket.probe(f"{directory}/s", OUTSIDER, OUTSIDER_GID)["outcome"] == "refused"
    finally:
        os.setgroups(mine)


def test_a_probe_keeps_no_capability(modules, directory, server):
    # Its own directory, closed to everybody: only a capability would get past it.
    os.chmod(directory, 0)  # noqa: PTH101
    assert modules.unix_socket.probe(f"{directory}/s", "daemon", GROUP, [GROUP])["outcome"] == "refused"


def test_the_groups_of_a_user_are_the_system_s(modules, directory, server):
    assert modules.unix_socket.probe_user(f"{directory}/s", OUTSIDER)["outcome"] == "refused"
    assert modules.unix_socket.probe_user(f"{directory}/s", OUTSIDER, groups=[GROUP])["outcome"] == "allowed"


def test_absent_stale_and_something_else_are_told_apart(modules, directory, server, open_folder):
    probe = modules.unix_socket.probe
    assert probe(f"{directory}/gone", MEMBER, MEMBER, [GROUP])["outcome"] == "absent"
    assert probe(f"{open_folder}/gone/s", MEMBER, MEMBER)["outcome"] == "absent"
    server.close()
    assert probe(f"{directory}/s", MEMBER, MEMBER, [GROUP])["outcome"] == "stale"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as datagrams:
        datagrams.bind(f"{open_folder}/datagrams")
        os.chmod(f"{open_folder}/datagrams", 0o666)  # noqa: PTH101, S103
        with pytest.raises(CommandExecutionError, match="no stream socket"):
            probe(f"{open_folder}/datagrams", MEMBER, MEMBER)


def test_a_listener_that_does_not_accept_is_no_refusal_and_does_not_hold_the_probe(modules, directory):
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as waiting:
        listening.bind(f"{directory}/s")
        listening.listen(0)
        modules.unix_socket.own(f"{directory}/s", "daemon", GROUP, "0770")
        waiting.connect(f"{directory}/s")  # fills the queue
        found = modules.unix_socket.probe(f"{directory}/s", MEMBER, MEMBER, [GROUP], timeout=1)
    assert found["outcome"] == "allowed"
    assert "queue is full" in found["detail"]


def test_a_probe_leaves_no_child_and_no_descriptor(modules, directory, server):
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        modules.unix_socket.probe(f"{directory}/s", MEMBER, MEMBER)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


REPLACE = """
import os, socket, sys
os.unlink(sys.argv[1])
socket.socket(socket.AF_UNIX).bind(sys.argv[1])
"""


def test_a_member_cannot_replace_the_socket(modules, directory, server):
    before = os.stat(f"{directory}/s").st_ino  # noqa: PTH116
    attack = as_member(REPLACE, f"{directory}/s")
    assert "Permission denied" in attack.stderr
    assert os.stat(f"{directory}/s").st_ino == before  # noqa: PTH116


def test_a_member_can_replace_the_socket_once_members_may_write(modules, directory, server):
    # The protection taken away: without this the test above could pass for another reason.
    modules.unix_socket.own(directory, "daemon", GROUP, "2770")
    assert as_member(REPLACE, f"{directory}/s").returncode == 0
    assert modules.unix_socket.stat(f"{directory}/s")["user"] == MEMBER
    assert modules.unix_socket.listeners(f"{directory}/s") == []


def test_owning_never_reaches_through_a_path_that_is_swapped_meanwhile(modules, open_folder):
    victim = open_folder / "victim"
    victim.mkdir(0o700)
    place = open_folder / "place"
    bait = open_folder / "bait"
    bait.symlink_to("victim")
    place.mkdir()
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            place.rename(open_folder / "aside")
            bait.rename(place)
            place.rename(bait)
            (open_folder / "aside").rename(place)

    swapping = threading.Thread(target=swap)
    swapping.start()
    owned = 0
    try:
        for _ in range(500):
            with contextlib.suppress(CommandExecutionError):  # the link, or nothing, was there at that moment
                modules.unix_socket.own(str(place), MEMBER, GROUP, "2750")
                owned += 1
    finally:
        stop.set()
        swapping.join()
    assert owned
    found = modules.unix_socket.stat(str(victim))
    assert (found["user"], found["mode"]) == ("root", "0700")


LISTEN = """
import socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print(flush=True)
input()
"""


def test_a_listener_in_another_process_is_told_with_its_uid(modules, open_folder):
    open_folder.chmod(0o777)
    entry = pwd.getpwnam(MEMBER)
    with subprocess.Popen(
        [PYTHON, "-c", LISTEN, f"{open_folder}/s"],
        user=entry.pw_uid,
        group=entry.pw_gid,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as listening:
        listening.stdout.readline()
        (found,) = modules.unix_socket.listeners(f"{open_folder}/s")
        listening.communicate(b"\n")
    assert (found["pid"], found["uid"], found["command"]) == (listening.pid, entry.pw_uid, "python3")
