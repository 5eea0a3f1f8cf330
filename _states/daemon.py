"""
Native daemons that must run, enabled at boot, as declared.
"""

from salt.exceptions import CommandExecutionError


def running(name, units, enable=(), sockets=None):
    """
    Ensure daemons run, with the unit files and drop-ins that are there now.

    name
        A title.

    units
        List of unit names with their suffix. All are asked about and acted on together.

    enable
        Those of the units that must be enabled at boot by name. A template's
        instance that a generator pulls in (``postgresql@17-main.service``) is not one.

    sockets
        ``{unit: path}``: the Unix socket that the unit must listen on.

    Compares live facts: a unit that is not active is started; one whose
    process is older than a drop-in below ``/etc`` is restarted, also if the
    drop-in was written by a run that was killed before it could restart it;
    so is one that does not listen on its socket, because somebody removed the
    socket or started the daemon with another configuration.

    .. code-block:: yaml

        Valkey runs:
          daemon.running:
            - units: [valkey-server.service]
            - enable: [valkey-server.service]
            - sockets: {valkey-server.service: /run/valkey/valkey.sock}
    """
    sockets = sockets or {}
    try:
        current = __salt__["daemon.status"](units)
        deaf = _deaf(sockets, current)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    changes = {}
    for unit, state in current.items():
        if not state["active"]:
            changes[unit] = {"old": "not running", "new": "running"}
        elif state["stale_process"] or _would_be_stale(unit):
            changes[unit] = {"old": "running with an older configuration of the unit", "new": "restarted"}
        elif unit in deaf:
            changes[unit] = {"old": f"running, but not listening on {sockets[unit]}", "new": "restarted"}
        elif state["stale_unit"]:
            changes[unit] = {"old": "not read by systemd since it changed", "new": "read"}
        if unit in enable and not state["enabled"]:
            changes[f"{unit} at boot"] = {"old": "not started", "new": "started"}
    if not changes:
        return __utils__["results.unchanged"](name, f"Running as declared: {', '.join(units)}")
    if __opts__["test"]:
        return __utils__["results.planned"](name, changes, f"Would run as declared: {', '.join(units)}")
    try:
        __salt__["daemon.apply"](
            start=[unit for unit in units if not current[unit]["active"]],
            restart=[unit for unit in units if current[unit]["stale_process"] or unit in deaf],
            enable=[unit for unit in enable if not current[unit]["enabled"]],
        )
        now = __salt__["daemon.status"](units)
        deaf = _deaf(sockets, now)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    dead = [unit for unit in units if not now[unit]["active"]]
    if dead:
        return __utils__["results.failed"](
            name, f"Started, but not running any more: {', '.join(dead)} (journalctl -u {dead[0]})"
        )
    if deaf:
        return __utils__["results.failed"](
            name, f"Started, but not listening: {', '.join(f'{unit} on {sockets[unit]}' for unit in deaf)}", changes
        )
    return __utils__["results.changed"](name, changes, f"Running as declared: {', '.join(units)}")


def _deaf(sockets, current):
    """The units that are active and do not listen on their sockets."""
    return [unit for unit, path in sockets.items() if current[unit]["active"] and not _listens(unit, path)]


def _listens(unit, path):
    if __salt__["unix_socket.stat"](path)["type"] != "socket":
        return False
    return unit in {listener["unit"] for listener in __salt__["unix_socket.listeners"](path)}


def _would_be_stale(unit):
    """Whether an earlier state of this test run plans a drop-in: a real run meets the process older than it."""
    if not __opts__["test"]:
        return False
    stem, at, instance = unit.partition("@")
    template = f"{stem}@.{instance.rpartition('.')[2]}" if at else unit
    directories = [f"/etc/systemd/system/{name}.d" for name in {unit, template}]
    return bool(__utils__["results.planned_files"](__running__, directories))
