"""
What a host's answer means: everything that is not a run without a failure is told for what it is.
"""

import pytest
from tree import load

judge = load("utils", "rollout_judge")


def state(number, result=True, changes=None, comment="", ran=True):
    return {
        "__run_num__": number,
        "__id__": f"State {number}",
        "__state_ran__": ran,
        "result": result,
        "changes": changes or {},
        "comment": comment,
    }


def answer(*states, retcode=0):
    return {"ret": {f"pod_|-{one['__id__']}_|-x_|-healthy": one for one in states}, "retcode": retcode}


def test_a_run_without_failures_is_fine_and_its_changes_are_counted():
    found = judge.states(answer(state(0), state(1, changes={"a": {"old": 1, "new": 2}}), state(2, result=None)))
    assert found == {"outcome": "ok", "changed": 1, "failed": 0, "failures": []}


def test_the_first_failure_is_told_first_and_what_hung_on_it_is_counted_only():
    found = judge.states(
        answer(
            state(2, result=False, comment="One or more requisite failed: x", ran=False),
            state(1, result=False, comment="notes is not healthy\nconnection refused"),
            state(3, result=False, comment="no"),
            retcode=2,
        )
    )
    assert (found["outcome"], found["failed"]) == ("failed", 3)
    assert found["failures"] == [["State 1", "notes is not healthy\nconnection refused"], ["State 3", "no"]]


def test_nobody_there_is_no_failure_of_a_state():
    assert judge.states(None) == {"outcome": "no answer", "changed": 0, "failed": 0, "failures": []}
    assert judge.call(None)["outcome"] == "no answer"


@pytest.mark.parametrize(
    "returned, told",
    [
        (
            ["Rendering SLS 'base:infra' failed: mapping values are not allowed here"],
            "Rendering SLS 'base:infra' failed",
        ),
        (['The function "state.highstate" is running as PID 7 and was started at noon with jid 1'], "running as PID 7"),
        ("The minion function caused an exception: Traceback", "caused an exception"),
        ("'state.highstate' is not available.", "not available"),
        ({}, "nothing that can be judged"),
        (None, "nothing that can be judged"),
        (False, "nothing that can be judged"),
        ({"queued": True, "comment": "Job queued for execution"}, "nothing that can be judged"),
    ],
)
def test_what_is_no_result_of_states_is_a_failure_of_the_run(returned, told):
    found = judge.states({"ret": returned, "retcode": 1})
    assert found["outcome"] == "failed"
    [[what, comment]] = found["failures"]
    assert what == "the run"
    assert told in comment


def test_an_exit_code_that_no_state_explains_is_not_overlooked():
    assert "exit code 3" in judge.states(answer(state(0), retcode=3))["failures"][0][1]


def test_a_long_comment_is_cut_and_says_so():
    [[_, comment]] = judge.states(answer(state(0, result=False, comment="line\n" * 30)))["failures"]
    assert comment.splitlines()[-1] == "… 10 more lines"


def test_a_function_that_lists_what_is_wrong_is_taken_at_its_word():
    assert judge.call({"ret": [], "retcode": 0}, judge.sentences)["outcome"] == "ok"
    found = judge.call({"ret": ["fact x is missing"], "retcode": 0}, judge.sentences)
    assert found["failures"] == [["", "fact x is missing"]]


def test_a_function_that_is_not_there_is_not_taken_for_one_that_has_nothing_to_say():
    found = judge.call({"ret": "'barrier.problems' is not available.", "retcode": 254}, judge.sentences)
    assert found["failures"] == [["", "'barrier.problems' is not available."]]


def test_checks_that_failed_are_told_by_name():
    table = {"passed": False, "checks": [{"name": "a", "passed": True, "detail": ""},
                                         {"name": "b", "passed": False, "detail": "closed"}]}  # fmt: skip
    assert judge.call({"ret": table, "retcode": 1}, judge.checks)["failures"] == [["", "b: closed"]]
    assert judge.call({"ret": "no", "retcode": 1}, judge.checks)["failures"] == [["", "no"]]


def test_an_exit_code_counts_if_nobody_judges():
    assert judge.call({"ret": True, "retcode": 0})["outcome"] == "ok"
    assert judge.call({"ret": "broken", "retcode": 1})["failures"] == [["", "broken"]]
