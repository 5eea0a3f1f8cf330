"""
Native daemons that must run, enabled at boot, as declared.
"""

from salt.exceptions import CommandExecutionError


def running(name, units, enable=()):
    """
    Ensure daemons run, with the unit files and drop-ins that are there now.

    name
        A title.

    units
        List of unit names with their suffix. All are asked about and acted on together.

    enable
        Those of the units that must be enabled at boot by name. A template's
        instance that a generator pulls in (``postgresql@17-main.service``) is not one.

    Compares live facts: a unit that is not active is started; one whose
    process is older than a drop-in below ``/etc`` is restarted, also if the
    drop-in was written by a run that was killed before it could restart it.

    .. code-block:: yaml

        Valkey runs:
          daemon.running:
            - units: [valkey-server.service]
            - enable: [valkey-server.service]
    """
    try:
        current = __salt__["daemon.status"](units)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    changes = {}
    for unit, state in current.items():
        if not state["active"]:
            changes[unit] = {"old": "not running", "new": "running"}
        elif state["stale_process"] or _would_be_stale(unit):
            changes[unit] = {"old": "running with an older configuration of the unit", "new": "restarted"}
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
            restart=[unit for unit in units if current[unit]["stale_process"]],
            enable=[unit for unit in enable if not current[unit]["enabled"]],
        )
        now = __salt__["daemon.status"](units)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    dead = [unit for unit in units if not now[unit]["active"]]
    if dead:
        return __utils__["results.failed"](
            name, f"Started, but not running any more: {', '.join(dead)} (journalctl -u {dead[0]})"
        )
    return __utils__["results.changed"](name, changes, f"Running as declared: {', '.join(units)}")


def _would_be_stale(unit):
    """Whether an earlier state of this test run plans a drop-in: a real run meets the process older than it."""
    if not __opts__["test"]:
        return False
    stem, at, instance = unit.partition("@")
    template = f"{stem}@.{instance.rpartition('.')[2]}" if at else unit
    directories = [f"/etc/systemd/system/{name}.d" for name in {unit, template}]
    return bool(__utils__["results.planned_files"](__running__, directories))
