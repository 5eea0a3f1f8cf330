"""
Private sockets: a database's socket for one container, whatever uid that container uses.

systemd listens on ``/run/rick-infra/NAME/BASENAME`` and starts
``systemd-socket-proxyd`` as the service's own user, which is the peer that the
database sees. Only the directory ``/run/rick-infra/NAME`` is mounted into the
container, read-only.

.. code-block:: bash

    salt-call private_socket.list
    salt-call private_socket.path notes /run/postgresql/.s.PGSQL.5432
"""

import contextlib
import grp
import os
import pwd
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

CONTEXT = "private_socket.units"  # what systemd said of all private sockets' units, asked once in a run
PROPERTIES = ["LoadState", "ActiveState", "NeedDaemonReload", "MainPID"]
FREE = {"user": "root", "group": "root", "mode": "0666"}


def directory(name):
    """
    Return the directory to mount into the service's container, read-only.

    name
        Name of the service.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.directory notes
    """
    return f"{__utils__['private_units.root']()}/{name}"


def path(name, target):
    """
    Return the path of a service's private socket on the host.

    name
        Name of the service.

    target
        Absolute path of the shared socket behind it.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.path notes /run/postgresql/.s.PGSQL.5432
    """
    return _places(name, target)["path"]


def units(name, target, kind=None):
    """
    Return the socket unit and the service unit of a private socket, a list of two names.

    A container that uses the socket is ordered after the first.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.units notes /run/postgresql/.s.PGSQL.5432
    """
    unit = _places(name, target, kind)["unit"]
    return [f"{unit}.socket", f"{unit}.service"]


def list_():
    """
    Return the private sockets that are declared on this host.

    A list of ``{"unit", "name", "kind", "path", "target", "user", "group"}``,
    read from the unit files; ``unit`` has no suffix. What a damaged unit file
    does not tell is None.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.list
    """
    found = []
    for file in _service_files():
        text = __utils__["textfile.read"](str(file)) or ""
        settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        name, _, kind = file.stem.removeprefix("rick-private-").rpartition("-")
        target = settings.get("ExecStart", "").rpartition(" ")[2] or None
        found.append(
            {
                "unit": file.stem,
                "name": name,
                "kind": kind,
                "path": target and f"{directory(name)}/{Path(target).name}",
                "target": target,
                "user": settings.get("User"),
                "group": settings.get("SupplementaryGroups"),
            }
        )
    return found


def undeclared(name, targets):
    """
    Return the private sockets of a service that lead elsewhere than to some targets.

    A list of ``{"target", "kind"}``, as ``private_socket.remove`` takes them.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.undeclared notes '[]'
    """
    return [
        {"target": one["target"], "kind": one["kind"]}
        for one in list_()
        if one["name"] == name and one["target"] and one["target"] not in targets
    ]


def differences(name, target, user, group, daemon=None, kind=None, connections_max=256):
    """
    Return what has to change until a private socket is as declared, ``{}`` if it is.

    Files are compared by content, the socket by who listens on the file that
    lies there, and a running proxy by what it was started with: a digest of its
    definition, its uid and its groups. No proxy runs before the first
    connection, which is no difference.

    Parameters are those of the state ``private_socket.present``. Returns
    ``{thing: {"old", "new"}}`` or ``{file: {"diff"}}``. A user or group that
    does not exist is no error here.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.differences notes /run/postgresql/.s.PGSQL.5432 notes postgres-clients
    """
    at = _places(name, target, kind)
    texts = __utils__["private_units.files"](name, target, user, group, daemon, kind, connections_max)
    _refuse_the_daemons_own(name, target, user)
    changes = {}
    for file, text in texts.items():
        diff = __utils__["textfile.diff"](file, text)
        if diff:
            changes[file] = {"diff": diff}
    if not Path(at["link"]).is_symlink():
        changes[at["link"]] = {"old": None, "new": at["socket_unit"]}
    for folder, mode in _folders(at):
        present = __salt__["unix_socket.stat"](folder)
        wanted = {"type": "directory", "user": "root", "group": "root", "mode": mode}
        if any(present.get(key) != value for key, value in wanted.items()):
            changes[folder] = {"old": _owned(present), "new": _owned(wanted)}
    known = _known(at["unit"])
    if _stale(known):
        changes["systemd"] = {"old": "an older definition", "new": "reloaded"}
    trouble = _socket_trouble(at, known[f"{at['unit']}.socket"])
    if trouble:
        changes[at["path"]] = {"old": trouble, "new": "listening"}
    trouble = _proxy_trouble(known[f"{at['unit']}.service"], texts[at["service_unit"]], user, group)
    if trouble:
        changes[f"{at['unit']}.service"] = {"old": trouble, "new": "restarted"}
    return changes


def create(name, target, user, group, daemon=None, kind=None, connections_max=256):
    """
    Make a private socket as declared, or repair what differs, and nothing else.

    A running proxy is restarted, and its connections are cut, only if it or
    its socket differs. The mounted directory is never made anew while it is there.

    Parameters are those of the state ``private_socket.present``. Returns the
    changes as ``private_socket.differences`` does.

    Raises CommandExecutionError if the user or the group does not exist or a
    unit does not start, SaltInvocationError for arguments that cannot be.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.create notes /run/postgresql/.s.PGSQL.5432 notes postgres-clients
    """
    changes = differences(name, target, user, group, daemon, kind, connections_max)
    _ids(name, user, group)
    at = _places(name, target, kind)
    for folder, mode in _folders(at):
        if folder in changes:
            __salt__["unix_socket.make_directory"](folder, "root", "root", mode)
    for file, text in __utils__["private_units.files"](
        name, target, user, group, daemon, kind, connections_max
    ).items():
        if file in changes:
            __utils__["textfile.write"](file, text)
    if at["link"] in changes:
        link = Path(at["link"])
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(at["socket_unit"])
    if changes.keys() & {at["socket_unit"], at["service_unit"], at["link"], "systemd"}:
        __utils__["units.daemon_reload"]()
    known = _known(at["unit"], again=True)
    failed = [unit for unit, state in known.items() if state["ActiveState"] == "failed"]
    if failed:
        __utils__["units.act"]("reset-failed", failed)
    if at["path"] in changes:
        __utils__["units.act"]("restart", [f"{at['unit']}.socket"])  # and the proxy, if one runs, along with it
    elif f"{at['unit']}.service" in changes:
        __utils__["units.act"]("restart", [f"{at['unit']}.service"])
    __context__.pop(CONTEXT, None)
    return changes


def remnants(name, target, kind=None):
    """
    Return what is there of a private socket, ``{thing: {"old", "new": None}}``, ``{}`` if nothing is.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.remnants notes /run/postgresql/.s.PGSQL.5432
    """
    at = _places(name, target, kind)
    changes = {}
    for unit, state in _known(at["unit"]).items():
        if state["ActiveState"] not in ("inactive", "failed"):
            changes[unit] = {"old": state["ActiveState"], "new": None}
    for key in ("socket_unit", "service_unit", "tmpfiles", "link", "path"):
        if os.path.lexists(at[key]):
            changes[at[key]] = {"old": "present", "new": None}
    folder = Path(at["directory"])
    if folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {Path(at["path"]).name}:
        changes[at["directory"]] = {"old": "present", "new": None}
    return changes


def remove(name, target, kind=None):
    """
    Stop a private socket and delete its files. The service's other private sockets stay.

    Returns the changes as ``private_socket.remnants`` does. Raises
    CommandExecutionError if a unit does not stop.

    CLI Example:

    .. code-block:: bash

        salt-call private_socket.remove notes /run/postgresql/.s.PGSQL.5432
    """
    at = _places(name, target, kind)
    changes = remnants(name, target, kind)
    known = _known(at["unit"], again=True)
    # Stop first, delete then: systemd could not stop cleanly what it no longer finds.
    __utils__["units.act"]("stop", [unit for unit, state in known.items() if state["LoadState"] != "not-found"])
    failed = [unit for unit, state in _known(at["unit"], again=True).items() if state["ActiveState"] == "failed"]
    __utils__["units.act"]("reset-failed", failed)
    for key in ("link", "socket_unit", "service_unit", "tmpfiles", "path"):
        Path(at[key]).unlink(missing_ok=True)
    for folder in (at["directory"], __utils__["private_units.root"]()):
        with contextlib.suppress(OSError):  # not there, or others' sockets are in it
            Path(folder).rmdir()
    if changes.keys() & {at["socket_unit"], at["service_unit"], at["link"]}:
        __utils__["units.daemon_reload"]()
    __context__.pop(CONTEXT, None)
    return changes


def _places(name, target, kind=None):
    at = __utils__["private_units.places"](name, __utils__["sockets.path"](target), kind)
    __utils__["sockets.path"](at["path"])
    return at


def _folders(at):
    return [(__utils__["private_units.root"](), "0700"), (at["directory"], "0755")]


def _owned(status):
    return f"{status['user']}:{status['group']} {status['mode']}" if "mode" in status else None


def _ids(name, user, group):
    """The uid of the user and the gid of the group, now."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError as error:
        problem = f"private socket of {name}: user {user} does not exist: create it before"
        raise CommandExecutionError(problem) from error
    try:
        return uid, grp.getgrnam(group).gr_gid
    except KeyError as error:
        known = __utils__["client_groups.declared"]().get(group)
        maker = f"{known['published_by']} creates it" if known else "create it before"
        raise CommandExecutionError(f"private socket of {name}: group {group} does not exist: {maker}") from error


def _refuse_the_daemons_own(name, target, user):
    for place in (target, str(Path(target).parent)):
        if __salt__["unix_socket.stat"](place).get("user") == user:
            raise SaltInvocationError(
                f"private socket of {name}: user {user} owns {place}, and would give the container the rights of the "
                "daemon itself: name the service's own user"
            )


def _service_files():
    return sorted(Path(__utils__["private_units.unit_folder"]()).glob("rick-private-*.service"))


def _known(unit, again=False):
    """What systemd says of one private socket's units; asked for all declared ones at once."""
    mine = [f"{unit}.socket", f"{unit}.service"]
    if again:
        __context__.pop(CONTEXT, None)
    if not set(mine) <= __context__.get(CONTEXT, {}).keys():
        declared = [f"{file.stem}.{suffix}" for file in _service_files() for suffix in ("socket", "service")]
        __context__[CONTEXT] = __utils__["units.show"]([*dict.fromkeys(mine + declared)], PROPERTIES)
    return {name: __context__[CONTEXT][name] for name in mine}


def _stale(known):
    """Whether systemd has loaded something else than the files now say, as after a run killed before its reload."""
    return any(state["NeedDaemonReload"] == "yes" for state in known.values())


def _socket_trouble(at, state):
    present = __salt__["unix_socket.stat"](at["path"])
    if state["ActiveState"] != "active":
        return state["ActiveState"]
    if present["type"] != "socket":
        return present["type"]
    if any(present[key] != value for key, value in FREE.items()):
        return _owned(present)
    return None if _systemd_listens(at["path"]) else "a socket on which systemd does not listen"


def _systemd_listens(path):
    wanted = {f"socket:[{inode}]" for inode in __utils__["sock_diag.listening"](Path(path).stat())}
    for descriptor in Path("/proc/1/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(descriptor) in wanted:  # noqa: PTH115 - "socket:[1]" is no path
                return True
    return False


def _proxy_trouble(state, text, user, group):
    if state["ActiveState"] != "active":
        # While it starts, its process may still be systemd's; and without a connection there need not be one.
        return "failed" if state["ActiveState"] == "failed" else None
    try:
        process = Path("/proc") / state["MainPID"]
        environment = (process / "environ").read_bytes()
        lines = (process / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None  # it has ended since: the next connection starts another
    if __utils__["private_units.running_digest"](environment) != __utils__["private_units.digest"](text):
        return "started with an older definition"
    status = dict(line.split(":", 1) for line in lines)
    try:
        uid, gid = _ids("", user, group)
    except CommandExecutionError:
        return None  # a later run's business: in this one a missing user or group is a plan or an error already
    if int(status["Uid"].split()[1]) != uid:
        return f"runs as uid {status['Uid'].split()[1]}, {user} is {uid}"
    if gid not in _groups(status):
        return f"runs without gid {gid}, which {group} has now"
    return None


def _groups(status):
    """The gids that open a door to a process: its supplementary groups and its own."""
    return {int(gid) for gid in [*status["Groups"].split(), status["Gid"].split()[1]]}
