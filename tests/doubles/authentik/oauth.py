"""
The endpoints of OAuth2 and OpenID Connect. What the standards say is authlib's; here is where the original differs.
"""

import base64
import json
import re
import urllib.parse
import uuid

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.flask_oauth2.requests import FlaskOAuth2Payload, FlaskOAuth2Request
from authlib.oauth2 import OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749 import ClientMixin, InvalidGrantError, InvalidRequestError, InvalidScopeError, grants
from authlib.oauth2.rfc7636 import CodeChallenge
from doubles.authentik import login, sessions, tokens
from doubles.authentik.accounts import Users, app_password
from doubles.authentik.policies import allows
from doubles.authentik.providers import application_of, issuer
from doubles.authentik.sessions import base, keep, page, redirect, store_of
from doubles.authentik.store import now
from doubles.authentik.tokens import NOBODY, OFFLINE, Grant, living

ERRORS = {
    "invalid_request": "The request is otherwise malformed",
    "invalid_client": "Client authentication failed (e.g., unknown client, no client authentication included, "
    "or unsupported authentication method)",
    "invalid_grant": "The provided authorization grant or refresh token is invalid, expired, revoked, does not match "
    "the redirection URI used in the authorization request, or was issued to another client",
    "unauthorized_client": "The authenticated client is not authorized to use this authorization grant type",
    "unsupported_grant_type": "The authorization grant type is not supported by the authorization server",
    "invalid_scope": "The requested scope is invalid, unknown, malformed, or exceeds the scope granted by the "
    "resource owner",
    "invalid_token": "The access token provided is expired, revoked, malformed, or invalid for other reasons",
    "insufficient_scope": "The request requires higher privileges than provided by the access token",
}
WRONG_ADDRESS = "The request fails due to a missing, invalid, or mismatching redirection URI (redirect_uri)."
RESPONSE_TYPES = ("code", "id_token", "id_token token", "code token", "code id_token", "code id_token token")
GRANT_TYPES = ("authorization_code", "refresh_token", "implicit", "client_credentials", "password")
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
CLAIMS = ("sub", "iss", "aud", "exp", "iat", "auth_time", "acr", "amr", "nonce")
CLIENT_AUTH = ["client_secret_basic", "client_secret_post", "none"]

pages = flask.Blueprint("oauth", __name__)


class Client(ClientMixin):
    """A provider, as authlib asks of it."""

    def __init__(self, store, provider):
        self.store, self.provider = store, provider

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        """Who asks for none while a user logs in gets all."""
        known = [mapping["scope_name"] for mapping in tokens.mappings_of(self.store, self.provider)]
        return " ".join(tokens.allowed(self.store, self.provider, scope.split() if scope else known))

    def check_redirect_uri(self, uri):
        """A client without any address is believed the first one that it uses."""
        if not self.provider["redirect_uris"]:
            self.provider["redirect_uris"] = [{"matching_mode": "strict", "url": uri}]
        return any(is_meant(one, uri) for one in self.provider["redirect_uris"])

    def check_client_secret(self, secret):
        return secret == self.provider["client_secret"]

    def check_endpoint_auth_method(self, method, endpoint):
        return method != "none" or self.provider["client_type"] == "public"

    def check_response_type(self, kind):
        return kind == "code"

    def check_grant_type(self, kind):
        return True


def is_meant(registered, uri):
    if registered["matching_mode"] == "regex":
        return re.fullmatch(registered["url"], uri) is not None
    return registered["url"] == uri


class Request(FlaskOAuth2Request):
    """For authlib each connection is an encrypted one: the original does not insist on that."""

    def __init__(self, request):
        OAuth2Request.__init__(self, request.method, f"https://{request.host}", headers=request.headers)
        self._request, self.payload = request, FlaskOAuth2Payload(request)


def find_client(client_id):
    provider = store_of().find("providers", client_id=client_id)
    return provider and Client(store_of(), provider)


def answered(body, status=200):
    """JSON that nobody keeps."""
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache"}
    return flask.Response(json.dumps(body), status, headers, content_type="application/json")


def refused(error, status=400):
    return answered({"error": error, "error_description": ERRORS[error], "request_id": uuid.uuid4().hex}, status)


# Grants.


class Issuing:
    """Whatever they are given for, tokens are made in one way."""

    TOKEN_ENDPOINT_AUTH_METHODS = CLIENT_AUTH

    def generate_token(self, user=None, scope=None, **_):
        asked = self.request
        origin = asked.authorization_code or asked.refresh_token
        store, provider = store_of(), self.client.provider
        wanted = origin.scope if origin else tokens.allowed(store, provider, (scope or "").split())
        return tokens.issue(store, provider, user or asked.user, wanted, base(), origin)

    def authenticate_user(self, grant):
        return store_of().get("users", grant.user)


class Codes(Issuing, grants.AuthorizationCodeGrant):
    @staticmethod
    def validate_authorization_redirect_uri(request, client):
        uri = request.payload.redirect_uri
        if not uri or not client.check_redirect_uri(uri):
            raise InvalidRequestError(WRONG_ADDRESS)
        return uri

    def save_authorization_code(self, code, request):
        provider, given, session = request.client.provider, request.payload.data, sessions.current()
        expires = store_of().time() + tokens.lifetime(provider, "code")
        scope, user = request.scope.split(), request.user["pk"]
        grant = Grant(code, "code", provider["pk"], user, scope, expires, session.login, nonce=given.get("nonce"))
        grant.redirect_uri = request.payload.redirect_uri
        grant.code_challenge = given.get("code_challenge")
        grant.code_challenge_method = given.get("code_challenge_method")
        store_of().grants[code] = grant

    def query_authorization_code(self, code, client):
        grant = living(store_of(), code, "code")
        return grant if grant and grant.check_client(client) else None

    def delete_authorization_code(self, grant):
        del store_of().grants[grant.text]


class Challenge(CodeChallenge):
    """PKCE: who is public has to use it."""

    def validate_code_verifier(self, grant, result):
        try:
            super().validate_code_verifier(grant, result)
        except InvalidRequestError as error:
            raise InvalidGrantError from error


class Refreshing(Issuing, grants.RefreshTokenGrant):
    def validate_token_request(self):
        super().validate_token_request()
        scope = self.request.payload.scope
        if scope and OFFLINE not in scope.split():
            raise InvalidScopeError

    def authenticate_refresh_token(self, text):
        return living(store_of(), text, "refresh")

    def revoke_old_credential(self, grant):
        del store_of().grants[grant.text]


class Machines(Issuing, grants.ClientCredentialsGrant):
    """A machine logs in: with the client's secret, or as a service account that has an app password (Q58)."""

    def validate_token_request(self):
        client_id, secret = credentials()
        self.request.client = find_client(client_id)
        store, provider = store_of(), self.client.provider
        application = application_of(store, provider)
        self.request.user = user = application and self._user(provider, application, secret)
        if user is None or not allows(store, application, user, sessions.came_from()).passing:
            raise InvalidGrantError

    def _user(self, provider, application, secret):
        form, store = self.request.form, store_of()
        if form.get("username"):
            return app_password(store, form["username"], form.get("password", ""))
        if secret == provider["client_secret"]:
            return generated_user(store, provider, application)
        try:
            name, _, password = base64.b64decode(secret, validate=True).decode().partition(":")
        except ValueError:
            return None
        return app_password(store, name, password)


class Passwords(Machines):
    GRANT_TYPE = "password"


class Server(AuthorizationServer):
    """authlib's server, with the original's words in its errors."""

    def __init__(self):
        super().__init__(query_client=find_client, save_token=lambda token, request: None)  # ``issue`` has done it
        for grant in (Machines, Passwords, Refreshing):
            self.register_grant(grant)
        self.register_grant(Codes, [Challenge(required=True)])

    def create_oauth2_request(self, request):
        return Request(flask.request)

    def handle_response(self, status, payload, headers):
        if isinstance(payload, dict) and "error" in payload:
            return refused(payload["error"])
        return super().handle_response(status, payload, headers)


def generated_user(store, provider, application):
    """The service account that stands for a client; it is made when it is first needed, and stays (Q60)."""
    name = f"ak-{provider['name']}-client_credentials"
    user = store.find("users", username=name)
    if user is None:
        given = {field: one.default() for field, one in Users.writable.items()}
        user = Users(store).make({**given, "username": name, "type": "service_account"}, None)
    user.update(
        name=f"Autogenerated user from application {application['name']} (client credentials)",
        path=f"goauthentik.io/apps/{application['slug']}",
        last_login=now(),
    )
    user["attributes"]["goauthentik.io/user/generated"] = True
    return user


def credentials():
    """Name and secret of the client that asks, empty texts if it does not say."""
    given = flask.request.authorization
    if given is not None and given.type == "basic":
        return given.username or "", given.password or ""
    form = flask.request.form
    return form.get("client_id", ""), form.get("client_secret", "")


def authenticated():
    """The provider whose client asks, None if it does not show its secret; a public one has to, too."""
    client_id, secret = credentials()
    return store_of().find("providers", client_id=client_id, client_secret=secret) if client_id else None


# Endpoints.


@pages.after_request
def shared(response):
    """Let pages of the clients' own addresses read the answers, which come from another server for them."""
    origin = flask.request.headers.get("Origin")
    if origin and (flask.request.method == "OPTIONS" or is_of_client(origin)):
        response.headers.update({"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"})
        response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        asked = flask.request.headers.get("Access-Control-Request-Headers")
        response.headers.update({"Access-Control-Allow-Headers": asked} if asked else {})
    return response


def is_of_client(origin):
    urls = (one["url"] for provider in store_of().rows("providers") for one in provider["redirect_uris"])
    return any("{0.scheme}://{0.netloc}".format(urllib.parse.urlsplit(url)) == origin for url in urls)


@pages.get("/application/o/authorize/")
def authorize():
    """Where a browser is sent for a code: it comes back as soon as its user is known, may, and has agreed."""
    if not flask.request.args:
        flask.abort(404)
    server = flask.current_app.oauth
    try:
        grant = server.get_consent_grant(flask.request)
    except OAuth2Error as error:
        return sent_back(error) if error.redirect_uri else page("Bad Request", error.description, status=400)
    store, provider, user = store_of(), grant.client.provider, sessions.user()
    application = application_of(store, provider)
    if application is None:
        return login.denied("Failed to resolve application")
    prompt = flask.request.args.get("prompt", "").split()
    if user is None:
        return unanswered(grant, "login_required") if "none" in prompt else login.to_login(provider, application)
    verdict = allows(store, application, user, sessions.came_from())
    if not verdict.passing:
        return login.denied(*verdict.messages)
    session, scope = sessions.current(), grant.request.scope.split()
    if not has_agreed(session, provider, application, scope, prompt):
        flow = store.get("flows", provider["authorization_flow"])
        return unanswered(grant, "consent_required") if "none" in prompt else login.to_consent(flow, application, scope)
    session.consented = None
    made = server.create_authorization_response(flask.request, grant_user=user, grant=grant)
    return keep(redirect(made.headers["Location"]), session)


def has_agreed(session, provider, application, scope, prompt):
    """
    Whether nothing is left to ask. A flow that has a stage asks once for an application and its scopes. With one that
    has none the user is asked only if the client says so, or wants a token for refreshing, and then each time.
    """
    store = store_of()
    if session.consented == sessions.asked_for():
        return True
    if store.get("flows", provider["authorization_flow"])["stages"]:
        return store.consents.get((session.user, application["pk"])) == scope
    return OFFLINE not in scope and "consent" not in prompt


def unanswered(grant, error):
    return sent_back(OAuth2Error(error=error, redirect_uri=grant.redirect_uri, state=grant.request.payload.state))


def sent_back(error):
    """Tell the client by way of the browser."""
    [(_, location)] = error()[2]
    return redirect(location)


@pages.post("/application/o/token/")
def token():
    if find_client(credentials()[0]) is None:
        return refused("invalid_client")
    return flask.current_app.oauth.create_token_response()


@pages.post("/application/o/introspect/")
def introspect():
    """Whoever may not know learns only that a token is not active (Q56)."""
    provider = authenticated()
    grant = living(store_of(), flask.request.form.get("token"), "access", "refresh")
    if provider is None or grant is None or grant.provider != provider["pk"]:
        return answered({"active": False})
    return answered({**grant.claims, "active": True, "scope": grant.get_scope(), "client_id": provider["client_id"]})


@pages.post("/application/o/revoke/")
def revoke():
    provider, text = authenticated(), flask.request.form.get("token")
    if provider is None:
        return refused("invalid_client", 401)
    tokens.revoke(store_of(), lambda grant: grant.text == text and grant.provider == provider["pk"])
    return answered({})


@pages.route("/application/o/userinfo/", methods=["GET", "POST"])
def userinfo():
    given = flask.request.authorization
    text = given.token if given is not None and given.type == "bearer" else flask.request.values.get("access_token")
    store = store_of()
    grant = living(store, text, "access")
    if grant is None or "openid" not in grant.scope:
        error, status = ("invalid_token", 401) if grant is None else ("insufficient_scope", 403)
        told = {"WWW-Authenticate": f'error="{error}", error_description="{ERRORS[error]}"'}
        return flask.Response("", status, told, content_type="text/html; charset=utf-8")
    provider, user = store.get("providers", grant.provider), store.get("users", grant.user)
    claims = {"sub": grant.claims["sub"], **tokens.user_claims(store, provider, user, grant.scope)}
    return answered({**claims, "nonce": grant.nonce} if grant.nonce else claims)


def provided(slug):
    """An application and its provider, by what is in an address."""
    application = store_of().find("applications", slug=slug) or flask.abort(404)
    return application, store_of().get("providers", application["provider"]) or flask.abort(404)


@pages.get("/application/o/<slug>/.well-known/openid-configuration")
def discovery(slug):
    application, provider = provided(slug)
    store, root = store_of(), f"{base()}/application/o"
    scopes = [one["scope_name"] for one in tokens.mappings_of(store, provider)]
    return answered(
        {
            "issuer": issuer(provider, application, base()),
            "authorization_endpoint": f"{root}/authorize/",
            "token_endpoint": f"{root}/token/",
            "userinfo_endpoint": f"{root}/userinfo/",
            "end_session_endpoint": f"{root}/{slug}/end-session/",
            "introspection_endpoint": f"{root}/introspect/",
            "revocation_endpoint": f"{root}/revoke/",
            "device_authorization_endpoint": f"{root}/device/",
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
            "response_types_supported": RESPONSE_TYPES,
            "response_modes_supported": ["query", "fragment", "form_post"],
            "jwks_uri": f"{root}/{slug}/jwks/",
            "grant_types_supported": [*GRANT_TYPES, DEVICE],
            "id_token_signing_alg_values_supported": [tokens.algorithm(store, provider)],
            "subject_types_supported": ["public"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "acr_values_supported": [tokens.ACR],
            "scopes_supported": scopes,
            "request_parameter_supported": False,
            "claims_supported": [*CLAIMS, *tokens.user_claims(store, provider, NOBODY, scopes)],
            "claims_parameter_supported": False,
            "code_challenge_methods_supported": ["plain", "S256"],
        }
    )


@pages.get("/application/o/<slug>/jwks/")
def jwks(slug):
    return answered(tokens.public_keys(store_of(), provided(slug)[1]))


@pages.route("/application/o/<slug>/end-session/", methods=["GET", "POST"])
def end_session(slug):
    """The end of an application's tokens for this browser; what else ends is up to the flow that follows."""
    application, provider = provided(slug)
    session = sessions.current()
    if sessions.user() is None:
        return login.to_login(provider, application)
    theirs = (provider["pk"], session.hash)
    tokens.revoke(store_of(), lambda grant: grant.kind == "access" and (grant.provider, grant.login.session) == theirs)
    session.application = application["pk"]
    flow = store_of().get("flows", provider["invalidation_flow"]) or login.default_flow("invalidation")
    return keep(redirect(login.flow_address(flow, flask.request.query_string.decode())), session)


def register(app):
    app.oauth = Server()
    app.register_blueprint(pages)
