"""
What a host must be told by its master before anything is done there.
"""


def modules_current(name):
    """
    Fail unless this host runs the modules that its master serves. States of one tree with modules of another would do
    what nobody has tried.

    name
        A title.

    .. code-block:: yaml

        The host has its master's modules:
          fleet.modules_current:
            - failhard: true
    """
    # Without a master that it asks, salt-ssh has just brought them with the states; not those of all kinds.
    brought = __opts__["file_client"] == "local"
    wanted = None if brought else (__salt__["fleet.view"]() or {}).get("modules")
    if wanted in (None, __salt__["fleet.modules"]()):
        return __utils__["results.unchanged"](name, "The modules are those of the tree")
    return __utils__["results.failed"](
        name,
        "the master's tree has changed, and this host has the modules of the former one. On the master: "
        f"salt {__opts__['id']} saltutil.sync_all, or a roll-out (salt-run state.orchestrate orch.deploy)",
    )


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
