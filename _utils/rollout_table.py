"""
A roll-out as people see it: a table of hosts and phases, then what failed, one by one.
"""


def table(record):
    """
    Return the table of a record, with durations of hosts and phases, and then its failures.
    """
    return "\n".join([*_table(record), *_failures(record)])


def verdict(record):
    """
    Return one sentence of how a roll-out went.
    """
    name, seconds = f"{record['kind']} {record['id']}", f"{record['took']:.0f} s"
    if record["passed"]:
        changed = sum(step["changed"] for steps in record["table"].values() for step in steps.values())
        return f"{name}: {len(record['table'])} hosts, {changed} changes, {seconds}"
    where = f"STOPPED at {record['stopped']}" if record["stopped"] else "has not ended"
    return f"{name} {where} after {seconds}. Put it right and run it again: it goes on from what there is."


def reasons(record):
    """
    Return the failures of a record in short, a line each.
    """
    return "\n".join(lines[0] for lines in map(_failure, record["failures"]))


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
    return [line for one in record["failures"] for line in ("", *_failure(one))]


def _failure(one):
    """A failure as lines, the first of which says where and at what."""
    place = f"{one['host']}, {one['phase']}" if one["host"] else one["phase"]
    first, *others = one["comment"].splitlines() or [""]
    what = f"{one['what']}: " if one["what"] else ""
    return [f"{place}: {what}{first}", *(f"  {line}" for line in others)]
