"""
Objects of Authentik, declared beside the service that needs them.

.. code-block:: yaml

    Those who may use the shop:
      authentik.group_present:
        - name: shop_users

    The shop is behind a login:
      authentik.proxy_provider_present:
        - name: shop
        - external_host: https://shop.example.com

    The shop is an application:
      authentik.application_present:
        - name: shop
        - title: Shop
        - provider: shop
        - mode: all
        - require:
          - authentik: The shop is behind a login

    Its users may use it:
      authentik.binding_present:
        - target: shop
        - group: shop_users
        - require:
          - authentik: The shop is an application
          - authentik: Those who may use the shop

    The proxy serves it:
      authentik.outpost_providers:
        - providers: [shop]
        - require:
          - authentik: Its users may use it

What is not said of an object, or is null, stays as it is. Objects refer to each other by their names; a name that
does not exist is an error that names it. Where Authentik is asked is said in ``rick:authentik`` (see the execution
module). If it does not answer, each of these states fails with the reason, and others go on.
"""

from salt.exceptions import CommandExecutionError, SaltInvocationError

IMPLICIT = "default-provider-authorization-implicit-consent"
INVALIDATION = "default-provider-invalidation-flow"
EMBEDDED_OUTPOST = "authentik Embedded Outpost"


def ready(name, timeout=300):
    """
    Ensure Authentik answers, takes the token and has its default flows. Changes nothing.

    name
        Anything.

    timeout
        Seconds to wait; the first start takes a minute or two.

    .. code-block:: yaml

        Authentik is ready:
          authentik.ready:
            - timeout: 120
    """
    try:
        if __opts__["test"]:
            reason = __salt__["authentik.unready"]()
            said = f"It would be waited for: {reason}" if reason else "Authentik is ready"
            return __utils__["results.unchanged"](name, said)
        __salt__["authentik.wait"](timeout)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    return __utils__["results.unchanged"](name, "Authentik is ready")


def group_present(name, parents=None, superuser=None, attributes=None, members=None):
    """
    Ensure a group exists.

    name
        The group's name.

    parents
        Names of groups. Whoever is in this group passes where those are asked for. All of them are listed.

    superuser
        Whether its members may do everything in Authentik.

    attributes
        A mapping. Keys that are not in it stay; null takes one away.

    members
        User names, all of them: others are taken out.

    A circle of parents is refused: Authentik would take it.

    .. code-block:: yaml

        Those who run the shop:
          authentik.group_present:
            - name: shop_admins
            - parents: [shop_users]
    """
    declared = {"parents": parents, "superuser": superuser, "attributes": attributes, "members": members}
    return _present("group", name, declared)


def group_absent(name, with_bindings=False):
    """
    Ensure a group does not exist.

    name
        The group's name.

    with_bindings
        Whether bindings to it may go with it. An application whose last binding goes is open to everybody.

    .. code-block:: yaml

        Nobody runs the shop any more:
          authentik.group_absent:
            - name: shop_admins
    """
    return _absent("group", name, bound=with_bindings)


def user_present(name, full_name=None, email=None, active=True, groups=None, attributes=None, path=None, password=None):
    """
    Ensure a person has an account.

    name
        The user name, upper and lower case as it is.

    full_name
        Default, for a new account: the user name.

    email
        Two accounts may have the same.

    active
        False: the account stays, and its owner is let in nowhere, at once.

    groups
        Names of groups, all of them: the account leaves others.

    attributes
        As for ``group_present``.

    path
        Where the account is listed, ``users`` by default.

    password
        The name of a secret of this host with the password that a new account gets; it is made if it is missing.
        Later it is the owner's to change. Without, nobody can log in before a password is set.

    .. code-block:: yaml

        Alice has an account:
          authentik.user_present:
            - name: alice
            - full_name: Alice Archer
            - email: alice@example.com
            - groups: [shop_users]
    """
    declared = {"full_name": full_name, "email": email, "active": active, "groups": groups}
    declared.update(attributes=attributes, path=path)
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__["authentik_account.differences"](name, declared, plan=__opts__["test"]),
        apply=lambda: __salt__["authentik_account.apply"](name, declared, password),
        fine=f"User {name} is as declared",
    )


def user_absent(name, with_bindings=False):
    """
    Ensure an account does not exist. Its tokens go with it.

    name
        The user name.

    with_bindings
        As for ``group_absent``.

    .. code-block:: yaml

        Bob has no account:
          authentik.user_absent:
            - name: bob
    """
    return _absent("user", name, bound=with_bindings)


def service_account_present(name, groups=None, secret=None):
    """
    Ensure a program has an account, and this host knows its app password.

    name
        Letters, digits, ``-`` and ``_``.

    groups
        As for ``user_present``.

    secret
        The secret of this host that holds the app password, with which the program gets tokens (grant
        ``client_credentials``, as ``username`` and ``password``). Default: ``authentik-NAME``.

    An account whose app password is known to nobody here is an error: remove it, and it gets another one.

    .. code-block:: yaml

        The backup has an account:
          authentik.service_account_present:
            - name: shop-backup
            - groups: [shop_users]
    """
    return _converge(
        name,
        "authentik_account.service_differences",
        "authentik_account.service_apply",
        (name, groups, secret),
        f"Service account {name} is as declared",
    )


def service_account_absent(name, secret=None, with_bindings=False):
    """
    Ensure a program has no account, and this host no app password of it.

    name
        Its user name.

    secret, with_bindings
        As for ``service_account_present`` and ``group_absent``.

    .. code-block:: yaml

        The backup has no account:
          authentik.service_account_absent:
            - name: shop-backup
    """
    return _converge(
        name,
        "authentik_account.service_remnants",
        "authentik_account.service_remove",
        (name, secret, with_bindings),
        f"Service account {name} does not exist",
    )


def scope_mapping_present(name, scope, expression, description=None):
    """
    Ensure there is a scope that applications can ask for, and what it puts into their tokens.

    name
        The mapping's name.

    scope
        One word, ``api:read``.

    expression
        Python that returns a mapping of claims, as ``return {"level": 1}``. Its syntax is checked before it is sent.

    description
        What users read when they are asked for consent; without, they are not asked about this scope.

    .. code-block:: yaml

        The shop's scope for reading:
          authentik.scope_mapping_present:
            - name: shop api:read
            - scope: api:read
            - expression: return {}
    """
    return _present("scope_mapping", name, {"scope": scope, "expression": expression, "description": description})


def scope_mapping_absent(name):
    """
    Ensure a scope mapping does not exist. Providers go on without it.

    name
        The mapping's name.

    .. code-block:: yaml

        The shop has no scope for reading:
          authentik.scope_mapping_absent:
            - name: shop api:read
    """
    return _absent("scope_mapping", name)


def proxy_provider_present(
    name,
    external_host,
    mode="forward_single",
    cookie_domain=None,
    skip_paths=None,
    intercept_header_auth=None,
    access_token_validity=None,
    authorization_flow=IMPLICIT,
    invalidation_flow=INVALIDATION,
    authentication_flow=None,
):
    """
    Ensure a web server can have requests judged for an application (forward auth), or for a whole domain.

    name
        The provider's name; providers of all kinds share their names.

    external_host
        Where users find it, ``https://shop.example.com``: no path, no slash at the end, no capital letters.

    mode
        ``forward_single``: this application. ``forward_domain``: all hosts below ``cookie_domain``, which is then
        needed. Authentik serves every host that merely ends with it, ``evilexample.com`` for ``example.com``: the web
        server decides which hosts get there.

    skip_paths
        Regular expressions, one a line, for paths that need no login. Better let the web server leave them out: an
        application must not believe identity headers there.

    access_token_validity
        How long a login lasts, ``hours=8``.

    authorization_flow
        ``default-provider-authorization-implicit-consent`` asks nothing, ``...-explicit-consent`` asks the user.

    authentication_flow, invalidation_flow
        The flows of the login, if it is another one than the brand's, and of the logout.

    intercept_header_auth
        Whether an ``Authorization`` header is tried as a login.

    .. code-block:: yaml

        The shop is behind a login:
          authentik.proxy_provider_present:
            - name: shop
            - external_host: https://shop.example.com
            - access_token_validity: hours=8
    """
    declared = {
        "external_host": external_host,
        "mode": mode,
        "cookie_domain": cookie_domain,
        "skip_paths": skip_paths,
        "intercept_header_auth": intercept_header_auth,
        "access_token_validity": access_token_validity,
        "authorization_flow": authorization_flow,
        "invalidation_flow": invalidation_flow,
        "authentication_flow": authentication_flow,
    }
    return _present("proxy_provider", name, declared)


def proxy_provider_absent(name):
    """
    Ensure a proxy provider does not exist. Outposts lose it, an application that has it goes on without.

    name
        The provider's name; providers of all kinds share their names.

    .. code-block:: yaml

        The shop is behind no login:
          authentik.proxy_provider_absent:
            - name: shop
    """
    return _absent("proxy_provider", name)


def oauth2_provider_present(
    name,
    redirect_uris,
    client_id=None,
    client_secret=None,
    client_type="confidential",
    grant_types=("authorization_code", "refresh_token"),
    scope_mappings=("openid", "email", "profile"),
    signing_key="authentik Self-signed Certificate",
    sub_mode=None,
    issuer_mode=None,
    claims_in_id_token=None,
    access_code_validity=None,
    access_token_validity=None,
    refresh_token_validity=None,
    logout_uri=None,
    logout_method=None,
    authorization_flow=IMPLICIT,
    invalidation_flow=INVALIDATION,
    authentication_flow=None,
):
    """
    Ensure an application can log users in by OpenID Connect.

    name
        The provider's name; providers of all kinds share their names.

    redirect_uris
        Where users may be sent back to, all of them: addresses, which have to match exactly, or
        ``{matching_mode: regex, url: ...}``.

    client_id
        Default: the name.

    client_secret
        The name of a secret of this host, at least 16 characters; it is made if it is missing. Another value in it is
        brought to Authentik. None: Authentik's own stays.

    client_type
        ``confidential``, or ``public`` for what runs at the user's and can keep no secret; then PKCE is needed.

    grant_types
        The ways to a token (RFC 6749, 1.3), all of them: ``client_credentials`` is that of programs. Releases before
        2026.5 go all ways, whatever is said here.

    scope_mappings
        Scopes that come with Authentik (``openid``, ``email``, ``profile`` with the groups, ``offline_access``), and
        names of mappings. All of them.

    signing_key
        Name of a certificate. None: what is there stays. Without any, Authentik signs with the client secret.

    sub_mode
        What ``sub`` is: ``hashed_user_id`` (Authentik's default), ``user_id``, ``user_uuid``, ``user_username``,
        ``user_email`` or ``user_upn``.

    issuer_mode
        ``per_provider`` (Authentik's default) or ``global``.

    claims_in_id_token
        Whether all claims are in the ID token, and not only at the userinfo endpoint.

    access_code_validity, access_token_validity, refresh_token_validity
        ``minutes=1``, ``hours=1``, ``days=30``.

    logout_uri, logout_method
        What is told of a logout, and how: ``backchannel`` or ``frontchannel``.

    authorization_flow, authentication_flow, invalidation_flow
        As for ``proxy_provider_present``.

    .. code-block:: yaml

        The shop logs users in:
          authentik.oauth2_provider_present:
            - name: shop
            - client_secret: shop.oidc
            - redirect_uris: ["https://shop.example.com/callback"]
    """
    declared = {
        "redirect_uris": redirect_uris,
        "client_id": client_id or name,
        "client_secret": client_secret,
        "client_type": client_type,
        "grant_types": None if grant_types is None else list(grant_types),
        "scope_mappings": None if scope_mappings is None else list(scope_mappings),
        "signing_key": signing_key,
        "sub_mode": sub_mode,
        "issuer_mode": issuer_mode,
        "claims_in_id_token": claims_in_id_token,
        "access_code_validity": access_code_validity,
        "access_token_validity": access_token_validity,
        "refresh_token_validity": refresh_token_validity,
        "logout_uri": logout_uri,
        "logout_method": logout_method,
        "authorization_flow": authorization_flow,
        "invalidation_flow": invalidation_flow,
        "authentication_flow": authentication_flow,
    }
    return _present("oauth2_provider", name, declared)


def oauth2_provider_absent(name):
    """
    Ensure an OAuth2 provider does not exist. Tokens that it issued end with it.

    name
        The provider's name; providers of all kinds share their names.

    .. code-block:: yaml

        The shop logs nobody in:
          authentik.oauth2_provider_absent:
            - name: shop
    """
    return _absent("oauth2_provider", name)


def application_present(
    name,
    title=None,
    provider=None,
    mode=None,
    launch_url=None,
    description=None,
    publisher=None,
    section=None,
    new_tab=None,
):
    """
    Ensure an application exists.

    name
        Its slug: letters, digits, ``-`` and ``_``.

    title
        What users read. Default, for a new one: the slug.

    provider
        Name of a provider of any kind. It belongs to one application only.

    mode
        ``any``: whoever passes one of the bindings may use it. ``all``: whoever passes all of them. An application
        without bindings is open to every user.

    launch_url
        Where it begins. Default: what its provider says.

    description, publisher, section, new_tab
        How it is shown among a user's applications.

    .. code-block:: yaml

        The shop is an application:
          authentik.application_present:
            - name: shop
            - title: Shop
            - provider: shop
            - mode: all
    """
    declared = {
        "title": title,
        "provider": provider,
        "mode": mode,
        "launch_url": launch_url,
        "description": description,
        "publisher": publisher,
        "section": section,
        "new_tab": new_tab,
    }
    return _present("application", name, declared)


def application_absent(name):
    """
    Ensure an application does not exist. Its bindings go with it; provider, groups and policies stay.

    name
        Its slug.

    .. code-block:: yaml

        The shop is no application:
          authentik.application_absent:
            - name: shop
    """
    return _absent("application", name)


def expression_policy_present(name, expression, execution_logging=None):
    """
    Ensure there is a policy that a Python expression decides.

    name
        The policy's name.

    expression
        The body of a function, as ``return request.user.email.endswith("@example.com")``. Its syntax is checked
        before it is sent. An error while it runs refuses the user.

    execution_logging
        Whether each decision becomes an event.

    .. code-block:: yaml

        Only our people:
          authentik.expression_policy_present:
            - name: staff only
            - expression: return request.user.email.endswith("@example.com")
    """
    return _present("policy", name, {"expression": expression, "execution_logging": execution_logging})


def hours_policy_present(name, days, start, end, timezone):
    """
    Ensure there is a policy that lets users in at certain hours of the week.

    name
        The policy's name.

    days
        Those on which the hours begin: ``[mon, tue, wed, thu, fri, sat, sun]`` or some of them.

    start, end
        ``"08:00"`` and ``"18:00"``. An end before the start is on the next day.

    timezone
        ``Europe/Berlin``.

    Only logins are judged: who is in stays in until the session ends.

    .. code-block:: yaml

        Office hours:
          authentik.hours_policy_present:
            - name: office hours
            - days: [mon, tue, wed, thu, fri]
            - start: "08:00"
            - end: "18:00"
            - timezone: Europe/Berlin
    """
    return _ready_made(name, hours={"days": days, "start": start, "end": end, "timezone": timezone})


def network_policy_present(name, networks):
    """
    Ensure there is a policy that lets users in from certain networks.

    name
        The policy's name.

    networks
        ``["10.0.0.0/8", "2001:db8::/32"]``.

    The address is the one that Authentik sees: what stands in front must be among its trusted proxies.

    .. code-block:: yaml

        From the office:
          authentik.network_policy_present:
            - name: from the office
            - networks: ["192.0.2.0/24"]
    """
    return _ready_made(name, networks=networks)


def policy_absent(name, with_bindings=False):
    """
    Ensure a policy does not exist, however it was made.

    name
        The policy's name.

    with_bindings
        As for ``group_absent``.

    .. code-block:: yaml

        At all hours:
          authentik.policy_absent:
            - name: office hours
    """
    return _absent("policy", name, bound=with_bindings)


def binding_present(
    name,
    target,
    group=None,
    policy=None,
    user=None,
    order=0,
    negate=False,
    enabled=True,
    timeout=30,
    failure_result=False,
):
    """
    Ensure a group, a policy or a user is bound to an application: they decide who may use it.

    name
        Anything.

    target
        Slug of the application.

    group, policy, user
        Exactly one of them. Whoever is in a group below the group passes, too.

    order
        Which comes first.

    negate
        Whether those pass who otherwise would not.

    enabled
        False: it is there, and decides nothing. An application whose bindings are all so is open to everybody.

    timeout
        Seconds that a policy may take.

    failure_result
        What counts if a policy cannot be evaluated.

    Equal bindings besides are removed.

    .. code-block:: yaml

        Its users may use the shop:
          authentik.binding_present:
            - target: shop
            - group: shop_users
    """
    given = {"order": order, "negate": negate, "enabled": enabled, "timeout": timeout, "failure_result": failure_result}
    what = {"group": group, "policy": policy, "user": user}
    return _converge(
        name,
        "authentik.binding_differences",
        "authentik.binding_apply",
        (target, what, given),
        f"{group or policy or user} is bound to {target}",
        plans=False,
    )


def binding_absent(name, target, group=None, policy=None, user=None):
    """
    Ensure a group, a policy or a user is not bound to an application.

    name, target, group, policy, user
        As for ``binding_present``.

    .. code-block:: yaml

        Guests may not use the shop:
          authentik.binding_absent:
            - target: shop
            - group: guests
    """
    what = {"group": group, "policy": policy, "user": user}
    return _converge(
        name,
        "authentik.binding_remnants",
        "authentik.binding_remove",
        (target, what),
        f"{group or policy or user} is not bound to {target}",
    )


def outpost_providers(name, providers, outpost=EMBEDDED_OUTPOST, config=None):
    """
    Ensure the proxy serves some providers. Those that others attached stay.

    name
        Anything.

    providers
        Names of proxy providers.

    outpost
        Name of the outpost. Default: the one in Authentik's own server.

    config
        Settings of the outpost, such as ``{authentik_host: "https://auth.example.com"}``; the rest stays.

    .. code-block:: yaml

        The proxy serves the shop:
          authentik.outpost_providers:
            - providers: [shop]
    """
    return _converge(
        name,
        "authentik.outpost_differences",
        "authentik.outpost_apply",
        (outpost, providers, (), config),
        f"{outpost} serves {', '.join(providers) or 'nothing more'}",
        plans=False,
    )


def outpost_providers_absent(name, providers, outpost=EMBEDDED_OUTPOST):
    """
    Ensure the proxy does not serve some providers. The providers stay.

    name, providers, outpost
        As for ``outpost_providers``.

    .. code-block:: yaml

        The proxy does not serve the shop:
          authentik.outpost_providers_absent:
            - providers: [shop]
    """
    return _converge(
        name,
        "authentik.outpost_differences",
        "authentik.outpost_apply",
        (outpost, (), providers),
        f"{outpost} does not serve {', '.join(providers)}",
        plans=False,
    )


def brand_present(
    name,
    title=None,
    logo=None,
    favicon=None,
    css=None,
    background=None,
    authentication_flow=None,
    invalidation_flow=None,
    recovery_flow=None,
    default_application=None,
    attributes=None,
):
    """
    Ensure Authentik looks and behaves so at a domain.

    name
        The domain. ``authentik-default`` is what all others get.

    title, logo, favicon, css, background
        What users see.

    authentication_flow, invalidation_flow, recovery_flow
        Slugs of flows.

    default_application
        Slug of the application that a user comes to after the login.

    attributes
        As for ``group_present``.

    .. code-block:: yaml

        Our name on the login page:
          authentik.brand_present:
            - name: authentik-default
            - title: Example Ltd
    """
    declared = {
        "title": title,
        "logo": logo,
        "favicon": favicon,
        "css": css,
        "background": background,
        "authentication_flow": authentication_flow,
        "invalidation_flow": invalidation_flow,
        "recovery_flow": recovery_flow,
        "default_application": default_application,
        "attributes": attributes,
    }
    return _present("brand", name, declared)


def brand_absent(name):
    """
    Ensure a domain looks like all others.

    name
        The user name.

    .. code-block:: yaml

        The shop's domain looks like all others:
          authentik.brand_absent:
            - name: shop.example.com
    """
    return _absent("brand", name)


def _converge(name, asked, done, arguments, fine, plans=True):
    """The usual course of a state, over two execution functions that take the same; the first may have to plan."""
    plan = {"plan": __opts__["test"]} if plans else {}
    return __utils__["results.converge"](
        name,
        __opts__["test"],
        differences=lambda: __salt__[asked](*arguments, **plan),
        apply=lambda: __salt__[done](*arguments),
        fine=fine,
    )


def _present(kind, name, declared):
    return _converge(name, "authentik.differences", "authentik.apply", (kind, name, declared), f"{name} is as declared")


def _absent(kind, name, bound=True):
    return _converge(name, "authentik.remnants", "authentik.remove", (kind, name, bound), f"{name} does not exist")


def _ready_made(name, **what):
    try:
        expression = __salt__["authentik.expression"](name, **what)
    except SaltInvocationError as error:
        return __utils__["results.failed"](name, str(error))
    return _present("policy", name, {"expression": expression})
