"""
Valkey's users and settings: in its files and in the running server, compared at each run.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

NOT_RUNNING = (
    "Valkey does not listen on its socket: the state that runs valkey-server.service must come before this one"
)

LOCKED_OUT = "Valkey refuses Salt's user: the state valkey.administrator_present must come before this one"


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
    return _converge(
        name,
        differences=__salt__["valkey.administrator_differences"],
        apply=__salt__["valkey.administrator_apply"],
        fine="The administrator can log in, the default user cannot",
    )


def user_present(name, keys=None, channels=None, commands=None, secret_file=None):
    """
    Ensure an application's user exists with exactly these rules, in the ACL file and in the running server.

    name
        The user: a letter or underscore, then letters, digits and ``_.-``.

    keys
        Key patterns; ``%R~PATTERN`` is read only, ``%W~PATTERN`` write only. Default: ``["NAME:*"]``.

    channels
        Channel patterns for publish and subscribe. Default: ``["NAME:*"]``; an empty list allows none.

    commands
        Rules in order. Default: everything except what is dangerous or reaches
        other applications (``valkey_acl.APPLICATION_COMMANDS``): INFO, KEYS,
        SORT, SCAN, RANDOMKEY, FUNCTION and PUBSUB among it. Replaces the
        default, so give all rules: ``["+@all", "-@dangerous", "+info"]``.

    secret_file
        File with the password (root, 0600; at least 16 characters). The server
        gets its SHA-256 only. Default:
        ``/var/lib/rick-infra/secrets/valkey-NAME``. One in that directory is
        made if it is missing, any other must be there.

    .. code-block:: yaml

        notes has its part of Valkey:
          valkey.user_present:
            - name: notes
            - keys: ["notes:*"]
            - require:
              - valkey: Valkey runs with its settings
    """
    arguments = {"keys": keys, "channels": channels, "commands": commands, "secret_file": secret_file}
    return _converge(
        name,
        differences=lambda: __salt__["valkey.user_differences"](name, **arguments),
        apply=lambda: __salt__["valkey.user_apply"](name, **arguments),
        fine=f"User {name} has its rules",
        needs_server=True,
    )


def user_absent(name):
    """
    Ensure a user is neither in the ACL file nor in the running server. Its keys and its secret file stay.

    name
        The user.

    .. code-block:: yaml

        notes has left Valkey:
          valkey.user_absent:
            - name: notes
    """

    def differences():
        places = __salt__["valkey.user_exists"](name)
        return {name: {"old": f"in the {' and the '.join(places)}", "new": None}} if places else {}

    return _converge(
        name,
        differences=differences,
        apply=lambda: __salt__["valkey.user_remove"](name),
        fine=f"User {name} does not exist",
        needs_server=True,
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
              - service: Valkey runs
    """

    def differences():
        return __salt__["valkey.settings_differences"](settings)

    def apply():
        changed = differences()
        __salt__["valkey.settings_apply"]({setting: change["new"] for setting, change in changed.items()})

    # A plan meets a server that is not there yet, or that the administrator's state would restart first.
    if __opts__["test"] and not __salt__["valkey.server"]()["administrator"]:
        return __utils__["results.unchanged"](name, "The server will read its settings when it starts")
    return _converge(
        name, differences=differences, apply=apply, fine="The running server has its settings", needs_server=True
    )


def _converge(name, differences, apply, fine, needs_server=False):
    """Read, plan, gate, act, read back."""
    try:
        if needs_server and not __opts__["test"]:
            server = __salt__["valkey.server"]()
            if not server["administrator"]:
                return __utils__["results.failed"](name, LOCKED_OUT if server["answers"] else NOT_RUNNING)
        changes = differences()
        if not changes:
            return __utils__["results.unchanged"](name, fine)
        if __opts__["test"]:
            return __utils__["results.planned"](name, changes, f"Would change: {', '.join(changes)}")
        apply()
        remaining = differences()
    except (CommandExecutionError, SaltInvocationError) as error:
        return __utils__["results.failed"](name, str(error))
    if remaining:
        told = "; ".join(f"{what} is {change['old']!r}, not {change['new']!r}" for what, change in remaining.items())
        return __utils__["results.failed"](name, f"Changed, but still different: {told}", changes)
    return __utils__["results.changed"](name, changes, fine)
