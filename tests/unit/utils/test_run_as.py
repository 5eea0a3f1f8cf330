"""
Calling a function in a child: its answer, its errors, and its end. The change of user itself takes root (functional).
"""

import os
import pwd
import signal
import time

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

run_as = load("utils", "run_as")
ME = pwd.getpwuid(os.getuid()).pw_name


def test_the_answer_comes_back_from_another_process():
    assert run_as.call(ME, lambda: {"pid": os.getpid(), "rows": ["x" * 200_000]}, 10) != {"pid": os.getpid()}
    assert run_as.call(ME, lambda: os.getuid(), 10) == os.getuid()
    assert run_as.call(ME, lambda: os.environ["USER"], 10) == ME


def test_an_error_is_raised_here():
    def fail():
        raise CommandExecutionError("refused by pg_hba")

    with pytest.raises(CommandExecutionError, match="refused by pg_hba"):
        run_as.call(ME, fail, 10)


@pytest.mark.parametrize("end", [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: 1 / 0])
def test_a_child_that_dies_is_no_answer(end):
    with pytest.raises(CommandExecutionError, match="no answer"):
        run_as.call(ME, end, 10)


def test_a_child_that_hangs_is_killed_and_reaped():
    started = time.monotonic()
    with pytest.raises(CommandExecutionError, match="no answer"):
        run_as.call(ME, signal.pause, 0.2)
    assert time.monotonic() - started < 5
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_an_unknown_user_is_named():
    with pytest.raises(CommandExecutionError, match="no user nosuch"):
        run_as.call("nosuch", os.getuid, 10)


def test_somebody_else_needs_root(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(CommandExecutionError, match="only root"):
        run_as.call("root", os.getuid, 10)
