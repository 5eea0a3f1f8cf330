"""
What the queue keeps in Valkey: no job is lost, nothing stays for ever, and all of it is below the prefix.
"""

import pytest
import redis

URL = "unix://queue:sesame@/run/valkey/valkey.sock"


def test_jobs_are_taken_in_the_order_in_which_they_came(queue):
    first, second = queue.submit("one"), queue.submit("two")
    assert [queue.take(1), queue.take(1), queue.take(1)] == [(first, "one"), (second, "two"), None]


def test_a_job_that_was_taken_is_kept_until_its_result_is_stored(queue, valkey):
    job = queue.submit("text")
    queue.take(1)
    assert valkey.lists["queue:working"] == [job]
    queue.finish(job, {"words": 1})
    assert valkey.lists["queue:working"] == []
    assert queue.jobs()[0]["words"] == "1"


def test_what_a_dead_worker_had_taken_is_done_first_by_the_next(queue):
    lost, later = queue.submit("lost"), queue.submit("later")
    queue.take(1)
    assert queue.put_back() == 1
    assert [queue.take(1), queue.take(1)] == [(lost, "lost"), (later, "later")]


def test_several_lost_jobs_keep_their_order(queue):
    names = [queue.submit(text) for text in ("a", "b", "c")]
    queue.take(1)
    queue.take(1)
    assert queue.put_back() == 2
    assert [queue.take(1)[0] for _ in names] == names


def test_a_job_that_expired_while_it_waited_is_dropped(queue, valkey):
    job = queue.submit("old")
    del valkey.hashes[f"queue:job:{job}"]
    assert queue.take(1) is None
    assert valkey.lists["queue:working"] == []
    assert queue.jobs() == []


def test_the_newest_job_is_shown_first_and_old_ones_make_room(queue, jobs):
    for number in range(jobs.SHOWN + 5):
        queue.submit(f"text {number}")
        queue.take(1)
    shown = [job["text"] for job in queue.jobs()]
    assert shown[0] == f"text {jobs.SHOWN + 4}"
    assert len(shown) == jobs.SHOWN


def test_a_full_queue_refuses_the_next_job(queue, jobs, valkey):
    for _ in range(jobs.MOST_WAITING):
        queue.submit("text")
    known = len(valkey.hashes)
    with pytest.raises(jobs.Full):
        queue.submit("one too many")
    assert len(valkey.hashes) == known


def test_every_key_expires_except_the_queue_itself(queue, valkey):
    job = queue.submit("text")
    queue.beat()
    queue.finish(job, {"words": 1})
    queue.check()
    keys = set(valkey.hashes) | set(valkey.lists) | set(valkey.values)
    assert keys - set(valkey.expiries) == {"queue:waiting"}


def test_every_key_is_below_the_prefix(queue, valkey):
    job = queue.submit("text")
    queue.take(1)
    queue.finish(job, {"words": 1})
    queue.beat()
    queue.check()
    keys = set(valkey.hashes) | set(valkey.lists) | set(valkey.values) | set(valkey.expiries)
    assert {key for key in keys if not key.startswith("queue:")} == set()


def test_the_worker_is_alive_while_its_sign_is_there(queue, valkey):
    assert not queue.worker_is_alive()
    queue.beat()
    assert queue.worker_is_alive()
    assert valkey.expiries["queue:worker"] > 0


def test_the_check_leaves_nothing_behind(queue, valkey):
    queue.check()
    assert valkey.values == {}


def test_a_valkey_that_forgets_is_not_healthy(queue, jobs, valkey):
    valkey.forgets = True
    with pytest.raises(jobs.Unavailable, match="not read back"):
        queue.check()


@pytest.mark.parametrize(
    "error", [redis.ConnectionError("gone"), redis.TimeoutError("slow"), redis.ResponseError("NOPERM")]
)
def test_each_failure_of_valkey_counts_as_unavailable(queue, jobs, valkey, error):
    valkey.fails = error
    for call in (queue.jobs, queue.put_back, queue.beat, queue.check, lambda: queue.submit("x"), lambda: queue.take(1)):
        with pytest.raises(jobs.Unavailable, match=str(error)):
            call()


def test_every_call_opens_and_closes_a_connection_of_its_own(queue, valkey):
    queue.submit("text")
    queue.take(1)
    assert (valkey.opened, valkey.closed) == (2, 2)


def test_the_connection_outlasts_the_wait_for_a_job(queue, valkey):
    queue.take(5)
    assert valkey.options["socket_timeout"] > 5


def test_a_socket_that_is_missing_counts_as_unavailable(jobs, tmp_path):
    with pytest.raises(jobs.Unavailable):
        jobs.Queue(f"unix://queue:sesame@{tmp_path}/valkey.sock", "queue:").check()


def test_settings_are_read_from_the_environment(jobs):
    found = jobs.Settings.read({"VALKEY_URL": URL, "VALKEY_PREFIX": "q:", "LISTEN": "::1", "PORT": "9000"})
    assert found == jobs.Settings(url=URL, prefix="q:", listen="::1", port=9000)


def test_all_wrong_settings_are_named_at_once(jobs):
    with pytest.raises(jobs.SettingsError, match=r"VALKEY_URL.*PORT"):
        jobs.Settings.read({"PORT": "http"})


@pytest.mark.parametrize("url", ["valkey.sock", "http://queue:hunter2@/x", "redis://queue:hunter2@[broken", "unix"])
def test_a_url_that_is_none_is_refused_without_showing_its_password(jobs, url):
    with pytest.raises(jobs.SettingsError, match="VALKEY_URL") as caught:
        jobs.Settings.read({"VALKEY_URL": url})
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_print_their_secrets(jobs):
    assert "sesame" not in repr(jobs.Settings.read({"VALKEY_URL": URL}))
