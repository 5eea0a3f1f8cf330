"""
Which modules a host has: the same digest for the same modules, wherever they lie.
"""

import shutil

from tree import TREE, load

module_tree = load("utils", "module_tree")


def test_what_salt_has_made_of_the_tree_is_the_tree(tmp_path):
    for kind in ("modules", "states", "utils", "grains", "output"):
        shutil.copytree(TREE / f"_{kind}", tmp_path / kind)
    if (TREE / "_beacons").is_dir():
        shutil.copytree(TREE / "_beacons", tmp_path / "beacons")
    assert module_tree.digest(tmp_path) == module_tree.digest(TREE, "_")


def test_every_change_counts(tmp_path):
    (tmp_path / "modules").mkdir()
    module = tmp_path / "modules/a.py"
    seen = set()
    for text in ("x = 1\n", "x = 2\n"):
        module.write_text(text)
        seen.add(module_tree.digest(tmp_path))
    module.rename(tmp_path / "modules/b.py")
    seen.add(module_tree.digest(tmp_path))
    (tmp_path / "modules").rename(tmp_path / "states")
    seen.add(module_tree.digest(tmp_path))
    assert len(seen) == 4


def test_what_is_no_module_does_not_count(tmp_path):
    (tmp_path / "modules/__pycache__").mkdir(parents=True)
    (tmp_path / "modules/a.py").write_text("x = 1\n")
    before = module_tree.digest(tmp_path)
    (tmp_path / "modules/__pycache__/a.pyc").write_bytes(b"x")
    (tmp_path / "modules/.a.py.swp").write_bytes(b"x")
    assert module_tree.digest(tmp_path) == before


def test_without_modules_there_is_no_digest(tmp_path):
    assert module_tree.digest(tmp_path) is None
