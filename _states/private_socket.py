"""
A database's socket for one container that may use any uid.

The group (``--group-add``) is for containers that run as their service's own
uid. An image that starts as root, changes its uid, or brings its own would be
whoever it likes to the database: PostgreSQL takes a peer's uid for its name.
Such a container gets a socket of its own instead. Behind it
``systemd-socket-proxyd`` connects as the service's user, so that is who the
database sees, whatever the container does.

.. code-block:: yaml

    The service wiki has a private socket to PostgreSQL:
      private_socket.present:
        - name: wiki
        - target: /run/postgresql/.s.PGSQL.5432
        - user: wiki
        - group: postgres-clients
        - daemon: postgresql@17-main.service

The container mounts ``/run/rick-infra/wiki`` read-only, and finds
``.s.PGSQL.5432`` in it.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError


def present(name, target, user, group, daemon=None, kind=None, connections_max=256):
    """
    Ensure a service has a private socket to a shared one, now and at boot.

    Two units, ``rick-private-NAME-KIND.socket`` and ``.service``, listen on
    ``/run/rick-infra/NAME/BASENAME`` and forward to ``target``. The socket is
    0666 in a directory 0755, so that any uid in the container gets in; what
    keeps everybody else out is ``/run/rick-infra`` above it, which is 0700 and
    root's. The container does not see that one: it has only the inner
    directory, which must be mounted read-only.

    The proxy starts at the first connection, and outlives restarts of the
    daemon behind it. A container keeps its mount through a restart of these
    units: the socket is made anew, its directory is not.

    name
        Name of the service, and of the directory. Lower case, digits, - and _.

    target
        Absolute path of the shared socket. It need not be there yet.

    user
        The service's own user, by name: who the daemon sees. Neither root nor
        the owner of ``target``.

    group
        The client group that opens ``target``, by name.

    daemon
        Unit of the daemon behind ``target``, or a list: started before the
        proxy, which does not end along with it. None by default.

    kind
        What tells apart the private sockets of one service. By default the
        name of the target's directory, for example ``postgresql``.

    connections_max
        Connections the proxy takes at once; more are closed at once.

    Running connections are cut only if the proxy's definition, uid or gid has
    changed. Fails if the user or the group does not exist when it is not test
    mode.

    .. code-block:: yaml

        The service wiki has a private socket to Valkey:
          private_socket.present:
            - name: wiki
            - target: /run/valkey/valkey.sock
            - user: wiki
            - group: valkey-clients
            - daemon: valkey-server.service
    """
    arguments = (name, target, user, group, daemon, kind, connections_max)
    try:
        changes = __salt__["private_socket.differences"](*arguments)
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} already has its private socket to {target}")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"{name} would have a private socket to {target}")
        changes = __salt__["private_socket.create"](*arguments)
        left = __salt__["private_socket.differences"](*arguments)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        problem = f"the private socket to {target} was made and still differs in {', '.join(sorted(left))}"
        return __utils__["results.failed"](name, problem, changes)
    return __utils__["results.changed"](name, changes, f"{name} has a private socket to {target}")


def absent(name, target, kind=None):
    """
    Ensure a service has no private socket to a shared one.

    The container that uses it should be gone before. The directory goes with
    the last private socket in it.

    name, target, kind
        As given to ``private_socket.present``.

    .. code-block:: yaml

        The service wiki has no private socket to PostgreSQL:
          private_socket.absent:
            - name: wiki
            - target: /run/postgresql/.s.PGSQL.5432
    """
    try:
        changes = __salt__["private_socket.remnants"](name, target, kind)
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} has no private socket to {target}")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"the private socket to {target} would be removed")
        __salt__["private_socket.remove"](name, target, kind)
        left = __salt__["private_socket.remnants"](name, target, kind)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        return __utils__["results.failed"](name, f"removed, and still there: {', '.join(sorted(left))}", changes)
    return __utils__["results.changed"](name, changes, f"the private socket to {target} is gone")


def all_present(name, sockets):
    """
    Ensure a service has these private sockets. Others of its name stay: see ``private_socket.all_absent``.

    name
        Name of the service.

    sockets
        A list of what ``private_socket.present`` takes besides the name; an
        empty one for a service that has none.

    .. code-block:: yaml

        The service wiki has its private sockets:
          private_socket.all_present:
            - name: wiki
            - sockets:
              - target: /run/postgresql/.s.PGSQL.5432
                user: wiki
                group: postgres-clients
                daemon: postgresql@17-main.service
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: _of_all("private_socket.differences", name, sockets),
        apply=lambda: _of_all("private_socket.create", name, sockets),
        fine=f"{name} has its private sockets",
        plan=f"{name}'s private sockets would be made",
    )


def all_absent(name):
    """
    Ensure a service has no private sockets. The containers that use them should be gone before.

    name
        Name of the service.

    .. code-block:: yaml

        The service wiki has no private sockets:
          private_socket.all_absent:
            - name: wiki
    """

    def there():
        return __salt__["private_socket.undeclared"](name, [])

    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: _of_all("private_socket.remnants", name, there()),
        apply=lambda: _of_all("private_socket.remove", name, there()),
        fine=f"{name} has no private sockets",
        plan=f"{name}'s private sockets would be removed",
    )


def _of_all(function, name, sockets):
    return {thing: change for one in sockets for thing, change in __salt__[function](name, **one).items()}
