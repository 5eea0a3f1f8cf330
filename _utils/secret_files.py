"""
Secrets of this host: one file each, that only root can read.

They are made on the host and stay there. Losing one is no disaster: whoever
needs it makes a new one and hands it to the daemon again.
"""

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

DIRECTORY = "/var/lib/rick-infra/secrets"
MINIMUM_LENGTH = 16  # characters; daemons keep unsalted hashes, so only length protects a secret from guessing


def directory():
    """
    Return the directory of the secrets that the tree makes by itself.
    """
    return DIRECTORY


def read(path):
    """
    Return the secret in a file without its trailing newline, or None if there is no such file.

    Raises CommandExecutionError, naming the file and the reason, if it is a
    link or not a regular file, if it belongs to somebody else, if others can
    read it, or if what it holds cannot be a secret (shorter than 16
    characters, spaces or control characters).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CommandExecutionError(f"secret {path}: {error.strerror} (links are not followed)") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise CommandExecutionError(f"secret {path}: not a regular file")
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as handle:
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise CommandExecutionError(
                f"secret {path}: uid {status.st_uid} and mode {stat.S_IMODE(status.st_mode):04o} let others read it;"
                " delete the file so that a new secret takes its place, or give it to root with mode 0600"
            )
        secret = handle.read().removesuffix("\n")
    if len(secret) < MINIMUM_LENGTH or not all("!" <= character <= "~" for character in secret):
        raise CommandExecutionError(
            f"secret {path}: must be one line of at least {MINIMUM_LENGTH} printable ASCII characters without spaces"
        )
    return secret


def create(path):
    """
    Write a new random secret (256 bits) to a file that does not exist yet and return it.

    Missing directories are made with mode 0700. The file appears complete or not at all.

    Raises CommandExecutionError if it cannot be written.
    """
    target = Path(path)
    secret = secrets.token_urlsafe(32)
    try:
        for folder in reversed(target.parents):  # mkdir(parents=True) would give the mode to the last one only
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
        write(target, f"{secret}\n", mode=0o600, replace=False)
    except OSError as error:
        raise CommandExecutionError(f"secret {path}: {error.strerror}") from error
    return secret


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

    owner
        ``(uid, gid)``; by default the process's own.

    replace
        False: raise FileExistsError rather than take the place of a file.

    Raises OSError.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
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
