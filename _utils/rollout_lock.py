"""
One roll-out at a time: a file that says whose turn it is, for as long as that process lives.

A process that was killed takes its claim along, since the kernel knows when the process of a number began.
"""

import contextlib
import fcntl
import json
import os
from pathlib import Path


def take(path, about):
    """
    Claim the turn for this process and return None; if another one that lives has it, return what it said of itself.

    path
        Of the file. Its folder is made, for root only.

    about
        What others are told, a mapping.
    """
    with _opened(path) as stream:
        found = _holder(stream)
        if found is not None:
            return found["about"]
        _write(stream, {"pid": os.getpid(), "started": _started(os.getpid()), "about": about})
        return None


def release(path):
    """
    Give the turn back, if it is this process's.
    """
    with _opened(path) as stream:
        found = _holder(stream)
        if found is not None and found["pid"] == os.getpid():
            _write(stream, None)


def holder(path):
    """
    Return what the process whose turn it is said of itself, None if it is nobody's.
    """
    if not Path(path).exists():
        return None
    with _opened(path) as stream:
        found = _holder(stream)
        return found["about"] if found else None


@contextlib.contextmanager
def _opened(path):
    target = Path(path)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as stream:
        # Held while the file is looked at and written only: two that start at once must not both find it free.
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream


def _holder(stream):
    try:
        claim = json.load(stream)
        alive = claim is not None and _started(claim["pid"]) == claim["started"]
    except (ValueError, KeyError, TypeError):
        return None  # half a claim, of a process that was killed while it wrote
    return claim if alive else None


def _write(stream, claim):
    stream.seek(0)
    stream.truncate()
    json.dump(claim, stream)
    stream.flush()


def _started(pid):
    """When a process began, in clock ticks after boot; None if there is none. See proc_pid_stat(5), field 22."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None
