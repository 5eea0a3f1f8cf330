"""
What the clients of OAuth2 are given: codes, and tokens that are signed and say who somebody is.
"""

import base64
import dataclasses
import secrets
from dataclasses import dataclass

from doubles.authentik import fields, policies
from doubles.authentik.accounts import Users
from doubles.authentik.providers import application_of, issuer
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

ACR = "goauthentik.io/providers/oauth2/default"
OFFLINE = "offline_access"  # the scope that a refresh token is given for
NOBODY = {"pk": None, "username": "", "name": "", "email": "", "attributes": {}}


@dataclass
class Login:
    """When somebody proved who they are. Tokens for a browser know its session, by a hash."""

    time: int
    session: str | None = None


@dataclass
class Grant:
    """
    A code or a token in the hands of a client; ``store.grants`` has it by its text.

    kind
        ``code``, ``access`` or ``refresh``.

    claims
        What the ID token says that belongs to it; a code has none.
    """

    text: str
    kind: str
    provider: int
    user: int
    scope: list
    expires: float
    login: Login
    claims: dict = dataclasses.field(default_factory=dict)
    nonce: str | None = None
    redirect_uri: str = ""
    code_challenge: str | None = None
    code_challenge_method: str | None = None

    # How authlib asks.

    def check_client(self, client):
        return client.provider["pk"] == self.provider

    def get_scope(self):
        return " ".join(self.scope)

    def get_redirect_uri(self):
        return self.redirect_uri


def living(store, text, *kinds):
    """
    The grant of a text, None if there is none, or no longer.

    It ends when it expires or is revoked, and with its provider and its user; bindings and the application have no
    say in it (Q57).
    """
    grant = store.grants.get(text)
    if grant is None or grant.kind not in kinds:
        return None
    user, provider = store.get("users", grant.user), store.get("providers", grant.provider)
    if provider is None or user is None or not user["is_active"] or grant.expires <= store.time():
        del store.grants[text]
        return None
    return grant


def revoke(store, which):
    """End all grants that a function is true for."""
    for grant in list(store.grants.values()):
        if which(grant):
            del store.grants[grant.text]


def lifetime(provider, kind):
    """How long a code or a token of a provider is good, in seconds."""
    names = {"code": "access_code_validity", "access": "access_token_validity", "refresh": "refresh_token_validity"}
    return fields.timedelta(provider[names[kind]]).total_seconds()


def issue(store, provider, user, scope, base, origin=None):
    """
    Return what the token endpoint answers with: an access token, its ID token, and one for refreshing if that was
    asked for.

    scope
        The scopes, a list.

    base
        The server's own address.

    origin
        The code or the refresh token that they are given for, None if a machine logs in.
    """
    login, nonce = (origin.login, origin.nonce) if origin else (Login(int(store.time())), None)

    def make(kind):
        expires = store.time() + lifetime(provider, kind)
        grant = Grant("", kind, provider["pk"], user["pk"], scope, expires, login, nonce=nonce)
        grant.claims = _id_claims(store, grant, base)
        about_client = {"azp": provider["client_id"], "uid": secrets.token_urlsafe(30), "scope": " ".join(scope)}
        grant.text = sign(store, provider, {**grant.claims, **about_client})
        store.grants[grant.text] = grant
        return grant

    access = make("access")
    answer = {"access_token": access.text, "token_type": "Bearer", "scope": " ".join(scope)}
    answer.update(expires_in=int(lifetime(provider, "access")), id_token=sign(store, provider, access.claims))
    if origin and OFFLINE in scope:
        answer["refresh_token"] = make("refresh").text
    return answer


def _id_claims(store, grant, base):
    provider, user = store.get("providers", grant.provider), store.get("users", grant.user)
    application = application_of(store, provider)
    claims = {
        "iss": application and issuer(provider, application, base),
        "sub": subject(store, provider, user),
        "aud": provider["client_id"],
        "exp": int(grant.expires),
        "iat": int(store.time()),
        "auth_time": grant.login.time,
        "acr": ACR,
        "amr": ["pwd"] if grant.login.session else None,
        "nonce": grant.nonce,
        "sid": grant.login.session,
        "jti": secrets.token_hex(16),
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    if provider["include_claims_in_id_token"]:
        claims.update(user_claims(store, provider, user, grant.scope))
    return claims


def subject(store, provider, user):
    """How a provider names a user to its client."""
    uid = Users(store).uid(user)
    named = {
        "hashed_user_id": uid,
        "user_id": str(user["pk"]),
        "user_uuid": user["uuid"],
        "user_username": user["username"],
        "user_email": user["email"],
        "user_upn": user["attributes"].get("upn", uid),
    }
    return named[provider["sub_mode"]]


def mappings_of(store, provider):
    """The scope mappings of a provider, in the order in which their claims are put together."""
    found = (store.tables["mappings"][pk] for pk in provider["property_mappings"])
    return sorted(found, key=lambda mapping: mapping["scope_name"])


def allowed(store, provider, wanted):
    """Those of some scopes that a provider has, sorted; the others are dropped silently (Q59)."""
    return sorted({mapping["scope_name"] for mapping in mappings_of(store, provider)} & set(wanted))


def user_claims(store, provider, user, scope):
    """What the mappings of some scopes say of a user. One that fails, or returns no mapping, says nothing."""
    names = policies.names_of(store, user)
    application = _Seen(application_of(store, provider))
    names.update(user=names["request"].user, provider=_Seen({**provider, "application": application}))
    claims = {}
    for mapping in mappings_of(store, provider):
        if mapping["scope_name"] not in scope:
            continue
        try:
            claims.update(policies.run(mapping["expression"], dict(names)) or {})
        except Exception:  # noqa: S112 - whatever somebody wrote there; the original logs it, too
            continue
    return claims


class _Seen:
    """An object of the store as an expression sees it."""

    def __init__(self, row):
        self.__dict__.update(row or {})


# Signing.


def algorithm(store, provider):
    return "HS256" if store.get("certificates", provider["signing_key"]) is None else "RS256"


def sign(store, provider, claims):
    """A JWT of a provider: signed with its key, without one with the client's secret."""
    certificate = store.get("certificates", provider["signing_key"])
    if certificate is None:
        return jwt.encode({"alg": "HS256", "typ": "JWT"}, claims, secret_key(provider["client_secret"]))
    key = RSAKey.import_key(certificate["pair"].pem)
    return jwt.encode({"alg": "RS256", "kid": key.thumbprint(), "typ": "JWT"}, claims, key)


def secret_key(secret):
    """A key for HS256. (``import_key`` would warn of the short secrets that tests have.)"""
    return OctKey(secret.encode(), secret.encode())


def public_keys(store, provider):
    """The JWKS of a provider; without a key of its own it has none to show."""
    certificate = store.get("certificates", provider["signing_key"])
    if certificate is None:
        return {}
    key = RSAKey.import_key(certificate["pair"].pem)
    facts = {"alg": "RS256", "use": "sig", "kid": key.thumbprint()}
    facts["x5c"] = [base64.b64encode(certificate["pair"].der).decode()]
    return {"keys": [{**key.as_dict(private=False), **facts}]}
