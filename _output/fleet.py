"""
``salt-run fleet.status`` as a table for people, ``fleet.check`` as lines; ``--out=json`` gives both as data.
"""


def output(data, **_options):
    """
    Return a line for each host, or for each thing that is wrong.
    """
    if not isinstance(data, dict) or not data.keys() & {"hosts", "problems"}:
        return str(data)
    if "problems" in data:
        return "\n".join(data["problems"]) or f"{data['hosts']} hosts, {data['services']} services, no errors"
    rows = [["host", "roles", "up", "drained", "last roll-out", "services"]]
    rows += [_row(host, about) for host, about in data["hosts"].items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    going_on = data["rollout"]
    if going_on:
        lines.append(f"{going_on['kind']} {going_on['id']} is going on, begun by {going_on['by']}, {going_on['began']}")
    return "\n".join(lines)


def _row(host, about):
    last = about["last"]
    return [
        host,
        ", ".join(about["roles"]) or "NONE",
        "up" if about["up"] else "OFF",
        "drained" if about["drained"] else "-",
        f"{last['kind']} {last['began']} {last['outcome']}" if last else "never",
        ", ".join(f"{name} {state}" for name, state in about["services"].items()) or "-",
    ]
