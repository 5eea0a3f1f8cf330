"""
What the verification of a login takes for right, and what it tells of each thing that is not.
"""

from types import SimpleNamespace

import pytest
from dunders import functions
from tree import load

verify_login = load("modules", "verify_login")
verify_service = load("modules", "verify_service")
site_visit = load("utils", "site_visit")

BOARD, AUTH = "https://board.example.test", "https://auth.example.test"
LOGIN = f"{AUTH}/if/flow/default-authentication-flow/?next=x"
CLOSED = BOARD + verify_login.CLOSED


def service(pattern, **auth):
    return {
        "name": "board",
        "state": "present",
        "site": {
            "domains": ["board.example.test"],
            "tls": "internal",
            "public_paths": ["/a", "/b/*"],
            "health_path": "/health",
        },
        "auth": {
            "pattern": pattern,
            "external_host": BOARD,
            "url": AUTH,
            "issuer_mode": "per_provider",
            "clients": ["board-reporter"] if pattern == "api" else [],
            "scopes": {"api:read": ""} if pattern == "api" else {},
            "secret": "board.auth",
            **auth,
        },
    }


class Host:
    """What sites and Authentik answer; all of it is right until a test changes it."""

    def __init__(self):
        self.pages = {
            CLOSED: (302, f"{AUTH}/application/o/authorize/?x", ""),
            f"{AUTH}/application/o/authorize/?x": (302, LOGIN, ""),
            LOGIN: (200, None, "log in"),
            f"{BOARD}/outpost.goauthentik.io/ping": (204, None, ""),
            f"{BOARD}/health": (200, None, "ok"),
            f"{BOARD}/a": (200, None, "ok"),
            f"{AUTH}/application/o/board/.well-known/openid-configuration": (
                200,
                None,
                f'{{"issuer": "{AUTH}/application/o/board/", "jwks_uri": "{AUTH}/jwks"}}',
            ),
            f"{AUTH}/jwks": (200, None, '{"keys": [1]}'),
            f"{AUTH}/application/o/token/": (200, None, '{"access_token": "t"}'),
        }
        self.introspection = {"right": '{"active": true, "scope": "api:read"}', None: '{"active": false}'}
        self.redirect = (400, None, "")
        self.access = {"passing": False}
        self.differs, self.site_differs, self.current = {}, {}, True
        self.files = {"board.auth": "right\n", "authentik-board-reporter": "password\n"}
        self.sent, self.trusted = [], None
        self.fleet = None
        self.services = [{"site": {"tls": "internal"}}, {"site": None}]

    def ask(self, url, headers=None, form=None, basic=None):
        self.sent += headers or []
        if "/introspect/" in url:
            known = self.introspection.get(basic[1] if basic[1] == "right" else None)
            return site_visit.Answer(url, 200, None, known)
        if "redirect_uri=" in url:
            return site_visit.Answer(url, *self.redirect)
        return site_visit.Answer(url, *self.pages[url])

    def follow(self, url, until=None):
        answer = self.ask(url)
        if until and answer.location and answer.location.startswith(until):
            return answer
        return self.follow(answer.location) if answer.location else answer


@pytest.fixture
def host(monkeypatch):
    found = Host()
    api = SimpleNamespace(read=lambda *_path: found.access)
    salt = {
        "verify_service.check": verify_service.check,
        "catalogue.services": lambda: found.services,
        "caddy.root_certificate": lambda: "PEM",
        "caddy.site_differences": lambda *_, **__: found.site_differs,
        "caddy.status": lambda: {"current": found.current},
        "login.differences": lambda *_: found.differs,
        "authentik.objects": lambda: SimpleNamespace(needed=lambda: api),
        "secret.path": lambda name: name,
        "fleet.view": lambda: found.fleet,
    }

    def visitor(trusted, behind, identity):
        found.trusted, found.behind, found.identity = trusted, behind, identity
        return found

    utils = {
        "site_visit.visitor": visitor,
        "textfile.read": lambda path: f"PEM of {path}",
        **functions("utils", "caddy_site"),
        "secret_files.read": lambda path: found.files.get(path),
    }
    monkeypatch.setattr(verify_login, "__salt__", salt, raising=False)
    monkeypatch.setattr(verify_login, "__utils__", utils, raising=False)
    return found


def failed(pattern, **auth):
    return {one["name"]: one["detail"] for one in verify_login.checks(service(pattern, **auth)) if not one["passed"]}


@pytest.mark.parametrize("pattern", ["forward_auth", "oauth2", "api"])
def test_what_is_right_passes(host, pattern):
    assert failed(pattern) == {}


def test_without_a_login_or_running_there_is_nothing_to_check(host):
    assert verify_login.checks({**service("oauth2"), "auth": None}) == []
    assert verify_login.checks({**service("oauth2"), "state": "stopped"}) == []


def page(url, *answer):
    return lambda host: host.pages.__setitem__(url, answer)


def put(**values):
    return lambda host: vars(host).update(values)


@pytest.mark.parametrize(
    ("change", "name", "told"),
    [
        (put(differs={"group board_users": {}}), "board: Authentik has what its entry says", "group board_users"),
        (page(CLOSED, 200, None, "welcome"), f"{BOARD} sends visitors to the login", f"ends at {CLOSED} with 200"),
        (page(CLOSED, 200, None, "welcome"), f"{BOARD} takes nobody's word for who he is", "answers 200 to somebody"),
        (page(CLOSED, 302, f"{BOARD}/a", ""), f"{BOARD} takes nobody's word for who he is", "answers 302 to somebody"),
        (page(LOGIN, 500, None, ""), f"{BOARD} sends visitors to the login", "answers 500"),
        (put(site_differs={"f": {}}), "board: its site is as its entry says, and runs", "apply the highstate"),
        (put(current=False), "board: its site is as its entry says, and runs", "something else than its files"),
        (page(f"{BOARD}/outpost.goauthentik.io/ping", 404, None, ""), "board: the login at its site answers", "404"),
        (page(f"{BOARD}/health", 302, f"{AUTH}/x", ""), f"{BOARD}/health is open", f"sends visitors to {AUTH}/x"),
        (page(f"{BOARD}/a", 502, None, ""), f"{BOARD}/a is open", "answers 502"),
        (put(access={"passing": True}), "board: who is in none of its groups is refused", "would be let in"),
        (put(access=None), "board: who is in none of its groups is refused", "no application board"),
    ],
)
def test_what_is_wrong_behind_the_proxy_is_told(host, change, name, told):
    change(host)
    assert told in failed("forward_auth")[name]


DISCOVERY = f"{AUTH}/application/o/board/.well-known/openid-configuration"
TOKEN = "board: board-reporter gets a token, which nobody else can read"  # noqa: S105 - the name of a check


@pytest.mark.parametrize(
    ("pattern", "change", "name", "told"),
    [
        ("oauth2", page(DISCOVERY, 404, None, ""), "board: its discovery document can be read", "answers 404"),
        (
            "oauth2",
            page(DISCOVERY, 200, None, f'{{"issuer": "{AUTH}/", "jwks_uri": "{AUTH}/jwks"}}'),
            "board: its discovery document can be read",
            f"names {AUTH}/ as the issuer",
        ),
        (
            "oauth2",
            page(f"{AUTH}/jwks", 200, None, '{"keys": []}'),
            "board: its discovery document can be read",
            "no key",
        ),
        (
            "oauth2",
            put(redirect=(302, "https://nobody.invalid/?code=1", "")),
            "board: nobody is sent elsewhere after a login",
            "which no entry names",
        ),
        ("api", page(f"{AUTH}/application/o/token/", 400, None, '{"error": "invalid_grant"}'), TOKEN, "invalid_grant"),
        ("api", put(files={"board.auth": "right"}), TOKEN, "its password is not on this host"),
        ("api", put(files={"authentik-board-reporter": "x", "board.auth": "old"}), TOKEN, "is not active"),
        (
            "api",
            put(introspection={"right": '{"active": true, "scope": "api:readonly"}', None: '{"active": false}'}),
            TOKEN,
            "is not active with api:read",
        ),
        (
            "api",
            put(introspection=dict.fromkeys(("right", None), '{"active": true, "scope": "api:read"}')),
            TOKEN,
            "anybody can ask",
        ),
    ],
)
def test_what_is_wrong_with_a_client_is_told(host, pattern, change, name, told):
    change(host)
    assert told in failed(pattern)[name]


def test_one_issuer_for_all_is_expected_where_it_is_declared(host):
    host.pages[DISCOVERY] = (200, None, f'{{"issuer": "{AUTH}/", "jwks_uri": "{AUTH}/jwks"}}')
    assert failed("oauth2", issuer_mode="global") == {}


def test_headers_are_forged_in_every_spelling(host):
    failed("forward_auth")
    names = {name for name, _ in host.sent}
    assert {"Remote-User", "Remote_User", "X-Authentik-Username", "X_Authentik_Username"} <= names


def test_what_sites_show_is_trusted(host):
    own = {"certificate": "/etc/caddy/own.pem", "key": "/etc/caddy/own.key"}
    host.services = [{"site": {"tls": own}}, {"site": {"tls": "acme"}}, {"site": None}]
    assert failed("forward_auth") == {}
    assert host.trusted == ["PEM of /etc/caddy/own.pem"]
    host.services.append({"site": {"tls": "internal"}})
    assert failed("forward_auth") == {}
    assert host.trusted == ["PEM of /etc/caddy/own.pem", "PEM"]


@pytest.mark.parametrize("pattern", ["forward_auth", "oauth2", "api"])
def test_what_authentik_has_on_another_host_is_not_asked_for_here(host, pattern):
    host.fleet = {"sso": {"id": "cell1", "domain": "auth.example.test"}}
    host.differs, host.access, host.files = {"group": {}}, None, {}
    assert failed(pattern) == {}
    assert host.trusted == ["PEM"]


def test_of_a_login_on_another_host_the_way_there_is_followed_and_no_further(host):
    host.fleet = {"sso": {"id": "cell1"}}
    del host.pages[LOGIN]
    assert failed("forward_auth") == {}
    host.pages[CLOSED] = (200, None, "come in")
    assert "https://board.example.test sends visitors to the login" in failed("forward_auth")


def test_a_site_behind_edges_is_asked_as_an_edge_asks(host):
    host.services = [
        {"name": "board", "site": {"tls": "internal", "behind_edge": True, "domains": ["board.example.test"]}}
    ]
    assert failed("forward_auth") == {}
    assert host.behind == {"board.example.test": (8443, "board.rick-infra.internal")}
    assert host.identity == ("/etc/caddy/identity/certificate.pem", "/etc/caddy/identity/key.pem")
