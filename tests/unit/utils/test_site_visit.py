"""
A visit to a site of this host: by its name over TLS, with cookies, along redirects, and no further.
"""

import http.server
import json

import pytest
import tls_site
from salt.exceptions import CommandExecutionError
from tree import load

site_visit = load("utils", "site_visit")
SITE, AUTH = "https://notes.example.test", "https://auth.example.test"


class Pages(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.asked.append((self.headers["Host"], self.command, self.path, self.headers.items(), body))
        status, headers, text = self.server.pages.get(self.path, (404, [], ""))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_POST(self):
        self.do_GET()


@pytest.fixture
def site(tmp_path):
    path = tls_site.certificate(tmp_path / "own.pem", "notes.example.test", "auth.example.test")
    with tls_site.served(path, Pages) as server:
        server.pages, server.asked = {}, []
        server.authority = path.read_text().partition("-----BEGIN PRIVATE")[0]
        yield server


@pytest.fixture
def visitor(site):
    return site_visit.visitor([site.authority], ("127.0.0.1", site.server_port), 5)


def test_a_site_is_asked_by_its_name_wherever_dns_says_it_is(visitor, site):
    site.pages["/a?b=c"] = (200, [], "hello")
    answer = visitor.ask(f"{SITE}/a?b=c")
    assert (answer.url, answer.status, answer.location, answer.text) == (f"{SITE}/a?b=c", 200, None, "hello")
    assert site.asked[0][0] == "notes.example.test"


def test_a_header_is_sent_as_often_as_it_is_given(visitor, site):
    visitor.ask(f"{SITE}/", headers=[("Remote-User", "a"), ("Remote-User", "b"), ("remote_user", "c")])
    sent = [(name, value) for name, value in site.asked[0][3] if "user" in name.lower() and "agent" not in name.lower()]
    told = ", ".join(value for _, value in sent)
    assert all(one in told for one in "abc")


def test_redirects_are_followed_to_the_end_and_cookies_stay_with_their_site(visitor, site):
    site.pages |= {
        "/": (302, [("Location", f"{AUTH}/login"), ("Set-Cookie", "here=1; Path=/; HttpOnly")], ""),
        "/login": (302, [("Location", "/form"), ("Set-Cookie", "there=1"), ("Set-Cookie", "more=2")], ""),
        "/form": (200, [], "a form"),
    }
    answer = visitor.follow(f"{SITE}/")
    assert (answer.url, answer.text) == (f"{AUTH}/form", "a form")
    cookies = [dict(headers).get("Cookie") for _, _, _, headers, _ in site.asked]
    assert cookies == [None, None, "there=1; more=2"]


def test_who_is_sent_in_a_circle_gives_up(visitor, site):
    site.pages["/"] = (302, [("Location", "/")], "")
    with pytest.raises(CommandExecutionError, match="is sent on and on"):
        visitor.follow(f"{SITE}/")


def test_a_form_and_a_password(visitor, site):
    site.pages["/token"] = (200, [], json.dumps({"active": True}))
    assert visitor.ask(f"{AUTH}/token", form={"a": "b c"}, basic=("me", "secret")).json() == {"active": True}
    _, method, _, headers, body = site.asked[0]
    assert (method, body) == ("POST", "a=b+c")
    assert dict(headers)["Authorization" if "Authorization" in dict(headers) else "authorization"].startswith("Basic ")


def test_no_json_is_told_with_its_place(visitor, site):
    site.pages["/x"] = (200, [], "<html>")
    with pytest.raises(CommandExecutionError, match=f"{AUTH}/x answers 200 with no JSON"):
        visitor.ask(f"{AUTH}/x").json()


def test_a_certificate_of_somebody_else_is_no_answer(site):
    stranger = site_visit.visitor([], ("127.0.0.1", site.server_port), 5)
    with pytest.raises(CommandExecutionError, match=f"{SITE}/ does not answer"):
        stranger.ask(f"{SITE}/")
    with pytest.raises(CommandExecutionError, match="does not answer"):
        site_visit.visitor([site.authority], ("127.0.0.1", site.server_port), 5).ask("https://other.example.test/")


def test_a_port_where_nobody_listens_is_no_answer(visitor):
    with pytest.raises(CommandExecutionError, match="does not answer"):
        site_visit.visitor([], ("127.0.0.1", 9), 1).ask(f"{SITE}/")
