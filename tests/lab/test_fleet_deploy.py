"""
A fleet that is rolled out: in an order, to a canary first, one roll-out at a time, and to one login over all hosts.
"""

import json
import re
from types import SimpleNamespace

import pytest
from lab_fleet import Everywhere
from machine import TREE, eventually
from visitor import AUTH, BOARD, PASSWORDS

HELLO = (TREE / "examples/services/hello.yaml").read_text()
CELLS = "cells: [cell1, cell2]\n"
HELLO_SITE = "https://hello.example.test/"
GREETING = "Hello from rick-infra"  # what the sample page says by itself
PODS = (("cell1", "authentik"), ("cell1", "notes"), ("cell1", "hello"), ("cell2", "board"), ("cell2", "hello"))


@pytest.fixture(scope="module")
def people(fleet):
    sso = fleet.hosts["cell1"]
    sso.write("/opt/authentik/blueprints/people.yaml", (TREE / "examples/demo/people.yaml").read_text())
    eventually(lambda: all(sso.salt("authentik.show", "user", name) for name in PASSWORDS), 60, "the people are made")
    assert sso.state("authentik.user_present", name="alice", groups=["board_users"])["result"] is True


def pods(fleet):
    """Which start of each pod it is that runs, on all cells."""
    return {cell: fleet.hosts[cell].invocations("*-pod.service") for cell in ("cell1", "cell2")}


def hello(fleet, where):
    """What the site of the service that is on both cells answers: at cell1 itself, or at the edge of cell2."""
    return Everywhere(fleet, shown=("hello.example.test",) if where == "edge1" else ()).ask(HELLO_SITE)


@pytest.mark.parametrize(("cell", "service"), PODS)
def test_no_pod_is_started_before_its_hosts_infrastructure_is_up(fleet, cell, service):
    moments = fleet.first_moments[cell]
    begun = moments[f"{service}-pod.service"]["begun"]
    daemons = {unit: moment["up"] for unit, moment in moments.items() if not unit.endswith("-pod.service")}
    assert len(daemons) == 3
    assert [unit for unit, up in daemons.items() if up > begun] == []


@pytest.mark.parametrize(("cell", "service"), PODS)
def test_no_pod_is_started_before_all_hosts_have_passed_the_barrier(fleet, cell, service):
    record = fleet.first_record
    until = record["columns"][: record["columns"].index("barrier") + 1]
    passed = record["clock"] + sum(record["seconds"][phase] for phase in until)  # at the earliest
    assert fleet.first_moments[cell][f"{service}-pod.service"]["begun"] > passed


@pytest.mark.parametrize(("cell", "service"), PODS[1:])
def test_where_users_log_in_is_up_before_other_services_are_started(fleet, cell, service):
    authentik = fleet.first_moments["cell1"]["authentik-pod.service"]["up"]
    assert authentik < fleet.first_moments[cell][f"{service}-pod.service"]["begun"]


@pytest.mark.parametrize(("cell", "service"), PODS)
def test_edges_show_sites_when_what_is_behind_them_is_up(fleet, cell, service):
    assert fleet.first_moments[cell][f"{service}-pod.service"]["up"] < fleet.first_shown


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


@pytest.mark.parametrize("where", ["cell1", "edge1"])
def test_a_service_on_two_cells_is_shown_by_each_in_its_way(fleet, where):
    answer = hello(fleet, where)
    assert answer.status == 200
    assert GREETING in answer.text


def test_what_a_client_says_of_itself_does_not_come_through_an_edge(fleet, people):
    identity = [("Remote-User", "akadmin"), ("X-authentik-username", "akadmin")]
    answer = Everywhere(fleet).ask(f"{BOARD}/", headers=[("X-Forwarded-Host", "notes.example.test"), *identity])
    assert answer.status == 302
    assert answer.location.startswith(AUTH)
    assert "notes" not in answer.location


def test_the_files_are_checked_and_the_state_of_all_is_told(fleet):
    assert fleet.master.run("salt-run", "fleet.check").stdout.strip().endswith("no errors")
    hosts = json.loads(fleet.master.run("salt-run", "--out=json", "fleet.status").stdout)["hosts"]
    assert {host: about["services"] for host, about in hosts.items()} == {
        "cell1": {"hello": "runs", "notes": "runs"},
        "cell2": {"board": "runs", "hello": "runs"},
        "edge1": {},
    }


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
        checked = fleet.master.run("salt-run", "fleet.check", check=False)
        done = fleet.orchestrate("deploy")
    finally:
        fleet.write("services/hello.yaml", HELLO + CELLS)
    for told in (checked, done):
        said = told.stdout + told.stderr
        assert told.returncode != 0
        assert "did you mean 'image'" in said
        assert "'cel2' matches no cell" in said
    assert pods(fleet) == before


def test_a_second_roll_out_at_a_time_is_refused_and_the_first_goes_on(fleet):
    first = fleet.begin("deploy")
    try:
        current = ("salt-run", "--out=json", "rollout.current")
        eventually(lambda: json.loads(fleet.master.run(*current).stdout), 60, "the first has begun")
        second = fleet.orchestrate("deploy")
        assert second.returncode != 0
        assert "another roll-out is going on" in second.stdout + second.stderr
        assert "begun by root" in second.stdout + second.stderr
    finally:
        said = first.communicate(timeout=300)
    assert first.returncode == 0, said


@pytest.fixture(scope="module")
def refused(fleet):
    """What there was while the canary, cell1, had refused a version that never becomes healthy. It is over by now."""
    worse = HELLO.replace("health: /", "health: {path: /nonesuch, timeout: 5s}") + "env: {GREETING: Worse}\n"
    fleet.write("services/hello.yaml", worse + CELLS)
    found = SimpleNamespace(before=pods(fleet))
    try:
        found.done = fleet.orchestrate("upgrade", service="hello", canary="cell1")
        found.after = pods(fleet)
        found.answer = hello(fleet, "cell1")
    finally:
        fleet.write("services/hello.yaml", HELLO + CELLS)
        found.repair = fleet.orchestrate("deploy")
    return found


def test_a_version_that_does_not_become_healthy_ends_the_upgrade(refused):
    said = refused.done.stdout + refused.done.stderr
    assert refused.done.returncode != 0
    assert "cell1, services: " in said
    assert re.search(r"\bcell2 .*not started", said)


def test_the_canary_takes_it_back_and_shows_what_it_had(refused):
    # It has tried the new one, or there would have been nothing to take back.
    assert refused.after["cell1"]["hello-pod.service"] != refused.before["cell1"]["hello-pod.service"]
    assert refused.answer.status == 200
    assert GREETING in refused.answer.text


def test_no_other_cell_is_touched_by_what_its_canary_refused(refused):
    assert refused.after["cell2"] == refused.before["cell2"]


def test_after_that_a_roll_out_goes_through_again(fleet, refused):
    assert refused.repair.returncode == 0, refused.repair.stdout + refused.repair.stderr
    assert hello(fleet, "cell1").status == 200


def active(fleet, cell):
    """Which pods are to run on a cell and do."""
    states = fleet.salt(cell, "daemon.status", json.dumps([f"{name}-pod.service" for name in ("board", "hello")]))
    return sorted(unit.removesuffix("-pod.service") for unit, state in states.items() if state["active"])


@pytest.fixture(scope="module")
def drained(fleet, refused):
    """What there was while cell2 was drained, the only one behind the edge. It is in again by now."""
    found = SimpleNamespace()
    found.done = fleet.orchestrate("drain", cell="cell2")
    try:
        found.board = Everywhere(fleet).ask(f"{BOARD}/")
        found.hello = {where: hello(fleet, where) for where in ("cell1", "edge1")}
        found.active = active(fleet, "cell2")
        states = fleet.highstate("cell2")
        found.highstate = [name for name, one in states.items() if one["changes"] or one["result"] is not True]
        found.active_later = active(fleet, "cell2")
    finally:
        found.back = fleet.orchestrate("undrain", cell="cell2")
    return found


def test_a_drained_cell_runs_no_service(drained):
    assert drained.done.returncode == 0, drained.done.stdout + drained.done.stderr
    assert drained.active == []


def test_a_highstate_keeps_a_cell_drained(drained):
    assert drained.highstate == []
    assert drained.active_later == []


def test_the_edge_of_a_drained_cell_says_that_its_sites_are_stopped(drained):
    assert (drained.board.status, drained.hello["edge1"].status) == (503, 503)


def test_the_other_cell_of_a_service_serves_it_meanwhile(drained):
    assert drained.hello["cell1"].status == 200


def test_a_cell_that_is_drained_no_more_runs_everything_again(fleet, drained):
    assert drained.back.returncode == 0, drained.back.stdout + drained.back.stderr
    assert active(fleet, "cell2") == ["board", "hello"]
    assert Everywhere(fleet).ask(f"{BOARD}/").status == 302
    assert hello(fleet, "edge1").status == 200
