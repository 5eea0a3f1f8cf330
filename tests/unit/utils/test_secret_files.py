"""
Files that hold a secret: root's alone, whole, and never a link.
"""

import os
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

secret_files = load("utils", "secret_files")


def test_a_new_secret_is_read_back_and_only_its_owner_can(tmp_path):
    path = tmp_path / "infra" / "secrets" / "secret"
    secret = secret_files.create(str(path))
    assert secret_files.read(str(path)) == secret
    assert len(secret) >= 43  # 256 bits
    assert path.stat().st_mode & 0o777 == 0o600
    assert [folder.stat().st_mode & 0o777 for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]
    assert [entry.name for entry in path.parent.iterdir()] == ["secret"]


def test_a_secret_that_is_there_is_not_replaced(tmp_path):
    path = str(tmp_path / "secret")
    secret = secret_files.create(path)
    with pytest.raises(CommandExecutionError, match="exists"):
        secret_files.create(path)
    assert secret_files.read(path) == secret


def test_no_file_is_no_secret(tmp_path):
    assert secret_files.read(str(tmp_path / "none")) is None


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o660])
def test_a_secret_others_can_read_is_refused_with_the_way_out(tmp_path, mode):
    path = tmp_path / "secret"
    secret_files.create(str(path))
    path.chmod(mode)
    with pytest.raises(CommandExecutionError, match="delete the file"):
        secret_files.read(str(path))


@pytest.mark.parametrize(
    "text", ["", "short", "two words that are long", "line\nline-line-line-line", "ümlautümlautüml"]
)
def test_what_cannot_be_a_secret_is_refused_without_being_shown(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(CommandExecutionError, match="printable") as caught:
        secret_files.read(str(path))
    assert not text or text not in str(caught.value)


def test_links_directories_and_pipes_are_not_followed(tmp_path):
    secret_files.create(str(tmp_path / "secret"))
    (tmp_path / "link").symlink_to("secret")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "directory", "pipe"):
        with pytest.raises(CommandExecutionError, match=name):
            secret_files.read(str(tmp_path / name))


def test_removing_is_done_once_and_no_error_twice(tmp_path):
    path = str(tmp_path / "secret")
    secret_files.create(path)
    secret_files.remove(path)
    secret_files.remove(path)
    assert not Path(path).exists()


def test_a_file_is_replaced_with_its_mode_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "users.acl"
    path.write_text("old")
    secret_files.write(str(path), "new\n", mode=0o640, owner=(os.getuid(), os.getgid()))
    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_what_was(tmp_path, monkeypatch):
    path = tmp_path / "users.acl"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        secret_files.write(str(path), "new", mode=0o640)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "value", [b"", b"\xff\0\r\n", b"line\nline\n\n", "Gr\u00fc\u00dfe \U0001f5dd".encode(), b"x" * 4096]
)
def test_any_bytes_are_kept_exactly(tmp_path, value):
    path = tmp_path / "secrets/notes.key"
    secret_files.put(str(path), value)
    assert secret_files.read_exactly(str(path)) == value
    assert path.stat().st_mode & 0o777 == 0o600
    secret_files.put(str(path), b"other")
    assert secret_files.read_exactly(str(path)) == b"other"
    assert [entry.name for entry in path.parent.iterdir()] == ["notes.key"]


def test_an_administrator_s_file_is_not_proposed_for_deletion(tmp_path):
    path = tmp_path / "key"
    secret_files.put(str(path), "value")
    path.chmod(0o644)
    with pytest.raises(CommandExecutionError, match="give it to root") as raised:
        secret_files.read_exactly(str(path), ours=False)
    assert "delete" not in str(raised.value)


def test_a_file_beyond_what_podman_takes_is_not_read(tmp_path):
    path = tmp_path / "key"
    secret_files.put(str(path), b"x" * (secret_files.MAXIMUM_SIZE + 1))
    with pytest.raises(CommandExecutionError, match="512000 bytes, of which Podman takes 511999"):
        secret_files.read_exactly(str(path))


def test_names_are_all_files_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(secret_files, "DIRECTORY", str(tmp_path / "secrets"))
    assert secret_files.names() == []
    for name in ("notes.b", "notes.a", ".notes.a.half"):
        secret_files.put(str(tmp_path / "secrets" / name), "x")
    assert secret_files.names() == [".notes.a.half", "notes.a", "notes.b"]


@pytest.mark.parametrize("name", ["notes.token", "notes.web.REDIS_URL", "valkey-notes", "a" * 253])
def test_a_secret_has_a_file_of_its_name(name):
    assert secret_files.path(name) == f"/var/lib/rick-infra/secrets/{name}"


@pytest.mark.parametrize("name", ["", ".x", "-x", "a/b", "a b", "a\n", "a" * 254, None, 7])
def test_a_name_podman_refuses_has_none(name):
    with pytest.raises(SaltInvocationError, match="use letters"):
        secret_files.path(name)


def test_a_secret_that_is_missing_is_made_once(tmp_path):
    path = str(tmp_path / "secrets/new")
    secret = secret_files.obtain(path)
    assert len(secret) >= secret_files.MINIMUM_LENGTH
    assert secret_files.obtain(path) == secret_files.read(path) == secret
