"""
The firewall between pods and other hosts: whatever somebody took away is named, and loaded again.
"""

import subprocess

import pytest
from salt.exceptions import CommandExecutionError
from tree import TREE, load

pod_firewall = load("modules", "pod_firewall")
states = load("states", "pod_firewall")

DECLARED = (TREE / "salt/infra/podman/pod-firewall.nft").read_text()
LISTED = DECLARED[DECLARED.rindex("table inet rick_infra {") :]
NO_TABLE = "nft has no table inet rick_infra: pods answer every host that has a route to them"


class Host:
    """A host whose kernel has the rules, and on which a pod runs."""

    def __init__(self, folder):
        self.rules, self.interfaces = folder / "pod-firewall.nft", folder / "net"
        self.rules.write_text(DECLARED)
        (self.interfaces / "podman1").mkdir(parents=True)
        self.ours, self.podmans = LISTED, True
        self.unit = {"enabled": True, "stale_unit": False}
        self.debians = {"enabled": False, "stale_unit": False}
        self.did, self.heals, self.broken = [], True, None

    def nft(self, command, **_options):
        if self.broken:
            raise self.broken
        if command[1:] == ["list", "tables"]:
            tables = ["table inet rick_infra"] * bool(self.ours) + ["table inet netavark"] * self.podmans
            return subprocess.CompletedProcess(command, 0, stdout="\n".join(tables), stderr="")
        assert command[1:] == ["--stateless", "list", "table", "inet", "rick_infra"]
        return subprocess.CompletedProcess(command, 0 if self.ours else 1, stdout=self.ours or "", stderr="no such")

    def act(self, verb, units):
        self.did.append((verb, units))
        if verb == "reload-or-restart" and self.heals:
            self.ours, self.podmans = LISTED, True
        if verb == "enable":
            self.unit["enabled"] = True

    def daemon_reload(self):
        self.unit["stale_unit"] = self.debians["stale_unit"] = False

    def status(self, units):
        known = {"rick-infra-pod-firewall.service": self.unit, "nftables.service": self.debians}
        return {unit: known[unit] for unit in units}

    def problems(self):
        return pod_firewall.problems(str(self.rules))


@pytest.fixture
def host(monkeypatch, tmp_path, results):
    host = Host(tmp_path)
    monkeypatch.setattr(pod_firewall, "INTERFACES", host.interfaces)
    monkeypatch.setattr(pod_firewall.subprocess, "run", host.nft)
    monkeypatch.setattr(pod_firewall, "__salt__", {"daemon.status": host.status}, raising=False)
    utils = {"units.act": host.act, "units.daemon_reload": host.daemon_reload}
    monkeypatch.setattr(pod_firewall, "__utils__", utils, raising=False)
    functions = {"pod_firewall.problems": pod_firewall.problems, "pod_firewall.load": pod_firewall.load}
    monkeypatch.setattr(states, "__salt__", functions, raising=False)
    monkeypatch.setattr(states, "__utils__", results, raising=False)
    monkeypatch.setattr(states, "__running__", {}, raising=False)
    return host


@pytest.fixture
def loaded(host, monkeypatch):
    def apply(test_mode=False):
        monkeypatch.setattr(states, "__opts__", {"test": test_mode}, raising=False)
        return states.loaded("title", str(host.rules))

    return apply


def test_a_host_whose_kernel_has_the_rules_has_no_problem(host):
    assert host.problems() == []


@pytest.mark.parametrize("rules", ["", LISTED.replace(" drop", " accept"), LISTED.replace("\t}", "\t\tdrop\n\t}")])
def test_rules_that_are_gone_or_others_are_named(host, rules):
    host.ours = rules
    assert host.problems() == (
        [f"nft list table inet rick_infra shows other rules than {host.rules}"] if rules else [NO_TABLE]
    )


def test_podmans_own_rules_count_while_a_network_of_it_is_up(host):
    host.podmans = False
    assert host.problems() == ["nft has no table inet netavark: published ports lead nowhere"]
    (host.interfaces / "podman1").rmdir()
    assert host.problems() == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("enabled", False, "does not start at boot"), ("stale_unit", True, "changed since systemd read it")],
)
def test_a_unit_that_would_not_load_them_is_named(host, key, value, said):
    host.unit[key] = value
    assert host.problems() == [f"rick-infra-pod-firewall.service {said}"]


def test_a_drop_in_that_systemd_has_not_read_is_read(host, loaded):
    host.debians["stale_unit"] = True
    assert loaded()["changes"]["rules"]["old"] == "nftables.service changed since systemd read it"
    assert host.problems() == []


def test_a_host_without_the_file_is_not_asked_further(host):
    host.rules.unlink()
    host.broken = FileNotFoundError("nft")
    assert host.problems() == [f"{host.rules} is missing"]


@pytest.mark.parametrize("test_mode", [True, False])
def test_nothing_is_loaded_where_all_is_there(host, loaded, test_mode):
    result = loaded(test_mode)
    assert (result["result"], result["changes"], host.did) == (True, {}, [])


def test_what_is_gone_is_planned_only_in_test_mode(host, loaded):
    host.ours = ""
    result = loaded(test_mode=True)
    assert (result["result"], host.did) == (None, [])
    assert result["changes"] == {"rules": {"old": NO_TABLE, "new": "loaded"}}


def test_a_file_that_the_run_would_write_is_planned(host, loaded):
    tag = f"file_|-id_|-{host.rules}_|-managed"
    states.__running__[tag] = {"result": None}
    assert loaded(test_mode=True)["changes"]["rules"]["old"] == f"{host.rules} changes"
    states.__running__.clear()


def test_all_that_somebody_took_away_is_loaded(host, loaded):
    host.ours, host.podmans, host.unit = "", False, {"enabled": False, "stale_unit": True}
    result = loaded()
    assert result["result"] is True
    assert result["changes"]["rules"]["old"].count(";") == 3
    assert host.problems() == []


def test_rules_that_do_not_take_effect_fail(host, loaded):
    host.ours, host.heals = "", False
    result = loaded()
    assert result["result"] is False
    assert NO_TABLE in result["comment"]


@pytest.mark.parametrize("error", [FileNotFoundError("nft"), subprocess.TimeoutExpired("nft", 30)])
def test_a_host_without_nft_is_told(host, loaded, error):
    host.broken = error
    with pytest.raises(CommandExecutionError, match="nft cannot be run"):
        host.problems()
    assert loaded()["result"] is False


def test_what_nft_says_is_passed_on(host, monkeypatch):
    refused = subprocess.CompletedProcess([], 1, stdout="", stderr="Operation not permitted\n")
    monkeypatch.setattr(pod_firewall.subprocess, "run", lambda *_words, **_options: refused)
    with pytest.raises(CommandExecutionError, match="nft list tables: Operation not permitted"):
        host.problems()
