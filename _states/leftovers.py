"""
The end of a change: what a service does not declare any more goes, once it is healthy without it.
"""


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
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["leftovers.of"](name, service),
        apply=lambda: __salt__["leftovers.remove"](name, service),
        fine=f"{name} has nothing that it does not declare",
        plan=f"What {name} does not declare would be removed",
        done=f"What {name} does not declare is removed",
    )
