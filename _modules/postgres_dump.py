"""
Dumps of a service's database: made before it meets another image, proved before it is dropped, put back.

.. code-block:: bash

    salt-call postgres_dump.dump notes
    salt-call postgres_dump.restore notes /var/lib/rick-infra/dumps/notes/20250101T000000.000000Z.dump

A database's owner decides what code runs while its dump is restored (checks of
tables, defaults of columns). A dump is therefore never restored by a
superuser, but by a role that exists for that only and may do what the owner
may. What only a superuser can make, extensions apart, makes an archive fail.

With ``server`` it is a database of another host's server, by its name in ``rick:postgresql:servers``. The programs
are this host's: they dump no server of a later version than their own.
"""

import contextlib
import secrets

from salt.exceptions import CommandExecutionError

__func_alias__ = {"list_": "list"}

END_TIMEOUT = 10_000  # milliseconds for a session to end


def dump(name, database=None, server=None):
    """
    Dump a service's database to ``/var/lib/rick-infra/dumps/NAME`` and return the file. The last three are kept.

    database
        Default: the one that is the service's.

    The service may go on meanwhile: the dump is of one moment.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_dump.dump notes
    """
    place, _, kept = __utils__["postgres_dumps.places"]()
    source = _database_of(name, database, server)
    programs = _programs()
    with __utils__["postgres_dumps.new"](place, name) as (staged, final):
        with _snapshot(source, server) as (connection, snapshot):
            _write(programs, source, staged, snapshot, connection, server)
        __utils__["postgres_dumps.contents"](programs, staged)
    __utils__["postgres_dumps.prune"](place, name, kept)
    return final


def archive(name, database=None, archive=None, server=None):
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

        salt-call postgres_dump.archive notes
    """
    source = _database_of(name, database, server)
    programs = _programs()
    with __utils__["postgres_dumps.new"](folder(archive), name) as (staged, final):
        with _snapshot(source, server) as (connection, snapshot):
            _write(programs, source, staged, snapshot, connection, server)
            before = _fingerprint(connection)
        after = _restored_on_trial(name, source, programs, staged, server)
        wrong = [what for what in sorted({*before, *after}) if before.get(what) != after.get(what)]
        if wrong:
            told = "; ".join(f"{what}: {before.get(what)}, restored {after.get(what)}" for what in wrong)
            raise CommandExecutionError(f"database {source}: its dump does not bring back what is there: {told}")
    return final


def restore(name, file, database=None, server=None):
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

        salt-call postgres_dump.restore notes /var/lib/rick-infra/dumps/notes/20250101T000000.000000Z.dump
    """
    present = _database_of(name, database, server)
    facts = __salt__["postgres_tenant.inventory"](server)["databases"][present]
    programs = _programs()
    fresh = __utils__["postgres_dumps.scratch"](present)
    _make_scratch(name, present, fresh, server)
    try:
        _restore_into(programs, file, fresh, facts["owner"], server)
        before = dump(name, present, server)
        __salt__["postgresql.database_grant"](fresh, facts["privileges"], server=server)
        _copy_settings(present, fresh, server)
        _swap(name, present, fresh, facts["connection_limit"], server)
    finally:
        _drop_scratch(fresh, server)
    return before


def list_():
    """
    Return the dumps that were made of services' databases, ``{service: [files, oldest first]}``, without archives.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_dump.list
    """
    return __utils__["postgres_dumps.present"](__utils__["postgres_dumps.places"]()[0])


def remove(name):
    """
    Delete the dumps of a service's databases. Its archives stay.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_dump.remove notes
    """
    __utils__["postgres_tenants.check_name"](name)
    __utils__["postgres_dumps.remove"](__utils__["postgres_dumps.places"]()[0], name)
    return True


def folder(archive=None):
    """
    Return the folder that holds the folders of archives.

    archive
        Another one than the usual, which is then the answer.

    CLI Example:

    .. code-block:: bash

        salt-call postgres_dump.folder
    """
    return archive or __utils__["postgres_dumps.places"]()[1]


def _database_of(name, database, server):
    mine = [one for one in __salt__["postgres_tenant.databases"](name, server) if database in (None, one)]
    if len(mine) != 1:
        told = f"several: {', '.join(mine)}; name one" if mine else f"none{f' called {database}' if database else ''}"
        where = f" at {server}" if server else ""
        raise CommandExecutionError(f"service {name}: of databases that are its own there are{where} {told}")
    return mine[0]


def _programs():
    return __salt__["postgresql.query"]("SELECT setting FROM pg_config WHERE name = 'BINDIR'")[0]["setting"]


@contextlib.contextmanager
def _snapshot(database, server):
    """A connection that sees one moment of a database for as long as it is open, and the moment's name."""
    with contextlib.closing(__salt__["postgresql.connect"](database, server)) as connection:
        ask = __utils__["postgresql_server.run"]
        ask(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection, ask(connection, "SELECT pg_export_snapshot() AS snapshot")[0]["snapshot"]


def _write(programs, database, path, snapshot, connection, server):
    # The password is that with which this run is connected.
    elsewhere = (__salt__["postgresql.place"](server), connection.info.password) if server else None
    try:
        __utils__["postgres_dumps.write"](programs, database, path, snapshot, elsewhere)
    except CommandExecutionError as error:
        where = f"PostgreSQL at {server}, " if server else ""
        raise CommandExecutionError(f"{where}database {database}: {error}") from error


def _fingerprint(connection):
    run, compose = (__utils__[f"postgresql_server.{name}"] for name in ("run", "statement"))
    return __utils__["postgres_dumps.fingerprint"](connection, run, compose)


def _restored_on_trial(name, source, programs, file, server):
    """What a dump holds, found out by restoring it."""
    scratch = __utils__["postgres_dumps.scratch"](source)
    _make_scratch(name, source, scratch, server)
    try:
        owner = __salt__["postgres_tenant.inventory"](server)["databases"][source]["owner"]
        _restore_into(programs, file, scratch, owner, server)
        with contextlib.closing(__salt__["postgresql.connect"](scratch, server)) as connection:
            return _fingerprint(connection)
    finally:
        _drop_scratch(scratch, server)


def _make_scratch(name, model, scratch, server):
    """An empty database like another one, with its extensions, since not every owner of a database may create them."""
    inventory = __salt__["postgres_tenant.inventory"](server)
    facts = inventory["databases"][model]
    if scratch in inventory["databases"]:
        if __utils__["postgres_tenants.whose"](inventory, "databases", scratch) != name:
            raise CommandExecutionError(
                f"database {scratch} is in the way and not one of service {name}; drop it if nobody needs it"
            )
        _drop_scratch(scratch, server)  # a killed run has left it
    __salt__["postgresql.database_create"](scratch, facts["owner"], locale=facts["locale"], server=server)
    mark = _mark(name, "scratch", server)
    __salt__["postgresql.change"]([_sql("COMMENT ON DATABASE {} IS {mark}", scratch, mark=mark)], server=server)
    __salt__["postgresql.database_grant"](scratch, {facts["owner"]: ["CONNECT", "CREATE", "TEMPORARY"]}, server=server)
    extensions = __salt__["postgresql.query"](
        "SELECT e.extname::text AS name, n.nspname::text AS schema FROM pg_extension e "
        "JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql' ORDER BY e.oid",
        database=model,
        server=server,
    )
    for schema in {one["schema"] for one in extensions} - {"public", "pg_catalog"}:
        __salt__["postgresql.change"](
            [_sql("CREATE SCHEMA {} AUTHORIZATION {}", schema, facts["owner"])], database=scratch, server=server
        )
    for one in extensions:
        __salt__["postgresql.extension_create"](one["name"], scratch, one["schema"], server=server)


def _drop_scratch(scratch, server):
    if scratch in __salt__["postgres_tenant.inventory"](server)["databases"]:
        __salt__["postgresql.database_drop"](scratch, force=True, server=server)


def _restore_into(programs, file, database, owner, server):
    """
    Restore a dump as a role that can do no more than the owner.

    The dump's code runs with the rights of whoever restores it, and SET ROLE alone would let a superuser's session
    find its way back. So a role is made for it, with a password that no other one knows and that is soon forgotten.
    """
    there = {
        kind: [row["name"] for row in __salt__["postgresql.query"](question, database=database, server=server)]
        for kind, question in (
            ("SCHEMA", __utils__["postgres_tenants.schemas_question"]()),
            ("EXTENSION", "SELECT extname::text AS name FROM pg_extension"),
        )
    }
    lines = __utils__["postgres_dumps.contents"](programs, file)
    lines = __utils__["postgres_dumps.selected"](lines, there)
    password = secrets.token_urlsafe(32)
    verifier = __utils__["postgresql_scram.verifier"](password)
    restorer = _restorer(server)
    _drop_restorer(server)
    # Who may log in with a password: on this host some, elsewhere all.
    groups = [owner] if server else [__salt__["postgresql_password.group"](), owner]
    comment = "rick-infra restores a dump"
    __salt__["postgresql.role_create"](restorer, member_of=groups, comment=comment, server=server)
    place = __salt__["postgresql.place"](server) if server else None
    try:
        given = _sql("ALTER ROLE {} PASSWORD {verifier}", restorer, verifier=verifier)
        __salt__["postgresql.change"]([given], server=server)
        __utils__["postgres_dumps.read"](programs, file, database, restorer, password, owner, lines, place)
    finally:
        _drop_restorer(server)


def _restorer(server):
    return __utils__["postgres_dumps.restorer"](__opts__["id"] if server else None)


def _drop_restorer(server):
    restorer = _restorer(server)
    if restorer in __salt__["postgres_tenant.inventory"](server)["roles"]:
        __salt__["postgresql.role_drop"](restorer, server=server)


def _mark(name, kind, server):
    mark = __utils__["postgres_tenants.mark"](name, kind)
    return __utils__["postgres_tenants.mark_of"](__opts__["id"], mark) if server else mark


def _copy_settings(present, fresh, server):
    """What ALTER DATABASE ... SET has set is not in a dump."""
    rows = __salt__["postgresql.query"](
        "SELECT split_part(one, '=', 1) AS name, substr(one, strpos(one, '=') + 1) AS value "
        "FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) one "
        "WHERE d.datname = %s AND s.setrole = 0",
        [present],
        server=server,
    )
    for row in rows:
        # In this way the value need not be taken apart, as lists would otherwise have to.
        current = _sql("SELECT set_config({name}, {value}, true)", name=row["name"], value=row["value"])
        name = ".".join(["{}"] * (row["name"].count(".") + 1))
        kept = _sql(f"ALTER DATABASE {{}} SET {name} FROM CURRENT", fresh, *row["name"].split("."))
        __salt__["postgresql.change"]([current, kept], server=server)


def _swap(name, present, fresh, connection_limit, server):
    """Let a database take another one's name and place. The other one gets its name, and goes with it."""
    aside = f"{fresh}-old"
    __salt__["postgresql.change"]([_sql("ALTER DATABASE {} CONNECTION LIMIT 0", present)], server=server)
    __salt__["postgresql.forget_connections"](server=server)
    __salt__["postgresql.query"](
        "SELECT pg_terminate_backend(pid, %(limit)s) FROM pg_stat_activity WHERE datname::text = ANY(%(names)s)",
        {"limit": END_TIMEOUT, "names": [present, fresh]},
        server=server,
    )
    __salt__["postgresql.change"](
        [
            _sql("ALTER DATABASE {} RENAME TO {}", present, aside),
            _sql("ALTER DATABASE {} RENAME TO {}", fresh, present),
            _sql("ALTER DATABASE {} RENAME TO {}", aside, fresh),
            _sql("ALTER DATABASE {} CONNECTION LIMIT {limit}", present, limit=connection_limit),
            _sql("COMMENT ON DATABASE {} IS {mark}", present, mark=_mark(name, None, server)),
        ],
        server=server,
    )


def _sql(text, *identifiers, **literals):
    return __utils__["postgresql_server.statement"](text, *identifiers, **literals)
