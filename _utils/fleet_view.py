"""
What one host of a fleet may know: its own services, and of other hosts what it cannot work without.

Pure functions of what the master knows. Whatever is not returned here reaches no minion.
"""

from typing import Any

UNREADABLE = "{}: cannot be used, so no host changes; on the master, salt-run fleet.check says why"
NO_ROLE = "no pattern in fleet.yaml matches this host's id, {}: add it there, or delete its key on the master"
BOTH = "by patterns in fleet.yaml this host, {}, is a cell and an edge; an edge has Caddy alone: take it out of one"

# Of a host whose role makes it need nothing of others.
NOTHING: dict[str, Any] = {"edges": {}, "sso": None, "logins": {}, "outposts": {}, "sites": {}}


def view(host, fleet):
    """
    Return the part ``rick`` of a host's pillar: ``{"services", "services_errors", "fleet"}``.

    host
        Its minion id.

    fleet
        What the master knows: ``topology`` (as from ``fleet_file.topology``), ``hosts`` (ids whose keys are accepted),
        ``entries`` (``{name: entry}``), ``unreadable`` (paths of files that cannot be used), ``drained`` (ids of
        cells), ``domain`` (where users log in, None if nowhere), ``domain_tls`` (of its site) and ``published`` (a
        function: what a host says of itself).
        ``roles``, ``edges_of``, ``cells_behind`` and ``where`` are the functions of ``fleet_file``.
    """
    roles = fleet["roles"](fleet["topology"], host)
    about = {"id": host, "roles": roles, "drained": host in fleet["drained"], **NOTHING}
    errors = [] if roles else [NO_ROLE.format(host)]
    errors += [BOTH.format(host)] if {"cell", "edge"} <= set(roles) else []
    errors += [UNREADABLE.format(path) for path in fleet["unreadable"]]
    services = {}
    if "cell" in roles:
        services = _services(host, fleet)
        about |= _of_cell(host, services, fleet)
    if "sso" in roles:
        about |= _of_sso(host, services, fleet)
    if "edge" in roles:
        about |= _of_edge(host, fleet)
    return {"services": services, "services_errors": errors, "fleet": about}


def shared_logins(host, services, fleet):
    """
    Return the names of the services whose client secret a host shares with another one.

    host, fleet
        As for ``view``. The host is where such a service runs, or where Authentik does.

    services
        The host's own, as ``view`` returns them.
    """
    sso = fleet["topology"]["sso"]
    if not fleet["domain"]:
        return []
    logins = {
        name: entry for name, entry in fleet["entries"].items() if (host == sso or name in services) and _login(entry)
    }
    return sorted(name for name, cells in _where(logins, fleet).items() if any(cell != sso for cell in cells))


def site_of(entry):
    """
    Return the site of an entry as far as others than its cell must know it, ``{"domains", "tls"}``, None without one.

    entry
        As its file says it.
    """
    site = entry.get("site")
    site = {"domains": site} if isinstance(site, (str, list)) else site
    if not isinstance(site, dict):
        return None
    domains = site.get("domains")
    domains = [domains] if isinstance(domains, str) else domains
    if not isinstance(domains, list) or not all(isinstance(one, str) for one in domains):
        return None
    return {"domains": domains, "tls": site.get("tls", "internal")}


def _services(host, fleet):
    """Its own entries. What they need on other hosts is waited for by a roll-out, not by this host."""
    here = fleet["where"](fleet["entries"], fleet["topology"], [host])
    own = {name: entry for name, entry in fleet["entries"].items() if here[name]}
    elsewhere = fleet["entries"].keys() - own.keys()
    found = {}
    for name, entry in own.items():
        told = {key: value for key, value in entry.items() if key != "cells"}
        needs = told.get("needs")
        needs = [needs] if isinstance(needs, str) else needs
        if isinstance(needs, list):
            told["needs"] = [one for one in needs if one not in elsewhere]
        if host in fleet["drained"] and told.get("state", "present") == "present":
            told["state"] = "stopped"
        found[name] = told
    return found


def _of_cell(host, services, fleet):
    """Whom its Caddy lets in for its sites, and where its users log in."""
    topology = fleet["topology"]
    edges = fleet["edges_of"](topology, fleet["hosts"], host)
    certificates = {edge: fleet["published"](edge).get("certificate") for edge in edges}
    sso = None
    if fleet["domain"] and host != topology["sso"] and any(_login(entry) for entry in services.values()):
        sso = {"domain": fleet["domain"], **_upstream(topology["sso"], fleet)}
    return {"edges": certificates, "sso": sso}


def _of_sso(host, services, fleet):
    """Of services on other cells: what Authentik has to know, and which cell may ask for which domains."""
    if not fleet["domain"]:
        return {}
    logins, outposts = {}, {}
    where = _where(fleet["entries"], fleet)
    for name, entry in sorted(fleet["entries"].items()):
        if name not in services:
            logins[name] = {"auth": entry["auth"], "site": site_of(entry)} if _login(entry) else None
        for cell in where[name] if _login(entry) else []:
            if cell != host:
                outpost = outposts.setdefault(
                    cell, {"certificate": fleet["published"](cell).get("certificate"), "domains": []}
                )
                outpost["domains"] = sorted({*outpost["domains"], *(site_of(entry) or {"domains": []})["domains"]})
    return {"logins": logins, "outposts": outposts}


def _of_edge(host, fleet):
    """The sites of the cells behind it, and how to reach each."""
    behind = set(fleet["cells_behind"](fleet["topology"], fleet["hosts"], host))
    where = _where(fleet["entries"], fleet)
    sites = {}
    for name, entry in sorted(fleet["entries"].items()):
        site = site_of(entry)
        cells = [cell for cell in where[name] if cell in behind]
        if not site or not cells or entry.get("state", "present") == "absent":
            continue
        sites[name] = {**site, **_upstreams(cells, fleet)}
    sso = fleet["topology"]["sso"]
    if fleet["domain"] and sso in behind:
        sites["authentik"] = {"domains": [fleet["domain"]], "tls": fleet["domain_tls"], **_upstreams([sso], fleet)}
    return {"sites": sites}


def _upstreams(cells, fleet):
    awake = [cell for cell in cells if cell not in fleet["drained"]]
    return {"upstreams": [_upstream(cell, fleet) for cell in awake]}


def _upstream(host, fleet):
    """``authority`` and ``address`` are None until the host has published them."""
    facts = fleet["published"](host)
    address = fleet["topology"]["addresses"].get(host) or facts.get("address")
    return {"id": host, "address": address, "authority": facts.get("authority")}


def _where(entries, fleet):
    return fleet["where"](entries, fleet["topology"], fleet["hosts"])


def _login(entry):
    """Whether Authentik has anything of a service: also if its state is stopped, not if it is to be gone."""
    auth = entry.get("auth")
    pattern = auth.get("pattern") if isinstance(auth, dict) else auth
    return pattern not in (None, False, "none") and entry.get("state", "present") != "absent"
