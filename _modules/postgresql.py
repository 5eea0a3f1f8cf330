"""
PostgreSQL over its Unix socket: roles, databases and extensions, asked and changed in SQL without a fork.

Only the system user ``postgres`` is the superuser, by ``peer`` authentication,
and no ident map makes root one. Salt therefore connects while its effective
uid is that of ``postgres``: the kernel notes the ids at connect(2), and the
connection stays the superuser's when root's ids are back. There is one
connection a database and run.

How the configuration files get into the running server is the matter of
``postgresql_settings``.
"""

import os
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

DATA = Path("/var/lib/postgresql")  # Debian: VERSION/CLUSTER below it
QUERY_AS_TIMEOUT = 30  # seconds; a check that takes longer has failed
MAINTENANCE_DATABASE = "postgres"
CONTEXT_KEY = "postgresql.connection."

INVENTORY_KEY = "postgresql.inventory"

# What matters is asked of the catalogue as a whole, so that a run with many services asks once: inventory().
ROLES = """
SELECT rolname::text AS name, rolcanlogin AS login, rolconnlimit AS connection_limit, rolcreatedb AS createdb,
       rolsuper AS superuser, rolcreaterole AS createrole, rolreplication AS replication, rolbypassrls AS bypassrls,
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid GROUP BY 1 ORDER BY 1) AS member_of,
       shobj_description(r.oid, 'pg_authid') AS comment
FROM pg_roles r
"""

# Without privileges of its own a database has the built-in ones, which let PUBLIC connect: acldefault() tells them.
DATABASES = """
SELECT datname::text AS name, pg_get_userbyid(datdba)::text AS owner, pg_encoding_to_char(encoding)::text AS encoding,
       CASE datlocprovider WHEN 'c' THEN datcollate ELSE 'not of libc' END AS locale, datctype AS ctype,
       datconnlimit AS connection_limit, datallowconn AS connectable,
       (SELECT json_object_agg(grantee, privileges) FROM (
            SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END AS grantee,
                   json_agg(DISTINCT a.privilege_type ORDER BY a.privilege_type) AS privileges
            FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) a GROUP BY 1) p) AS privileges,
       shobj_description(d.oid, 'pg_database') AS comment
FROM pg_database d
"""


def query(sql, params=None, database=MAINTENANCE_DATABASE):
    """
    Return the rows of a statement run by the superuser, each ``{column: value}``; an empty list if it has none.

    sql
        One statement; ``%s`` or ``%(name)s`` stand for parameters.

    params
        List or mapping of values.

    database
        Where it runs.

    Nothing is in the search path, so tables need their schema (``public.notes``): the superuser must not be led to
    functions that a database's owner has put there.

    Values that JSON has no form for (times, numerics, bytes) are text. Raises
    CommandExecutionError with the server's message, detail and hint.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.query 'SELECT datname FROM pg_database'
    """
    return __utils__["postgresql_server.plain"](_run(sql, params=params, database=database))


def change(statements, database=MAINTENANCE_DATABASE):
    """
    Run statements as the superuser, several of them in one transaction: all or none.

    statements
        List of SQL texts or of what ``postgresql_server.statement`` has composed.

    database
        Where they run.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.change '["REVOKE CONNECT ON DATABASE notes FROM PUBLIC"]'
    """
    _change(*statements, database=database)
    return True


def inventory():
    """
    Return all roles and databases, ``{"roles": {name: ...}, "databases": {name: ...}}``, each as by itself.

    Asked once a run, however many services look into it, and again once this module has changed something.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.inventory
    """
    if INVENTORY_KEY not in __context__:
        [rows] = _run(
            f"SELECT (SELECT json_agg(r) FROM ({ROLES}) r) AS roles,"  # noqa: S608 - constants
            f" (SELECT json_agg(d) FROM ({DATABASES}) d) AS databases"
        )
        __context__[INVENTORY_KEY] = {
            kind: {
                row.pop("name"): {**row, **({"privileges": row["privileges"] or {}} if "privileges" in row else {})}
                for row in rows[kind]
            }
            for kind in ("roles", "databases")
        }
    return __context__[INVENTORY_KEY]


def server():
    """
    Return how the server stands: ``{"accepting": bool, "version": str or None}``.

    Not accepting is a server that nobody can connect to because the user
    ``postgres`` or its socket is not there, or nobody listens.

    Raises CommandExecutionError for any other reason not to get in.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.server
    """
    # A connection that is open says it too, and costs the server no process to answer.
    if not _open(MAINTENANCE_DATABASE) and not __utils__["postgresql_server.listens"]():
        return {"accepting": False, "version": None}
    return {"accepting": True, "version": _run("SHOW server_version")[0]["server_version"].split()[0]}


def clusters():
    """
    Return the data directories of Debian's clusters on this host, whether their servers run or not.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.clusters
    """
    return sorted(str(path.parent) for path in DATA.glob("*/*/PG_VERSION"))


def role(name):
    """
    Return what a role is, ``{}`` if there is none.

    The keys are ``login``, ``createdb``, ``superuser``, ``createrole``,
    ``replication``, ``bypassrls`` (booleans), ``connection_limit`` (-1: none),
    ``member_of`` (sorted names) and ``comment`` (None: none).

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role notes
    """
    rows = _run(f"{ROLES} WHERE rolname = %s", params=[name])
    return {key: value for key, value in rows[0].items() if key != "name"} if rows else {}


def role_create(name, login=True, connection_limit=-1, createdb=False, member_of=(), comment=None):
    """
    Create a role. Arguments as in the state ``postgresql.role_present``. It has no password and is never a superuser.

    comment
        What ``COMMENT ON ROLE`` says of it from the moment it exists.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role_create notes
    """
    return _set_role("CREATE", name, login, connection_limit, createdb, member_of, comment)


def role_alter(name, login=True, connection_limit=-1, createdb=False, member_of=(), comment=None):
    """
    Make an existing role exactly as given; what is not given becomes the default. Any superuser's right is taken away.

    comment
        As in ``role_create``; None leaves the present one.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role_alter notes connection_limit=20
    """
    return _set_role("ALTER", name, login, connection_limit, createdb, member_of, comment)


def role_drop(name):
    """
    Drop a role. PostgreSQL refuses while it owns something and says what.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role_drop notes
    """
    _change(_sql("DROP ROLE {}", __utils__["postgresql_names.role"](name)))
    return True


def database(name):
    """
    Return what a database is, ``{}`` if there is none.

    The keys are ``owner``, ``encoding``, ``locale`` and ``ctype`` (names as
    in locale(7)), ``connection_limit`` (-1: none), ``connectable`` (False: by
    nobody at all), ``comment`` (None: none) and ``privileges``, ``{role or
    PUBLIC: sorted list of CONNECT, CREATE, TEMPORARY}``.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database notes
    """
    rows = _run(f"{DATABASES} WHERE datname = %s", params=[name])
    if not rows:
        return {}
    facts = {key: value for key, value in rows[0].items() if key != "name"}
    return {**facts, "privileges": facts["privileges"] or {}}


def database_create(name, owner, encoding="UTF8", locale="C.UTF-8", template="template0", connection_limit=-1):
    """
    Create a database. Arguments as in the state ``postgresql.database_present``.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database_create notes owner=notes
    """
    statement = _sql(
        "CREATE DATABASE {} OWNER {} TEMPLATE {} ENCODING {encoding} LOCALE_PROVIDER libc LOCALE {locale}"
        " CONNECTION LIMIT {limit}",
        __utils__["postgresql_names.database"](name),
        owner,
        template,
        encoding=encoding,
        locale=locale,
        limit=connection_limit,
    )
    _change(statement)
    return True


def database_alter(name, owner, connection_limit=-1):
    """
    Change a database's owner and connection limit, and let it be connected to.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database_alter notes owner=notes
    """
    __utils__["postgresql_names.database"](name)
    _change(
        _sql("ALTER DATABASE {} OWNER TO {}", name, owner),
        _sql("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT {limit}", name, limit=connection_limit),
    )
    return True


def database_grant(name, privileges):
    """
    Give exactly these privileges on a database, in one transaction; whoever is not mentioned loses theirs.

    privileges
        ``{role: list of CONNECT, CREATE, TEMPORARY}``; ``PUBLIC`` stands for everybody.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database_grant notes '{"notes": ["CONNECT", "CREATE", "TEMPORARY"]}'
    """
    present = database(__utils__["postgresql_names.database"](name)).get("privileges", {})
    unknown = {one for granted in privileges.values() for one in granted} - {"CONNECT", "CREATE", "TEMPORARY"}
    if unknown:
        raise SaltInvocationError(f"database {name}: no privilege {', '.join(sorted(unknown))} exists on databases")
    statements = []
    for grantee in sorted({*present, *privileges}):
        who, names = ("PUBLIC", [name]) if grantee == "PUBLIC" else ("{}", [name, grantee])
        statements.append(_sql(f"REVOKE ALL ON DATABASE {{}} FROM {who}", *names))
        if privileges.get(grantee):
            granted = ", ".join(sorted(privileges[grantee]))
            statements.append(_sql(f"GRANT {granted} ON DATABASE {{}} TO {who}", *names))
    _change(*statements)
    return True


def database_drop(name, force=False):
    """
    Drop a database with all that is in it. PostgreSQL refuses while somebody is connected.

    force
        End the connections first.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database_drop notes
    """
    __utils__["postgresql_names.database"](name)
    _forget(name)
    _change(_sql("DROP DATABASE {} WITH (FORCE)" if force else "DROP DATABASE {}", name))
    return True


def extension(name, database):
    """
    Return an extension's versions in a database: ``{"installed": str or None, "available": str or None}``.

    ``available`` is None if no package on this host has brought it.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.extension pg_trgm notes
    """
    rows = _run(
        "SELECT installed_version AS installed, default_version AS available"
        " FROM pg_available_extensions WHERE name = %s",
        params=[name],
        database=database,
    )
    return rows[0] if rows else {"installed": None, "available": None}


def extension_create(name, database, schema=None):
    """
    Create an extension, and those it needs, in a database.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.extension_create pg_trgm notes
    """
    if schema is None:
        # Some extensions demand a schema of their own, the others take the first one of the search path.
        create = [
            "SET LOCAL search_path TO public",
            _sql("CREATE EXTENSION IF NOT EXISTS {} CASCADE", name),
        ]
    else:
        create = [_sql("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE", name, schema)]
    _change(*create, database=database)
    return True


def extension_drop(name, database):
    """
    Drop an extension from a database. PostgreSQL refuses while something there uses it.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.extension_drop pg_trgm notes
    """
    _change(_sql("DROP EXTENSION IF EXISTS {}", name), database=database)
    return True


def query_as(user, sql, database=None, role=None, secret_file=None):
    """
    Return the rows of a statement as a system user gets them, with that user's uid and groups and nothing of root's.

    user
        Name of the system user.

    sql
        One statement.

    database, role
        Default: of the same name as the user.

    secret_file
        File with the role's password, if it has one.

    Raises CommandExecutionError that says who refused: the socket's directory, ``pg_hba.conf`` or the statement.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.query_as notes 'SELECT current_user'
    """
    # Found here, since the child may not be allowed to read the tree.
    connect, run, plain = (__utils__[f"postgresql_server.{name}"] for name in ("connect", "run", "plain"))

    password = _password(secret_file) if secret_file else None

    def ask():
        with connect(role or user, database or user, password) as connection:
            return plain(run(connection, sql))

    import psycopg  # noqa: F401 - nor the library

    return __utils__["run_as.call"](user, ask, QUERY_AS_TIMEOUT)


def forget_connections(database=None):
    """
    Close what this run has open, so that the next question meets the server as a newcomer does. Needed after a restart.

    database
        Close the connection to this one only. Many services have many databases, and the server so many connections.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.forget_connections
    """
    if database is not None:
        _forget(database)
        return True
    for key in [key for key in __context__ if key.startswith(CONTEXT_KEY)]:
        _forget(key.removeprefix(CONTEXT_KEY))
    __context__.pop(INVENTORY_KEY, None)
    return True


def _password(path):
    password = __utils__["secret_files.read"](path)
    if password is None:
        raise CommandExecutionError(f"there is no secret file {path}; the state that makes it must come before")
    return password


def _set_role(verb, name, login, connection_limit, createdb, member_of, comment):
    __utils__["postgresql_names.role"](name)
    present = set(role(name).get("member_of", ()))
    options = "LOGIN" if login else "NOLOGIN"
    options += " CREATEDB" if createdb else " NOCREATEDB"
    options += " NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS CONNECTION LIMIT {limit}"
    _change(
        _sql(f"{verb} ROLE {{}} {options}", name, limit=connection_limit),
        *([_sql("COMMENT ON ROLE {} IS {comment}", name, comment=comment)] if comment is not None else []),
        *(_sql("REVOKE {} FROM {}", group, name) for group in sorted(present - set(member_of))),
        *(_sql("GRANT {} TO {}", group, name) for group in sorted(set(member_of) - present)),
    )
    return True


def _sql(text, *identifiers, **literals):
    return __utils__["postgresql_server.statement"](text, *identifiers, **literals)


def _change(*statements, database=MAINTENANCE_DATABASE):
    __context__.pop(INVENTORY_KEY, None)
    _run(*statements, database=database)


def _run(*statements, params=None, database=MAINTENANCE_DATABASE):
    return __utils__["postgresql_server.run"](_connection(database), *statements, params=params)


def _connection(database):
    """This run's connection to a database; a new one if there is none or the server has closed it."""
    connection = _open(database)
    if connection is None:
        _forget(database)
        connection = __utils__["postgresql_server.connect_as_superuser"](database)
        __context__[CONTEXT_KEY + database] = (os.getpid(), connection)
    return connection


def _open(database):
    pid, connection = __context__.get(CONTEXT_KEY + database, (None, None))
    # A forked child (parallel: True) must not talk on its parent's connection.
    usable = pid == os.getpid() and __utils__["postgresql_server.usable"](connection)
    return connection if usable else None


def _forget(database):
    pid, connection = __context__.pop(CONTEXT_KEY + database, (None, None))
    if pid == os.getpid():
        connection.close()
