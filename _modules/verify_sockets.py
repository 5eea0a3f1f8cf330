"""
The checks of sockets, for ``verify.host`` and ``verify.service``: whose they are, who answers, who gets in.

Every door is tried by one who may not pass. What counts is the process that connects, not what was configured.
"""

import pwd
from pathlib import Path

DAEMONS = {"directory": "2750", "socket": "0770"}
ROOT = {"user": "root", "group": "root"}
# On the host, nobody but root gets past the first; whoever has the second mounted may connect.
PRIVATE = {"root": ("directory", "0700"), "directory": ("directory", "0755"), "path": ("socket", "0666")}


def door(about):
    """
    Return the checks of a daemon's socket, a list of ``{"name", "passed", "detail"}``.

    about
        ``{"socket", "user", "group", "unit"}``: its path, who owns it, whose members may connect, who must answer.

    CLI Example: none, it takes a part of a resolved service: see verify.service.
    """
    path, directory = about["socket"], str(Path(about["socket"]).parent)
    owner = {"user": about["user"], "group": about["group"]}
    return [
        _check(f"{directory} belongs to its clients", _owned, directory, "directory", owner, DAEMONS["directory"]),
        _check(f"{path} belongs to its clients", _owned, path, "socket", owner, DAEMONS["socket"]),
        _check(f"{path} is answered by {about['unit']}", _listener, path, about["unit"]),
        _outsider(path),
    ]


def no_tcp(title, unit):
    """
    Return the check that a daemon listens on no TCP port, ``{"name", "passed", "detail"}``.

    CLI Example:

    .. code-block:: bash

        salt-call verify_sockets.no_tcp Valkey valkey-server.service
    """
    return _check(f"{title} has no TCP listener", _no_tcp, unit)


def of_service(service, account, doors):
    """
    Return the checks of the sockets that a service has to do with: shared ones, a Valkey of its own, private ones.

    service
        As from ``catalogue.services``.

    account
        Its user's entry in the system's database.

    doors
        The shared sockets, each ``{"socket", "group", …}``.

    CLI Example: none, it takes a resolved service: see verify.service.
    """
    return [*_shared(service, account, doors), *_own_valkey(service, account), *_private(service)]


def _check(name, judge, *arguments):
    return __salt__["verify_service.check"](name, judge, *arguments)


def _outsider(path):
    nobody = pwd.getpwnam("nobody")
    probe = __salt__["verify_service.probe"]
    who = (nobody.pw_uid, nobody.pw_gid, [nobody.pw_gid])
    return _check(f"an outsider is refused at {path}", probe, path, "refused", *who)


def _shared(service, account, doors):
    found, probe = [], __salt__["verify_service.probe"]
    groups = service["account"]["groups"]
    number = __salt__["verify_service.gid"]
    gids = [account.pw_gid, *(gid for gid in map(number, groups) if gid is not None)]
    who = (account.pw_uid, account.pw_gid)
    for one in doors:
        path, group = one["socket"], one["group"]
        if group in groups:
            without = [gid for gid in gids if gid != number(group)]
            found.append(_check(f"{service['name']} gets in at {path}", probe, path, "allowed", *who, gids))
            found.append(_check(f"{service['name']} without {group} is refused", probe, path, "refused", *who, without))
    return found


def _own_valkey(service, account):
    valkey = service["valkey"]
    if not valkey or valkey["isolation"] != "instance":
        return []
    unit, path = valkey["unit"], valkey["socket"]
    who = (account.pw_uid, account.pw_gid, [account.pw_gid])
    active = __salt__["verify_service.active_in_system_slice"]
    return [
        _check(f"{unit} is active in /system.slice", active, unit),
        no_tcp(unit, unit),
        *door({"socket": path, "user": "valkey", "group": valkey["group"], "unit": unit}),
        _check(f"{service['name']} gets in at {path}", __salt__["verify_service.probe"], path, "allowed", *who),
    ]


def _private(service):
    name, found = service["name"], []
    for one in service["private_sockets"]:
        at = __utils__["private_units.places"](name, one["target"])
        at = {**at, "root": __utils__["private_units.root"]()}
        found.append(_check(f"{at['unit']}.socket is active", _active, f"{at['unit']}.socket"))
        found += [
            _check(f"{at[key]} is root's", _owned, at[key], kind, ROOT, mode) for key, (kind, mode) in PRIVATE.items()
        ]
        found.append(_outsider(at["path"]))
    return found


def _active(unit):
    state = __utils__["units.show"]([unit], ["ActiveState", "SubState"])[unit]
    said = f"{state['ActiveState']} ({state['SubState']})"
    return None if state["ActiveState"] == "active" else f"{said}; journalctl -u {unit}", said


def _owned(path, kind, owner, mode):
    wanted = {"type": kind, **owner, "mode": mode}
    found = __salt__["unix_socket.stat"](path)
    wrong = [f"{key} is {found.get(key)}, not {value}" for key, value in wanted.items() if found.get(key) != value]
    return ", ".join(wrong), f"{owner['user']}:{owner['group']} {mode}"


def _listener(path, unit):
    """Whoever listens on the path is the daemon and nobody else: an impostor would collect what clients send."""
    listeners = __salt__["unix_socket.listeners"](path)
    units = sorted({listener["unit"] or f"pid {listener['pid']}" for listener in listeners})
    return None if units == [unit] else f"listening: {', '.join(units) or 'nobody'}", ""


def _no_tcp(unit):
    listening = __salt__["daemon.tcp_listeners"](unit)
    return f"listens on {', '.join(listening)}" if listening else None, ""
