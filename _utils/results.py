"""
The four answers a state can give.

Every state of this tree ends in exactly one of these calls, so that what a
result looks like is decided in one place. ``changes`` maps what changed to
``{"old": ..., "new": ...}``, as Salt's own states do.
"""

from pathlib import Path


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
