"""
PostgreSQL of a service: its role, its database, who may read along.

What belongs to a service carries the comment ``rick-infra service NAME``;
nothing without that mark is changed or dropped.

**What is asked.** Roles, databases, their comments and rights are the
cluster's: one question a run answers for all services, at 0.5 ms for each.
What is inside a database can only be asked there, for 5 to 10 ms a connection.
A database without read-only roles admits its owner and the superuser only, and
that is checked from outside at each run. What the owner does to its schemas
and rights in there then concerns nobody else. So only services that declare
extensions or read-only roles are looked into, and their connections are closed
at once, since the server has only so many.

**Where.** Without ``server`` it is this host's PostgreSQL. With it, another host's, by its name in
``rick:postgresql:servers`` (see ``postgresql``). It may be several hosts' at once, so marks there name the host, too.
What is locked there is the roles alone: a database that admits nobody would not admit whom we are there to dump it.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

END_TIMEOUT = 10_000  # milliseconds for a session to end
# What the resolved entry of a service may say of its database, and what holds for what it does not say.
DEFAULTS = {
    "role": None,
    "database": None,
    "locale": "C.UTF-8",
    "extensions": (),
    "connection_limit": -1,
    "auth": "peer",
    "secret": None,
    "readonly_roles": (),
    "readonly_connection_limit": -1,
    "server": None,
}


def differences(name, tenant=None):
    """
    Return what has to change for a service to have what it should, ``{what: {"old": ..., "new": ...}}``.

    Arguments as in the state ``postgres_tenant.present``. A server that does not run has nothing yet.

    Raises SaltInvocationError for arguments that cannot be, and CommandExecutionError if a role or database of that
    name is not the service's, or the database has another locale.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.differences notes '{"extensions": ["pg_trgm"]}'
    """
    return _differences(_complete(name, tenant))


def apply(name, tenant=None):
    """
    Make a service have what it should, also what ``lock`` has locked. Arguments as in ``postgres_tenant.present``.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.apply notes '{"extensions": ["pg_trgm"]}'
    """
    wanted = _complete(name, tenant)
    changes = _differences(wanted)
    _refuse_what_cannot_be(wanted, changes)
    if "locale" in changes:
        _generate(wanted["locale"])
    _apply_roles(wanted, changes)
    if "password" in changes:
        __salt__["postgresql_password.set"](wanted["role"], wanted["secret_file"], **_at(wanted["server"]))
    _apply_database(wanted, changes)
    # Asked again: rights follow owners, and a role that was dropped by hand took its rights along.
    _apply_inside(wanted, _inside(wanted, inventory(wanted["server"])))
    if wanted["server"] and "password" in changes:
        _insist_on_a_way_in(wanted)
    return True


def places():
    """
    Return where services may have databases: None, which is this host, and the servers elsewhere.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.places
    """
    return [None, *__salt__["postgresql.servers"]()]


def inventory(server=None):
    """
    Return all roles and databases as ``postgresql.inventory`` does, nothing while this host's own server does not run.

    Of a server elsewhere, which marks there are is what this host's services have.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.inventory
    """
    if server:
        return __utils__["postgres_tenants.seen_from"](__opts__["id"], __salt__["postgresql.inventory"](server=server))
    if __salt__["postgresql.server"]()["accepting"]:
        return __salt__["postgresql.inventory"]()
    return {"roles": {}, "databases": {}}


def list_(server=None):
    """
    Return what services of this host have there, whether an entry still declares them or not.

    ``{service: {"roles", "readonly_roles", "databases": names, "locked": nobody can connect}}``

    Raises CommandExecutionError if there is a server that does not answer.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.list
    """
    if not server and not __salt__["postgresql.server"]()["accepting"] and __salt__["postgresql.clusters"]():
        raise CommandExecutionError(
            "PostgreSQL does not listen on its socket, so nobody can say what services have there: "
            "systemctl status 'postgresql@*'"
        )
    return __utils__["postgres_tenants.tenants"](inventory(server))


def removal_differences(name, data="keep", archive=None, server=None):
    """
    Return what has to change for a service to be gone from a PostgreSQL. Arguments as in ``postgres_tenant.absent``.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.removal_differences notes data=archive
    """
    there, mine = _mine(name, server)
    if data == "keep":
        lockable = {**mine, "databases": []} if server else mine
        return _titled(__utils__["postgres_tenants.locking_differences"](lockable, there), server)
    if data not in ("archive", "delete"):
        raise SaltInvocationError(f"service {name}: data {data!r} is not keep, archive or delete")
    folder = f"{__salt__['postgres_dump.folder'](archive)}/{name}" if data == "archive" else None
    dumps = None if server else __salt__["postgres_dump.list"]().get(name)
    found = __utils__["postgres_tenants.removal_differences"](mine, databases(name, server), dumps, folder)
    return _titled(found, server)


def databases(name, server=None):
    """
    Return the databases that are a service's, sorted, without those in which a dump is being tried.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.databases notes
    """
    _, mine = _mine(name, server)
    return [one for one in mine["databases"] if not __utils__["postgres_dumps.is_scratch"](one)]


def to_archive(name, archive=None, server=None):
    """
    Return which databases of a service would be archived, ``{thing: {"old", "new"}}``; not what this run has archived.

    archive
        As in ``postgres_tenant.absent``.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.to_archive notes
    """
    changes = removal_differences(name, "archive", archive, server)
    made = __utils__["archives.made"]
    mine = [one for one in databases(name, server) if not made(__context__, name, _title(f"database {one}", server))]
    return {thing: changes[thing] for thing in (_title(f"archive of {one}", server) for one in mine)}


def archive(name, archive=None, server=None):
    """
    Archive a service's databases, prove it, and return the files. Nobody but the superuser gets in any more.

    archive
        As in ``postgres_tenant.absent``.

    What this run has archived already is not archived again. Raises CommandExecutionError while somebody else is
    connected, and if an archive cannot be proved; nothing is dropped.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.archive notes
    """
    lock(name, server)
    refuse_visitors(name, server)
    files = []
    for one in databases(name, server):
        what = _title(f"database {one}", server)
        file = __utils__["archives.made"](__context__, name, what)
        if not file:
            file = __salt__["postgres_dump.archive"](name, one, archive, **_at(server))
            __utils__["archives.note"](__context__, name, what, file)
        files.append(file)
    return files


def lock(name, server=None):
    """
    Let nobody but the superuser into what a service has, and end its sessions. ``apply`` unlocks it.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.lock notes
    """
    _, mine = _mine(name, server)
    roles = [*mine["roles"], *mine["readonly_roles"]]
    statements = [_sql("ALTER ROLE {} NOLOGIN", one) for one in roles]
    if not server:
        statements += [_sql("ALTER DATABASE {} CONNECTION LIMIT 0", one) for one in mine["databases"]]
    if statements:
        __salt__["postgresql.change"](statements, **_at(server))
        __salt__["postgresql.query"](
            "SELECT pg_terminate_backend(pid, %(limit)s) FROM pg_stat_activity WHERE usename::text = ANY(%(roles)s)",
            {"limit": END_TIMEOUT, "roles": roles},
            **_at(server),
        )
    return True


def visitors(name, server=None):
    """
    Return who is connected to a service's databases without being one of its roles, sorted; Salt's own not counted.

    ``drop`` fails while there are any.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.visitors notes
    """
    _, mine = _mine(name, server)
    # Who is no superuser is not told the type of others' sessions. What is nobody's is the server's own.
    rows = __salt__["postgresql.query"](
        "SELECT DISTINCT usename::text AS role FROM pg_stat_activity WHERE datname::text = ANY(%(names)s) AND "
        "usename IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend' "
        "AND application_name <> 'rick-infra'",
        {"names": databases(name, server)},
        **_at(server),
    )
    return sorted({row["role"] for row in rows} - {*mine["roles"], *mine["readonly_roles"]})


def refuse_visitors(name, server=None):
    """
    Raise CommandExecutionError if somebody is connected to a service's databases who keeps them from being dropped.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.refuse_visitors notes
    """
    present = visitors(name, server)
    if present:  # dropping would fail, so that each run left one more archive
        raise CommandExecutionError(
            f"service {name}: {', '.join(present)} is connected to its database; end that session before"
        )


def drop(name, server=None):
    """
    Drop all databases and roles of a service, and delete its dumps. **All that is in them is lost**.

    What ``postgres_dump.archive`` has made stays. Sessions of the service are ended. Those of others are not:
    PostgreSQL refuses while somebody else is connected.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.drop notes
    """
    lock(name, server)
    _, mine = _mine(name, server)
    for one in mine["databases"]:
        scratch = __utils__["postgres_dumps.is_scratch"](one)
        __salt__["postgresql.database_drop"](one, force=scratch, **_at(server))
    for one in [*mine["readonly_roles"], *mine["roles"]]:
        # Rights that somebody gave it on other databases would keep it.
        __salt__["postgresql.change"]([_sql("DROP OWNED BY {}", one)], **_at(server))
        __salt__["postgresql.role_drop"](one, **_at(server))
    if not server:
        __salt__["postgres_dump.remove"](name)
    return True


def _complete(name, tenant):
    """What is asked for, checked, with all that it does not say."""
    __utils__["postgres_tenants.check_name"](name)
    unknown = sorted(set(tenant or {}) - set(DEFAULTS))
    if unknown:
        known = ", ".join(DEFAULTS)
        raise SaltInvocationError(f"service {name}: PostgreSQL: unknown {', '.join(unknown)} (known: {known})")
    tenant = {**DEFAULTS, **(tenant or {})}
    auth = tenant["auth"]
    if auth not in ("peer", "scram"):
        raise SaltInvocationError(f"service {name}: auth {auth!r} is not peer or scram")
    server = tenant["server"]
    if server and auth == "peer":
        raise SaltInvocationError(f"service {name}: auth peer, but no kernel says at {server} who connects; say scram")
    group = __salt__["postgresql_password.group"]()
    role, database = tenant["role"] or name, tenant["database"] or name
    readers = sorted(set(tenant["readonly_roles"]))
    for one in (role, *readers):
        if __utils__["postgresql_names.role"](one) == group or __utils__["postgres_dumps.is_restorer"](one):
            raise SaltInvocationError(f"role {one}: belongs to this tree itself, choose another name")
    if role in readers:
        raise SaltInvocationError(f"service {name}: role {role} owns the database, so it cannot be read-only")
    __utils__["postgresql_names.database"](database)
    __utils__["postgresql_locales.missing"](tenant["locale"])  # refuses what is not a locale
    secret = tenant["secret"] or f"{name}.postgres"
    return {
        "name": name,
        "role": role,
        "database": database,
        "locale": tenant["locale"],
        "extensions": sorted(set(tenant["extensions"])),
        "connection_limit": tenant["connection_limit"],
        "auth": auth,
        # On a server elsewhere everybody has a password.
        "group": None if server else group,
        "server": server,
        "host": __opts__["id"] if server else None,
        "secret_file": __salt__["secret.path"](secret) if auth == "scram" else None,
        "readonly_roles": readers,
        "readonly_connection_limit": tenant["readonly_connection_limit"],
    }


def _differences(wanted):
    there = inventory(wanted["server"])
    __utils__["postgres_tenants.refuse_foreign"](wanted, there)
    changes = {}
    present = there["databases"].get(wanted["database"])
    if present:
        __utils__["postgresql_locales.refuse_another"](wanted["database"], present, "UTF8", wanted["locale"])
    if not wanted["server"] and __utils__["postgresql_locales.missing"](wanted["locale"]):
        changes["locale"] = {"old": None, "new": wanted["locale"]}
    changes.update(__utils__["postgres_tenants.differences"](wanted, there))
    if not _has_password(wanted, there):
        new = f"that in {wanted['secret_file']}" if wanted["secret_file"] else None
        changes["password"] = {"old": "another or none" if new else "one", "new": new}
    return {**changes, **_inside(wanted, there)}


def _has_password(wanted, inventory):
    if wanted["role"] not in inventory["roles"]:
        return wanted["secret_file"] is None
    # A password that nobody is asked for is not worth a question: peer is what lets the others in.
    if wanted["auth"] == "peer" and wanted["group"] not in inventory["roles"][wanted["role"]]["member_of"]:
        return True
    there = {**_at(wanted["server"]), "database": wanted["database"]} if wanted["server"] else {}
    return __salt__["postgresql_password.matches"](wanted["role"], wanted["secret_file"], **there)


def _inside(wanted, inventory):
    facts = None
    if wanted["database"] in inventory["databases"]:
        # Why not always: see the module's text.
        if not wanted["extensions"] and not wanted["readonly_roles"]:
            return {}
        sql, parameters = __utils__["postgres_tenants.inside_question"](wanted)
        [facts] = __salt__["postgresql.query"](sql, parameters, wanted["database"], **_at(wanted["server"]))
        __salt__["postgresql.forget_connections"](wanted["database"], **_at(wanted["server"]))
    return __utils__["postgres_tenants.inside_differences"](wanted, inventory, facts)


def _refuse_what_cannot_be(wanted, changes):
    """Say what is missing on the host before anything is changed."""
    service, server = wanted["name"], wanted["server"]
    version = __salt__["postgresql.server"](**_at(server))["version"]
    for extension in changes.get("extensions", {}).get("new", ()):
        if not __salt__["postgresql.extension"](extension, "postgres", **_at(server))["available"]:
            if server:
                raise CommandExecutionError(
                    f"service {service}: {server} has no extension {extension}; who runs that server can install it"
                )
            package = __utils__["postgres_tenants.package"](extension, version)
            raise CommandExecutionError(
                f"service {service}: this host has no extension {extension}; install its package, which is likely "
                f"called {package} (apt-cache search postgresql-{version.partition('.')[0]}- shows all)"
            )
    if wanted["auth"] == "scram" and not server and wanted["group"] not in inventory()["roles"]:
        raise CommandExecutionError(
            f"service {service}: there is no role {wanted['group']}, whose members log in with a password; "
            "salt-call state.apply infra.postgresql makes it"
        )
    secret_file = wanted["secret_file"]
    if "password" in changes and secret_file and __utils__["secret_files.read"](secret_file) is None:
        raise CommandExecutionError(
            f"service {service}: there is no secret file {secret_file}; the state that makes it must come before"
        )


def _generate(locale):
    package = __utils__["postgresql_locales.package"]()
    if __salt__["debian_packages.missing"]([package]):
        __salt__["debian_packages.install"]([package])
    __utils__["postgresql_locales.generate"](locale)


def _insist_on_a_way_in(wanted):
    """A password that is right opens nothing where the server's own rules refuse the role, or this host."""
    why = __salt__["postgresql_password.refusal"](
        wanted["role"], wanted["secret_file"], wanted["server"], wanted["database"]
    )
    if why:
        raise CommandExecutionError(
            f"service {wanted['name']}: its role has its password and is not let in: {why}; pg_hba.conf there needs a "
            f"line for it: hostssl {wanted['database']} {wanted['role']} ADDRESS scram-sha-256"
        )


def _apply_roles(wanted, changes):
    server = wanted["server"]
    roles = inventory(server)["roles"]
    options = {wanted["role"]: ("role", __utils__["postgres_tenants.role_options"](wanted))}
    for reader in wanted["readonly_roles"]:
        options[reader] = (f"read-only role {reader}", __utils__["postgres_tenants.reader_options"](wanted))
    for role, (title, arguments) in options.items():
        if title in changes:
            told = {**arguments, "comment": _written(arguments["comment"], server)}
            __salt__[f"postgresql.role_{'alter' if role in roles else 'create'}"](role, **told, **_at(server))
    for reader in __utils__["postgres_tenants.surplus_readers"](wanted, inventory(server)):
        _drop_reader(reader, wanted)


def _drop_reader(reader, wanted):
    server = wanted["server"]
    away = [_sql("REASSIGN OWNED BY {} TO {}", reader, wanted["role"]), _sql("DROP OWNED BY {}", reader)]
    if wanted["database"] in inventory(server)["databases"]:
        __salt__["postgresql.change"](away, wanted["database"], **_at(server))
    __salt__["postgresql.role_drop"](reader, **_at(server))


def _apply_database(wanted, changes):
    if "database" not in changes:
        return
    database, role, server = wanted["database"], wanted["role"], wanted["server"]
    there = inventory(server)
    present = there["databases"].get(database)
    if not present:
        __salt__["postgresql.database_create"](database, role, locale=wanted["locale"], **_at(server))
    else:
        # What an earlier role of this service has made in there belongs to it with the database.
        if present["owner"] != role:
            _hand_over(present["owner"], wanted, there)
        __salt__["postgresql.database_alter"](database, role, **_at(server))
    __salt__["postgresql.database_grant"](database, __utils__["postgres_tenants.privileges"](wanted), **_at(server))
    mark = _written(__utils__["postgres_tenants.mark"](wanted["name"]), server)
    __salt__["postgresql.change"]([_sql("COMMENT ON DATABASE {} IS {mark}", database, mark=mark)], **_at(server))


def _hand_over(former, wanted, inventory):
    service, _ = __utils__["postgres_tenants.marked"](inventory["roles"].get(former, {}).get("comment"))
    if service == wanted["name"]:
        over = [_sql("REASSIGN OWNED BY {} TO {}", former, wanted["role"])]
        __salt__["postgresql.change"](over, wanted["database"], **_at(wanted["server"]))


def _apply_inside(wanted, changes):
    database, role, there = wanted["database"], wanted["role"], _at(wanted["server"])
    for extension in changes.get("extensions", {}).get("new", ()):
        __salt__["postgresql.extension_create"](extension, database, **there)
    if "schema public" in changes:
        owned = _sql("ALTER SCHEMA public OWNER TO pg_database_owner")
        __salt__["postgresql.change"]([owned, "REVOKE CREATE ON SCHEMA public FROM PUBLIC"], database, **there)
    readers = [reader for reader in wanted["readonly_roles"] if f"{reader} reads" in changes]
    if readers:
        question = __utils__["postgres_tenants.schemas_question"]()
        schemas = [row["name"] for row in __salt__["postgresql.query"](question, database=database, **there)]
        for reader in readers:
            # Not _sql: what runs in a util does not find the dunders of a module.
            compose = __utils__["postgresql_server.statement"]
            statements = __utils__["postgres_tenants.reading"](compose, role, reader, schemas)
            __salt__["postgresql.change"](statements, database, **there)


def _mine(name, server):
    """The inventory, and what of it carries the service's mark."""
    __utils__["postgres_tenants.check_name"](name)
    there = inventory(server)
    nothing = {"roles": [], "readonly_roles": [], "databases": []}
    return there, __utils__["postgres_tenants.tenants"](there).get(name, nothing)


def _at(server):
    """The argument of functions that act on this host's server unless they are told another."""
    return {"server": server} if server else {}


def _written(mark, server):
    return __utils__["postgres_tenants.mark_of"](__opts__["id"], mark) if server else mark


def _title(thing, server):
    return f"{thing} at {server}" if server else thing


def _titled(changes, server):
    return {_title(thing, server): change for thing, change in changes.items()}


def _sql(text, *identifiers, **literals):
    return __utils__["postgresql_server.statement"](text, *identifiers, **literals)
