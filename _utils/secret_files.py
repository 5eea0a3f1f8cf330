"""
Secrets of this host: one file each, that only root can read.

They are made on the host and stay there. Losing one is no disaster: whoever
needs it makes a new one and hands it to the daemon again.
"""

import contextlib
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

DIRECTORY = "/var/lib/rick-infra/secrets"
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}")  # podman-secret-create(1)
MINIMUM_LENGTH = 16  # characters; daemons keep unsalted hashes, so only length protects a secret from guessing
MAXIMUM_SIZE = 511_999  # bytes; what Podman takes at most


def directory():
    """
    Return the directory of the secrets that the tree makes by itself.
    """
    return DIRECTORY


def path(name):
    """
    Return the file that holds the secret.

    Raises SaltInvocationError for a name that Podman does not take.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SaltInvocationError(f"secret {name!r}: use letters, digits and _.-, beginning with a letter or digit")
    return f"{DIRECTORY}/{name}"


def names():
    """
    Return the names of all files in that directory, those that a killed run left half made (``.NAME.…``) among them.

    Raises CommandExecutionError if it cannot be read.
    """
    try:
        return sorted(os.listdir(DIRECTORY))  # noqa: PTH208 - names are what is asked for
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CommandExecutionError(f"{DIRECTORY}: {error.strerror}") from error


def read(path):
    """
    Return a daemon's password: what a file holds without its trailing newline, or None if there is no such file.

    Raises CommandExecutionError as ``read_exactly`` does, and if what the file
    holds cannot be such a password (shorter than 16 characters, spaces or
    control characters).
    """
    value = read_exactly(path)
    if value is None:
        return None
    secret = value.decode("ascii", errors="replace").removesuffix("\n")
    if len(secret) < MINIMUM_LENGTH or not all("!" <= character <= "~" for character in secret):
        raise CommandExecutionError(
            f"secret {path}: must be one line of at least {MINIMUM_LENGTH} printable ASCII characters without spaces"
        )
    return secret


def read_exactly(path, ours=True):
    """
    Return what a file of a secret holds, as bytes, or None if there is no such file.

    ours
        False: the file is the administrator's; an error does not propose to delete it.

    Raises CommandExecutionError, naming the file and the reason, if it is a
    link or not a regular file, if it belongs to somebody else, if others can
    read it, or if it is larger than what Podman takes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandExecutionError(f"secret {path}: {error.strerror} (links are not followed)") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CommandExecutionError(f"secret {path}: not a regular file")
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            delete = "delete the file so that a new secret takes its place, or " if ours else ""
            raise CommandExecutionError(
                f"secret {path}: uid {status.st_uid} and mode {stat.S_IMODE(status.st_mode):04o} let others read it;"
                f" {delete}give it to root with mode 0600"
            )
        if status.st_size > MAXIMUM_SIZE:
            raise CommandExecutionError(f"secret {path}: {status.st_size} bytes, of which Podman takes {MAXIMUM_SIZE}")
        with os.fdopen(descriptor, "rb", closefd=False) as handle:
            return handle.read()
    finally:
        os.close(descriptor)


def create(path):
    """
    Write a new random secret (256 bits) to a file that does not exist yet and return it.

    Missing directories are made with mode 0700. The file appears complete or not at all.

    Raises CommandExecutionError if it cannot be written.
    """
    secret = secrets.token_urlsafe(32)
    put(path, f"{secret}\n", replace=False)
    return secret


def obtain(path):
    """
    Return a daemon's password as ``read`` does; one that is not there is made as by ``create``.
    """
    return read(path) or create(path)


def put(path, value, replace=True):
    """
    Write a secret, text or bytes, to a file that only its owner can read (0600).

    Missing directories are made with mode 0700. The file appears complete or not at all.

    replace
        False: a file that is there is an error.

    Raises CommandExecutionError if it cannot be written.
    """
    target = Path(path)
    try:
        for folder in reversed(target.parents):  # mkdir(parents=True) would give the mode to the last one only
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
        write(target, value, mode=0o600, replace=replace)
    except OSError as error:
        raise CommandExecutionError(f"secret {path}: {error.strerror}") from error


def remove(path):
    """
    Delete the file of a secret if it is there.

    Raises CommandExecutionError if it cannot be deleted.
    """
    try:
        Path(path).unlink(missing_ok=True)
    except OSError as error:
        raise CommandExecutionError(f"secret {path}: {error.strerror}") from error


def write(path, text, mode, owner=None, replace=True):
    """
    Write a file that is never seen half written or with a wider mode than ``mode``, not even by an unlucky reader.

    text
        Text, written as UTF-8, or bytes.

    owner
        ``(uid, gid)``; by default the process's own.

    replace
        False: raise FileExistsError rather than take the place of a file.

    Raises OSError.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(text if isinstance(text, bytes) else text.encode())
            handle.flush()
            if owner:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        if replace:
            Path(temporary).replace(target)
        else:
            os.link(temporary, target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
