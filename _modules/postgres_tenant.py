"""
PostgreSQL of a service: its role, its database, who may read along, its dumps.

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

**Dumps.** A database's owner decides what code runs while its dump is
restored (checks of tables, defaults of columns). A dump is therefore never
restored by a superuser, but by a role that exists for that only and may do
what the owner may. What only a superuser can make, extensions apart, makes an
archive fail: nothing is dropped then.
"""

import contextlib
import re
import secrets

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

RESTORER = "rick-infra-restore"  # the role that dumps are restored by, while one is
END_TIMEOUT = 10_000  # milliseconds for a session to end
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


def differences(
    name,
    role=None,
    database=None,
    locale="C.UTF-8",
    extensions=(),
    connection_limit=-1,
    auth="peer",
    secret=None,
    readonly_roles=(),
):
    """
    Return what has to change for a service to have what it should, ``{what: {"old": ..., "new": ...}}``.

    Arguments as in the state ``postgres_tenant.present``. A server that does not run has nothing yet.

    Raises SaltInvocationError for arguments that cannot be, and CommandExecutionError if a role or database of that
    name is not the service's, or the database has another locale.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.differences notes
    """
    wanted = _wanted(name, role, database, locale, extensions, connection_limit, auth, secret, readonly_roles)
    return _differences(wanted)


def apply(
    name,
    role=None,
    database=None,
    locale="C.UTF-8",
    extensions=(),
    connection_limit=-1,
    auth="peer",
    secret=None,
    readonly_roles=(),
):
    """
    Make a service have what it should, also what ``lock`` has locked. Arguments as in ``postgres_tenant.present``.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.apply notes
    """
    wanted = _wanted(name, role, database, locale, extensions, connection_limit, auth, secret, readonly_roles)
    changes = _differences(wanted)
    _refuse_what_cannot_be(wanted, changes)
    if "locale" in changes:
        _generate(locale)
    _apply_roles(wanted, changes)
    if "password" in changes:
        __salt__["postgresql_password.set"](wanted["role"], wanted["secret_file"])
    _apply_database(wanted, changes)
    # Asked again: rights follow owners, and a role that was dropped by hand took its rights along.
    _apply_inside(wanted, _inside(wanted, _inventory()))
    return True


def list_():
    """
    Return what services have here, whether an entry still declares them or not.

    ``{service: {"roles", "readonly_roles", "databases": names, "locked": nobody can connect}}``

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.list
    """
    return __utils__["postgres_tenants.tenants"](_inventory())


def removal_differences(name, role=None, database=None, data="keep", archive=None):
    """
    Return what has to change for a service to be gone from PostgreSQL. Arguments as in ``postgres_tenant.absent``.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.removal_differences notes data=archive
    """
    inventory, mine = _mine(name, role, database)
    if data == "keep":
        return __utils__["postgres_tenants.locking_differences"](mine, inventory)
    if data not in ("archive", "delete"):
        raise SaltInvocationError(f"service {name}: data {data!r} is not keep, archive or delete")
    folder = f"{_archive(archive)}/{name}" if data == "archive" else None
    return __utils__["postgres_tenants.removal_differences"](mine, folder)


def lock(name, role=None, database=None):
    """
    Let nobody but the superuser into what a service has, and end its sessions. ``apply`` unlocks it.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.lock notes
    """
    _, mine = _mine(name, role, database)
    roles = [*filter(None, [mine["role"]]), *mine["readers"]]
    statements = [_sql("ALTER ROLE {} NOLOGIN", one) for one in roles]
    if mine["database"]:
        statements.append(_sql("ALTER DATABASE {} CONNECTION LIMIT 0", mine["database"]))
    if statements:
        __salt__["postgresql.change"](statements)
        __salt__["postgresql.query"](
            "SELECT pg_terminate_backend(pid, %(limit)s) FROM pg_stat_activity WHERE usename::text = ANY(%(roles)s)",
            {"limit": END_TIMEOUT, "roles": roles},
        )
    return True


def visitors(name, database=None):
    """
    Return the roles that are connected to a service's database without being the service's, sorted; Salt's not counted.

    ``drop`` fails while there are any.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.visitors notes
    """
    inventory, mine = _mine(name, None, database)
    rows = __salt__["postgresql.query"](
        "SELECT DISTINCT usename::text AS role FROM pg_stat_activity "
        "WHERE datname = %s AND backend_type = 'client backend' AND application_name <> 'rick-infra'",
        [mine["database"]],
    )
    own = __utils__["postgres_tenants.tenants"](inventory).get(name, {"roles": [], "readonly_roles": []})
    return sorted({row["role"] for row in rows} - {*own["roles"], *own["readonly_roles"]})


def drop(name, role=None, database=None):
    """
    Drop the database and roles of a service. **All that is in them is lost**; see ``archive``.

    Sessions of the service are ended. Those of others are not: PostgreSQL refuses while somebody else is connected.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.drop notes
    """
    lock(name, role, database)
    _, mine = _mine(name, role, database)
    if mine["database"]:
        __salt__["postgresql.database_drop"](mine["database"])
    inventory = _inventory()
    scratch = __utils__["postgres_dumps.scratch"](database or name)
    if scratch in inventory["databases"] and _whose(inventory, scratch) == name:
        _drop_scratch(scratch)
    for one in [*mine["readers"], *filter(None, [mine["role"]])]:
        # Rights that somebody gave it on other databases would keep it.
        __salt__["postgresql.change"]([_sql("DROP OWNED BY {}", one)])
        __salt__["postgresql.role_drop"](one)
    return True


def dump(name, database=None):
    """
    Dump a service's database to ``/var/lib/rick-infra/dumps/NAME`` and return the file. The last three are kept.

    database
        Default: the one that is the service's.

    The service may go on meanwhile: the dump is of one moment.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.dump notes
    """
    folder, _, kept = __utils__["postgres_dumps.places"]()
    source = _database_of(name, database)
    programs = _programs()
    with __utils__["postgres_dumps.new"](folder, name) as (staged, final):
        with _snapshot(source) as (_, snapshot):
            __utils__["postgres_dumps.write"](programs, source, staged, snapshot)
        __utils__["postgres_dumps.contents"](programs, staged)
    __utils__["postgres_dumps.prune"](folder, name, kept)
    return final


def archive(name, database=None, archive=None):
    """
    Dump a service's database to ``/var/lib/rick-infra/archive/NAME``, prove it, and return the file. All are kept.

    The proof: the dump is restored into a scratch database, and what is in
    there compared with what was dumped: the tables, how many rows each has and
    a checksum of their content, sequences, large objects, and how many objects
    there are of each other kind. Content of materialized views, foreign
    tables and tables of extensions is not compared.

    database
        Default: the one that is the service's.

    archive
        Another folder than ``/var/lib/rick-infra/archive``.

    Raises CommandExecutionError that tells what differs or could not be restored; then there is no file.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.archive notes
    """
    source = _database_of(name, database)
    programs = _programs()
    with __utils__["postgres_dumps.new"](_archive(archive), name) as (staged, final):
        with _snapshot(source) as (connection, snapshot):
            __utils__["postgres_dumps.write"](programs, source, staged, snapshot)
            before = _fingerprint(connection)
        after = _restored_on_trial(name, source, programs, staged)
        wrong = [what for what in sorted({*before, *after}) if before.get(what) != after.get(what)]
        if wrong:
            told = "; ".join(f"{what}: {before.get(what)}, restored {after.get(what)}" for what in wrong)
            raise CommandExecutionError(f"database {source}: its dump does not bring back what is there: {told}")
    return final


def restore(name, file, database=None):
    """
    Replace the content of a service's database by that of a dump. Stop the service before; its sessions are ended.

    file
        A dump that ``dump`` or ``archive`` has made.

    database
        Default: the one that is the service's. It must exist.

    The dump is restored beside the present database, which is dumped and
    replaced only once that has succeeded. Returns the file with what was there before.

    Rights inside the database are the owner's alone afterwards; the next run gives read-only roles theirs again.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_tenant.restore notes /var/lib/rick-infra/dumps/notes/20250101T000000.000000Z.dump
    """
    present = _database_of(name, database)
    facts = _inventory()["databases"][present]
    programs = _programs()
    fresh = __utils__["postgres_dumps.scratch"](present)
    _make_scratch(name, present, fresh)
    try:
        _restore_into(programs, file, fresh, facts["owner"])
        before = dump(name, present)
        __salt__["postgresql.database_grant"](fresh, facts["privileges"])
        _copy_settings(present, fresh)
        _swap(name, present, fresh, facts["connection_limit"])
    finally:
        _drop_scratch(fresh)
    return before


def _wanted(name, role, database, locale, extensions, connection_limit, auth, secret, readonly_roles):
    """The arguments, checked and complete."""
    _check_name(name)
    if auth not in ("peer", "scram"):
        raise SaltInvocationError(f"service {name}: auth {auth!r} is not peer or scram")
    group = __salt__["postgresql_password.group"]()
    role, database = role or name, database or name
    readers = sorted(set(readonly_roles))
    for one in (role, *readers):
        if __utils__["postgresql_names.role"](one) in (group, RESTORER):
            raise SaltInvocationError(f"role {one}: belongs to this tree itself, choose another name")
    if role in readers:
        raise SaltInvocationError(f"service {name}: role {role} owns the database, so it cannot be read-only")
    __utils__["postgresql_names.database"](database)
    __utils__["postgresql_locales.missing"](locale)  # refuses what is not a locale
    return {
        "name": name,
        "role": role,
        "database": database,
        "locale": locale,
        "extensions": sorted(set(extensions)),
        "connection_limit": connection_limit,
        "auth": auth,
        "group": group,
        "secret_file": __salt__["secret.path"](secret or f"{name}.postgres") if auth == "scram" else None,
        "readonly_roles": readers,
    }


def _check_name(name):
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SaltInvocationError(f"service {name!r}: a name has up to 63 letters, digits or _.-")


def _inventory():
    if __salt__["postgresql.server"]()["accepting"]:
        return __salt__["postgresql.inventory"]()
    return {"roles": {}, "databases": {}}


def _differences(wanted):
    inventory = _inventory()
    __utils__["postgres_tenants.refuse_foreign"](wanted, inventory)
    changes = {}
    present = inventory["databases"].get(wanted["database"])
    if present:
        __utils__["postgresql_locales.refuse_another"](wanted["database"], present, "UTF8", wanted["locale"])
    if __utils__["postgresql_locales.missing"](wanted["locale"]):
        changes["locale"] = {"old": None, "new": wanted["locale"]}
    changes.update(__utils__["postgres_tenants.differences"](wanted, inventory))
    if not _has_password(wanted, inventory):
        new = f"that in {wanted['secret_file']}" if wanted["secret_file"] else None
        changes["password"] = {"old": "another or none" if new else "one", "new": new}
    return {**changes, **_inside(wanted, inventory)}


def _has_password(wanted, inventory):
    if wanted["role"] not in inventory["roles"]:
        return wanted["secret_file"] is None
    # A password that nobody is asked for is not worth a question: peer is what lets the others in.
    if wanted["auth"] == "peer" and wanted["group"] not in inventory["roles"][wanted["role"]]["member_of"]:
        return True
    return __salt__["postgresql_password.matches"](wanted["role"], wanted["secret_file"])


def _inside(wanted, inventory):
    facts = None
    if wanted["database"] in inventory["databases"]:
        # Why not always: see the module's text.
        if not wanted["extensions"] and not wanted["readonly_roles"]:
            return {}
        sql, parameters = __utils__["postgres_tenants.inside_question"](wanted)
        [facts] = __salt__["postgresql.query"](sql, parameters, wanted["database"])
        __salt__["postgresql.forget_connections"](wanted["database"])
    return __utils__["postgres_tenants.inside_differences"](wanted, inventory, facts)


def _refuse_what_cannot_be(wanted, changes):
    """Say what is missing on the host before anything is changed."""
    service, version = wanted["name"], __salt__["postgresql.server"]()["version"]
    for extension in changes.get("extensions", {}).get("new", ()):
        if not __salt__["postgresql.extension"](extension, "postgres")["available"]:
            package = __utils__["postgres_tenants.package"](extension, version)
            raise CommandExecutionError(
                f"service {service}: this host has no extension {extension}; install its package, which is likely "
                f"called {package} (apt-cache search postgresql-{version.partition('.')[0]}- shows all)"
            )
    if wanted["auth"] == "scram" and wanted["group"] not in _inventory()["roles"]:
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


def _apply_roles(wanted, changes):
    roles = _inventory()["roles"]
    options = {wanted["role"]: ("role", __utils__["postgres_tenants.role_options"](wanted))}
    for reader in wanted["readonly_roles"]:
        options[reader] = (f"read-only role {reader}", __utils__["postgres_tenants.reader_options"](wanted))
    for role, (title, arguments) in options.items():
        if title in changes:
            __salt__[f"postgresql.role_{'alter' if role in roles else 'create'}"](role, **arguments)
    for reader in __utils__["postgres_tenants.surplus_readers"](wanted, _inventory()):
        _drop_reader(reader, wanted)


def _drop_reader(reader, wanted):
    away = [_sql("REASSIGN OWNED BY {} TO {}", reader, wanted["role"]), _sql("DROP OWNED BY {}", reader)]
    if wanted["database"] in _inventory()["databases"]:
        __salt__["postgresql.change"](away, wanted["database"])
    __salt__["postgresql.role_drop"](reader)


def _apply_database(wanted, changes):
    if "database" not in changes:
        return
    database, role = wanted["database"], wanted["role"]
    inventory = _inventory()
    present = inventory["databases"].get(database)
    if not present:
        __salt__["postgresql.database_create"](database, role, locale=wanted["locale"])
    else:
        # What an earlier role of this service has made in there belongs to it with the database.
        if present["owner"] != role:
            _hand_over(present["owner"], wanted, inventory)
        __salt__["postgresql.database_alter"](database, role)
    __salt__["postgresql.database_grant"](database, __utils__["postgres_tenants.privileges"](wanted))
    _mark_database(database, __utils__["postgres_tenants.mark"](wanted["name"]))


def _hand_over(former, wanted, inventory):
    service, _ = __utils__["postgres_tenants.marked"](inventory["roles"].get(former, {}).get("comment"))
    if service == wanted["name"]:
        __salt__["postgresql.change"]([_sql("REASSIGN OWNED BY {} TO {}", former, wanted["role"])], wanted["database"])


def _apply_inside(wanted, changes):
    database, role = wanted["database"], wanted["role"]
    for extension in changes.get("extensions", {}).get("new", ()):
        __salt__["postgresql.extension_create"](extension, database)
    if "schema public" in changes:
        owned = _sql("ALTER SCHEMA public OWNER TO pg_database_owner")
        __salt__["postgresql.change"]([owned, "REVOKE CREATE ON SCHEMA public FROM PUBLIC"], database)
    readers = [reader for reader in wanted["readonly_roles"] if f"{reader} reads" in changes]
    if readers:
        question = __utils__["postgres_tenants.schemas_question"]()
        schemas = [row["name"] for row in __salt__["postgresql.query"](question, database=database)]
        for reader in readers:
            # Not _sql: what runs in a util does not find the dunders of a module.
            compose = __utils__["postgresql_server.statement"]
            statements = __utils__["postgres_tenants.reading"](compose, role, reader, schemas)
            __salt__["postgresql.change"](statements, database)


def _mine(name, role, database):
    _check_name(name)
    inventory = _inventory()
    return inventory, __utils__["postgres_tenants.owned"](name, role or name, database or name, inventory)


def _whose(inventory, database):
    return __utils__["postgres_tenants.whose"](inventory, "databases", database)


def _archive(folder):
    return folder or __utils__["postgres_dumps.places"]()[1]


def _database_of(name, database):
    _check_name(name)
    found = __utils__["postgres_tenants.tenants"](_inventory()).get(name, {"databases": []})["databases"]
    mine = [one for one in found if database in (None, one) and not _is_scratch(one)]
    if len(mine) != 1:
        told = f"several: {', '.join(mine)}; name one" if mine else f"none{f' called {database}' if database else ''}"
        raise CommandExecutionError(f"service {name}: of databases that are its own there are {told}")
    return mine[0]


def _is_scratch(database):
    return database.startswith("rick-infra-scratch-")


def _programs():
    return __salt__["postgresql.query"]("SELECT setting FROM pg_config WHERE name = 'BINDIR'")[0]["setting"]


@contextlib.contextmanager
def _snapshot(database):
    """A connection that sees one moment of a database for as long as it is open, and the moment's name."""
    with contextlib.closing(__utils__["postgresql_server.connect_as_superuser"](database)) as connection:
        ask = __utils__["postgresql_server.run"]
        ask(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection, ask(connection, "SELECT pg_export_snapshot() AS snapshot")[0]["snapshot"]


def _fingerprint(connection):
    run, compose = (__utils__[f"postgresql_server.{name}"] for name in ("run", "statement"))
    return __utils__["postgres_dumps.fingerprint"](connection, run, compose)


def _restored_on_trial(name, source, programs, file):
    """What a dump holds, found out by restoring it."""
    scratch = __utils__["postgres_dumps.scratch"](source)
    _make_scratch(name, source, scratch)
    try:
        _restore_into(programs, file, scratch, _inventory()["databases"][source]["owner"])
        with contextlib.closing(__utils__["postgresql_server.connect_as_superuser"](scratch)) as connection:
            return _fingerprint(connection)
    finally:
        _drop_scratch(scratch)


def _make_scratch(name, model, scratch):
    """An empty database like another one, with its extensions, since not every owner of a database may create them."""
    inventory = _inventory()
    facts = inventory["databases"][model]
    if scratch in inventory["databases"]:
        if _whose(inventory, scratch) != name:
            raise CommandExecutionError(
                f"database {scratch} is in the way and not one of service {name}; drop it if nobody needs it"
            )
        _drop_scratch(scratch)  # a killed run has left it
    __salt__["postgresql.database_create"](scratch, facts["owner"], locale=facts["locale"])
    _mark_database(scratch, __utils__["postgres_tenants.mark"](name, "scratch"))
    __salt__["postgresql.database_grant"](scratch, {facts["owner"]: ["CONNECT", "CREATE", "TEMPORARY"]})
    extensions = __salt__["postgresql.query"](
        "SELECT e.extname::text AS name, n.nspname::text AS schema FROM pg_extension e "
        "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.oid",
        database=model,
    )
    for schema in {one["schema"] for one in extensions} - {"public", "pg_catalog"}:
        __salt__["postgresql.change"](
            [_sql("CREATE SCHEMA {} AUTHORIZATION {}", schema, facts["owner"])], database=scratch
        )
    for one in extensions:
        __salt__["postgresql.extension_create"](one["name"], scratch, one["schema"])


def _drop_scratch(scratch):
    if scratch in _inventory()["databases"]:
        __salt__["postgresql.database_drop"](scratch, force=True)


def _restore_into(programs, file, database, owner):
    """
    Restore a dump as a role that can do no more than the owner.

    The dump's code runs with the rights of whoever restores it, and SET ROLE alone would let a superuser's session
    find its way back. So a role is made for it, with a password that no other one knows and that is soon forgotten.
    """
    there = {
        kind: [row["name"] for row in __salt__["postgresql.query"](question, database=database)]
        for kind, question in (
            ("SCHEMA", __utils__["postgres_tenants.schemas_question"]()),
            ("EXTENSION", "SELECT extname::text AS name FROM pg_extension"),
        )
    }
    lines = __utils__["postgres_dumps.contents"](programs, file)
    lines = __utils__["postgres_dumps.selected"](lines, there)
    password = secrets.token_urlsafe(32)
    _drop_restorer()
    group = __salt__["postgresql_password.group"]()
    __salt__["postgresql.role_create"](RESTORER, member_of=[group, owner], comment="rick-infra restores a dump")
    try:
        __salt__["postgresql.change"](
            [
                _sql(
                    "ALTER ROLE {} PASSWORD {verifier}",
                    RESTORER,
                    verifier=__utils__["postgresql_scram.verifier"](password),
                )
            ]
        )
        __utils__["postgres_dumps.read"](programs, file, database, RESTORER, password, owner, lines)
    finally:
        _drop_restorer()


def _drop_restorer():
    if RESTORER in _inventory()["roles"]:
        __salt__["postgresql.role_drop"](RESTORER)


def _copy_settings(present, fresh):
    """What ALTER DATABASE ... SET has set is not in a dump."""
    rows = __salt__["postgresql.query"](
        "SELECT split_part(one, '=', 1) AS name, substr(one, strpos(one, '=') + 1) AS value "
        "FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) one "
        "WHERE d.datname = %s AND s.setrole = 0",
        [present],
    )
    for row in rows:
        # In this way the value need not be taken apart, as lists would otherwise have to.
        current = _sql("SELECT set_config({name}, {value}, true)", name=row["name"], value=row["value"])
        name = ".".join(["{}"] * (row["name"].count(".") + 1))
        kept = _sql(f"ALTER DATABASE {{}} SET {name} FROM CURRENT", fresh, *row["name"].split("."))
        __salt__["postgresql.change"]([current, kept])


def _swap(name, present, fresh, connection_limit):
    """Let a database take another one's name and place. The other one gets its name, and goes with it."""
    aside = f"{fresh}-old"
    __salt__["postgresql.change"]([_sql("ALTER DATABASE {} CONNECTION LIMIT 0", present)])
    __salt__["postgresql.forget_connections"]()
    __salt__["postgresql.query"](
        "SELECT pg_terminate_backend(pid, %(limit)s) FROM pg_stat_activity WHERE datname::text = ANY(%(names)s)",
        {"limit": END_TIMEOUT, "names": [present, fresh]},
    )
    __salt__["postgresql.change"](
        [
            _sql("ALTER DATABASE {} RENAME TO {}", present, aside),
            _sql("ALTER DATABASE {} RENAME TO {}", fresh, present),
            _sql("ALTER DATABASE {} RENAME TO {}", aside, fresh),
            _sql("ALTER DATABASE {} CONNECTION LIMIT {limit}", present, limit=connection_limit),
            _sql("COMMENT ON DATABASE {} IS {mark}", present, mark=__utils__["postgres_tenants.mark"](name)),
        ]
    )


def _mark_database(database, mark):
    __salt__["postgresql.change"]([_sql("COMMENT ON DATABASE {} IS {mark}", database, mark=mark)])


def _sql(text, *identifiers, **literals):
    return __utils__["postgresql_server.statement"](text, *identifiers, **literals)
