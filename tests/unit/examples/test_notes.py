"""
The pages of the example application, over stores that answer, and over stores that do not.
"""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REASON = "socket /run/secret of role hunter2"
ENVIRONMENT = {
    "DATABASE_URL": "postgresql://notes@/notes?host=/run/postgresql",
    "VALKEY_SOCKET": "/run/valkey/valkey.sock",
    "VALKEY_USER": "notes",
    "VALKEY_PASSWORD": "sesame",
}


class FakeStore:
    """What both stores have; ``fails`` makes every call raise the given error."""

    socket = Path("/nonexistent/socket")

    def __init__(self):
        self.fails = None

    def check(self):
        if self.fails:
            raise self.fails

    def known_as(self):
        self.check()
        return "notes"


class FakeDatabase(FakeStore):
    name = "postgresql"

    def __init__(self):
        super().__init__()
        self.kept = []

    def notes(self):
        self.check()
        return [(text, datetime(2026, 1, 2, 3, 4, tzinfo=UTC)) for text in reversed(self.kept)]

    def add(self, text):
        self.check()
        self.kept.append(text)


class FakeCache(FakeStore):
    name = "valkey"

    def __init__(self):
        super().__init__()
        self.visits = 0

    def visit(self):
        self.check()
        self.visits += 1
        return self.visits


@pytest.fixture
def database():
    return FakeDatabase()


@pytest.fixture
def cache():
    return FakeCache()


@pytest.fixture
def client(notes, database, cache):
    return notes.create_app(database, cache).test_client()


@pytest.fixture
def failure(stores):
    return stores.Unavailable(REASON)


def test_health_is_200_only_when_both_stores_answer(client):
    answer = client.get("/health")
    assert (answer.status_code, answer.json) == (
        200,
        {"status": "ok", "checks": {"postgresql": "ok", "valkey": "ok"}},
    )


@pytest.mark.parametrize("down", [["postgresql"], ["valkey"], ["postgresql", "valkey"]])
def test_health_is_503_and_names_what_failed_without_the_reason(client, database, cache, failure, down):
    for store in (database, cache):
        store.fails = failure if store.name in down else None
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json["status"] == "failed"
    assert [name for name, result in answer.json["checks"].items() if result == "failed"] == down
    assert "hunter2" not in answer.text


def test_the_reason_of_a_failure_is_in_the_log(client, notes, database, failure, monkeypatch):
    written = []
    monkeypatch.setattr(notes.log, "warning", lambda text, *values: written.append(text % values))
    database.fails = failure
    client.get("/health")
    assert written == [f"health: {REASON}"]


def test_health_recovers_with_the_store(client, database, failure):
    database.fails = failure
    assert client.get("/health").status_code == 503
    database.fails = None
    assert client.get("/health").status_code == 200


def test_a_note_is_stored_and_shown(client, database):
    answer = client.post("/", data={"text": "  buy milk "})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert database.kept == ["buy milk"]
    assert "<p>buy milk</p>" in client.get("/").text


def test_a_note_is_escaped(client):
    client.post("/", data={"text": "<script>alert(1)</script> & \"'"})
    page = client.get("/").text
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;&#39;" in page


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=600))
def test_any_text_is_stored_as_it_is_or_refused_and_given_back(client, database, text):
    database.kept.clear()
    answer = client.post("/", data={"text": text})
    stripped = text.strip()
    if 1 <= len(stripped) <= 500 and "\0" not in stripped:
        assert (answer.status_code, database.kept) == (303, [stripped])
    else:
        assert (answer.status_code, database.kept) == (400, [])
        assert 'role="alert"' in answer.text


def test_visits_are_counted(client):
    client.get("/")
    assert "<strong>2</strong>" in client.get("/").text


def test_the_page_still_works_when_visits_cannot_be_counted(client, cache, failure):
    cache.fails = failure
    answer = client.get("/")
    assert answer.status_code == 200
    assert "Visits are not being counted" in answer.text
    assert "hunter2" not in answer.text


def test_the_page_says_so_when_the_database_is_down(client, database, failure):
    database.fails = failure
    answer = client.get("/")
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text
    assert "hunter2" not in answer.text


def test_a_note_that_was_not_stored_is_given_back(client, database, failure):
    database.fails = failure
    answer = client.post("/", data={"text": "precious <b>"})
    assert answer.status_code == 503
    assert "precious &lt;b&gt;</textarea>" in answer.text
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
        {"Origin": "https://evil.test"},
        {"Origin": "http://localhost.evil.test"},
        {"Origin": "null"},
    ],
)
def test_a_form_on_another_site_cannot_add_a_note(client, database, headers):
    assert client.post("/", data={"text": "spam"}, headers=headers).status_code == 403
    assert database.kept == []


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}]
)
def test_our_own_form_and_programs_can_add_a_note(client, database, headers):
    assert client.post("/", data={"text": "mine"}, headers=headers).status_code == 303
    assert database.kept == ["mine"]


def test_whoami_tells_the_process_and_its_sockets(client, identity):
    answer = client.get("/whoami").json
    assert {key: answer[key] for key in identity.process()} == identity.process()
    assert [(socket["store"], socket["present"], socket["known_as"]) for socket in answer["sockets"]] == [
        ("postgresql", False, "notes"),
        ("valkey", False, "notes"),
    ]


def test_whoami_answers_while_the_stores_do_not(client, database, failure):
    database.fails = failure
    answer = client.get("/whoami")
    assert answer.status_code == 200
    assert answer.json["sockets"][0]["known_as"] is None


@pytest.mark.parametrize("path", ["/", "/health", "/whoami", "/static/style.css", "/nowhere"])
def test_every_answer_forbids_foreign_content(client, path):
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_loads_nothing_from_elsewhere(client):
    page = client.get("/").text + client.get("/static/style.css").text
    assert "http://" not in page
    assert "https://" not in page


def test_settings_are_read_from_the_environment(notes):
    found = notes.Settings.read({**ENVIRONMENT, "PORT": "9000", "LISTEN": "::1", "VALKEY_PREFIX": "n:"})
    assert (found.port, found.listen, found.valkey_prefix, found.valkey_password) == (9000, "::1", "n:", "sesame")


def test_all_wrong_settings_are_named_at_once(notes):
    with pytest.raises(notes.SettingsError) as caught:
        notes.Settings.read({"VALKEY_USER": "notes", "PORT": "http"})
    for name in ("DATABASE_URL", "VALKEY_SOCKET", "VALKEY_PASSWORD", "PORT"):
        assert name in str(caught.value)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80 80", "²"])
def test_a_port_that_is_none_is_refused(notes, port):
    with pytest.raises(notes.SettingsError, match="PORT"):
        notes.Settings.read({**ENVIRONMENT, "PORT": port})


def test_a_broken_url_is_refused_without_showing_its_password(notes):
    with pytest.raises(notes.SettingsError, match="DATABASE_URL") as caught:
        notes.Settings.read({**ENVIRONMENT, "DATABASE_URL": "postgresql://notes:hunter2@[broken/notes"})
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_print_their_secrets(notes):
    shown = repr(
        notes.Settings.read({**ENVIRONMENT, "DATABASE_URL": "postgresql://u:hunter2@/d", "VALKEY_PASSWORD": "hunter3"})
    )
    assert "hunter" not in shown
