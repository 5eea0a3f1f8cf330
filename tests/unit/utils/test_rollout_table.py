"""
The table at the end: who did what for how long, who was not touched, and what failed.
"""

from tree import load

table = load("utils", "rollout_table")


def step(outcome="ok", changed=0, seconds=1.0):
    return {"outcome": outcome, "changed": changed, "failed": 0, "seconds": seconds}


RECORD = {
    "kind": "deploy",
    "id": "20261126",
    "columns": ["answers", "services"],
    "seconds": {"answers": 0.5, "services": 63.21},
    "table": {
        "cell2": {"answers": step(), "services": step("failed", seconds=12)},
        "cell1": {"answers": step(), "services": step(changed=3, seconds=51.24)},
        "cell3": {"answers": step(), "services": step("not started", seconds=0)},
        "edge1": {"answers": step("no answer", seconds=15)},
    },
    "failures": [
        {"host": "cell2", "phase": "services", "what": "Service notes is healthy", "comment": "not healthy\njournal"},
        {"host": None, "phase": "valid", "what": "", "comment": "fleet.yaml: no"},
    ],
    "stopped": "services",
    "passed": False,
    "took": 64.0,
}


def test_it_has_a_line_for_each_host_and_says_what_failed_after_it():
    assert table.table(RECORD).splitlines() == [
        "host   answers           services",
        "cell1  ok 1.0 s          3 changed 51.2 s",
        "cell2  ok 1.0 s          FAILED 12.0 s",
        "cell3  ok 1.0 s          not started",
        "edge1  NO ANSWER 15.0 s  -",
        "       0.5 s             63.2 s",
        "",
        "cell2, services: Service notes is healthy: not healthy",
        "  journal",
        "",
        "valid: fleet.yaml: no",
    ]


def test_reasons_are_a_line_each():
    assert table.reasons(RECORD).splitlines() == [
        "cell2, services: Service notes is healthy: not healthy",
        "valid: fleet.yaml: no",
    ]


def test_the_verdict_says_where_it_stopped():
    assert table.verdict(RECORD).startswith("deploy 20261126 STOPPED at services after 64 s.")


def test_the_verdict_counts_what_changed():
    assert table.verdict({**RECORD, "passed": True}) == "deploy 20261126: 4 hosts, 3 changes, 64 s"


def test_one_that_was_killed_has_not_ended():
    assert table.verdict({**RECORD, "stopped": None}).startswith("deploy 20261126 has not ended")
