"""
Accounts of services: a system user that owns what its service owns, and may nothing else.

The user cannot log in. Its comment says which service it belongs to, and
accounts without that comment are never touched.
"""


def present(name, uid=None, home=None, groups=None, directories=None):
    """
    Ensure a service has its user, its group, its home and its directories.

    Fails if a user or group of that name exists that is not the service's, if
    the uid is another account's, if the home holds somebody else's files, or if
    a symbolic link leads there. An account that ``account.absent`` locked is
    unlocked.

    name
        Name of the service, its user and its group.

    uid
        Number of the user. Default: a free one of the system's. It does not
        change afterwards, because files belong to it.

    home
        Home directory, ``root:NAME`` 0750: the service reads it, and writes
        only below its directories. Default: ``/opt/NAME``.

    groups
        Exactly the other groups that the user is in, by name. Default: none.

    directories
        A list of mappings: ``path``, ``owner`` (name or number, by default the
        service's user), ``group`` (likewise) and ``mode`` (octal, by default
        ``"0750"``). What is in them is not touched.

    .. code-block:: yaml

        Notes has an account:
          account.present:
            - name: notes
            - groups: [postgres-clients]
            - directories:
                - path: /opt/notes/data
                  owner: notes
    """
    given = (name, uid, home, groups, directories)
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["account.differences"](*given),
        apply=lambda: __salt__["account.create"](*given),
        fine=f"The account {name} is as declared",
        plan=f"The account {name} would be made or repaired",
    )


def absent(name, home=None, data="keep"):
    """
    Ensure a service's account cannot be used any more, or is gone.

    Fails, and changes nothing, while processes run as the user. A user of that
    name that is not the service's is left alone.

    name
        Name of the service, its user and its group.

    home
        Its home directory. Default: ``/opt/NAME``.

    data
        ``keep``: the account is locked and leaves its groups, files stay.
        ``archive``: the home goes into ``/var/lib/rick-infra/archive/NAME``, and
        once the archive has been read back and compared, home, user and group
        are deleted. ``delete``: they are deleted.

    .. code-block:: yaml

        Notes has no account any more:
          account.absent:
            - name: notes
            - data: archive
    """
    ends = {"keep": "locked", "archive": "removed, with its files in an archive", "delete": "deleted"}
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["account.remnants"](name, home, data),
        apply=lambda: __salt__["account.remove"](name, home, data),
        fine=f"No account of service {name} can be used on this host",
        plan=f"The account {name} would be {ends.get(data)}",
        done=f"The account {name} is {ends.get(data)}",
    )
