"""
Answers over HTTP, of services that mean well and of others.
"""

import http.server
import socket
import threading
import time

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

answer = load("utils", "http_answer")


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found.asked.append(self.path)
            status = self.path.strip("/?x=")
            self.send_response(int(status) if status.isdigit() else 200)
            self.send_header("Location", "/500")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as found:
        found.asked = []
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        found.url = f"http://127.0.0.1:{found.server_port}"
        yield found
        found.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "wrong"), [(200, None), (204, None), (302, None), (404, "404"), (500, "500")])
def test_an_answer_is_right_or_its_status_is_said(server, status, wrong):
    assert answer.wrong(f"{server.url}/{status}") == wrong


def test_a_query_belongs_to_the_address(server):
    assert answer.wrong(f"{server.url}?x=503") == "503"


def test_where_nobody_listens_the_reason_is_said(server):
    assert answer.wrong("http://127.0.0.1:1/") == "does not answer (Connection refused)"


def test_a_redirect_is_not_followed(server):
    assert answer.status(f"{server.url}/302") == 302
    assert server.asked == ["/302"]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/prüfung", "/pr%C3%BCfung"),
        ("/a b", "/a%20b"),
        ("/%20", "/%20"),
        ("/\ud800x", "/?x"),
        ("/x?q=ü", "/x?q=%C3%BC"),
    ],
)
def test_a_path_is_encoded_as_http_wants_it(server, path, asked):
    answer.wrong(f"{server.url}{path}")
    assert server.asked == [asked]


def one_answer(say):
    """Serve one connection with a function of it, in the background; the URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listening, listening.accept()[0] as connection:
            connection.recv(65_536)
            say(connection)

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/"


def drip(connection):
    try:
        while True:
            connection.sendall(b"H")
            threading.Event().wait(0.05)  # the drops come faster than any limit of a single read
    except OSError:
        pass


def test_an_answer_that_drips_is_given_up_in_time():
    before = time.monotonic()
    with pytest.raises(CommandExecutionError, match="not within"):
        answer.status(one_answer(drip), timeout=0.5)
    assert time.monotonic() - before < 3


def test_headers_that_never_end_do_not_matter():
    url = one_answer(lambda connection: (connection.sendall(b"HTTP/1.1 204 No\r\n"), drip(connection)))
    assert answer.status(url, timeout=3) == 204


def test_an_interim_answer_is_not_the_answer():
    url = one_answer(
        lambda connection: connection.sendall(b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 404 No\r\n")
    )
    assert answer.status(url) == 404


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n", b"\x00\x01"])
def test_what_is_not_http_is_no_answer(said):
    with pytest.raises(CommandExecutionError, match="does not answer"):
        answer.status(one_answer(lambda connection: connection.sendall(said)), timeout=3)
