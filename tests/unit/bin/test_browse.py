"""
bin/browse.py: a browser for the demo, at a site that a test serves.
"""

import http.server
import json
import ssl

import pytest
import tls_site
from tree import load_script

browse = load_script("bin", "browse.py")
HOST = "site.example.test"


class Site(http.server.BaseHTTPRequestHandler):
    """A page behind a login of two stages, by the interface of Authentik's flow executor."""

    def log_message(self, *_):
        pass

    def answer(self, status, text="", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        cookies = self.headers.get("Cookie", "")
        if self.path == "/":
            return (
                self.answer(200, "welcome")
                if "in=1" in cookies
                else self.answer(302, Location="/if/flow/login/?next=%2F")
            )
        if self.path.startswith("/if/flow/"):
            return self.answer(200, "<html>", Set_Cookie="authentik_csrf=token; Path=/")
        if self.path == "/round":
            return self.answer(302, Location="/round")
        stage = self.server.stages[0] if self.server.stages else {"component": "xak-flow-redirect", "to": "/"}
        headers = {} if self.server.stages else {"Set_Cookie": "in=1; Path=/"}
        return self.answer(200, json.dumps(stage), **headers)

    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.given.append((given, self.headers["X-authentik-CSRF"]))
        if given["password"] != "right":  # noqa: S105 - of a test
            self.server.stages[0] = {**self.server.stages[0], "response_errors": {"password": [{"string": "wrong"}]}}
        else:
            self.server.stages.pop(0)
        self.answer(302, Location=self.path)


@pytest.fixture
def site(tmp_path):
    path = tls_site.certificate(tmp_path / "site.pem", HOST)
    with tls_site.served(path, Site) as server:
        server.stages = [{"component": "ak-stage-identification"}, {"component": "ak-stage-password"}]
        server.given = []
        server.authority = ssl.create_default_context(cafile=str(path))
        yield server


@pytest.fixture
def browser(site):
    return browse.Browser("127.0.0.1", site.authority, site.server_port)


def test_a_login_goes_through_its_stages_and_back_to_the_page(browser, site):
    browser.open(f"https://{HOST}/")
    assert browser.url == f"https://{HOST}/if/flow/login/?next=%2F"
    browser.log_in("alice", "right")
    assert (browser.url, browser.status, browser.text) == (f"https://{HOST}/", 200, "welcome")
    assert [given["component"] for given, _ in site.given] == ["ak-stage-identification", "ak-stage-password"]
    assert {csrf for _, csrf in site.given} == {"token"}


def test_a_login_that_is_refused_is_told(browser):
    browser.open(f"https://{HOST}/")
    with pytest.raises(browse.Failure, match=r"alice is refused: .*wrong"):
        browser.log_in("alice", "wrong")


def test_a_page_that_asks_for_no_login_is_told(browser, site):
    site.stages.clear()
    browser.open(f"https://{HOST}/api").open(f"https://{HOST}/")
    with pytest.raises(browse.Failure, match="is no login page"):
        browser.log_in("alice", "right")


def test_a_circle_ends(browser):
    with pytest.raises(browse.Failure, match="is sent on and on"):
        browser.open(f"https://{HOST}/round")


def test_a_certificate_of_somebody_else_is_refused(site):
    stranger = browse.Browser("127.0.0.1", ssl.create_default_context(), site.server_port)
    with pytest.raises(browse.Failure, match="does not answer"):
        stranger.open(f"https://{HOST}/")
