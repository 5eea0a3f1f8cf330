"""
What a host must be told by its master before anything is done there.
"""


def role_present(name):
    """
    Fail unless this host has a role: without one there is nothing to do, and nobody would notice.

    name
        A title.

    .. code-block:: yaml

        The host has a role:
          fleet.role_present: []
    """
    roles = __salt__["fleet.roles"]()
    if roles:
        return __utils__["results.unchanged"](name, f"This host is {' and '.join(roles)}")
    return __utils__["results.failed"](name, "\n".join(__salt__["fleet.problems"]()))
