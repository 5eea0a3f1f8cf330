"""
Records of roll-outs: the last one of a host, and not more of them than anybody reads.
"""

import pytest
from tree import load

records = load("utils", "rollout_record")
textfile = load("utils", "textfile")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", str(tmp_path / "rollouts"))
    return tmp_path / "rollouts"


def keep(identity, table, kind="deploy"):
    record = {"id": str(identity), "kind": kind, "began": f"at {identity}", "table": table}
    records.keep(record, textfile.write)
    return record


def step(outcome="ok", applies=True):
    return {"outcome": outcome, "applies": applies}


def test_a_record_comes_back_and_is_for_root_only(folder):
    record = keep(1, {})
    assert records.load("1") == record
    assert (folder / "1.json").stat().st_mode & 0o777 == 0o600


def test_the_last_roll_out_of_a_host_is_the_last_one_that_touched_it():
    keep(1, {"cell1": {"services": step()}, "cell2": {"services": step()}})
    keep(2, {"cell1": {"answers": step(applies=False), "services": step("failed")}}, "upgrade")
    keep(3, {"cell1": {"answers": step(applies=False)}})
    assert records.last_of("cell1") == {"kind": "upgrade", "began": "at 2", "outcome": "failed"}
    assert records.last_of("cell2") == {"kind": "deploy", "began": "at 1", "outcome": "ok"}
    assert records.last_of("cell3") is None


def test_what_failed_behind_the_last_change_counts():
    keep(1, {"cell1": {"services": step(), "verification": step("failed", applies=False)}})
    assert records.last_of("cell1")["outcome"] == "failed"


def test_old_records_go():
    for number in range(100, 100 + records.KEPT + 5):
        keep(number, {})
    assert records.known() == [str(number) for number in range(104 + records.KEPT, 104, -1)]
