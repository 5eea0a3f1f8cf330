"""
The data of a service that goes, archived as a whole.
"""


def archived(name, home=None):
    """
    Ensure all data of a service are in archives that are proved: databases, files, keys, a Valkey of its own.

    name
        Name of the service.

    home
        Its home directory. Default: ``/opt/NAME``.

    It belongs before the states that drop data with ``data: archive``: what cannot be archived then keeps all others.
    Nobody gets in to the data any more, and a Valkey of the service's own is stopped. If it fails, no archive is left.

    .. code-block:: yaml

        Service notes has its data archived:
          service_data.archived:
            - name: notes
            - require:
              - pod: Service notes has no pod
    """
    files = []

    def differences():
        if not __opts__["test"]:  # a plan meets servers that an earlier state would start
            __salt__["service_data.require_servers"]()
        return __salt__["service_data.to_archive"](name, home)

    result = __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=differences,
        apply=lambda: files.extend(__salt__["service_data.archive"](name, home)),
        fine=f"{name} has no data that are not archived",
        plan=f"The data of {name} would be archived",
    )
    if result["result"] and files:
        result["comment"] = f"The data of {name} are archived: {', '.join(files)}"
    return result
