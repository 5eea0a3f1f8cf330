"""
How the example application reads what it is from the kernel.
"""

import os
import socket

import pytest

STATUS = """\
Name:\tpython3
Uid:\t0\t990\t990\t990
Gid:\t0\t991\t991\t991
Groups:\t1001 105 1000
CapEff:\t{effective}
CapBnd:\t{bounding}
NoNewPrivs:\t{locked}
"""


@pytest.fixture
def status(tmp_path):
    def write(effective="0000000000000000", bounding="0000000000000000", locked="1"):
        path = tmp_path / "status"
        path.write_text(STATUS.format(effective=effective, bounding=bounding, locked=locked))
        return path

    return write


def test_the_effective_ids_and_all_groups_are_told(identity, status):
    seen = identity.process(status())
    assert (seen["user"], seen["group"], seen["groups"]) == (990, 991, [105, 1000, 1001])


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("0000000000000000", []),
        ("00000000000000c0", ["setgid", "setuid"]),
        ("0000010000000001", ["chown", "checkpoint_restore"]),
        ("0000020000000000", ["cap_41"]),
    ],
)
def test_capabilities_are_told_by_name(identity, status, mask, names):
    assert identity.process(status(effective=mask, bounding=mask))["capabilities"] == {
        "effective": names,
        "bounding": names,
    }


@pytest.mark.parametrize(("locked", "expected"), [("0", False), ("1", True)])
def test_no_new_privileges_is_told(identity, status, locked, expected):
    assert identity.process(status(locked=locked))["no_new_privileges"] is expected


def test_this_process_is_seen_as_it_is(identity):
    seen = identity.process()
    assert (seen["user"], seen["group"], seen["groups"]) == (os.geteuid(), os.getegid(), sorted(os.getgroups()))


def test_a_socket_is_described(identity, tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o770)
        tmp_path.chmod(0o2750)
        assert identity.socket(path) == {
            "path": str(path),
            "present": True,
            "owner": os.geteuid(),
            "group": path.stat().st_gid,
            "mode": "0770",
            "directory_mode": "2750",
            "connectable": True,
            "replaceable": True,
        }


def test_a_socket_that_is_missing_is_told_with_its_directory(identity, tmp_path):
    tmp_path.chmod(0o750)
    seen = identity.socket(tmp_path / "s")
    assert (seen["present"], seen["mode"], seen["connectable"], seen["directory_mode"]) == (False, None, False, "0750")


def test_a_directory_that_is_missing_is_told(identity, tmp_path):
    seen = identity.socket(tmp_path / "none" / "s")
    assert (seen["present"], seen["directory_mode"], seen["replaceable"]) == (False, None, False)
