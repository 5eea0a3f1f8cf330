"""
The fleet as its master sees it: who is what, what runs where, and what is wrong with the files of the site.

.. code-block:: bash

    salt-run fleet.status
    salt-run fleet.check
    salt-run fleet.topology
"""

from pathlib import Path

import salt.client
import salt.loader
import salt.roster
from salt.exceptions import SaltClientError

TREE = Path(__file__).resolve().parent.parent
FOLDER = "/etc/rick-infra"
OUTPUTTER = "fleet"  # _output/fleet.py; --out=json gives the same as data


def status():
    """
    Return what each host is, whether it answers, its services and how they are, and how its last roll-out went.

    Shown as a table unless ``--out`` says otherwise. A service that is to run and does not is DOWN; the exit code is
    not zero then, and if a host does not answer.

    CLI Example:

    .. code-block:: bash

        salt-run fleet.status
        salt-run fleet.status --out=json
    """
    known, _ = _read()
    runs = __utils__["rollout_plan.runs"](known)
    hosts = {
        host: {
            "roles": known["roles"](known["topology"], host),
            "up": False,
            "drained": host in known["drained"],
            "services": {name: None for name, cells in runs.items() if host in cells},
            "last": None,
        }
        for host in sorted(known["hosts"])
    }
    units = sorted({f"{name}-pod.service" for name in runs})
    try:
        # Who does not answer is in there as well, with false.
        for host, answer in _call(hosts, "test.ping").items():
            hosts[host]["up"] = answer is True
        cells = [host for host, about in hosts.items() if about["up"] and about["services"]]
        states = _call(cells, "daemon.status", [units])
    except SaltClientError as error:
        return _answer({"problems": [f"the master cannot be asked: {error}"]}, 1)
    for host, about in hosts.items():
        said = states.get(host)
        for name in about["services"]:
            wanted = known["entries"][name].get("state", "present")
            wanted = "stopped" if wanted == "present" and about["drained"] else wanted
            about["services"][name] = _state(wanted, said, name)
        about["last"] = __utils__["rollout_record.last_of"](host)
    down = any(not about["up"] or "DOWN" in about["services"].values() for about in hosts.values())
    return _answer({"hosts": hosts, "rollout": __salt__["rollout.current"]()}, int(down))


def check(without=()):
    """
    Return what is wrong with the files of the fleet, all of it, each with its file and the way out.

    without
        Ids of hosts that need no role now.

    The exit code is not zero if anything is wrong. No host is asked, and nothing changes. What a host has to say of its
    own services, ``salt ID catalogue.check`` tells.

    CLI Example:

    .. code-block:: bash

        salt-run fleet.check
    """
    known, wrong = _read()
    sso = known["topology"]["sso"]
    if sso in known["hosts"]:
        # Where users log in may be said for all hosts, or for this one.
        known, wrong = _read(__salt__["pillar.show_pillar"](sso))
    known["by_ssh"] = _by_ssh()
    wrong |= _external_pillar()["of_hosts_and_services"](_folder(), known)
    judged = {name: _judge(name, entry) for name, entry in known["entries"].items()}
    tools = {
        "suggestion": __utils__["catalogue_errors.suggestion"],
        "needs_of": __utils__["rollout_plan.needs_of"],
        "circle": __utils__["rollout_plan.circle"],
        "site_of": __utils__["fleet_view.site_of"],
    }
    found = __utils__["fleet_check.problems"](known, wrong, judged, _folder(), list(without), tools)
    about = {"problems": found, "hosts": len(known["hosts"]), "services": len(known["entries"])}
    return _answer(about, int(bool(found)))


def topology():
    """
    Return who is what and who runs what, ``{"cells", "edges", "sso", "domain", "drained", "without_role", "services",
    "needs"}``.

    ``edges`` are the ids of edges with the cells behind them, ``services`` those that are to be with their cells,
    ``domain`` is True if Authentik has one.

    CLI Example:

    .. code-block:: bash

        salt-run fleet.topology
    """
    known, _ = _read()
    sso = known["topology"]["sso"]
    if sso in known["hosts"]:
        known, _ = _read(__salt__["pillar.show_pillar"](sso))
    hosts = sorted(known["hosts"])
    roles = {host: known["roles"](known["topology"], host) for host in hosts}
    return {
        "cells": [host for host in hosts if "cell" in roles[host]],
        "edges": {
            host: known["cells_behind"](known["topology"], hosts, host) for host in hosts if "edge" in roles[host]
        },
        "sso": sso if sso in hosts else None,
        "domain": bool(known["domain"]),
        "drained": known["drained"],
        "without_role": [host for host in hosts if not roles[host]],
        "services": __utils__["rollout_plan.runs"](known),
        "needs": {name: __utils__["rollout_plan.needs_of"](entry) for name, entry in known["entries"].items()},
    }


def modules():
    """
    Return a digest of the modules that this master serves.

    CLI Example:

    .. code-block:: bash

        salt-run fleet.modules
    """
    return __utils__["module_tree.digest"](TREE, "_")


def _read(pillar=None):
    return _external_pillar()["read"](_folder(), pillar or {})


def _external_pillar():
    """The names of its module: Salt's own loader of external pillars shows nothing of them but ext_pillar."""
    return salt.loader.pillars(__opts__, {})["fleet"].func.__globals__


def _by_ssh():
    """The ids in the roster, if there is one."""
    try:
        salt.roster.get_roster_file(__opts__)
    except OSError:
        return set()
    return set(salt.roster.Roster(__opts__, __opts__.get("roster")).targets("*", "glob"))


def _folder():
    """Where the site's files are, by the master's own configuration."""
    told = [one["fleet"] for one in __opts__.get("ext_pillar", []) if "fleet" in one]
    return told[0] if told else FOLDER


def _judge(name, entry):
    told = {key: value for key, value in entry.items() if key != "cells"}
    functions = [__utils__[f"catalogue_schema.{one}"] for one in ("complete", "known_keys", "forms")]
    _, wrong, _ = __utils__["catalogue_errors.judge"](told, name, *functions)
    return wrong


def _call(hosts, function, arguments=()):
    """What hosts return, of those that answer."""
    if not hosts:
        return {}
    with salt.client.get_local_client(mopts=__opts__) as client:
        return client.cmd(list(hosts), function, list(arguments), tgt_type="list")


def _state(wanted, said, name):
    unit = said.get(f"{name}-pod.service") if isinstance(said, dict) else None
    if unit is None:
        return f"{wanted}?"
    if wanted == "present":
        return "runs" if unit["active"] else "DOWN"
    return f"{wanted}, and RUNS" if unit["active"] else wanted


def _answer(about, code):
    __context__["retcode"] = code
    return {**about, "outputter": OUTPUTTER, "retcode": code}
