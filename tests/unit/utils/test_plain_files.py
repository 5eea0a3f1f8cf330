"""
What is remembered of files is what they hold now: nothing old, nothing of another file, nothing that became unsafe.
"""

import os
import sys

import pytest
from tree import load

files = load("utils", "plain_files")
process_memory = load("utils", "process_memory")

NOBODY = 65534


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def read(folder, monkeypatch):
    """A function that reads the folder, always with the same memory; files count as settled at once."""
    monkeypatch.setattr(files, "SETTLED", 0)
    memory = {}
    return lambda: files.mappings(folder, "an entry", memory)


@pytest.fixture
def parsed(monkeypatch):
    """The texts that were parsed."""
    texts = []
    parse = files.yaml.load

    def counted(text, Loader):  # noqa: N803 - PyYAML's name
        texts.append(text)
        return parse(text, Loader=Loader)

    monkeypatch.setattr(files.yaml, "load", counted)
    return texts


def change(path, text):
    """Write a file anew, within no tick of the kernel's clock in which it was written before; its mtime stays."""
    before = path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:
        path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_only_what_has_changed_is_parsed_again(folder, read, parsed):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    (folder / "wiki.yaml").write_text("image: wiki:1\n")
    assert read() == read()
    assert parsed == ["image: notes:1\n", "image: wiki:1\n"]
    change(folder / "wiki.yaml", "image: wiki:22\n")
    assert read()[0] == {"notes": {"image": "notes:1"}, "wiki": {"image": "wiki:22"}}
    assert len(parsed) == 3


def test_a_change_of_the_same_size_and_time_is_seen(folder, read):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    read()
    change(folder / "notes.yaml", "image: notes:2\n")
    assert read()[0]["notes"] == {"image": "notes:2"}


def test_another_file_of_the_same_size_and_time_in_its_place_is_seen(folder, read):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    read()
    before = (folder / "notes.yaml").stat()
    (folder / "staged").write_text("image: notes:2\n")
    os.utime(folder / "staged", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "staged").replace(folder / "notes.yaml")
    assert read()[0]["notes"] == {"image": "notes:2"}


def test_files_that_exchange_their_names_exchange_their_entries(folder, read):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    (folder / "wikis.yaml").write_text("image: wikis:1\n")
    read()
    (folder / "notes.yaml").rename(folder / "other")
    (folder / "wikis.yaml").rename(folder / "notes.yaml")
    (folder / "other").rename(folder / "wikis.yaml")
    assert read()[0] == {"notes": {"image": "wikis:1"}, "wikis": {"image": "notes:1"}}


def test_a_link_that_leads_elsewhere_is_followed_anew(folder, read, tmp_path_factory):
    there = tmp_path_factory.mktemp("there")
    for number in (1, 2):
        (there / str(number)).write_text(f"image: notes:{number}\n")
    (folder / "notes.yaml").symlink_to(there / "1")
    assert read()[0]["notes"] == {"image": "notes:1"}
    (folder / "notes.yaml").unlink()
    (folder / "notes.yaml").symlink_to(there / "2")
    assert read()[0]["notes"] == {"image": "notes:2"}


def test_a_file_that_is_gone_is_forgotten(folder, read, parsed):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    read()
    (folder / "notes.yaml").rename(folder / ".away")
    assert read() == ({}, {})
    (folder / ".away").rename(folder / "notes.yaml")
    assert read()[0] == {"notes": {"image": "notes:1"}}
    assert len(parsed) == 2


def test_a_file_that_others_may_write_is_refused_although_it_is_remembered(folder, read):
    path = folder / "notes.yaml"
    path.write_text("image: notes:1\n")
    read()
    path.chmod(0o666)
    entries, errors = read()
    assert entries == {}
    assert "chmod go-w" in errors[str(path)]
    path.chmod(0o644)
    assert read() == ({"notes": {"image": "notes:1"}}, {})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_that_becomes_somebody_elses_is_refused_although_it_is_remembered(folder, read):
    path = folder / "notes.yaml"
    path.write_text("image: notes:1\n")
    read()
    os.chown(path, NOBODY, -1)
    entries, errors = read()
    assert entries == {}
    assert f"belongs to uid {NOBODY}" in errors[str(path)]


def test_a_folder_that_others_may_write_is_refused_although_its_files_are_remembered(folder, read):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    read()
    folder.chmod(0o777)
    entries, errors = read()
    assert entries == {}
    assert "chmod go-w" in errors[str(folder)]


def test_a_mistake_is_told_each_time_and_hides_what_was_remembered(folder, read):
    path = folder / "notes.yaml"
    path.write_text("image: notes:1\n")
    read()
    change(path, "image: [\n")
    for _ in range(2):
        entries, errors = read()
        assert entries == {}
        assert str(path) in errors


def test_what_was_changed_a_moment_ago_is_read_again(folder, parsed):
    memory = {}
    (folder / "notes.yaml").write_text("image: notes:1\n")
    for _ in range(2):
        files.mappings(folder, "an entry", memory)
    assert len(parsed) == 2


def test_a_change_to_what_was_returned_changes_nothing_for_others(folder, read):
    (folder / "notes.yaml").write_text("image: notes:1\nenv: {A: b}\n")
    for _ in range(3):
        entries, _ = read()
        assert entries == {"notes": {"image": "notes:1", "env": {"A": "b"}}}
        entries["notes"]["env"]["A"] = "changed"
        entries["notes"]["image"] = "changed"


def test_folders_with_the_same_names_are_kept_apart(tmp_path, monkeypatch, parsed):
    monkeypatch.setattr(files, "SETTLED", 0)
    memory = {}
    for number in (1, 2):
        (tmp_path / str(number)).mkdir(mode=0o755)
        (tmp_path / str(number) / "notes.yaml").write_text(f"image: notes:{number}\n")
    for _ in range(2):
        for number in (1, 2):
            entries, _ = files.mappings(tmp_path / str(number), "an entry", memory)
            assert entries == {"notes": {"image": f"notes:{number}"}}
    assert len(parsed) == 2


def test_what_other_code_has_read_is_read_again(folder, read, parsed, monkeypatch):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    read()
    monkeypatch.setattr(files, "CODE", files.CODE + 1)
    read()
    assert len(parsed) == 2


def test_without_a_memory_nothing_is_remembered(folder, parsed, monkeypatch):
    monkeypatch.setattr(files, "SETTLED", 0)
    (folder / "notes.yaml").write_text("image: notes:1\n")
    assert files.mappings(folder, "an entry") == files.mappings(folder, "an entry")
    assert len(parsed) == 2


def test_the_memory_of_a_process_outlives_the_module(monkeypatch):
    purpose = "test_plain_files"
    process_memory.of(purpose)["kept"] = 1
    monkeypatch.delitem(sys.modules, process_memory.__name__)
    again = load("utils", "process_memory")
    assert again is not process_memory
    assert again.of(purpose) == {"kept": 1}
    assert again.of("another purpose") == {}
