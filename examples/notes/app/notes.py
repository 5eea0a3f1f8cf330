#!/usr/bin/python3
"""
Notes: the smallest service that uses everything the host offers.

It keeps notes in PostgreSQL and counts its visits in Valkey, both through Unix sockets, and shows which user, groups
and capabilities let it do so. It holds no state of its own and can start before its databases: until they answer,
``/health`` says 503 and names the one that does not.
"""

import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import identity
import psycopg
from flask import Flask, abort, redirect, render_template, request, url_for
from psycopg.conninfo import conninfo_to_dict
from stores import Cache, Database, Unavailable

LONGEST_NOTE = 500  # characters
LARGEST_REQUEST = 64 * 1024  # bytes; stays in memory, so the file system can be read-only
THREADS = 4

# Nothing is loaded from elsewhere, and no other site may frame the page. `same-origin` keeps browsers from sending
# `Origin: null` with the form, which is what the check against foreign forms looks at.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger("notes")


class SettingsError(Exception):
    """The environment lacks a setting or has one that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """The settings, as the environment gives them (see the README)."""

    database_url: str = field(repr=False)  # may carry a password
    valkey_socket: str
    valkey_user: str | None = None
    valkey_password: str | None = field(default=None, repr=False)
    valkey_prefix: str = "notes:"
    listen: str = "127.0.0.1"
    port: int = 8080

    @classmethod
    def read(cls, environment):
        """Return the settings found in ``environment``. Raises ``SettingsError`` that lists everything wrong."""
        get = environment.get
        wrong = [f"{name} is not set" for name in ("DATABASE_URL", "VALKEY_SOCKET") if not get(name)]
        try:
            conninfo_to_dict(get("DATABASE_URL", ""))
        except psycopg.ProgrammingError:
            wrong.append("DATABASE_URL is not a connection URI")  # libpq's own text may quote the password
        if bool(get("VALKEY_USER")) != bool(get("VALKEY_PASSWORD")):
            wrong.append("VALKEY_USER and VALKEY_PASSWORD belong together, one of them is not set")
        port = get("PORT") or str(cls.port)
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            wrong.append(f"PORT is not a port number: {port!r}")
        if wrong:
            raise SettingsError("; ".join(wrong))
        return cls(
            database_url=get("DATABASE_URL"),
            valkey_socket=get("VALKEY_SOCKET"),
            valkey_user=get("VALKEY_USER") or None,
            valkey_password=get("VALKEY_PASSWORD") or None,
            valkey_prefix=get("VALKEY_PREFIX", cls.valkey_prefix),
            listen=get("LISTEN") or cls.listen,
            port=int(port),
        )


def create_app(database, cache):
    """Return the Flask application over the two stores."""
    app = Flask(__name__)
    app.json.sort_keys = False

    def attempt(act, *values):
        """Return the answer of a store, or None when it is unavailable; the reason goes to the log only."""
        try:
            return act(*values)
        except Unavailable as error:
            log.warning("%s", error)
            return None

    def whoami():
        stores = [store for store in (database, cache) if store.socket]
        return {
            **identity.process(),
            "sockets": [
                {"store": store.name, **identity.socket(store.socket), "known_as": attempt(store.known_as)}
                for store in stores
            ],
        }

    @app.get("/")
    def page(problem=None, draft="", status=200):
        notes = attempt(database.notes)
        if notes is None:
            status = 503
        body = render_template(
            "page.html",
            notes=notes,
            visits=attempt(cache.visit),
            problem=problem,
            draft=draft,
            longest=LONGEST_NOTE,
            whoami=whoami(),
        )
        return body, status

    @app.post("/")
    def add():
        if _comes_from_elsewhere():
            abort(403, "This form was sent by another site.")
        text = request.form.get("text", "").strip()
        if not text or len(text) > LONGEST_NOTE or "\0" in text:  # PostgreSQL's text has no NUL
            return page(problem=f"A note has 1 to {LONGEST_NOTE} characters.", draft=text, status=400)
        try:
            database.add(text)
        except Unavailable as error:
            log.warning("%s", error)
            return page(problem="The note was not stored: the database does not answer.", draft=text, status=503)
        return redirect(url_for("page"), 303)

    @app.get("/health")
    def health():
        checks = {}
        for store in (database, cache):
            try:
                store.check()
                checks[store.name] = "ok"
            except Unavailable as error:
                log.warning("health: %s", error)
                checks[store.name] = "failed"
        healthy = set(checks.values()) == {"ok"}
        return {"status": "ok" if healthy else "failed", "checks": checks}, 200 if healthy else 503

    app.get("/whoami")(whoami)

    @app.after_request
    def protect(response):
        response.headers.update(HEADERS)
        if request.endpoint != "static":
            response.headers["Cache-Control"] = "no-store"
        return response

    return app


def _comes_from_elsewhere():
    """
    Say whether a browser sent this form from another site.

    Browsers state it themselves, in Sec-Fetch-Site (only over https and to localhost) or Origin, and no script can
    change either. A client that sends neither is no browser and has no cookies that another site could abuse.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site:
        return site not in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc != request.host


def _end(_signal, _frame):
    # PID 1 has no default action for SIGTERM. Waitress lets the running requests finish when it sees this.
    raise SystemExit(0)


def main():
    """Serve until SIGTERM."""
    import waitress  # only a process that serves needs it

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        sys.exit(f"notes: {error}")
    database = Database(settings.database_url)
    cache = Cache(settings.valkey_socket, settings.valkey_user, settings.valkey_password, settings.valkey_prefix)
    signal.signal(signal.SIGTERM, _end)
    waitress.serve(
        create_app(database, cache),
        host=settings.listen,
        port=settings.port,
        threads=THREADS,
        ident=None,
        max_request_body_size=LARGEST_REQUEST,
    )


if __name__ == "__main__":
    main()
