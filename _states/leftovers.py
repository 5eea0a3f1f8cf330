"""
The end of a change: what a service does not declare any more goes, once it is healthy without it.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError


def absent(name, service):
    """
    Ensure a service has nothing on this host that its entry does not declare any more.

    Private sockets, secrets and Valkey users are removed, a Valkey of its own is stopped, a role is locked. Data
    stay: databases, keys, directories.

    name
        Name of the service.

    service
        Its resolved entry, as ``catalogue.show NAME`` prints it.

    It belongs after ``pod.healthy``: until then the service may have to go back to what it was.

    .. code-block:: yaml

        Service notes has nothing else:
          leftovers.absent:
            - name: notes
            - service: __slot__:salt:catalogue.part(notes)
            - require:
              - pod: Service notes is healthy
    """
    try:
        changes = __salt__["leftovers.of"](name, service)
        if not changes:
            return __utils__["results.unchanged"](name, f"{name} has nothing that it does not declare")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"What {name} does not declare would be removed")
        __salt__["leftovers.remove"](name, service)
        left = __salt__["leftovers.of"](name, service)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    if left:
        return __utils__["results.failed"](name, f"removed, and still there: {', '.join(sorted(left))}", changes)
    return __utils__["results.changed"](name, changes, f"What {name} does not declare is removed")
