"""
A fleet that changes: a cell comes later, gets another name, leaves and comes back; modules of another tree are noticed.
"""

import json

import pytest
import yaml
from lab_fleet import BOOTSTRAP, ENROLL, FLEET
from machine import TREE

SITE = "https://hello.example.test/"
HELLO = (TREE / "examples/services/hello.yaml").read_text()
BEHIND_EDGE = {"cell2", "cell3", "cell4"}
ROW = "over all changes"
GREETING = "Hello from rick-infra"
NOTES = (TREE / "examples/services/notes.yaml").read_text()


def behind_the_edge(*cells):
    return FLEET.replace("[cell2]", json.dumps(cells))


def declare(fleet, *cells):
    """hello on cell1, cell2 and further cells, notes on one of the further ones."""
    fleet.write("fleet.yaml", behind_the_edge("cell2", *cells))
    fleet.write("services/hello.yaml", f"{HELLO}cells: {json.dumps(['cell1', 'cell2', *cells])}\n")
    fleet.write("services/notes.yaml", f"{NOTES}cells: {json.dumps(['cell1', *cells])}\n")


def shown(fleet):
    """Whether the edge shows hello."""
    answer = fleet.ask("edge1", SITE)
    return answer is not None and answer.status == 200 and GREETING in answer.text


def shown_by(fleet, cell):
    """Whether the edge shows hello while the other of its cells is drained."""
    (other,) = BEHIND_EDGE & set(fleet.hosts) - {cell}
    done = fleet.orchestrate("drain", cell=other)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        return shown(fleet)
    finally:
        done = fleet.orchestrate("undrain", cell=other)
        assert done.returncode == 0, done.stdout + done.stderr


def starts(fleet, *hosts):
    """Which start of each pod, daemon and Caddy it is that runs."""
    units = ("*-pod.service", "postgresql@*-main.service", "valkey-server.service")
    return {host: fleet.hosts[host].invocations(*units) for host in hosts}


def name_of_the_new_one(fleet):
    (name,) = {"cell3", "cell4"} & set(fleet.hosts)
    return name


def check_same(fleet, host, before):
    """What ran on a host runs on, and its notes still have the row that was written at first."""
    assert starts(fleet, host)[host] == before
    assert fleet.hosts[host].psql("notes", "SELECT words FROM kept") == ROW


@pytest.fixture(scope="module")
def grown(fleet):
    """The fleet with a cell more, behind the edge beside cell2. It is out of it again afterwards."""
    before = starts(fleet, "cell1", "cell2")
    fleet.add({"cell3": "trixie"})
    new = fleet.hosts["cell3"]
    new.run("/srv/rick-infra/examples/build", "hello", "notes")
    # It matches a pattern and has a key: from here on it is a cell without services, until entries name it.
    fleet.deploy()
    assert new.invocations("*-pod.service") == {}
    declare(fleet, "cell3")
    fleet.deploy()
    fleet.untouched = (before, starts(fleet, "cell1", "cell2"))
    new.psql("notes", f"CREATE TABLE kept AS SELECT '{ROW}' AS words")
    yield fleet
    declare(fleet)
    for host in set(fleet.hosts) & {"cell3", "cell4"}:
        fleet.master.run(ENROLL, "--remove", host, check=False)  # it may just have left
        fleet.hosts.pop(host).down()
    fleet.deploy()


def test_a_cell_that_comes_later_leaves_what_runs_on_others_alone(grown):
    before, after = grown.untouched
    assert after == before


def test_a_cell_that_comes_later_serves_what_its_edge_shows(grown):
    assert shown_by(grown, "cell3")


def test_a_cell_that_comes_later_passes_all_checks(grown):
    assert grown.salt("cell3", "verify.host", timeout=120)["passed"] is True


def test_modules_of_another_tree_end_a_run_before_it_begins(grown):
    host = grown.hosts["cell3"]
    host.sh("echo '# of another tree' >> /var/cache/salt/minion/extmods/modules/facts.py")
    states = grown.highstate("cell3")
    assert states["The host has its master's modules"]["result"] is False
    assert "saltutil.sync_all" in states["The host has its master's modules"]["comment"]
    assert {one["result"] for name, one in states.items() if name != "The host has its master's modules"} <= {False}
    assert [name for name, one in states.items() if one["changes"]] == []
    grown.salt("cell3", "saltutil.sync_all", timeout=120)
    states = grown.highstate("cell3")
    assert [name for name, one in states.items() if one["changes"] or one["result"] is not True] == []


def test_a_file_that_cannot_be_used_takes_nothing_away(grown):
    services = "/etc/rick-infra/services"
    grown.master.sh(f"cp -a {services} {services}.right; echo 'cells: [' > {services}/hello.yaml")
    try:
        for host in ("edge1", "cell2"):
            states = grown.highstate(host)
            failed = states["The host knows what it must be"]
            assert failed["result"] is False
            assert f"{services}/hello.yaml: cannot be used" in failed["comment"]
            assert [name for name, one in states.items() if one["changes"]] == []
        assert shown(grown)
    finally:
        grown.master.sh(f"rm -r {services}; mv {services}.right {services}")
    assert all(one["result"] for one in grown.highstate("edge1").values())


def test_hosts_get_other_keys_by_which_others_know_them(grown):
    """docs/guides/fleet.md: somebody may have read the keys."""
    hosts = ("edge1", "cell2")
    before = {host: grown.hosts[host].sh("cat /etc/caddy/identity/certificate.pem") for host in hosts}
    for host in hosts:
        grown.hosts[host].sh("rm -r /etc/caddy/identity")
        assert all(one["result"] for one in grown.highstate(host).values())
    grown.deploy()
    for host in hosts:
        assert grown.hosts[host].sh("cat /etc/caddy/identity/certificate.pem") != before[host]
        assert grown.salt(host, "verify.host", timeout=120)["passed"] is True
    assert shown(grown)


def test_a_cell_with_another_name_is_the_same_cell(grown):
    """Pods, data and its identity for others stay; the former name means nothing to anybody any more."""
    before = starts(grown, "cell3")["cell3"]
    grown.master.run(ENROLL, "--remove", "cell3")
    grown.hosts["cell4"] = grown.hosts.pop("cell3")
    grown.enroll("cell4")
    declare(grown, "cell4")
    grown.deploy()
    check_same(grown, "cell4", before)
    assert shown_by(grown, "cell4")
    hosts = grown.answer(grown.master.run("salt-run", "--out=json", "fleet.status"))["hosts"]
    assert set(hosts) == {"cell1", "cell2", "cell4", "edge1"}
    assert "cell3" not in grown.hosts["edge1"].sh("cat /etc/caddy/sites-enabled/*")


def test_a_cell_leaves_and_is_a_host_by_itself_and_comes_back(grown):
    """docs/guides/masterless.md, word by word, and then the guide of fleets."""
    name = name_of_the_new_one(grown)
    before, host = starts(grown, name)[name], grown.hosts.pop(name)
    for service in ("hello", "notes"):
        host.declare(service, grown.master.sh(f"cat /etc/rick-infra/services/{service}.yaml"))
    settings = yaml.safe_load(grown.master.sh("cat /etc/rick-infra/pillar/site.sls"))
    del settings["rick"]["authentik"]  # where users log in is another host
    host.write("/etc/rick-infra/pillar/site.sls", json.dumps(settings))
    grown.master.run(ENROLL, "--remove", name)
    declare(grown)
    grown.deploy()
    refused = host.run(BOOTSTRAP, check=False)
    assert refused.returncode != 0
    assert "--adopt" in refused.stderr
    host.run(BOOTSTRAP, "--test")
    host.run(BOOTSTRAP, "--adopt")
    assert host.run("systemctl", "is-enabled", "salt-minion", check=False).stdout.strip() == "disabled"
    assert host.apply().changed == set()
    grown.hosts[name] = host
    check_same(grown, name, before)
    assert grown.ask(name, SITE).status == 200  # it shows its sites itself now
    assert [name for name, (passed, _) in host.verify().items() if not passed] == []

    grown.enroll(name)
    declare(grown, name)
    grown.deploy()
    check_same(grown, name, before)
    assert shown_by(grown, name)
