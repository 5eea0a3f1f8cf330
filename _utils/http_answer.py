"""
What answers to a GET over HTTP, within one limit of time for all of it, however slowly it comes.

Only the status line is read. Who asks is root, and who answers is a service that may wish it harm:
redirects are not followed, and an answer that drips in byte by byte is given up.
"""

import re
import socket
import string
import time
from urllib.parse import quote, urlsplit

from salt.exceptions import CommandExecutionError

TIMEOUT = 5  # seconds
LARGEST = 65_536  # bytes before the status line, of interim answers (RFC 9110, 15.2)
_INTERIM = re.compile(rb"\AHTTP/1\.[01] 1\d\d.*?\r?\n\r?\n", re.DOTALL)
_STATUS = re.compile(rb"HTTP/1\.[01] ([2-5]\d\d)[ \r\n]")


def status(url, timeout=TIMEOUT, address=None, context=None, headers=None):
    """
    Return the status of the answer to a GET, a number.

    url
        ``http://ADDRESS:PORT/PATH``. What HTTP cannot carry in a path is percent-encoded.

    timeout
        Seconds for everything together.

    address
        Host and port to connect to instead of those in the URL.

    context
        An ``ssl.SSLContext``, for TLS with the host of the URL as the server's name.

    headers
        Further ones, a mapping.

    Raises CommandExecutionError with the reason if there is no answer.
    """
    place = urlsplit(url)
    path = f"{place.path or '/'}{'?' + place.query if place.query else ''}"
    further = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    request = (
        f"GET {quote(path, safe=string.punctuation, errors='replace')} HTTP/1.1\r\n"
        f"Host: {place.netloc}\r\nConnection: close\r\nUser-Agent: rick-infra\r\n"
        f"{further}\r\n"
    )
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection(address or (place.hostname, place.port or 80), timeout) as plain:
            if context is None:
                return _ask(plain, request, deadline)
            plain.settimeout(_left(deadline))
            with context.wrap_socket(plain, server_hostname=place.hostname) as secured:
                return _ask(secured, request, deadline)
    except TimeoutError:
        raise CommandExecutionError(f"does not answer (not within {timeout} s)") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise CommandExecutionError(f"does not answer ({reason})") from error


def wrong(url):
    """
    Return what is wrong with the answer to a GET, as text; None for 2xx and 3xx.

    url
        As for ``status``.
    """
    try:
        found = status(url)
    except CommandExecutionError as error:
        return str(error)
    return None if 200 <= found < 400 else str(found)


def _ask(connection, request, deadline):
    connection.settimeout(_left(deadline))
    connection.sendall(request.encode("ascii"))
    said = b""
    while len(said) < LARGEST:
        connection.settimeout(_left(deadline))
        piece = connection.recv(LARGEST)
        said += piece
        while _INTERIM.match(said):
            said = _INTERIM.sub(b"", said, count=1)
        found = _STATUS.match(said)
        if found:
            return int(found[1])
        if not piece or (b"\n" in said and not said.startswith(b"HTTP/1.")):
            break
    raise ValueError("what it says is not HTTP" if said else "it says nothing")


def _left(deadline):
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
