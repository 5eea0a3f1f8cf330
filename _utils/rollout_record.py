"""
What a roll-out has done: one small file each, for the table at its end and for ``fleet.status``. All can be lost.
"""

import json
from pathlib import Path

FOLDER = "/var/lib/rick-infra/rollouts"
KEPT = 50


def keep(record, write):
    """
    Put down a record, and forget the oldest ones.

    write
        The function ``textfile.write``.
    """
    write(f"{FOLDER}/{record['id']}.json", json.dumps(record), 0o600)
    for path in _files()[:-KEPT]:
        path.unlink(missing_ok=True)


def load(identity):
    """
    Return the record of a roll-out. It must be there.
    """
    return json.loads((Path(FOLDER) / f"{identity}.json").read_text())


def known():
    """
    Return the ids of the roll-outs of which there are records, the last one first.
    """
    return [path.stem for path in reversed(_files())]


def last_of(host):
    """
    Return how the last roll-out that changed something on a host, or tried to, went there.

    ``{"kind", "began", "outcome"}``, None if there was none.
    """
    for path in reversed(_files()):
        record = json.loads(path.read_text())
        steps = record["table"].get(host, {}).values()
        if any(one["applies"] for one in steps):
            outcomes = [one["outcome"] for one in steps]
            return {
                "kind": record["kind"],
                "began": record["began"],
                "outcome": next((one for one in outcomes if one != "ok"), "ok"),
            }
    return None


def _files():
    # A jid begins with the time.
    return sorted(Path(FOLDER).glob("*.json"))
