"""
Valkey users of services: each one bound to a prefix of keys and channels, or with an instance for itself.

The ACL file is the only source of users. A change is first tried on a user that
is off, so that the server judges the rules before the file has them; then the
file is replaced as a whole and put into force by ``ACL LOAD``, which takes all
of it or nothing and leaves other users' connections open.

What a prefix does not cover: a user who may ``SCAN`` sees the names (not the
values) of all keys, so SCAN is not among the default rules; ``DBSIZE`` and
``INFO`` speak of everybody; memory and time are shared.

.. code-block:: bash

    salt-call valkey_user.list
    salt-call valkey_user.differences notes
"""

import secrets

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

# What the resolved entry of a service may say of its user; the daemon's part of it is not our business.
KNOWN = (
    "user",
    "isolation",
    "prefix",
    "commands",
    "secret",
    "unit",
    "directory",
    "socket",
    "group",
    "memory",
    "database",
)
ISOLATIONS = ("prefix", "instance")
SERVERS = "valkey.servers"  # what a run keeps of each server: its connection and what it has been told
TIMEOUT = 30  # seconds to try all of other services' keys


def list_():
    """
    Return the users of applications, of every Valkey on this host.

    A list of ``{"user", "instance", "prefix", "file", "server"}``: ``instance``
    is None for the Valkey that all share, ``prefix`` None if the user is not
    bound to exactly one, ``file`` and ``server`` are where it is known (what
    only a running server knows is gone after the next run). A server that
    cannot be asked counts as having what its file has.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.list
    """
    found = []
    for instance in (None, *__utils__["valkey_places.instances"]()):
        server = _server(instance)
        declared = server.declared()
        loaded = server.loaded() if server.state() == "open" else declared
        own = ("default", __utils__["valkey_acl.administrator"]())
        found += [
            {
                "user": user,
                "instance": instance,
                "prefix": __utils__["valkey_acl.prefix"](declared.get(user) or loaded[user]),
                "file": user in declared,
                "server": user in loaded,
            }
            for user in sorted({*declared, *loaded})
            if user not in own
        ]
    return found


def differences(name, user=None):
    """
    Return what would have to change for a service's user to be as declared, ``{}`` if nothing.

    name, user
        As in the state ``valkey_user.present``.

    The keys of the result are ``line`` (the rules in the ACL file),
    ``password`` (in the file, or its secret is missing), ``loaded`` (the
    server has something else than the file) and ``shared`` (the user is in the
    shared Valkey although it has an instance). If the server cannot be asked,
    the file alone decides, because a server that starts reads it.

    Raises SaltInvocationError for rules that cannot be, and
    CommandExecutionError if a file or the server cannot be read, or if the
    prefix overlaps with another user's.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.differences notes
    """
    user = _complete(name, user)
    server, masked = _server(user["instance"]), __utils__["valkey_acl.masked"]
    password = __utils__["secret_files.read"](user["secret_file"])
    # A stand-in of the same form: it lets the rules be checked and cannot be mistaken for a password in use.
    line = _line(name, user, password or secrets.token_urlsafe())
    _refuse_overlap(name, user["prefix"], server)
    declared, changes = server.declared().get(name), {}
    if masked(declared) != masked(line):
        changes["line"] = {"old": masked(declared), "new": masked(line)}
    if declared and __utils__["valkey_acl.hashes"](declared) != __utils__["valkey_acl.hashes"](line):
        changes["password"] = {"old": "another", "new": "as in the secret file"}
    if not changes and server.state() == "open":
        loaded = server.loaded().get(name)
        if masked(loaded) != masked(line):
            changes["loaded"] = {"old": masked(loaded), "new": masked(line)}
        elif loaded != line:
            changes["loaded"] = {"old": "another password", "new": "as in the ACL file"}
    if user["instance"] and name in _server(None).declared():
        changes["shared"] = {"old": "in the shared Valkey too", "new": None}
    return changes


def apply(name, user=None):
    """
    Make a service's user be as declared, in the ACL file and in the server. The server judges the rules first.

    Arguments as in the state ``valkey_user.present``. A secret that is missing
    is made. Other users and open connections stay as they are.

    Raises CommandExecutionError if the server cannot be asked, refuses a rule,
    or understands it differently than it is written; then nothing has changed.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.apply notes '{"commands": ["+scan"]}'
    """
    user = _complete(name, user)
    server = _server(user["instance"])
    password = __utils__["secret_files.read"](user["secret_file"])
    line = _line(name, user, password or secrets.token_urlsafe())
    understood = server.understood(line)
    if understood != line:
        raise CommandExecutionError(
            f"valkey user {name}: the server rewrites the rules; write them as it does: "
            f"{__utils__['valkey_acl.masked'](understood)}"
        )
    if password is None:
        line = _line(name, user, __utils__["secret_files.create"](user["secret_file"]))
    server.change({**server.declared(), name: line})
    if user["instance"] and name in _server(None).declared():
        _remove(_server(None), name)
    return True


def remnants(name, data="keep", prefix=None):
    """
    Return what has to go for a service to have no user in the shared Valkey, ``{}`` if nothing.

    name, data, prefix
        As in the state ``valkey_user.absent``.

    The keys of the result are ``user`` and, unless data are kept, ``keys``. Of
    keys nothing can be said while the server cannot be asked.

    Raises CommandExecutionError if the keys could be another user's, too.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.remnants notes data=delete
    """
    _check_data(name, data)
    server, changes = _server(None), {}
    __utils__["valkey_acl.check_name"](name)
    places = ["file"] if name in server.declared() else []
    state = server.state()
    if state == "open" and name in server.loaded():
        places.append("server")
    if places:
        changes["user"] = {"old": f"in the {' and the '.join(places)}", "new": None}
    prefix = _prefix_of(name, prefix, server)
    if data != "keep" and prefix and state == "open":
        _refuse_overlap(name, prefix, server)
        if __utils__["valkey_archive.has_keys"](server, prefix):
            kept = f"archived below {__utils__['valkey_archive.folder'](name)}" if data == "archive" else None
            changes["keys"] = {"old": f"keys that begin with {prefix}", "new": kept}
    return changes


def to_archive(name, prefix=None):
    """
    Return whether keys of a service would be archived, ``{"keys": {"old", "new"}}``; ``{}`` if this run has done that.

    name, prefix
        As in the state ``valkey_user.absent``.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.to_archive notes
    """
    if __utils__["archives.made"](__context__, name, "keys"):
        return {}
    return {thing: change for thing, change in remnants(name, "archive", prefix).items() if thing == "keys"}


def archive(name, prefix=None):
    """
    Archive a service's keys, prove it, and return the paths of archives: one, or none without keys.

    name, prefix
        As in the state ``valkey_user.absent``. What this run has archived already is not archived again.

    The user is shut out before. The keys stay.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.archive notes
    """
    done = __utils__["archives.made"](__context__, name, "keys")
    if done:
        return [done]
    if not to_archive(name, prefix):
        return []
    server = _server(None)
    _shut_out(server, name)
    file = __utils__["valkey_archive.write"](server, _prefix_of(name, prefix, server), name)
    return [__utils__["archives.note"](__context__, name, "keys", file)]


def remove(name, data="keep", prefix=None):
    """
    Remove a service's user from the shared Valkey, after it has been shut out and its keys are archived or deleted.

    Arguments as in the state ``valkey_user.absent``. Returns the path of the
    archive, None if there is none.

    The line in the ACL file, switched off, stays until the keys are gone: it
    says what prefix they have if the run is killed on the way.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.remove notes data=archive
    """
    left = remnants(name, data, prefix)
    server, files = _server(None), []
    prefix = _prefix_of(name, prefix, server)
    if "keys" in left:
        _shut_out(server, name)
        if data == "archive":
            files = archive(name, prefix)
        __utils__["valkey_archive.delete"](server, prefix)
    if "user" in left:
        _remove(server, name)
    return files[0] if files else None


def restore(name, file, instance=None):
    """
    Bring archived keys back, each with the time it expires at, and return their number.

    Keys that have expired since are left out.

    name
        The service. The archive must be of it.

    file
        Absolute path of the archive, as ``valkey_user.absent`` named it.

    instance
        Name of the instance to restore to. Default: the Valkey that all share.

    Raises CommandExecutionError if the archive is damaged or of another service, or if a key exists already; then
    nothing has been restored.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.restore notes /var/lib/rick-infra/archive/notes/20260101T120000Z-valkey.keys
    """
    return __utils__["valkey_archive.restore"](_server(instance), name, file)


def readable(user, secret_file, keys, socket=None):
    """
    Return those of the keys that a user may read, whether they exist or not: of other services it should be none.

    user
        The system user whose ids open the socket, and the Valkey user of the same name who logs in.

    secret_file
        Where the password is (``secret.path``).

    keys
        List of names of keys.

    socket
        Default: the one that all share.

    Raises CommandExecutionError if the user cannot even log in.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.readable notes /var/lib/rick-infra/secrets/notes.valkey '["wiki:x"]'
    """
    return _as_user(user, secret_file, socket, lambda client: [key for key in keys if client.permits("EXISTS", key)])


def lists_keys(user, secret_file, socket=None):
    """
    Return True if a user may list the names of keys (SCAN), to which the rules for keys do not apply.

    Parameters and errors are those of ``valkey_user.readable``.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_user.lists_keys notes /var/lib/rick-infra/secrets/notes.valkey
    """
    return _as_user(user, secret_file, socket, lambda client: client.permits("SCAN", "0", "MATCH", "*"))


def _as_user(user, secret_file, socket, ask):
    """What ``ask`` returns of a connection that the user's ids open and its password logs in."""
    password = __utils__["secret_files.read"](secret_file)
    if password is None:
        raise CommandExecutionError(f"valkey user {user}: there is no secret file {secret_file}")
    client = __utils__["valkey_server.client"](socket or __utils__["valkey_places.place"]()["socket"], user, password)

    def steps():
        client.open()
        return ask(client)

    return __utils__["run_as.call"](user, steps, TIMEOUT)


def _server(instance):
    place = __utils__["valkey_places.place"](instance)
    tools = {name: __utils__[name] for name in __utils__["valkey_server.tools"]()}
    return __utils__["valkey_server.server"](place, tools, __context__.setdefault(SERVERS, {}))


def _complete(name, user):
    user = dict(user or {})
    unknown = sorted(user.keys() - set(KNOWN))
    if unknown:
        raise SaltInvocationError(f"valkey user {name}: unknown {', '.join(unknown)} (known: {', '.join(KNOWN)})")
    isolation = user.get("isolation", "prefix")
    if isolation not in ISOLATIONS:
        raise SaltInvocationError(f"valkey user {name}: isolation {isolation!r} is not {' or '.join(ISOLATIONS)}")
    if user.get("user", name) != name:
        raise SaltInvocationError(f"valkey user {name}: is called as its service, not {user['user']}")
    secret = user.get("secret") or f"{name}.valkey"
    if "/" in secret or secret.startswith("valkey-administrator"):
        raise SaltInvocationError(f"valkey user {name}: secret {secret!r} is not the name of its own secret")
    instance = isolation == "instance"
    return {
        "instance": name if instance else None,
        "prefix": None if instance else user.get("prefix") or f"{name}:",
        "commands": user.get("commands") or [],
        "secret_file": __utils__["secret_files.path"](secret),
    }


def _line(name, user, password):
    return __utils__["valkey_acl.line"](name, password, user["prefix"], user["commands"])


def _refuse_overlap(name, prefix, server):
    others = prefix and __utils__["valkey_acl.overlapping"](name, prefix, server.declared())
    if others:
        raise CommandExecutionError(
            f"valkey user {name}: keys that begin with {prefix} could be those of {', '.join(others)}, too: "
            "choose another prefix"
        )


def _prefix_of(name, prefix, server):
    """What the user's keys begin with: its line knows it best; an empty prefix is that of an instance."""
    line = server.declared().get(name)
    if line:
        return __utils__["valkey_acl.prefix"](line)
    return f"{name}:" if prefix is None else prefix


def _shut_out(server, name):
    if name in server.declared():
        server.change({**server.declared(), name: __utils__["valkey_acl.off"](server.declared()[name])})
        if name in server.loaded():
            server.ask("CLIENT", "KILL", "USER", name)  # who is logged in stays so, though the user is off


def _remove(server, name):
    server.change({user: line for user, line in server.declared().items() if user != name})


def _check_data(name, data):
    if data not in ("keep", "archive", "delete"):
        raise SaltInvocationError(f"valkey user {name}: data {data!r} is not keep, archive or delete")
