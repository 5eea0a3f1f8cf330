"""
Daemons are held back while packages are installed, and nothing of that stays.
"""

import subprocess

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

debian_packages = load("modules", "debian_packages")
textfile = load("utils", "textfile")

ADMINISTRATORS = "#!/bin/sh\nexit 104\n"


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours runs after it."""


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host in tmp_path: dpkg and apt note what policy was in force when they ran."""
    seen = []

    class Host:
        policy = tmp_path / "policy-rc.d"
        saved = tmp_path / "policy-rc.d.before-rick-infra"
        packages = {"a": "1"}  # noqa: RUF012 - one instance
        dpkg = 0
        at_install = None
        calls = seen

        def look(self, what):
            mode = self.policy.stat().st_mode & 0o777
            seen.append((what, self.policy.read_text(), mode))

        def run(self, command, **options):
            self.look(command[0])
            assert options["check"] is False
            if isinstance(self.dpkg, Exception):
                raise self.dpkg
            return subprocess.CompletedProcess(command, self.dpkg, stdout="", stderr="dpkg: half-way\n")

        def install(self, pkgs, install_recommends):
            assert install_recommends is False
            self.look("apt")
            if self.at_install:
                raise self.at_install
            return {package: {"old": "", "new": "1"} for package in pkgs}

    host = Host()
    monkeypatch.setattr(debian_packages, "POLICY", host.policy)
    monkeypatch.setattr(debian_packages, "POLICY_SAVED", host.saved)
    monkeypatch.setattr(debian_packages.subprocess, "run", host.run)
    functions = {
        "pkg.list_pkgs": lambda: host.packages,
        "pkg.refresh_db": lambda failhard: {},
        "pkg.install": host.install,
    }
    monkeypatch.setattr(debian_packages, "__salt__", functions, raising=False)
    monkeypatch.setattr(debian_packages, "__utils__", {"textfile.write": textfile.write}, raising=False)
    return host


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_missing_is_what_is_not_installed(host):
    assert debian_packages.missing(["a", "b"]) == ["b"]


def test_no_daemon_may_start_while_dpkg_and_apt_run(host):
    assert debian_packages.install(["b"]) == {"b": {"old": "", "new": "1"}}
    assert [what for what, _, _ in host.calls] == ["dpkg", "apt"]
    for _, policy, mode in host.calls:
        assert policy.startswith("#!/bin/sh\n")
        assert policy.endswith("exit 101\n")
        assert mode == 0o755


def test_the_policy_says_no(host, tmp_path):
    script = tmp_path / "policy"
    script.write_text(debian_packages.POLICY_TEXT)
    script.chmod(0o755)
    assert subprocess.Popen([str(script), "valkey-server", "start"]).wait() == 101


ENDINGS = [
    ("success", {}, None),
    ("dpkg fails", {"dpkg": 1}, CommandExecutionError),
    ("dpkg hangs", {"dpkg": subprocess.TimeoutExpired("dpkg", 600)}, CommandExecutionError),
    ("no dpkg", {"dpkg": FileNotFoundError("dpkg")}, CommandExecutionError),
    ("apt fails", {"at_install": CommandExecutionError("E: no network")}, CommandExecutionError),
    ("anything", {"at_install": RuntimeError("bug")}, RuntimeError),
]


@pytest.mark.parametrize(("_title", "behaviour", "error"), ENDINGS, ids=[title for title, _, _ in ENDINGS])
@pytest.mark.parametrize("own_policy", [None, ADMINISTRATORS])
def test_however_it_ends_the_host_s_policy_is_as_before(host, tmp_path, _title, behaviour, error, own_policy):
    if own_policy:
        host.policy.write_text(own_policy)
        host.policy.chmod(0o755)
    vars(host).update(behaviour)
    if error:
        with pytest.raises(error):
            debian_packages.install(["b"])
    else:
        debian_packages.install(["b"])
    assert names(tmp_path) == (["policy-rc.d"] if own_policy else [])
    if own_policy:
        assert host.policy.read_text() == own_policy
        assert host.policy.stat().st_mode & 0o777 == 0o755
    assert not debian_packages.interrupted()


def test_dpkg_s_words_are_in_the_error(host):
    host.dpkg = 1
    with pytest.raises(CommandExecutionError, match="dpkg --configure --pending: dpkg: half-way"):
        debian_packages.install(["b"])


@pytest.mark.parametrize("own_policy", [None, ADMINISTRATORS])
@pytest.mark.parametrize("moment", ["before our policy is written", "inside dpkg", "inside apt"])
def test_what_a_killed_run_left_is_noticed_and_repaired(host, monkeypatch, tmp_path, own_policy, moment):
    if own_policy:
        host.policy.write_text(own_policy)
    # At a SIGKILL no finally clause runs.
    with monkeypatch.context() as killed:
        releases = []

        def release():
            # the one before the work is done, the one after it is not
            if not releases:
                releases.append(real_release())

        real_release = debian_packages.release
        killed.setattr(debian_packages, "release", release)

        def die(*_arguments, **_options):
            raise Killed

        if moment == "before our policy is written":
            killed.setattr(debian_packages, "__utils__", {"textfile.write": die})
        elif moment == "inside dpkg":
            killed.setattr(debian_packages.subprocess, "run", die)
        else:
            host.at_install = Killed()
        with pytest.raises(Killed):
            debian_packages.install(["b"])

    untouched = moment == "before our policy is written" and not own_policy
    assert debian_packages.interrupted() is not untouched
    host.at_install = None
    debian_packages.install(["b"])
    assert host.calls[-1][1] == debian_packages.POLICY_TEXT
    assert not debian_packages.interrupted()
    assert names(tmp_path) == (["policy-rc.d"] if own_policy else [])
    if own_policy:
        assert host.policy.read_text() == own_policy


def test_release_alone_repairs_too(host, tmp_path):
    host.policy.write_text(debian_packages.POLICY_TEXT)
    host.saved.write_text(ADMINISTRATORS)
    assert debian_packages.interrupted()
    debian_packages.release()
    assert names(tmp_path) == ["policy-rc.d"]
    assert host.policy.read_text() == ADMINISTRATORS


def test_release_leaves_an_administrator_s_policy_alone(host, tmp_path):
    host.policy.write_text(ADMINISTRATORS)
    assert not debian_packages.interrupted()
    debian_packages.release()
    assert host.policy.read_text() == ADMINISTRATORS


def test_a_policy_that_is_a_link_stays_one(host, tmp_path):
    target = tmp_path / "theirs"
    target.write_text(ADMINISTRATORS)
    host.policy.symlink_to(target)
    debian_packages.install(["b"])
    assert host.policy.is_symlink()
    assert target.read_text() == ADMINISTRATORS
