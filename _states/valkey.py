"""
Valkey's administrator and settings: in its files and in the running server, compared at each run.
"""


def administrator_present(name):
    """
    Ensure that Salt can log in to Valkey, that nobody can without a name, and that users come from the ACL file only.

    name
        A title. The user is called ``rick-infra``.

    Belongs before the daemon's first start: then only the secret
    (``/var/lib/rick-infra/secrets/valkey-administrator``) and
    ``/etc/valkey/users.acl`` are written, and the server begins with the
    ``default`` user off. On a running server users that the file does not have
    are removed. If the secret was lost, a new one is made, and as nobody can
    log in to have the file read, the server is restarted.

    .. code-block:: yaml

        Valkey's users come from its ACL file:
          valkey.administrator_present:
            - require:
              - pkg: Valkey is installed
    """
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=__salt__["valkey.administrator_differences"],
        apply=__salt__["valkey.administrator_apply"],
        fine="The administrator can log in, the default user cannot",
    )


def settings_applied(name, settings):
    """
    Ensure the running server works with these settings, whatever it was started with.

    name
        A title.

    settings
        The mapping that valkey.conf is rendered from. Changed settings are set
        in the running server; if one of them can only be read at start, the
        server is restarted once.

    A server that does not run yet has nothing to apply: it will start with the
    file. No ``watch`` or ``onchanges`` is needed, since what counts is what
    ``CONFIG GET`` says now.

    .. code-block:: yaml

        Valkey runs with its settings:
          valkey.settings_applied:
            - settings: {{ valkey.settings | json }}
            - require:
              - daemon: Valkey runs
    """

    def differences():
        __salt__["valkey.reachable"]()
        return __salt__["valkey.settings_differences"](settings)

    def apply():
        changed = differences()
        __salt__["valkey.settings_apply"]({setting: change["new"] for setting, change in changed.items()})

    # A plan meets a server that is not there yet, or that the administrator's state would restart first.
    if __opts__["test"] and not __salt__["valkey.server"]()["administrator"]:
        return __utils__["results.unchanged"](name, "The server will read its settings when it starts")
    return __utils__["results.converge"](
        name, __opts__["test"], differences, apply, fine="The running server has its settings"
    )
