"""
Packages that must be there: both modes, and what an interrupted run left.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

debian_packages = load("states", "debian_packages")


class Host:
    def __init__(self, installed=(), interrupted=False):
        self.installed = set(installed)
        self.left_over = interrupted
        self.calls = []
        self.error = None
        self.lies = False

    def functions(self):
        return {
            "debian_packages.missing": self.missing,
            "debian_packages.interrupted": lambda: self.left_over,
            "debian_packages.install": self.install,
            "debian_packages.release": self.release,
        }

    def missing(self, packages):
        if self.error == "missing":
            raise CommandExecutionError("dpkg-query is broken")
        return [package for package in packages if package not in self.installed]

    def install(self, packages):
        self.calls.append(("install", packages))
        self.left_over = False
        if self.error == "install":
            raise CommandExecutionError("E: Unable to locate package")
        if not self.lies:
            self.installed.update(packages)
        return {package: {"old": "", "new": "1.0"} for package in packages}

    def release(self):
        self.calls.append(("release",))
        self.left_over = False


@pytest.fixture
def run(monkeypatch, results):
    """Apply the state several times within one run."""

    def apply(host, test, *package_lists):
        monkeypatch.setattr(debian_packages, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(debian_packages, "__utils__", results, raising=False)
        monkeypatch.setattr(debian_packages, "__opts__", {"test": test}, raising=False)
        monkeypatch.setattr(debian_packages, "__context__", {}, raising=False)
        return [debian_packages.installed("title", packages) for packages in package_lists]

    return apply


@pytest.mark.parametrize("test_mode", [True, False])
def test_what_is_installed_is_left_alone(run, test_mode):
    host = Host(installed=["a"])
    (result,) = run(host, test_mode, ["a"])
    assert (result["result"], result["changes"], host.calls) == (True, {}, [])


def test_test_mode_plans_what_is_missing_and_installs_nothing(run):
    host = Host(installed=["a"])
    (result,) = run(host, True, ["a", "b"])
    assert result["result"] is None
    assert result["changes"] == {"b": {"old": "", "new": "installed"}}
    assert host.calls == []


def test_only_what_is_missing_is_installed(run):
    host = Host(installed=["a"])
    (result,) = run(host, False, ["a", "b"])
    assert result["result"] is True
    assert result["changes"] == {"b": {"old": "", "new": "1.0"}}
    assert host.calls == [("install", ["b"])]


@pytest.mark.parametrize("test_mode", [True, False])
def test_what_an_interrupted_run_left_is_a_change_of_its_own(run, test_mode):
    host = Host(installed=["a"], interrupted=True)
    (result,) = run(host, test_mode, ["a"])
    assert result["result"] is (None if test_mode else True)
    assert result["changes"] == {"policy-rc.d": {"old": "left by an interrupted run", "new": "removed"}}
    assert host.calls == ([] if test_mode else [("release",)])


@pytest.mark.parametrize("installed", [["a"], ["a", "b"], []])
def test_the_plan_for_an_interrupted_run_names_the_states_that_then_change(run, installed):
    def changing(test):
        results = run(Host(installed=installed, interrupted=True), test, ["a"], ["b"], ["c"])
        return [bool(result["changes"]) for result in results]

    assert changing(test=True) == changing(test=False)


def test_apt_s_words_are_the_failure(run):
    host = Host()
    host.error = "install"
    (result,) = run(host, False, ["a"])
    assert (result["result"], result["comment"]) == (False, "E: Unable to locate package")


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_package_database_that_does_not_answer_is_a_failure(run, test_mode):
    host = Host()
    host.error = "missing"
    (result,) = run(host, test_mode, ["a"])
    assert (result["result"], result["comment"]) == (False, "dpkg-query is broken")


def test_success_that_installed_nothing_is_a_failure(run):
    host = Host()
    host.lies = True
    (result,) = run(host, False, ["a"])
    assert result["result"] is False
    assert "'a'" in result["comment"]
