"""
A roll-out over scripted hosts: who is asked for what, in which order, and what happens when one fails.
"""

import json

import pytest
import yaml
from scripted_hosts import BROKEN
from tree import TREE

ORCHESTRATIONS = {
    kind: yaml.safe_load((TREE / f"salt/orch/{kind}.sls").read_text())
    for kind in ("deploy", "upgrade", "drain", "undrain")
}
STATES = ("state.apply", "state.highstate")


def options(state):
    ((function, arguments),) = state.items()
    return function, {key: value for one in arguments for key, value in one.items()}


def phases(kind):
    """The phases of an orchestration, in the order that its requisites say."""
    names = [options(state) for state in ORCHESTRATIONS[kind].values()]
    return [about["name"] for function, about in names if function == "rollout.phase"]


def orchestrate(master, kind, identity="1", **pillar):
    """What the states of an orchestration do: begin, one phase after the other up to the first that fails, end."""
    refused = master.run("rollout.begin", identity, kind, pillar)
    if refused:
        return refused
    for name in phases(kind):
        outcome = master.run("rollout.phase", identity, name)
        if not outcome["passed"]:
            return outcome["verdict"]
    return master.run("rollout.end", identity)


@pytest.mark.parametrize("kind", ORCHESTRATIONS)
def test_each_phase_waits_for_the_one_before_it_and_the_first_failure_is_the_last_state(kind):
    before = None
    for title, state in ORCHESTRATIONS[kind].items():
        function, about = options(state)
        assert about.get("require", [{"rollout": None}]) == [{"rollout": before}]
        assert about.get("failhard", False) == (function != "rollout.ended")
        before = title


def test_a_deployment_asks_before_it_touches_then_cells_then_edges_then_looks(master):
    one = master()
    assert "4 hosts" in orchestrate(one, "deploy", canary="cell2")
    functions = list(dict.fromkeys(function for function, *_ in one.hosts.jobs if function != "state.running"))
    assert functions == [
        "test.ping",
        "fleet.modules",
        "saltutil.sync_all",
        "saltutil.refresh_modules",
        "saltutil.refresh_pillar",
        "catalogue.problems",
        "fleet.problems",
        "state.apply",
        "barrier.problems",
        "mine.update",
        "state.highstate",
        "verify.host",
    ]
    assert one.hosts.sent("state.highstate")[-1] == ("state.highstate", ["edge1"])


def test_cells_go_one_by_one_behind_the_canary_and_services_after_what_they_need_elsewhere(master):
    one = master()
    orchestrate(one, "deploy", canary="cell2")
    jobs = [(function, hosts, arguments, keywords) for function, hosts, arguments, keywords in one.hosts.jobs
            if function in STATES]  # fmt: skip
    only = {"pillar": {"rick": {"only": ["notes"]}}}
    assert jobs == [
        ("state.apply", ["cell2"], ["infra"], {}),
        ("state.apply", ["cell1"], ["infra"], {}),
        ("state.apply", ["cell3"], ["infra"], {}),
        ("state.apply", ["edge1"], ["infra.caddy"], {}),
        ("state.apply", ["cell1"], ["authentik,services"], {"pillar": {"rick": {"only": ["authentik"]}}}),
        ("state.highstate", ["cell2"], [], only),  # board, which cell2 runs as well, needs what is on cell3
        ("state.highstate", ["cell1"], [], {}),
        ("state.highstate", ["cell3"], [], {}),
        ("state.highstate", ["cell2"], [], {}),
        ("state.highstate", ["edge1"], [], {}),
    ]


def test_batches_are_as_large_as_said(master):
    one = master(accepted=[*(f"cell{number}" for number in range(1, 8)), "edge1"])
    orchestrate(one, "deploy", batch=3)
    sizes = [len(hosts) for _, hosts in one.hosts.sent("state.apply")]
    assert sizes[:3] == [1, 3, 3]
    assert sum(sizes[1:4]) == 7


def test_a_host_that_is_off_stops_it_before_anything_is_touched(master, capsys):
    one = master()
    one.hosts.odd["cell3"] = None
    verdict = orchestrate(one, "deploy")
    assert "STOPPED at answers" in verdict
    assert "cell3: switched off, or out of reach. Nothing was changed anywhere." in verdict
    assert """pillar='{"without": ["cell3"]}'""" in capsys.readouterr().err
    assert one.hosts.sent("saltutil.sync_all", *STATES) == []


def test_who_is_off_can_be_left_out(master):
    one = master()
    one.hosts.odd["cell3"] = None
    assert "3 hosts" in orchestrate(one, "deploy", without=["cell3"])
    assert all("cell3" not in hosts for _, hosts, *_ in one.hosts.jobs)
    # Sites that only cell3 has are missing now, and nobody is to be alarmed by that.
    assert [words for function, _, _, words in one.hosts.jobs if function == "verify.host"] == [{"without": ["cell3"]}]


def test_all_that_is_wrong_on_all_hosts_is_told_before_anything_is_touched(master):
    one = master()
    one.hosts.odd |= {("cell1", "catalogue.problems"): ["notes: no"], ("cell2", "catalogue.problems"): ["board: no"]}
    verdict = orchestrate(one, "deploy")
    assert "cell1, valid: notes: no" in verdict
    assert "cell2, valid: board: no" in verdict
    assert one.hosts.sent(*STATES) == []


def test_what_is_wrong_with_the_fleet_is_told_before_hosts_are_asked_for_their_own(master):
    one = master(services__wiki="image: localhost/wiki:1\ncells: web1\n")
    assert "services/wiki.yaml: cells: 'web1' matches no cell" in orchestrate(one, "deploy")
    assert one.hosts.sent("catalogue.problems", *STATES) == []


def test_a_failure_stops_the_wave_and_all_behind_it(master, capsys):
    one = master()
    one.hosts.odd["cell1", "state.highstate"] = BROKEN
    verdict = orchestrate(one, "deploy", canary="cell1")
    assert "STOPPED at services" in verdict
    assert "cell1, wave 1: Service notes is healthy: notes is not healthy" in verdict
    assert one.hosts.sent("state.highstate") == [("state.highstate", ["cell1"])]
    table = capsys.readouterr().err
    (line,) = [line for line in table.splitlines() if line.startswith("cell2 ")]
    assert line.split("  ")[-1].strip() == "not started"


def test_a_host_that_dies_at_work_is_told_with_the_job_that_may_still_answer(master):
    one = master()
    one.hosts.odd["cell2", "state.highstate"] = None
    verdict = orchestrate(one, "deploy", canary="cell2")
    assert "cell2, wave 1: did not answer." in verdict
    assert "salt-run jobs.lookup_jid 2" in verdict


def test_a_run_that_salt_refuses_is_told_in_its_words(master):
    one = master()
    one.hosts.odd["cell1", "state.apply"] = ['The function "state.highstate" is running as PID 7 with jid 9']
    assert "cell1, infrastructure: the run: The function" in orchestrate(one, "deploy")


def test_somebody_elses_run_is_waited_for(master, capsys):
    one = master()
    busy = iter([["running as PID 7"], ["running as PID 7"]])
    answer = one.hosts.answer

    def answers(host, function):
        if (host, function) == ("cell1", "state.running"):
            return {"ret": next(busy, []), "retcode": 0}
        return answer(host, function)

    one.hosts.answer = answers
    assert "4 hosts" in orchestrate(one, "deploy")
    assert capsys.readouterr().err.count("cell1 waits for another state run there: running as PID 7") == 1


def test_an_upgrade_that_fails_on_the_canary_leaves_the_others_alone(master):
    one = master()
    one.hosts.odd["cell3", "state.highstate"] = BROKEN
    assert "STOPPED at services" in orchestrate(one, "upgrade", service="notes", canary="cell3")
    assert [hosts for _, hosts in one.hosts.sent(*STATES)] == [["cell3"]]


def test_modules_are_brought_to_those_who_have_others(master):
    one = master()
    ours = one.run("fleet.modules")
    one.hosts.odd |= {(host, "fleet.modules"): ours for host in ("cell1", "cell3")}
    orchestrate(one, "deploy")
    assert one.hosts.sent("saltutil.sync_all") == [("saltutil.sync_all", ["cell2", "edge1"])]


def test_an_upgrade_is_of_one_service_and_is_verified(master):
    one = master()
    orchestrate(one, "upgrade", service="store")
    jobs = [job for job in one.hosts.jobs if job[0] in (*STATES, "verify.service")]
    assert jobs == [
        ("state.highstate", ["cell3"], [], {"pillar": {"rick": {"only": ["store"]}}}),
        ("verify.service", ["cell3"], ["store"], {}),
    ]


def test_a_drained_cell_is_off_the_edges_before_its_services_stop_and_back_the_other_way_round(master):
    one = master()
    orchestrate(one, "drain", cell="cell2")
    assert [hosts for _, hosts in one.hosts.sent("state.highstate")] == [["edge1"], ["cell2"]]
    assert [path.name for path in one.drained.iterdir()] == ["cell2"]
    orchestrate(one, "drain", "2", cell="cell2")
    assert [path.name for path in one.drained.iterdir()] == ["cell2"]
    one.hosts.jobs.clear()
    orchestrate(one, "undrain", "3", cell="cell2")
    assert [hosts for _, hosts in one.hosts.sent("state.highstate", "mine.update")] == [["cell2"], ["cell2"], ["edge1"]]
    assert list(one.drained.iterdir()) == []


def test_authentiks_cell_cannot_be_drained(master):
    one = master()
    assert orchestrate(one, "drain", cell="cell1")[0].startswith("cell: cell1 runs Authentik")
    assert one.hosts.jobs == []


def test_a_second_roll_out_is_refused_and_told_whose_turn_it_is(master):
    one = master()
    assert one.run("rollout.begin", "1", "deploy", {}) == []
    (refused,) = one.run("rollout.begin", "2", "drain", {"cell": "cell2"})
    assert refused.startswith("another roll-out is going on: deploy 1, begun by ")
    assert one.run("rollout.current")["id"] == "1"


def test_one_that_stopped_is_in_nobodys_way(master):
    one = master()
    one.hosts.odd["cell3"] = None
    orchestrate(one, "deploy")
    assert one.run("rollout.begin", "2", "deploy", {}) == []


def test_everybody_who_listens_is_told_and_no_secret_with_it(master):
    one = master()
    orchestrate(one, "deploy")
    tags = [tag for tag, _ in one.events]
    assert tags[0] == "rick/deploy/1/begin"
    assert tags[-1] == "rick/deploy/1/end"
    assert {"rick/deploy/1/phase/services", "rick/deploy/1/host/edge1"} <= set(tags)
    assert one.events[-1][1]["passed"] is True
    assert "hunter2" not in json.dumps(one.events)


def test_a_plan_asks_nobody(master):
    one = master()
    plan = one.run("rollout.plan", "deploy", {"canary": "cell2"})
    assert plan["problems"] == []
    assert plan["text"].splitlines() == [
        "cells: cell1, cell2, cell3",
        "edges: edge1",
        "wave 1:",
        "  cell2: notes",
        "  cell1: all of it",
        "  cell3: all of it",
        "wave 2:",
        "  cell2: all of it",
    ]
    assert one.hosts.jobs == []


def test_the_last_table_can_be_shown_again(master):
    one = master()
    orchestrate(one, "deploy")
    assert one.run("rollout.show").splitlines()[0].startswith("host")
    assert "no record of roll-out 7" in one.run("rollout.show", 7)
