"""
What linters and the type checker say: nothing.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tree import TREE

TOOLS = Path(sys.executable).parent
FOLDERS = ("_modules", "_states", "_grains", "_utils", "_output", "_pillar", "_runners", "_beacons")
MODULES = (*FOLDERS, "_wrapper/with_pillar.py")
COMMANDS = ("bin/bootstrap", "bin/demo", "bin/enroll", "bin/lab", "bin/test", "conf/lock", "docs/build")
SLS = sorted(path for folder in ("salt", "pillar", "examples", "benchmarks") for path in (TREE / folder).rglob("*.sls"))
JINJA = re.compile(r"\{[%{#]")


def complaints(tool, *arguments):
    """Run a tool of the tests' environment at the top of the tree and return what it prints if it is not content."""
    done = subprocess.run([TOOLS / tool, *arguments], cwd=TREE, capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}" if done.returncode else ""


def test_python_follows_the_rules():
    assert not complaints("ruff", "check", "--no-cache", "--output-format=concise", ".")


def test_python_is_formatted():
    assert not complaints("ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.parametrize(
    "what", [["--explicit-package-bases", *MODULES], ["--scripts-are-modules", *COMMANDS]], ids=["modules", "commands"]
)
def test_types_fit_together(tmp_path, what):
    assert not complaints(
        "mypy",
        "--no-error-summary",
        f"--cache-dir={tmp_path}",
        "--check-untyped-defs",
        # Salt comes without types, its dunders appear at run time (ruff knows their names), and we annotate little.
        "--ignore-missing-imports",
        "--disable-error-code=name-defined",
        "--disable-error-code=var-annotated",
        *what,
    )


def test_states_and_pillar_follow_the_customs_of_salt():
    assert SLS
    assert not complaints("salt-lint", *SLS)


def test_yaml_is_tidy():
    plain = [path for path in SLS if not JINJA.search(path.read_text())]
    assert plain
    others = [*(TREE / "conf").rglob("*.yaml"), *(TREE / "benchmarks").rglob("*.yml")]
    assert not complaints("yamllint", "--strict", "--config-file=conf/yamllint.yaml", *plain, *others)


def test_there_is_no_package_named_salt():
    # It would take the library's place in whatever runs from the top of the tree.
    assert not (TREE / "salt/__init__.py").exists()


def test_commands_can_be_executed():
    assert [name for name in (*COMMANDS, ".ci/run") if not (TREE / name).stat().st_mode & 0o111] == []
