"""
What the states would refuse of an entry that is valid by itself, told before the first of them runs.

Each rule is where it is kept: the functions that states call are given here, since one util cannot import another.
"""

import posixpath

from salt.exceptions import SaltInvocationError


def problems(entry, service, containers, statements, acl_line, opened, doubtful=()):
    """
    Return what is wrong with a service, a list of ``(path, text)`` with a tuple of keys.

    entry
        Complete, as from ``catalogue_schema.complete``.

    service
        Resolved, as from ``catalogue_resolve.resolve``.

    containers
        ``catalogue_checks.containers``.

    statements
        ``caddy_directives.statements``.

    acl_line
        ``valkey_acl.line``.

    opened
        The directories of shared sockets that the source of each bind leads to, ``{path: [directories]}``.

    doubtful
        Paths, as from ``catalogue_errors.judge``. What depends on them is not judged.
    """
    if entry["state"] == "absent":
        return []
    valkey = any(path[0] == "valkey" for path in doubtful)
    # What is not said has a default that may be in the way.
    tmpfs = any("tmpfs" in path for path in doubtful)
    return [
        *(() if valkey or tmpfs else _mounts(entry, service, containers)),
        *_binds(entry, opened),
        *_directives(entry, statements),
        *(() if valkey else _commands(entry, service, acl_line)),
    ]


def schedules(entry):
    """
    Return the calendar events of an entry, a list of ``(path, event)``.
    """
    timers = {} if entry["state"] == "absent" else entry["timers"]
    return [(("timers", timer, "schedule"), about["schedule"]) for timer, about in timers.items()]


def _mounts(entry, service, containers):
    """Two things at one path of a container: Podman refuses some of that, and hides one of the two otherwise."""
    sockets = {}
    if service["postgres"] and not service.get("server"):
        sockets["/run/postgresql"] = "the socket of PostgreSQL"
    if service["valkey"]:
        sockets[service["valkey"]["directory"]] = "the socket of Valkey"
    if sockets:
        sockets[f"/run/rick-infra/{service['name']}"] = "the service's private sockets"
    if service.get("server"):
        sockets[service["server"]["seen_as"]] = "the certificates by which PostgreSQL is known"
    everywhere = [(("volumes", name, "path"), one["path"]) for name, one in entry["volumes"].items()]
    everywhere += [(("binds", number, "path"), one["path"]) for number, one in enumerate(entry["binds"])]
    everywhere += [(("secrets", name, "mount"), one["mount"]) for name, one in entry["secrets"].items() if one["mount"]]
    told = {}
    for path, container in containers(entry):
        inherited = container["tmpfs"] == entry["tmpfs"]
        own = [((*(() if inherited else path), "tmpfs"), one) for one in container["tmpfs"]]
        taken = dict(sockets)
        for place, at in [*own, *everywhere]:
            where = posixpath.normpath(f"/{at.lstrip('/')}")
            if where == "/":
                told[place, where] = "/ is the image itself; name a directory in it"
            elif where in taken:
                told[place, where] = f"{where} is taken by {taken[where]}"
            taken.setdefault(where, ":".join(map(str, place)))
    return [(place, text) for (place, _), text in told.items()]


def _binds(entry, opened):
    for number, bind in enumerate(entry["binds"]):
        reached = opened[bind["source"]]
        if reached:
            text = f"it opens {', '.join(reached)} to the service; say postgres: or valkey: for a way of its own"
            yield ("binds", number, "source"), text


def _directives(entry, statements):
    if entry["site"]:
        try:
            statements("directives", entry["site"]["directives"])
        except SaltInvocationError as error:
            yield ("site", "directives"), str(error).removeprefix("directives: ")


def _commands(entry, service, acl_line):
    for number, rule in enumerate(entry["valkey"]["commands"] if entry["valkey"] else ()):
        try:
            acl_line(service["name"], "", service["valkey"]["prefix"] or None, [rule])
        except SaltInvocationError as error:
            yield ("valkey", "commands", number), str(error).removeprefix(f"valkey user {service['name']}: ")
