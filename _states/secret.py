"""
Secrets that a service needs: there, and in Podman's hands. No result ever shows a value.

Names keep services and kinds apart: ``SERVICE.SECRET`` is a secret,
``SERVICE.CONTAINER.VARIABLE`` a value composed of secrets and text. What has
such a name and is declared no more is for ``leftovers.absent`` to remove.
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


def all_present(name, secrets=None):
    """
    Ensure a service has the given secrets, each in its root-only file and with the same value in Podman.

    A generated one is made at first use and stays, whatever becomes of length
    and alphabet; ``salt-call secret.renew`` replaces it. One from the pillar or
    a file follows its source. Any value arrives unchanged.

    name
        Name of the service.

    secrets
        A list of mappings: ``name`` (``SERVICE.SECRET``) and one of ``generate``
        (``length`` in characters, by default 43; ``alphabet``: ``urlsafe``, the
        default, ``hex``, ``letters``, ``digits``, ``alphanumeric``, or the
        characters themselves), ``pillar`` (path, keys separated by colons; a
        value ``sdb://...`` is looked up) and ``file`` (absolute path; only root
        may be able to read it). Those for the databases are among them.

    .. code-block:: yaml

        Notes has its secrets:
          secret.all_present:
            - name: notes
            - secrets:
                - name: notes.token
                  generate: {length: 32, alphabet: hex}
                - name: notes.smtp
                  pillar: smtp:password
    """
    return _converge("all", name, secrets, f"The secrets of service {name}")


def values_present(name, values=None):
    """
    Ensure Podman has the given composed values of a service, as secrets for environment variables.

    Compared by value: one that is right is not touched, since its container
    would restart.

    name
        Name of the service.

    values
        A list of mappings: ``name`` (``SERVICE.CONTAINER.VARIABLE``) and
        ``parts``, a list of ``text``, or ``secret`` (``SERVICE.SECRET``) with
        ``encode: url`` if it becomes part of a URL.

    .. code-block:: yaml

        Notes knows how to log in:
          secret.values_present:
            - name: notes
            - values:
                - name: notes.web.REDIS_URL
                  parts:
                    - text: "redis://notes:"
                    - secret: notes.valkey
                      encode: url
                    - text: "@localhost"
    """
    return _converge("values", name, values, f"The composed values of service {name}")


def all_absent(name, keep_files=False):
    """
    Ensure a service has no secrets and no composed values.

    name
        Name of the service.

    keep_files
        True: only Podman forgets them. The files stay, for root alone, and a
        service of that name finds the same secrets again.

    .. code-block:: yaml

        Notes has no secrets any more:
          secret.all_absent:
            - name: notes
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["secret.all_remnants"](name, keep_files),
        apply=lambda: __salt__["secret.all_remove"](name, keep_files),
        fine=f"There are no secrets of service {name}",
        plan=f"The secrets of service {name} would be removed",
        done=f"The secrets of service {name} are removed",
    )


def _converge(kind, name, declared, what):
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__[f"secret.{kind}_differences"](name, declared or []),
        apply=lambda: __salt__[f"secret.{kind}_apply"](name, declared or []),
        fine=f"{what} are there and delivered",
        plan=f"{what} would be made or delivered",
    )
