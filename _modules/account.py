"""
Accounts of services: a system user with a group of its own, its home, and its way out.

An account is a service's if its comment (GECOS) is ``rick-infra service NAME``.
No other account is ever changed or removed.

.. code-block:: bash

    salt-call account.list
    salt-call account.remnants notes data=delete
"""

import contextlib
import pwd
import re
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

CONTEXT = "account.database"  # the accounts of this host, and a stamp that tells whether they have changed since
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")  # useradd(8)
MODE = re.compile(r"[0-7]{3,4}")
SHELL = "/usr/sbin/nologin"
HOME_MODE = "0750"
LARGEST_ID = 2**31  # beyond that, tools disagree on the sign
LOCKED = 1  # the day since 1970 on which a locked account expired
# A home is deleted one day; these belong to somebody else.
OTHERS = [
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr"),
    *("/var/lib/rick-infra", "/var/log", "/var/run", "/var/tmp"),  # noqa: S108 - to keep out of there
]
TIMEOUT = 60  # seconds
DATA = ("keep", "archive", "delete")


def list_():
    """
    Return the accounts of services on this host.

    ``{name: {"service", "uid", "gid", "home", "groups", "locked"}}``; ``locked``
    is what ``account.absent`` with ``data: keep`` leaves.

    CLI Example:

    .. code-block:: bash

        salt-call account.list
    """
    return {
        name: {
            **{key: user[key] for key in ("service", "uid", "gid", "home", "groups")},
            "locked": user["expires"] is not None,
        }
        for name, user in _database()["users"].items()
        if user["service"]
    }


def differences(name, uid=None, home=None, groups=None, directories=None):
    """
    Return what has to change until an account is as declared, ``{thing: {"old", "new"}}``, ``{}`` if nothing.

    A group that does not exist yet is no error here.

    name, uid, home, groups, directories
        As in the state ``account.present``.

    Raises SaltInvocationError for arguments that cannot be, and
    CommandExecutionError if the user, the group, the uid or the home belongs to
    somebody else.

    CLI Example:

    .. code-block:: bash

        salt-call account.differences notes groups='[postgres-clients]'
    """
    home, groups, directories = _checked(name, uid, home, groups, directories)
    database = _database()
    user = database["users"].get(name)
    if user is None:
        _refuse_taken(name, uid, home)
        changes: dict = {f"user {name}": {"old": None, "new": "made" if uid is None else f"uid {uid}"}}
        if groups:
            changes["groups"] = {"old": [], "new": groups}
    else:
        _refuse_others(name, user, uid, home)
        changes = _user_differences(name, user, home, groups, database)
    for path, owner, group, mode in [(home, 0, name, HOME_MODE), *directories]:
        present = _shown(__utils__["account_directories.status"](path, repaired=home), database)
        wanted = f"{_named(database, 'users', owner)}:{_named(database, 'groups', group)} {mode}"
        if present != wanted:
            changes[path] = {"old": present, "new": wanted}
    return changes


def create(name, uid=None, home=None, groups=None, directories=None):
    """
    Make an account as declared, or repair what differs. What is right is not touched.

    Parameters, errors and what it returns are those of ``account.differences``;
    a user or group that does not exist is an error here.

    CLI Example:

    .. code-block:: bash

        salt-call account.create notes groups='[postgres-clients]'
    """
    changes = differences(name, uid, home, groups, directories)
    home, groups, directories = _checked(name, uid, home, groups, directories)
    known = _database()["groups"]
    for group in groups:
        if group not in known:
            publisher = __utils__["client_groups.declared"]().get(group)
            maker = f"{publisher['published_by']} creates it" if publisher else "create it before"
            raise CommandExecutionError(f"account {name}: group {group} does not exist: {maker}")
    if f"user {name}" in changes:
        _run("useradd", *_useradd_options(name, uid, home, groups), name)
    else:
        _repair(name, changes, home, groups)
    for path, owner, group, mode in [(home, 0, name, HOME_MODE), *directories]:
        if path in changes:
            __utils__["account_directories.own"](path, _id("users", owner), _id("groups", group), mode)
    return changes


def remnants(name, home=None, data="keep"):
    """
    Return what ``account.remove`` would change, ``{thing: {"old", "new"}}``; ``{}`` if the service has no account here.

    name, home, data
        As in the state ``account.absent``.

    CLI Example:

    .. code-block:: bash

        salt-call account.remnants notes data=delete
    """
    if data not in DATA:
        raise SaltInvocationError(f"account {name}: data is one of {', '.join(DATA)}, not {data!r}")
    home, _, _ = _checked(name, None, home, None, None)
    user = _database()["users"].get(name)
    if user is None or user["service"] != name:
        return {}
    changes: dict = {}
    if data == "keep":
        if user["expires"] != LOCKED or user["password"]:
            changes["locked"] = {"old": False, "new": True}
        if user["shell"] != SHELL:
            changes["shell"] = {"old": user["shell"], "new": SHELL}
        if user["groups"]:
            changes["groups"] = {"old": user["groups"], "new": []}
        return changes
    if user["home"] != home:
        raise CommandExecutionError(
            f"account {name}: its home is {user['home']}, not {home}: nothing is removed; say which one is right"
        )
    present = __utils__["account_directories.status"](home)
    if present:
        if (present["uid"], present["gid"]) != (0, user["gid"]):
            raise CommandExecutionError(
                f"account {name}: its home {home} is {_shown(present, _database())}, not root:{name}: nothing is "
                f"removed; if it is the service's: chown root:{name} {home}"
            )
        __utils__["account_archive.refuse_mounts"](home)
        archived = f"in {__utils__['account_archive.folder'](name)}" if data == "archive" else None
        changes[home] = {"old": _shown(present, _database()), "new": archived}
    changes[f"user {name}"] = {"old": f"uid {user['uid']}", "new": None}
    return changes


def to_archive(name, home=None):
    """
    Return which files of a service would be archived, ``{home: {"old", "new"}}``; ``{}`` if this run has done that.

    name, home
        As in the state ``account.absent``.

    CLI Example:

    .. code-block:: bash

        salt-call account.to_archive notes
    """
    changes = remnants(name, home, "archive")
    done = __utils__["archives.made"](__context__, name, "files")
    return {} if done else {thing: change for thing, change in changes.items() if thing != f"user {name}"}


def archive(name, home=None):
    """
    Archive a service's home, prove it, and return the paths of archives: one, or none without a home.

    name, home
        As in the state ``account.absent``. What this run has archived already is not archived again.

    Raises CommandExecutionError if processes still run as the user, something is mounted in the home, or the archive
    cannot be proven.

    CLI Example:

    .. code-block:: bash

        salt-call account.archive notes
    """
    done = __utils__["archives.made"](__context__, name, "files")
    if done:
        return [done]
    if not to_archive(name, home):
        return []
    user = _database()["users"][name]
    _refuse_running(name, user["uid"])
    file = __utils__["account_archive.archive"](user["home"], name)
    return [__utils__["archives.note"](__context__, name, "files", file)]


def remove(name, home=None, data="keep"):
    """
    Lock an account (``keep``), or remove it with its home, which is put into a proven archive before (``archive``).

    Returns what ``account.remnants`` does.

    Raises CommandExecutionError, before anything is changed, if processes still
    run as the user, something is mounted in the home, or the archive cannot be proven.

    CLI Example:

    .. code-block:: bash

        salt-call account.remove notes data=archive
    """
    changes = remnants(name, home, data)
    if not changes:
        return changes
    user = _database()["users"][name]
    _refuse_running(name, user["uid"])
    if data == "keep":
        _run("usermod", "--lock", "--expiredate", str(LOCKED), "--shell", SHELL, "--groups", "", name)
        return changes
    if user["home"] in changes:
        if data == "archive":
            archive(name, home)
        __utils__["account_archive.delete"](user["home"])
    _run("userdel", name)
    if name in _database()["groups"]:  # userdel leaves it if somebody else is in it, or by USERGROUPS_ENAB
        _run("groupdel", name)
    return changes


def _checked(name, uid, home, groups, directories):
    """The home, the groups without doubles, and the directories as ``(path, owner, group, mode)``."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SaltInvocationError(
            f"account {name!r}: use at most 31 small letters, digits, - and _, beginning with a letter"
        )
    if uid is not None and (isinstance(uid, bool) or not isinstance(uid, int) or not 0 < uid < LARGEST_ID):
        raise SaltInvocationError(f"account {name}: uid {uid!r} is not a number above 0, which is root's")
    home = __utils__["account_directories.checked"](f"/opt/{name}" if home is None else home)
    if home.count("/") < 2 or any(Path(home).is_relative_to(other) for other in OTHERS):
        raise SaltInvocationError(f"account {name}: {home} belongs to the system: choose a home like /opt/{name}")
    places = []
    for one in directories or []:
        path = __utils__["account_directories.checked"](one["path"])
        mode = str(one.get("mode", HOME_MODE)).zfill(4)
        if not MODE.fullmatch(mode):
            raise SaltInvocationError(f"account {name}: directory {path}: mode {mode} is not octal")
        places.append((path, one.get("owner", name), one.get("group", name), mode))
    return home, sorted(set(groups or [])), places


def _refuse_taken(name, uid, home):
    """Before the user is made: nothing of it may be somebody else's."""
    if name in _database()["groups"]:
        raise CommandExecutionError(
            f"account {name}: there is a group {name} that is not this service's: choose another name, "
            f"or remove the group if nobody needs it (groupdel {name})"
        )
    with contextlib.suppress(KeyError):
        pwd.getpwnam(name)
        raise CommandExecutionError(f"account {name}: the name service has another user {name}: choose another name")
    _refuse_taken_uid(name, uid)
    present = __utils__["account_directories.status"](home)
    if present and (present["uid"] != 0 or present["mode"] != HOME_MODE) and any(Path(home).iterdir()):
        raise CommandExecutionError(
            f"account {name}: {home} ({_shown(present, _database())}) is there already and not empty, so it is not "
            f"this service's: move it away, or hand it over: chown root:root {home} && chmod {HOME_MODE} {home}"
        )


def _refuse_taken_uid(name, uid):
    if uid is not None:
        with contextlib.suppress(KeyError):
            holder = pwd.getpwuid(uid).pw_name
            raise CommandExecutionError(f"account {name}: uid {uid} is that of {holder}: choose another one")


def _refuse_others(name, user, uid, home):
    if user["service"] != name:
        raise CommandExecutionError(
            f"account {name}: there is a user {name} ({user['comment'] or 'without a comment'}) that is not this "
            f"service's: choose another name, or hand it over: usermod --comment "
            f"'{__utils__['account_database.mark'](name)}' {name}"
        )
    if uid is not None and user["uid"] != uid:
        _refuse_taken_uid(name, uid)
        raise CommandExecutionError(
            f"account {name}: its uid is {user['uid']}, not {uid}, and its files belong to that number: take uid out, "
            f"or stop the service, usermod --uid {uid} {name}, and give it its files"
        )
    if user["home"] != home and __utils__["account_directories.status"](user["home"]):
        raise CommandExecutionError(
            f"account {name}: its home is {user['home']}, not {home}: stop the service and move it there before"
        )


def _user_differences(name, user, home, groups, database):
    found = {
        "group": (_named(database, "groups", user["gid"]), name),
        "home": (user["home"], home),
        "shell": (user["shell"], SHELL),
        "password": ("set" if user["password"] else None, None),
        "locked": (user["expires"] is not None, False),
        "groups": (user["groups"], groups),
    }
    return {key: {"old": old, "new": new} for key, (old, new) in found.items() if old != new}


def _useradd_options(name, uid, home, groups):
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", home, "--shell", SHELL]
    options += ["--comment", __utils__["account_database.mark"](name)]
    options += ["--uid", str(uid)] if uid is not None else []
    return options + (["--groups", ",".join(groups)] if groups else [])


def _repair(name, changes, home, groups):
    if "group" in changes:
        user = _database()["users"][name]
        if name not in _database()["groups"]:
            free = user["gid"] not in _database()["groups"].values()
            _run("groupadd", "--system", *(["--gid", str(user["gid"])] if free else []), name)
    options = []
    for key, option in {
        "group": ["--gid", name],
        "home": ["--home", home],
        "shell": ["--shell", SHELL],
        "password": ["--lock"],
        "locked": ["--expiredate", ""],
        "groups": ["--groups", ",".join(groups)],
    }.items():
        options += option if key in changes else []
    if options:
        _run("usermod", *options, name)


def _refuse_running(name, uid):
    running = _processes(uid)
    if running:
        raise CommandExecutionError(
            f"account {name}: processes still run as {name}: {', '.join(running)}: stop them "
            f"(systemctl status PID tells whose they are); nothing was removed"
        )


def _processes(uid):
    """The processes that have the uid in any of its four forms, as ``PID (name)``."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                status = dict(
                    line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
                )
                if str(uid) in status["Uid"].split():
                    found.append(f"{process.name} ({status['Name'].strip()})")
    return found


def _named(database, kind, owner):
    """An owner as it is shown: by the first name that its number has, as far as there is one."""
    number = owner
    if isinstance(owner, str):
        found = database[kind].get(owner)
        number = found["uid"] if found and kind == "users" else found
    return database["names"][kind].get(number, str(owner))


def _shown(status, database):
    if status is None:
        return None
    owner, group = (_named(database, kind, status[key]) for kind, key in (("users", "uid"), ("groups", "gid")))
    return f"{owner}:{group} {status['mode']}"


def _id(kind, owner):
    if isinstance(owner, int):
        return owner
    try:
        found = _database()[kind][owner]
    except KeyError as error:
        raise CommandExecutionError(f"there is no {kind.removesuffix('s')} {owner} on this host") from error
    return found["uid"] if kind == "users" else found


def _database():
    """The accounts of this host; read again when somebody, we or another state, has changed them."""
    stamp = __utils__["account_database.stamp"]()
    if __context__.get(CONTEXT, {}).get("stamp") != stamp:
        found = __utils__["account_database.read"]()
        __context__[CONTEXT] = {"stamp": stamp, **found, "names": __utils__["account_database.names"](**found)}
    return __context__[CONTEXT]


def _run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise CommandExecutionError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
