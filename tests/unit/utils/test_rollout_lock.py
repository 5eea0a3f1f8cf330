"""
One roll-out at a time, and a process that is gone stands in nobody's way.
"""

import json
import subprocess
import sys

from tree import load

lock = load("utils", "rollout_lock")

HOLD = """
import sys
sys.path.insert(0, sys.argv[2])
import rollout_lock
print(rollout_lock.take(sys.argv[1], {"id": "theirs"}), flush=True)
sys.stdin.read()
"""


def other(path):
    """A process that takes the turn, and keeps it until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(lock.__spec__.origin.rpartition("/")[0])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "None\n"
    return process


def test_the_turn_is_one_processes_and_others_are_told_whose(tmp_path):
    path = tmp_path / "state/lock"
    with other(path):
        assert lock.take(path, {"id": "mine"}) == {"id": "theirs"}
        assert lock.holder(path) == {"id": "theirs"}
        lock.release(path)  # not ours to give back
        assert lock.holder(path) == {"id": "theirs"}


def test_a_process_that_was_killed_has_no_turn_any_more(tmp_path):
    path = tmp_path / "lock"
    process = other(path)
    process.kill()
    process.communicate()
    assert lock.holder(path) is None
    assert lock.take(path, {"id": "mine"}) is None


def test_a_later_process_of_the_same_number_is_not_taken_for_it(tmp_path):
    path = tmp_path / "lock"
    with other(path):
        claim = json.loads(path.read_text())
        path.write_text(json.dumps({**claim, "started": "1"}))
        assert lock.take(path, {"id": "mine"}) is None


def test_a_turn_is_given_back(tmp_path):
    path = tmp_path / "lock"
    assert lock.take(path, {"id": "first"}) is None
    assert lock.holder(path) == {"id": "first"}
    lock.release(path)
    assert lock.holder(path) is None


def test_half_a_claim_is_none(tmp_path):
    path = tmp_path / "lock"
    path.write_text('{"pid": 1')
    assert lock.take(path, {"id": "mine"}) is None


def test_nobody_else_can_read_it(tmp_path):
    path = tmp_path / "state/lock"
    lock.take(path, {"id": "mine"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
