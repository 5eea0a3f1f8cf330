"""
Native daemons: whether the process that runs is the one that is declared.

"Restart when a file changed in this run" forgets: a run that dies between the
file and the restart leaves the old process for ever. This module compares what
is there: systemd's view of the unit, and whether the process is older than the
drop-ins it should have been started with.
"""

import socket
import time
from pathlib import Path

PROPERTIES = [
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "NeedDaemonReload",
    "DropInPaths",
    "ExecMainStartTimestampMonotonic",
    "MainPID",
]

# systemctl(1), is-enabled: what does not start at boot. Empty: no unit file.
NOT_ENABLED = ("disabled", "masked", "masked-runtime", "linked", "linked-runtime", "bad", "")


def status(units):
    """
    Return how each unit stands, ``{unit: {"loaded", "active", "enabled", "stale_unit", "stale_process"}}``.

    units
        List of unit names with their suffix.

    ``stale_unit``: systemd has not read the unit's files since they changed.
    ``stale_process``: the process was started before a drop-in of its unit was
    written. All values are booleans. ``enabled`` is also true for units that a
    generator or another unit pulls in (``enabled-runtime``, ``static``,
    ``indirect``, ``generated``).

    CLI Example:

    .. code-block:: bash

        salt-call daemon.status '[valkey-server.service]'
    """
    return {unit: _status(properties) for unit, properties in __utils__["units.show"](units, PROPERTIES).items()}


def apply(start=(), restart=(), enable=()):
    """
    Enable, start and restart units, each kind in one transaction; systemd reads its units first.

    Raises CommandExecutionError with systemd's words and the failed unit's last lines.

    CLI Example:

    .. code-block:: bash

        salt-call daemon.apply restart='[valkey-server.service]'
    """
    __utils__["units.daemon_reload"]()
    __utils__["units.act"]("enable", list(enable))
    __utils__["units.act"]("restart", list(restart))
    __utils__["units.act"]("start", list(start))


def tcp_listeners(unit):
    """
    Return the TCP addresses that processes of the unit listen on, as ``address:port``; an empty list if none.

    CLI Example:

    .. code-block:: bash

        salt-call daemon.tcp_listeners valkey-server.service
    """
    return [f"{address}:{port}" for address, port, protocol in _bound(unit) if protocol == "tcp"]


def bound(unit):
    """
    Return the TCP addresses that processes of the unit listen on, and the UDP addresses that they receive on.

    A sorted list of ``[address, port, protocol]``, empty if there are none.

    CLI Example:

    .. code-block:: bash

        salt-call daemon.bound notes-pod.service
    """
    return [list(one) for one in _bound(unit)]


def _bound(unit):
    import psutil  # 20 ms that only the verification needs

    cgroup = __utils__["units.show"]([unit], ["ControlGroup"])[unit]["ControlGroup"]
    if not cgroup:
        return []
    found = set()
    for connection in psutil.net_connections(kind="inet"):
        tcp = connection.type == socket.SOCK_STREAM
        receives = connection.status == psutil.CONN_LISTEN if tcp else not connection.raddr
        if receives and connection.pid:
            try:
                lines = Path(f"/proc/{connection.pid}/cgroup").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # ended while we looked
            # With the slash, or b.service would count for a.service of the same beginning.
            if any(f"{line.partition('::')[2]}/".startswith(f"{cgroup}/") for line in lines):
                found.add((connection.laddr.ip, connection.laddr.port, "tcp" if tcp else "udp"))
    return sorted(found)


def _status(properties):
    loaded = properties["LoadState"] == "loaded"
    active = properties["ActiveState"] in ("active", "reloading")
    # A oneshot such as postgresql.service has no process that could be older than its files.
    running = active and properties.get("MainPID", "0") not in ("", "0")
    return {
        "loaded": loaded,
        "active": active,
        "enabled": properties["UnitFileState"] not in NOT_ENABLED,
        "stale_unit": properties["NeedDaemonReload"] == "yes",
        "stale_process": running
        and _older(int(properties["ExecMainStartTimestampMonotonic"]), properties["DropInPaths"]),
    }


def _older(started, drop_ins):
    """Whether a process started ``started`` microseconds after boot (CLOCK_MONOTONIC) is older than a drop-in."""
    boot = time.time() - time.monotonic()
    for path in map(Path, drop_ins.split()):
        if path.is_relative_to("/etc") and path.exists():
            written = path.stat().st_mtime
            # A file from the future (a clock set back) cannot be compared; it must not cause a restart at each run.
            if started / 1e6 + boot < written <= time.time():
                return True
    return False
