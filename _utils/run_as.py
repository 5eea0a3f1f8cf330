"""
Call a function as another user of the system.
"""

import json
import os
import pwd
import select
import signal
import sys
import traceback

from salt.exceptions import CommandExecutionError


def call(user, function, timeout):
    """
    Call ``function()`` in a child process that is ``user``, with all of the user's groups, and return its answer.

    A child, because nothing of root may be left for the call, and because an
    error on the way back must not leave Salt itself as somebody else.

    user
        Name of the user. The groups are those of the group database now; a
        service that started earlier may have others.

    function
        Takes nothing and returns what JSON can carry. A CommandExecutionError
        that it raises is raised here.

    timeout
        Seconds until a child that does not answer is killed.

    Raises CommandExecutionError if the user does not exist, the caller is
    neither root nor that user, or there is no answer in time.
    """
    try:
        account = pwd.getpwnam(user)
    except KeyError as error:
        raise CommandExecutionError(f"there is no user {user} on this host") from error
    if os.geteuid() not in (0, account.pw_uid):
        raise CommandExecutionError(f"only root can act as {user}: use sudo")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        finished = False
        try:
            _become(account)
            with os.fdopen(writing, "w") as stream:
                json.dump(_answer(function), stream)
            finished = True
        finally:
            if not finished:
                traceback.print_exc(file=sys.stderr)
            os._exit(0)  # the parent's buffers and exit handlers are not ours to run
    os.close(writing)
    try:
        answer = _read(reading, timeout)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)  # it has answered, or never will; not reaped yet, so the number is still its own
        os.waitpid(child, 0)
    if not answer:
        raise CommandExecutionError(f"no answer as user {user} within {timeout} s")
    outcome = json.loads(answer)
    if "error" in outcome:
        raise CommandExecutionError(outcome["error"])
    return outcome["value"]


def _become(account):
    if os.geteuid() == 0:
        os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
    # What libraries look up in the home directory is the user's, not root's.
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)


def _answer(function):
    try:
        return {"value": function()}
    except CommandExecutionError as error:
        return {"error": str(error)}


def _read(descriptor, timeout):
    """Everything the child writes until it closes its end, or nothing if that takes longer than ``timeout``."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    parts = []
    while poll.poll(timeout * 1000):
        part = os.read(descriptor, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return b""
