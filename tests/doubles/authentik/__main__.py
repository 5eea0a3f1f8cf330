"""
The double as a program, as the original's image has it: ``server`` or ``worker``.

Both are configured by the original's environment variables and share a database. In a container it is called ``ak``.
"""

import ipaddress
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path

import waitress.server
from doubles.authentik import worker
from doubles.authentik.database import NotReady, Shared, settings
from doubles.authentik.server import BANNER, PRIVATE, Authentik, application, one_at_a_time
from doubles.authentik.system import VERSION

HTTP, METRICS = "0.0.0.0:9000", "0.0.0.0:9300"  # where the original listens
BLUEPRINTS = os.environ.get("AUTHENTIK_BLUEPRINTS_DIR") or "/blueprints"
POLL = 1  # seconds; how often the worker looks at the blueprints, and whoever waits for the database at that
THREADS = 8
ALIVE = "/-/health/live/"
EXCLUSIVE = (2026, 5)  # the first version that does not go on where a port is taken

log = logging.getLogger("authentik-double")


def main():
    commands = {"server": serve, "worker": work}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"usage: ak {'|'.join(commands)}")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    if not os.environ.get("AUTHENTIK_SECRET_KEY"):
        sys.exit("Secret key missing, check https://docs.goauthentik.io/install-config/")
    warnings.simplefilter("ignore", DeprecationWarning)  # of Debian's authlib, whose next version has taken it back
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    log.warning("THIS IS A TEST DOUBLE of Authentik %s, its %s: it guards nothing", VERSION, sys.argv[1])
    authentik = Authentik()
    shared = Shared(authentik.store, **settings(os.environ))
    commands[sys.argv[1]](authentik, shared, end)


def serve(authentik, shared, end):
    """Answer requests: at once, if only to say that there is nothing yet."""
    trusted = os.environ.get("AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS")
    networks = [ipaddress.ip_network(one.strip(), strict=False) for one in trusted.split(",")] if trusted else PRIVATE
    listen("HTTP", HTTP, once_ready(application(authentik, shared.held, networks), shared))
    listen("METRICS", METRICS, metrics)
    started = once_migrated(shared, end, lambda: authentik.store.seeded and authentik.restart())
    if started:
        end.wait()


def work(authentik, shared, end):
    """Make what is missing, and apply blueprints whenever they change."""
    listen("HTTP", HTTP, once_ready(one_at_a_time(healthy, shared.held), shared))
    listen("METRICS", METRICS, metrics)
    folder = worker.Folder(Path(BLUEPRINTS))
    started = once_migrated(shared, end, lambda: worker.first_start(authentik, os.environ))
    while started and not end.is_set():
        try:
            with shared.held():
                folder.apply(authentik)
        except NotReady as error:
            log.warning("PostgreSQL does not answer: %s", error)
        end.wait(POLL)


def once_migrated(shared, end, start):
    """Wait for the database, then start; return whether that was before the end."""
    while not end.is_set():
        try:
            shared.migrate()
            with shared.held():
                start()
        except NotReady as error:
            log.warning("PostgreSQL connection failed, retrying: %s", error)
            end.wait(POLL)
        else:
            log.info("started")
            return True
    return False


# HTTP.


def listen(name, default, served):
    """Serve an application in a thread of its own. Where a port is taken, the original goes on without it."""
    places = os.environ.get(f"AUTHENTIK_LISTEN__{name}") or default
    try:
        # What proxies say is for the application to judge.
        server = waitress.server.create_server(
            served, listen=places.replace(",", " "), threads=THREADS, ident=None, clear_untrusted_proxy_headers=False
        )
    except OSError as error:
        if tuple(map(int, VERSION.split(".")[:2])) >= EXCLUSIVE:
            sys.exit(f"failed to listen on {places}: {error}")
        log.warning("failed to listen on %s: %s", places, error)
    else:
        threading.Thread(target=server.run, daemon=True).start()
        log.info("listening on %s", places)


def once_ready(served, shared):
    """An application that says that it lives also where the database does not, and else that it is starting."""

    def front(environ, start_response):
        if environ["PATH_INFO"] == ALIVE:
            return text(start_response, "200 OK", "")
        if not shared.migrated:
            return text(start_response, "503 Service Unavailable", "authentik starting\n")
        try:
            return served(environ, start_response)
        except NotReady as error:
            log.warning("PostgreSQL does not answer: %s", error)
            words = "the database does not answer\n"
            return text(start_response, "503 Service Unavailable", words, sys.exc_info())

    return front


def healthy(environ, start_response):
    """What the worker has to say: it is asked after its health only."""
    known = environ["PATH_INFO"] == "/-/health/ready/"
    return text(start_response, "200 OK" if known else "404 Not Found", "")


def metrics(environ, start_response):
    """One number, which is always the same."""
    known = environ["PATH_INFO"] == "/metrics"
    return text(start_response, "200 OK" if known else "404 Not Found", "authentik_double 1\n" if known else "")


def text(start_response, status, words, error=None):
    headers = [("Content-Type", "text/plain; charset=utf-8"), (BANNER, "a test double, no identity provider")]
    start_response(status, headers, error)
    return [words.encode()]


if __name__ == "__main__":
    main()
