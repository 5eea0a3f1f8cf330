"""
The data of a service that goes: all of it is archived and proved before the first of it is dropped.

Each kind of data is archived by the module that drops it. What this run has archived is not archived again there.

.. code-block:: bash

    salt-call service_data.to_archive notes
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError

# In the order in which something is most likely in the way.
KINDS = ("postgres_tenant", "account", "valkey_user", "valkey_instance")
NOT_RUNNING = "PostgreSQL does not listen on its socket: the state that runs the server must come before this one"


def to_archive(name, home=None):
    """
    Return what of a service's data would be archived, ``{thing: {"old", "new"}}``; not what this run has archived.

    name
        Name of the service.

    home
        Its home directory. Default: ``/opt/NAME``.

    Of a server that does not answer, nothing can be said.

    CLI Example:

    .. code-block:: bash

        salt-call service_data.to_archive notes
    """
    found = {}
    for kind in KINDS:
        for arguments in _each(kind, home):
            found.update(__salt__[f"{kind}.to_archive"](name, **arguments))
    return found


def archive(name, home=None):
    """
    Archive all data of a service, prove the archives, and return their paths. Nothing is dropped.

    name, home
        As for ``service_data.to_archive``.

    Raises CommandExecutionError if something cannot be archived or proved. There are no archives then: all data are
    still where they were.

    CLI Example:

    .. code-block:: bash

        salt-call service_data.archive notes
    """
    made = []
    try:
        for kind in KINDS:
            for arguments in _each(kind, home):
                made += __salt__[f"{kind}.archive"](name, **arguments)
    except CommandExecutionError:
        for file in made:  # or each run that fails would leave more of them
            Path(file).unlink(missing_ok=True)
        raise
    return made


def require_servers():
    """
    Raise CommandExecutionError that names what has to come before, if a server cannot say what there is of a service.

    CLI Example:

    .. code-block:: bash

        salt-call service_data.require_servers
    """
    __salt__["valkey.reachable"]()
    if not __salt__["postgresql.server"]()["accepting"]:
        raise CommandExecutionError(NOT_RUNNING)


def _each(kind, home):
    """The arguments for each place where a service may have data of a kind."""
    if kind == "postgres_tenant":
        return [{"server": place} for place in __salt__["postgres_tenant.places"]()]
    return [{"home": home} if kind == "account" else {}]
