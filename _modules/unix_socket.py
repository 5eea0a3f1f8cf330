"""
Unix sockets and the directories they lie in: who owns them, who listens, who gets in.

.. code-block:: bash

    salt-call unix_socket.stat /run/postgresql
    salt-call unix_socket.listeners /run/postgresql/.s.PGSQL.5432
    salt-call unix_socket.probe_user /run/postgresql/.s.PGSQL.5432 nobody
"""

import contextlib
import errno
import grp
import os
import pwd
import stat as stat_bits
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

TYPES = {
    stat_bits.S_IFSOCK: "socket",
    stat_bits.S_IFDIR: "directory",
    stat_bits.S_IFLNK: "symlink",
    stat_bits.S_IFREG: "file",
    stat_bits.S_IFIFO: "fifo",
    stat_bits.S_IFCHR: "device",
    stat_bits.S_IFBLK: "device",
}

PROBE_TIMEOUT = 5  # seconds a probe waits for a place in a listener's full queue


def stat(path):
    """
    Return what lies at ``path`` itself (a link is not followed) and who owns it.

    path
        Absolute path.

    Returns ``{"type", "user", "group", "uid", "gid", "mode"}``. ``type`` is
    ``socket``, ``directory``, ``symlink``, ``file``, ``fifo``, ``device`` or
    ``absent``, and then it is the only key. ``user`` and ``group`` are names,
    or the number as a string if it has none. ``mode`` is four octal digits,
    for example ``"2750"``.

    Raises SaltInvocationError for a relative path.

    CLI Example:

    .. code-block:: bash

        salt-call unix_socket.stat /run/valkey
    """
    _absolute(path)
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"type": "absent"}
    return {
        "type": TYPES[stat_bits.S_IFMT(found.st_mode)],
        "user": _name(pwd.getpwuid, found.st_uid),
        "group": _name(grp.getgrgid, found.st_gid),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "mode": f"{stat_bits.S_IMODE(found.st_mode):04o}",
    }


def own(path, user, group, mode):
    """
    Give an existing socket or directory its owner, group and mode.

    No link is followed, neither at the end of the path nor on the way, and
    what is changed is what was looked at, even if somebody swaps the path
    meanwhile. Any mode is taken; what may lie in front of a socket is decided
    by the states.

    path
        Absolute path of a socket or a directory.

    user, group
        Names, looked up now.

    mode
        Octal digits, for example ``2750``.

    Returns True. Raises CommandExecutionError if the path is neither a socket
    nor a directory, or if the user or the group does not exist, and
    SaltInvocationError for a path or a mode that is none.

    CLI Example:

    .. code-block:: bash

        salt-call unix_socket.own /run/valkey valkey valkey-clients 2750
    """
    return _own(path, user, group, mode, make=False)


def make_directory(path, user, group, mode="2750"):
    """
    Make a directory unless it is there, and give it its owner, group and mode as ``own`` does.

    Only the last part of the path is made. Until it belongs to its owner,
    nobody but root can enter it.

    Parameters and errors are those of ``unix_socket.own``; a path that holds
    something other than a directory is an error. Returns True.

    CLI Example:

    .. code-block:: bash

        salt-call unix_socket.make_directory /run/valkey valkey valkey-clients 2750
    """
    return _own(path, user, group, mode, make=True)


def listeners(path):
    """
    Return the processes that listen on the socket at ``path``.

    What counts is the file that lies there now: a process which still listens
    on a socket that was deleted or replaced is not in the list, and it does
    not matter under which path (``/var/run`` or ``/run``) the socket was bound.
    Seen are processes of this host's network namespace; a container with a
    network of its own that made the socket is not.

    path
        Absolute path of a socket.

    Returns a list of ``{"pid", "command", "uid", "unit"}``, empty if nobody
    listens. systemd itself (pid 1, unit ``init.scope``) is in it for a socket
    unit. ``unit`` is None for a process outside systemd's units.

    Raises CommandExecutionError if no socket lies there.

    CLI Example:

    .. code-block:: bash

        salt-call unix_socket.listeners /run/postgresql/.s.PGSQL.5432
    """
    _absolute(path)
    try:
        there = Path(path).stat()
    except OSError as error:
        raise CommandExecutionError(f"{path}: {error.strerror}") from error
    if not stat_bits.S_ISSOCK(there.st_mode):
        raise CommandExecutionError(f"{path} is a {TYPES[stat_bits.S_IFMT(there.st_mode)]}, not a socket")
    wanted = {f"socket:[{inode}]" for inode in __utils__["sock_diag.listening"](there)}
    if not wanted:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _holds(entry, wanted):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended since
                found.append(_process(entry))
    return found


def probe(path, uid, gid, groups=(), timeout=PROBE_TIMEOUT):
    """
    Connect to a socket as exactly the given ids and say what happened.

    A child process takes the ids, and with them loses every capability; then
    it connects and hangs up without a word.

    path
        Absolute path of a stream socket. Links are followed, as by any client.

    uid
        User, by name or number. Not root: no permission keeps root out.

    gid
        Primary group, by name or number.

    groups
        Supplementary groups, all of them: a list, or a comma-separated string,
        of names or numbers. None by default.

    timeout
        Seconds to wait if the listener's queue is full.

    Returns ``{"outcome", "detail", "uid", "gid", "groups"}``. ``outcome`` is

    - ``allowed``: connected, or let in but kept waiting in a full queue,
    - ``refused``: permission denied; ``detail`` names the directory or socket that refuses,
    - ``absent``: there is no such path,
    - ``stale``: a socket lies there and nobody listens.

    Raises CommandExecutionError if a user or group does not exist, if what
    lies there is no stream socket, or if the probe cannot be made (not root),
    and SaltInvocationError for uid 0 and for a path that cannot be a socket's.

    CLI Example:

    .. code-block:: bash

        salt-call unix_socket.probe /run/postgresql/.s.PGSQL.5432 notes notes postgres-clients
    """
    __utils__["sockets.path"](path)
    if isinstance(groups, str):
        groups = [part.strip() for part in groups.split(",") if part.strip()]
    elif isinstance(groups, int):
        groups = [groups]
    ids = {"uid": _uid(uid), "gid": _gid(gid), "groups": sorted({_gid(group) for group in groups})}
    if ids["uid"] == 0:
        raise SaltInvocationError("a probe as root says nothing: no permission keeps root out; name another user")
    code, obstacle = __utils__["socket_probe.connect_as"](path, ids, timeout)
    return {**_outcome(path, code, obstacle), **ids}


def probe_user(path, user, groups=None, timeout=PROBE_TIMEOUT):
    """
    Connect to a socket as a user of this host and say what happened.

    path
        Absolute path of a stream socket.

    user
        Name. Its own primary group is used.

    groups
        Supplementary groups as in ``unix_socket.probe``. By default those the
        system gives the user, as at a login.

    timeout
        Seconds to wait if the listener's queue is full.

    Returns and raises what ``unix_socket.probe`` does.

    CLI Example:

    .. code-block:: bash

        salt-call unix_socket.probe_user /run/postgresql/.s.PGSQL.5432 nobody
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise CommandExecutionError(f"user {user} does not exist") from error
    if groups is None:
        groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return probe(path, entry.pw_uid, entry.pw_gid, groups, timeout)


def _own(path, user, group, mode, make):
    __utils__["sockets.path"](path)
    bits = int(__utils__["sockets.mode"](mode), 8)
    uid, gid = _uid(user), _gid(group)
    parent = __utils__["sockets.open_parent"](path)
    name = os.path.basename(path)  # noqa: PTH119 - as text
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
        held = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent)
        try:
            _change(path, held, uid, gid, bits, kinds=("directory",) if make else ("directory", "socket"))
        finally:
            os.close(held)
    except OSError as error:
        raise CommandExecutionError(f"{path}: {error.strerror}") from error
    finally:
        os.close(parent)
    return True


def _change(path, held, uid, gid, bits, kinds):
    present = os.fstat(held).st_mode
    kind = TYPES[stat_bits.S_IFMT(present)]
    if kind not in kinds:
        raise CommandExecutionError(f"{path} is a {kind}, not a {' or a '.join(kinds)}: nothing was changed")
    # An O_PATH descriptor takes neither fchown nor fchmod; its link in /proc leads to the very same inode, see open(2).
    same = f"/proc/self/fd/{held}"
    # While it changes hands only what the old and the new mode both allow is open: nobody gets in who never
    # should, and who should is not shut out.
    os.chmod(same, stat_bits.S_IMODE(present) & bits)  # noqa: PTH101
    os.chown(same, uid, gid)
    os.chmod(same, bits)  # noqa: PTH101


def _outcome(path, code, obstacle):
    if code in (0, errno.EAGAIN):
        return {
            "outcome": "allowed",
            "detail": "connected" if code == 0 else "let in, but the listener's queue is full",
        }
    if code in (errno.EACCES, errno.EPERM):
        door = stat(obstacle)
        owner = f" ({door['user']}:{door['group']} {door['mode']})" if "mode" in door else ""
        return {"outcome": "refused", "detail": f"permission denied by {obstacle}{owner}"}
    if code in (errno.ENOENT, errno.ENOTDIR):
        return {"outcome": "absent", "detail": f"{path} does not exist"}
    # connect(2) answers like this also if a regular file lies there.
    if code == errno.ECONNREFUSED and Path(path).is_socket():
        return {"outcome": "stale", "detail": f"{path} is a socket on which nobody listens"}
    raise CommandExecutionError(f"{path} is no stream socket ({os.strerror(code)})")


def _process(entry):
    status = dict(line.split(":\t", 1) for line in (entry / "status").read_text().splitlines() if ":\t" in line)
    return {
        "pid": int(entry.name),
        "command": status["Name"],
        "uid": int(status["Uid"].split()[1]),  # the effective one
        "unit": _unit((entry / "cgroup").read_text()),
    }


def _holds(entry, wanted):
    # Processes come and go while /proc is read, and only root sees into all of them.
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        folder = f"{entry}/fd"
        for descriptor in os.listdir(folder):  # noqa: PTH208 - thousands of them; Path takes three times as long
            with contextlib.suppress(FileNotFoundError):
                if os.readlink(f"{folder}/{descriptor}") in wanted:  # noqa: PTH115 - "socket:[1]" is no path
                    return True
    return False


def _unit(cgroups):
    """The unit in the text of a /proc/PID/cgroup: the innermost part of the unified path that is one."""
    for line in cgroups.splitlines():
        if line.startswith("0::"):
            for part in reversed(line.split("/")):
                if part.endswith((".service", ".scope")):
                    return part
    return None


def _absolute(path):
    if not isinstance(path, str) or not path.startswith("/"):
        raise SaltInvocationError(f"{path!r} is not an absolute path")


def _name(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


def _uid(user):
    if isinstance(user, int) or user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise CommandExecutionError(f"user {user} does not exist on this host") from error


def _gid(group):
    if isinstance(group, int) or group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        known = __utils__["client_groups.declared"]().get(group)
        maker = f": {known['published_by']} creates it" if known else ""
        raise CommandExecutionError(f"group {group} does not exist on this host{maker}") from error
