"""
How benchmarks/fleet counts what daemons take, and ends them: all processes of each, and no others.
"""

import subprocess
import sys

import pytest

FAMILY = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); input()"
BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True); input()"


@pytest.fixture(scope="module")
def daemons(benchmark_file):
    return benchmark_file("fleet_daemons.py")


@pytest.fixture
def started():
    """A function that starts Python with some code, and returns once that has printed a line."""
    running = []

    def start(code):
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        process.stdout.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_the_children_of_a_daemon_are_found(daemons, started):
    process = started(FAMILY)
    (child,) = daemons.descendants(daemons.parents(), process.pid)
    assert daemons.parents()[child] == process.pid


def test_a_daemon_that_does_not_end_by_itself_is_ended(daemons, started, monkeypatch):
    monkeypatch.setattr(daemons, "TO_END", 0.3)
    process = started(STUBBORN)
    daemons.end(process)
    assert process.returncode == -9


def test_what_a_daemon_has_used_is_counted(daemons, started):
    process = started(BUSY)
    assert daemons.cpu([process.pid]) >= 0.25  # in ticks of a hundredth
    assert daemons.memory([process.pid]) > 1
    assert daemons.descriptors(process.pid) >= 3


def test_a_process_that_is_gone_counts_nothing(daemons, started):
    process = started("print(1, flush=True)")
    process.wait()
    assert (daemons.cpu([process.pid]), daemons.memory([process.pid]), daemons.descriptors(process.pid)) == (0, 0, 0)


def test_free_ports_are_two_of_them_and_free(daemons):
    first, second = daemons.free_ports(2)
    assert first != second
    assert {first, second}.isdisjoint({4505, 4506})
