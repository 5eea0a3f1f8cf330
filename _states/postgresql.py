"""
PostgreSQL's roles, databases, extensions and settings, compared with the running server at each run.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

STOPPED = "The server is down, so this cannot be planned; the run will start it and compare then"
NOT_RUNNING = "PostgreSQL does not listen on its socket: the state that runs the server must come before this one"
ALL = ["CONNECT", "CREATE", "TEMPORARY"]
NEVER = {"superuser": False, "createrole": False, "replication": False, "bypassrls": False}


def half_made_cluster_absent(name, version):
    """
    Ensure no half of a cluster, which a cut-off installation has left, is there: the package would take it for a whole.

    name
        Anything.

    version
        ``17``.

    What is half made is moved aside, to ``/var/lib/postgresql/VERSION/main.half-made-TIME``. A cluster whose server has
    ever run is left alone.

    .. code-block:: yaml

        No half of a cluster is in the way:
          postgresql.half_made_cluster_absent:
            - version: "17"
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["postgresql_cluster.half_made"](version),
        apply=lambda: __salt__["postgresql_cluster.put_aside"](version),
        fine="No half of a cluster is in the way",
    )


def role_present(name, login=True, connection_limit=-1, createdb=False, member_of=()):
    """
    Ensure a role exists and is exactly as given: never a superuser, no password (``peer`` tells who connects).

    name
        The role, and the system user who may be it.

    login
        Whether one can connect as it; False for a role that only holds rights.

    connection_limit
        Number of simultaneous connections; -1 for no limit but the server's.

    createdb
        Whether it may create databases.

    member_of
        List of roles whose rights it has. Membership in any other is taken away.

    .. code-block:: yaml

        notes has a role:
          postgresql.role_present:
            - name: notes
            - connection_limit: 20
    """
    wanted = {
        "login": login,
        "connection_limit": connection_limit,
        "createdb": createdb,
        "member_of": sorted(member_of),
        **NEVER,
    }
    arguments = {"login": login, "connection_limit": connection_limit, "createdb": createdb, "member_of": member_of}

    def differences():
        __utils__["postgresql_names.role"](name)
        if _absent_for_a_plan():
            return {name: {"old": None, "new": wanted}}
        current = __salt__["postgresql.role"](name)
        return _differing(current, wanted) if current else {name: {"old": None, "new": wanted}}

    def apply(changes):
        __salt__["postgresql.role_create" if name in changes else "postgresql.role_alter"](name, **arguments)

    return _converge(name, differences, apply, f"Role {name} is as declared")


def role_absent(name):
    """
    Ensure a role does not exist. What it owns must be gone before: PostgreSQL refuses otherwise, and says what it is.

    name
        The role.

    .. code-block:: yaml

        notes has no role any more:
          postgresql.role_absent:
            - name: notes
            - require:
              - postgresql: notes has no database any more
    """

    def differences():
        __utils__["postgresql_names.role"](name)
        # Without a server there is nothing to remove; one that starts later in the run is another one's first start.
        there = not _absent_for_a_plan() and __salt__["postgresql.role"](name)
        return {name: {"old": "present", "new": None}} if there else {}

    return _converge(name, differences, lambda _: __salt__["postgresql.role_drop"](name), f"Role {name} does not exist")


def database_present(
    name, owner, encoding="UTF8", locale="C.UTF-8", template="template0", connection_limit=-1, clients=()
):
    """
    Ensure a database exists that nobody but its owner, and the roles it names, can connect to.

    PostgreSQL lets PUBLIC, which is every role, connect to any database and
    make temporary tables in it. That right is revoked, again if somebody
    gives it back; the owner has all privileges and ``clients`` may connect.

    name
        The database.

    owner
        The role it belongs to.

    encoding, locale
        What the database is created with. They cannot be changed afterwards: a
        database that has others is an error, and its content has to be dumped
        and restored into a new one.

    template
        The database to copy at creation.

    connection_limit
        Number of simultaneous connections; -1 for no limit but the server's.

    clients
        List of further roles that may connect. Anybody else's privileges on the database are revoked.

    .. code-block:: yaml

        notes has a database:
          postgresql.database_present:
            - name: notes
            - owner: notes
            - require:
              - postgresql: notes has a role
    """
    privileges = {**{client: ["CONNECT"] for client in clients}, owner: ALL}
    settings = {"owner": owner, "connection_limit": connection_limit}
    new = {**settings, "encoding": encoding, "locale": locale, "privileges": privileges}

    def differences():
        __utils__["postgresql_names.database"](name)
        if _absent_for_a_plan():
            return {name: {"old": None, "new": new}}
        current = __salt__["postgresql.database"](name)
        if not current:
            return {name: {"old": None, "new": new}}
        __utils__["postgresql_locales.refuse_another"](name, current, encoding, locale)
        return _differing(current, {**settings, "privileges": privileges})

    def apply(changes):
        for needed in privileges:
            if not __salt__["postgresql.role"](needed):
                raise CommandExecutionError(
                    f"database {name}: there is no role {needed}; the state postgresql.role_present makes it"
                )
        if name in changes:
            __salt__["postgresql.database_create"](name, owner, encoding, locale, template, connection_limit)
        elif settings.keys() & changes.keys():
            __salt__["postgresql.database_alter"](name, owner, connection_limit)
        # Giving it to another owner has moved privileges too, so they are set in every case.
        __salt__["postgresql.database_grant"](name, privileges)

    return _converge(name, differences, apply, f"Database {name} is as declared")


def database_absent(name, force=False):
    """
    Ensure a database does not exist. **All that is in it is lost.**

    name
        The database.

    force
        End the connections of whoever still uses it. Without it, PostgreSQL
        refuses while there are any, which protects a service that was not stopped.

    .. code-block:: yaml

        notes has no database any more:
          postgresql.database_absent:
            - name: notes
            - require:
              - quadlet: notes is gone
    """

    def differences():
        __utils__["postgresql_names.database"](name)
        there = not _absent_for_a_plan() and __salt__["postgresql.database"](name)
        return {name: {"old": "present", "new": None}} if there else {}

    return _converge(
        name,
        differences,
        lambda _: __salt__["postgresql.database_drop"](name, force=force),
        f"Database {name} does not exist",
    )


def extension_present(name, database, schema=None):
    """
    Ensure an extension, and those it needs, exists in a database. Its version is left alone once it is there.

    name
        The extension, for example ``pg_trgm``.

    database
        Where it belongs.

    schema
        Where its objects go at creation. Default: the extension's choice.

    .. code-block:: yaml

        notes searches by similarity:
          postgresql.extension_present:
            - name: pg_trgm
            - database: notes
            - require:
              - postgresql: notes has a database
    """

    def differences():
        missing = {name: {"old": None, "new": f"in database {database}"}}
        # Server, database and the extension's package may all be made earlier in the run that is planned.
        if _absent_for_a_plan():
            return missing
        if not __salt__["postgresql.database"](database):
            if __opts__["test"]:
                return missing
            raise CommandExecutionError(
                f"extension {name}: there is no database {database}; the state postgresql.database_present makes it"
            )
        found = __salt__["postgresql.extension"](name, database)
        if not found["installed"] and not found["available"] and not __opts__["test"]:
            raise CommandExecutionError(
                f"extension {name}: not on this host; install its package (often postgresql-VERSION-NAME) before"
            )
        return {} if found["installed"] else missing

    return _converge(
        name,
        differences,
        lambda _: __salt__["postgresql.extension_create"](name, database, schema),
        f"Extension {name} is in database {database}",
    )


def extension_absent(name, database):
    """
    Ensure an extension does not exist in a database. PostgreSQL refuses while something there uses it.

    name
        The extension.

    database
        Where it should not be.

    .. code-block:: yaml

        notes does without similarity:
          postgresql.extension_absent:
            - name: pg_trgm
            - database: notes
    """

    def differences():
        if _absent_for_a_plan() or not __salt__["postgresql.database"](database):
            return {}
        found = __salt__["postgresql.extension"](name, database)
        return {name: {"old": f"in database {database}", "new": None}} if found["installed"] else {}

    return _converge(
        name,
        differences,
        lambda _: __salt__["postgresql.extension_drop"](name, database),
        f"Extension {name} is not in database {database}",
    )


def settings_applied(name, settings=(), unit=None):
    """
    Ensure the running server works with what its configuration files say, ``pg_hba.conf`` included.

    Compares the files with the server: files that changed since it read them
    are read again; if a setting needs a restart, the server is restarted. A
    mistake in the files fails the state, naming file and line, and the server
    goes on as it is. No ``watch`` or ``onchanges`` is needed, and what a
    killed run left is taken up by the next. Access rules that keep even Salt
    out are read anew through systemd. A server that does not run yet has
    nothing to apply, since it reads the files at its start.

    name
        A title.

    settings
        Names of settings that the files decide: what ``ALTER SYSTEM`` set for
        them, which outranks every file, is reset.

    unit
        The server's unit. Default: by Debian's rule, ``postgresql@17-main.service`` for ``/etc/postgresql/17/main``;
        but a server that refuses Salt does not tell where that is.

    .. code-block:: yaml

        PostgreSQL runs with its settings:
          postgresql.settings_applied:
            - unit: postgresql@17-main.service
            - require:
              - service: PostgreSQL runs
    """

    def differences():
        status = __salt__["postgresql_settings.status"]()
        planned = []
        if __opts__["test"]:
            planned = __utils__["results.planned_files"](__running__, status["places"])
        if status["errors"] and not planned:
            raise CommandExecutionError("PostgreSQL goes on as it is: " + "; ".join(status["errors"]))
        changes = {}
        overridden = __salt__["postgresql_settings.overridden"](list(settings))
        if overridden:
            changes["ALTER SYSTEM"] = {"old": overridden, "new": []}
        if status["unread"] or planned:
            changes["files"] = {"old": "changed since they were read", "new": sorted({*status["unread"], *planned})}
        if status["pending_restart"]:
            changes["restart"] = {"old": "not yet", "new": f"for {', '.join(status['pending_restart'])}"}
        return changes

    def apply(changes):
        if "ALTER SYSTEM" in changes:
            __salt__["postgresql_settings.reset"](changes["ALTER SYSTEM"]["old"])
            __salt__["postgresql_settings.reload"]()
        # What was reset may be pending only now.
        if "restart" in changes or __salt__["postgresql_settings.pending_restart"]():
            __salt__["postgresql_settings.restart"](unit)
        elif "files" in changes:
            __salt__["postgresql_settings.reload"]()

    refused = _refusal()
    let_in = {"access rules": {"old": refused, "new": "read anew"}} if refused else {}
    if refused and __opts__["test"]:
        return __utils__["results.planned"](name, let_in, "PostgreSQL refuses Salt, and would read its rules anew")
    if refused:
        try:
            __salt__["postgresql_settings.reread"](unit)
        except CommandExecutionError as error:
            return __utils__["results.failed"](name, str(error))
    if _absent_for_a_plan():
        return __utils__["results.unchanged"](name, "No server runs yet; it will read its files when it starts")
    result = _converge(name, differences, apply, "The running server has its settings")
    return {**result, "changes": {**let_in, **result["changes"]}}


def _refusal():
    """Why the server does not let Salt in, in its own words; None if it does, or does not run."""
    try:
        __salt__["postgresql.server"]()
    except CommandExecutionError as error:
        return str(error)
    return None


def _absent_for_a_plan():
    """Whether this is a plan for a host that has no server yet. In a real run its absence is an error of its own."""
    return __opts__["test"] and not __salt__["postgresql.server"]()["accepting"]


def _differing(current, wanted):
    return {key: {"old": current[key], "new": value} for key, value in wanted.items() if current[key] != value}


def _converge(name, differences, apply, fine):
    """Read, plan, gate, act, read back."""
    try:
        accepting = __salt__["postgresql.server"]()["accepting"]
        if not accepting and not __opts__["test"]:
            return __utils__["results.failed"](name, NOT_RUNNING)
        changes = differences()
        if not accepting and __salt__["postgresql.clusters"]():
            return __utils__["results.unchanged"](name, STOPPED)
        if not changes:
            return __utils__["results.unchanged"](name, fine)
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"Would change: {', '.join(changes)}")
        apply(changes)
        remaining = differences()
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    if remaining:
        told = "; ".join(f"{what} is {change['old']!r}, not {change['new']!r}" for what, change in remaining.items())
        return __utils__["results.failed"](name, f"Changed, but still different: {told}", changes)
    return __utils__["results.changed"](name, changes, fine)
