"""
The checks of one service's login, for ``verify.login`` and, with them, ``verify.host``.

Visits are made by Caddy on this host, with TLS, as anybody makes them; Authentik itself is asked what it has.
"""

from urllib.parse import urlsplit

# What a client may write to be taken for somebody: in all spellings that some server takes for the same header.
FORGED = [
    (name, "akadmin")
    for name in (
        *("Remote-User", "remote-user", "Remote_User", "REMOTE_USER", "Remote-Groups", "Remote-Email", "Remote-Name"),
        *("X-Authentik-Username", "x-authentik-username", "X_Authentik_Username", "X-authentik-groups"),
    )
]
NOBODY = "https://nobody.invalid/"
CLOSED = "/rick-infra/verify"  # a path that no application has and no entry opens


def checks(service):
    """
    Return the checks of a resolved service with a login, a list of ``{"name", "passed", "detail"}``.

    service
        As from ``catalogue.services``.

    CLI Example: none, it takes a resolved service: see verify.login.
    """
    auth = service["auth"]
    if not auth or service["state"] != "present":
        return []
    name = service["name"]
    found = [] if _elsewhere() else of_authentik(name, auth)
    if auth["pattern"] == "forward_auth":
        return [*found, *_behind_the_proxy(service, auth)]
    found.append(_check(f"{name}: its discovery document can be read", _discovery, name, auth))
    if auth["pattern"] == "oauth2":
        found.append(_check(f"{name}: nobody is sent elsewhere after a login", _redirect, name, auth))
    found += [
        _check(f"{name}: {client} gets a token, which nobody else can read", _token, name, auth, client)
        for client in ([] if _elsewhere() else auth["clients"])
    ]
    return found


def of_authentik(name, auth):
    """
    Return the checks of what Authentik on this host has of a service, wherever that runs.

    name, auth
        The service, and its resolved ``auth``.

    CLI Example: none, it takes a resolved login: see verify.host.
    """
    return [
        _check(f"{name}: Authentik has what its entry says", _objects, name, auth),
        _check(f"{name}: who is in none of its groups is refused", _outsider, name),
    ]


def _elsewhere():
    """Whether Authentik runs on another host, which checks what it has."""
    return bool((__salt__["fleet.view"]() or {}).get("sso"))


def _check(name, judge, *arguments):
    return __salt__["verify_service.check"](name, judge, *arguments)


def _behind_the_proxy(service, auth):
    name, site = service["name"], auth["external_host"]
    opened = [path for path in service["site"]["public_paths"] if "*" not in path]
    paths = [*([service["site"]["health_path"]] if service["site"]["health_path"] else []), *opened]
    return [
        _check(f"{site} sends visitors to the login", _login_page, site + CLOSED, auth),
        _check(f"{site} takes nobody's word for who he is", _forged, site + CLOSED, auth),
        _check(f"{name}: its site is as its entry says, and runs", _site, service),
        _check(f"{name}: the login at its site answers", _ping, site),
        *(_check(f"{site}{path} is open", _open, site + path, auth) for path in paths),
    ]


def _visitor():
    """Somebody who trusts what this host's sites show: its own authority, and certificates from elsewhere."""
    shown = [one for one in __salt__["catalogue.services"]() if one["site"]]
    kinds = [one["site"]["tls"] for one in shown]
    trusted = [__utils__["textfile.read"](tls["certificate"]) for tls in kinds if isinstance(tls, dict)]
    if "internal" in kinds or _elsewhere():
        trusted.append(__salt__["caddy.root_certificate"]())
    port = __utils__["caddy_site.fleet_port"]()
    behind = {
        domain: (port, __utils__["caddy_site.server_name"](one["name"]))
        for one in shown
        if one["site"].get("behind_edge")
        for domain in one["site"]["domains"]
    }
    identity = __utils__["caddy_site.identity"]() if behind else None
    return __utils__["site_visit.visitor"]([one for one in trusted if one], behind=behind, identity=identity)


def _objects(name, auth):
    differs = __salt__["login.differences"](name, auth)
    return f"differs: {', '.join(differs)}; apply the highstate" if differs else None, ""


def _login_page(url, auth):
    if _elsewhere():
        answer = _visitor().follow(url, until=f"{auth['url']}/")
        sent = answer.location and _is_of(answer.location, auth["url"])
        return None if sent else f"ends at {answer.url} with {answer.status}", auth["url"]
    end = _visitor().follow(url)
    place = urlsplit(end.url)
    if f"{place.scheme}://{place.netloc}" != auth["url"] or not place.path.startswith("/if/flow/"):
        return f"ends at {place.scheme}://{place.netloc}{place.path} with {end.status}", ""
    return None if end.status == 200 else f"{place.path} answers {end.status}", f"{auth['url']}{place.path}"


def _forged(url, auth):
    answer = _visitor().ask(url, headers=FORGED)
    if answer.status != 302 or not _is_of(answer.location, auth["url"]):
        return f"answers {answer.status} to somebody who says to be akadmin", ""
    return None, f"{len(FORGED)} forged headers"


def _is_of(url, site):
    return f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" == site


def _site(service):
    """It takes identity headers out of each request, and nothing comes before that (``caddy_site``)."""
    differs = __salt__["caddy.site_differences"](service["name"], service["site"], check=False, plan=False)
    if differs:
        return f"differs: {', '.join(differs)}; apply the highstate", ""
    status = __salt__["caddy.status"]()
    return None if status["current"] else "Caddy runs something else than its files; apply the highstate", ""


def _ping(site):
    answer = _visitor().ask(f"{site}/outpost.goauthentik.io/ping")
    return None if answer.status == 204 else f"answers {answer.status}, not 204", ""


def _open(url, auth):
    answer = _visitor().ask(url)
    if answer.location and (_is_of(answer.location, auth["url"]) or "/outpost.goauthentik.io/" in answer.location):
        return f"sends visitors to {answer.location.partition('?')[0]}", ""
    return None if answer.status < 500 else f"answers {answer.status}", f"HTTP {answer.status}"


def _outsider(name):
    """The account of this host is one that nobody has let in."""
    known = __salt__["authentik.objects"]()
    answer = known.needed().read("core/applications", name, "check_access")
    if answer is None:
        return f"Authentik has no application {name}; apply the highstate", ""
    if answer["passing"]:
        return "this host's own account would be let in: is the token an administrator's, or a group bound besides?", ""
    return None, "tried with this host's account"


def _discovery(name, auth):
    url = f"{auth['url']}/application/o/{name}/.well-known/openid-configuration"
    answer = _visitor().ask(url)
    if answer.status != 200:
        return f"{url} answers {answer.status}", ""
    wanted = f"{auth['url']}/" if auth["issuer_mode"] == "global" else f"{auth['url']}/application/o/{name}/"
    issuer = answer.json().get("issuer")
    if issuer != wanted:
        return f"names {issuer} as the issuer, not {wanted}", ""
    keys = _visitor().ask(answer.json()["jwks_uri"]).json().get("keys")
    return None if keys else "has no key to verify tokens with", issuer


def _redirect(name, auth):
    query = f"client_id={name}&response_type=code&scope=openid&redirect_uri={NOBODY}"
    answer = _visitor().ask(f"{auth['url']}/application/o/authorize/?{query}")
    if answer.location and _is_of(answer.location, NOBODY.rstrip("/")):
        return f"sends visitors to {NOBODY}, which no entry names", ""
    return None, f"{NOBODY} is refused"


def _token(name, auth, client):
    visitor = _visitor()
    password = __utils__["secret_files.read"](__salt__["secret.path"](f"authentik-{client}"))
    if password is None:
        return "its password is not on this host; apply the highstate", ""
    scope = next(iter(auth["scopes"]), "openid")
    form = {"grant_type": "client_credentials", "client_id": name, "username": client, "scope": scope}
    answer = visitor.ask(f"{auth['url']}/application/o/token/", form={**form, "password": password.strip()})
    token = answer.json().get("access_token")
    if not token:
        return f"is refused: {answer.json().get('error', answer.status)}", ""
    secret = __utils__["secret_files.read"](__salt__["secret.path"](auth["secret"]))
    introspect = f"{auth['url']}/application/o/introspect/"
    mine = visitor.ask(introspect, form={"token": token}, basic=(name, secret.strip())).json()
    if not mine.get("active") or scope not in mine.get("scope", "").split():
        return f"its token is not active with {scope} for {name}", ""
    if (
        visitor.ask(introspect, form={"token": token}, basic=(name, "not-the-secret-of-this-client"))
        .json()
        .get("active")
    ):
        return "anybody can ask about its token", ""
    return None, scope
