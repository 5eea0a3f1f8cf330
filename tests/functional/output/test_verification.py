"""
The verification's table, printed by Salt.
"""

import json

import salt.output

DATA = {"local": {"passed": False, "checks": [{"name": "door", "passed": False, "detail": "open"}]}}


def test_salt_finds_the_outputter_and_prints_a_table(minion):
    table = salt.output.out_format(DATA, "verification", minion().opts)
    assert table.splitlines() == ["local:", "  FAIL  door  open", "  0 passed, 1 failed"]


def test_the_same_as_data(minion):
    assert json.loads(salt.output.out_format(DATA, "json", minion().opts)) == DATA


def test_the_function_asks_for_the_table(minion):
    assert minion().modules["verify.host"].__globals__["__outputter__"]["host"] == "verification"
