"""
What the server knows of a browser, by its cookie.
"""

import datetime
import hashlib
import secrets
from dataclasses import dataclass, field

import flask
from doubles.authentik.tokens import Login

COOKIE = "authentik_session"
CSRF_AGE = 31449600  # seconds; a year, as Django has it
DEVICE_AGE = 2592000  # seconds; 30 days


@dataclass
class Session:
    """
    A browser.

    plan
        The flow that it is in.

    application
        What it was on its way to.

    greeted
        Whether it has the cookies that come with a login.

    consented
        The address for which its user has just agreed.
    """

    key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    user: int | None = None
    login: Login | None = None
    plan: object = None
    application: str | None = None
    greeted: bool = False
    consented: str | None = None

    @property
    def hash(self):
        """How tokens name the session."""
        return hashlib.sha256(self.key.encode()).hexdigest()


def store_of():
    return flask.current_app.authentik.store


def current():
    """The session of the browser that asks. One that has none gets one, which lasts if ``keep`` is called."""
    return store_of().sessions.get(flask.request.cookies.get(COOKIE)) or Session()


def user():
    """Who is logged in there, None if nobody is."""
    found = store_of().get("users", current().user)
    return found if found and found["is_active"] else None


def keep(response, session):
    """Remember a session, and have the browser remember it."""
    store_of().sessions[session.key] = session
    secure = flask.request.is_secure  # without that browsers refuse "None"
    response.set_cookie(COOKIE, session.key, httponly=True, secure=secure, samesite="None" if secure else "Lax")
    return response


def greet(response, session):
    """Give a browser the cookies that come with a login, once."""
    if session.user is None or session.greeted:
        return
    session.greeted = True
    set_lasting(response, "authentik_csrf", secrets.token_urlsafe(24), CSRF_AGE, secure=flask.request.is_secure)
    set_lasting(response, "authentik_device", secrets.token_urlsafe(32), DEVICE_AGE)


def set_lasting(response, name, value, age, **more):
    """Set a cookie for some seconds, and say so in both ways."""
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=age)
    response.set_cookie(name, value, max_age=age, expires=expires, samesite="Lax", **more)


# What all that talks to a browser needs.


def redirect(to):
    """Without a body, as the server does it."""
    return flask.Response("", 302, {"Location": to}, content_type="text/html; charset=utf-8")


def page(title, *texts, status=200, template="page.html", **more):
    return flask.Response(flask.render_template(template, title=title, texts=texts, **more), status)


def asked_for():
    """What a browser asked for: the path with its query."""
    query = flask.request.query_string.decode()
    return flask.request.path + (f"?{query}" if query else "")


def came_from():
    """The address of a browser, as policies see it."""
    return flask.request.remote_addr or "127.0.0.1"


def base():
    """The address of the server itself, as the browser wrote it."""
    return flask.request.host_url.rstrip("/")
