"""
PostgreSQL: roles, databases and extensions, asked and changed in SQL without a fork.

Only the system user ``postgres`` is the superuser, by ``peer`` authentication,
and no ident map makes root one. Salt therefore connects while its effective
uid is that of ``postgres``: the kernel notes the ids at connect(2), and the
connection stays the superuser's when root's ids are back. There is one
connection a database and run.

That is this host's server. ``server``, where a function takes it, is another
host's: its name in the setting ``rick:postgresql:servers``, which also says
who makes roles and databases there. That role need not be a superuser. It
becomes a member of the roles that it makes, without which PostgreSQL would not
let it make databases for them.

.. code-block:: bash

    salt-call postgresql.query 'SELECT version()' server=db.example.org

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
ELSEWHERE_KEY = "postgresql.connection_to."

INVENTORY_KEY = "postgresql.inventory"
FAILED_KEY = "postgresql.failed."  # why a server elsewhere was not reached in this run
# What a role never is, by the names of ``role``, and the word that takes it away.
NEVER = {
    "superuser": "NOSUPERUSER",
    "createrole": "NOCREATEROLE",
    "replication": "NOREPLICATION",
    "bypassrls": "NOBYPASSRLS",
}

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


def query(sql, params=None, database=MAINTENANCE_DATABASE, server=None):
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
    return __utils__["postgresql_server.plain"](_run(sql, params=params, database=database, server=server))


def change(statements, database=MAINTENANCE_DATABASE, server=None):
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
    _change(*statements, database=database, server=server)
    return True


def inventory(server=None):
    """
    Return all roles and databases, ``{"roles": {name: ...}, "databases": {name: ...}}``, each as by itself.

    Asked once a run, however many services look into it, and again once this module has changed something.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.inventory
    """
    key = _inventory_key(server)
    if key not in __context__:
        [rows] = _run(
            f"SELECT (SELECT json_agg(r) FROM ({ROLES}) r) AS roles,"  # noqa: S608 - constants
            f" (SELECT json_agg(d) FROM ({DATABASES}) d) AS databases",
            server=server,
        )
        __context__[key] = {
            kind: {
                row.pop("name"): {**row, **({"privileges": row["privileges"] or {}} if "privileges" in row else {})}
                for row in rows[kind]
            }
            for kind in ("roles", "databases")
        }
    return __context__[key]


def server(server=None):
    """
    Return how the server stands: ``{"accepting": bool, "version": str or None}``.

    Not accepting is a server that nobody can connect to because the user
    ``postgres`` or its socket is not there, or nobody listens.

    Raises CommandExecutionError for any other reason not to get in, and for each that there is with another host's.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.server
    """
    if server is not None:
        return {"accepting": True, "version": _version(server)}
    # A connection that is open says it too, and costs the server no process to answer.
    if not _open(MAINTENANCE_DATABASE) and not __utils__["postgresql_server.listens"]():
        return {"accepting": False, "version": None}
    return {"accepting": True, "version": _version()}


def clusters():
    """
    Return the data directories of Debian's clusters on this host, whether their servers run or not.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.clusters
    """
    return sorted(str(path.parent) for path in DATA.glob("*/*/PG_VERSION"))


def role(name, server=None):
    """
    Return what a role is, ``{}`` if there is none.

    The keys are ``login``, ``createdb``, ``superuser``, ``createrole``,
    ``replication``, ``bypassrls`` (booleans), ``connection_limit`` (-1: none),
    ``member_of`` (sorted names) and ``comment`` (None: none).

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role notes
    """
    rows = _run(f"{ROLES} WHERE rolname = %s", params=[name], server=server)
    return {key: value for key, value in rows[0].items() if key != "name"} if rows else {}


def role_create(name, login=True, connection_limit=-1, createdb=False, member_of=(), comment=None, server=None):
    """
    Create a role. Arguments as in the state ``postgresql.role_present``. It has no password and is never a superuser.

    comment
        What ``COMMENT ON ROLE`` says of it from the moment it exists.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role_create notes
    """
    return _set_role("CREATE", name, login, connection_limit, createdb, member_of, comment, server)


def role_alter(name, login=True, connection_limit=-1, createdb=False, member_of=(), comment=None, server=None):
    """
    Make an existing role exactly as given; what is not given becomes the default. Any superuser's right is taken away.

    comment
        As in ``role_create``; None leaves the present one.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role_alter notes connection_limit=20
    """
    return _set_role("ALTER", name, login, connection_limit, createdb, member_of, comment, server)


def role_drop(name, server=None):
    """
    Drop a role. PostgreSQL refuses while it owns something and says what.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.role_drop notes
    """
    _change(_sql("DROP ROLE {}", __utils__["postgresql_names.role"](name)), server=server)
    return True


def database(name, server=None):
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
    rows = _run(f"{DATABASES} WHERE datname = %s", params=[name], server=server)
    if not rows:
        return {}
    facts = {key: value for key, value in rows[0].items() if key != "name"}
    return {**facts, "privileges": facts["privileges"] or {}}


def database_create(
    name, owner, encoding="UTF8", locale="C.UTF-8", template="template0", connection_limit=-1, server=None
):
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
    _hold([owner], server)
    _change(statement, server=server)
    return True


def database_alter(name, owner, connection_limit=-1, server=None):
    """
    Change a database's owner and connection limit, and let it be connected to.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database_alter notes owner=notes
    """
    __utils__["postgresql_names.database"](name)
    _hold([owner], server)
    _change(
        _sql("ALTER DATABASE {} OWNER TO {}", name, owner),
        _sql("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT {limit}", name, limit=connection_limit),
        server=server,
    )
    return True


def database_grant(name, privileges, server=None):
    """
    Give exactly these privileges on a database, in one transaction; whoever is not mentioned loses theirs.

    privileges
        ``{role: list of CONNECT, CREATE, TEMPORARY}``; ``PUBLIC`` stands for everybody.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database_grant notes '{"notes": ["CONNECT", "CREATE", "TEMPORARY"]}'
    """
    present = database(__utils__["postgresql_names.database"](name), server).get("privileges", {})
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
    _change(*statements, server=server)
    return True


def database_drop(name, force=False, server=None):
    """
    Drop a database with all that is in it. PostgreSQL refuses while somebody is connected.

    force
        End the connections first.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.database_drop notes
    """
    __utils__["postgresql_names.database"](name)
    _forget(name, server)
    _change(_sql("DROP DATABASE {} WITH (FORCE)" if force else "DROP DATABASE {}", name), server=server)
    return True


def extension(name, database, server=None):
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
        server=server,
    )
    return rows[0] if rows else {"installed": None, "available": None}


def extension_create(name, database, schema=None, server=None):
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
    _change(*create, database=database, server=server)
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


def query_as(user, sql, database=None, role=None, secret_file=None, server=None):
    """
    Return the rows of a statement as a system user gets them, with that user's uid and groups and nothing of root's.

    user
        Name of the system user. At another host's server only the password counts.

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
    at = place(server) if server else None

    def ask():
        with connect(role or user, database or user, password, place=at) as connection:
            return plain(run(connection, sql))

    import psycopg  # noqa: F401 - nor the library

    return __utils__["run_as.call"](user, ask, QUERY_AS_TIMEOUT)


def forget_connections(database=None, server=None):
    """
    Close what this run has open, so that the next question meets the server as a newcomer does. Needed after a restart.

    database
        Close the connection to this one only. Many services have many databases, and the server so many connections.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.forget_connections
    """
    if database is not None:
        _forget(database, server)
        return True
    start = _connection_key("", server)
    for key in [key for key in __context__ if key.startswith(start)]:
        _forget(key.removeprefix(start), server)
    __context__.pop(_inventory_key(server), None)
    return True


def connect(database=MAINTENANCE_DATABASE, server=None):
    """
    Return a new connection to a database, of the superuser or of who makes roles at another host's server.

    It is the caller's to close.

    CLI Example: none, it returns an object.
    """
    return _connected(database, server)


def servers():
    """
    Return the names of the servers on other hosts that the settings know, sorted.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.servers
    """
    return sorted(__salt__["catalogue.infrastructure"]("postgresql")["servers"])


def place(server):
    """
    Return how another host's server is reached, ``{"host", "port", "authority"}``, and as whom: ``user``, ``database``.

    Raises CommandExecutionError if the settings do not know it.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql.place db.example.org
    """
    known = __salt__["catalogue.infrastructure"]("postgresql")["servers"]
    if server not in known:
        raise CommandExecutionError(
            f"PostgreSQL at {server}: nobody here may make a database there; say rick:postgresql:servers:{server} with "
            "user and password"
        )
    return {"host": server, **{key: value for key, value in known[server].items() if key != "password"}}


def _password(path):
    password = __utils__["secret_files.read"](path)
    if password is None:
        raise CommandExecutionError(f"there is no secret file {path}; the state that makes it must come before")
    return password


def _set_role(verb, name, login, connection_limit, createdb, member_of, comment, server):
    __utils__["postgresql_names.role"](name)
    facts = role(name, server)
    present = set(facts.get("member_of", ()))
    options = "LOGIN" if login else "NOLOGIN"
    options += " CREATEDB" if createdb else " NOCREATEDB"
    # One who is no superuser may not even say so of a role that has no such right.
    options += "".join(f" {word}" for key, word in NEVER.items() if server is None or facts.get(key))
    _change(
        _sql(f"{verb} ROLE {{}} {options} CONNECTION LIMIT {{limit}}", name, limit=connection_limit),
        *([_sql("COMMENT ON ROLE {} IS {comment}", name, comment=comment)] if comment is not None else []),
        *(_sql("REVOKE {} FROM {}", group, name) for group in sorted(present - set(member_of))),
        *(_sql("GRANT {} TO {}", group, name) for group in sorted(set(member_of) - present)),
        server=server,
    )
    _hold([name], server)
    return True


def _hold(roles, server):
    """Have the rights of roles. Who is no superuser has to give itself those of the roles that it has made."""
    if server is None:
        return
    wanted = _run(
        "SELECT r.rolname::text AS name FROM pg_roles r, pg_roles me WHERE me.rolname = current_user"
        " AND NOT me.rolsuper AND r.rolname = ANY(%s)"
        " AND NOT (pg_has_role(me.oid, r.oid, 'SET') AND pg_has_role(me.oid, r.oid, 'USAGE'))",
        params=[roles],
        server=server,
    )
    if wanted:
        hold = "GRANT {} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE"
        _change(*(_sql(hold, one["name"]) for one in wanted), server=server)


def _sql(text, *identifiers, **literals):
    return __utils__["postgresql_server.statement"](text, *identifiers, **literals)


def _change(*statements, database=MAINTENANCE_DATABASE, server=None):
    __context__.pop(_inventory_key(server), None)
    _run(*statements, database=database, server=server)


def _version(server=None):
    return _run("SHOW server_version", server=server)[0]["server_version"].split()[0]


def _run(*statements, params=None, database=MAINTENANCE_DATABASE, server=None):
    return __utils__["postgresql_server.run"](_connection(database, server), *statements, params=params)


def _inventory_key(server):
    return f"{INVENTORY_KEY}@{server}" if server else INVENTORY_KEY


def _connection_key(database, server):
    return f"{ELSEWHERE_KEY}{server}.{database}" if server else f"{CONTEXT_KEY}{database}"


def _connection(database, server):
    """This run's connection to a database; a new one if there is none or the server has closed it."""
    connection = _open(database, server)
    if connection is None:
        _forget(database, server)
        connection = _connected(database, server)
        __context__[_connection_key(database, server)] = (os.getpid(), connection)
    return connection


def _connected(database, server):
    if server is None:
        return __utils__["postgresql_server.connect_as_superuser"](database)
    key = f"{FAILED_KEY}{server}"
    if key in __context__:  # many services may ask in vain, each for as long as a network takes to say so
        raise CommandExecutionError(__context__[key])
    at = place(server)
    password = _administrator_password(server)
    try:
        if database == MAINTENANCE_DATABASE:  # which may be called otherwise there
            return __utils__["postgresql_server.connect_as_administrator"](at, password)
        return __utils__["postgresql_server.connect_elsewhere"](at, password, database)
    except CommandExecutionError as error:
        if database == MAINTENANCE_DATABASE:
            __context__[key] = str(error)
        raise


def _administrator_password(server):
    """What the setting ``password`` of a server leads to."""
    reference = __salt__["catalogue.infrastructure"]("postgresql")["servers"][server]["password"]
    setting = f"rick:postgresql:servers:{server}:password"
    if "file" in reference:
        value = __utils__["secret_files.read_exactly"](reference["file"], ours=False)
        if value is None:
            raise CommandExecutionError(f"{setting}: no file {reference['file']}; write it (root, mode 0600)")
    else:
        value = __utils__["secret_values.from_pillar"](__pillar__, reference["pillar"], _stored)
    try:
        return value.decode().removesuffix("\n")
    except UnicodeDecodeError:
        raise CommandExecutionError(f"{setting}: what it leads to is not text (UTF-8)") from None


def _stored(address):
    return __salt__["sdb.get"](address, strict=True)


def _open(database, server=None):
    pid, connection = __context__.get(_connection_key(database, server), (None, None))
    # A forked child (parallel: True) must not talk on its parent's connection.
    usable = pid == os.getpid() and __utils__["postgresql_server.usable"](connection)
    return connection if usable else None


def _forget(database, server=None):
    pid, connection = __context__.pop(_connection_key(database, server), (None, None))
    if pid == os.getpid():
        connection.close()
