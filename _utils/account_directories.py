"""
Directories that root makes where others may write: no symbolic link on the way is ever followed.

A path is opened part by part. Each parent must belong to root and be writable
for root alone: then nobody else can put something of theirs into its place.
"""

import contextlib
import os
import stat

from salt.exceptions import CommandExecutionError, SaltInvocationError

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PARENT_MODE = 0o755


def checked(path):
    """
    Return a path if it is absolute and says what it means.

    Raises SaltInvocationError for one that is relative or has ``.``, ``..``, or doubled or trailing slashes.
    """
    if not isinstance(path, str) or not path.startswith("/") or os.path.normpath(path) != path or path == "/":
        raise SaltInvocationError(f"{path!r} is not an absolute path without . or .. or needless slashes")
    if "\0" in path or path.startswith("//"):
        raise SaltInvocationError(f"{path!r} is not a path")
    return path


def status(path, repaired=None):
    """
    Return ``{"uid", "gid", "mode"}`` of a directory, ``mode`` an octal string, or None if there is none.

    repaired
        A parent that is itself about to be repaired: its owner and mode may be wrong now.

    Raises CommandExecutionError if it, or what leads to it, is something else
    than a directory, or if somebody else than root can exchange it.
    """
    with contextlib.ExitStack() as stack:
        descriptor = _open(path, stack, repaired)
        if descriptor is None:
            return None
        found = os.fstat(descriptor)
        return {"uid": found.st_uid, "gid": found.st_gid, "mode": f"{stat.S_IMODE(found.st_mode):04o}"}


def own(path, uid, gid, mode):
    """
    Make a directory if there is none and give it an owner, a group and a mode. What is in it is not touched.

    Missing parents become root's, 0755.

    mode
        An octal string.

    Raises CommandExecutionError as ``status`` does, and if it cannot be done.
    """
    with contextlib.ExitStack() as stack:
        descriptor = _open(path, stack, make=True)
        try:
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, int(mode, 8))  # after fchown, which clears the setgid bit
        except OSError as error:
            raise CommandExecutionError(f"{path}: {error.strerror}") from error


def _open(path, stack, repaired=None, make=False):
    """A descriptor of the directory, None if there is none."""
    parts = path.strip("/").split("/")
    descriptor = os.open("/", FLAGS)
    stack.callback(os.close, descriptor)
    for number, part in enumerate(parts):
        so_far = "/" + "/".join(parts[: number + 1])
        parent = "/" + "/".join(parts[:number])
        if parent != repaired:
            _refuse_untrusted(parent, descriptor)
        last = number == len(parts) - 1
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=descriptor)
                    if not last:
                        os.chmod(part, PARENT_MODE, dir_fd=descriptor)
            descriptor = os.open(part, FLAGS, dir_fd=descriptor)
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise CommandExecutionError(
                f"{so_far} is not a directory, and symbolic links are not followed: move it away, or name its target"
            ) from error
        except OSError as error:
            raise CommandExecutionError(f"{so_far}: {error.strerror}") from error
        stack.callback(os.close, descriptor)
    return descriptor


def _refuse_untrusted(path, descriptor):
    found = os.fstat(descriptor)
    writable = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in (0, os.geteuid()) or writable:
        raise CommandExecutionError(
            f"{path} has mode {stat.S_IMODE(found.st_mode):04o} and belongs to uid {found.st_uid}: others than root can"
            " exchange what is in it; give it to root with mode 0755"
        )
