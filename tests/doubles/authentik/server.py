"""
The double as a WSGI application.
"""

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
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import RequestRedirect

API = "/api/v3/"
PAGE = "<!DOCTYPE html><html><head><title>authentik</title></head><body>A test double of Authentik.</body></html>"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
READING = "GET, HEAD, OPTIONS"
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
    """
    The state of one installation, and the API to it.

    token
        Key of the administrator's token.

    password
        The administrator's, None for none.
    """

    def __init__(self, token, password=None):
        self.lock = threading.RLock()
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
        seed.fill(self.store, token, password=password)

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
    app = flask.Flask("a test double of Authentik")
    app.authentik = authentik = Authentik(token, password)
    # A proxy in front says who asks, and what for.
    app.wsgi_app = ProxyFix(one_at_a_time(app.wsgi_app, authentik.lock), x_for=1, x_proto=1, x_host=1)
    proxy.register(app)
    app.register_blueprint(login.pages)
    oauth.register(app)

    @app.before_request
    def slash():
        """Without its slash an address is not there (Q2)."""
        missing = isinstance(flask.request.routing_exception, RequestRedirect)
        return nothing_there() if missing else None

    @app.after_request
    def signed(response):
        """The outpost has said itself what its answers depend on."""
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


def one_at_a_time(application, lock):
    """Requests wait for each other, as what they change is in memory."""

    def locked(environ, start_response):
        with lock:
            return application(environ, start_response)

    return locked


def nothing_there():
    """A page for who reads, and for others what looks like any exception (Q2)."""
    if flask.request.method in ("GET", "HEAD", "OPTIONS"):
        return flask.Response(PAGE, 404, content_type="text/html; charset=utf-8")
    response = flask.Response("", 405, content_type="text/html; charset=utf-8")
    response.headers["Allow"] = READING
    return response
