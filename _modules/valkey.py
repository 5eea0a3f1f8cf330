"""
Valkey over its Unix socket: who its users are, how it is configured, and how to change both while it runs.

Users live in ``/etc/valkey/users.acl`` and nowhere else. Salt logs in as the
user ``rick-infra``, whose password is in
``/var/lib/rick-infra/secrets/valkey-administrator`` and is never shown. If
that file is lost, ``valkey.administrator_present`` makes another one.

Applications each get a user of their own, bound to a key prefix. What a prefix
does not cover: a user who may ``SCAN`` sees the names (not the values) of all
keys, so SCAN is not among the default rules; ``DBSIZE`` and ``INFO`` speak of
everybody; memory and time are shared. An application that cannot do without
such a command gets it added to its ``commands``, for example ``+scan``.
"""

import grp
import os
import pwd
import secrets
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

ACL_FILE = "/etc/valkey/users.acl"
CONFIG_FILE = "/etc/valkey/valkey.conf"
ACL_FILE_ACCESS = "valkey:valkey 0640"  # the daemon's own, since ACL SAVE and ACL LOAD run as the daemon
ACCOUNT = "valkey"  # the daemon's user
SECRET = "valkey-administrator"  # noqa: S105 - the name of a file
UNIT = "valkey-server.service"
TIMEOUT = 30  # seconds for the three commands of a round trip
ROUND_TRIP_EXPIRY = 60  # seconds; should a probe die between writing its key and deleting it


def server():
    """
    Return how the server stands: ``{"answers": bool, "administrator": bool}``.

    ``answers``: somebody listens on the socket. ``administrator``: Salt's user
    can log in.

    Raises CommandExecutionError if the socket cannot be used for another
    reason than that nobody listens.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.server
    """
    if not __utils__["valkey_server.listens"]():
        return {"answers": False, "administrator": False}
    return {"answers": True, "administrator": _administrator_client() is not None}


def ping():
    """
    Return True if the server answers Salt's user, False if nobody listens on the socket.

    Raises CommandExecutionError if the login is refused.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.ping
    """
    return __utils__["valkey_server.listens"]() and bool(_ask("PING"))


def info(section=None):
    """
    Return what ``INFO`` says, ``{field: value}``.

    section
        For example ``memory``, ``persistence`` or ``clients``. Default: Valkey's choice of sections.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.info memory
    """
    return _ask("INFO", *([section] if section else []))


def users():
    """
    Return the users the server has loaded, ``{name: ACL line}``, password hashes masked.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.users
    """
    return {name: __utils__["valkey_acl.masked"](line) for name, line in _loaded().items()}


def load():
    """
    Make the server read its ACL file: all of it or, if one line is wrong, none of it.

    Raises CommandExecutionError with the server's words, which name the line.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.load
    """
    _ask("ACL", "LOAD")
    return True


def user_differences(name, keys=None, channels=None, commands=None, secret_file=None):
    """
    Return what would have to change for a user to be as given, ``{}`` if nothing.

    name, keys, channels, commands, secret_file
        As in the state ``valkey.user_present``.

    The keys of the result are ``secret`` (there is no such file yet), ``line``
    (the rules in the ACL file), ``password`` and ``loaded`` (the server has
    something else than the ACL file would say). If the server cannot be asked,
    the file alone decides, because a server that starts reads it.

    Raises SaltInvocationError for rules that cannot be, and
    CommandExecutionError if a file or the server cannot be read.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.user_differences notes
    """
    path = _secret_path(name, secret_file)
    password = __utils__["secret_files.read"](path)
    if password is None:
        # A stand-in of the same form: it lets the rules be checked and cannot be mistaken for a password in use.
        line = __utils__["valkey_acl.line"](name, secrets.token_urlsafe(), keys, channels, commands)
        changes = {"secret": {"old": None, "new": path}, **_line_differences(name, line)}
        changes.pop("loaded", None)
        return changes
    return _line_differences(name, __utils__["valkey_acl.line"](name, password, keys, channels, commands))


def user_apply(name, keys=None, channels=None, commands=None, secret_file=None):
    """
    Make a user be as given, in the server and in the ACL file. The server judges the rules first.

    Arguments as in the state ``valkey.user_present``. Other users and open
    connections stay as they are.

    Raises CommandExecutionError if the server refuses a rule, or understands
    it differently than it is written; then nothing has changed.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.user_apply notes keys='["notes:*"]'
    """
    path = _secret_path(name, secret_file)
    password = __utils__["secret_files.read"](path)
    if password is None:
        if Path(path).parent != Path(__utils__["secret_files.directory"]()):
            raise CommandExecutionError(
                f"valkey user {name}: there is no secret file {path}; write it before, "
                f"or leave secret_file out to have a secret made in {__utils__['secret_files.directory']()}"
            )
        __utils__["valkey_acl.line"](name, secrets.token_urlsafe(), keys, channels, commands)  # bad rules: no secret
        password = __utils__["secret_files.create"](path)
    line = __utils__["valkey_acl.line"](name, password, keys, channels, commands)
    _set_user(name, line)
    understood = _loaded().get(name)
    if understood != line:
        load()  # the file still says what was before
        raise CommandExecutionError(
            f"valkey user {name}: the server rewrites the rules; write them as it does: "
            f"{__utils__['valkey_acl.masked'](understood)}"
        )
    _write({**_declared(), name: line})
    return True


def user_exists(name):
    """
    Return where a user exists: a list with ``file`` (the ACL file), ``server``, both or neither.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.user_exists notes
    """
    __utils__["valkey_acl.check_name"](name)
    places = ["file"] if name in _declared() else []
    if server()["administrator"] and name in _loaded():
        places.append("server")
    return places


def user_remove(name):
    """
    Remove a user from the server, which closes its connections, and from the ACL file.

    The user's keys and secret file stay: the first may be wanted back, the second belongs to whoever made it.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.user_remove notes
    """
    __utils__["valkey_acl.check_name"](name)
    _ask("ACL", "DELUSER", name)
    users_left = _declared()
    if users_left.pop(name, None):
        _write(users_left)
    return True


def administrator_differences():
    """
    Return what keeps Salt's user from being as it must be, ``{}`` if nothing.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.administrator_differences
    """
    changes = {}
    path = _administrator_path()
    password = __utils__["secret_files.read"](path)
    if password is None:
        changes["secret"] = {"old": None, "new": path}
    declared = _declared()
    wanted = __utils__["valkey_acl.administrator_lines"](password or secrets.token_urlsafe())
    stale = [name for name, line in wanted.items() if declared.get(name) != line]
    if stale:
        changes["file"] = {"old": f"{ACL_FILE} without the right {' and '.join(stale)}", "new": "with them"}
    elif _access() != ACL_FILE_ACCESS:
        changes["file"] = {"old": _access(), "new": ACL_FILE_ACCESS}
    if not __utils__["valkey_server.listens"]():
        return changes
    if _administrator_client() is None:
        changes["server"] = {"old": "refuses the administrator", "new": "restarted"}
        return changes
    loaded = _loaded()
    wrong = [name for name, line in wanted.items() if loaded.get(name) != line]
    wrong += [name for name in loaded if name not in declared and name not in wanted]
    if wrong:
        changes["loaded"] = {"old": f"other than in the file: {', '.join(sorted(wrong))}", "new": "as in the file"}
    return changes


def administrator_apply():
    """
    Make Salt's user exist: its secret, its line in the ACL file and, if a server runs, its login.

    Needs no running server. A server that refuses the login is restarted, since nobody else may tell it to read the
    file. Users that only the server knows are removed.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.administrator_apply
    """
    path = _administrator_path()
    client = _administrator_client() if __utils__["valkey_server.listens"]() else None
    password = __utils__["secret_files.read"](path) or __utils__["secret_files.create"](path)
    wanted = __utils__["valkey_acl.administrator_lines"](password)
    declared = {**_declared(), **wanted}
    _write(declared)
    if client:
        loaded = _loaded()
        for name, line in wanted.items():
            if loaded.get(name) != line:
                _set_user(name, line)
        strangers = [name for name in loaded if name not in declared]
        if strangers:
            _ask("ACL", "DELUSER", *strangers)
    elif __utils__["valkey_server.listens"]():
        _restart()
        if _administrator_client() is None:
            raise CommandExecutionError(
                f"valkey: restarted, and still refuses the user {__utils__['valkey_acl.administrator']()}: "
                f"does {CONFIG_FILE} name the ACL file?"
            )
    return True


def settings_differences(settings):
    """
    Return which settings of the running server are not as given, ``{setting: {"old": running, "new": given}}``.

    settings
        ``{setting: value}`` as in valkey.conf; true and false are yes and no, sizes may have units (``64mb``).

    Raises SaltInvocationError for a setting this server does not have.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.settings_differences '{"maxmemory": "64mb"}'
    """
    answer = _ask("CONFIG", "GET", "*")
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


def settings_apply(settings):
    """
    Bring settings into effect: while the server runs where that is possible, otherwise by restarting it once.

    settings
        ``{setting: value}``, which valkey.conf must already hold for those that need a restart.

    Raises CommandExecutionError that names the setting which the server refuses, or which needs a restart but is not in
    the file; then the server has not been restarted.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.settings_apply '{"maxmemory": "64mb"}'
    """
    settings = __utils__["valkey_settings.plain"](settings)
    kept = __utils__["valkey_settings.parse"](__utils__["textfile.read"](CONFIG_FILE) or "")
    needs_restart = [setting for setting in settings if __utils__["valkey_settings.needs_restart"](setting)]
    for setting in needs_restart:
        if not __utils__["valkey_settings.equal"](settings[setting], kept.get(setting, "")):
            raise CommandExecutionError(
                f"valkey: {setting} {settings[setting]} needs a restart, which does not help while {CONFIG_FILE} says "
                f"{kept.get(setting, 'nothing about it')}"
            )
    for setting, value in settings.items():
        if setting not in needs_restart:
            _ask("CONFIG", "SET", setting, value)
    if needs_restart:
        _restart()
    return True


def round_trip(user, secret_file=None, key=None):
    """
    Write, read and delete a key as a service would, and return True: the socket, the login and the rules all allow it.

    user
        The system user whose ids open the socket, and the Valkey user of the same name who logs in.

    secret_file
        Where the password is. Default: as in ``valkey.user_present``.

    key
        Default: ``USER:round-trip``. It must not exist.

    Raises CommandExecutionError that says which of the steps was refused.

    CLI Example:

    .. code-block:: bash

        salt-call valkey.round_trip notes
    """
    path = _secret_path(user, secret_file)
    password = __utils__["secret_files.read"](path)
    if password is None:
        raise CommandExecutionError(f"valkey user {user}: there is no secret file {path}")
    key = key or f"{user}:round-trip"
    value = secrets.token_hex()

    client = __utils__["valkey_server.client"](user, password)  # connects when first used, so in the child
    answer = __utils__["valkey_server.answer"]  # found here: the child may not be allowed to read the tree

    def steps():
        if not answer(client, "SET", key, value, "NX", "EX", ROUND_TRIP_EXPIRY):
            raise CommandExecutionError(f"valkey key {key}: exists already, so it is not taken for a round trip")
        read = answer(client, "GET", key)
        answer(client, "DEL", key)
        if read != value:
            raise CommandExecutionError(f"valkey key {key}: another value came back than was written")
        return True

    return __utils__["run_as.call"](user, steps, TIMEOUT)


def _administrator_path():
    return str(Path(__utils__["secret_files.directory"]()) / SECRET)


def _secret_path(name, secret_file):
    __utils__["valkey_acl.check_name"](name)
    path = secret_file or str(Path(__utils__["secret_files.directory"]()) / f"valkey-{name}")
    if not Path(path).is_absolute() or path == _administrator_path():
        raise SaltInvocationError(f"valkey user {name}: secret_file {path} is not the absolute path of its own secret")
    return path


def _administrator_client():
    """The administrator's connection, one a run, or None if its login is refused."""
    password = __utils__["secret_files.read"](_administrator_path())
    if password is None:
        return None
    pid, known, client = __context__.get("valkey.client", (None, None, None))
    if pid != os.getpid() or known != password:
        client = __utils__["valkey_server.client"](__utils__["valkey_acl.administrator"](), password)
        __context__["valkey.client"] = (os.getpid(), password, client)
    return client if __utils__["valkey_server.accepts"](client) else None


def _ask(*command):
    """Ask the server something as the administrator."""
    if not __utils__["valkey_server.listens"]():
        raise CommandExecutionError(
            f"nobody listens on Valkey's socket: {UNIT} is not running, or was told another path"
        )
    client = _administrator_client()
    if client is None:
        raise CommandExecutionError(
            f"valkey refuses the user {__utils__['valkey_acl.administrator']()} with the secret in "
            f"{_administrator_path()}; the state valkey.administrator_present repairs that"
        )
    return __utils__["valkey_server.answer"](client, *command)


def _restart():
    __utils__["units.act"]("restart", [UNIT])
    __context__.pop("valkey.client", None)


def _loaded():
    return __utils__["valkey_acl.parse"]("\n".join(_ask("ACL", "LIST")), "ACL LIST")


def _line_differences(name, line):
    masked, hashes = __utils__["valkey_acl.masked"], __utils__["valkey_acl.hashes"]
    declared = _declared().get(name)
    # A server that cannot be asked will read the file, when it starts or is restarted for the administrator's sake.
    loaded = _loaded().get(name) if server()["administrator"] else line
    changes = {}
    if masked(declared) != masked(line):
        changes["line"] = {"old": masked(declared), "new": masked(line)}
    if any(present and hashes(present) != hashes(line) for present in (declared, loaded)):
        changes["password"] = {"old": "another", "new": "as in the secret file"}
    if loaded != line:
        changes["loaded"] = {"old": masked(loaded), "new": masked(line)}
    return changes


def _set_user(name, line):
    # "reset" makes the user exactly what follows; the server applies all rules of a call or none.
    _ask("ACL", "SETUSER", name, "reset", *line.split()[2:])


def _declared():
    """The users in the ACL file, none if there is no file."""
    return __utils__["valkey_acl.parse"](__utils__["textfile.read"](ACL_FILE) or "", ACL_FILE)


def _access():
    """Owner, group and mode of the ACL file, None if there is no such file or a number nobody has a name for."""
    try:
        status = Path(ACL_FILE).stat(follow_symlinks=False)
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except (FileNotFoundError, KeyError):
        return None
    return f"{owner}:{group} {status.st_mode & 0o7777:04o}"


def _write(users_by_name):
    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError as error:
        raise CommandExecutionError(f"there is no user {ACCOUNT}: the package valkey-server makes it") from error
    text = "".join(f"{line}\n" for _, line in sorted(users_by_name.items()))
    try:
        __utils__["secret_files.write"](ACL_FILE, text, mode=0o640, owner=(account.pw_uid, account.pw_gid))
    except OSError as error:
        raise CommandExecutionError(
            f"{ACL_FILE}: {error.strerror}; the package valkey-server makes its folder"
        ) from error
