"""
Valkey over its Unix socket: whether it answers, how it is configured, who administers it, and how to change that.

Users live in ``/etc/valkey/users.acl`` and nowhere else. Salt logs in as the
user ``rick-infra``, whose password is in
``/var/lib/rick-infra/secrets/valkey-administrator`` and is never shown. If
that file is lost, ``valkey.administrator_present`` makes another one.

Applications' users are the business of ``valkey_user``, servers of their own
that of ``valkey_instance``. With ``instance=NAME`` the functions here speak of
the instance of the service NAME, otherwise of the Valkey that all share.
"""

import grp
import pwd
import secrets
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

ACL_FILE_MODE = "0640"  # the daemon's own, since ACL LOAD runs as the daemon
SERVERS = "valkey.servers"  # what a run keeps of each server: its connection and what it has been told
TIMEOUT = 30  # seconds for the three commands of a round trip
ROUND_TRIP_EXPIRY = 60  # seconds; should a probe die between writing its key and deleting it


def server(instance=None):
    """
    Return how the server stands: ``{"answers": bool, "administrator": bool}``.

    ``answers``: somebody listens on the socket. ``administrator``: Salt's user
    can log in.

    Raises CommandExecutionError if the socket cannot be used for another
    reason than that nobody listens.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.server
        salt-call valkey.server instance=wiki
    """
    state = _server(instance).state()
    return {"answers": state != "absent", "administrator": state == "open"}


def reachable(instance=None):
    """
    Return True if Salt can log in to the server.

    Raises CommandExecutionError that names what has to come before.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.reachable
    """
    _server(instance).require()
    return True


def ping(instance=None):
    """
    Return True if the server answers Salt's user, False if nobody listens on the socket.

    Raises CommandExecutionError if the login is refused.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.ping
    """
    return _server(instance).state() != "absent" and bool(_server(instance).ask("PING"))


def info(section=None, instance=None):
    """
    Return what ``INFO`` says, ``{field: value}``, values as text.

    section
        For example ``memory``, ``persistence`` or ``clients``. Default: Valkey's choice of sections.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.info memory
        salt-call valkey.info memory instance=wiki
    """
    text = _server(instance).ask("INFO", *([section] if section else []))
    pairs = [line.partition(":") for line in text.splitlines() if line and not line.startswith("#")]
    return {field: value for field, _, value in pairs}


def users(instance=None):
    """
    Return the users the server has loaded, ``{name: ACL line}``, password hashes masked.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.users
    """
    return {name: __utils__["valkey_acl.masked"](line) for name, line in _server(instance).loaded().items()}


def load(instance=None):
    """
    Make the server read its ACL file: all of it or, if one line is wrong, none of it.

    Raises CommandExecutionError with the server's words, which name the line.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.load
    """
    _server(instance).load()
    return True


def administrator_differences(instance=None):
    """
    Return what keeps Salt's user from being as it must be, ``{}`` if nothing.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.administrator_differences
    """
    running, changes = _server(instance), {}
    place = running.place
    password = __utils__["secret_files.read"](place["secret_file"])
    if password is None:
        changes["secret"] = {"old": None, "new": place["secret_file"]}
    declared = running.declared()
    wanted = __utils__["valkey_acl.administrator_lines"](password or secrets.token_urlsafe())
    stale = [name for name, line in wanted.items() if declared.get(name) != line]
    right = f"{place['account']}:{_group_of(place['account'])} {ACL_FILE_MODE}"
    if stale:
        changes["file"] = {"old": f"{place['acl_file']} without the right {' and '.join(stale)}", "new": "with them"}
    elif _access(place["acl_file"]) != right:
        changes["file"] = {"old": _access(place["acl_file"]), "new": right}
    state = running.state()
    if state == "absent":
        return changes
    if state == "refused":
        changes["server"] = {"old": "refuses the administrator", "new": "restarted"}
        return changes
    loaded = running.loaded()
    wrong = [name for name, line in wanted.items() if loaded.get(name) != line]
    wrong += [name for name in loaded if name not in declared and name not in wanted]
    if wrong:
        changes["loaded"] = {"old": f"other than in the file: {', '.join(sorted(wrong))}", "new": "as in the file"}
    return changes


def administrator_apply(instance=None):
    """
    Make Salt's user exist: its secret, its line in the ACL file and, if a server runs, its login.

    Needs no running server. One that refuses the login is restarted, since nobody else may tell it to read the file.
    Users that only the server knows are removed.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.administrator_apply
    """
    running = _server(instance)
    place = running.place
    state = running.state()
    password = __utils__["secret_files.read"](place["secret_file"])
    if password is None:
        password = __utils__["secret_files.create"](place["secret_file"])
    wanted = {**running.declared(), **__utils__["valkey_acl.administrator_lines"](password)}
    if state == "open":
        running.change(wanted)
        return True
    running.write(wanted)
    if state == "refused":
        __utils__["units.act"]("restart", [place["unit"]])
        if running.state() != "open":
            raise CommandExecutionError(
                f"{place['title']}: restarted, and still refuses the user {__utils__['valkey_acl.administrator']()}: "
                f"does {place['config_file']} name the ACL file?"
            )
    return True


def settings_differences(settings, instance=None):
    """
    Return which settings of the running server are not as given, ``{setting: {"old": running, "new": given}}``.

    settings
        ``{setting: value}`` as in valkey.conf; true and false are yes and no, sizes may have units (``64mb``).

    Raises SaltInvocationError for a setting this server does not have.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.settings_differences '{"maxmemory": "64mb"}'
    """
    answer = _server(instance).ask("CONFIG", "GET", "*")
    running = dict(zip(answer[::2], answer[1::2], strict=True))
    settings = __utils__["valkey_settings.plain"](settings)
    unknown = [setting for setting in settings if setting not in running]
    if unknown:
        raise SaltInvocationError(f"valkey: this server knows no setting {', '.join(unknown)} (valkey.conf, settings)")
    return {
        setting: {"old": running[setting], "new": value}
        for setting, value in settings.items()
        if not __utils__["valkey_settings.equal"](value, running[setting])
    }


def settings_apply(settings, instance=None):
    """
    Bring settings into effect: while the server runs where that is possible, otherwise by restarting it once.

    settings
        ``{setting: value}``, which the configuration file must already hold for those that need a restart.

    Raises CommandExecutionError that names the setting which the server refuses, or which needs a restart but is not in
    the file; then the server has not been restarted.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.settings_apply '{"maxmemory": "64mb"}'
    """
    place = _server(instance).place
    settings = __utils__["valkey_settings.plain"](settings)
    kept = __utils__["valkey_settings.parse"](__utils__["textfile.read"](place["config_file"]) or "")
    needs_restart = [setting for setting in settings if __utils__["valkey_settings.needs_restart"](setting)]
    for setting in needs_restart:
        if not __utils__["valkey_settings.equal"](settings[setting], kept.get(setting, "")):
            raise CommandExecutionError(
                f"{place['title']}: {setting} {settings[setting]} needs a restart, which does not help while "
                f"{place['config_file']} says {kept.get(setting, 'nothing about it')}"
            )
    for setting, value in settings.items():
        if setting not in needs_restart:
            _server(instance).ask("CONFIG", "SET", setting, value)
    if needs_restart:
        __utils__["units.act"]("restart", [place["unit"]])
    return True


def round_trip(user, secret_file, key=None, socket=None):
    """
    Write, read and delete a key as a service would, and return True: the socket, the login and the rules all allow it.

    user
        The system user whose ids open the socket, and the Valkey user of the same name who logs in.

    secret_file
        Where the password is (``secret.path``).

    key
        Default: ``USER:round-trip``. It must not exist.

    socket
        Default: the one that all share.

    Raises CommandExecutionError that says which of the steps was refused.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.round_trip notes /var/lib/rick-infra/secrets/notes.valkey
    """
    password = __utils__["secret_files.read"](secret_file)
    if password is None:
        raise CommandExecutionError(f"valkey user {user}: there is no secret file {secret_file}")
    key = key or f"{user}:round-trip"
    value = secrets.token_hex()
    socket = socket or __utils__["valkey_places.place"]()["socket"]
    client = __utils__["valkey_server.client"](socket, user, password)  # connects when first used, so in the child

    def steps():
        if not client.ask("SET", key, value, "NX", "EX", ROUND_TRIP_EXPIRY):
            raise CommandExecutionError(f"valkey key {key}: exists already, so it is not taken for a round trip")
        read = client.ask("GET", key)
        client.ask("DEL", key)
        if read != value:
            raise CommandExecutionError(f"valkey key {key}: another value came back than was written")
        return True

    return __utils__["run_as.call"](user, steps, TIMEOUT)


def _server(instance):
    place = __utils__["valkey_places.place"](instance)
    tools = {name: __utils__[name] for name in __utils__["valkey_server.tools"]()}
    return __utils__["valkey_server.server"](place, tools, __context__.setdefault(SERVERS, {}))


def _group_of(account):
    """The account's own group; Debian's package makes one of the same name."""
    try:
        return grp.getgrgid(pwd.getpwnam(account).pw_gid).gr_name
    except KeyError:
        return account


def _access(path):
    """Owner, group and mode of the ACL file, None if there is no such file or a number nobody has a name for."""
    try:
        status = Path(path).stat(follow_symlinks=False)
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except (FileNotFoundError, KeyError):
        return None
    return f"{owner}:{group} {status.st_mode & 0o7777:04o}"
