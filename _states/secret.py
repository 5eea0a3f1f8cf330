"""
Secrets that a service needs: there, and in Podman's hands. No result ever shows a value.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError


def present(name):
    """
    Ensure a secret exists on this host and that Podman has its present value.

    name
        Name of the secret, and of the Podman secret that containers ask for
        with ``Secret=NAME,...``. Made on this host at first use; to set one,
        write it to ``salt-call secret.path NAME`` (root, 0600), to renew one,
        delete that file, and apply the state.

    .. code-block:: yaml

        Notes has a password for Valkey:
          secret.present:
            - name: valkey-notes
    """
    try:
        exists = __salt__["secret.exists"](name)
        delivered = exists and __salt__["secret.delivered"](name)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    changes = {}
    if not exists:
        changes["file"] = {"old": "absent", "new": "made"}
    if not delivered:
        changes["podman"] = {"old": "absent or another value", "new": "delivered"}
    if not changes:
        return __utils__["results.unchanged"](name, f"Secret {name} is there and delivered")
    if __opts__["test"]:
        return __utils__["results.planned"](name, changes, f"Secret {name} would be made or delivered")
    try:
        __salt__["secret.make"](name)
        __salt__["secret.deliver"](name)
        delivered = __salt__["secret.delivered"](name)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    if not delivered:
        return __utils__["results.failed"](name, f"Podman took secret {name}, yet has another value")
    return __utils__["results.changed"](name, changes, f"Secret {name} is there and delivered")


def absent(name):
    """
    Ensure neither this host nor Podman has the secret.

    name
        Name of the secret.

    .. code-block:: yaml

        Notes has no password for Valkey any more:
          secret.absent:
            - name: valkey-notes
    """
    try:
        changes = {}
        if __salt__["secret.exists"](name):
            changes["file"] = {"old": "there", "new": "absent"}
        if __salt__["secret.in_podman"](name):
            changes["podman"] = {"old": "there", "new": "absent"}
        if not changes:
            return __utils__["results.unchanged"](name, f"There is no secret {name}")
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"Secret {name} would be removed")
        __salt__["secret.remove"](name)
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    return __utils__["results.changed"](name, changes, f"Secret {name} is removed")
