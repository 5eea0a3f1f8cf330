"""
A Valkey of its own for one service, and the way out.
"""


def present(name, memory=None, settings=None):
    """
    Ensure a service has a Valkey of its own, that runs now and at boot, on a socket that only the service reaches.

    name
        The service, and its own group, which must exist: a lower-case letter, then letters, digits, ``_`` and ``-``.

    memory
        MiB that data may take. Once they are used up, writes are refused,
        unless ``settings`` says otherwise. Default: 128.

    settings
        Further settings as in valkey.conf, for example
        ``{"maxmemory-policy": "allkeys-lru"}``. By default each write is logged
        to disk (``appendonly``) and nothing is evicted. What the protection of
        the socket rests on is refused.

    It is Debian's ``valkey-server@NAME.service`` with a drop-in, and listens on
    ``/run/valkey-NAME/valkey.sock`` (directory valkey:NAME 2750) and nowhere
    else. The directory survives restarts, so running containers keep it. Salt
    has an administrator there with a secret of its own; the service's user is
    made by ``valkey_user.present`` with ``isolation: instance``.

    Compares live facts and restarts only for what takes a restart. Fails if
    there is an instance of this name that somebody else has made.

    .. code-block:: yaml

        wiki has a Valkey of its own:
          valkey_instance.present:
            - name: wiki
            - memory: 64
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["valkey_instance.differences"](name, memory, settings),
        apply=lambda: __salt__["valkey_instance.apply"](name, memory, settings),
        fine=f"{name} has a Valkey of its own",
    )


def stopped(name):
    """
    Ensure a service's own Valkey does not run, neither now nor at boot. Its files and data stay.

    name
        The service.

    An instance that somebody else has made is left alone.

    .. code-block:: yaml

        wiki's own Valkey is stopped:
          valkey_instance.stopped:
            - name: wiki
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["valkey_instance.running"](name),
        apply=lambda: __salt__["valkey_instance.stop"](name),
        fine=f"No Valkey of {name}'s own runs",
    )


def absent(name, data="keep"):
    """
    Ensure a service has no Valkey of its own: unit, configuration, users and socket directory are gone.

    name
        The service.

    data
        What becomes of ``/var/lib/valkey-NAME``. ``keep`` (default): it stays,
        for an instance of the same name to start with. ``delete``: it is
        deleted. ``archive``: a server reads it as a proof, an archive below
        ``/var/lib/rick-infra/archive/NAME`` is made and read back, and then it
        is deleted; ``valkey_instance.restore NAME FILE`` brings it back.

    An instance that somebody else has made is left alone.

    .. code-block:: yaml

        wiki has no Valkey of its own any more:
          valkey_instance.absent:
            - name: wiki
            - data: archive
    """
    archives = []
    result = __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["valkey_instance.remnants"](name, data),
        apply=lambda: archives.append(__salt__["valkey_instance.remove"](name, data)),
        fine=f"{name} has no Valkey of its own",
    )
    for path in filter(None, archives):
        result["changes"]["archive"] = {"old": None, "new": path}
    return result
