"""
The examples' entries are valid, and name images that are built.
"""

import importlib.machinery
import importlib.util
import sys

import pytest
import yaml
from tree import TREE, load

ENTRIES = sorted((TREE / "examples/services").glob("*.yaml"))


@pytest.fixture(scope="module")
def build():
    """The script that builds the images, loaded without running it."""
    loader = importlib.machinery.SourceFileLoader("rick_examples_build", str(TREE / "examples/build"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module  # a dataclass looks its module up by name
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.stem)
class TestEachEntry:
    def test_it_is_valid(self, path):
        assert load("utils", "catalogue_schema").complete(yaml.safe_load(path.read_text()))[1] == []

    def test_its_image_is_one_that_is_built(self, path, build):
        assert yaml.safe_load(path.read_text())["image"] in [layer.image for layer in build.LAYERS]

    def test_its_site_has_its_name(self, path):
        site = yaml.safe_load(path.read_text())["site"]
        assert (site["domains"] if isinstance(site, dict) else site) == f"{path.stem}.example.test"

    def test_the_programs_that_it_names_are_in_the_image(self, path):
        entry = yaml.safe_load(path.read_text())
        for container in entry.get("containers", {}).values():
            commands = [container["command"], container.get("health", {}).get("command")]
            for _, program in filter(None, commands):
                assert (TREE / "examples" / path.stem / program.removeprefix("/")).is_file()


def test_there_are_six():
    assert [path.stem for path in ENTRIES] == ["board", "diary", "hello", "items", "notes", "queue"]


def test_what_a_containerfile_copies_is_what_its_digest_is_made_of(build):
    for layer in build.LAYERS:
        recipe = (build.HERE / layer.recipe).read_text().splitlines()
        copied = [name for line in recipe if line.startswith("COPY") for name in line.split()[1:-1]]
        assert set(copied) == set(layer.sources), layer.recipe
        assert f"FROM {layer.below}" in recipe, layer.recipe
        assert len(build.sources(layer)) > len(layer.sources), layer.recipe


def test_an_image_is_built_after_the_one_below_it(build):
    known = {build.PYTHON, build.SMALL}
    for layer in build.LAYERS:
        assert layer.below in known
        known.add(layer.image)


def test_a_changed_file_or_base_changes_the_digest(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "HERE", tmp_path)
    (tmp_path / "a").write_text("one")
    first = build.digest("id", [tmp_path / "a"])
    assert build.digest("another id", [tmp_path / "a"]) != first
    (tmp_path / "a").write_text("two")
    assert build.digest("id", [tmp_path / "a"]) != first


def test_what_is_up_to_date_is_not_built(build, monkeypatch):
    made = []
    wanted = {}

    def inspect(image):
        return image, wanted.get(image, "")

    base = build.digest("trixie", [TREE / "examples/build"])
    wanted.update({build.PYTHON: base, build.SMALL: base})
    for layer in build.LAYERS:
        wanted[layer.image] = build.digest(layer.below, build.sources(layer))
    monkeypatch.setattr(build, "inspect", inspect)
    monkeypatch.setattr(build, "build_bases", lambda *_: made.append("bases"))
    monkeypatch.setattr(build, "build_layer", lambda layer, _label: made.append(layer.image))
    monkeypatch.setattr(build, "run", lambda *_: "")
    assert not build.build("trixie", build.LAYERS, fresh=False)
    assert made == []
    wanted["localhost/queue:1"] = "older"
    assert build.build("trixie", build.LAYERS, fresh=False)
    assert made == ["localhost/queue:1"]
    made.clear()
    assert build.build("forky", build.LAYERS, fresh=False)
    assert made[0] == "bases"
