"""
What is wrong with a fleet as a whole: what no host could tell by itself, since it is told its own part only.

Each sentence begins with its file and says the way out. What one entry says of one host is judged there, too.
"""

from typing import Any


def problems(fleet, wrong, judged, folder, without, tools):
    """
    Return what is wrong, sentences in the order of files.

    fleet, wrong
        As from ``read`` of the external pillar ``fleet``; and in ``fleet``, ``by_ssh``: the ids of hosts that
        ``salt-ssh`` reaches, which have no key.

    judged
        What is wrong with each entry by itself, ``{name: [(path, text)]}``.

    folder
        Path of the folder with the site's files.

    without
        Ids of hosts that need no role now, since they are left out.

    tools
        Functions: ``suggestion(word, known)`` is ``catalogue_errors.suggestion``; ``needs_of``, ``circle`` and
        ``site_of`` are of ``rollout_plan`` and ``fleet_view``.
    """
    alive = {
        name: entry for name, entry in sorted(fleet["entries"].items()) if entry.get("state", "present") != "absent"
    }
    found = [*(text for path in sorted(wrong) for text in wrong[path].splitlines())]
    found += _topology(fleet, f"{folder}/fleet.yaml", without)
    for name, entry in sorted(fleet["entries"].items()):
        file = f"{folder}/services/{name}.yaml"
        found += [": ".join([file, *_at(path), text]) for path, text in judged[name]]
        found += _cells(entry, fleet, file)
        found += _needs(name, entry, fleet["entries"], file, tools)
        found += _login(entry, fleet, file, folder)
    found += _domains(alive, fleet, folder, tools["site_of"])
    around = tools["circle"]({name: tools["needs_of"](entry) for name, entry in alive.items()})
    if around:
        told = " -> ".join([*around, around[0]])
        found.append(
            f"{folder}/services/{around[0]}.yaml: needs: {told}: none of them could be first; take one need out"
        )
    return found


def _topology(fleet, file, without):
    topology, hosts = fleet["topology"], fleet["hosts"]
    found = []
    for pattern in topology["cells"]:
        if not _runs([pattern], {**topology, "cells": [pattern]}, fleet):
            found.append(f"{file}: cells: {pattern!r} matches no host that is let in; correct it, or: bin/enroll ID")
    for pattern, behind in topology["edges"].items():
        edges = [host for host in hosts if "edge" in fleet["roles"]({**topology, "edges": {pattern: behind}}, host)]
        if not edges:
            found.append(f"{file}: edges: {pattern!r} matches no host that is let in; correct it, or: bin/enroll ID")
        found += [
            f"{file}: edges:{pattern}: {one!r} matches no cell that is let in; correct it, or: bin/enroll ID"
            for one in behind
            if not _runs([one], topology, fleet)
        ]
    sso = topology["sso"]
    if sso is not None and sso not in hosts:
        found.append(f"{file}: sso: {sso} is not let in, so nobody can log in anywhere; bin/enroll {sso}")
    for host in sorted(hosts):
        roles = fleet["roles"](topology, host)
        if host not in without and not roles:
            found.append(
                f"{file}: no pattern matches {host}, so it has no role; add it there, or forget it: "
                f"bin/enroll --remove {host}"
            )
        if {"cell", "edge"} <= set(roles):
            found.append(f"{file}: {host} is a cell and an edge; an edge has Caddy alone: take it out of one of them")
    found += [
        f"{file}: addresses: {host} is no host that is let in; correct it, or take it out"
        for host in topology["addresses"]
        if host not in hosts
    ]
    return found


def _cells(entry, fleet, file):
    patterns = entry["cells"] if isinstance(entry["cells"], list) else [entry["cells"]]
    known = ", ".join(_runs(["*"], fleet["topology"], fleet)) or "none"
    return [
        f"{file}: cells: {pattern!r} matches no cell that is let in (there are: {known}); correct it, or take it out"
        for pattern in patterns
        if not _runs([pattern], fleet["topology"], fleet)
    ]


def _needs(name, entry, entries, file, tools):
    state = entry.get("state", "present")
    found = []
    for one in tools["needs_of"](entry):
        if one == name:
            found.append(f"{file}: needs: a service cannot need itself; take {name} out")
        elif one not in entries:
            hint = tools["suggestion"](one, entries)
            found.append(f"{file}: needs: there is no service {one!r} in the fleet{hint}; correct it, or take it out")
        elif state == "present" and entries[one].get("state", "present") != "present":
            found.append(f"{file}: needs: {one} is {entries[one]['state']}; stop this one, too, or do not need it")
    return found


def _login(entry, fleet, file, folder):
    auth = entry.get("auth")
    pattern = auth.get("pattern") if isinstance(auth, dict) else auth
    if pattern in (None, False, "none") or entry.get("state", "present") == "absent":
        return []
    if fleet["topology"]["sso"] is None:
        return [f"{file}: auth: no host runs Authentik; name a cell that does, in {folder}/fleet.yaml: sso: ID"]
    if not fleet["domain"]:
        sso = fleet["topology"]["sso"]
        return [
            f"{file}: auth: Authentik on {sso} has no domain where users log in; in {folder}/hosts/{sso}.yaml: "
            "authentik: {domain: NAME}"
        ]
    return []


def _domains(alive, fleet, folder, site_of):
    """A name leads to one site only, whichever hosts it is on: visitors and edges know nothing but the name."""
    owners: dict[str, str] = {fleet["domain"].lower(): "Authentik"} if fleet["domain"] else {}
    found = []
    for name, entry in alive.items():
        site: dict[str, Any] = site_of(entry) or {"domains": []}
        for domain in dict.fromkeys(one.lower() for one in site["domains"]):
            if domain in owners:
                found.append(
                    f"{folder}/services/{name}.yaml: site: {domain} is {owners[domain]}'s already; give one of them "
                    "another domain"
                )
            owners.setdefault(domain, f"service {name}")
    return found


def _at(path):
    return [":".join(map(str, path))] if path else []


def _runs(patterns, topology, fleet):
    return fleet["runs_on"]({"cells": patterns}, topology, {*fleet["hosts"], *fleet["by_ssh"]})
