"""
The proof that access works, and that outsiders and neighbours are refused: on this host, now.

.. code-block:: bash

    salt-call verify.host
    salt-call verify.service notes
    salt-call verify.access
    salt-call verify.host --out=json

Nothing here trusts what was configured. Ids are read from the processes,
owners and modes from the file system, and every door is tried, by those who
may pass and by one who may not.
"""

from salt.exceptions import CommandExecutionError

__outputter__ = {"host": "verification", "service": "verification", "access": "verification", "login": "verification"}


def host(without=()):
    """
    Check this host's infrastructure and all its services and say how each check went.

    without
        Ids of other hosts that are known to be away. An edge does not ask for sites that only these have.

    Returns ``{"passed": bool, "checks": [{"name": str, "passed": bool, "detail": str}]}``,
    shown as a table unless ``--out`` says otherwise. The exit code is not zero if a check failed.

    CLI Example:

    .. code-block:: bash

        salt-call verify.host
        salt-call verify.host --out=json
    """
    roles = __salt__["fleet.roles"]()
    checks = [] if roles else [_check("this host has a role", _role)]
    if "cell" in roles:
        checks += _cell()
    if "sso" in roles:
        logins = __salt__["fleet.logins"]().items()
        checks += [one for name, auth in logins if auth for one in __salt__["verify_login.of_authentik"](name, auth)]
    if "edge" in roles:
        checks += __salt__["verify_edge.checks"](without)
    return _table(checks)


def service(name):
    """
    Check one service: its processes, what it reaches, what it is refused, how it answers.

    Returns as ``verify.host`` does.

    name
        Name of the service.

    Raises CommandExecutionError if there is no such service, or if the catalogue is wrong.

    CLI Example:

    .. code-block:: bash

        salt-call verify.service notes
    """
    return _table(__salt__["verify_service.checks"](__salt__["catalogue.show"](name), _doors()))


def login(name):
    """
    Check the login of one service: that visitors are sent to it and forged headers do not help, that open paths are
    open, and that who is in none of its groups is refused.

    Returns as ``verify.host`` does.

    name
        Name of the service.

    Raises CommandExecutionError if there is no such service, if it has no login, or if the catalogue is wrong.

    CLI Example:

    .. code-block:: bash

        salt-call verify.login notes
    """
    found = __salt__["catalogue.show"](name)
    if not found["auth"]:
        raise CommandExecutionError(f"service {name} has no login (auth)")
    if found["state"] != "present":
        raise CommandExecutionError(f"service {name} is {found['state']}: nobody can log in")
    return _table(__salt__["verify_login.checks"](found))


def access():
    """
    Check who reaches what: each service its own database, keys and network, and none of any other's.

    Every pair of services is tried: as the one's user at the other's database and
    at its own under the other's name, with the one's login at the other's
    keys, as the one's user at the other's private sockets, from the one's pod at
    the other's addresses. What a stopped service has is tried as well, by those
    that run. Returns as ``verify.host`` does.

    CLI Example:

    .. code-block:: bash

        salt-call verify.access
    """
    wrong = __salt__["catalogue.problems"]()
    if wrong:
        raise CommandExecutionError("\n".join(wrong))
    services = [one for one in __salt__["catalogue.services"]() if one["state"] != "absent"]
    if not any(one["state"] == "present" for one in services):
        raise CommandExecutionError("no service runs on this host: nothing to compare")
    return _table(__salt__["verify_access.checks"](services))


def _cell():
    doors = _doors()
    checks = [_check("facts equal the system", _facts)]
    checks += [_active(door["unit"]) for door in doors]
    checks += [__salt__["verify_sockets.no_tcp"](door["title"], door["unit"]) for door in doors]
    for door in doors:
        checks += __salt__["verify_sockets.door"](door)
    checks.append(_check("pods answer other hosts by published ports only", _firewall))
    checks += [_active("caddy.service"), _check("the catalogue is valid", _catalogue)]
    for one in __salt__["catalogue.services"]():
        checks += __salt__["verify_service.checks"](one, doors)
    return checks


def _table(checks):
    passed = all(check["passed"] for check in checks)
    if not passed:
        __context__["retcode"] = 1
    return {"passed": passed, "checks": checks}


def _doors():
    """What stands between a client and a database: directory, socket, group, and the daemon that must be behind it."""
    postgresql = __salt__["catalogue.infrastructure"]("postgresql")
    valkey = __salt__["catalogue.infrastructure"]("valkey")
    return [
        {"title": "PostgreSQL", "user": "postgres", "group": "postgres-clients", **postgresql},
        {"title": "Valkey", "user": "valkey", "group": "valkey-clients", **valkey},
    ]


def _check(name, judge, *arguments):
    return __salt__["verify_service.check"](name, judge, *arguments)


def _role():
    return "; ".join(__salt__["fleet.problems"]()), ""


def _facts():
    facts = __salt__["facts.published"]()
    return "; ".join(__salt__["facts.problems"]()), ", ".join(f"{group}={gid}" for group, gid in facts.items())


def _catalogue():
    return "; ".join(__salt__["catalogue.problems"]()), ""


def _firewall():
    return "; ".join(__salt__["pod_firewall.problems"]()), "nft list table inet rick_infra"


def _active(unit):
    return _check(f"{unit} is active in /system.slice", __salt__["verify_service.active_in_system_slice"], unit)
