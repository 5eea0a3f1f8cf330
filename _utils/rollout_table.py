"""
A roll-out as people see it: a table of hosts and phases, then what failed, one by one.
"""


def summary(record):
    """
    Return the table of a record, its failures and one sentence of how it went.
    """
    return "\n".join([*_table(record), *_failures(record), _last(record)])


def grid(rows):
    """
    Return rows of texts as lines with columns of the same width.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def told(step):
    """
    Return what happened on a host in a phase: ``ok``, ``3 changed 12.0 s``, ``FAILED``.
    """
    if step["outcome"] == "not started":
        return "not started"
    words = {"ok": "ok", "failed": "FAILED", "no answer": "NO ANSWER"}[step["outcome"]]
    if step["outcome"] == "ok" and step["changed"]:
        words = f"{step['changed']} changed"
    return f"{words} {step['seconds']:.1f} s"


def _table(record):
    columns = record["columns"]
    rows = [["host", *columns]]
    for host in sorted(record["table"]):
        steps = record["table"][host]
        rows.append([host, *(told(steps[column]) if column in steps else "-" for column in columns)])
    return grid([*rows, ["", *(f"{record['seconds'][column]:.1f} s" for column in columns)]])


def _failures(record):
    lines = []
    for one in record["failures"]:
        place = f"{one['host']}, {one['phase']}" if one["host"] else one["phase"]
        first, *others = one["comment"].splitlines() or [""]
        what = f"{one['what']}: " if one["what"] else ""
        lines += ["", f"{place}: {what}{first}", *(f"  {line}" for line in others)]
    return [*lines, ""] if lines else []


def _last(record):
    seconds = f"{record['took']:.0f} s"
    changed = sum(step["changed"] for steps in record["table"].values() for step in steps.values())
    name = f"{record['kind']} {record['id']}"
    if record["passed"]:
        return f"{name}: {len(record['table'])} hosts, {changed} changes, {seconds}"
    left = f"; not started: {', '.join(record['left'])}" if record["left"] else ""
    return f"{name} STOPPED at {record['stopped']} after {seconds}{left}. Put it right and run it again: it goes on."
