"""
What was worked out is kept as long as nothing it was made from has changed, and never believed otherwise.
"""

import datetime
import stat
from types import SimpleNamespace

import pytest
from tree import TREE, load

cache = load("utils", "catalogue_cache")

MODULE = str(TREE / "_modules/catalogue.py")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state/catalogue.json"


def test_what_is_kept_is_found_by_each_of_its_keys(file):
    cache.store(["k1", "k2"], {"a": [1]}, file)
    assert cache.load("k1", file) == cache.load("k2", file) == {"a": [1]}
    assert cache.load("k3", file) is None
    assert cache.load(None, file) is None


def test_only_root_reads_it(file):
    cache.store(["k"], {}, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'"k"', b"{}", b'{"keys": 5}', b'{"keys": null}', b"\xff\x00", b"null"]
)
def test_a_damaged_file_is_as_none(file, damage):
    file.parent.mkdir()
    file.write_bytes(damage)
    assert cache.load("k", file) is None


def test_a_lost_file_is_made_anew(file):
    assert cache.load("k", file) is None
    cache.store(["k"], 1, file)
    file.unlink()
    cache.store(["k"], 1, file)
    assert cache.load("k", file) == 1


def test_a_host_where_it_cannot_be_written_goes_on(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(cache, "log", SimpleNamespace(warning=lambda text, *values: said.append(text % values)))
    (tmp_path / "file").write_text("")
    cache.store(["k"], 1, tmp_path / "file/catalogue.json")
    assert "cannot be written" in said[0]


def test_the_key_depends_on_the_data():
    assert cache.key({"a": 1}, MODULE) == cache.key({"a": 1}, MODULE)
    assert cache.key({"a": 1}, MODULE) != cache.key({"a": 2}, MODULE)
    # Whatever a pillar may hold.
    assert cache.key({1: {2, 3}}, MODULE)


def test_the_key_depends_on_the_code(tmp_path):
    for folder in ("_modules", "_utils"):
        (tmp_path / folder).mkdir()
    module = tmp_path / "_modules/catalogue.py"
    module.write_bytes((TREE / "_modules/catalogue.py").read_bytes())
    assert cache.key(1, module) is None, "without the code nothing is known of what follows"
    for name in cache.CODE:
        (tmp_path / f"_utils/{name}.py").write_bytes((TREE / f"_utils/{name}.py").read_bytes())
    before = cache.key(1, module)
    assert before == cache.key(1, MODULE)
    for name in cache.CODE:
        with (tmp_path / f"_utils/{name}.py").open("a") as stream:
            stream.write("\n")
        after = cache.key(1, module)
        assert after != before
        before = after


def test_the_code_is_found_where_salt_copies_modules_to(tmp_path):
    (tmp_path / "modules").symlink_to(TREE / "_modules")
    (tmp_path / "utils").symlink_to(TREE / "_utils")
    assert cache.key(1, tmp_path / "modules/catalogue.py") == cache.key(1, MODULE)


def test_the_module_that_judges_counts_as_well(tmp_path):
    (tmp_path / "_utils").symlink_to(TREE / "_utils")
    (tmp_path / "_modules").mkdir()
    module = tmp_path / "_modules/catalogue_entries.py"
    module.write_text("one")
    before = cache.key({}, str(module))
    assert before == cache.key({}, str(module))
    module.write_text("other")
    assert cache.key({}, str(module)) not in (None, before)


def test_a_key_that_json_has_no_form_for_counts_by_how_it_looks():
    one, other = ({"a": {datetime.date(2026, 1, day): 1}} for day in (1, 2))
    assert cache.key(one, MODULE) == cache.key(one, MODULE) != cache.key(other, MODULE)
