"""
What a socket path and a mode may look like, and how a path is opened without following a link.
"""

import os
import re
import stat

from salt.exceptions import CommandExecutionError, SaltInvocationError

LONGEST_SOCKET_PATH = 107  # bytes; sun_path in unix(7) has 108, the last one is the terminating zero
# What neither systemd's units nor tmpfiles.d nor Quadlet give a meaning of their own to.
PLAIN_PATH = re.compile(r"(/[A-Za-z0-9._+@-]+)+")


def path(value):
    """
    Return ``value`` if it can be the path of a socket or of its directory.

    Raises SaltInvocationError for a path that is relative, too long for a
    socket, not in its shortest form (``//``, ``..``, a slash at the end), or
    that holds characters with a meaning in units and tmpfiles.d (white space,
    ``%``, quotes).
    """
    if not isinstance(value, str) or not value.startswith("/"):
        raise SaltInvocationError(f"{value!r} is not an absolute path: write it from the root, as in /run/valkey")
    if not PLAIN_PATH.fullmatch(value) or os.path.normpath(value) != value:
        raise SaltInvocationError(
            f"{value!r} is not a plain path: letters, digits and ._+@- between single slashes, "
            "no '..' and no slash at the end"
        )
    if len(value.encode()) > LONGEST_SOCKET_PATH:
        raise SaltInvocationError(f"{value} is {len(value)} bytes long; a socket's path can have {LONGEST_SOCKET_PATH}")
    return value


def mode(value):
    """
    Return a mode as four octal digits, for example ``"2750"``.

    value
        A string (``"2750"``, ``"0770"``, ``"0o770"``), or a number, which is
        read by its digits: Salt's own YAML loader turns both ``0770`` and
        ``770`` into the number 770. Any other YAML loader turns ``0770`` into
        504, which is refused where its digits make no sense as a mode: quote it.

    Raises SaltInvocationError if it is not a mode.
    """
    text = str(value)
    digits = text.removeprefix("0o")
    if isinstance(value, bool) or not re.fullmatch(r"0?[0-7]{3,4}", digits) or int(digits, 8) > 0o7777:
        raise SaltInvocationError(
            f'mode {text} is not an octal mode: write it as a quoted string of three or four digits, as in "2750"'
        )
    return f"{int(digits, 8):04o}"


def directory_mode(value):
    """
    Return the mode of a socket directory as four octal digits.

    Raises SaltInvocationError if it lets others in, or lets the group's
    members write: who may write in the directory may unlink the socket, bind
    another in its place and collect what clients send, passwords included.
    """
    digits = _closed_to_others(value)
    if int(digits, 8) & stat.S_IWGRP:
        raise SaltInvocationError(
            f"mode {digits} lets members of the group write to the directory, "
            'and so replace the socket by one of their own: use "2750"'
        )
    return digits


def socket_mode(value):
    """
    Return the mode of a socket as four octal digits.

    Raises SaltInvocationError if it lets others connect.
    """
    return _closed_to_others(value)


def _closed_to_others(value):
    digits = mode(value)
    if int(digits, 8) & stat.S_IRWXO:
        hint = ""
        if isinstance(value, int):
            hint = f" (the number {value} is read by its digits; if {value:#o} was meant, quote it)"
        raise SaltInvocationError(f"mode {digits} lets others in: the last digit must be 0{hint}")
    return digits


def open_parent(path):
    """
    Open the directory that holds ``path`` without following a link anywhere, and return its descriptor.

    The descriptor (O_PATH) stays on that directory even if somebody swaps a
    part of the path afterwards. The caller closes it.

    Raises CommandExecutionError that names the first part which is missing,
    a symbolic link, or not a directory.
    """
    held = os.open("/", os.O_PATH | os.O_DIRECTORY)
    walked = ""
    for part in path.split("/")[1:-1]:
        walked += f"/{part}"
        try:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
        except OSError as error:
            raise CommandExecutionError(_obstacle(path, walked, error)) from error
        finally:
            os.close(held)
        held = inner
    return held


def _obstacle(path, walked, error):
    if os.path.islink(walked):  # noqa: PTH114 - as text, like everything here
        real = os.path.realpath(path)
        return f"{path} leads through {walked}, which is a symbolic link: write {real}"
    return f"{path}: {walked}: {error.strerror}"
