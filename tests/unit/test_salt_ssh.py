"""
salt-ssh: the example of a roster, and whether all that the tree imports gets to a host that has nothing but Python.
"""

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import salt.config
import salt.roster
import salt.utils.thin
import yaml
from packaging.requirements import Requirement
from tree import TREE, load_script

# What runs on the target; _pillar and _output stay on the master.
FOLDERS = ("_modules", "_states", "_utils", "_grains")
# Not packed, since only folders and files in Python can be. Debian's python3-cffi-backend and libpq5 take their place.
OF_DEBIAN = {"cffi", "pycparser", "psycopg-binary"}
ASKED_FOR = re.compile(r'"cp\.\w+"\]\(\s*"(salt://[^"]+)"')


@pytest.fixture(scope="module")
def master():
    render = load_script("bin", "files.py").render
    return yaml.safe_load(render(TREE / "conf/master.d/50-rick-infra.conf", tree="/srv/rick-infra"))


@pytest.fixture(scope="module")
def packed(master):
    """The names of what is packed, as they are imported."""
    return {Path(path).stem for path, _ in salt.utils.thin.get_tops(extra_mods=master["thin_extra_mods"])}


def imported():
    """The packages that the tree imports, without what Python itself has."""
    for path in (path for folder in FOLDERS for path in (TREE / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                yield node.module.partition(".")[0]
            elif isinstance(node, ast.Import):
                yield from (name.name.partition(".")[0] for name in node.names)


def distributions(name):
    """A distribution and all that it needs here."""
    yield name
    for requirement in map(Requirement, metadata.requires(name) or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield from distributions(requirement.name)


def packages(distribution):
    return {
        package
        for package, owners in metadata.packages_distributions().items()
        if distribution in {owner.lower().replace("_", "-") for owner in owners}
        and not package.startswith("_")
        and "." not in package
    }


def test_what_the_tree_imports_is_packed(packed):
    assert set(imported()) - sys.stdlib_module_names - packed == set()


def test_each_requirement_is_packed_with_what_it_needs_itself(packed):
    lines = (TREE / "conf/requirements.in").read_text().splitlines()
    names = {Requirement(line).name for line in lines if line and not line.startswith("#")}
    assert {"salt", "psycopg", "pydantic"} <= names
    # Salt knows what it needs itself.
    needed = {one.lower() for name in names - {"salt"} | {"cryptography"} for one in distributions(name)}
    missing = {name for name in needed - OF_DEBIAN if not packages(name) <= packed}
    assert missing == set()


def test_files_that_modules_ask_for_are_sent(master):
    asked = {found for path in (TREE / "_modules").glob("*.py") for found in ASKED_FOR.findall(path.read_text())}
    assert asked
    assert set(master["extra_filerefs"].split(",")) == asked


def test_the_example_of_a_roster_is_one_and_accepts_no_unknown_host_key():
    opts = {**salt.config.DEFAULT_MASTER_OPTS, "roster_file": str(TREE / "conf/roster.example")}
    targets = salt.roster.Roster(opts, "flat").targets("*", "glob")
    assert {name: about["user"] for name, about in targets.items()} == {"cell9": "root"}
    assert all("=" in option for option in targets["cell9"]["ssh_options"])
    assert "StrictHostKeyChecking" not in str(targets)
