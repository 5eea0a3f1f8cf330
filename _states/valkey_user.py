"""
Valkey users of services: in the ACL file, which is their only source, and in the running server.
"""


def present(name, user=None):
    """
    Ensure a service's user exists with exactly its rules, in the ACL file and in the running server.

    name
        The service, and the user: a letter or underscore, then letters, digits and ``_.-``.

    user
        Mapping, all of it optional:

        ``isolation``
            ``prefix`` (default): a user of the Valkey that all share, for the
            keys and channels of its prefix. ``instance``: a user of the
            service's own, which ``valkey_instance.present`` makes before, for
            all keys.
        ``prefix``
            What keys and channels begin with, taken literally. Default:
            ``NAME:``. One that begins as another user's, or the other way
            round, is refused.
        ``commands``
            Rules in order, added to what applications may do anyway
            (``valkey_acl.SHARED_COMMANDS``, ``.INSTANCE_COMMANDS``), for example
            ``["+scan"]``, or ``["-@all", "+@read"]`` for nothing but reading. What
            would give away users, settings or other services' keys is refused.
        ``secret``
            Name of the secret with the password, at least 16 characters; the
            server gets its SHA-256 only. Default: ``NAME.valkey``. It is made if
            it is missing.

        What else the catalogue says of the service's Valkey may be there.

    A user that has moved to an instance is removed from the shared Valkey. Its
    keys there stay.

    .. code-block:: yaml

        notes has its part of Valkey:
          valkey_user.present:
            - name: notes
            - user:
                prefix: "notes:"
                commands: [+scan]
            - require:
              - valkey: Valkey runs with its settings
    """

    def differences():
        if not __opts__["test"]:  # a plan meets servers that an earlier state would start
            __salt__["valkey.reachable"](name if (user or {}).get("isolation") == "instance" else None)
        return __salt__["valkey_user.differences"](name, user)

    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=differences,
        apply=lambda: __salt__["valkey_user.apply"](name, user),
        fine=f"User {name} has its rules",
    )


def absent(name, data="keep", prefix=None):
    """
    Ensure a service has no user in the shared Valkey. Its connections are closed; its secret file stays.

    name
        The user.

    data
        What becomes of the keys with its prefix, in all numbered databases.
        ``keep`` (default): they stay. ``delete``: they are deleted.
        ``archive``: they are written to a file below
        ``/var/lib/rick-infra/archive/NAME`` that only root can read, each is
        restored once from it as a proof, and then they are deleted.
        ``valkey_user.restore NAME FILE`` brings them back.

    prefix
        The prefix of keys whose user is gone already. Default: ``NAME:``. Of a
        user that is still there its line in the ACL file tells it.

    With ``delete`` and ``archive`` each run looks through all keys of the
    server for those with the prefix.

    .. code-block:: yaml

        notes has left Valkey:
          valkey_user.absent:
            - name: notes
            - data: archive
    """
    archives = []

    def differences():
        if data != "keep" and not __opts__["test"]:
            __salt__["valkey.reachable"]()  # or nobody could say whether there are keys
        return __salt__["valkey_user.remnants"](name, data, prefix)

    result = __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=differences,
        apply=lambda: archives.append(__salt__["valkey_user.remove"](name, data, prefix)),
        fine=f"User {name} does not exist",
    )
    if archives and archives[0] and "keys" in result["changes"]:
        result["changes"]["keys"]["new"] = f"archived: {archives[0]}"
    return result
