"""
Paths and modes: what is refused, and with which words.
"""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

sockets = load("utils", "sockets")


@pytest.mark.parametrize("path", ["/run/valkey/valkey.sock", "/run/postgresql/.s.PGSQL.5432", "/run/a-b_c+d@e"])
def test_a_plain_absolute_path_is_taken(path):
    assert sockets.path(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("run/valkey", "not an absolute path"),
        ("", "not an absolute path"),
        (None, "not an absolute path"),
        (["/run"], "not an absolute path"),
        ("/", "not a plain path"),
        ("/run/", "not a plain path"),
        ("/run//valkey", "not a plain path"),
        ("/run/../etc", "not a plain path"),
        ("/run/./valkey", "not a plain path"),
        ("/run/a b", "not a plain path"),
        ("/run/%i", "not a plain path"),
        ("/run/a\n", "not a plain path"),
        ("/run/a\0b", "not a plain path"),
        ("/run/" + "a" * 103, "108 bytes long"),
    ],
)
def test_another_path_is_refused_with_the_reason(path, reason):
    with pytest.raises(SaltInvocationError, match=reason):
        sockets.path(path)


def test_the_longest_path_a_socket_can_have_is_taken():
    assert sockets.path("/run/" + "a" * 102)


@pytest.mark.parametrize(
    ("mode", "digits"),
    [("2750", "2750"), (2750, "2750"), ("750", "0750"), (770, "0770"), ("0770", "0770"), ("0o2750", "2750")],
)
def test_a_mode_is_read_by_its_octal_digits(mode, digits):
    assert sockets.mode(mode) == digits


@pytest.mark.parametrize("mode", ["u=rwx", "", None, True, 0o750, -750, "78", "27500", "99", 2.5, [], "²750"])
def test_what_is_no_octal_mode_is_refused(mode):
    with pytest.raises(SaltInvocationError, match="not an octal mode"):
        sockets.mode(mode)


@given(st.integers(min_value=0o100, max_value=0o7777))
def test_a_mode_means_the_same_as_a_string_and_as_its_digits(bits):
    digits = f"{bits:o}"
    assert sockets.mode(digits) == sockets.mode(int(digits)) == f"{bits:04o}"


@given(st.integers(min_value=0, max_value=0o7777))
def test_a_directory_mode_is_taken_only_if_others_are_out_and_members_cannot_write(bits):
    digits = f"{bits:04o}"
    if bits & 0o027:
        with pytest.raises(SaltInvocationError, match=r"lets (others|members)"):
            sockets.directory_mode(digits)
    else:
        assert sockets.directory_mode(digits) == digits


def test_a_mode_that_lets_members_write_is_refused_with_the_attack():
    with pytest.raises(SaltInvocationError, match="replace the socket"):
        sockets.directory_mode("2770")


def test_members_may_write_to_a_socket_but_others_may_not():
    assert sockets.socket_mode("0770") == "0770"
    with pytest.raises(SaltInvocationError, match="lets others in"):
        sockets.socket_mode("0777")


def test_a_number_that_another_yaml_loader_has_read_as_octal_is_never_taken_for_something_else():
    with pytest.raises(SaltInvocationError, match="if 0o770 was meant, quote it"):
        sockets.socket_mode(0o770)


def test_the_parent_is_opened_without_following_a_link(tmp_path):
    held = sockets.open_parent(f"{tmp_path}/socket")
    try:
        assert os.fstat(held).st_ino == tmp_path.stat().st_ino
    finally:
        os.close(held)


def test_a_link_on_the_way_is_refused_and_the_real_path_named(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(CommandExecutionError, match=f"symbolic link: write {tmp_path}/real/socket"):
        sockets.open_parent(f"{tmp_path}/link/socket")


def test_a_missing_parent_is_named(tmp_path):
    with pytest.raises(CommandExecutionError, match=f"{tmp_path}/gone: No such file"):
        sockets.open_parent(f"{tmp_path}/gone/deeper/socket")


def test_no_descriptor_is_left_open_after_a_refusal(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(CommandExecutionError):
            sockets.open_parent(f"{tmp_path}/gone/socket")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
