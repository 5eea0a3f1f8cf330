"""
What a run remembers of the archives that it has made.
"""

from tree import load

archives = load("utils", "archives")


def test_an_archive_counts_for_its_service_and_thing_as_long_as_it_is_there(tmp_path):
    context, file = {}, tmp_path / "files.tar"
    file.touch()
    assert archives.note(context, "notes", "files", str(file)) == str(file)
    assert archives.made(context, "notes", "files") == str(file)
    assert archives.made(context, "notes", "keys") is archives.made(context, "wiki", "files") is None
    file.unlink()
    assert archives.made(context, "notes", "files") is None
