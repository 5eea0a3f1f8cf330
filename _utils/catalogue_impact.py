"""
What restarts when something in the catalogue changes, before it is changed.
"""

# Keys that the units of a service do not depend on, and what becomes of a change.
WITHOUT_RESTART = {
    "description": "nothing changes",
    "rollback": "decides what happens the next time that a change does not become healthy",
    "data": "decides what becomes of the data once the service is absent",
    "needs": "decides the order in which services are started",
    "allow_latest": "nothing changes",
    "allow_binds": "nothing changes",
    "init": "runs when the service is started the next time",
    "timers": "from its next start on",
}
# The pod has these, and no container survives it.
OF_THE_POD = ("port", "host_port", "publish", "shm_size", "subnet", "uid", "state")
# What each container sees of the service.
OF_ALL = ("volumes", "binds")
AUTHENTIK = "authentik"
# What a database is told, and the containers are not.
BESIDE = {
    "postgres": ("connection_limit", "extensions", "readonly_roles", "readonly_connection_limit", "locale"),
    "valkey": ("commands", "memory"),
}


def of_service(service, services):
    """
    Return what restarts with a service.

    ``{"restarts": [units], "reloads": [units], "ordered_after": [services], "says": text}``

    service
        Resolved, as are ``services``, a list of all of them.
    """
    return _answer(service, _containers(service), services, "its containers; who needs it is not restarted")


def of_authentik(keys, services):
    """
    Return what restarts with a setting of ``rick:authentik``, as ``of_service`` does.

    keys
        What stands behind ``rick:authentik``.

    services
        As above; Authentik is one of them if the host runs it.
    """
    own = next((one for one in services if one["name"] == AUTHENTIK), None)
    key = keys[0] if keys else None
    if own is None:
        return {"says": "this host runs no Authentik"}
    if key in ("token", "data", "connection_limit"):
        return {"says": "no container is touched"}
    if key == "tls":
        return _answer(own, [], services, "its site", site=True)
    if key == "domain":
        speaking = [one for one in services if one["auth"] and one["auth"]["pattern"] != "forward_auth"]
        restarts = [unit for one in speaking for unit in of_service(one, services)["restarts"]]
        told = "its site, and the pods that speak to it"
        return {**_answer(own, [], services, told, site=True), "restarts": restarts}
    return of_service(own, services)


def of_servers(keys, services):
    """
    Return what restarts with a setting of a PostgreSQL on another host, as ``of_service`` does.

    keys
        What stands behind ``rick:postgresql:servers``: the server's name, and a key.

    services
        As above.
    """
    concerned = [one for one in services if one.get("server") and keys[:1] in ([], [one["server"]["host"]])]
    if keys[1:2] and keys[1] not in ("port", "authority"):
        return {"says": "who makes roles and databases there; no container is touched"}
    restarts = [unit for one in concerned for unit in of_service(one, services)["restarts"]]
    return {"restarts": restarts, "says": "the containers of services with a database there: they are told the way"}


def of_key(path, data, service, services):
    """
    Return what restarts with a key of an entry, as ``of_service`` does.

    path
        The keys that lead to it, for example ``["env", "DATABASE_URL"]``.

    data
        The entry as it was written.

    service, services
        As above.
    """
    key, rest = path[0], path[1:]
    all_ = _containers(service)
    if key in WITHOUT_RESTART:
        return _answer(service, [], services, WITHOUT_RESTART[key])
    if key in OF_THE_POD:
        # The port on the host is what Caddy is told.
        site = bool(service["site"]) and key in ("host_port", "state")
        return _answer(service, all_, services, "the pod, and so all its containers", site)
    if key == "site":
        concerned = _using(("{site.",), data, service) if rest[:1] in ([], ["domains"]) else []
        return _answer(service, concerned, services, "its site", site=True)
    if key == "auth":
        if rest[:1] in ([], ["pattern"]):
            # How the pod finds Authentik, and whether the site asks for a login.
            return _answer(service, all_, services, "the pod, and so all its containers", bool(service["site"]))
        concerned = _using(("{auth.",), data, service)
        return _answer(service, concerned, services, "Authentik is told, and the containers that are told about it")
    if key == "secrets":
        return _answer(service, _consumers(rest[:1], service), services, "the containers that get it")
    if key == "postgres" and rest[:1] == ["host"]:
        return _answer(service, all_, services, "another database, empty, and another way there; the old one is kept")
    if key in BESIDE:
        if rest[:1] and rest[0] in BESIDE[key]:
            return _answer(service, [], services, "the database is told; containers go on")
        concerned = _using((f"{{{key}.",), data, service) if rest else all_
        return _answer(service, concerned, services, "the containers that are told about it")
    if key in OF_ALL:
        if key == "volumes" and rest[1:2] == ["owner"]:
            return _answer(service, [], services, "the directory gets another owner")
        return _answer(service, all_, services, "all containers see it")
    if key == "health":
        return _health(rest, data, service, services)
    if key == "containers":
        named = f"{service['name']}-{rest[0]}.container" if rest else None
        concerned = [one for one in all_ if named in (None, one)]
        return _answer(service, concerned, services, "that container" if rest else "the pod's containers")
    concerned = [one for one in all_ if not _says_itself(path, data, one, service)]
    return _answer(service, concerned, services, "the containers that do not say otherwise themselves")


def _health(rest, data, service, services):
    if rest[:1] == ["timeout"]:
        return _answer(service, [], services, "decides how long a run waits")
    told = data.get("health")
    by_path = rest[:1] == ["path"] or isinstance(told, str) or (isinstance(told, dict) and "path" in told and not rest)
    if by_path:
        # Caddy is told of the path only where a login has to leave it open.
        return _answer(service, [], services, "the run asks there", site=bool((service["site"] or {}).get("login")))
    return _answer(service, _containers(service), services, "the containers, whose check is part of them")


def _answer(service, files, services, says, site=False):
    return {
        "restarts": [f"{file.rpartition('.')[0]}.service" for file in files] if service["state"] == "present" else [],
        "reloads": ["caddy.service"] if site else [],
        "ordered_after": sorted(_needing(service["name"], services)) if files else [],
        "says": says,
    }


def _containers(service):
    return [file for file in service["files"] if file.endswith(".container")]


def _needing(name, services):
    """Who needs a service, and who needs those."""
    found: set[str] = set()
    news = {name}
    while news:
        news = {one["name"] for one in services if news & set(one["needs"])} - found
        found |= news
    return found - {name}


def _using(beginnings, data, service):
    """The containers whose environment has a placeholder that begins so."""
    found = []
    for file in _containers(service):
        texts = [*_environment(data), *_environment(_own(data, file, service))]
        if any(beginning in text for text in texts for beginning in beginnings):
            found.append(file)
    return found


def _environment(data):
    environment = data.get("env")
    return [text for text in environment.values() if isinstance(text, str)] if isinstance(environment, dict) else []


def _own(data, file, service):
    """What an entry says of one container by itself."""
    containers = data.get("containers") or {}
    return containers.get(file.removeprefix(f"{service['name']}-").removesuffix(".container")) or {}


def _says_itself(path, data, file, service):
    own = _own(data, file, service)
    if path[0] != "env":
        return path[0] in own
    return len(path) > 1 and path[1] in (own.get("env") or {})


def _consumers(names, service):
    """The containers that get a secret, as a file or in their environment; without names, those that get any."""
    wanted = {f"{service['name']}.{name}" for name in names}
    values = {
        value["name"]
        for value in service["values"]
        for part in value["parts"]
        if "secret" in part and (not names or part["secret"] in wanted)
    }
    found = []
    for unit in service["units"]:
        given = unit["definition"].get("Container", {}).get("Secret", [])
        have = {one.partition(",")[0] for one in given}
        mounted = {one.partition(",")[0] for one in given if ",type=mount," in one}
        if have & values or (have & wanted if names else mounted):
            found.append(f"{unit['name']}.container")
    return [file for file in found if file in service["files"]]
