"""
The worker: what it finds in a text, and that neither a restart of Valkey nor its own end loses a job.
"""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st


class Ended(Exception):
    """The test's way out of the endless loop."""


def until(valkey, condition):
    """A pause for the worker's loop that mends Valkey, and ends the loop once ``condition()`` holds."""

    def pause(_seconds):
        if condition():
            raise Ended
        valkey.fails = None

    return pause


@pytest.fixture
def work(worker, queue, valkey, monkeypatch):
    """A function that lets the worker run until the queue is empty."""

    def run():
        take = queue.take

        def take_or_end(wait):
            taken = take(wait)
            if taken is None:
                raise Ended
            return taken

        monkeypatch.setattr(queue, "take", take_or_end)
        with pytest.raises(Ended):
            worker.run(queue, pause=until(valkey, lambda: False))
        monkeypatch.setattr(queue, "take", take)

    return run


def test_it_finds_what_wc_and_sha256sum_find(worker):
    text = "The quick fox\nand the dog\n"
    found = worker.examine(text)
    assert (found["words"], found["lines"]) == (6, 2)
    assert found["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert found["frequent"] == "the (2), quick (1), fox (1)"


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_it_can_examine_any_text(text):
    import worker

    found = worker.examine(text)
    assert found["words"] >= 0
    assert all(isinstance(value, (str, int)) for value in found.values())


def test_it_does_what_waits_and_stores_the_results(queue, work):
    queue.submit("one two")
    queue.submit("three")
    work()
    assert [job["words"] for job in queue.jobs()] == ["1", "2"]


def test_it_says_that_it_is_alive(queue, work):
    work()
    assert queue.worker_is_alive()


def test_it_does_again_what_its_predecessor_had_taken(queue, work):
    queue.submit("left behind")
    queue.take(1)
    work()
    assert queue.jobs()[0]["words"] == "2"


def test_it_goes_on_after_valkey_was_away(queue, valkey, work):
    queue.submit("text")
    valkey.fails = redis.ConnectionError("gone")
    work()
    assert queue.jobs()[0]["words"] == "1"


def test_a_job_that_was_lost_with_the_connection_is_done(queue, valkey, work, monkeypatch):
    queue.submit("text")
    finish = queue.finish

    def fail_once(job, result):
        monkeypatch.setattr(queue, "finish", finish)
        valkey.fails = redis.ConnectionError("gone")
        finish(job, result)

    monkeypatch.setattr(queue, "finish", fail_once)
    work()
    assert queue.jobs()[0]["words"] == "1"
    assert valkey.lists["queue:working"] == []


def test_it_complains_once_while_valkey_is_away(worker, queue, valkey, monkeypatch):
    said, pauses = [], []
    monkeypatch.setattr(worker.log, "warning", lambda text, *values: said.append(text % values))

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 5:
            raise Ended

    valkey.fails = redis.ConnectionError("gone")
    with pytest.raises(Ended):
        worker.run(queue, pause)
    assert len(said) == 1
    assert "gone" in said[0]


def test_sigterm_ends_it_at_once_while_valkey_is_away(worker, tmp_path):
    environment = {**os.environ, "VALKEY_URL": f"unix://{tmp_path}/none.sock", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, worker.__file__], env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "trying until it answers" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 0


@pytest.mark.parametrize("program", ["web.py", "worker.py", "alive.py"])
def test_a_wrong_setting_ends_each_program_with_one_line(worker, program):
    path = Path(worker.__file__).with_name(program)
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "VALKEY_URL is not set" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_health_command_passes_once_there_is_a_sign_of_life(alive, queue):
    queue.beat()
    assert alive.reason(queue) is None


def test_the_health_command_waits_for_a_worker_that_starts(alive, queue, monkeypatch):
    monkeypatch.setattr(alive.time, "sleep", lambda _: queue.beat())
    assert alive.reason(queue) is None


def test_the_health_command_fails_without_a_sign_of_life(alive, queue):
    assert alive.reason(queue, patience=0) == "no sign of life in Valkey"


def test_the_health_command_says_that_valkey_is_away(alive, queue, valkey):
    valkey.fails = redis.ConnectionError("gone")
    assert "gone" in alive.reason(queue, patience=0)
