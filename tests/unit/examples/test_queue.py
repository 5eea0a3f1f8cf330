"""
The queue's page, over a Valkey that answers, and over one that does not.
"""

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REASON = "socket /run/secret of user hunter2"


@pytest.fixture
def client(web, queue):
    return web.create_app(queue).test_client()


@pytest.fixture
def down(valkey):
    valkey.fails = redis.ConnectionError(REASON)


def finish(queue, worker):
    """Do what waits, as the worker would."""
    while taken := queue.take(1):
        job, text = taken
        queue.finish(job, worker.examine(text))


def test_health_is_200_only_when_valkey_answers_and_the_worker_is_alive(client, queue):
    assert client.get("/health").json == {"status": "failed", "checks": {"valkey": "ok", "worker": "failed"}}
    queue.beat()
    answer = client.get("/health")
    assert (answer.status_code, answer.json) == (200, {"status": "ok", "checks": {"valkey": "ok", "worker": "ok"}})


def test_health_is_503_without_valkey_and_keeps_the_reason_to_itself(client, down):
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json["checks"] == {"valkey": "failed", "worker": "failed"}
    assert "hunter2" not in answer.text


def test_the_reason_of_a_failure_is_in_the_log(client, web, down, monkeypatch):
    written = []
    monkeypatch.setattr(web.log, "warning", lambda text, *values: written.append(text % values))
    client.get("/health")
    assert len(written) == 2
    assert all(REASON in line for line in written)


def test_health_recovers_with_valkey(client, queue, valkey, down):
    assert client.get("/health").status_code == 503
    valkey.fails = None
    queue.beat()
    assert client.get("/health").status_code == 200


def test_a_text_is_taken_and_its_result_shown(client, queue, worker):
    answer = client.post("/", data={"text": "the dog and the fox"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert "Waiting" in client.get("/").text
    finish(queue, worker)
    page = client.get("/").text
    assert "Waiting" not in page
    assert "the (2)" in page


def test_results_come_as_json_too(client, queue, worker):
    client.post("/", data={"text": "one two"})
    finish(queue, worker)
    [job] = client.get("/jobs").json
    assert (job["text"], job["words"]) == ("one two", "2")


def test_the_digest_is_that_of_the_text_as_it_was_typed(client, queue, worker):
    client.post("/", data={"text": "one\r\ntwo"})
    finish(queue, worker)
    assert client.get("/jobs").json[0]["text"] == "one\ntwo"


def test_a_text_is_escaped(client):
    client.post("/", data={"text": "<script>alert(1)</script>"})
    page = client.get("/").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_text_is_examined_as_it_is_or_refused_and_given_back(client, queue, valkey, worker, text):
    valkey.hashes.clear()
    valkey.lists.clear()
    answer = client.post("/", data={"text": text})
    finish(queue, worker)
    kept = [job["text"] for job in client.get("/jobs").json]
    typed = text.replace("\r\n", "\n")
    if typed.strip():
        assert (answer.status_code, kept) == (303, [typed])
        assert client.get("/").status_code == 200
    else:
        assert (answer.status_code, kept) == (400, [])


def test_a_text_that_is_too_long_is_refused(client, web, queue):
    assert client.post("/", data={"text": "x" * (web.LONGEST_TEXT + 1)}).status_code == 400
    assert queue.jobs() == []


def test_a_full_queue_is_told_and_the_text_given_back(client, queue, jobs):
    for _ in range(jobs.MOST_WAITING):
        queue.submit("text")
    answer = client.post("/", data={"text": "precious"})
    assert answer.status_code == 503
    assert "Too many texts are waiting" in answer.text
    assert "precious</textarea>" in answer.text


def test_a_text_that_was_not_taken_is_given_back(client, down):
    answer = client.post("/", data={"text": "precious <b>"})
    assert answer.status_code == 503
    assert "precious &lt;b&gt;</textarea>" in answer.text
    assert "hunter2" not in answer.text


def test_the_page_says_so_when_valkey_is_away(client, down):
    answer = client.get("/")
    assert answer.status_code == 503
    assert "Valkey does not answer" in answer.text
    assert client.get("/jobs").status_code == 503


def test_the_page_says_so_when_the_worker_is_away(client, queue):
    assert "The worker is away" in client.get("/").text
    queue.beat()
    assert "The worker is away" not in client.get("/").text


def test_the_page_looks_again_only_while_there_is_something_to_come(client, queue, worker):
    refreshes = 'http-equiv="refresh"'
    client.post("/", data={"text": "text"})
    assert refreshes not in client.get("/").text  # nobody works on it, and it would disturb who writes
    queue.beat()
    assert refreshes in client.get("/").text
    finish(queue, worker)
    assert refreshes not in client.get("/").text


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"}, {"Origin": "null"}]
)
def test_a_form_on_another_site_cannot_send_a_text(client, queue, headers):
    assert client.post("/", data={"text": "spam"}, headers=headers).status_code == 403
    assert queue.jobs() == []


@pytest.mark.parametrize("headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}])
def test_our_own_form_and_programs_can_send_a_text(client, queue, headers):
    assert client.post("/", data={"text": "mine"}, headers=headers).status_code == 303
    assert [job["text"] for job in queue.jobs()] == ["mine"]


@pytest.mark.parametrize("path", ["/", "/health", "/jobs", "/static/style.css", "/nowhere"])
def test_every_answer_forbids_foreign_content(client, path):
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/").text + client.get("/static/style.css").text
    assert "http://" not in page
    assert "https://" not in page
