"""
What tokens of the double of Authentik are worth at the API, and what others are not.
"""

import base64

import flask
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

SCOPES = ("api:read", "api:write", "api:readonly", "xapi:write")
BEARER = "Bearer "


@pytest.fixture
def provider(authentik):
    for scope in SCOPES:
        authentik.make("propertymappings/provider/scope", name=scope, scope_name=scope, expression="return {}")
    return authentik.client("items", SCOPES)


@pytest.fixture
def clock(authentik):
    """Time as the application sees it; ``clock.passed`` is how much more than at the provider."""

    class Clock:
        passed = 0

        def __call__(self):
            return authentik.store.time() + self.passed

    return Clock()


@pytest.fixture
def introspection(items, authentik, provider, clock):
    where = f"{authentik.url}/application/o/introspect/"
    return items.Introspection(where, "items", "secret-of-items", clock)


@pytest.fixture
def client(items, introspection):
    return items.create_app(introspection).test_client()


@pytest.fixture
def token(authentik, provider):
    """A function that gets a token for some scopes, as a program does."""

    def one(scope, client="items"):
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": f"secret-of-{client}"}
        answer = requests.post(f"{authentik.url}/application/o/token/", data={**form, "scope": scope}, timeout=10)
        return answer.json()["access_token"]

    return one


@pytest.fixture
def asked(authentik, served):
    """How often the provider was asked what a token is worth."""
    times = []

    def counting(environ, start_response):
        if environ["PATH_INFO"].endswith("/introspect/"):
            times.append(environ.get("HTTP_AUTHORIZATION"))
        return authentik.app(environ, start_response)

    served.app = counting
    return times


def bearer(text):
    return {"Authorization": f"{BEARER}{text}"}


def challenge(answer):
    return answer.headers["WWW-Authenticate"]


def test_who_may_write_adds_an_item_and_who_may_read_sees_it(client, token):
    added = client.post("/items", json={"text": "milk"}, headers=bearer(token("api:write")))
    assert (added.status_code, added.json["text"]) == (201, "milk")
    read = client.get("/items", headers=bearer(token("api:read")))
    assert (read.status_code, [item["text"] for item in read.json["items"]]) == (200, ["milk"])


@pytest.mark.parametrize(
    ("method", "scope", "needed"),
    [
        ("GET", "api:write", "api:read"),
        ("GET", "api:readonly", "api:read"),
        ("GET", "", "api:read"),
        ("POST", "api:read", "api:write"),
        ("POST", "xapi:write", "api:write"),
        ("POST", "api:readonly xapi:write api:read", "api:write"),
    ],
)
def test_a_scope_of_another_name_is_another_scope(client, token, method, scope, needed):
    answer = client.open("/items", method=method, json={"text": "milk"}, headers=bearer(token(scope)))
    assert answer.status_code == 403
    assert challenge(answer) == f'Bearer error="insufficient_scope", scope="{needed}"'


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Basic aXRlbXM6c2VjcmV0"}])
def test_without_a_token_there_is_no_error_code(client, headers):
    answer = client.get("/items", headers=headers)
    assert (answer.status_code, challenge(answer)) == (401, "Bearer")


@pytest.mark.parametrize("text", ["", "unknown", "two words", "a,Bearer b", "ü".encode().decode("latin-1"), "x" * 9000])
def test_what_is_no_token_is_refused(client, text):
    answer = client.get("/items", headers=bearer(text))
    assert (answer.status_code, challenge(answer)) == (401, 'Bearer error="invalid_token"')


def test_what_cannot_be_a_token_is_not_asked_about(client, asked):
    for text in ("", "two words", "x" * 9000):
        client.get("/items", headers=bearer(text))
    assert asked == []


def test_the_word_bearer_may_be_written_as_one_likes(client, token):
    assert client.get("/items", headers={"Authorization": f"bEARER {token('api:read')}"}).status_code == 200


def test_a_token_in_the_address_or_the_body_does_not_count(client, token):
    given = token("api:read api:write")
    assert client.get(f"/items?access_token={given}").status_code == 401
    assert client.post("/items", data={"access_token": given}).status_code == 401


def test_a_token_for_another_application_is_worth_nothing_here(authentik, client, token):
    authentik.client("wiki", SCOPES)
    assert client.get("/items", headers=bearer(token("api:read", client="wiki"))).status_code == 401


def test_an_expired_token_is_refused(authentik, client, token):
    given = bearer(token("api:read"))
    authentik.app.authentik.wait(24 * 3600)
    answer = client.get("/items", headers=given)
    assert (answer.status_code, challenge(answer)) == (401, 'Bearer error="invalid_token"')


def test_a_token_that_has_expired_by_our_clock_is_refused_whatever_the_provider_says(client, token, clock):
    given = bearer(token("api:read"))
    clock.passed = 24 * 3600
    assert client.get("/items", headers=given).status_code == 401


def revoke(authentik, token):
    answer = requests.post(
        f"{authentik.url}/application/o/revoke/", data={"token": token}, auth=("items", "secret-of-items"), timeout=10
    )
    assert answer.status_code == 200


def test_a_revoked_token_is_refused_at_once_if_it_was_not_used_before(authentik, client, token):
    given = token("api:read")
    revoke(authentik, given)
    assert client.get("/items", headers=bearer(given)).status_code == 401


def test_a_revoked_token_that_was_in_use_is_refused_after_half_a_minute_at_the_latest(
    authentik, client, token, clock, items
):
    given = token("api:read")
    assert client.get("/items", headers=bearer(given)).status_code == 200
    revoke(authentik, given)
    clock.passed = items.KEPT - 1
    assert client.get("/items", headers=bearer(given)).status_code == 200  # the price of the cache
    clock.passed = items.KEPT + 1
    assert client.get("/items", headers=bearer(given)).status_code == 401


def test_an_answer_is_kept_no_longer_than_its_token_lasts(client, token, provider, clock):
    provider.update(access_token_validity="seconds=10")  # noqa: S106 - a duration
    given = bearer(token("api:read"))
    assert client.get("/items", headers=given).status_code == 200
    clock.passed = 11
    assert client.get("/items", headers=given).status_code == 401


def test_the_provider_is_asked_once_for_a_token_in_use(client, token, asked):
    given = bearer(token("api:read api:write"))
    for _ in range(3):
        client.get("/items", headers=given)
    client.post("/items", json={"text": "milk"}, headers=given)
    assert len(asked) == 1


def test_a_kept_answer_lets_no_other_scope_in(client, token):
    given = bearer(token("api:read"))
    assert client.get("/items", headers=given).status_code == 200
    assert client.post("/items", json={"text": "milk"}, headers=given).status_code == 403


def test_tokens_that_are_made_up_are_not_kept(client, introspection):
    for number in range(5):
        client.get("/items", headers=bearer(f"made-up-{number}"))
    assert introspection._kept == {}


def test_what_is_kept_has_an_end_and_shows_no_token(items, client, introspection, token, monkeypatch):
    monkeypatch.setattr(items, "MOST_KEPT", 2)
    given = [token("api:read") for _ in range(4)]
    for one in given:
        assert client.get("/items", headers=bearer(one)).status_code == 200
    assert len(introspection._kept) == 2
    assert all(one not in str(introspection._kept) for one in given)


def test_it_shows_who_it_is_by_its_own_client_and_not_by_the_token(client, token, asked):
    client.get("/items", headers=bearer(token("api:read")))
    assert base64.b64decode(asked[0].removeprefix("Basic ")) == b"items:secret-of-items"


def test_with_a_wrong_secret_no_token_is_worth_anything(items, authentik, token, clock):
    where = f"{authentik.url}/application/o/introspect/"
    client = items.create_app(items.Introspection(where, "items", "wrong", clock)).test_client()
    assert client.get("/items", headers=bearer(token("api:read"))).status_code == 401


def active(**facts):
    right = {"active": True, "aud": "items", "client_id": "items", "exp": 4e9, "sub": "1", "scope": "api:read"}
    return {name: value for name, value in {**right, **facts}.items() if value is not None}


def answering(served, body, status=200, **headers):
    """A provider that gives one answer, whatever it is asked."""
    served.app = app = flask.Flask("a provider")
    app.add_url_rule("/application/o/introspect/", view_func=lambda: (body, status, headers), methods=["POST"])


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({}, 200),
        ({"aud": ["wiki", "items"]}, 200),
        ({"aud": "wiki"}, 401),
        ({"aud": "items2"}, 401),
        ({"aud": ["wiki"]}, 401),
        ({"aud": None}, 401),
        ({"client_id": "wiki"}, 401),
        ({"client_id": None}, 401),
        ({"exp": 1}, 401),
        ({"scope": None}, 403),
        ({"scope": "api:reader  xapi:read"}, 403),
        ({"exp": None}, 503),
        ({"exp": "never"}, 503),
        ({"active": "true"}, 503),
        ({"active": 1}, 503),
        ({"scope": ["api:read"]}, 503),
        ({"sub": None}, 503),
    ],
)
def test_each_fact_of_an_answer_is_looked_at(served, client, facts, status):
    answering(served, active(**facts))
    assert client.get("/items", headers=bearer("some")).status_code == status


@pytest.mark.parametrize(
    "answer",
    [
        (active(), 500),
        (active(), 201),
        ("<html>", 200),
        ([True], 200),
        ({}, 200),
        ("null", 200),
    ],
)
def test_an_answer_to_something_else_lets_nobody_in(served, client, answer):
    answering(served, *answer)
    refused = client.get("/items", headers=bearer("some"))
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")


def test_the_token_is_sent_to_no_other_address(served, client):
    answering(served, "", 307, Location="/elsewhere")
    served.app.add_url_rule("/elsewhere", view_func=active, methods=["POST"])
    assert client.get("/items", headers=bearer("some")).status_code == 503


@pytest.mark.parametrize("where", ["https://127.0.0.1:9/", "https://nowhere.invalid/"])
def test_without_its_provider_it_lets_nobody_in_and_says_when_to_come_again(items, authentik, where):
    client = items.create_app(items.Introspection(where, "items", "secret-of-items")).test_client()
    answer = client.get("/items", headers=bearer("some"))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "127.0.0.1" not in answer.text
    assert client.get("/health").status_code == 200


def test_a_provider_with_another_authority_is_not_asked(client, token, asked, monkeypatch):
    given = bearer(token("api:read"))
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert client.get("/items", headers=given).status_code == 503
    assert asked == []


@pytest.mark.parametrize("body", [None, {}, {"text": ""}, {"text": 1}, {"text": "x" * 501}, ["text"], "text"])
def test_what_is_no_item_is_refused(client, token, body):
    assert client.post("/items", json=body, headers=bearer(token("api:write"))).status_code == 400


def test_who_may_not_write_does_not_learn_what_an_item_is(client):
    assert client.post("/items", data="{").status_code == 401


def test_the_oldest_items_make_room(items, client, token, monkeypatch):
    monkeypatch.setattr(items, "MOST_ITEMS", 2)
    given = bearer(token("api:read api:write"))
    for text in ("a", "b", "c"):
        client.post("/items", json={"text": text}, headers=given)
    assert [item["text"] for item in client.get("/items", headers=given).json["items"]] == ["b", "c"]


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"], max_codepoint=255)))
def test_no_header_is_more_than_a_refusal(text):
    import items

    class Nothing:
        def grant(self, token):
            assert items.TOKEN.fullmatch(token)

    app = items.create_app(Nothing())
    answer = app.test_client().get("/items", environ_overrides={"HTTP_AUTHORIZATION": f"{BEARER}{text}"})
    assert answer.status_code == 401


ENVIRONMENT = {
    "INTROSPECTION_URL": "https://auth.example.test/application/o/introspect/",
    "CLIENT_ID": "items",
    "CLIENT_SECRET": "sesame",
}


def test_settings_are_read_and_do_not_print_their_secret(items):
    found = items.Settings.read({**ENVIRONMENT, "PORT": "9000"})
    assert (found.client_id, found.client_secret, found.port) == ("items", "sesame", 9000)
    assert "sesame" not in repr(found)


@pytest.mark.parametrize(("name", "value"), [("INTROSPECTION_URL", "http://auth.example.test/"), ("CLIENT_SECRET", "")])
def test_all_wrong_settings_are_named_at_once(items, name, value):
    with pytest.raises(items.SettingsError, match=f"{name}.*PORT"):
        items.Settings.read({**ENVIRONMENT, name: value, "PORT": "http"})
