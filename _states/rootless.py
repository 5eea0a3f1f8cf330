"""
Rootless Podman: what an earlier set-up left, reported; removed for the users that the pillar names.
"""

from salt.exceptions import CommandExecutionError


def absent(name, users=()):
    """
    Ensure nothing is left of rootless Podman for ``users``; warn about what others have.

    name
        A title.

    users
        Names of users whose rootless Podman is removed, container storage
        included. Nothing is removed for anybody else.

    .. code-block:: yaml

        Rootless Podman is gone:
          rootless.absent:
            - users: [olduser]
    """
    found = __salt__["rootless.leftovers"]()
    changes = {user: {"old": left, "new": []} for user, left in found.items() if user in users}
    warnings = [
        f"rootless Podman of user {user} is still here: {', '.join(left)}; "
        f"to remove it, add {user} to rick:podman:remove_rootless"
        for user, left in found.items()
        if user not in users
    ]
    if not changes:
        result = __utils__["results.unchanged"](name, "Nothing of rootless Podman to remove")
    elif __opts__["test"]:
        result = __utils__["results.planned"](name, changes, f"Would be removed: {', '.join(changes)}")
    else:
        try:
            for user in changes:
                __salt__["rootless.remove"](user)
            remaining = {user: left for user, left in __salt__["rootless.leftovers"]().items() if user in users}
            problem = "; ".join(f"{user} still {', '.join(left)}" for user, left in remaining.items())
        except CommandExecutionError as error:
            problem = str(error)
        if problem:
            result = __utils__["results.failed"](name, problem)
        else:
            result = __utils__["results.changed"](name, changes, f"Removed: {', '.join(changes)}")
    if warnings:
        result["warnings"] = warnings
    return result
