#!/usr/bin/python3
"""
An API for programs: each request carries a bearer token, and the provider is asked what it is worth.

The items are in memory. What matters here is who may read and add them.
"""

import hashlib
import logging
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
from flask import Flask, g, request

TIMEOUT = 5  # seconds; a provider that takes longer counts as unavailable
KEPT = 30  # seconds; for that long a token that was revoked may still be let in
MOST_KEPT = 1000  # answers
RETRY_AFTER = 5  # seconds
MOST_ITEMS = 1000
LONGEST_ITEM = 500  # characters
LONGEST_TOKEN = 8192  # characters
LARGEST_REQUEST = 64 * 1024  # bytes; stays in memory, so the file system can be read-only
THREADS = 4
TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750, section 2.1

log = logging.getLogger("items")


class SettingsError(Exception):
    """The environment lacks a setting or has one that cannot be used."""


class Unavailable(Exception):
    """The provider cannot say what a token is worth. The text is for the log, not for clients."""


class Refused(Exception):
    """A request without the right to what it asks for: ``status``, and what ``WWW-Authenticate`` says."""

    def __init__(self, status, **challenge):
        super().__init__(challenge.get("error", "no token"))
        self.status, self.challenge = status, challenge


@dataclass(frozen=True)
class Settings:
    """The settings, as the environment gives them (see the README)."""

    introspection_url: str
    client_id: str
    client_secret: str = field(repr=False)
    listen: str = "127.0.0.1"
    port: int = 8080

    @classmethod
    def read(cls, environment):
        """Return the settings found in ``environment``. Raises ``SettingsError`` that lists everything wrong."""
        get = environment.get
        needed = ("INTROSPECTION_URL", "CLIENT_ID", "CLIENT_SECRET")
        wrong = [f"{name} is not set" for name in needed if not get(name)]
        if get("INTROSPECTION_URL") and urlsplit(get("INTROSPECTION_URL")).scheme != "https":
            wrong.append("INTROSPECTION_URL is not an https address")  # it gets the secret and every token
        port = get("PORT") or str(cls.port)
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            wrong.append(f"PORT is not a port number: {port!r}")
        if wrong:
            raise SettingsError("; ".join(wrong))
        return cls(*(get(name) for name in needed), listen=get("LISTEN") or cls.listen, port=int(port))


@dataclass(frozen=True)
class Grant:
    """What a token is worth: to whom it was given, what for, and until when (seconds since 1970)."""

    subject: str
    scopes: frozenset[str]
    expires: float


class Introspection:
    """
    The provider's word on tokens (RFC 7662), kept for a moment.

    url, client_id, client_secret
        The endpoint, and who we are there. Authentik tells a token's facts only to the client that it was issued for.

    clock
        Seconds since 1970.
    """

    def __init__(self, url, client_id, client_secret, clock=time.time):
        self._url, self._client = url, (client_id, client_secret)
        self._clock = clock
        self._kept = {}
        self._lock = threading.Lock()

    def grant(self, token):
        """Return what a token is worth now, None if nothing. Raises ``Unavailable``."""
        key = hashlib.sha256(token.encode()).digest()  # a dump of the memory shows no tokens
        with self._lock:
            grant, until = self._kept.get(key, (None, 0))
        if grant and self._clock() < until:
            return grant
        grant = self._ask(token)
        with self._lock:
            self._kept.pop(key, None)
            if grant:  # what is worth nothing is not kept: anybody can make that up, as much as fits
                self._kept[key] = grant, min(self._clock() + KEPT, grant.expires)
                if len(self._kept) > MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
        return grant

    def _ask(self, token):
        try:
            answer = requests.post(
                self._url,
                data={"token": token, "token_type_hint": "access_token"},
                auth=self._client,
                headers={"Accept": "application/json"},
                timeout=TIMEOUT,
                allow_redirects=False,  # another address would get the token
            )
            facts = answer.json() if answer.status_code == 200 else None
        except requests.RequestException as error:
            raise Unavailable(f"introspection: {error}") from error
        if not isinstance(facts, dict) or not isinstance(facts.get("active"), bool):
            raise Unavailable(f"introspection: status {answer.status_code} without an answer to the question")
        return self._judge(facts) if facts["active"] else None

    def _judge(self, facts):
        """The grant of an active token, None if it is not for us or is over."""
        expires, subject, scope = facts.get("exp"), facts.get("sub"), facts.get("scope", "")
        if not isinstance(expires, int | float) or not isinstance(subject, str) or not isinstance(scope, str):
            raise Unavailable("introspection: an active token without exp, sub or scope")
        audience = facts.get("aud")
        ours = self._client[0] in (audience if isinstance(audience, list) else [audience])
        if not ours or facts.get("client_id") != self._client[0] or expires <= self._clock():
            return None
        return Grant(subject, frozenset(scope.split(" ")), expires)


def create_app(introspection):
    """Return the Flask application."""
    app = Flask(__name__)
    app.json.sort_keys = False
    items = []

    def need(scope):
        """Let a request pass that carries a token for a scope; who is behind it is ``g.grant``."""
        g.grant = introspection.grant(_token())
        if g.grant is None:
            raise Refused(401, error="invalid_token")
        if scope not in g.grant.scopes:
            raise Refused(403, error="insufficient_scope", scope=scope)

    @app.get("/items")
    def read():
        need("api:read")
        return {"items": items}

    @app.post("/items")
    def add():
        need("api:write")
        body = request.get_json(silent=True)
        text = body.get("text") if isinstance(body, dict) else None
        if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_ITEM:
            return {"error": f'the body is {{"text": "1 to {LONGEST_ITEM} characters"}}'}, 400
        item = {"text": text, "by": g.grant.subject}
        items.append(item)
        del items[:-MOST_ITEMS]
        return item, 201

    @app.get("/health")
    def health():
        return {"status": "ok"}

    @app.errorhandler(Refused)
    def refused(error):
        told = ", ".join(f'{name}="{value}"' for name, value in error.challenge.items())
        return {"error": str(error)}, error.status, {"WWW-Authenticate": f"Bearer {told}".strip()}

    @app.errorhandler(Unavailable)
    def unavailable(error):
        log.warning("%s", error)
        return {"error": "the provider does not answer"}, 503, {"Retry-After": str(RETRY_AFTER)}

    @app.after_request
    def protect(response):
        response.headers.update({"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})
        return response

    return app


def _token():
    """
    The token of the request, from its header and nowhere else: addresses are logged.

    Raises ``Refused``, without an error code if there is no token at all (RFC 6750, section 3.1).
    """
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer":
        raise Refused(401)
    token = token.strip(" ")
    if len(token) > LONGEST_TOKEN or not TOKEN.fullmatch(token):
        raise Refused(401, error="invalid_token")
    return token


def _end(_signal, _frame):
    # PID 1 has no default action for SIGTERM. Waitress lets the running requests finish when it sees this.
    raise SystemExit(0)


def main():
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        sys.exit(f"items: {error}")
    import waitress  # only a process that serves needs it

    waitress.serve(
        create_app(Introspection(settings.introspection_url, settings.client_id, settings.client_secret)),
        host=settings.listen,
        port=settings.port,
        threads=THREADS,
        ident=None,
        max_request_body_size=LARGEST_REQUEST,
    )


if __name__ == "__main__":
    main()
