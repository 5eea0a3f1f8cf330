"""
Logging in and out with a browser: the flows that it is led through.

A flow is gone through in two ways: on a page with a form that needs no JavaScript, which asks everything at once, or
stage by stage over the executor, to which the original's page talks.
"""

import base64
import html
import secrets
import urllib.parse
from dataclasses import dataclass, field

import flask
from doubles.authentik import sessions
from doubles.authentik.policies import allows
from doubles.authentik.providers import Applications
from doubles.authentik.sessions import Session, asked_for, keep, page, redirect, store_of
from doubles.authentik.store import now
from doubles.authentik.system import BACKGROUND
from doubles.authentik.tokens import NOBODY, Login, revoke

DENIED = "Permission denied"
METHODS = {"Allow": "GET, POST, HEAD, OPTIONS"}  # of the executor, which says them with each answer
ACTIONS = {"authentication": "Log in", "authorization": "Continue"}

pages = flask.Blueprint("login", __name__, template_folder="templates")


@dataclass
class Plan:
    """
    A flow that a browser is in.

    to
        Where it leads in the end, None if the address of its page says that.

    pending
        Who wants to log in, as it was typed.

    application, scope, token
        What is to be agreed to, and what shows that it was seen.
    """

    flow: str
    stages: tuple
    to: str | None = None
    position: int = 0
    pending: str = ""
    application: str | None = None
    scope: list = field(default_factory=list)
    token: str = field(default_factory=lambda: secrets.token_hex(16))


# Stages: those that ask have a challenge, for the executor, and a part of a form; the others just happen.


class Identification:
    """Who it is."""

    asks, template = True, "identification.html"

    @staticmethod
    def challenge(run):
        shown = {
            "component": "ak-stage-identification",
            "user_fields": ["email", "username"],
            "pending_user_identifier": None,
            "password_fields": False,
            "allow_show_password": False,
            "flow_designation": run.flow["designation"],
            "captcha_stage": None,
            "primary_action": ACTIONS["authentication"],
            "sources": [],
            "show_source_labels": False,
            "enable_remember_me": False,
            "passkey_challenge": None,
        }
        application = run.store.get("applications", run.session.application)
        if application:
            launch = Applications(run.store).launch_url(application, NOBODY)
            shown.update(application_pre=application["name"], application_pre_launch=launch)
        return shown

    @staticmethod
    def accept(run, data):
        """Anybody is believed to exist: who does not fails at the password."""
        run.plan.pending = str(data.get("uid_field") or "").strip()
        return {} if run.plan.pending else {"non_field_errors": "No identification data provided."}


class Password:
    """Whether it is."""

    asks, template = True, "password.html"

    @staticmethod
    def challenge(run):
        return {"component": "ak-stage-password", **run.pending(), "allow_show_password": False}

    @staticmethod
    def accept(run, data):
        user, given = run.user(), str(data.get("password") or "")
        known = user["password"] if user and user["is_active"] else None
        if known is None or not secrets.compare_digest(known.encode(), given.encode()):
            return {"password": "Invalid password"}
        return {}


class Entry:
    """The login itself. It gets a session of its own: whoever made the old one is not in the new one."""

    asks = False

    @staticmethod
    def enter(run):
        user = run.user()
        user["last_login"] = now()
        run.store.sessions.pop(run.session.key, None)
        run.session = Session(user=user["pk"], plan=run.plan)
        run.session.login = Login(int(run.store.time()), run.session.hash)


class Consent:
    """Whether an application may know who somebody is."""

    asks, template = True, "consent.html"

    @staticmethod
    def challenge(run):
        application = run.store.tables["applications"][run.plan.application]
        named = {mapping["scope_name"]: mapping["description"] for mapping in run.store.rows("mappings")}
        return {
            "component": "ak-stage-consent",
            **run.pending(),
            "header_text": f"You're about to sign into {application['name']}.",
            "permissions": [{"name": named.get(scope, ""), "id": scope} for scope in run.plan.scope],
            "additional_permissions": [],
            "token": run.plan.token,
        }

    @staticmethod
    def accept(run, data):
        if data.get("token") != run.plan.token:
            return {"token": "Invalid token"}
        # For an application and these scopes it is asked once. (The original asks again after four weeks.)
        run.store.consents[run.session.user, run.plan.application] = run.plan.scope
        run.session.consented = run.plan.to
        return {}


class Leaving:
    """The logout, of this server and of all that trusts this session."""

    asks = False

    @staticmethod
    def enter(run):
        left = run.session.hash
        revoke(run.store, lambda grant: grant.kind == "access" and grant.login.session == left)
        run.store.sessions.pop(run.session.key, None)
        run.session = Session(plan=run.plan, application=run.session.application)


STAGES = {"authentication": (Identification, Password, Entry), "invalidation": (Leaving,)}


class Run:
    """
    A request to a flow.

    query
        The query of the flow's page, a mapping.
    """

    def __init__(self, slug, query):
        self.store, self.query = store_of(), query
        self.flow = self.store.find("flows", slug=slug) or flask.abort(404)
        self.session = sessions.current()
        if self.session.plan is None or self.session.plan.flow != self.flow["pk"]:
            stages = STAGES.get(self.flow["designation"], ()) if self.flow["stages"] else ()
            self.session.plan = Plan(self.flow["pk"], stages)
        self.plan = self.session.plan

    @property
    def stage(self):
        """The present stage, None at the end."""
        return next(iter(self.plan.stages[self.plan.position :]), None)

    def user(self):
        """Whom it is about: who is logged in, or wants to be, by user name or by mail."""
        wanted, users = self.plan.pending.lower(), self.store.rows("users")
        if not wanted:
            return self.store.get("users", self.session.user)
        return next((one for one in users if wanted in (one["username"].lower(), one["email"].lower())), None)

    def pending(self):
        user = self.user() or {"username": self.plan.pending, "name": self.plan.pending}
        return {"pending_user": user["username"], "pending_user_avatar": avatar(user["name"] or user["username"])}

    def step(self, data):
        """Take one stage; return what is wrong with the data for it."""
        errors = self.stage.accept(self, data) if self.stage.asks else self.stage.enter(self)
        if not errors:
            self.plan.position += 1
        return errors or {}

    def go(self, data=None):
        """Take all stages, without data those that do not ask; return what is wrong with it."""
        errors = {}
        while not errors and self.stage and (data is not None or not self.stage.asks):
            errors = self.step(data)
        return errors

    def destination(self, default):
        """Where it leads in the end."""
        wanted = self.plan.to or self.query.get("next", "")
        return wanted if inside(wanted) else default

    def title(self):
        application = self.store.get("applications", self.session.application)
        return self.flow["title"].replace("%(app)s", application["name"] if application else "the application")

    def close(self, response):
        """The flow is over."""
        self.session.plan = None
        sessions.greet(response, self.session)
        return keep(response, self.session)


def avatar(name):
    """A picture of somebody's initials."""
    words = name.split()
    initials = (words[0][0] + words[-1][0] if len(words) > 1 else name[:2]).upper()
    drawn = f'<svg xmlns="http://www.w3.org/2000/svg"><text y="1em">{html.escape(initials)}</text></svg>'
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"


def inside(address):
    """Whether an address is one of this server: nobody is sent to another."""
    return address.startswith("/") and not address.startswith(("//", "/\\"))


@pages.route("/api/v3/flows/executor/<slug>/", methods=["GET", "POST"])
def execute(slug):
    """One stage after the other: what succeeds leads to the same address again (Q75)."""
    run = Run(slug, dict(urllib.parse.parse_qsl(flask.request.args.get("query", ""))))
    if run.stage is None:
        return run.close(flask.make_response({"component": "xak-flow-redirect", "to": run.destination("/")}, METHODS))
    answered = flask.request.method == "POST" or not run.stage.asks
    errors = run.step(flask.request.get_json(silent=True) or {}) if answered else {}
    if answered and not errors:
        response = redirect(asked_for())
        response.headers.extend(METHODS)
    else:
        response = flask.make_response(challenge(run, errors), METHODS)
    return keep(response, run.session)


def challenge(run, errors):
    following = {"next": run.query["next"]} if "next" in run.query else {}
    info = {
        "title": run.title(),
        "background": BACKGROUND,
        "background_themed_urls": None,
        "cancel_url": with_query("/flows/-/cancel/", urllib.parse.urlencode(following)),
        "layout": "stacked",
    }
    shown = {"flow_info": info, **run.stage.challenge(run)}
    if errors:
        shown["response_errors"] = {name: [{"string": text, "code": "invalid"}] for name, text in errors.items()}
    return shown


@pages.route("/if/flow/<slug>/", methods=["GET", "POST"])
def flow_page(slug):
    """All that a flow asks, on one page."""
    run = Run(slug, flask.request.args)
    run.plan.position = 0
    errors = run.go(flask.request.form if flask.request.method == "POST" else None)
    if run.stage is None:
        return run.close(at_the_end(run))
    run.plan.position = 0  # after an error all of it is asked again
    asked = {"stages": [stage for stage in run.plan.stages if stage.asks], "wrong": errors.values()}
    if Consent in run.plan.stages:
        asked["consent"] = Consent.challenge(run)
    action = ACTIONS[run.flow["designation"]]
    return keep(page(run.title(), template="flow.html", action=action, **asked), run.session)


def at_the_end(run):
    if run.flow["designation"] == "invalidation" and "next" not in run.query:
        return page(run.title(), template="logged_out.html", still_in=run.session.user)
    return redirect(run.destination("/if/user/"))


@pages.get("/flows/-/default/<designation>/")
def to_default_flow(designation):
    flow = default_flow(designation) or flask.abort(404)
    return redirect(flow_address(flow, flask.request.query_string.decode()))


@pages.get("/flows/-/cancel/")
def cancel():
    session, following = sessions.current(), flask.request.args.get("next", "")
    session.plan = None
    return keep(redirect(following if inside(following) else "/"), session)


@pages.get("/")
def root():
    return redirect("/if/user/" if sessions.user() else "/flows/-/default/authentication/?next=/")


@pages.get("/if/user/")
def overview():
    """The applications that somebody may use."""
    store, user = store_of(), sessions.user()
    if user is None:
        return redirect("/flows/-/default/authentication/?next=/if/user/")
    launch = Applications(store).launch_url
    mine = [one for one in store.rows("applications") if allows(store, one, user, sessions.came_from()).passing]
    listed = [(one["name"], launch(one, user)) for one in mine]
    return page("My applications", template="overview.html", user=user, applications=listed)


def default_flow(designation):
    """The flow that the brand has for something, None if it has none."""
    store = store_of()
    return store.get("flows", store.find("brands", default=True).get(f"flow_{designation}"))


def flow_address(flow, query):
    return with_query(f"/if/flow/{flow['slug']}/", query)


def with_query(path, query):
    return f"{path}?{query}" if query else path


def to_login(provider, application):
    """Have a browser log in before it comes back to where it is."""
    session = sessions.current()
    session.application = application["pk"]
    flow = store_of().get("flows", provider["authentication_flow"]) or default_flow("authentication")
    query = urllib.parse.parse_qsl(flask.request.query_string.decode(), keep_blank_values=True)
    return keep(redirect(flow_address(flow, urllib.parse.urlencode([*query, ("next", asked_for())]))), session)


def to_consent(flow, application, scope):
    """Have a user agree before the browser comes back to where it is."""
    session = sessions.current()
    session.plan = Plan(flow["pk"], (Consent,), to=asked_for(), application=application["pk"], scope=scope)
    session.application = application["pk"]
    return keep(redirect(flow_address(flow, flask.request.query_string.decode())), session)


def denied(*reasons):
    """A page with status 200, as the original has it (Q71)."""
    return page(DENIED, "Request has been denied.", *reasons)
