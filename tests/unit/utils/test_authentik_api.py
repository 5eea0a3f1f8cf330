"""
The client of Authentik's API, against a server that answers as recorded (``tests/contract``), late, or not at all.
"""

import http.server
import json
import logging
import socket
import threading
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

authentik_api = load("utils", "authentik_api")

TOKEN = "planted-token-of-this-test"  # noqa: S105 - looked for where it must not be
SCENARIOS = sorted((Path(__file__).parents[2] / "contract/scenarios").glob("*.json"))
HTML = "text/html; charset=utf-8"


@pytest.fixture
def server():
    """Answers with ``answers``, one after the other; the last one stays. ``asked`` is what came in."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found.asked.append((self.command, self.path, dict(self.headers), body))
            status, kind, text = found.answers[0] if len(found.answers) == 1 else found.answers.pop(0)
            if status is None:  # hangs up without a word
                self.close_connection = True
                return
            data = text.encode() if isinstance(text, str) else json.dumps(text).encode()
            data = b"" if text is None else data
            self.send_response(status)
            if kind:
                self.send_header("Content-Type", kind)
            if status == 302:
                self.send_header("Location", "/elsewhere/")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.asked, found.answers = [], []
        found.daemon_threads = True
        thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        found.url = f"http://127.0.0.1:{found.server_port}"
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def api(server):
    return authentik_api.connect(server.url, TOKEN, timeout=5, pause=0.001)


def ok(body, status=200):
    return (status, "application/json", body)


def page(names, following=0):
    return ok({"pagination": {"next": following}, "results": [{"name": name} for name in names]})


def refused(call, *arguments, **keywords):
    with pytest.raises(CommandExecutionError) as caught:
        call(*arguments, **keywords)
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def leaves(body):
    if isinstance(body, dict):
        body = list(body.values())
    return [leaf for one in body for leaf in leaves(one)] if isinstance(body, list) else [body]


def test_a_list_is_whole_whatever_the_size_of_a_page(server, api):
    server.answers = [page("ab", following=2), page("cd", following=3), page("e")]
    assert [one["name"] for one in api.list("core/groups", search="x y")] == list("abcde")
    paths = [path for _, path, _, _ in server.asked]
    assert paths[0] == "/api/v3/core/groups/?search=x+y&page=1&page_size=100"
    assert [path.split("&")[1] for path in paths] == ["page=1", "page=2", "page=3"]


def test_a_server_that_leads_back_to_a_page_is_not_asked_for_ever(server, api):
    server.answers = [page("a", following=2), page("b", following=1)]
    assert len(api.list("core/groups")) == 2


def test_what_is_found_has_exactly_that_name(server, api):
    """Q6, Q7, Q9: a filter that the endpoint does not know gives everything, and others ignore case."""
    server.answers = [page(["Notes_users", "notes_users", "akadmin"])]
    assert api.find("core/groups", "name", " notes_users\n") == {"name": "notes_users"}
    assert api.find("providers/proxy", "name", "NOTES_users", by="name__iexact") is None
    assert "name__iexact=NOTES_users&" in server.asked[-1][1]


def test_of_two_of_a_name_none_is_taken(server, api):
    server.answers = [page(["notes", "notes"])]
    assert "2 objects in core/applications with name 'notes'" in refused(api.find, "core/applications", "name", "notes")


def test_nothing_is_bound_to_what_does_not_exist(server, api):
    """Q8."""
    gone = {"target": ["Select a valid choice. That choice is not one of the available choices."]}
    server.answers = [ok(gone, 400)]
    assert api.list("policies/bindings", target="0") == []
    server.answers = [ok({"page_size": ["A valid integer is required."]}, 400)]
    assert "page_size: A valid integer is required." in refused(api.list, "policies/bindings")


def test_an_object_that_is_not_there_is_none_and_a_wrong_place_is_an_error(server, api):
    server.answers = [ok({"detail": "No Group matches the given query."}, 404)]
    assert api.read("core/groups", "0") is None
    assert api.delete("core/groups", "0") is False
    server.answers = [(404, HTML, "<html>Not found</html>")]
    assert "no such place in its API" in refused(api.read, "core/groups", "0")
    assert "no such place in its API" in refused(api.delete, "core/groups", "0")


def test_what_is_written_goes_as_json_to_a_path_with_a_slash_at_its_end(server, api):
    """Q2, Q10."""
    server.answers = [ok({"pk": 1})]
    assert api.create("core/groups", {"name": "ä"}) == {"pk": 1}
    assert api.update("core/applications", "a/b", {"name": "x"}) == {"pk": 1}
    assert api.replace("policies/bindings", "1", {}) == {"pk": 1}
    server.answers = [(204, None, None)]
    assert api.delete("core/groups", "1") is True
    assert api.call("core/groups", "1", "add_user", {"pk": 7}) == {}
    assert [(method, path) for method, path, _, _ in server.asked] == [
        ("POST", "/api/v3/core/groups/"),
        ("PATCH", "/api/v3/core/applications/a%2Fb/"),
        ("PUT", "/api/v3/policies/bindings/1/"),
        ("DELETE", "/api/v3/core/groups/1/"),
        ("POST", "/api/v3/core/groups/1/add_user/"),
    ]
    headers, body = server.asked[0][2:]
    assert json.loads(body) == {"name": "ä"}
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == f"Bearer {TOKEN}"


def test_an_exception_in_the_server_is_not_taken_for_a_method_that_is_not_allowed(server, api):
    """Q1."""
    server.answers = [(405, HTML, None)]
    assert "an exception in the server, and nothing was changed" in refused(api.create, "core/groups", {})
    server.answers = [ok({"detail": 'Method "POST" not allowed.'}, 405)]
    assert refused(api.create, "core/groups", {}).endswith('/api/v3/core/groups/: Method "POST" not allowed.')


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_recorded_refusal_is_told_with_all_that_it_says(server, api, path):
    """Q3, Q4: fields, lists of fields, bare lists and bare texts."""
    refusals = [
        step["response"]
        for step in json.loads(path.read_text())["steps"]
        if step.get("response", {}).get("status", 0) >= 400 and "body" in step["response"]
    ]
    for answer in refusals:
        kind = answer.get("headers", {}).get("content-type")
        server.answers = [(answer["status"], kind, answer["body"])]
        said = refused(api.create, "core/groups", {})
        if answer["body"] is None:
            assert len(said.partition("groups/: ")[2]) > 20
        elif answer["body"] == {"detail": "Token invalid/expired"}:
            assert "the token is not valid any more" in said
        else:
            assert [leaf for leaf in leaves(answer["body"]) if str(leaf) not in said] == []


def test_only_who_lacks_a_right_is_told_of_rights(server, api):
    """Q3, Q80."""
    server.answers = [ok({"detail": "You do not have permission to perform this action."}, 403)]
    assert "also have the right to view it" in refused(api.create, "core/groups", {})
    server.answers = [ok({"detail": "Authentication credentials were not provided."}, 403)]
    assert refused(api.create, "core/groups", {}).endswith(": Authentication credentials were not provided.")


def test_a_refusal_in_a_list_names_its_place(server, api):
    server.answers = [ok({"redirect_uris": [{}, {"matching_mode": ['"x" is not a valid choice.']}]}, 400)]
    said = refused(api.create, "providers/oauth2", {})
    assert 'redirect_uris[1].matching_mode: "x" is not a valid choice.' in said


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_may_be_repeated_is_tried_again_while_the_server_starts(server, api, status):
    server.answers = [(status, HTML, "<html>"), (status, HTML, "<html>"), ok({"pk": 1})]
    assert api.read("core/groups", "1") == {"pk": 1}
    assert len(server.asked) == 3


def test_what_creates_is_sent_once(server, api):
    server.answers = [(503, HTML, "<html>")]
    assert "it answers 503: it starts" in refused(api.create, "core/groups", {})
    assert len(server.asked) == 1
    server.answers = [(None, None, None)]  # it may have been created
    assert "does not answer" in refused(api.create, "core/groups", {})
    assert len(server.asked) == 2


def test_a_server_that_is_down_is_tried_a_few_times_and_then_told_once(api, server, caplog):
    server.answers = [(None, None, None)]
    assert "does not answer" in refused(api.read, "core/groups", "1")
    assert len(server.asked) == 1 + authentik_api.RETRIES
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_server_that_was_down_is_tried_once_until_it_answers(api, server):
    """Or each of a hundred services would wait for it."""
    server.answers = [(None, None, None)]
    refused(api.read, "core/groups", "1")
    del server.asked[:]
    assert "does not answer" in refused(api.read, "core/groups", "2")
    assert len(server.asked) == 1
    server.answers = [ok({"pk": 1})]
    assert api.read("core/groups", "1") == {"pk": 1}
    server.answers = [(503, HTML, "<html>"), ok({"pk": 1})]
    assert api.read("core/groups", "1") == {"pk": 1}  # with patience again


@pytest.mark.parametrize("call", ["read", "create"])
def test_where_nobody_listens_the_reason_is_the_system_s(call):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    api = authentik_api.connect(f"http://127.0.0.1:{port}", TOKEN, pause=0.001)
    assert refused(getattr(api, call), "core/groups", "1").endswith("does not answer (Connection refused)")


def test_a_server_that_takes_too_long_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = authentik_api.connect(f"http://127.0.0.1:{silent.getsockname()[1]}", TOKEN, timeout=0.05, pause=0.001)
        assert refused(api.create, "core/groups", {}).endswith("does not answer (not within 0.05 s)")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, HTML, "<html>Welcome</html>"), "no JSON: does something else listen there"),
        ((200, "application/json", "{"), "no JSON"),
        ((302, HTML, None), "a redirect"),
        ((500, HTML, "<html>"), "it answers 500"),
        (ok({"unexpected": True}), "no list"),
    ],
)
def test_what_is_no_answer_of_the_api_is_told(server, api, answer, words):
    server.answers = [answer]
    assert words in refused(api.list, "core/groups")
    assert {path.partition("?")[0] for _, path, _, _ in server.asked} == {"/api/v3/core/groups/"}


def test_the_token_is_logged_nowhere(server, api, caplog):
    caplog.set_level(logging.DEBUG)
    server.answers = [(503, HTML, "<html>"), ok({"pk": 1})]
    api.read("core/groups", "1")
    server.answers = [(405, HTML, None)]
    refused(api.create, "core/groups", {"key": "planted-too"})
    assert caplog.text
    assert TOKEN not in caplog.text
    assert "planted-too" not in caplog.text


@pytest.mark.parametrize("token", ["", None, "two words", "line\nbreak", "ümlaut", 7])
def test_what_cannot_be_a_token_is_refused_without_being_shown(token):
    with pytest.raises(SaltInvocationError, match="the token") as caught:
        authentik_api.connect("http://127.0.0.1:9000", token)
    assert not token or str(token) not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [None, "", "127.0.0.1:9000", "ftp://host", "http://", "http://u:p@host", "http://host/path", "http://host/?a"],
)
def test_what_cannot_be_an_address_is_refused(url):
    with pytest.raises(SaltInvocationError, match="address"):
        authentik_api.connect(url, TOKEN)


@pytest.mark.parametrize("key", ["", ".", ".."])
def test_a_key_does_not_lead_elsewhere(api, server, key):
    with pytest.raises(SaltInvocationError, match="is no key"):
        api.delete("core/groups", key)
    assert server.asked == []


def test_a_proxy_of_the_environment_is_not_given_the_token(server, api, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    server.answers = [ok({"pk": 1})]
    assert api.read("core/groups", "1") == {"pk": 1}
