#!/usr/bin/python3
"""
A board that knows its visitors by the headers which the proxy sets: forward auth.

It has no login, no session and no password. Whoever may set these headers is whoever they say, so nothing but the
proxy may reach it, and the proxy must remove what a visitor sends of them.
"""

import os
import signal
import sys
from dataclasses import dataclass

from flask import Flask, abort, g, render_template, request

LARGEST_REQUEST = 64 * 1024  # bytes; stays in memory, so the file system can be read-only
THREADS = 4
OPEN = ("health", "static")  # what needs no visitor: endpoints, not paths, which can be written in many ways
SIGN_OUT = "/outpost.goauthentik.io/sign_out"

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
REASONS = {
    400: "The proxy sent an identity that cannot be read.",
    401: "The proxy did not say who you are.",
    403: "This page is for another group.",
    404: "There is no such page.",
}


class SettingsError(Exception):
    """The environment lacks a setting or has one that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """The settings, as the environment gives them (see the README)."""

    admin_group: str
    listen: str = "127.0.0.1"
    port: int = 8080

    @classmethod
    def read(cls, environment):
        """Return the settings found in ``environment``. Raises ``SettingsError`` that lists everything wrong."""
        get = environment.get
        wrong = []
        if not get("ADMIN_GROUP"):
            wrong.append("ADMIN_GROUP is not set")
        elif "|" in get("ADMIN_GROUP"):
            wrong.append("ADMIN_GROUP is one group, and | separates groups")
        port = get("PORT") or str(cls.port)
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            wrong.append(f"PORT is not a port number: {port!r}")
        if wrong:
            raise SettingsError("; ".join(wrong))
        return cls(admin_group=get("ADMIN_GROUP"), listen=get("LISTEN") or cls.listen, port=int(port))


@dataclass(frozen=True)
class Visitor:
    """Who the proxy says is there."""

    user: str
    name: str
    email: str
    groups: tuple[str, ...]

    @classmethod
    def read(cls, headers):
        """Return the visitor of a request, None if it has none. Raises ``UnicodeDecodeError``."""
        user, name, email, groups = (
            _text(headers.get(f"Remote-{field}", "")) for field in ("User", "Name", "Email", "Groups")
        )
        # Caddy 2.6 sends a placeholder as it is written where the outpost said nothing.
        if not user or user.startswith("{http."):
            return None
        return cls(user, name, email, tuple(group for group in groups.split("|") if group))


def _text(value):
    """What a header says: WSGI hands its bytes over as if they were Latin-1, and the outpost wrote UTF-8."""
    return value.encode("latin-1").decode("utf-8").strip()


def create_app(admin_group):
    """Return the Flask application. Members of ``admin_group`` see the administration."""
    app = Flask(__name__)
    app.json.sort_keys = False

    @app.before_request
    def identify():
        """Nobody gets past here without a name, wherever the request goes, also to pages that do not exist."""
        if request.endpoint in OPEN:
            return
        try:
            visitor = Visitor.read(request.headers)
        except UnicodeDecodeError:
            abort(400)
        g.visitor = visitor or abort(401)

    @app.get("/")
    def page():
        return render_template("board.html", visitor=g.visitor, admin=is_admin(), sign_out=SIGN_OUT)

    @app.get("/admin")
    def admin():
        if not is_admin():
            abort(403)
        return render_template("admin.html", visitor=g.visitor, group=admin_group, sign_out=SIGN_OUT)

    @app.get("/whoami")
    def whoami():
        visitor = g.visitor
        return {"user": visitor.user, "name": visitor.name, "email": visitor.email, "groups": visitor.groups}

    @app.get("/health")
    def health():
        return {"status": "ok"}

    def is_admin():
        return admin_group in g.visitor.groups  # of a tuple: a part of a name is no member

    @app.errorhandler(400)
    @app.errorhandler(401)
    @app.errorhandler(403)
    @app.errorhandler(404)
    def refused(error):
        return render_template("refused.html", reason=REASONS[error.code]), error.code

    @app.after_request
    def protect(response):
        response.headers.update(HEADERS)
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"  # a page is one visitor's
        return response

    return app


def _end(_signal, _frame):
    # PID 1 has no default action for SIGTERM. Waitress lets the running requests finish when it sees this.
    raise SystemExit(0)


def main():
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        sys.exit(f"board: {error}")
    import waitress  # only a process that serves needs it

    waitress.serve(
        create_app(settings.admin_group),
        host=settings.listen,
        port=settings.port,
        threads=THREADS,
        ident=None,
        max_request_body_size=LARGEST_REQUEST,
    )


if __name__ == "__main__":
    main()
