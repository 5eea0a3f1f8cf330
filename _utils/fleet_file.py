"""
``/etc/rick-infra/fleet.yaml`` on the master: which host is what, by patterns of minion ids.

.. code-block:: yaml

    cells: ['cell*']            # hosts that run services
    edges:                      # hosts with Caddy alone, and the cells behind each
      'edge*': ['cell*']
    sso: cell1                  # the cell that runs Authentik
    addresses: {cell2: 192.0.2.7}

Patterns are those of a shell, as ``salt`` itself takes them. An id is what the master has accepted a key for; what a
host says of itself (grains) plays no part.
"""

import difflib
import fnmatch
import ipaddress
import re

KEYS = ("cells", "edges", "sso", "addresses")
PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]+")
ID = re.compile(r"[A-Za-z0-9_.-]+")
WILD = re.compile(r"[*?\[]")


def topology(data):
    """
    Return what the file says, complete, and what is wrong with it: ``(topology, [sentences])``.

    data
        The mapping that the file holds.

    ``{"cells": [patterns], "edges": {pattern: [patterns]}, "sso": id or None, "addresses": {id: address}}``
    """
    problems = []
    for key in data:
        if key not in KEYS:
            close = difflib.get_close_matches(str(key), KEYS, n=1)
            known = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KEYS)}"
            problems.append(f"{key}: unknown key ({known})")
    cells = _patterns("cells", data.get("cells"), problems)
    edges = {}
    asked = data.get("edges") or {}
    if not isinstance(asked, dict):
        problems.append(
            f"edges: {asked!r} is not a mapping of patterns to the cells behind, such as {{edge1: [cell1]}}"
        )
        asked = {}
    for pattern, behind in asked.items():
        problems += _unfit("edges", pattern)
        edges[str(pattern)] = _patterns(f"edges:{pattern}", behind, problems)
    sso = data.get("sso")
    if sso is not None and not (isinstance(sso, str) and ID.fullmatch(sso)):
        problems.append(f"sso: {sso!r} is not the id of one minion")
    elif sso is not None and not _matches(sso, cells):
        problems.append(f"sso: {sso} is no cell (cells: {', '.join(cells) or 'none'})")
    addresses = data.get("addresses") or {}
    if not isinstance(addresses, dict):
        problems.append(f"addresses: {addresses!r} is not a mapping of minion ids to addresses")
        addresses = {}
    problems += [f"addresses:{host}: {one!r} is no IP address" for host, one in addresses.items() if not _address(one)]
    return {"cells": cells, "edges": edges, "sso": sso, "addresses": addresses}, problems


def roles(fleet, host):
    """
    Return the roles of a host, a list of ``cell``, ``sso`` and ``edge``; an empty one if no pattern is its.

    fleet
        As from ``topology``.

    host
        Its minion id.
    """
    found = ["cell"] if _matches(host, fleet["cells"]) else []
    found += ["sso"] if host == fleet["sso"] else []
    return found + (["edge"] if _matches(host, fleet["edges"]) else [])


def edges_of(fleet, hosts, cell):
    """
    Return the edges that a cell is behind, sorted; an empty list if its sites are its own.

    hosts
        All ids that there are.
    """
    if not _matching([cell], fleet["cells"]):
        return []
    return sorted(_matching(hosts, [edge for edge, behind in fleet["edges"].items() if _matches(cell, behind)]))


def cells_behind(fleet, hosts, edge):
    """
    Return the cells behind an edge, sorted.

    hosts
        The ids among which to look.
    """
    patterns = [one for pattern, behind in fleet["edges"].items() if _matches(edge, [pattern]) for one in behind]
    return sorted(_matching(_matching(hosts, patterns), fleet["cells"]))


def cells_of(entry):
    """
    Return the patterns of the cells that an entry names, and what is wrong with them: ``([patterns], [sentences])``.

    entry
        As its file says it.
    """
    problems: list[str] = []
    if "cells" not in entry:
        return [], ["cells: required in a fleet: the cell, or a list of the cells, that run it"]
    return _patterns("cells", entry["cells"], problems), problems


def runs_on(entry, fleet, hosts):
    """
    Return those of some hosts that are cells on which an entry runs, sorted.

    entry, fleet
        As for ``cells_of`` and from ``topology``.

    hosts
        Minion ids.
    """
    patterns, _ = cells_of(entry)
    return sorted(_matching(_matching(hosts, patterns), fleet["cells"]))


def where(entries, fleet, hosts):
    """
    Return ``runs_on`` of many entries at once, ``{name: [ids]}``.

    entries
        ``{name: entry}``. Those whose ``cells`` cannot be used run nowhere.

    fleet, hosts
        As for ``runs_on``.
    """
    cells = _matching(hosts, fleet["cells"])
    return {name: sorted(_matching(cells, cells_of(entry)[0])) for name, entry in entries.items()}


def misplaced(entries):
    """
    Return what is wrong with the ``cells`` of entries, ``{name: [sentences]}`` of those that have something wrong.

    entries
        ``{name: entry}``.
    """
    found = {name: cells_of(entry)[1] for name, entry in entries.items()}
    return {name: problems for name, problems in found.items() if problems}


def _patterns(place, value, problems):
    wanted = [value] if isinstance(value, str) else value
    if not isinstance(wanted, list) or not wanted:
        problems.append(f"{place}: {value!r} is not a list of patterns of minion ids, such as ['cell*']")
        return []
    for one in wanted:
        problems += _unfit(place, one)
    return [one for one in wanted if isinstance(one, str)]


def _unfit(place, pattern):
    if isinstance(pattern, str) and PATTERN.fullmatch(pattern):
        return []
    return [f"{place}: {pattern!r} is no pattern of minion ids: letters, digits and . _ - with * ? [ ]"]


def _matches(host, patterns):
    return any(fnmatch.fnmatchcase(host, pattern) for pattern in patterns)


def _matching(hosts, patterns):
    """Those of some hosts that a pattern matches. Most patterns are an id: with a set of hosts, that is one look."""
    found = set()
    for pattern in patterns:
        if WILD.search(pattern):
            found.update(fnmatch.filter(hosts, pattern))
        elif pattern in hosts:
            found.add(pattern)
    return found


def _address(value):
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return True
