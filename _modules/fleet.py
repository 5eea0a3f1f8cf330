"""
What this host is among others: its roles, what it publishes, and what its master tells it of them.

The master decides, by the id whose key it has accepted; a host by itself is a cell with all that a host can be.

.. code-block:: bash

    salt-call fleet.roles
    salt-call fleet.published
    salt-call fleet.sites
"""

import socket
from pathlib import Path

from salt.exceptions import CommandExecutionError

ALONE = ["cell", "sso"]
IDENTITY = "/etc/caddy/identity"
OTHERS = "/etc/caddy/fleet"  # certificates of the cells whose sites an edge shows
# RFC 5737: nobody's address. Nothing is sent there; which address would be the sender's is all that is asked.
SOMEWHERE = "192.0.2.1"
PORT = 9  # of no matter


def roles():
    """
    Return the roles of this host, a list of ``cell``, ``sso`` and ``edge``; without a master, of the first two.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.roles
    """
    told = view()
    return list(told.get("roles") or []) if told is not None else list(ALONE)


def view():
    """
    Return what the master tells this host of the fleet, ``rick:fleet`` of the pillar; None without a master.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.view
    """
    rick = __pillar__.get("rick")
    told = rick.get("fleet") if isinstance(rick, dict) else None
    return told if isinstance(told, dict) else None


def published():
    """
    Return what the master may know of this host, to tell it to those who need it.

    ``{"address", "certificate", "authority"}``: its address as others reach it, the certificate by which its Caddy is
    known as a client, and the root of those that its Caddy makes as a server, both as PEM; None for what there is not
    yet. The mine carries it (``mine_functions``), and the master's pillar alone reads that.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.published
    """
    return {
        "address": _address(),
        "certificate": __utils__["textfile.read"](f"{IDENTITY}/certificate.pem"),
        "authority": _authority(),
    }


def authorities():
    """
    Return the certificates by which this host, an edge, knows the cells behind it, ``{file: PEM}``.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.authorities
    """
    told = view() or {}
    upstreams = [one for site in (told.get("sites") or {}).values() for one in site["upstreams"]]
    upstreams += [told["sso"]] if told.get("sso") else []
    return {f"{OTHERS}/{one['id']}.pem": one["authority"] for one in upstreams if one["authority"]}


def sites():
    """
    Return the sites that this host, an edge, shows for the cells behind it, ``{service: site}``, as
    ``caddy.site_present`` takes them.

    A cell that has not published its address and authority yet is left out, and so is one that is drained.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.sites
    """
    found = {}
    for name, about in sorted(((view() or {}).get("sites") or {}).items()):
        known = [one for one in about["upstreams"] if one["authority"] and one["address"]]
        found[name] = {
            "domains": about["domains"],
            "tls": about["tls"],
            "cells": [one["address"] for one in known],
            "authorities": [f"{OTHERS}/{one['id']}.pem" for one in known],
        }
    return found


def site(name):
    """
    Return one of ``fleet.sites``, for the argument of a state.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.site notes
    """
    return sites()[name]


def problems():
    """
    Return what the master could not use of its files, and whether it knows this host, a list of sentences.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.problems
    """
    errors = __pillar__.get("rick", {}).get("services_errors", [])
    return [*errors, *([] if roles() else ["the master gives this host no role: salt-run fleet.check says more"])]


def modules():
    """
    Return a digest of the modules that this host has of its master.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.modules
    """
    return __utils__["module_tree.digest"](Path(__file__).parent.parent)


def logins():
    """
    Return what Authentik on this host has for services on other hosts, ``{service: auth}``; None where nobody logs in.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.logins
    """
    told = (view() or {}).get("logins") or {}
    resolved = __salt__["catalogue_entries.known"]()["logins"]
    return {name: resolved.get(name) if about else None for name, about in told.items()}


def login(name):
    """
    Return what Authentik on this host has for a service on another one, for the argument of a state.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.login notes
    """
    return logins()[name]


def client_secret(name):
    """
    Return where the client secret of a service on another host comes from, as ``secret.all_present`` takes it.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.client_secret notes
    """
    auth = login(name)
    return [{"name": auth["secret"], "pillar": f"secrets:{name}:auth"}] if auth["secret"] else []


def stale_sites():
    """
    Return the services whose sites this host, an edge, still has and no longer shows, sorted.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.stale_sites
    """
    shown = sites()
    return sorted(one["service"] for one in __salt__["caddy.sites"]() if one["service"] and one["service"] not in shown)


def stale_authorities():
    """
    Return the files with certificates of cells that this host has nothing to do with any more, sorted.

    CLI Example:

    .. code-block:: bash

        salt-call fleet.stale_authorities
    """
    known = authorities()
    return sorted(str(path) for path in Path(OTHERS).glob("*.pem") if str(path) not in known)


def _authority():
    try:
        return __salt__["caddy.root_certificate"]()
    except CommandExecutionError:
        return None


def _address():
    """The address from which this host speaks to its master, or to the world if the master is this host."""
    for there in (__opts__.get("master_ip"), SOMEWHERE):
        if not there:
            continue
        with socket.socket(socket.AF_INET6 if ":" in there else socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                asked.connect((there, PORT))
            except OSError:
                continue
            address = asked.getsockname()[0]
            if not address.startswith("127.") and address != "::1":
                return address
    return None
