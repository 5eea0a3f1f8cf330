"""
The embedded outpost: what a reverse proxy asks before it lets a request through to an application.

It has sessions of its own, one for each provider and browser. Behind one is an access token, and with that it ends: so
it outlives what is changed in groups, but not the account (Q72). Providers that forward requests themselves, of the
mode ``proxy``, are not served: the double has nothing behind it.
"""

import base64
import contextlib
import hashlib
import html
import re
import secrets
import urllib.parse

import flask
from doubles.authentik import sessions, tokens
from doubles.authentik.accounts import app_password
from doubles.authentik.outposts import EMBEDDED
from doubles.authentik.policies import allows
from doubles.authentik.providers import CALLBACK, application_of
from doubles.authentik.system import VERSION
from doubles.authentik.tokens import living, secret_key
from joserfc import jwt
from joserfc.errors import JoseError

PREFIX = "/outpost.goauthentik.io"
TEXT, HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"


def register(app):
    @app.before_request
    def outpost():
        """Requests to a host that an application has are the outpost's, below one path; others are the server's."""
        path = flask.request.path
        if not path.startswith(f"{PREFIX}/"):
            return None
        if path == f"{PREFIX}/ping":
            return answer(204)  # for every host (Q66)
        provider = provider_of(app.authentik.store, flask.request.host)
        return provider and Outpost(app.authentik.store, provider).handle(path.removeprefix(PREFIX))


def provider_of(store, host):
    """
    The provider that a host belongs to, None if there is none. A provider is served if it is attached and has an
    application (Q67).

    A host of its own comes before a domain, and a long domain before a short one. That a host ends with the domain is
    all that is looked at (Q74).
    """
    outpost = store.find("outposts", managed=EMBEDDED)
    attached = [store.tables["providers"][pk] for pk in outpost["providers"]] if outpost else []
    served = [one for one in attached if one["mode"].startswith("forward_") and application_of(store, one)]
    for one in served:
        if urllib.parse.urlsplit(one["external_host"]).netloc == host:
            return one
    wide = [one for one in served if one["mode"] == "forward_domain" and host.endswith(domain_of(one))]
    return max(wide, key=lambda one: len(domain_of(one)), default=None)


def domain_of(provider):
    return provider["cookie_domain"].removeprefix(".")


class Session:
    """A browser at a provider; ``token`` is the text of its access token, None before the login."""

    def __init__(self, provider):
        self.key, self.provider, self.token = secrets.token_hex(26), provider["pk"], None


class Outpost:
    """The outpost at a provider, for one request."""

    def __init__(self, store, provider):
        self.store, self.provider, self.request = store, provider, flask.request
        self.config = store.find("outposts", managed=EMBEDDED)["config"]
        digest = hashlib.sha256(provider["client_id"].encode()).hexdigest()
        self.cookie = f"authentik_proxy_{digest[:8]}"
        self.session = store.outpost_sessions.get(self.request.cookies.get(self.cookie))

    def handle(self, place):
        handlers = {
            "/auth/caddy": self.forward,
            "/auth/traefik": self.forward,
            "/auth/nginx": self.nginx,
            "/start": self.start,
            "/callback": lambda: self.callback(self.request.args),
            "/sign_out": self.sign_out,
        }
        handler = handlers.get(place)
        return handler() if handler else answer(404, "404 page not found\n", TEXT)

    # What proxies ask.

    def forward(self):
        asked = self._forwarded()
        if asked is None:
            return answer(500, "configuration error\n", TEXT)
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(asked).query))
        if f"X-authentik-auth-callback={query.get('X-authentik-auth-callback')}" == CALLBACK:
            return self.callback(query)
        return self._let_through(asked) or self._to_login(asked)

    def _forwarded(self):
        """What the browser asked the proxy for, None if the proxy does not say."""
        headers = self.request.headers
        scheme = headers.get("X-Forwarded-Proto")
        return scheme and f"{scheme}://{headers.get('X-Forwarded-Host', '')}{headers.get('X-Forwarded-Uri', '')}"

    def nginx(self):
        """For nginx, which is told to send the browser to ``start`` itself."""
        headers = self.request.headers
        asked = headers.get("X-Original-URI") or headers.get("X-Original-URL")
        if not asked:
            return answer(500, "configuration error\n", TEXT)
        return self._let_through(asked) or self._with_session(answer(401, "unauthorized request\n", TEXT))

    def _let_through(self, asked):
        """The answer to somebody who is known, or for what anybody may see (Q69); None for others."""
        token = self._token()
        fresh = None if token else self._token_of_header()
        token = token or fresh
        if token is None and not self._is_open(asked):
            return None
        response = answer(200)
        response.headers["X-Powered-By"] = "authentik_proxy2"
        if token is not None:
            for name, value in self._identity(token).items():
                response.headers[name] = value.encode().decode("latin-1")  # as it is, in UTF-8
        return self._log_in(response, fresh) if fresh else response

    def _is_open(self, asked):
        url = asked if self.provider["mode"] == "forward_domain" else urllib.parse.urlsplit(asked).path
        for pattern in filter(None, self.provider["skip_path_regex"].split("\n")):
            with contextlib.suppress(re.error):
                if re.search(pattern, url):
                    return True
        return False

    def _token(self):
        return self.session and living(self.store, self.session.token, "access")

    def _token_of_header(self):
        """Who brings an app password, or a token of this provider, needs no session."""
        given = self.request.authorization
        if given is None or not self.provider["intercept_header_auth"]:
            return None
        if given.type == "bearer":
            token = living(self.store, given.token, "access")
            return token if token and token.provider == self.provider["pk"] else None
        user = app_password(self.store, given.username or "", given.password or "") if given.type == "basic" else None
        application = application_of(self.store, self.provider)
        if user is None or not allows(self.store, application, user, sessions.came_from()).passing:
            return None
        return self._issue(user, self._scopes())

    def _identity(self, token):
        """The headers that say who it is, as it was at the login (Q70)."""
        claims, slug = token.claims, application_of(self.store, self.provider)["slug"]
        names = {"username": "preferred_username", "email": "email", "name": "name", "uid": "sub"}
        found = {f"X-authentik-{name}": claims.get(claim, "") for name, claim in names.items()}
        for name in ("groups", "entitlements"):
            found[f"X-authentik-{name}"] = "|".join(claims.get(name, ()))
        found["X-authentik-jwt"] = token.text
        found["X-authentik-meta-jwks"] = f"{self._server()}/application/o/{slug}/jwks/"
        found["X-authentik-meta-outpost"] = self.store.find("outposts", managed=EMBEDDED)["name"]
        found["X-authentik-meta-provider"] = self.provider["name"]
        found["X-authentik-meta-app"] = slug
        found["X-authentik-meta-version"] = f"goauthentik.io/outpost/{VERSION}"
        attributes = claims.get("ak_proxy", {}).get("user_attributes", {})
        if self.provider["basic_auth_enabled"]:
            found["Authorization"] = self._basic(attributes, claims.get("email", ""))
        return {**found, **attributes.get("additionalHeaders", {})}

    def _basic(self, attributes, email):
        user = attributes.get(self.provider["basic_auth_user_attribute"], email)
        password = attributes.get(self.provider["basic_auth_password_attribute"], "")
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"

    # Where browsers go.

    def start(self):
        return self._to_login(self._safe(self.request.args.get("rd", "")))

    def _safe(self, address):
        """An address to come back to, empty if it is somewhere else."""
        place, own = urllib.parse.urlsplit(address), urllib.parse.urlsplit(self.provider["external_host"])
        if self.provider["mode"] == "forward_domain":
            return address if (place.hostname or "").endswith(self.provider["cookie_domain"]) else ""
        if address and not place.netloc:
            place = place._replace(scheme=own.scheme, netloc=own.netloc)
        return urllib.parse.urlunsplit(place) if place.netloc == own.netloc else ""

    def _to_login(self, back):
        response = self._with_session(answer(302))
        query = {
            "client_id": self.provider["client_id"],
            "redirect_uri": self.provider["redirect_uris"][0]["url"],
            "response_type": "code",
            "scope": " ".join(self._scopes()),
            "state": self._state(back),
        }
        return found(response, f"{self._server()}/application/o/authorize/?{urllib.parse.urlencode(query)}")

    def _state(self, back):
        """What comes back with the code: where to, and of whose session it is."""
        claims = {"iss": self._issuer(), "sid": self.session.key, "state": secrets.token_urlsafe(32), "redirect": back}
        return jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, secret_key(self.provider["client_secret"]))

    def _checked_state(self, text):
        """The claims of a state, None if it is not one of this session."""
        try:
            claims = jwt.decode(text, secret_key(self.provider["client_secret"]), algorithms=["HS256"]).claims
        except (JoseError, ValueError):
            return None
        theirs = (claims.get("iss"), claims.get("sid"))
        return claims if self.session and theirs == (self._issuer(), self.session.key) else None

    def _issuer(self):
        return f"goauthentik.io/outpost/{self.provider['client_id']}"

    def callback(self, query):
        state = self._checked_state(query.get("state", ""))
        if state is None:
            return answer(400)
        response = found(answer(302), state["redirect"] or self.provider["external_host"])
        token = self._redeem(query.get("code"))
        return self._log_in(response, token) if token else response

    def _redeem(self, text):
        code = living(self.store, text, "code")
        if code is None or code.provider != self.provider["pk"]:
            return None
        del self.store.grants[text]
        return self._issue(self.store.tables["users"][code.user], code.scope, code)

    def _issue(self, user, scope, origin=None):
        made = tokens.issue(self.store, self.provider, user, scope, self._server(), origin)
        return self.store.grants[made["access_token"]]

    def sign_out(self):
        """The end of all sessions of this user here, in other browsers, too (Q73)."""
        token = self._token()
        if token is None:
            return self._sign_in_first()
        for session in self.store.outpost_sessions.values():
            other = living(self.store, session.token, "access")
            if other and (other.provider, other.user) == (token.provider, token.user):
                session.token = None
        slug = application_of(self.store, self.provider)["slug"]
        hint = urllib.parse.urlencode({"id_token_hint": token.text})
        return found(answer(302), f"{self._server()}/application/o/{slug}/end-session/?{hint}")

    def _sign_in_first(self):
        place = urllib.parse.urlsplit(self.provider["external_host"])
        back = urllib.parse.urlunsplit(place._replace(path=self.request.path))
        if self.provider["mode"] == "forward_domain":
            back = self.provider["external_host"]
        start = urllib.parse.urlunsplit(place._replace(path=f"{place.path.rstrip('/')}{PREFIX}/start"))
        return found(self._with_session(answer(302)), f"{start}?{urllib.parse.urlencode({'rd': back})}")

    # Its own.

    def _server(self):
        """Where browsers find the server."""
        return (self.config.get("authentik_host") or sessions.base()).rstrip("/")

    def _scopes(self):
        return sorted(mapping["scope_name"] for mapping in tokens.mappings_of(self.store, self.provider))

    def _with_session(self, response):
        """Have a session; a browser that brings one keeps it, even if nobody is logged in there any more."""
        if self.session is None:
            # One second more than its token, so that it never lasts for ever.
            self._begin(response, int(tokens.lifetime(self.provider, "access")) + 1)
        return response

    def _log_in(self, response, token):
        # Up to when the token ends; of its first second a part is over.
        self._begin(response, token.claims["exp"] - token.claims["iat"] - 1)
        self.session.token = token.text
        return response

    def _begin(self, response, age):
        self.session = self.session or Session(self.provider)
        self.store.outpost_sessions[self.session.key] = self.session
        secure = self.provider["external_host"].lower().startswith("https:")
        options = {"domain": self.provider["cookie_domain"] or None, "httponly": True, "secure": secure}
        sessions.set_lasting(response, self.cookie, self.session.key, age, **options)


def answer(status, text="", kind=None):
    response = flask.Response(text, status, {"Vary": "Accept-Encoding"}, content_type=kind)
    if kind is None:
        del response.headers["Content-Type"]
    return response


def found(response, to):
    """A redirect as Go makes it, which has a body."""
    response.headers["Location"], response.content_type = to, HTML
    response.set_data(f'<a href="{html.escape(to)}">Found</a>.\n\n')
    return response
