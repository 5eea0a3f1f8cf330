"""
What Authentik has of a service that users or programs log in to: its objects, in an order in which they can be made.

Pure functions of a resolved service's ``auth`` (``salt-call catalogue.part NAME auth``). Each object is
``[kind, name, declared]`` as ``authentik.differences`` takes them.
"""

# Who finds it in a group's or an account's attributes knows whose it is.
MARK = "rick-infra"
CONSENT = "default-provider-authorization-{}-consent"
# The flows of Authentik's that end its own session, too, and that end the application's only.
LOGOUT = {"everywhere": "default-invalidation-flow", "service": "default-provider-invalidation-flow"}
SIGNING_KEY = "authentik Self-signed Certificate"
STANDARD_SCOPES = ("openid", "email", "profile")
FIRST_POLICY = 10  # in the order of bindings: the group comes first


def mark():
    """
    Return the attribute of a group or an account that names its service.
    """
    return MARK


def users(name):
    """
    Return the name of the group whose members may use a service.
    """
    return f"{name}_users"


def own(name, what):
    """
    Return what a policy or scope mapping of a service is called.
    """
    return f"rick-infra {name}: {what}"


def objects(name, auth):
    """
    Return the objects of a service, a list of ``[kind, name, declared]``. The group of its users comes first.

    name
        The service.

    auth
        Its resolved ``auth``.
    """
    mark = {"attributes": {MARK: name}}
    provider = "proxy_provider" if auth["pattern"] == "forward_auth" else "oauth2_provider"
    return [
        ["group", users(name), mark],
        *(["group", group, {**mark, "parents": [users(name)]}] for group in auth["groups"]),
        *(["policy", own(name, what), given] for what, given in _policies(auth)),
        *(
            ["scope_mapping", own(name, scope), {"scope": scope, "expression": "return {}", "description": text}]
            for scope, text in auth["scopes"].items()
        ),
        [provider, name, _proxy(auth) if provider == "proxy_provider" else _oauth2(name, auth)],
        [
            "application",
            name,
            {
                "title": auth["title"],
                "provider": name,
                "publisher": MARK,
                # With all of them, a binding that somebody adds can only refuse.
                "mode": "all",
                **({"launch_url": auth["external_host"]} if auth["external_host"] else {}),
            },
        ],
    ]


def bindings(name, auth):
    """
    Return what is bound to a service's application, a list of ``[{kind: name}, {"order": number}]``.
    """
    policies = [own(name, what) for what, _ in _policies(auth)]
    return [
        [{"group": users(name)}, {"order": 0}],
        *([{"policy": policy}, {"order": FIRST_POLICY + number}] for number, policy in enumerate(policies)),
    ]


def _policies(auth):
    """Names of the ready-made policies, and what ``authentik.expression`` takes for each."""
    hours, networks = auth["policies"]["hours"], auth["policies"]["networks"]
    return [
        *([("hours", {"hours": hours})] if hours else []),
        *([("networks", {"networks": networks})] if networks else []),
    ]


def _proxy(auth):
    return {
        "external_host": auth["external_host"],
        "mode": "forward_single",
        "authorization_flow": CONSENT.format(auth["consent"]),
        "invalidation_flow": LOGOUT[auth["logout"]],
        # What needs no login, Caddy decides; an Authorization header is the application's business.
        "skip_paths": "",
        "intercept_header_auth": False,
        **_lifetime(auth),
    }


def _oauth2(name, auth):
    wanted = [*STANDARD_SCOPES, *(["offline_access"] if auth["offline_access"] else [])]
    return {
        "redirect_uris": auth["redirect_uris"],
        "client_id": name,
        "client_type": auth["client"],
        "grant_types": _grant_types(auth),
        **({"client_secret": auth["secret"]} if auth["secret"] else {}),
        "scope_mappings": [*wanted, *(own(name, scope) for scope in auth["scopes"])],
        "signing_key": SIGNING_KEY,
        "sub_mode": auth["sub_mode"],
        "issuer_mode": auth["issuer_mode"],
        "claims_in_id_token": auth["claims_in_id_token"],
        "authorization_flow": CONSENT.format(auth["consent"]),
        "invalidation_flow": LOGOUT[auth["logout"]],
        **({"logout_uri": auth["logout_uri"], "logout_method": auth["logout_method"]} if auth["logout_uri"] else {}),
        **_lifetime(auth),
    }


def _grant_types(auth):
    """No way to a token that the pattern does not need."""
    if auth["pattern"] == "api":
        return ["client_credentials"]
    return ["authorization_code", *(["refresh_token"] if auth["offline_access"] else [])]


def _lifetime(auth):
    return {"access_token_validity": f"seconds={auth['lifetime']}"} if auth["lifetime"] else {}
