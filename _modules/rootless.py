"""
What rootless Podman leaves on a host: found, and removed on request.

This tree runs rootful pods only (ADR-005). A host that once ran the rootless
variant keeps lingering users, subordinate id ranges and user units, whose
containers may still start at boot and hold ports.
"""

import contextlib
import os
import pwd
import shutil
from pathlib import Path

from salt.exceptions import CommandExecutionError

LINGER = Path("/var/lib/systemd/linger")
SUBORDINATE_IDS = (Path("/etc/subuid"), Path("/etc/subgid"))
USER_UNITS = ".config/containers/systemd"
STORAGE = ".local/share/containers"


def leftovers():
    """
    Return what is left of rootless Podman, ``{user: [sentence, ...]}``; an empty mapping if nothing is.

    A subordinate id range alone is nothing (useradd gives one to everybody who
    may log in); it is listed for users that have something else besides.

    CLI Example:

    .. code-block:: bash

        salt-call rootless.leftovers
    """
    found = {}
    for account in pwd.getpwall():
        if account.pw_uid == 0:
            continue
        home = Path(account.pw_dir)
        left = []
        if (LINGER / account.pw_name).exists():
            left.append(f"lingers: its user manager starts at boot ({LINGER / account.pw_name})")
        left += [
            f"has {what}: {home / path}"
            for what, path in (("Quadlet files", USER_UNITS), ("container storage", STORAGE))
            # a service account's home may be /
            if home != Path("/") and (home / path).is_dir()
        ]
        if left:
            left += [f"has a range in {path}" for path in SUBORDINATE_IDS if _ranges(path, account.pw_name)]
            found[account.pw_name] = left
    return found


def remove(user):
    """
    Remove what is left of rootless Podman for one user: its manager stopped, lingering, units, ranges and storage gone.

    user
        Name of the user. The user itself and its other files stay.

    Container storage includes the volumes of rootless containers: look for data
    in ``~/.local/share/containers/storage/volumes`` first.

    Raises CommandExecutionError for a user that does not exist, for root, and
    for a link below the user's home: it is named, and not followed.

    CLI Example:

    .. code-block:: bash

        salt-call rootless.remove olduser
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise CommandExecutionError(f"rootless: there is no user {user!r}") from None
    if account.pw_uid == 0:
        raise CommandExecutionError("rootless: root's containers are not rootless")
    (LINGER / user).unlink(missing_ok=True)
    manager = f"user@{account.pw_uid}.service"
    if __utils__["units.show"]([manager], ["ActiveState"])[manager]["ActiveState"] == "active":
        __utils__["units.act"]("stop", [manager])
    for path in SUBORDINATE_IDS:
        if _ranges(path, user):
            kept = [line for line in path.read_text().splitlines() if line.split(":")[0] != user]
            __utils__["textfile.write"](str(path), "".join(f"{line}\n" for line in kept))
    home = Path(account.pw_dir)
    for directory in (USER_UNITS, STORAGE):
        if home != Path("/") and (home / directory).is_dir():
            _remove_directory(home, directory)


def _remove_directory(home, path):
    """
    Remove ``home/path`` if it is there, following no link below ``home``.

    The user may put a link there at any time, also between a look and the act:
    each step is taken from the directory that is held open, never by a path.
    """
    *parents, last = Path(path).parts
    with contextlib.ExitStack() as held:
        try:
            directory = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
            held.callback(os.close, directory)
            for parent in parents:
                directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                held.callback(os.close, directory)
            shutil.rmtree(last, dir_fd=directory)
        except FileNotFoundError:
            return
        except OSError as error:
            raise CommandExecutionError(
                f"rootless: {home}/{path} was not removed: {error} (links are not followed; remove it by hand)"
            ) from error


def _ranges(path, user):
    if not path.exists():
        return []
    return [line for line in path.read_text().splitlines() if line.split(":")[0] == user]
