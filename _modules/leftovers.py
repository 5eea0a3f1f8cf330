"""
What a service still has on this host although its entry does not declare it any more.

A setting that is taken away takes something of the host away: a private
socket, a secret, the way into a database. The old pod may still need it, until
the new one is healthy. So it goes last, and data never go here: they are kept,
and nobody gets in.

.. code-block:: bash

    salt-call leftovers.of notes "$(salt-call --out=newline_values_only catalogue.show notes)"
"""

import logging

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def of(name, service):
    """
    Return what a service has and does not declare, ``{thing: {"old", "new"}}``, ``{}`` if nothing.

    name
        Name of the service.

    service
        Its resolved entry, as ``catalogue.show NAME`` prints it.

    CLI Example:

    .. code-block:: bash

        salt-call leftovers.of notes "$(salt-call --out=newline_values_only catalogue.show notes)"
    """
    return {thing: change for kind in _kinds(name, service) for thing, change in kind[0]().items()}


def remove(name, service):
    """
    Remove what a service has and does not declare. Returns what ``leftovers.of`` does.

    name, service
        As for ``leftovers.of``.

    CLI Example:

    .. code-block:: bash

        salt-call leftovers.remove notes "$(salt-call --out=newline_values_only catalogue.show notes)"
    """
    changes = {}
    for differences, take_away in _kinds(name, service):
        found = differences()
        if found:
            take_away()
            changes.update(found)
    return changes


def _kinds(name, service):
    """For each kind of thing: what there is too much of it, and how it goes."""
    secrets, values, valkey = service["secrets"], service["values"], service["valkey"]
    stale = __salt__["private_socket.undeclared"](name, [one["target"] for one in service["private_sockets"]])
    kinds = [_pair("private_socket.remnants", "private_socket.remove", name, **one) for one in stale]
    kinds += [
        _pair("postgres_tenant.removal_differences", "postgres_tenant.lock", name, **place)
        for place in _former_databases(name, service["postgres"])
    ]
    if not valkey:
        kinds.append(_pair("valkey_user.remnants", "valkey_user.remove", name))
    if not valkey or valkey["isolation"] != "instance":
        kinds.append(_pair("valkey_instance.remnants", "valkey_instance.remove", name))
    # Last: the way out of a database may need the password.
    kinds.append(_pair("secret.undeclared", "secret.remove_undeclared", name, secrets=secrets, values=values))
    return kinds


def _former_databases(name, postgres):
    """Where a service may have had a database, and has it elsewhere or nowhere now."""
    if not postgres or postgres.get("server"):
        yield {}
    for server in __salt__["postgresql.servers"]():
        if postgres and postgres.get("server") == server:
            continue
        try:
            __salt__["postgresql.server"](server=server)
        except CommandExecutionError as error:
            # Nothing of this service needs that server now: it is no reason for it to fail. A later run looks again.
            log.warning("service %s: what it may still have there is not known: %s", name, error)
            continue
        yield {"server": server}


def _pair(differences, take_away, name, **arguments):
    return (
        lambda: __salt__[differences](name, **arguments),
        lambda: __salt__[take_away](name, **arguments),
    )
