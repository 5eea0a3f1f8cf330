"""
Directories that root makes: never through a link, never where others can exchange them.
"""

import os

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

account_directories = load("utils", "account_directories")

IDS = (os.getuid(), os.getgid())


@pytest.mark.parametrize("path", ["/opt/notes", "/opt/a b", "/srv/ü/x"])
def test_a_path_that_says_what_it_means(path):
    assert account_directories.checked(path) == path


@pytest.mark.parametrize(
    "path", ["", "/", "opt", "/opt/", "/opt/../etc", "/opt/./x", "/opt//x", "//opt/x", "/a\0b", None, 7]
)
def test_a_path_that_does_not(path):
    with pytest.raises(SaltInvocationError):
        account_directories.checked(path)


def test_a_directory_is_made_with_its_parents_and_owned(tmp_path):
    path = f"{tmp_path}/a/b/c"
    assert account_directories.status(path) is None
    account_directories.own(path, *IDS, "2750")
    assert account_directories.status(path) == {"uid": IDS[0], "gid": IDS[1], "mode": "2750"}
    assert account_directories.status(f"{tmp_path}/a/b")["mode"] == "0755"


def test_what_is_in_it_is_not_touched(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("x")
    (tmp_path / "a/file").chmod(0o604)
    account_directories.own(f"{tmp_path}/a", *IDS, "0700")
    assert (tmp_path / "a/file").stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("place", ["link", "link/below"])
def test_a_link_is_never_followed(tmp_path, place):
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("target")
    for call in (account_directories.status, lambda path: account_directories.own(path, *IDS, "0777")):
        with pytest.raises(CommandExecutionError, match=f"{tmp_path}/link is not a directory, and symbolic links"):
            call(f"{tmp_path}/{place}")
    assert (tmp_path / "target").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "target").iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CommandExecutionError, match=f"{tmp_path}/file is not a directory"):
        account_directories.own(f"{tmp_path}/file", *IDS, "0750")


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_parent_that_others_can_write_to_is_refused(tmp_path, mode):
    parent = tmp_path / "parent"
    parent.mkdir()
    parent.chmod(mode)
    for call in (account_directories.status, lambda path: account_directories.own(path, *IDS, "0750")):
        with pytest.raises(CommandExecutionError, match=f"{parent} has mode .* exchange"):
            call(f"{parent}/x")
    assert account_directories.status(f"{parent}/x", repaired=str(parent)) is None


def test_a_parent_with_the_sticky_bit_protects_what_is_in_it(tmp_path):
    parent = tmp_path / "parent"
    parent.mkdir()
    parent.chmod(0o1777)
    account_directories.own(f"{parent}/x", *IDS, "0750")
    assert account_directories.status(f"{parent}/x")["mode"] == "0750"
