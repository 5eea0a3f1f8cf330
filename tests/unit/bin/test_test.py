"""
bin/test: which tests run, and who may run them.
"""

import pytest
from tree import TREE


@pytest.fixture
def started(command, monkeypatch):
    """A function that runs the command and returns what pytest would be called with."""
    module = command("test")
    calls, missing, installed = [], set(), []
    monkeypatch.setattr(module, "make_environment", lambda: None)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(module.shutil, "which", lambda tool: f"/usr/bin/{tool}" if tool not in missing else None)
    monkeypatch.setattr(module, "apt_install", installed.extend)
    monkeypatch.setattr(module.os, "execve", lambda _program, words, _environment: calls.append(words))

    def run(*arguments, root=True):
        monkeypatch.setattr(module.os, "geteuid", lambda: 0 if root else 1000)
        monkeypatch.setattr(module.sys, "argv", ["bin/test", *arguments])
        module.main()
        (words,) = calls
        return words[words.index("pytest") + 2 :]

    run.failure = module.Failure
    run.missing, run.installed = missing, installed
    return run


TWO = ["-n", "2", "--dist=loadfile"]


def folder(kind):
    return str(TREE / "tests" / kind)


def test_all_kinds_by_default_the_quick_ones_first(started):
    assert started() == [*TWO, folder("unit"), folder("functional"), folder("lab")]


def test_options_alone_select_among_all(started):
    assert started("-x", "-k", "unit") == [
        *TWO,
        "-x",
        "-k",
        "unit",
        folder("unit"),
        folder("functional"),
        folder("lab"),
    ]


def test_a_kind_is_a_folder_and_other_arguments_are_pytests(started):
    assert started("lab", "-k", "reboot") == [*TWO, folder("lab"), "-k", "reboot"]


def test_what_the_functional_tests_lack_is_installed_by_root_only(started):
    started.missing.add("systemd-socket-activate")
    started("unit", root=False)
    assert started.installed == []


def test_root_installs_what_is_missing(started):
    started.missing.add("systemd-socket-activate")
    started("functional")
    assert started.installed == ["systemd"]


@pytest.mark.parametrize("words", [(), ("lab",), ("unit", "lab"), (str(TREE / "tests/lab/test_browser.py"),)])
def test_a_browser_is_installed_for_the_tests_that_drive_one(started, words):
    started.missing.update({"chromium", "chromedriver", "certutil"})
    started(*words)
    assert started.installed == ["chromium", "chromium-driver", "libnss3-tools"]


@pytest.mark.parametrize("words", [("unit", "functional"), (str(TREE / "tests/lab/test_login.py"),)])
def test_no_other_test_costs_a_browser(started, words):
    started.missing.update({"chromium", "chromedriver", "certutil"})
    started(*words)
    assert started.installed == []


@pytest.mark.parametrize("option", ["-n1", "--pdb", "-s"])
def test_who_wants_one_process_gets_it(started, option):
    assert started("lab", option) == [folder("lab"), option]


def test_a_single_test_can_be_named(started):
    name = f"{TREE}/tests/unit/bin/test_test.py::test_a_single_test_can_be_named"
    assert started(name) == [name]


@pytest.mark.parametrize("arguments", [[], ["lab"], ["unit", "functional"], ["-k", "socket"]], ids=str)
def test_without_root_only_unit_tests_run(started, arguments):
    with pytest.raises(started.failure, match="bin/test unit"):
        started(*arguments, root=False)


def test_unit_tests_run_without_root(started):
    assert started("unit", root=False) == [folder("unit")]
