"""
Attacks on the login in front of a site: forged headers, ways around it, other people's cookies.

The service ``echo`` says what has reached it, so that nothing has to be believed. It has the same door as any other.
"""

import http.client
import json
import socket
import ssl
import urllib.parse

import pytest
from visitor import visitor

ECHO, WALL, BOARD, DIARY, AUTH = (f"https://{name}.example.test" for name in ("echo", "wall", "board", "diary", "auth"))
PROGRAM = """
import http.server, json
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"path": self.path, "headers": self.headers.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8080), Echo).serve_forever()
"""
ENTRY = {
    "image": "localhost/forward-auth-app:1",
    "entrypoint": ["/usr/bin/python3", "-c", PROGRAM],
    "port": 8080,
    "stop_timeout": 1,
    "health": "/health",
    "site": {"domains": ["echo.example.test"], "public_paths": ["/open/*"]},
    "auth": "forward_auth",
}


@pytest.fixture(scope="module")
def host(sso):
    """The machine with two more services: alice may use ``echo``, and not ``wall``."""
    sso.declare("echo", ENTRY)
    sso.declare("wall", {**ENTRY, "site": {"domains": ["wall.example.test"]}})
    sso.converge()
    groups = sso.salt("authentik.show", "user", "alice")["groups"]
    assert sso.state("authentik.user_present", name="alice", groups=[*groups, "echo_users"])["result"] is True
    yield sso
    sso.remove("echo", "wall")


@pytest.fixture
def nobody(host):
    return visitor(host)


@pytest.fixture(scope="module")
def alice(host):
    somebody = visitor(host)
    assert json.loads(somebody.log_in("alice", f"{ECHO}/").text)["path"] == "/"
    return somebody


def identity(answer):
    """The headers about a user that have reached the application, in whatever spelling."""
    told = [(name.lower().replace("_", "-"), value) for name, value in json.loads(answer.text)["headers"]]
    return [(name, value) for name, value in told if name.startswith("remote") or "authentik" in name]


SPELLINGS = [
    "Remote-User",
    "remote-user",
    "REMOTE-USER",
    "Remote_User",
    "REMOTE_USER",
    "Remote-Groups",
    "Remote-Email",
    "Remote-Name",
    "RemoteUser",
    "X-Authentik-Username",
    "x-authentik-username",
    "X_Authentik_Username",
    "X-authentik-groups",
    "X-Authentik-Jwt",
    "X-Authentik-Meta-App",
]


@pytest.mark.parametrize("name", SPELLINGS)
def test_nobody_gets_in_with_a_forged_header(nobody, name):
    answer = nobody.ask(f"{ECHO}/", headers=[(name, "akadmin"), (name, "alice")])
    assert answer.status == 302
    assert answer.location.startswith(AUTH)


@pytest.mark.parametrize("path", ["/health", "/open/page"])
def test_on_open_paths_the_application_hears_of_nobody(nobody, alice, path):
    forged = [(name, "akadmin") for name in SPELLINGS] * 2
    for somebody in (nobody, alice):
        answer = somebody.ask(ECHO + path, headers=forged)
        assert answer.status == 200
        assert identity(answer) == []


def test_who_has_logged_in_stays_who_he_is(alice):
    forged = [(name, "akadmin") for name in SPELLINGS] * 2
    answer = alice.ask(f"{ECHO}/x", headers=forged)
    assert answer.status == 200
    assert sorted(identity(answer)) == [
        ("remote-email", "alice@example.test"),
        ("remote-groups", identity_of(answer, "remote-groups")),
        ("remote-name", "Alice Archer"),
        ("remote-user", "alice"),
    ]
    assert "echo_users" in identity_of(answer, "remote-groups").split("|")
    assert "akadmin" not in answer.text


def identity_of(answer, name):
    (value,) = [value for other, value in identity(answer) if other == name]
    return value


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-Host", "echo.example.test")],
        [("X-Forwarded-Host", "echo.example.test"), ("X-Forwarded-Host", "wall.example.test")],
        [("Forwarded", "host=echo.example.test;proto=https")],
        [("X-Original-Host", "echo.example.test"), ("X-Forwarded-Server", "echo.example.test")],
        [("X-Forwarded-Uri", "/health"), ("X-Original-URL", "/health"), ("X-Rewrite-URL", "/health")],
        [("X-Forwarded-Method", "OPTIONS"), ("X-HTTP-Method-Override", "OPTIONS")],
    ],
)
def test_the_cookie_of_one_application_opens_no_other(host, alice, headers):
    """alice is logged in at echo, and may not use wall."""
    cookies = "; ".join(f"{name}={value}" for name, value in alice.cookies("echo.example.test").items())
    assert cookies
    stranger = visitor(host)
    for site in (WALL, ECHO):
        # At the right site the cookie is good, so the attempt is one.
        answer = stranger.ask(f"{site}/", headers=[("Cookie", cookies), *headers])
        assert answer.status == (200 if site == ECHO else 302), site


def test_an_address_of_ones_own_choice_opens_nothing(nobody):
    for name in ("X-Forwarded-For", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "Forwarded"):
        assert nobody.ask(f"{ECHO}/", headers=[(name, "127.0.0.1")]).status == 302


def raw(host, target, name=None, server="echo.example.test"):
    """
    One request as it is written, without anything that a library would put right. Returns status and body.

    ``name`` is what it calls the host, ``server`` what TLS has called it before.
    """
    context = ssl.create_default_context(cadata=host.authority)
    plain = socket.create_connection((host.address, 443), 10)
    with context.wrap_socket(plain, server_hostname=server) as secured:
        secured.sendall(f"GET {target} HTTP/1.1\r\nHost: {name or server}\r\nConnection: close\r\n\r\n".encode())
        answer = http.client.HTTPResponse(secured)
        answer.begin()
        return answer.status, answer.read().decode()


@pytest.mark.parametrize(
    "target",
    [
        "/health/",
        "/health/../",
        "/health/x",
        "/health%20",
        "/health.",
        "/health%20?x",
        "/health;x",
        "/health%3bx",
        "/healthx",
        "/open",
        "/open/../secret",
        "/open/./../secret",
        "/open//../secret",
        "/open/%2e%2e/secret",
        "/open/%2E%2E/secret",
        "/open/..%2fsecret",
        "/open%2f..%2fsecret",
        "/open/%252e%252e/secret",
        "/open/..;/secret",
        "/open/..%3b/secret",
        "/open/..\\secret",
        "/open/..%5csecret",
        "/open\\..\\secret",
        "/open/%00/../secret",
        "//open/../secret",
        "/x/../open/../secret",
        "https://echo.example.test/open/../secret",
    ],
)
def test_what_may_be_another_path_to_the_application_takes_a_login(host, target):
    status, body = raw(host, target)
    assert status in (302, 400, 404), f"{target} answers {status}: {body[:200]}"
    assert '"headers"' not in body


@pytest.mark.parametrize("domain", ["ECHO.example.test", "echo.example.test.", "echo.example.test:443"])
def test_another_spelling_of_the_name_opens_nothing(host, domain):
    assert '"headers"' not in raw(host, "/x", name=domain)[1]


def test_the_login_of_a_site_is_not_reached_by_another_sites_name(host):
    """TLS with the name of a site that is open, and the request to one that is not."""
    status, body = raw(host, "/x", name="echo.example.test", server="items.example.test")
    assert status in (302, 421)
    assert '"headers"' not in body


def ports(host):
    """The ports of services on the host, Authentik's among them."""
    return {name: about["port"] for name, about in host.salt("catalogue.list").items() if about["port"]}


def test_from_another_machine_only_caddy_is_reached(host):
    published = ports(host)
    assert published["authentik"] == 9000
    for name, port in {**published, "metrics": 9300, "https": 9443, "worker": 9001}.items():
        with pytest.raises(OSError):
            socket.create_connection((host.address, port), 2).close()
            pytest.fail(f"{name} is reached at {host.address}:{port}")
    socket.create_connection((host.address, 443), 2).close()


def test_from_a_neighbours_pod_only_caddy_is_reached(host):
    """Not the pods of others, nor their ports on the host's address in its own network."""
    addresses = json.loads(host.sh("podman inspect --format json authentik-infra echo-infra board-infra"))
    targets = [
        [network["IPAddress"], port]
        for one in addresses
        for network in one["NetworkSettings"]["Networks"].values()
        for port in (8080, 9000, 9001)
    ]
    gateway = host.sh("podman network inspect --format '{{(index .Subnets 0).Gateway}}' items")
    targets += [[gateway, port] for port in ports(host).values()]
    script = (
        "import json, socket, sys\n"
        "def reached(target):\n"
        "    try: socket.create_connection(target, 1).close(); return True\n"
        "    except OSError: return False\n"
        "print(json.dumps([one for one in json.load(sys.stdin) if reached(tuple(one))]))"
    )
    exec_ = ["podman", "exec", "--interactive", "items-web", "/usr/bin/python3", "-c", script]
    assert json.loads(host.run(*exec_, text=json.dumps(targets)).stdout) == []
    # What tries is no dud: Caddy is there.
    assert json.loads(host.run(*exec_, text=json.dumps([[gateway, 443]])).stdout) == [[gateway, 443]]


EVIL = "https://evil.invalid/"


@pytest.mark.parametrize("parameter", ["rd", "redirect", "next", "post_logout_redirect_uri", "url"])
@pytest.mark.parametrize(
    "start",
    [
        f"{ECHO}/outpost.goauthentik.io/sign_out",
        f"{ECHO}/outpost.goauthentik.io/start",
        f"{AUTH}/application/o/diary/end-session/",
        f"{AUTH}/if/flow/default-authentication-flow/",
        f"{DIARY}/login",
    ],
)
def test_nobody_is_sent_to_a_strangers_site(host, start, parameter):
    somebody = visitor(host)
    somebody.log_in("alice", f"{ECHO}/")
    url = f"{start}?{urllib.parse.urlencode({parameter: EVIL})}"
    for _ in range(10):
        answer = somebody.ask(url)
        if not answer.location:
            break
        assert not answer.location.startswith(EVIL), f"{url} sends to {answer.location}"
        url = answer.location


def test_without_the_protection_a_forged_header_would_reach_the_application(host, nobody):
    """The tests above are worth something: with the lines taken out of Caddy's file, they would find it."""
    path = "/etc/caddy/sites-enabled/echo.caddy"
    before = host.sh(f"cat {path}") + "\n"
    try:
        host.write(path, before.replace("\t\timport without-identity\n", ""))
        host.run("systemctl", "reload", "caddy.service")
        answer = nobody.ask(f"{ECHO}/open/page", headers=[("Remote-User", "akadmin")])
        assert ("remote-user", "akadmin") in identity(answer)
        assert not host.salt("verify.login", "echo", check=False)["passed"]
    finally:
        host.write(path, before)
        host.run("systemctl", "reload", "caddy.service")
    assert host.salt("verify.login", "echo", check=False)["passed"]
