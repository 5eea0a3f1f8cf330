"""
Caddy's admin API on its Unix socket: whether it answers, which configuration runs, and how to give it another.
"""

import http.client
import json
import socket

from salt.exceptions import CommandExecutionError

SOCKET = "/run/caddy/admin.sock"
TIMEOUT = 60  # seconds; a load takes milliseconds, but may wait for listeners


def address():
    """
    Return the address of the admin API as a Caddyfile has it.
    """
    return f"unix/{SOCKET}"


def listens():
    """
    Return whether a process accepts connections on the socket.

    Raises CommandExecutionError if that cannot be found out, for want of rights above all.
    """
    try:
        _connected().close()
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError as error:
        raise CommandExecutionError(f"{SOCKET}: {error.strerror or error}; caddy.* takes root") from error
    return True


def running():
    """
    Return the configuration that runs, as Caddy's JSON.
    """
    return _ask("GET", "/config/")


def load(configuration):
    """
    Have a configuration take the place of the one that runs, also if it is the same, for what its files hold by now.
    Caddy keeps that one if the new one cannot be started.

    configuration
        Caddy's JSON, as ``caddy adapt`` prints it.

    Raises CommandExecutionError with Caddy's words.
    """
    _ask("POST", "/load", configuration.encode())


def _ask(method, path, body=None):
    headers = {} if body is None else {"Content-Type": "application/json", "Content-Length": str(len(body))}
    # Without this Caddy does nothing about a configuration that it has: https://caddyserver.com/docs/api#post-load
    headers |= {} if body is None else {"Cache-Control": "must-revalidate"}
    connection = http.client.HTTPConnection("localhost", timeout=TIMEOUT)
    try:
        connection.sock = _connected()
        # RFC 9112, 3.2: without a host, the field is there and empty. Caddy refuses any other one on a Unix socket.
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for key, value in {"Host": "", **headers}.items():
            connection.putheader(key, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise CommandExecutionError(f"Caddy does not answer at {SOCKET}: {error}") from error
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise CommandExecutionError(_words(text))
    return text


def _connected():
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(TIMEOUT)
        client.connect(SOCKET)
    except OSError:
        client.close()
        raise
    return client


def _words(text):
    """What Caddy says in an error: JSON with the one key ``error``."""
    try:
        return json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return text.strip()
