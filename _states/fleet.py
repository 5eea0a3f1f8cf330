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


def view_complete(name):
    """
    Fail unless the master could tell this host all of what it must be: it has a role, and no file of the site is left
    out. A setting, site or login that is missing only because somebody mistyped a file must not be taken away.

    name
        A title.

    A host without a master has none of this; what is wrong with its entries, ``catalogue.valid`` says.

    .. code-block:: yaml

        The host knows what it must be:
          fleet.view_complete:
            - failhard: true
    """
    problems = __salt__["fleet.problems"]() if __salt__["fleet.view"]() is not None else []
    if problems:
        return __utils__["results.failed"](name, "\n".join(problems))
    return __utils__["results.unchanged"](name, f"This host is {' and '.join(__salt__['fleet.roles']())}")
