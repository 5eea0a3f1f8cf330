"""
Objects of Authentik: groups, users, providers, applications, policies, and what ties them together.

Authentik is asked at ``rick:authentik:url`` with the token in the secret ``rick:authentik:token``, a file that only
root can read. Objects are known by their names (applications by slug, brands by domain) and refer to each other by
them.

.. code-block:: bash

    salt-call authentik.version
    salt-call authentik.list application
    salt-call authentik.show proxy_provider notes
    salt-call authentik.access notes alice

What is not declared of an object stays as it is. A change sends only what
differs, and is compared with what the server has afterwards: fields that it does not know it would ignore (Q5).
"""

import time

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

OBJECTS = "authentik.objects"  # what a run knows of it
BOUND = ("group", "policy", "user")
TITLES = {"user": "full_name", "application": "title"}
# Without it no provider can be made; the worker makes it some seconds after the server is ready.
DEFAULT_FLOW = "default-provider-authorization-implicit-consent"


def version():
    """
    Return the version of Authentik, and show by that that it answers and takes the token.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.version
    """
    return _api().read("admin", "version")["version_current"]


def list_(kind):
    """
    Return the names of all objects of a kind.

    kind
        ``group``, ``user``, ``flow``, ``certificate``, ``scope_mapping``, ``proxy_provider``, ``oauth2_provider``,
        ``application`` (those that the token's user may use), ``policy``, ``outpost`` or ``brand``.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.list group
    """
    by = __utils__["authentik_objects.kind"](kind).by
    return sorted(str(one[by]) for one in _objects().list(kind))


def show(kind, name):
    """
    Return an object as a state would declare it, secrets hidden; None if there is none.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.show application notes
    """
    __utils__["authentik_objects.kind"](kind)
    found = _objects().find(kind, name)
    return found and __utils__["authentik_fields.shown"](kind, found, _objects())


def access(application, user):
    """
    Return whether a user may use an application, ``{"passing", "messages"}``, as Authentik itself decides it.

    Networks are tried as if the user came from Authentik's own host. Takes the token of an administrator; with a
    lesser one Authentik would answer for that token's user (Q89), which is refused here.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.access notes alice
    """
    known, api = _objects(), _api()
    key = known.reference("user", user)
    me = api.read("core/users", "me")["user"]
    if not me["is_superuser"] and me["pk"] != key:
        raise CommandExecutionError(
            f"authentik: {me['username']} is no administrator, and Authentik tells others about themselves only"
        )
    found = api.read("core/applications", application, "check_access", for_user=key)
    if found is None:
        raise SaltInvocationError(f"authentik: there is no application {application!r}")
    return {name: found[name] for name in ("passing", "messages")}


def wait(timeout=300):
    """
    Wait until Authentik answers and its default flows are there. Returns the seconds that it took.

    On the first start it is ready some 20 seconds before them. Raises CommandExecutionError with what it still waited
    for after ``timeout`` seconds.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.wait 60
    """
    begin = time.monotonic()
    while True:
        missing = unready()
        passed = time.monotonic() - begin
        if not missing:
            return round(passed, 1)
        if passed > timeout:
            raise CommandExecutionError(f"authentik: not within {timeout} s: {missing}")
        time.sleep(1)


def unready():
    """
    Return why nothing can be declared in Authentik yet, None if it can.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.unready
    """
    try:
        if _api().find("flows/instances", "slug", DEFAULT_FLOW):
            return None
    except CommandExecutionError as error:
        return str(error)
    return f"the flow {DEFAULT_FLOW}, which its worker makes on the first start"


def differences(kind, name, declared, plan=False):
    """
    Return what of an object is not as declared, ``{field: {"old", "new"}}``, ``{}`` if all is.

    kind, name
        As for ``show``.

    declared
        ``{field: value}`` as the state of the kind takes them; what is None is not declared.

    plan
        Whether an object that is not there counts as made from now on in this run.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.differences group notes_users '{parents: [staff]}'
    """
    known = _objects()
    found = known.find(kind, name)
    values = _checked(kind, name, _complete(kind, name, declared, found))
    changes = __utils__["authentik_fields.differences"](kind, values, found, known)
    # What is referred to must be there, in a plan as in the run.
    __utils__["authentik_fields.body"](kind, values, found, known, only=changes)
    if found is None and plan:
        known.plan(kind, name)
    return changes


def apply(kind, name, declared):
    """
    Make an object as declared. Returns what ``differences`` does, and takes the same.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.apply group notes_users '{parents: [staff]}'
    """
    changes = differences(kind, name, declared)
    if changes:
        found = _objects().find(kind, name)
        _write(kind, name, _checked(kind, name, _complete(kind, name, declared, found), make=True))
    return changes


def remnants(kind, name, bound=True, plan=False):
    """
    Return what there is of an object, ``{thing: {"old": "present", "new": None}}``, ``{}`` if it is not there.

    bound
        False: raises CommandExecutionError if bindings refer to it. They would go with it, and an application
        without bindings is open to everybody (Q22, Q34).

    plan
        Whether it counts as removed from now on in this run.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.remnants group notes_users
    """
    known = _objects()
    found = known.find(kind, name)
    if found is None:
        return {}
    label = __utils__["authentik_objects.kind"](kind).label
    bindings = known.bindings(kind, found)
    if bindings and not bound:
        targets = sorted({known.name("application", one["target"]) for one in bindings})
        raise CommandExecutionError(
            f"authentik: {label} {name} is bound to {', '.join(targets)}, and without that binding others may come in: "
            "remove the binding first, or declare with_bindings: true"
        )
    changes: dict = {f"{label} {name}": {"old": "present", "new": None}}
    if bindings and kind != "application":
        changes["bindings"] = {"old": [_binding_name(one) for one in bindings], "new": None}
    if plan:
        known.plan_removal(kind, found)
    return changes


def remove(kind, name, bound=True):
    """
    Delete an object. Returns what ``remnants`` does, and takes the same.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.remove policy notes-hours
    """
    changes = remnants(kind, name, bound)
    if changes:
        one = __utils__["authentik_objects.kind"](kind)
        _api().delete(one.collection, _objects().find(kind, name)[one.key])
        _objects().forget()
    return changes


def binding_differences(target, what, declared):
    """
    Return what of a binding is not as declared, as ``differences`` does. Equal ones besides are a difference, too.

    target
        Slug of the application.

    what
        Who or what is bound to it: ``{"group": name}``, ``{"policy": name}`` or ``{"user": name}``.

    declared
        ``{"order", "negate", "enabled", "timeout", "failure_result"}``.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.binding_differences notes '{group: notes_users}' '{order: 0}'
    """
    known = _objects()
    values, found = _binding(target, what, declared)
    stored = found[0] if found else None
    changes = __utils__["authentik_fields.differences"]("binding", values, stored, known)
    __utils__["authentik_fields.body"]("binding", values, stored, known)
    if len(found) > 1:  # the server takes equal ones any number of times (Q37)
        changes["copies"] = {"old": len(found), "new": 1}
    return changes


def binding_apply(target, what, declared):
    """
    Make a binding as declared. Returns what ``binding_differences`` does, and takes the same.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.binding_apply notes '{group: notes_users}' '{order: 0}'
    """
    known, api = _objects(), _api()
    changes = binding_differences(target, what, declared)
    if not changes:
        return changes
    values, found = _binding(target, what, declared)
    # Whole, and with null for the kinds that it is not: a part would be refused, or would leave two of them (Q35, Q36).
    sent = {**dict.fromkeys(BOUND), **__utils__["authentik_fields.body"]("binding", values, None, known)}
    if found:
        api.replace("policies/bindings", found[0]["pk"], sent)
        for copy in found[1:]:
            api.delete("policies/bindings", copy["pk"])
    else:
        api.create("policies/bindings", sent)
    known.forget()
    return changes


def binding_remnants(target, what, plan=False):
    """
    Return the bindings of something to an application that there are, ``{}`` if there is none.

    plan
        As for ``remnants``.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.binding_remnants notes '{group: notes_users}'
    """
    kind, name = _bound(target, what)
    _, found = _binding(target, what, {})
    for one in found if plan else ():
        _objects().plan_removal("binding", one)
    return {f"binding of {kind} {name}": {"old": "present", "new": None}} if found else {}


def binding_remove(target, what):
    """
    Remove all bindings of something to an application. Returns what ``binding_remnants`` does.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.binding_remove notes '{group: notes_users}'
    """
    changes = binding_remnants(target, what)
    if changes:
        for one in _binding(target, what, {})[1]:
            _api().delete("policies/bindings", one["pk"])
        _objects().forget()
    return changes


def outpost_differences(name, attach=(), detach=(), config=None):
    """
    Return what of an outpost is not so, ``{field: {"old", "new"}}``. What others attached to it does not count.

    name
        The outpost; the one in the server itself is ``authentik Embedded Outpost``.

    attach, detach
        Names of providers.

    config
        Settings of the outpost that are ours, such as ``{"authentik_host": "https://auth.example.com"}``.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.outpost_differences 'authentik Embedded Outpost' '[notes]'
    """
    stored, on, off, settings = _outpost(name, attach, detach, config)
    changes = __utils__["authentik_fields.differences"]("outpost", settings, stored, _objects())
    attached = sorted(one for one, key in {**on, **off}.items() if key in stored["providers"])
    if attached != sorted(on):
        changes["providers"] = {"old": attached, "new": sorted(on)}
    return changes


def outpost_apply(name, attach=(), detach=(), config=None):
    """
    Attach providers to an outpost, detach others, and set it. Returns what ``outpost_differences`` does.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.outpost_apply 'authentik Embedded Outpost' '[notes]'
    """
    changes = outpost_differences(name, attach, detach, config)
    if changes:
        known = _objects()
        known.forget()  # whoever attached something a moment ago shall not lose it (Q41)
        stored, on, off, settings = _outpost(name, attach, detach, config)
        sent = __utils__["authentik_fields.body"]("outpost", settings, stored, known)
        if on or off:  # by their keys: what others attached may be of a kind that we know nothing of
            kept = [key for key in stored["providers"] if key not in off.values()]
            sent["providers"] = list(dict.fromkeys([*kept, *on.values()]))
        _api().update("outposts/instances", stored["pk"], sent)
        known.forget()
    return changes


def expression(name, hours=None, networks=None):
    """
    Return the text of a ready-made policy.

    hours
        ``{"days", "start", "end", "timezone"}``, as for the state ``authentik.hours_policy_present``.

    networks
        Networks or addresses, as for ``authentik.network_policy_present``.

    CLI Example:

    .. code-block:: bash

        salt-call authentik.expression office networks='[10.0.0.0/8]'
    """
    try:
        if hours is not None:
            return __utils__["authentik_expressions.hours"](**hours)
        return __utils__["authentik_expressions.networks"](networks)
    except SaltInvocationError as error:
        raise SaltInvocationError(f"authentik: policy {name}: {error}") from None


def objects():
    """
    Return what this run knows of Authentik, for other modules of the tree: see ``authentik_objects.Objects``.

    CLI Example: none, it is no plain data.
    """
    return _objects()


def _complete(kind, name, declared, found):
    """What a new object cannot do without: what people read is its name, if nothing else is said."""
    title = TITLES.get(kind)
    if found is None and title and declared.get(title) is None:
        return {**declared, title: name}
    return declared


def _checked(kind, name, declared, make=False):
    by = __utils__["authentik_objects.kind"](kind).by
    given = {by: name, **declared}
    if given.get("client_secret") is not None:
        given["client_secret"] = _secret(given["client_secret"], make)
    values = __utils__["authentik_fields.check"](kind, name, given)
    _check_together(kind, name, values)
    return values


def _secret(name, make):
    """What a secret of this host holds; one that is missing is made, or differs from whatever Authentik has."""
    path = __utils__["secret_files.path"](name)
    return __utils__["secret_files.obtain"](path) if make else __utils__["secret_files.read"](path) or "not made yet"


def _check_together(kind, name, values):
    """What no field can know by itself."""
    if kind == "group" and name.strip() in values.get("parents", ()):
        raise SaltInvocationError(f"authentik: group {name} cannot be its own parent")
    if kind == "group" and "parents" in values:
        _refuse_circle(name, values["parents"])
    if kind == "proxy_provider" and values.get("mode") == "forward_domain":
        domain, host = values.get("cookie_domain", ""), values.get("external_host", "").rpartition("//")[2]
        host = host.partition(":")[0]
        if not domain or (host != domain and not host.endswith(f".{domain}")):
            raise SaltInvocationError(
                f"authentik: proxy provider {name}: cookie_domain {domain!r} has to be the domain of all its hosts, "
                f"{host or 'external_host'} among them"
            )


def _refuse_circle(name, parents):
    """Authentik takes circles (Q20), and then nobody knows any more who is in a group."""
    known = _objects()
    above, left = set(), list(parents)
    while left:
        one = left.pop()
        if one == name.strip():
            raise SaltInvocationError(f"authentik: group {name} would be above itself, by way of {', '.join(parents)}")
        found = known.find("group", one)
        if found and one not in above:
            above.add(one)
            left += [known.name("group", key) for key in found["parents"]]


def _write(kind, name, values):
    known, api = _objects(), _api()
    one = __utils__["authentik_objects.kind"](kind)
    found = known.find(kind, name)
    if found is None:
        try:
            api.create(one.collection, __utils__["authentik_fields.body"](kind, values, None, known))
            return
        except CommandExecutionError:
            # Somebody else may have made it at the same moment; what the server says then varies (Q14).
            known.forget()
            found = known.find(kind, name)
            if found is None:
                raise
        finally:
            known.forget()
    changes = __utils__["authentik_fields.differences"](kind, values, found, known)
    if changes:
        sent = __utils__["authentik_fields.body"](kind, values, found, known, only=changes)
        api.update(one.collection, found[one.key], sent)
        known.forget()


def _binding(target, what, declared):
    """The values of a binding, and those that there are of its kind."""
    known = _objects()
    kind, name = _bound(target, what)
    values = __utils__["authentik_fields.check"]("binding", f"of {kind} {name} to {target}", declared)
    values = {"target": target, kind: name, **values}
    bound, application = known.find(kind, name), known.find("application", target)
    if bound is None or application is None:
        return values, []
    found = [one for one in known.bindings("application", application) if one[kind] == bound["pk"]]
    return values, sorted(found, key=lambda one: (one["order"], one["pk"]))


def _bound(target, what):
    """The one thing of a binding: its kind and name."""
    given = [(kind, name) for kind, name in what.items() if name is not None]
    if len(given) != 1 or given[0][0] not in BOUND:
        raise SaltInvocationError(f"authentik: binding to {target}: say exactly one of group, policy and user")
    return given[0]


def _binding_name(one):
    kind = next((kind for kind in BOUND if one[kind] is not None), None)
    target = _objects().name("application", one["target"])
    return f"{kind} {_objects().name(kind, one[kind])} to {target}" if kind else f"nothing to {target}"


def _outpost(name, attach, detach, config):
    """An outpost as it is, the providers that are to be attached and detached, ``{name: key}``, and its settings."""
    known = _objects()
    stored = known.find("outpost", name)
    if stored is None:
        if known.api is None:
            stored = {"pk": None, "providers": [], "config": {}}
        else:
            raise CommandExecutionError(
                f"authentik: there is no outpost {name!r}; the embedded one comes back, without providers, when the "
                "server is restarted"
            )
    foreign = [one for one in attach if known.is_a("oauth2_provider", one)]
    if foreign:  # the server would take them (Q42), and then serve nothing
        raise SaltInvocationError(f"authentik: outpost {name}: {', '.join(foreign)}: no proxy provider")
    on = {one: known.reference("proxy_provider", one) for one in attach}
    off = {one: known.reference("proxy_provider", one) for one in detach if known.is_a("proxy_provider", one)}
    settings = __utils__["authentik_fields.check"]("outpost", name, {"config": config} if config else {})
    return stored, on, off, settings


def _objects():
    """What this run knows of Authentik. Without a token it counts as one that has nothing yet, as a plan needs it."""
    if OBJECTS not in __context__:
        settings = __salt__["catalogue.infrastructure"]("authentik")
        path = __utils__["secret_files.path"](settings["token"])
        token = __utils__["secret_files.read"](path)
        api = None if token is None else __utils__["authentik_api.connect"](settings["url"], token)
        without = f"its token is not here: {path}. A file that only root can read (rick:authentik:token)"
        __context__[OBJECTS] = __utils__["authentik_objects.over"](api, without)
    return __context__[OBJECTS]


def _api():
    return _objects().needed()
