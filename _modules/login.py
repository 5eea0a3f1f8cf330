"""
What Authentik has of a service that users or programs log in to, as a whole.

An entry says ``auth: forward_auth`` and so on; here that becomes groups, policies, scopes, a provider, an application,
its bindings and, in front of a site, the outpost's. They are the service's own: the group ``NAME_users`` carries its
name, and the application says whose it is (``publisher``); without either mark nothing is touched.

.. code-block:: bash

    salt-call login.differences notes
    salt-call login.remnants notes
"""

from functools import partial

from salt.exceptions import SaltInvocationError

EMBEDDED_OUTPOST = "authentik Embedded Outpost"
PROVIDERS = ("proxy_provider", "oauth2_provider")


def differences(name, auth=None):
    """
    Return what in Authentik is not as an entry says, ``{thing: {field: {"old", "new"}}}``, ``{}`` if all is.

    name
        The service.

    auth
        Its resolved ``auth``. Default: that of the catalogue.

    Raises SaltInvocationError if Authentik has something of that name which is not the service's.

    CLI Example:

    .. code-block:: bash

        salt-call login.differences notes
    """
    auth = auth or __salt__["catalogue.part"](name, "auth")
    known = __salt__["authentik.objects"]()
    _refuse_foreign(name, known)
    found = {}
    # What one of them makes, the next one may refer to.
    with known.trial():
        for thing, differs, _ in _in_order(name, auth, known):
            found[thing] = differs(plan=True)
    return {thing: changes for thing, changes in found.items() if changes}


def apply(name, auth=None):
    """
    Make what Authentik has of a service as its entry says. Parameters and errors are those of ``differences``.

    CLI Example:

    .. code-block:: bash

        salt-call login.apply notes
    """
    auth = auth or __salt__["catalogue.part"](name, "auth")
    known = __salt__["authentik.objects"]()
    _refuse_foreign(name, known)
    for _, _, do in list(_in_order(name, auth, known)):
        do()
    return True


def remnants(name):
    """
    Return what Authentik has of a service, ``{thing: {thing: {"old", "new"}}}``, ``{}`` if nothing.

    CLI Example:

    .. code-block:: bash

        salt-call login.remnants notes
    """
    known = __salt__["authentik.objects"]()
    members = _members(name, known)
    with known.trial():
        found = {thing: differs(plan=True) for thing, differs, _ in _stale(name, None, known)}
    for group, names in members.items():  # whoever wants them back knows whom
        found[f"group {group}"]["members"] = {"old": names, "new": None}
    return {thing: changes for thing, changes in found.items() if changes}


def remove(name):
    """
    Remove what Authentik has of a service. People's accounts stay.

    CLI Example:

    .. code-block:: bash

        salt-call login.remove notes
    """
    for _, _, do in list(_stale(name, None, __salt__["authentik.objects"]())):
        do()
    return True


def owners():
    """
    Return the names of the services that Authentik has something of, sorted.

    CLI Example:

    .. code-block:: bash

        salt-call login.owners
    """
    return sorted(
        one["attributes"][_mark()]
        for one in __salt__["authentik.objects"]().list("group")
        if _owner(one) and one["name"] == __utils__["login_objects.users"](_owner(one))
    )


def _in_order(name, auth, known):
    """
    What has to be done for a service, as of ``_steps``.

    A provider of another kind goes first, since it has the name that the new one gets. All else that is not declared
    any more goes last: nothing is to stand open between.
    """
    stale = list(_stale(name, auth, known))
    labels = tuple(__utils__["authentik_objects.kind"](kind).label for kind in PROVIDERS)
    yield from (one for one in stale if one[0].startswith(labels))
    yield from _steps(name, auth)
    yield from (one for one in stale if not one[0].startswith(labels))


def _steps(name, auth):
    """
    Each thing that has to be so, in an order in which they can be made: what it is called, what tells how it differs
    (``plan``: what would be made counts as made), and what makes it so.
    """
    for kind, wanted, given in __utils__["login_objects.objects"](name, auth):
        declared = given
        if kind == "policy":
            declared = {"expression": __salt__["authentik.expression"](wanted, **given)}
        yield (
            f"{__utils__['authentik_objects.kind'](kind).label} {wanted}",
            partial(__salt__["authentik.differences"], kind, wanted, declared),
            partial(__salt__["authentik.apply"], kind, wanted, declared),
        )
    for what, given in __utils__["login_objects.bindings"](name, auth):
        bound = {"negate": False, "enabled": True, "timeout": 30, "failure_result": False, **given}
        yield (
            f"binding of {' '.join(*what.items())}",
            partial(_binding_differences, name, what, bound),
            partial(__salt__["authentik.binding_apply"], name, what, bound),
        )
    if auth["pattern"] == "forward_auth":
        yield (
            EMBEDDED_OUTPOST,
            partial(_outpost_differences, name),
            partial(__salt__["authentik.outpost_apply"], EMBEDDED_OUTPOST, [name]),
        )
    for client in auth["clients"]:
        groups = [__utils__["login_objects.users"](name)]
        yield (
            f"service account {client}",
            partial(_client_differences, name, client, groups),
            partial(_client_apply, name, client, groups),
        )


# Nothing refers to these two, so a plan has nothing to remember of them.
def _binding_differences(name, what, bound, plan):
    return __salt__["authentik.binding_differences"](name, what, bound)


def _outpost_differences(name, plan):
    return __salt__["authentik.outpost_differences"](EMBEDDED_OUTPOST, [name])


def _client_differences(name, client, groups, plan):
    changes = __salt__["authentik_account.service_differences"](client, groups, None, plan)
    if "account" in changes:
        return {**changes, "attributes": {"old": None, "new": {_mark(): name}}}
    return {**changes, **__salt__["authentik.differences"]("user", client, {"attributes": {_mark(): name}}, plan)}


def _client_apply(name, client, groups):
    __salt__["authentik_account.service_apply"](client, groups)
    __salt__["authentik.apply"]("user", client, {"attributes": {_mark(): name}})


def _stale(name, auth, known):
    """
    What of a service is there and no longer declared, as of ``_steps``, in an order in which it can go. The group of
    its users, which says whose all of it is, goes last.
    """
    if not _is_ours(name, known):
        return
    wanted = {(kind, one) for kind, one, _ in __utils__["login_objects.objects"](name, auth)} if auth else set()
    for client in _clients(name, known):
        if not auth or client not in auth["clients"]:
            yield (
                f"service account {client}",
                partial(__salt__["authentik_account.service_remnants"], client, bound=True),
                partial(__salt__["authentik_account.service_remove"], client, bound=True),
            )
    for kind, one in _present(name, known):
        if (kind, one) not in wanted:
            yield (
                f"{__utils__['authentik_objects.kind'](kind).label} {one}",
                partial(__salt__["authentik.remnants"], kind, one, True),
                partial(__salt__["authentik.remove"], kind, one, True),
            )


def _present(name, known):
    """The objects that there are of a service, those first that refer to others."""
    if known.find("application", name):
        yield "application", name
    for kind in PROVIDERS:
        if known.find(kind, name):
            yield kind, name
    beginning = __utils__["login_objects.own"](name, "")
    for kind in ("policy", "scope_mapping"):
        yield from ((kind, one["name"]) for one in known.list(kind) if one["name"].startswith(beginning))
    ours = [one["name"] for one in known.list("group") if _owner(one) == name]
    users = __utils__["login_objects.users"](name)
    yield from (("group", group) for group in ours if group != users)
    if known.find("group", users):
        yield "group", users


def _clients(name, known):
    """The accounts of programs that carry the service's mark, as its group lists them."""
    group = known.find("group", __utils__["login_objects.users"](name)) or {}
    return [
        one["username"] for one in group.get("users_obj") or () if (one.get("attributes") or {}).get(_mark()) == name
    ]


def _members(name, known):
    """The people in a service's groups, ``{group: [user names]}``."""
    programs = _clients(name, known) if _is_ours(name, known) else []
    found = {
        one["name"]: sorted(user["username"] for user in one.get("users_obj") or () if user["username"] not in programs)
        for one in known.list("group")
        if _owner(one) == name
    }
    return {group: names for group, names in found.items() if names}


def _is_ours(name, known):
    group = known.find("group", __utils__["login_objects.users"](name))
    if group is not None:
        return _owner(group) == name
    # Without its group the application is open to everybody: that has to be put right, and not to be refused.
    application = known.find("application", name)
    return application is not None and application["meta_publisher"] == _mark()


def _refuse_foreign(name, known):
    """What somebody else has made under the same names is theirs."""
    if _is_ours(name, known):
        return
    users = __utils__["login_objects.users"](name)
    taken = [("group", users), ("application", name), *((kind, name) for kind in PROVIDERS)]
    there = [f"{__utils__['authentik_objects.kind'](kind).label} {one}" for kind, one in taken if known.find(kind, one)]
    if there:
        raise SaltInvocationError(
            f"service {name}: auth: Authentik has {', '.join(there)} already, and not of this service: rename or "
            f"remove what is there, or give the group {users} the attribute {_mark()}: {name} if it is meant to be"
        )


def _owner(group):
    return (group["attributes"] or {}).get(_mark())


def _mark():
    return __utils__["login_objects.mark"]()
