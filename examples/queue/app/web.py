#!/usr/bin/python3
"""
The page: takes texts into the queue and shows what the worker has found.

It holds no state of its own and can start before Valkey and the worker: until both are there, ``/health`` says 503 and
names the one that is missing.
"""

import logging
import os
import signal
import sys
from datetime import UTC, datetime
from urllib.parse import urlsplit

from flask import Flask, abort, redirect, render_template, request, url_for
from jobs import KEPT, Full, Queue, Settings, SettingsError, Unavailable

LONGEST_TEXT = 20_000  # characters
LARGEST_REQUEST = 256 * 1024  # bytes; stays in memory, so the file system can be read-only
THREADS = 4

# Nothing is loaded from elsewhere, and no other site may frame the page. `same-origin` keeps browsers from sending
# `Origin: null` with the form, which is what the check against foreign forms looks at.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger("web")


def create_app(queue):
    """Return the Flask application over the queue."""
    app = Flask(__name__)
    app.json.sort_keys = False

    def attempt(act, *values):
        """Return the queue's answer, or None when it is unavailable; the reason goes to the log only."""
        try:
            return act(*values)
        except Unavailable as error:
            log.warning("%s", error)
            return None

    @app.get("/")
    def page(problem=None, draft="", status=200):
        jobs = attempt(queue.jobs)
        alive = attempt(queue.worker_is_alive)
        body = render_template(
            "queue.html",
            jobs=jobs,
            alive=alive,
            # The page looks again by itself only while there is something to come.
            watch=bool(alive) and any("sha256" not in job for job in jobs or ()),
            problem=problem,
            draft=draft,
            longest=LONGEST_TEXT,
            kept=KEPT // 60,
        )
        return body, 503 if jobs is None else status

    @app.post("/")
    def submit():
        if _comes_from_elsewhere():
            abort(403, "This form was sent by another site.")
        # A browser sends the ends of lines as CR LF; the digest is to be that of the text as it was typed.
        text = request.form.get("text", "").replace("\r\n", "\n")
        if not text.strip() or len(text) > LONGEST_TEXT:
            return page(problem=f"A text has 1 to {LONGEST_TEXT} characters.", draft=text, status=400)
        try:
            queue.submit(text)
        except Full:
            return page(problem="Too many texts are waiting. Please try again later.", draft=text, status=503)
        except Unavailable as error:
            log.warning("%s", error)
            return page(problem="The text was not taken: Valkey does not answer.", draft=text, status=503)
        return redirect(url_for("page"), 303)

    @app.get("/jobs")
    def jobs():
        found = attempt(queue.jobs)
        if found is None:
            return {"error": "Valkey does not answer"}, 503
        return found

    @app.get("/health")
    def health():
        checks = {}
        for name, check in (("valkey", queue.check), ("worker", queue.worker_is_alive)):
            try:
                checks[name] = "failed" if check() is False else "ok"
            except Unavailable as error:
                log.warning("health: %s", error)
                checks[name] = "failed"
        healthy = set(checks.values()) == {"ok"}
        return {"status": "ok" if healthy else "failed", "checks": checks}, 200 if healthy else 503

    @app.template_filter("clock")
    def clock(seconds):
        return datetime.fromtimestamp(float(seconds), UTC).strftime("%H:%M:%S UTC")

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
    signal.signal(signal.SIGTERM, _end)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.read(os.environ)
    except SettingsError as error:
        sys.exit(f"queue: {error}")
    import waitress  # only a process that serves needs it

    waitress.serve(
        create_app(Queue(settings.url, settings.prefix)),
        host=settings.listen,
        port=settings.port,
        threads=THREADS,
        ident=None,
        max_request_body_size=LARGEST_REQUEST,
    )


if __name__ == "__main__":
    main()
