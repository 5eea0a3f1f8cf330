"""
The double as a WSGI application.
"""

import ipaddress
import json
import threading

import flask
import orjson
from doubles.authentik import accounts, login, oauth, outposts, policies, providers, proxy, rbac, seed, sessions, system
from doubles.authentik.blueprints import Blueprints, apply_as_administrator
from doubles.authentik.fields import Invalid
from doubles.authentik.rest import ANYBODY, NO_LOGIN, Answer, Call, Refused, ServerException, relations
from doubles.authentik.store import Store
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

API = "/api/v3/"
PAGE = "<!DOCTYPE html><html><head><title>authentik</title></head><body>A test double of Authentik.</body></html>"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
READING = "GET, HEAD, OPTIONS"
BANNER = "X-Test-Double"
FORWARDED = "HTTP_X_FORWARDED_"
MEANT = {"REMOTE_ADDR": "FOR", "wsgi.url_scheme": "PROTO", "HTTP_HOST": "HOST"}
# Where a proxy may be unless somebody says it, as the original has it.
PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fe80::/10", "::1/128")
)
TOKEN_INVALID = "Token invalid/expired"  # noqa: S105 - what the answer says
KINDS = (
    accounts.Groups,
    accounts.Users,
    accounts.Tokens,
    providers.Applications,
    providers.AllProviders,
    providers.ProxyProviders,
    providers.OAuth2Providers,
    providers.ScopeMappings,
    providers.AllMappings,
    providers.SamlMappings,
    providers.Flows,
    providers.Certificates,
    policies.AllPolicies,
    policies.ExpressionPolicies,
    policies.Bindings,
    outposts.Outposts,
    rbac.Roles,
    rbac.Permissions,
    rbac.RolePermissions,
    system.Brands,
    system.Version,
    system.Settings,
    system.RootConfig,
)


class Authentik:
    """One installation: what it knows, and the API to it."""

    def __init__(self):
        self.store = Store()
        collections = [kind(self.store) for kind in KINDS]
        models = {one.model: one for one in collections if one.writable}
        collections.append(Blueprints(self.store, models))
        bindings = next(one for one in collections if one.path == policies.Bindings.path)
        collections.append(providers.Transactions(self.store, bindings))
        self.models = models
        self.store.relations = relations(collections)
        # The longest path first: rbac/permissions begins others.
        self.collections = sorted(collections, key=lambda one: -len(one.path))

    def restart(self):
        """What a start of the server does."""
        seed.embed(self.store)

    def wait(self, seconds):
        """Have what expires after a time do so at once."""
        self.store.ahead += seconds

    def apply_blueprint(self, content):
        """Apply a blueprint file of a folder."""
        apply_as_administrator(self.store, self.models, content)

    def answer(self, request):
        """Answer a request to the API, ``(status, body, allowed methods)``; None where there is nothing."""
        found = self._find(request.path.removeprefix(API))
        if found is None:
            return None
        collection, allowed, handler = found
        listed = ", ".join([*allowed, *(["HEAD"] if "GET" in allowed else []), "OPTIONS"])
        try:
            answer = self._handle(request, collection, allowed, handler)
        except Refused as error:
            answer = Answer(error.status, error.body)
        except Invalid as error:
            detail = error.detail
            answer = Answer(400, detail if isinstance(detail, dict) else {"non_field_errors": detail})
        except ServerException:
            return Answer(405), READING
        return answer, listed

    def _find(self, path):
        """The collection of a path, the methods that it takes there, and what answers them."""
        collection = next((one for one in self.collections if path.startswith(f"{one.path}/")), None)
        if collection is None or not path.endswith("/"):
            return None
        parts = path.removeprefix(f"{collection.path}/").split("/")[:-1]
        if not parts:
            return collection, collection.methods, collection.on_list
        if len(parts) == 1 and parts[0] in collection.list_actions:
            return self._action(collection, collection.list_actions[parts[0]], ())
        if len(parts) == 1 and collection.detail_methods:
            return collection, collection.detail_methods, lambda call: collection.on_detail(call, parts[0])
        if len(parts) == 2 and parts[1] == "used_by" and collection.detail_methods:
            return collection, ("GET",), lambda call: _used_by(collection, call, parts[0])
        if len(parts) == 2 and parts[1] in collection.actions:
            return self._action(collection, collection.actions[parts[1]], (parts[0],))
        return None

    def _action(self, collection, functions, arguments):
        def handler(call):
            return functions[call.method](collection, call, *arguments)

        handler.access = next((one.access for one in functions.values() if hasattr(one, "access")), None)
        return collection, tuple(functions), handler

    def _handle(self, request, collection, allowed, handler):
        negotiate(request)
        user = self._user(request)
        anybody = ANYBODY in (getattr(collection, "access", None), getattr(handler, "access", None))
        if user is None and not anybody:
            raise Refused(403, NO_LOGIN)
        query = request.args.to_dict(flat=False)
        base = request.host_url.rstrip("/")
        call = Call(self.store, "GET" if request.method == "HEAD" else request.method, query, None, user, base)
        if request.method == "OPTIONS":
            return Answer(200, collection.describe(call))
        if call.method not in allowed:
            raise Refused(405, f'Method "{request.method}" not allowed.')
        if call.method in ("POST", "PUT", "PATCH"):
            call.body = parsed(request)
        return handler(call)

    def _user(self, request):
        """Who asks: by a token, or by a session of the browser."""
        kind, _, key = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and key.strip():
            token = self.store.find("tokens", key=key.strip(), intent="api")
            user = token and self.store.get("users", token["user"])
            if not user or not user["is_active"]:
                raise Refused(403, TOKEN_INVALID)
            return user
        return sessions.user()


def _used_by(collection, call, key):
    call.need(collection.right("view"))
    return Answer(200, collection.used_by(collection.look_up(key, call), call))


def negotiate(request):
    """The API speaks JSON."""
    if request.args.get("format", "json") != "json":
        raise Refused(404, "Not found.")
    accepted = request.accept_mimetypes
    if accepted and not accepted["application/json"]:
        raise Refused(406, "Could not satisfy the request Accept header.")


def parsed(request):
    """The body of a request; none at all is an empty object (Q10)."""
    text = request.get_data()
    kind = request.headers.get("Content-Type", "")
    if kind.partition(";")[0].strip() != "application/json" and text:
        raise Refused(415, f'Unsupported media type "{kind}" in request.')
    if not text:
        return {}
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refused(400, f"JSON parse error - {error}") from None


def create_app(token, password=None):
    """
    Return the double as a Flask application; its state is ``app.authentik``.

    token
        Key of the administrator's token.

    password
        The password of akadmin, None for none.
    """
    authentik = Authentik()
    seed.fill(authentik.store, token, password=password)
    lock = threading.RLock()
    return application(authentik, lambda: lock)


def application(authentik, held, trusted=PRIVATE):
    """
    Return an installation as a Flask application.

    held
        Returns what a request is answered within, a context manager: requests wait for each other.

    trusted
        The networks of proxies that are believed.
    """
    app = flask.Flask("a test double of Authentik")
    app.authentik = authentik
    app.wsgi_app = Forwarded(one_at_a_time(app.wsgi_app, held), trusted)
    proxy.register(app)
    app.register_blueprint(login.pages)
    oauth.register(app)

    @app.before_request
    def slash():
        """Without its slash an address is not there (Q2)."""
        missing = isinstance(flask.request.routing_exception, RequestRedirect)
        return nothing_there() if missing else None

    @app.before_request
    def nobody_yet():
        """Before the first start of the worker there is neither a flow nor anybody who could ask."""
        if authentik.store.seeded or flask.request.path.startswith(("/-/", f"{proxy.PREFIX}/")):
            return None
        if not flask.request.path.startswith(API):
            return nothing_there()
        words = TOKEN_INVALID if "Authorization" in flask.request.headers else NO_LOGIN
        return flask.Response(json.dumps({"detail": words}), 403, content_type="application/json")

    @app.after_request
    def signed(response):
        """The outpost has said itself what its answers depend on."""
        response.headers[BANNER] = "a test double, no identity provider"
        if "Vary" not in response.headers:
            response.headers.update({"X-Powered-By": "authentik", "Vary": "Accept-Encoding, Accept-Language, Cookie"})
        return response

    @app.get("/-/health/live/")
    @app.get("/-/health/ready/")
    def health():
        return flask.Response("", 200, content_type="text/html; charset=utf-8")

    @app.route(f"{API}<path:rest>", methods=METHODS, provide_automatic_options=False)
    def api(rest):
        found = authentik.answer(flask.request)
        if found is None:
            return nothing_there()
        answer, allowed = found
        response = flask.Response(status=answer.status)
        response.headers["Allow"] = allowed
        if answer.body is not None:
            response.data, response.content_type = json.dumps(answer.body), "application/json"
        elif answer.status == 204:
            del response.headers["Content-Type"]
        else:
            response.content_type = "text/html; charset=utf-8"
        return response

    @app.errorhandler(MethodNotAllowed)
    def not_allowed(error):
        allowed = ", ".join(method for method in METHODS if method in error.valid_methods)
        return flask.Response("", 405, {"Allow": allowed}, content_type="text/html; charset=utf-8")

    @app.errorhandler(HTTPException)
    def refused(error):
        return error if error.code == 500 else nothing_there()  # an error of the double's own is not hidden

    return app


class Forwarded:
    """
    A proxy in front says who asks, and what for; whoever else says so is not believed.

    networks
        Those that proxies are in.
    """

    def __init__(self, application, networks):
        self.application, self.networks = application, networks

    def __call__(self, environ, start_response):
        peer = ipaddress.ip_address(environ.get("REMOTE_ADDR") or "127.0.0.1")
        believed = any(peer in network for network in self.networks)
        said = {name: environ.get(f"{FORWARDED}{header}", "") for name, header in MEANT.items()} if believed else {}
        said = {name: value.partition(",")[0].strip() for name, value in said.items() if value}
        own = {name: value for name, value in environ.items() if believed or not name.startswith(FORWARDED)}
        return self.application({**own, **said}, start_response)


def one_at_a_time(application, held):
    """Requests wait for each other, as they change what all share."""

    def locked(environ, start_response):
        with held():
            return application(environ, start_response)

    return locked


def nothing_there():
    """A page for who reads, and for others what looks like any exception (Q2)."""
    if flask.request.method in ("GET", "HEAD", "OPTIONS"):
        return flask.Response(PAGE, 404, content_type="text/html; charset=utf-8")
    response = flask.Response("", 405, content_type="text/html; charset=utf-8")
    response.headers["Allow"] = READING
    return response
