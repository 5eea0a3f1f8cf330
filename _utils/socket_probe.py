"""
Connect to a Unix socket as somebody else.
"""

import os
import select
import signal
import socket
import struct
from pathlib import Path

from salt.exceptions import CommandExecutionError

CHILD_GRACE = 5  # seconds beyond the timeout until a child that does not answer is killed


def connect_as(path, ids, timeout):
    """
    Connect to the stream socket at ``path`` in a child process that has exactly the given ids.

    The change of uid takes every capability from the child, see capabilities(7).

    ids
        ``{"uid": int, "gid": int, "groups": [int]}``; a uid other than 0.

    timeout
        Seconds to wait for a place in a listener's full queue.

    Returns ``(code, obstacle)``: the errno of connecting (0 if it succeeded,
    EAGAIN if the queue stayed full), and if it did not succeed the first
    directory on the way that may not be searched, otherwise the path.

    Raises CommandExecutionError if the ids cannot be taken or the child gives
    no answer.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, _connect(path, ids, timeout).encode())
        finally:
            os._exit(0)  # nothing of the parent's (locks, buffers, exit handlers) is ours to touch
    os.close(writing)
    try:
        ready, _, _ = select.select([reading], [], [], timeout + CHILD_GRACE)
        answer = os.read(reading, 4096).decode() if ready else ""
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)  # it has answered, or never will; not yet reaped, so the number is still its own
        os.waitpid(child, 0)
    step, _, rest = answer.partition(" ")
    if step != "connect":
        why = f"{step}: {os.strerror(int(rest))}" if rest else "no answer"
        raise CommandExecutionError(f"{path}: no probe as uid {ids['uid']} ({why}); it takes root")
    code, _, obstacle = rest.partition(" ")
    return int(code), obstacle


def _connect(path, ids, timeout):
    """In the child: take the ids and connect. Return the last step, its errno, and what refused."""
    step = "setgroups"
    try:
        os.setgroups(ids["groups"])
        step = "setresgid"
        os.setresgid(ids["gid"], ids["gid"], ids["gid"])
        step = "setresuid"
        os.setresuid(ids["uid"], ids["uid"], ids["uid"])
        step = "connect"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            # A non-blocking connect to a full queue fails at once; this is how a blocking one is limited, see unix(7).
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", max(int(timeout), 1), 0))
            client.connect(path)
    except OSError as error:
        return f"{step} {error.errno} {_obstacle(path) if step == 'connect' else ''}".rstrip()
    return "connect 0"


def _obstacle(path):
    """The first directory on the way that the caller may not search, otherwise the path itself."""
    for parent in reversed(Path(path).parents):
        if not os.access(parent, os.X_OK):
            return str(parent)
    return path
