"""
Text files that are replaced at once.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

textfile = load("utils", "textfile")


def test_equal_text_has_no_diff(tmp_path):
    (tmp_path / "a").write_text("one\n")
    assert textfile.diff(f"{tmp_path}/a", "one\n") == ""


def test_the_diff_of_a_missing_file_adds_every_line(tmp_path):
    assert textfile.diff(f"{tmp_path}/a", "one\ntwo\n").splitlines()[3:] == ["+one", "+two"]


def test_a_changed_line_is_in_the_diff(tmp_path):
    (tmp_path / "a").write_text("one\ntwo\n")
    assert {"-two", "+three"} <= set(textfile.diff(f"{tmp_path}/a", "one\nthree\n").splitlines())


def test_a_missing_last_line_end_is_a_difference(tmp_path):
    (tmp_path / "a").write_text("one")
    assert textfile.diff(f"{tmp_path}/a", "one\n")


def test_writing_replaces_text_and_mode_and_leaves_nothing_beside(tmp_path):
    (tmp_path / "a").write_text("old")
    textfile.write(f"{tmp_path}/a", "new\n")
    assert (tmp_path / "a").read_text() == "new\n"
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_link_is_replaced_and_what_it_leads_to_is_left_alone(tmp_path):
    (tmp_path / "elsewhere").write_text("theirs")
    (tmp_path / "a").symlink_to("elsewhere")
    textfile.write(f"{tmp_path}/a", "new\n")
    assert (tmp_path / "elsewhere").read_text() == "theirs"
    assert not (tmp_path / "a").is_symlink()


def test_the_folder_is_made(tmp_path):
    textfile.write(f"{tmp_path}/folder/a", "new\n")
    assert textfile.read(f"{tmp_path}/folder/a") == "new\n"


def test_what_cannot_be_written_is_named_and_leaves_nothing_beside(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(CommandExecutionError, match=f"{tmp_path}/a"):
        textfile.write(f"{tmp_path}/a", "new\n")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_directory_is_no_text(tmp_path):
    with pytest.raises(CommandExecutionError, match="Is a directory"):
        textfile.read(str(tmp_path))


def test_a_missing_file_has_no_text(tmp_path):
    assert textfile.read(f"{tmp_path}/a") is None
