"""
A service through Caddy: with a certificate of its own, WebSockets, and requests that are too large.
"""

import json

import pytest
from machine import LISTENER

DOMAIN = "sockets.example.test"
FOLDER = "/etc/caddy/certificates"
CERTIFICATE, KEY = f"{FOLDER}/sockets.pem", f"{FOLDER}/sockets.key"
MAKE_CERTIFICATE = (
    f"mkdir -p {FOLDER} && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    f" -subj /CN={DOMAIN} -addext subjectAltName=DNS:{DOMAIN} -out {CERTIFICATE} -keyout {KEY}"
    f" && chown root:caddy {FOLDER} {CERTIFICATE} {KEY} && chmod 0750 {FOLDER} && chmod 0640 {CERTIFICATE} {KEY}"
)
UNITS = ("sockets-*.service", "caddy.service")
# RFC 6455, as far as one short frame there and back goes; and how much a POST has brought.
SERVER = r"""
import base64, hashlib, http.server, threading

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() != "websocket":
            return self.answer(b"a page")
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        while head := self.rfile.read(2):
            mask, length = self.rfile.read(4), head[1] & 0x7f
            text = bytes(byte ^ mask[place % 4] for place, byte in enumerate(self.rfile.read(length)))
            self.wfile.write(bytes([0x81, length]) + text[::-1])

    def do_POST(self):
        self.answer(str(len(self.rfile.read(int(self.headers["Content-Length"])))).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
# What a browser would do that trusts the certificate, from the machine itself.
CLIENT = r"""
import base64, http.client, json, socket, ssl, sys

domain, authority, *requests = json.load(sys.stdin)

def connect():
    context = ssl.create_default_context(cafile=authority)
    raw = context.wrap_socket(socket.create_connection(("127.0.0.1", 443), timeout=10), server_hostname=domain)
    connection = http.client.HTTPConnection(domain, timeout=10)
    connection.sock = raw
    return connection

def post(size):
    connection = connect()
    try:
        connection.request("POST", "/", b"x" * size)
    except OSError:
        pass  # refused before all of it was sent; what it says can still be read
    answer = connection.getresponse()
    return [answer.status, answer.read().decode()]

def talk(*words):
    stream = connect().sock
    key = base64.b64encode(b"0123456789abcdef").decode()
    stream.sendall((
        f"GET /chat HTTP/1.1\r\nHost: {domain}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode())
    file = stream.makefile("rb")
    said = [file.readline().decode().strip()]
    while file.readline().strip():
        pass
    for word in words:
        # A client has to mask what it sends; with zeros it stays as it is.
        stream.sendall(bytes([0x81, 0x80 | len(word), 0, 0, 0, 0]) + word.encode())
        said.append(file.read(file.read(2)[1]).decode())
    return said

print(json.dumps([{"post": post, "talk": talk}[what](*arguments) for what, *arguments in requests]))
"""


SITE = {"domains": DOMAIN, "max_body": "1MB"}
ENTRY = {**LISTENER, "entrypoint": ["/usr/bin/python3", "-c", SERVER]}


@pytest.fixture(scope="module")
def host(main_machine):
    """Its certificate is Caddy's own at first, then one that somebody brings."""
    main_machine.declare("sockets", {**ENTRY, "site": SITE})
    main_machine.converge()
    main_machine.sh(MAKE_CERTIFICATE)
    main_machine.declare("sockets", {**ENTRY, "site": {**SITE, "tls": {"certificate": CERTIFICATE, "key": KEY}}})
    main_machine.before = main_machine.invocations(*UNITS)
    main_machine.changed = main_machine.converge().changed
    yield main_machine
    main_machine.remove("sockets")
    main_machine.sh(f"rm -r {FOLDER}")


def ask(host, *requests):
    """The answers to requests that are made in one go."""
    return json.loads(host.run("python3", "-c", CLIENT, text=json.dumps([DOMAIN, CERTIFICATE, *requests])).stdout)


def test_a_websocket_goes_through_there_and_back(host):
    [[status, *said]] = ask(host, ["talk", "hello", "again"])
    assert status.startswith("HTTP/1.1 101 ")
    assert said == ["olleh", "niaga"]


def test_a_request_that_is_too_large_is_refused_and_a_smaller_one_is_not(host):
    [small, large] = ask(host, ["post", 900_000], ["post", 1_100_000])
    assert small == [200, "900000"]
    # Debian 13's Caddy says 502 then, later ones 413.
    assert large[0] in (413, 502)


def test_another_certificate_changes_the_site_alone_and_cuts_nothing(host):
    assert host.changed == {"Service sockets has its site"}
    assert ask(host, ["post", 1]) == [[200, "1"]]
    assert host.invocations(*UNITS) == host.before
    assert host.apply().changed == set()


def test_the_verification_believes_the_certificate_of_the_site_and_no_other(host):
    check = f"https://{DOMAIN} is sockets's site"
    assert host.verify()[check] == (True, "HTTP 200, certificate verified")
    # Renewed, and Caddy does not know yet.
    host.sh(MAKE_CERTIFICATE)
    passed, detail = host.verify()[check]
    assert not passed
    assert "certificate verify failed" in detail
    assert host.converge().changed == {"Service sockets has its site"}
    assert host.verify()[check] == (True, "HTTP 200, certificate verified")
    assert host.invocations(*UNITS) == host.before
