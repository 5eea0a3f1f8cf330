"""
Passwords of PostgreSQL's roles, for clients that the kernel does not vouch for.

``pg_hba.conf`` has one line for them: members of the role ``scram-clients``,
and nobody else, log in with a password, on the same socket as all others.

On another host's server (``server``, a name in ``rick:postgresql:servers``) everybody does. What it keeps of a
password only a superuser may read there, so for others the proof is a login.
"""

from salt.exceptions import CommandExecutionError

__func_alias__ = {"set_": "set"}

GROUP = "scram-clients"  # also in salt/infra/postgresql, pg_hba.conf and init.sls


def group():
    """
    Return the role whose members log in with a password.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_password.group
    """
    return GROUP


def matches(role, secret_file, server=None, database=None):
    """
    Return True if a role's password is the one in a file, False if it is another, or the role or the file is missing.

    role
        Name of the role.

    secret_file
        Path of the file, as ``salt-call secret.path NAME`` prints it; None to ask whether the role has no password.

    server, database
        Another host's server, and a database there that the role may connect to. If a login is the proof, a role whose
        connections are all in use counts as right, since nobody can tell.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_password.matches notes /var/lib/rick-infra/secrets/notes.postgres
    """
    if server and secret_file and not _may_look(server):
        return _lets_in(role, secret_file, server, database)
    kept = "SELECT rolpassword AS kept FROM pg_authid WHERE rolname = %s"
    rows = __salt__["postgresql.query"](kept, [role], server=server)
    if not rows or secret_file is None:
        return bool(rows) and rows[0]["kept"] is None
    password = __utils__["secret_files.read"](secret_file)
    return password is not None and __utils__["postgresql_scram.matches"](password, rows[0]["kept"])


def set_(role, secret_file, server=None):
    """
    Give a role the password in a file. The server gets a SCRAM verifier of it, never the password.

    role
        Name of the role. It logs in with the password once it is a member of ``scram-clients``.

    secret_file
        Path of the file; None to take the password away.

    Raises CommandExecutionError if there is no such file or role.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_password.set notes /var/lib/rick-infra/secrets/notes.postgres
    """
    __utils__["postgresql_names.role"](role)
    verifier = None
    if secret_file is not None:
        password = __utils__["secret_files.read"](secret_file)
        if password is None:
            raise CommandExecutionError(
                f"role {role}: there is no secret file {secret_file}; the state that makes it must come before"
            )
        verifier = __utils__["postgresql_scram.verifier"](password)
    statement = __utils__["postgresql_server.statement"]
    change = [statement("ALTER ROLE {} PASSWORD {verifier}", role, verifier=verifier)]
    __salt__["postgresql.change"](change, server=server)
    return True


def refusal(role, secret_file, server, database):
    """
    Return why another host's server does not let a role in to a database with the password in a file; None if it does.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_password.refusal notes /var/lib/rick-infra/secrets/notes.postgres db.example.org notes
    """
    password = __utils__["secret_files.read"](secret_file)
    if password is None:
        return f"there is no secret file {secret_file}; the state that makes it must come before"
    return __utils__["postgresql_server.refusal"](role, database, password, __salt__["postgresql.place"](server))


def _may_look(server):
    question = "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT') AS may"
    return __salt__["postgresql.query"](question, server=server)[0]["may"]


def _lets_in(role, secret_file, server, database):
    if refusal(role, secret_file, server, database) is None:
        return True
    [row] = __salt__["postgresql.query"](
        "SELECT rolconnlimit >= 0 AND rolconnlimit <= (SELECT count(*) FROM pg_stat_activity a WHERE usesysid = r.oid)"
        " AS used_up FROM pg_roles r WHERE rolname = %s",
        [role],
        server=server,
    ) or [{"used_up": False}]
    return row["used_up"]
