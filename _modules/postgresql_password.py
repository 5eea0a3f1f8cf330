"""
Passwords of PostgreSQL's roles, for clients that the kernel does not vouch for.

``pg_hba.conf`` has one line for them: members of the role ``scram-clients``,
and nobody else, log in with a password, on the same socket as all others.
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


def matches(role, secret_file):
    """
    Return True if a role's password is the one in a file, False if it is another, or the role or the file is missing.

    role
        Name of the role.

    secret_file
        Path of the file, as ``salt-call secret.path NAME`` prints it; None to ask whether the role has no password.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_password.matches notes /var/lib/rick-infra/secrets/notes.postgres
    """
    rows = __salt__["postgresql.query"]("SELECT rolpassword AS kept FROM pg_authid WHERE rolname = %s", [role])
    if not rows or secret_file is None:
        return bool(rows) and rows[0]["kept"] is None
    password = __utils__["secret_files.read"](secret_file)
    return password is not None and __utils__["postgresql_scram.matches"](password, rows[0]["kept"])


def set_(role, secret_file):
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
    __salt__["postgresql.change"]([statement("ALTER ROLE {} PASSWORD {verifier}", role, verifier=verifier)])
    return True
