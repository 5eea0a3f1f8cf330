"""
A service's files: in an archive that equals them, or not deleted.
"""

import os
import socket
import tarfile
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

account_archive = load("utils", "account_archive")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(account_archive, "FOLDER", str(tmp_path / "archive"))
    monkeypatch.setattr(account_archive, "COMPRESSORS", {"gz": "gzip"})
    home = tmp_path / "home"
    (home / "data/deep ü\nx").mkdir(parents=True)
    (home / "data/deep ü\nx/file").write_bytes(bytes(range(256)) * 100)
    (home / "data/empty").touch()
    (home / "data/run").write_text("x")
    (home / "data/run").chmod(0o4755)
    (home / "data/hard").hardlink_to(home / "data/run")
    (home / "data/link").symlink_to("/etc/passwd")
    (home / "data/broken").symlink_to("nowhere")
    os.mkfifo(home / "data/pipe")
    Path(os.fsdecode(os.fsencode(home) + b"/data/\xff")).write_text("name of bytes")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(home / "data/s"))
    return home


def names(archive):
    with tarfile.open(archive) as opened:
        return {member.name.removeprefix("./") for member in opened}


def test_everything_but_sockets_is_in_an_archive_that_only_root_can_read(home):
    archive = Path(account_archive.archive(str(home), "notes"))
    assert {"data/deep ü\nx/file", "data/empty", "data/run", "data/hard", "data/link", "data/pipe"} <= names(archive)
    assert "data/s" not in names(archive)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert archive.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in archive.parent.iterdir()] == [archive.name]
    assert archive.name.endswith("Z-files.tar.gz")
    assert (home / "data/run").exists(), "archiving deletes nothing"


def test_what_is_extracted_is_what_was_there(home, tmp_path):
    archive = account_archive.archive(str(home), "notes")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "back", filter="fully_trusted")  # noqa: S202 - our own archive
    assert account_archive._tree(str(tmp_path / "back")) == account_archive._tree(str(home))


@pytest.mark.parametrize(
    "tamper",
    [
        lambda home: (home / "data/empty").write_text("x"),
        lambda home: (home / "data/deep ü\nx/file").write_bytes(bytes(range(255, -1, -1)) * 100),
        lambda home: (home / "data/empty").unlink(),
        lambda home: (home / "data/new").touch(),
        lambda home: (home / "data/empty").chmod(0o600),
        lambda home: ((home / "data/link").unlink(), (home / "data/link").symlink_to("/etc/group")),
        lambda home: ((home / "data/empty").unlink(), (home / "data/empty").mkdir()),
        lambda home: (home / "data").chmod(0o700),
    ],
)
def test_an_archive_that_differs_from_the_files_is_no_archive(home, monkeypatch, tamper):
    write = account_archive._write

    def then_tamper(path, staged, program):
        write(path, staged, program)
        tamper(home)

    monkeypatch.setattr(account_archive, "_write", then_tamper)
    with pytest.raises(CommandExecutionError, match=r"differ from the files .*data.*nothing was removed"):
        account_archive.archive(str(home), "notes")
    assert list(Path(account_archive.folder("notes")).iterdir()) == []


def test_a_damaged_archive_is_noticed(home, monkeypatch):
    write = account_archive._write

    def then_cut(path, staged, program):
        write(path, staged, program)
        os.truncate(staged, staged.stat().st_size // 2)

    monkeypatch.setattr(account_archive, "_write", then_cut)
    with pytest.raises(CommandExecutionError, match=r"cannot be read back|differ"):
        account_archive.archive(str(home), "notes")
    assert list(Path(account_archive.folder("notes")).iterdir()) == []


def test_tar_s_own_words_are_passed_on(home, monkeypatch):
    monkeypatch.setattr(account_archive, "TAR", ["tar", "--create", "--file=-", "--no-such-option"])
    with pytest.raises(CommandExecutionError, match="no-such-option"):
        account_archive.archive(str(home), "notes")


def test_what_a_killed_run_left_is_replaced(home):
    folder = Path(account_archive.folder("notes"))
    folder.mkdir(parents=True)
    (folder / ".files.part").write_text("half")
    archive = account_archive.archive(str(home), "notes")
    assert [entry.name for entry in folder.iterdir()] == [Path(archive).name]


def test_deleting_follows_no_link_and_works_twice(home, tmp_path):
    (tmp_path / "else").mkdir()
    (tmp_path / "else/file").write_text("stays")
    (home / "data/away").symlink_to(tmp_path / "else")
    for _ in range(2):
        account_archive.delete(str(home))
        assert not home.exists()
    assert (tmp_path / "else/file").read_text() == "stays"


@pytest.mark.parametrize(("below", "shown"), [("", ""), ("/data", "/data"), ("/a\\040b", "/a b")])
def test_what_is_mounted_there_is_neither_archived_nor_deleted(home, tmp_path, monkeypatch, below, shown):
    mounts = tmp_path / "mountinfo"
    places = ("/", f"{home}-2", f"{home}{below}")
    mounts.write_text("".join(f"36 35 98:0 / {place} rw - ext4 /dev/root rw\n" for place in places))
    monkeypatch.setattr(account_archive, "MOUNTS", str(mounts))
    for call in (lambda: account_archive.delete(str(home)), lambda: account_archive.archive(str(home), "notes")):
        with pytest.raises(
            CommandExecutionError, match=f"^{home}{shown}: something is mounted there: unmount it first"
        ):
            call()
    assert (home / "data/run").exists()
    assert not (tmp_path / "archive").exists()
