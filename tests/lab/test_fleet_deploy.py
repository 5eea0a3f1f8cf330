"""
A fleet that is rolled out: in an order, to a canary first, one roll-out at a time, and to one login over all hosts.
"""

import json

import pytest
from machine import TREE, eventually
from visitor import AUTH, BOARD, PASSWORDS, Visitor

HELLO = (TREE / "examples/services/hello.yaml").read_text()
CELLS = "cells: [cell1, cell2]\n"
STARTED = 'date -d "$(systemctl show -P ExecMainStartTimestamp {})" +%s'
ACTIVE = 'date -d "$(systemctl show -P ActiveEnterTimestamp {})" +%s'


def seconds(host, script, unit):
    return int(host.sh(script.format(unit)))


class Everywhere(Visitor):
    """Somebody who asks for each site where it is shown: board at the edge, Authentik at its cell."""

    def __init__(self, fleet):
        self.places = {"board.example.test": fleet.hosts["edge1"], "auth.example.test": fleet.hosts["cell1"]}
        self.fleet = fleet
        root = "cat /var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
        trusted = [host.sh(root) for host in self.places.values()]
        super().__init__(trusted, ("127.0.0.1", 443), 10)

    def ask(self, url, **options):
        host = self.places[url.split("/")[2]]
        self._address = (self.fleet.address(host), 443)
        return super().ask(url, **options)


@pytest.fixture(scope="module")
def people(fleet):
    sso = fleet.hosts["cell1"]
    sso.write("/opt/authentik/blueprints/people.yaml", (TREE / "examples/demo/people.yaml").read_text())
    eventually(lambda: all(sso.salt("authentik.show", "user", name) for name in PASSWORDS), 60, "the people are made")
    assert sso.state("authentik.user_present", name="alice", groups=["board_users"])["result"] is True


def pods(fleet):
    """Which start of each pod it is that runs, on all cells."""
    return {cell: fleet.hosts[cell].invocations("*-pod.service") for cell in ("cell1", "cell2")}


def test_no_pod_is_started_before_its_hosts_infrastructure_is_up_and_validated(fleet):
    barrier = fleet.first_record["table"]
    for cell, service in (("cell1", "authentik"), ("cell1", "notes"), ("cell2", "board"), ("cell2", "hello")):
        host = fleet.hosts[cell]
        begun = seconds(host, STARTED, f"{service}-pod.service")
        for unit in ("postgresql@*-main.service", "valkey-server.service", "caddy.service"):
            assert seconds(host, ACTIVE, unit) <= begun, (service, unit)
        assert barrier[cell]["barrier"]["outcome"] == "ok"


def test_authentik_comes_before_what_logs_in_through_it(fleet):
    authentik = seconds(fleet.hosts["cell1"], STARTED, "authentik-pod.service")
    assert authentik < seconds(fleet.hosts["cell2"], STARTED, "board-pod.service")


def test_edges_are_last(fleet):
    shown = int(fleet.hosts["edge1"].sh("stat -c %Y /etc/caddy/sites-enabled/board.caddy"))
    for cell, service in (("cell1", "notes"), ("cell2", "board"), ("cell2", "hello")):
        assert seconds(fleet.hosts[cell], ACTIVE, f"{service}-pod.service") <= shown


def test_a_second_roll_out_changes_nothing(fleet):
    before = pods(fleet)
    fleet.deploy()
    steps = fleet.last()["table"]
    assert {step["changed"] for columns in steps.values() for step in columns.values()} == {0}
    assert pods(fleet) == before


@pytest.mark.parametrize("host", ["cell1", "cell2", "edge1"])
def test_a_highstate_by_the_masters_hand_changes_nothing_either(fleet, host):
    states = fleet.highstate(host)
    assert [name for name, one in states.items() if one["changes"] or one["result"] is not True] == []


def test_users_log_in_on_one_cell_for_a_service_on_another_behind_an_edge(fleet, people):
    alice = Everywhere(fleet)
    page = alice.log_in("alice", f"{BOARD}/")
    assert page.url == f"{BOARD}/"
    assert "Alice Archer" in page.text


def test_who_is_in_no_group_of_a_service_elsewhere_is_refused(fleet, people):
    page = Everywhere(fleet).log_in("bob", f"{BOARD}/")
    assert page.url.startswith(AUTH)
    assert "Permission denied" in page.text


def test_what_a_client_says_of_itself_does_not_come_through_an_edge(fleet, people):
    identity = [("Remote-User", "akadmin"), ("X-authentik-username", "akadmin")]
    answer = Everywhere(fleet).ask(f"{BOARD}/", headers=[("X-Forwarded-Host", "notes.example.test"), *identity])
    assert answer.status == 302
    assert answer.location.startswith(AUTH)
    assert "notes" not in answer.location


def test_the_files_are_checked_and_the_state_of_all_is_told(fleet):
    assert fleet.master.run("salt-run", "fleet.check").stdout.strip().endswith("no errors")
    status = json.loads(fleet.master.run("salt-run", "--out=json", "fleet.status").stdout)
    assert "cell2" in json.dumps(status)


@pytest.mark.parametrize(
    ("name", "pillar", "told"),
    [
        ("deploy", {"bach": 2}, "did you mean 'batch'"),
        ("deploy", {"without": ["cell9"]}, "cell9"),
        ("upgrade", {}, "service"),
        ("upgrade", {"service": "helo"}, "helo"),
        ("drain", {"cell": "cell1"}, "log in"),
        ("drain", {"cell": "cell9"}, "cell9"),
        ("drain", {"cell": "edge1"}, "edge1"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_touched(fleet, name, pillar, told):
    before = pods(fleet)
    done = fleet.orchestrate(name, **pillar)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert pods(fleet) == before


def test_a_mistake_in_one_entry_keeps_the_roll_out_from_every_host(fleet):
    fleet.write("services/hello.yaml", HELLO.replace("image:", "imgae:") + "cells: cel2\n")
    before = pods(fleet)
    try:
        done = fleet.orchestrate("deploy")
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert "did you mean 'image'" in said
        assert "'cel2' matches no cell" in said
        assert pods(fleet) == before
    finally:
        fleet.write("services/hello.yaml", HELLO + CELLS)


def test_a_second_roll_out_at_a_time_is_refused_and_the_first_goes_on(fleet):
    first = fleet.begin("deploy")
    try:
        current = ("salt-run", "--out=json", "rollout.current")
        eventually(lambda: json.loads(fleet.master.run(*current).stdout), 60, "the first has begun")
        second = fleet.orchestrate("deploy")
        assert second.returncode != 0
        assert "another roll-out is going on" in second.stdout + second.stderr
    finally:
        said = first.communicate(timeout=300)
    assert first.returncode == 0, said


def test_a_canary_that_does_not_become_healthy_takes_it_back_and_nobody_else_gets_it(fleet):
    broken = {"GREETING": "new"}
    fleet.write(
        "services/hello.yaml",
        HELLO.replace("health: /", "health: {path: /nonesuch, timeout: 5s}") + f"env: {json.dumps(broken)}\n" + CELLS,
    )
    before = pods(fleet)["cell2"]["hello-pod.service"]
    try:
        done = fleet.orchestrate("upgrade", service="hello", canary="cell1")
        assert done.returncode != 0
        assert "not started" in done.stdout + done.stderr
        assert pods(fleet)["cell2"]["hello-pod.service"] == before
        assert fleet.hosts["cell1"].sh("systemctl is-active hello-pod.service hello-web.service") == "active\nactive"
    finally:
        fleet.write("services/hello.yaml", HELLO + CELLS)
        fleet.deploy()


def test_a_drained_cell_runs_nothing_its_edge_says_so_and_it_comes_back(fleet):
    cell = fleet.hosts["cell2"]
    done = fleet.orchestrate("drain", cell="cell2")
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert Everywhere(fleet).ask(f"{BOARD}/").status == 503
        assert cell.run("systemctl", "is-active", "board-pod.service", check=False).stdout.strip() == "inactive"
        fleet.highstate("cell2")
        assert cell.run("systemctl", "is-active", "board-pod.service", check=False).stdout.strip() == "inactive"
    finally:
        back = fleet.orchestrate("undrain", cell="cell2")
    assert back.returncode == 0, back.stdout + back.stderr
    assert Everywhere(fleet).ask(f"{BOARD}/").status == 302
