"""
What is left of root in a call as somebody else: nothing. Needs root.
"""

import os
import pwd
from pathlib import Path

import pytest
from tree import load

run_as = load("utils", "run_as")
USER = pwd.getpwnam("daemon")


@pytest.fixture
def status():
    """/proc/PID/status as the child sees its own."""
    text = run_as.call(USER.pw_name, lambda: Path("/proc/self/status").read_text(), 10)
    return {line.split(":")[0]: line.split()[1:] for line in text.splitlines()}


def test_every_uid_and_gid_is_the_users(status):
    assert status["Uid"] == [str(USER.pw_uid)] * 4
    assert status["Gid"] == [str(USER.pw_gid)] * 4


def test_the_groups_are_the_users_and_no_others(status):
    wanted = os.getgrouplist(USER.pw_name, USER.pw_gid)
    assert sorted(map(int, status["Groups"])) == sorted(wanted)


def test_no_capability_is_left(status):
    assert int(status["CapEff"][0], 16) == int(status["CapPrm"][0], 16) == 0


def test_the_caller_is_still_root(status):
    assert (os.getuid(), os.geteuid(), os.getgid()) == (0, 0, 0)


def test_root_cannot_be_had_back():
    def try_it():
        try:
            os.setuid(0)
        except PermissionError:
            return "refused"
        return "root again"

    assert run_as.call(USER.pw_name, try_it, 10) == "refused"
