#!/usr/bin/python3
"""
A diary with a login of its own: OpenID Connect, the code flow with state, nonce and PKCE.

What it knows of a user is in the session's cookie, which is signed and can be read by its owner. No token is kept: once
the ID token has said who is there, it has done its work.
"""

import json
import logging
import os
import re
import secrets
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import wraps
from urllib.parse import urlsplit

import requests
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.flask_client import OAuth
from flask import Flask, redirect, render_template, request, session, url_for

try:
    from joserfc.errors import JoseError  # Authlib from 1.7 on
except ImportError:
    from authlib.jose.errors import JoseError

TIMEOUT = 5  # seconds; a provider that takes longer counts as unavailable
LASTS = 3600  # seconds; then the provider is asked again, which the user does not notice
LOGIN_LASTS = 600  # seconds from the click to the answer of the provider
MOST_LOGINS = 3  # that one browser has begun, in as many tabs
LARGEST_IDENTITY = 2500  # bytes; browsers drop a cookie of more than 4096, and with it the login
SHORTEST_KEY = 32  # characters
LARGEST_REQUEST = 64 * 1024  # bytes; stays in memory, so the file system can be read-only
THREADS = 4
ENDPOINTS = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint")
ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]+)?")
# The provider's own words come by way of the browser, where anybody can write others.
ERRORS = {
    "access_denied": (403, "You refused, or you may not use this application."),
    "temporarily_unavailable": (503, "The login is out of order for the moment."),
    "server_error": (502, "The login failed at the provider."),
}

log = logging.getLogger("diary")


class SettingsError(Exception):
    """The environment lacks a setting or has one that cannot be used."""


class Problem(Exception):
    """A login that failed, as the user is told: ``status`` and a text."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class Settings:
    """The settings, as the environment gives them (see the README)."""

    discovery_url: str
    client_id: str
    client_secret: str = field(repr=False)
    session_key: str = field(repr=False)
    site_url: str
    listen: str = "127.0.0.1"
    port: int = 8080

    @classmethod
    def read(cls, environment):
        """Return the settings found in ``environment``. Raises ``SettingsError`` that lists everything wrong."""
        get = environment.get
        needed = ("OIDC_DISCOVERY_URL", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "SESSION_KEY", "SITE_URL")
        wrong = [f"{name} is not set" for name in needed if not get(name)]
        if get("OIDC_DISCOVERY_URL") and urlsplit(get("OIDC_DISCOVERY_URL")).scheme != "https":
            wrong.append("OIDC_DISCOVERY_URL is not an https address")
        if get("SITE_URL") and not ADDRESS.fullmatch(get("SITE_URL").rstrip("/")):
            wrong.append("SITE_URL is not an address such as https://diary.example.test")
        if get("SESSION_KEY") and len(get("SESSION_KEY")) < SHORTEST_KEY:
            wrong.append(f"SESSION_KEY has less than {SHORTEST_KEY} characters")
        port = get("PORT") or str(cls.port)
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            wrong.append(f"PORT is not a port number: {port!r}")
        if wrong:
            raise SettingsError("; ".join(wrong))
        values = [get(name) for name in needed]
        values[-1] = values[-1].rstrip("/")
        return cls(*values, listen=get("LISTEN") or cls.listen, port=int(port))


class Provider:
    """
    The OpenID provider, by way of Authlib.

    What goes wrong with it is a ``Problem``; the reason goes to the log only.
    """

    def __init__(self, app, settings):
        self._client_id = settings.client_id
        self.place = f"https://{urlsplit(settings.discovery_url).netloc}"
        self._callback = f"{settings.site_url}/callback"
        self._client = OAuth(app).register(
            "provider",
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            server_metadata_url=settings.discovery_url,
            client_kwargs={
                "scope": "openid profile email",
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "client_secret_basic",
                "default_timeout": TIMEOUT,  # without it, requests waits for ever
            },
        )

    def discover(self):
        """
        Return what the provider says of itself. It is asked until it has answered once.

        Authlib believes all of it. What leads to another host is none of Authentik's.
        """
        try:
            found = self._client.load_server_metadata()
        except (requests.RequestException, ValueError) as error:
            raise unreachable(error) from error
        foreign = [name for name in ENDPOINTS if not str(found.get(name)).startswith(f"{self.place}/")]
        if foreign:
            raise unreachable(f"not an address at {self.place}: {', '.join(foreign)}")
        return found

    def begin(self):
        """Return where to send the browser, and what to remember until it is back."""
        self.discover()
        made = self._client.create_authorization_url(self._callback)
        return made["url"], {"state": made["state"], "nonce": made["nonce"], "verifier": made["code_verifier"]}

    def finish(self, code, login):
        """Return the claims of the ID token that a code is good for."""
        issuer = self.discover()["issuer"]
        # Authlib by itself checks the issuer only, and lets a token for somebody else pass if its azp is ours.
        expected = {
            "iss": {"essential": True, "values": [issuer]},
            "aud": {"essential": True, "values": [self._client_id]},
        }
        try:
            token = self._client.fetch_access_token(self._callback, code=code, code_verifier=login["verifier"])
            claims = self._client.parse_id_token(token, nonce=login["nonce"], claims_options=expected)
        except requests.RequestException as error:
            raise unreachable(error) from error
        except (AuthlibBaseError, JoseError, ValueError, KeyError) as error:
            log.warning("login: %s: %s", type(error).__name__, error)
            raise Problem(502, "The provider's answer was not valid.") from error
        # Authlib before 1.9 believes a token that says it has no nonce.
        if claims is None or claims.get("nonce") != login["nonce"]:
            log.warning("login: no ID token, or not the one that was asked for")
            raise Problem(502, "The provider's answer was not valid.")
        return claims

    def end_session(self):
        """Return where the provider ends its own session."""
        return self.discover()["end_session_endpoint"]


def unreachable(reason):
    log.warning("provider: %s", reason)
    return Problem(503, "The login provider cannot be reached. Please try again in a moment.")


def identity(claims):
    """What is remembered of a user. ``sub`` is who it is; names and addresses can change, and be given to others."""
    groups = claims.get("groups")
    texts = {name: str(claims.get(name) or "") for name in ("sub", "preferred_username", "name", "email")}
    return {**texts, "groups": [str(group) for group in groups] if isinstance(groups, list) else []}


def is_local(path):
    """Whether a path is one of this site: browsers drop control characters, and take a backslash for a slash."""
    return bool(re.fullmatch(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*", path))


def create_app(settings):
    """Return the Flask application."""
    app = Flask(__name__)
    app.json.sort_keys = False
    app.config.update(
        SECRET_KEY=settings.session_key,
        # By its prefix, browsers accept the cookie only from this very host, not from a neighbour in the domain.
        SESSION_COOKIE_NAME="__Host-session",
        SESSION_COOKIE_SECURE=True,
        SESSION_COOKIE_HTTPONLY=True,
        # Strict would hide the cookie, and with it the state, when the browser comes back from the provider.
        SESSION_COOKIE_SAMESITE="Lax",
    )
    provider = Provider(app, settings)
    # A form may lead to what its target redirects to only if that is listed, too.
    headers = {
        "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; "
        f"frame-ancestors 'none'; form-action 'self' {provider.place}",
        "Referrer-Policy": "no-referrer",  # the address of the callback has the code
        "X-Content-Type-Options": "nosniff",
    }

    def user():
        """Who is logged in, None if nobody is."""
        known = session.get("user")
        return known if known and time.time() < session["until"] else None

    def known_only(page):
        @wraps(page)
        def shown():
            if user() is None:
                return redirect(url_for("login", next=request.path))
            return page(user())

        return shown

    @app.get("/")
    @known_only
    def page(user):
        return render_template("diary.html", user=user)

    @app.get("/whoami")
    @known_only
    def whoami(user):
        return user

    @app.get("/login")
    def login():
        to = request.args.get("next", "/")
        address, begun = provider.begin()
        entry = {**begun, "next": to if is_local(to) else "/", "since": int(time.time())}
        session["logins"] = [*session.get("logins", []), entry][-MOST_LOGINS:]
        return redirect(address)

    @app.get("/callback")
    def callback():
        begun = take(request.args.get("state", ""))
        error = request.args.get("error")
        if error:
            log.warning("login: the provider answered %.80r", error)
            raise Problem(*ERRORS.get(error, (502, "The provider refused the login.")))
        known = identity(provider.finish(request.args.get("code", ""), begun))
        if not known["sub"] or not known["preferred_username"]:
            raise Problem(502, "The provider did not say who you are.")
        if len(json.dumps(known)) > LARGEST_IDENTITY:
            raise Problem(403, "You are in more groups than fit into a cookie.")
        session.clear()
        session.update(user=known, until=int(time.time()) + LASTS)
        return redirect(f"{settings.site_url}{begun['next']}")

    def take(state):
        """The login that this browser has begun with a state. It is good once."""
        begun = session.get("logins", [])
        found = next((one for one in begun if secrets.compare_digest(one["state"].encode(), state.encode())), None)
        if found is None or time.time() > found["since"] + LOGIN_LASTS:
            raise Problem(400, "This login was not begun in this browser, or too long ago.")
        session["logins"] = [one for one in begun if one is not found]
        return found

    @app.post("/logout")
    def logout():
        if comes_from_elsewhere(settings.site_url):
            raise Problem(403, "This form was sent by another site.")
        session.clear()
        try:
            return redirect(provider.end_session(), 303)
        except Problem:
            return render_template("logged_out.html")

    @app.get("/health")
    def health():
        return {"status": "ok"}

    @app.errorhandler(Problem)
    def failed(problem):
        return render_template("failed.html", reason=str(problem)), problem.status

    @app.after_request
    def protect(response):
        response.headers.update(headers)
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    return app


def comes_from_elsewhere(site_url):
    """Say whether a browser sent this form from another site, as it says itself (Sec-Fetch-Site or Origin)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site:
        return site not in ("same-origin", "none")
    return request.headers.get("Origin", site_url) != site_url


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
        sys.exit(f"diary: {error}")
    import waitress  # only a process that serves needs it

    waitress.serve(
        create_app(settings),
        host=settings.listen,
        port=settings.port,
        threads=THREADS,
        ident=None,
        max_request_body_size=LARGEST_REQUEST,
    )


if __name__ == "__main__":
    main()
