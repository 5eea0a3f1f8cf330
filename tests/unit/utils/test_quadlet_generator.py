"""
Podman's generator: how it is called and understood. What it says here was recorded from Podman 5.4.2.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

generator = load("utils", "quadlet_generator")

# Refuses every file with a line Foo=, as the real one does, and prints what it was shown of the others.
DOUBLE = """\
#!/bin/sh
[ "$1" = -dryrun ] || exit 9
folder=${QUADLET_UNIT_DIRS%%:*}
prefix='quadlet-generator[42]: '
code=0
for path in "$folder"/*.*; do
    [ -f "$path" ] || continue
    file=$(basename "$path")
    echo "quadlet-generator[42]: Loading source unit file $path" >&2
    if grep -q ^Foo= "$path"; then
        echo "${prefix}converting \\"$file\\": unsupported key 'Foo' in group 'Container' in $path" >&2
        prefix=
        code=1
    else
        echo "---${file%.*}.service---"
        printf '[Unit]\\nSourcePath=%s\\n\\n' "$path"
    fi
done
echo 'quadlet-generator[42]: Warning: x.container specifies the image "x" which not a fully qualified image name.' >&2
exit $code
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, with a generator that is a double."""
    double = tmp_path / "quadlet"
    double.write_text(DOUBLE)
    double.chmod(0o755)
    monkeypatch.setattr(generator, "GENERATORS", (str(tmp_path / "nowhere"), str(double)))
    monkeypatch.setattr(generator, "OTHER_FOLDERS", ())
    found = tmp_path / "systemd"
    found.mkdir()
    return found


def test_a_change_is_checked_among_the_files_that_are_there(folder):
    (folder / "a.container").write_text("[Container]\n")
    result = generator.run(str(folder), {"b.container": "[Container]\n"})
    assert result["errors"] == []
    assert set(result["units"]) == {"a.service", "b.service"}


def test_nothing_is_written_by_a_check(folder):
    (folder / "a.container").write_text("[Container]\n")
    generator.run(str(folder), {"a.container": "[Container]\nFoo=1\n", "b.container": "[Container]\n"})
    assert [path.name for path in folder.iterdir()] == ["a.container"]
    assert (folder / "a.container").read_text() == "[Container]\n"


def test_paths_are_those_that_will_be(folder):
    result = generator.run(str(folder), {"a.container": "[Container]\n", "b.container": "Foo=1\n"})
    assert f"SourcePath={folder}/a.container" in result["units"]["a.service"]
    assert f"in {folder}/b.container" in result["errors"][0]


def test_a_removed_file_is_not_there(folder):
    (folder / "a.container").write_text("[Container]\n")
    assert generator.run(str(folder), {"a.container": None})["units"] == {}


def test_subfolders_come_along_and_half_written_files_do_not(folder):
    (folder / "a.container.d").mkdir()
    (folder / "a.container.d/x.conf").write_text("")
    (folder / ".b.container.x.new").write_text("Foo=1\n")
    assert generator.run(str(folder), {"a.container": "[Container]\n"})["errors"] == []


def test_a_folder_that_is_not_there_yet_is_empty(folder):
    folder.rmdir()
    assert set(generator.run(str(folder), {"a.container": "[Container]\n"})["units"]) == {"a.service"}


def test_only_new_errors_count(folder):
    (folder / "old.container").write_text("Foo=1\n")
    errors, units = generator.new_errors(str(folder), {"a.container": "[Container]\n"})
    assert errors == []
    assert set(units) == {"a.service"}


def test_an_error_of_the_file_itself_counts_though_it_was_there_before(folder):
    (folder / "a.container").write_text("Foo=1\n")
    errors, _ = generator.new_errors(str(folder), {"a.container": "[Container]\nFoo=1\n"})
    assert len(errors) == 1
    assert errors[0].startswith("converting")


def test_every_error_is_reported(folder):
    errors, _ = generator.new_errors(str(folder), {"a.container": "Foo=1\n", "b.container": "Foo=2\n"})
    assert [error.split('"')[1] for error in errors] == ["a.container", "b.container"]


def test_a_file_that_makes_the_generator_drop_all_others_counts_though_it_was_there_before(folder, monkeypatch):
    said = {"units": {}, "errors": ['error loading "/x/bad.container", key file does not start with a group']}
    monkeypatch.setattr(generator, "run", lambda *_: said)
    errors, _ = generator.new_errors(str(folder), {"a.container": "[Container]\n"})
    assert errors == said["errors"]


def test_without_podman_the_error_says_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "GENERATORS", (str(tmp_path / "nowhere"),))
    assert not generator.installed()
    with pytest.raises(CommandExecutionError, match=r"infra\.podman"):
        generator.run(str(tmp_path), {})


def test_nothing_is_left_of_the_copy(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(generator.tempfile, "tempdir", str(tmp_path))
    generator.run(str(folder), {"a.container": "[Container]\n"})
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("rick-quadlet-")]
    assert list(folder.iterdir()) == []
