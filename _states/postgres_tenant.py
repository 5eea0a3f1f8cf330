"""
PostgreSQL of a service, as a whole: role, database, extensions, password, who may read along; and the way out.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

STOPPED = "The server is down, so this cannot be planned; the run will start it and compare then"
NOT_RUNNING = "PostgreSQL does not listen on its socket: the state that runs the server must come before this one"


def present(name, tenant=None):
    """
    Ensure a service has a role and a database of its own, and that nobody else gets in.

    Role and database carry the comment ``rick-infra service NAME``. A role or
    database that exists without it is refused, and the message says how to
    hand it over. What ``absent`` has locked is unlocked.

    name
        The service.

    tenant
        Mapping, all of it optional:

        ``role``, ``database``
            Their names. Default: that of the service. A database of another
            name that it had before stays, and ``postgres_tenant.list`` shows it.
        ``locale``
            What the database is created with; the encoding is UTF-8. One that
            the host lacks is generated. Default: ``C.UTF-8``.
        ``extensions``
            List of extensions that the database must have. Others stay. Each
            one's package must be installed.
        ``connection_limit``
            Number of simultaneous connections of the role; -1 (default) for no
            limit but the server's.
        ``auth``
            ``peer`` (default): the system user of the role's name gets in, as the
            kernel says who it is. ``scram``: whoever knows the password, and nobody else.
        ``secret``
            With ``scram``: the name of the secret, as in ``secret.present``.
            Default: ``NAME.postgres``. The server gets a verifier of it only.
        ``readonly_roles``
            List of further roles that may read all tables of the database, also
            those to come, and do nothing else. The system user of that name gets
            in (``peer``). A role belongs to one service. One that is no longer
            listed is dropped.
        ``readonly_connection_limit``
            Number of simultaneous connections of each of them; -1 (default) for
            no limit but the server's.
        ``server``
            Another host's server, by its name in ``rick:postgresql:servers``, which says who makes roles and databases
            there. It is reached by TLS, and only with a certificate for that name. ``auth`` must be ``scram``. Roles
            and databases are marked ``rick-infra service NAME of HOST``, with the minion's id. ``readonly_roles`` have
            no password there, until somebody gives them one.

    .. code-block:: yaml

        Notes has its database:
          postgres_tenant.present:
            - name: notes
            - tenant:
                extensions: [pg_trgm]
                connection_limit: 20
                readonly_roles: [notes-reports]
    """

    def apply():
        __salt__["postgres_tenant.apply"](name, tenant)
        return ""

    return _converge(
        name,
        lambda: __salt__["postgres_tenant.differences"](name, tenant),
        apply,
        f"PostgreSQL has what service {name} declares",
        (tenant or {}).get("server"),
    )


def absent(name, data="keep", archive=None):
    """
    Ensure a service does not use PostgreSQL any more. What does not carry its mark is left alone.

    All that carries it goes, whatever it is called: roles, read-only roles,
    databases, also one that the service had before under another name, and at another host's server: each that
    ``rick:postgresql:servers`` has is asked, and one that does not answer makes the state fail.

    name
        The service.

    data
        ``keep``: nobody can connect any more, and nothing is lost.
        ``archive``: each database is dumped, the dump is restored for a trial and
        compared, and only then all of it is dropped. ``delete``: all of it is
        dropped, **and lost**. With these two, the dumps that were made before
        images changed (``postgres_dump.list``) are deleted as well.

    archive
        Folder of archives. Default: ``/var/lib/rick-infra/archive``; the dump is in the folder of the service's name.
        ``postgres_dump.restore`` brings it back.

    .. code-block:: yaml

        Notes is gone from PostgreSQL:
          postgres_tenant.absent:
            - name: notes
            - data: archive
    """

    def differences():
        found = {}
        for place in __salt__["postgres_tenant.places"]():
            found.update(__salt__["postgres_tenant.removal_differences"](name, data, archive, place))
        return found

    def apply():
        # Whatever can refuse comes before the first thing goes.
        places = __salt__["postgres_tenant.places"]()
        for place in places:
            __salt__["postgres_tenant.lock"](name, place)
        if data == "keep":
            return ""
        for place in places:
            __salt__["postgres_tenant.refuse_visitors"](name, place)
        files = []
        for place in places:
            files += __salt__["postgres_tenant.archive"](name, archive, place) if data == "archive" else []
        for place in places:
            __salt__["postgres_tenant.drop"](name, place)
        return f"; archived: {', '.join(files)}" if files else ""

    return _converge(
        name,
        differences,
        apply,
        f"{'Nobody gets in to' if data == 'keep' else 'Gone is'} what carries the mark of service {name} in PostgreSQL",
    )


def _converge(name, differences, apply, fine, server=None):
    """Read, plan, gate, act, read back. What ``apply`` returns goes into the comment."""
    try:
        # No run starts a server elsewhere: one that does not answer is an error, in a plan as well.
        accepting = bool(server) or __salt__["postgresql.server"]()["accepting"]
        if not accepting and not __opts__["test"]:
            return __utils__["results.failed"](name, NOT_RUNNING)
        changes = differences()
        if not accepting and __salt__["postgresql.clusters"]():
            return __utils__["results.unchanged"](name, STOPPED)
        if not changes:
            return __utils__["results.unchanged"](name, fine)
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"Would change: {', '.join(changes)}")
        said = apply()
        remaining = differences()
    except (CommandExecutionError, SaltInvocationError) as error:
        told = str(error)
        return __utils__["results.failed"](name, told if told.startswith("service ") else f"service {name}: {told}")
    if remaining:
        told = "; ".join(f"{what} is {change['old']!r}, not {change['new']!r}" for what, change in remaining.items())
        return __utils__["results.failed"](name, f"Changed, but still different: {told}", changes)
    return __utils__["results.changed"](name, changes, f"{fine}{said}")
