"""
The client groups: which exist, which socket directory each one opens, and under which fact its gid is known.

This is the one place that names them. The grain publishes them, the barrier
validates them, Quadlet units consume them.
"""

import grp
from pathlib import Path

FILE = "/etc/group"  # where these groups are made
CLIENT_GROUPS = {
    "postgres-clients": {
        "fact": "postgresql_client_group_gid",
        "directory": "/run/postgresql",
        "user": "postgres",
        "unit": "postgresql.service",
        "published_by": "infra.postgresql",
    },
    "valkey-clients": {
        "fact": "valkey_client_group_gid",
        "directory": "/run/valkey",
        "user": "valkey",
        "unit": "valkey-server.service",
        "published_by": "infra.valkey",
    },
}


def declared():
    """
    Return what is known of each client group by name.

    Each value has ``fact`` (the grain that carries the gid), ``directory``
    (the socket directory that the group opens), ``user`` and ``unit`` (the
    daemon's, who owns the directory) and ``published_by`` (the SLS that creates
    the group).
    """
    return CLIENT_GROUPS


def on_this_host():
    """
    Return the gids of the client groups that exist here, ``{name: gid}``.

    A group that does not exist is absent from the result, never zero. They are
    looked up again when the file of groups is another one: each look-up takes
    0.1 ms, and each file of each service needs them.
    """
    try:
        status = Path(FILE).stat()
    except FileNotFoundError:
        return _look_up()
    stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
    if stamp not in _FOUND:
        _FOUND.clear()
        _FOUND[stamp] = _look_up()
    return dict(_FOUND[stamp])


_FOUND: dict = {}


def _look_up():
    gids = {}
    for name in CLIENT_GROUPS:
        try:
            gids[name] = grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    return gids
