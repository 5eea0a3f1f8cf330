"""
The barrier between infrastructure and services: what every service of this host stands on, asked now.

.. code-block:: bash

    salt-call barrier.problems
"""

DAEMONS = {
    "postgresql": {"title": "PostgreSQL", "user": "postgres", "group": "postgres-clients"},
    "valkey": {"title": "Valkey", "user": "valkey", "group": "valkey-clients"},
}
CADDY = "caddy.service"


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
    doors = [{**__salt__["catalogue.infrastructure"](name), **about} for name, about in DAEMONS.items()]
    state = __salt__["daemon.status"]([*(door["unit"] for door in doors), CADDY])
    found += [f"{unit} does not run: journalctl -u {unit}" for unit, about in state.items() if not about["active"]]
    for door in doors:
        if state[door["unit"]]["active"]:
            checks = __salt__["verify_sockets.door"](door)
            found += [f"{one['name']}: {one['detail']}" for one in checks if not one["passed"]]
    return found
