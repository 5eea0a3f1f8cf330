"""
The four answers a state can give, and the usual way to one of them.

Every state of this tree ends in exactly one of these calls, so that what a
result looks like is decided in one place. ``changes`` maps what changed to
``{"old": ..., "new": ...}``, as Salt's own states do.
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError


def planned_files(running, directories):
    """
    Return the files below ``directories`` that earlier states of a test run would write, as text, sorted.

    A real run meets them changed, so a plan that ignored them would not be
    true. ``running`` is what Salt gives states as ``__running__``: the results
    so far, by ``STATE_|-ID_|-NAME_|-FUNCTION``.
    """
    roots = [Path(directory) for directory in directories]
    planned = []
    for tag, past in running.items():
        state, _, path, _ = tag.split("_|-")
        if state == "file" and past["result"] is None and any(Path(path).is_relative_to(root) for root in roots):
            planned.append(path)
    return sorted(planned)


def unchanged(name, comment):
    """
    Return the result of a state that found everything as declared.

    CLI Example: none, called by states as ``__utils__["results.unchanged"]``.
    """
    return {"name": name, "result": True, "changes": {}, "comment": comment}


def planned(name, changes, comment):
    """
    Return the result of a state in test mode that would make ``changes``.

    ``result`` is None, which is how Salt marks a plan.
    """
    return {"name": name, "result": None, "changes": changes, "comment": comment}


def changed(name, changes, comment):
    """
    Return the result of a state that made ``changes``.
    """
    return {"name": name, "result": True, "changes": changes, "comment": comment}


def failed(name, comment, changes=None):
    """
    Return the result of a state that could not do its work.

    ``changes`` holds what was done before the failure, if anything.
    """
    return {"name": name, "result": False, "changes": changes or {}, "comment": comment}


def converge(name, test, differences, apply, fine, plan=None, done=None):
    """
    Read, plan, gate, act, read back: the course of a state that has nothing more to decide.

    test
        Whether this is a plan.

    differences
        A function that returns what is not as declared, ``{thing: change}``, ``{}`` if all is.

    apply
        A function that puts it right.

    fine
        What to say when all is as declared.

    plan
        What to say in a plan. Default: the things that would change.

    done
        What to say once it is put right. Default: ``fine``.

    What the functions raise as CommandExecutionError or SaltInvocationError is the comment of a failure.
    """
    try:
        changes = differences()
        if not changes:
            return unchanged(name, fine)
        if test:
            return planned(name, changes, plan or f"Would change: {', '.join(changes)}")
        apply()
        left = differences()
    except (CommandExecutionError, SaltInvocationError) as error:
        return failed(name, str(error))
    if left:
        told = "; ".join(f"{thing}: {change}" for thing, change in left.items())
        return failed(name, f"Changed, and still different: {told}", changes)
    return changed(name, changes, done or fine)
