"""
What a host's answer to a job means: done, failed and at what, or that there is none.

An answer is as Salt's client has it, ``{"ret": …, "retcode": …}``, and None of a host that did not answer.
"""

DONE, FAILED, SILENT = "ok", "failed", "no answer"
SHOWN = 20  # lines of what a failure says; the host's own journal has the rest


def states(answer):
    """
    Return how a state run went, ``{"outcome", "changed", "failed", "failures"}``.

    ``failures`` are ``[id of the state, comment]``, the first one first. States that did not run because another one
    failed count as failed, and are not told one by one.
    """
    if answer is None:
        return _outcome(SILENT)
    returned = answer.get("ret")
    if not isinstance(returned, dict) or not returned or not all(_is_result(one) for one in returned.values()):
        return _outcome(FAILED, failures=[["the run", _said(returned)]])
    ran = sorted(returned.values(), key=lambda one: one.get("__run_num__", 0))
    wrong = [one for one in ran if one["result"] is False]
    # What failed by itself. A requisite that failed elsewhere in the run is told there.
    own = [one for one in wrong if one.get("__state_ran__", True)] or wrong
    failures = [[str(one.get("__id__", one.get("name", "?"))), _shortened(one.get("comment"))] for one in own]
    if not wrong and answer.get("retcode"):
        failures = [["the run", f"ended with exit code {answer['retcode']}, and names no state that failed"]]
    return _outcome(FAILED if failures else DONE, sum(bool(one.get("changes")) for one in ran), len(wrong), failures)


def call(answer, judge=None):
    """
    Return how the call of a function went, as ``states`` does.

    judge
        A function that returns what is wrong with what was returned, a list of sentences. None: only an error is.
    """
    if answer is None:
        return _outcome(SILENT)
    returned = answer.get("ret")
    # A function that judges by itself says more than its exit code.
    found = judge(returned) if judge else []
    if not found and answer.get("retcode"):
        found = [_said(returned)]
    return _outcome(FAILED if found else DONE, failures=[["", _shortened(one)] for one in found])


def sentences(returned):
    """
    Return what is wrong, of a function that returns that as a list.
    """
    return [str(one) for one in returned] if isinstance(returned, list) else [_said(returned)]


def checks(returned):
    """
    Return what is wrong, of a function that returns checks as ``verify.host`` does.
    """
    if not isinstance(returned, dict) or not isinstance(returned.get("checks"), list):
        return [_said(returned)]
    return [f"{one['name']}: {one['detail']}" for one in returned["checks"] if not one["passed"]]


def _outcome(outcome, changed=0, failed=0, failures=()):
    return {"outcome": outcome, "changed": changed, "failed": failed, "failures": list(failures)}


def _is_result(one):
    return isinstance(one, dict) and "result" in one


def _said(returned):
    """An error, whichever way Salt returns it: a text, a list of them, or nothing."""
    if isinstance(returned, list):
        returned = "\n".join(str(one) for one in returned)
    if isinstance(returned, str) and returned.strip():
        return _shortened(returned)
    return "returned nothing that can be judged"


def _shortened(text):
    if isinstance(text, list):
        text = "\n".join(str(one) for one in text)
    lines = str(text or "").strip().splitlines()
    return "\n".join(lines[:SHOWN] + ([f"… {len(lines) - SHOWN} more lines"] if len(lines) > SHOWN else []))
