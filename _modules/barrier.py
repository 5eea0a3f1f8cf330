"""
The barrier between infrastructure and services: what every service of this host stands on, asked now.

.. code-block:: bash

    salt-call barrier.problems
    salt-call barrier.drift
"""

from pathlib import Path

DAEMONS = {
    "postgresql": {"title": "PostgreSQL", "user": "postgres", "group": "postgres-clients"},
    "valkey": {"title": "Valkey", "user": "valkey", "group": "valkey-clients"},
}
CADDY = "caddy.service"
MODES = {"directory": "2750", "socket": "0770"}


def problems():
    """
    Return why services should not be started on this host, sentences, an empty list if nothing is wrong.

    The facts must be what the system says, the daemons must run, and their sockets must be answered by them, open to
    their clients and to nobody else.

    CLI Example:

    .. code-block:: bash

        salt-call barrier.problems
    """
    found = list(__salt__["facts.problems"]())
    doors = _doors()
    state = __salt__["daemon.status"]([*(door["unit"] for door in doors), CADDY])
    found += [f"{unit} does not run: journalctl -u {unit}" for unit, about in state.items() if not about["active"]]
    for door in doors:
        if state[door["unit"]]["active"]:
            checks = __salt__["verify_sockets.door"](door)
            found += [f"{one['name']}: {one['detail']}" for one in checks if not one["passed"]]
    return found


def drift():
    """
    Return what is wrong with owners and modes of the client groups' sockets and directories, ``{path: sentence}``.

    Nothing is connected to and nobody is started, so this can be asked each minute. A group that this host does not
    have opens nothing here.

    CLI Example:

    .. code-block:: bash

        salt-call barrier.drift
    """
    here, found = __utils__["client_groups.on_this_host"](), {}
    for door in _doors():
        if door["group"] not in here:
            continue
        for path, kind in ((str(Path(door["socket"]).parent), "directory"), (door["socket"], "socket")):
            wanted = {"type": kind, "user": door["user"], "group": door["group"], "mode": MODES[kind]}
            present = __salt__["unix_socket.stat"](path)
            wrong = [f"{key} is {present.get(key)}, not {value}" for key, value in wanted.items()
                     if present.get(key) != value]  # fmt: skip
            if wrong:
                # Of what is not there, nothing else can be told.
                found[path] = wrong[0] if present["type"] != kind else ", ".join(wrong)
    return found


def _doors():
    return [{**__salt__["catalogue.infrastructure"](name), **about} for name, about in DAEMONS.items()]
