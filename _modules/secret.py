"""
Secrets of services: made on this host or brought by the pillar, kept in root-only files, delivered as Podman secrets.

A secret's value is in two places: ``/var/lib/rick-infra/secrets/SERVICE.SECRET``
(root, 0600) and Podman's own store (root, 0700). What an environment variable
is composed of (``SERVICE.CONTAINER.VARIABLE``) is only in the second. No
function here returns a value.
"""

import hmac

from salt.exceptions import CommandExecutionError, SaltInvocationError

CONTEXT = "secret.podman"  # what Podman has, looked at once in a run
PENDING = "secret.pending"  # names in Podman that were not as declared when a run last looked
UNWRITTEN = "secret.unwritten"  # where those secrets come from whose file was not as declared


def path(name):
    """
    Return the file that holds the secret, for states that take a ``secret_file``.

    CLI Example:

    .. code-block:: bash

        salt-call secret.path notes.valkey
    """
    return __utils__["secret_files.path"](name)


def exists(name):
    """
    Return True if the host has the secret's file.

    CLI Example:

    .. code-block:: bash

        salt-call secret.exists valkey-notes
    """
    return __utils__["secret_files.read"](path(name)) is not None


def delivered(name):
    """
    Return True if Podman has the secret with the value that the file has.

    CLI Example:

    .. code-block:: bash

        salt-call secret.delivered valkey-notes
    """
    value = __utils__["secret_files.read"](path(name))
    return value is not None and _podman_has(name, value.encode())


def make(name):
    """
    Make the secret if there is none yet: 256 random bits. True if it was made.

    CLI Example:

    .. code-block:: bash

        salt-call secret.make valkey-notes
    """
    if exists(name):
        return False
    __utils__["secret_files.create"](path(name))
    return True


def deliver(name):
    """
    Give Podman the secret's present value. Containers see it at their next start.

    CLI Example:

    .. code-block:: bash

        salt-call secret.deliver valkey-notes
    """
    value = __utils__["secret_files.read"](path(name))
    if value is None:
        raise CommandExecutionError(f"secret {name}: there is no {path(name)} (make it: salt-call secret.make {name})")
    _deliver(name, value.encode())


def remove(name):
    """
    Remove the secret from Podman and from the host, as far as it is there.

    CLI Example:

    .. code-block:: bash

        salt-call secret.remove valkey-notes
    """
    file = path(name)
    if in_podman(name):
        _take_back([name])
    __utils__["secret_files.remove"](file)


def in_podman(name):
    """
    Return True if Podman has a secret of this name, whatever its value.

    CLI Example:

    .. code-block:: bash

        salt-call secret.in_podman valkey-notes
    """
    return name in _podman()


def all_differences(name, secrets):
    """
    Return what has to change until a service's secrets are as declared, ``{thing: {"old", "new"}}``, ``{}`` if nothing.

    Things are files, by their paths, and ``podman secret NAME``. No value is shown.

    name, secrets
        As in the state ``secret.all_present``.

    Raises SaltInvocationError for declarations that cannot be, and
    CommandExecutionError if a secret cannot be had: it names each one, where it
    should come from, and the way out.

    CLI Example:

    .. code-block:: bash

        salt-call secret.all_differences notes '[{"name": "notes.token", "generate": {"length": 43}}]'
    """
    changes, _ = _all(name, secrets)
    return changes


def all_apply(name, secrets):
    """
    Make a service's secrets as declared. What is right is not touched, and neither is what is declared no more.

    Parameters, errors and what it returns are those of ``secret.all_differences``.

    CLI Example:

    .. code-block:: bash

        salt-call secret.all_apply notes '[{"name": "notes.token", "generate": {"length": 43}}]'
    """
    changes, values = _all(name, secrets)
    for secret, (value, generation) in values.items():
        if generation:
            value = __utils__["secret_values.generate"](**generation)
        if path(secret) in changes:
            __utils__["secret_files.put"](path(secret), value)
            __context__[UNWRITTEN].pop(secret)
        if _thing(secret) in changes:
            _deliver(secret, value)
    _note(name, "secrets", {})
    return changes


def values_differences(name, values):
    """
    Return what has to change until a service's composed values are in Podman's hands, as ``secret.all_differences``.

    A value with a secret that does not exist yet counts as one to be delivered.

    name, values
        As in the state ``secret.values_present``.

    Raises SaltInvocationError for declarations that cannot be, and
    CommandExecutionError for values that cannot be delivered.

    CLI Example:

    .. code-block:: bash

        salt-call secret.values_differences notes '[{"name": "notes.web.A", "parts": [{"secret": "notes.token"}]}]'
    """
    changes, _ = _values(name, values)
    return changes


def values_apply(name, values):
    """
    Deliver a service's composed values. What is right is not touched, and neither is what is declared no more.

    Parameters, errors and what it returns are those of ``secret.values_differences``;
    a value with a secret that does not exist is an error here.

    CLI Example:

    .. code-block:: bash

        salt-call secret.values_apply notes '[{"name": "notes.web.A", "parts": [{"secret": "notes.token"}]}]'
    """
    changes, composed = _values(name, values)
    missing = [one for one, value in composed.items() if value is None]
    if missing:
        raise CommandExecutionError(
            f"service {name}: a secret that {', '.join(missing)} needs is not in"
            f" {__utils__['secret_files.directory']()}; the state secret.all_present makes it"
        )
    for value in composed:
        if _thing(value) in changes:
            _deliver(value, composed[value])
    _note(name, "values", {})
    return changes


def undeclared(name, secrets, values):
    """
    Return what a service has of secrets and values and is declared no more, as ``secret.all_remnants`` does.

    name
        Name of the service.

    secrets, values
        As in the states ``secret.all_present`` and ``secret.values_present``.

    CLI Example:

    .. code-block:: bash

        salt-call secret.undeclared notes '[]' '[]'
    """
    wanted = {one["name"] for one in [*secrets, *values]}
    kept = {path(one["name"]) for one in secrets}
    return {thing: change for thing, change in all_remnants(name).items() if thing not in {*map(_thing, wanted), *kept}}


def remove_undeclared(name, secrets, values):
    """
    Remove what a service has of secrets and values and is declared no more. Returns what ``secret.undeclared`` does.

    CLI Example:

    .. code-block:: bash

        salt-call secret.remove_undeclared notes '[]' '[]'
    """
    return _remove(name, undeclared(name, secrets, values))


def all_remnants(name, keep_files=False):
    """
    Return what is there of a service's secrets and values, ``{thing: {"old": "there", "new": None}}``.

    name, keep_files
        As in the state ``secret.all_absent``.

    CLI Example:

    .. code-block:: bash

        salt-call secret.all_remnants notes
    """
    start = __utils__["secret_values.prefix"](name)
    things = [_thing(one) for one in _podman() if one.startswith(start)]
    if not keep_files:
        things += _files(name)
    return {thing: {"old": "there", "new": None} for thing in things}


def all_remove(name, keep_files=False):
    """
    Remove all secrets and values of a service. Returns what ``secret.all_remnants`` does.

    CLI Example:

    .. code-block:: bash

        salt-call secret.all_remove notes
    """
    return _remove(name, all_remnants(name, keep_files))


def renew(name):
    """
    Replace a generated secret by a new one. The old value is not kept.

    Returns what comes next, as text: the next run gives it to the databases and
    to Podman, and restarts exactly the containers that use it.

    name
        ``SERVICE.SECRET``, for example ``notes.token``.

    Raises CommandExecutionError if no service declares it, if it is not generated here, or if the catalogue is wrong.

    CLI Example:

    .. code-block:: bash

        salt-call secret.renew notes.token
    """
    service = str(name).partition(".")[0]
    declared = __utils__["secret_values.declared"](service, __salt__["catalogue.part"](service, "secrets"))
    if name not in declared:
        raise CommandExecutionError(f"secret {name}: service {service} has {', '.join(declared) or 'no secrets'}")
    source, detail = declared[name]
    if source != "generate":
        raise CommandExecutionError(f"secret {name} comes from {source} {detail}: change it there")
    __utils__["secret_files.put"](path(name), __utils__["secret_values.generate"](**detail))
    return f"{name} has a new value; the next run delivers it and restarts what uses it: salt-call state.highstate"


def pending():
    """
    Return the names of the Podman secrets that were not as declared when this run last looked, sorted.

    In test mode these are what earlier states of the run would deliver or
    remove; after a real run's states it is empty.

    CLI Example: none, within a run only.
    """
    return sorted(name for names in __context__.get(PENDING, {}).values() for name in names)


def _remove(name, changes):
    _take_back([one for one in _podman() if _thing(one) in changes])
    for file in _files(name):
        if file in changes:
            __utils__["secret_files.remove"](file)
    return changes


def _all(service, secrets):
    """The changes, and ``{name: (value, None)}``, or ``(None, how to generate it)`` where there is none yet."""
    declared = __utils__["secret_values.declared"](service, secrets)
    changes, values, problems = {}, {}, []
    for name, (source, detail) in declared.items():
        try:
            present = __utils__["secret_files.read_exactly"](path(name))
            value = _wanted(source, detail, present)
        except (CommandExecutionError, SaltInvocationError) as error:
            problems.append(f"{name.partition('.')[2]}: {error}")
            continue
        values[name] = (value, detail if value is None else None)
        if value is None:
            changes[path(name)] = {"old": None, "new": "generated"}
        elif present is None or not hmac.compare_digest(present, value):
            new = "without its newline" if source == "generate" else f"from {source} {detail}"
            changes[path(name)] = {"old": None if present is None else "another value", "new": new}
        changes.update(_delivery(name, value))
    if problems:
        raise CommandExecutionError("\n".join(f"service {service}: secret {problem}" for problem in problems))
    _note(service, "secrets", changes)
    __context__.setdefault(UNWRITTEN, {}).update(
        {name: source for name, source in declared.items() if path(name) in changes}
    )
    return changes, values


def _values(service, values):
    """The changes, and ``{name: value}``, None where a secret does not exist yet."""
    declared = __utils__["secret_values.composed"](service, values)
    changes, composed, problems = {}, {}, []
    for name, parts in declared.items():
        known = {part["secret"]: _effective(part["secret"]) for part in parts if "secret" in part}
        value = __utils__["secret_values.join"](parts, known)
        composed[name] = value
        if value is not None:
            problem = _unfit(value) or ("it has a NUL character" if b"\0" in value else None)
            if problem:
                problems.append(f"{name}: {problem}")
        changes.update(_delivery(name, value))
    if problems:
        raise CommandExecutionError("\n".join(f"service {service}: value {problem}" for problem in problems))
    _note(service, "values", changes)
    return changes, composed


def _wanted(source, detail, present):
    """The value that a secret is to have; None if it is to be generated."""
    if source == "generate":
        if present is None:
            return None
        # As the daemons read it; echo and editors put a newline there.
        value = present.removesuffix(b"\n")
        origin = "its file"
    elif source == "pillar":
        value = __utils__["secret_values.from_pillar"](__pillar__, detail, _stored)
        origin = f"pillar {detail}"
    else:
        value, origin = __utils__["secret_files.read_exactly"](detail, ours=False), f"file {detail}"
        if value is None:
            raise CommandExecutionError(f"there is no file {detail}: write it (root, mode 0600), or take file out")
    problem = _unfit(value)
    if problem:
        way_out = "; delete it, and a new one is made" if source == "generate" else ""
        raise CommandExecutionError(f"{origin}: {problem}{way_out}")
    return value


def _stored(address):
    return __salt__["sdb.get"](address, strict=True)


def _unfit(value):
    """Why Podman does not take a value, None if it does."""
    if not value:
        return "it is empty, which Podman does not take"
    largest = __utils__["podman_secrets.largest"]()
    return f"{len(value)} bytes, of which Podman takes {largest}" if len(value) > largest else None


def _effective(name):
    """The value that a secret has, or would have once the run's earlier states have done what they plan."""
    present = __utils__["secret_files.read_exactly"](path(name))
    unwritten = __context__.get(UNWRITTEN, {}).get(name)
    if unwritten is None:
        return present
    source, detail = unwritten
    return _wanted(source, detail, present)


def _delivery(name, value):
    if name not in _podman():
        return {_thing(name): {"old": None, "new": "delivered"}}
    if value is None or not _podman_has(name, value):
        return {_thing(name): {"old": "another value", "new": "delivered"}}
    return {}


def _thing(name):
    return f"podman secret {name}"


def _files(service):
    """The files of a service's secrets, and what a killed run left half made of them."""
    folder = __utils__["secret_files.directory"]()
    start = __utils__["secret_values.prefix"](service)
    return [f"{folder}/{file}" for file in __utils__["secret_files.names"]() if file.startswith((start, f".{start}"))]


def _note(service, kind, changes):
    names = {name for name in (thing.removeprefix("podman secret ") for thing in changes) if not name.startswith("/")}
    __context__.setdefault(PENDING, {})[f"{service} {kind}"] = names


def _podman():
    """Every secret that Podman has, without its value; looked at once a run."""
    if CONTEXT not in __context__:
        __context__[CONTEXT] = __utils__["podman_secrets.read"]()
    return __context__[CONTEXT]


def _podman_has(name, value):
    known = _podman().get(name)
    return known is not None and hmac.compare_digest(known["digest"], __utils__["podman_secrets.digest"](value))


def _deliver(name, value):
    __context__.pop(CONTEXT, None)
    __utils__["podman_secrets.create"](name, value)


def _take_back(names):
    if names:
        __context__.pop(CONTEXT, None)
        __utils__["podman_secrets.remove"](names)
