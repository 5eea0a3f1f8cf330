"""
The proof that access works, and that outsiders are refused: on this host, now.

.. code-block:: bash

    salt-call verify.host
    salt-call verify.host --out=json

Nothing here trusts what was configured. Ids are read from the processes,
owners and modes from the file system, and every door is tried, by those who
may pass and by one who may not.
"""

import grp
import http.client
import pwd
import urllib.error
import urllib.request
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

__outputter__ = {"host": "verification"}

HTTP_TIMEOUT = 10  # seconds
MODES = {"directory": "2750", "socket": "0770"}
PROC = "/proc"


def host():
    """
    Check this host's infrastructure and services and say how each check went.

    Returns ``{"passed": bool, "checks": [{"name": str, "passed": bool, "detail": str}]}``,
    shown as a table unless ``--out`` says otherwise. The exit code is not zero if a check failed.

    CLI Example:

    .. code-block:: bash

        salt-call verify.host
        salt-call verify.host --out=json
    """
    doors = _doors()
    checks = [_check("facts equal the system", _facts)]
    checks += [_active(door["unit"]) for door in doors]
    checks += [_check(f"{door['title']} has no TCP listener", _no_tcp, door["unit"]) for door in doors]
    for door in doors:
        checks += _door(door)
    for service in __salt__["catalogue.services"]():
        checks += _service(service, [door for door in doors if door["group"] in service["groups"]])
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
    """One line of the table: ``judge`` returns what is wrong, or nothing, and the detail. An error is wrong too."""
    try:
        problem, detail = judge(*arguments)
    except (CommandExecutionError, SaltInvocationError, OSError) as error:
        problem, detail = str(error) or type(error).__name__, ""
    return {"name": name, "passed": not problem, "detail": problem or detail}


def _facts():
    facts = __salt__["facts.published"]()
    return "; ".join(__salt__["facts.problems"]()), ", ".join(f"{group}={gid}" for group, gid in facts.items())


def _active(unit):
    return _check(f"{unit} is active in /system.slice", _active_in_system_slice, unit)


def _active_in_system_slice(unit):
    """Elsewhere, limits and accounting of the system would not apply to it."""
    state = __utils__["units.show"]([unit], ["ActiveState", "SubState", "ControlGroup"])[unit]
    cgroup = state["ControlGroup"]
    if state["ActiveState"] != "active":
        return f"{state['ActiveState']} ({state['SubState']}); journalctl -u {unit}", ""
    return None if cgroup.startswith("/system.slice/") else f"runs in {cgroup or 'no control group'}", cgroup


def _no_tcp(unit):
    listening = __salt__["daemon.tcp_listeners"](unit)
    return f"listens on {', '.join(listening)}" if listening else None, ""


def _door(door):
    path = door["socket"]
    nobody = pwd.getpwnam("nobody")
    outsider = (nobody.pw_uid, nobody.pw_gid, [nobody.pw_gid])
    return [
        _check(f"{Path(path).parent} belongs to its clients", _owned, str(Path(path).parent), "directory", door),
        _check(f"{path} belongs to its clients", _owned, path, "socket", door),
        _check(f"{path} is answered by {door['unit']}", _listener, door),
        _check(f"an outsider is refused at {path}", _probe, path, "refused", *outsider),
    ]


def _owned(path, kind, door):
    wanted = {"type": kind, "user": door["user"], "group": door["group"], "mode": MODES[kind]}
    found = __salt__["unix_socket.stat"](path)
    wrong = [f"{key} is {found.get(key)}, not {value}" for key, value in wanted.items() if found.get(key) != value]
    return ", ".join(wrong), f"{door['user']}:{door['group']} {MODES[kind]}"


def _listener(door):
    """Whoever listens on the path is the daemon and nobody else: an impostor would collect what clients send."""
    listeners = __salt__["unix_socket.listeners"](door["socket"])
    units = sorted({listener["unit"] or f"pid {listener['pid']}" for listener in listeners})
    return None if units == [door["unit"]] else f"listening: {', '.join(units) or 'nobody'}", ""


def _probe(path, expected, uid, gid, groups):
    answer = __salt__["unix_socket.probe"](path, uid, gid, groups)
    problem = None if answer["outcome"] == expected else f"{answer['outcome']}: {answer['detail']}"
    return problem, f"uid {uid}, groups {groups}: {answer['detail']}"


def _service(service, doors):
    name = service["name"]
    try:
        account = pwd.getpwnam(service["user"])
    except KeyError:
        missing = f"there is no user {service['user']}; apply the highstate"
        return [{"name": f"{name}: user {service['user']} exists", "passed": False, "detail": missing}]
    checks = []
    for container in service["containers"]:
        checks.append(_active(f"{container}.service"))
        checks.append(
            _check(
                f"{container}'s process has the ids of {account.pw_name}",
                _process,
                container,
                account,
                service["groups"],
            )
        )
    uid, gid = account.pw_uid, account.pw_gid
    gids = [gid, *(number for number in map(_gid, service["groups"]) if number is not None)]
    for door in doors:
        path, group = door["socket"], door["group"]
        without = [number for number in gids if number != _gid(group)]
        checks.append(_check(f"{name} gets in at {path}", _probe, path, "allowed", uid, gid, gids))
        checks.append(_check(f"{name} without {group} is refused", _probe, path, "refused", uid, gid, without))
    return [
        *checks,
        _check(f"{name}: a query as {service['user']}", _query, service),
        _check(f"{name}: a cache round trip as {service['valkey_user']}", _round_trip, service),
        _check(f"{name} answers at {service['health_url']}", _http, service["health_url"]),
    ]


def _gid(group):
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _process(container, account, groups):
    """The ids of the container's own process. What ``podman exec`` shows is another process (podman issue 29170)."""
    found = {unit["name"]: unit for unit in __salt__["quadlet.running_containers"]([container])}.get(container)
    if not found or not found["pid"]:
        return "the container is not running", ""
    status = {}
    for line in Path(PROC, str(found["pid"]), "status").read_text().splitlines():
        key, _, value = line.partition(":")
        status[key] = value.split()
    wanted = {_gid(group) for group in groups}
    uids, gids, have = set(status["Uid"]), set(status["Gid"]), {int(gid) for gid in status["Groups"]}
    problems = []
    if uids != {str(account.pw_uid)}:
        problems.append(f"uid {'/'.join(sorted(uids))}, not {account.pw_uid}")
    if gids != {str(account.pw_gid)}:
        problems.append(f"gid {'/'.join(sorted(gids))}, not {account.pw_gid}")
    if have - {account.pw_gid} != wanted:
        problems.append(f"groups {sorted(have)}, not {', '.join(groups)} ({', '.join(map(str, wanted))})")
    if any(int(status[key][0], 16) for key in ("CapPrm", "CapEff", "CapBnd")):
        problems.append("has capabilities")
    if status["NoNewPrivs"] != ["1"]:
        problems.append("may gain privileges")
    return ", ".join(problems), f"uid {account.pw_uid}, groups {sorted(have)}, no capabilities"


def _query(service):
    rows = __salt__["postgresql.query_as"](service["user"], "select current_user as role", service["database"])
    problem = None if rows == [{"role": service["user"]}] else f"answered {rows}"
    return problem, f"role {service['user']}, database {service['database']}"


def _round_trip(service):
    secret_file, key = __salt__["secret.path"](service["secret"]), f"{service['name']}:verify"
    __salt__["valkey.round_trip"](service["valkey_user"], secret_file, key)
    return None, f"{key} written, read and deleted"


def _http(url):
    # A proxy in the environment is for the outside; this address is the host's own.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=HTTP_TIMEOUT) as answer:
            return None, f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}", ""
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {getattr(error, 'reason', None) or error!r}", ""
