"""
From an entry of the catalogue to what the states need: names, ports, sockets, and every value of the environment.

Pure functions of the entries and of what is known of the host. What results
is plain data, holds the names of secrets and never their values, and is the
same whenever it is made from the same. The Quadlet units are made of it by ``service_units``.
"""

import difflib
import hashlib
import ipaddress
import re

FIRST_PORT, PORTS = 20000, 10000  # below 32768, where the kernel takes ports for outgoing connections
POSTGRESQL_DIRECTORY = "/run/postgresql"
PRIVATE_ROOT = "/run/rick-infra"
# In a container that speaks to Authentik (service_units.AUTHORITIES): whom it may trust, and this host's own authority.
AUTHORITIES = "/etc/rick-infra/authorities/ca-certificates.crt"
# Where a container sees the certificates by which it knows a PostgreSQL on another host.
UNKNOWN_SERVER = {"port": 5432, "authority": "/dev/null"}  # for the sake of placeholders; no service is made with it
POSTGRES_CA = "/etc/rick-infra/postgres-ca.crt"
GENERATED = {"length": 43, "alphabet": "urlsafe"}  # 256 bits

# A doubled brace takes the meaning away: {{postgres.url}} stays {postgres.url}.
PLACEHOLDER = re.compile(
    r"\{\{(?P<literal>(?:postgres|valkey|secret|service|site|auth)\.[A-Za-z0-9_:-]*)\}\}"
    r"|\{(?P<root>postgres|valkey|secret|service|site|auth)\.(?P<leaf>[A-Za-z0-9_-]*)(?P<url>:url)?\}"
)
# What Environment= carries unchanged (systemd.exec(5), podman-systemd.unit(5)); all else is delivered as a secret.
PLAIN = re.compile(r"(?:[A-Za-z0-9_./:@,+=?&~-]+(?: +[A-Za-z0-9_./:@,+=?&~-]+)*)?")


def resolve(entries, host, doubtful=None):
    """
    Return the resolved services and what is wrong with them.

    entries
        ``{name: entry}``, complete as from ``catalogue_schema.complete``.

    host
        What is known of the host: ``postgresql`` (with the servers on other hosts) and ``valkey`` as from
        ``catalogue.infrastructure``, ``ports`` (``{service: port}``, those that services have now) and, if that is
        known, ``listening`` (the ports of whatever listens; no other service gets one of those), ``sso`` (the
        domain where users log in), ``behind`` (whether edges show its sites) and ``client_secrets`` (the services whose
        client secret comes from the master).

    doubtful
        ``{name: [paths]}``, as from ``catalogue_errors.judge``: a placeholder that may stand for what is
        there is right.

    Returns ``({name: service}, problems)``; problems are sentences that name the service and the place in the pillar.
    """
    problems: list[str] = []
    ports = _ports(entries, host["ports"], host.get("listening", ()))
    services = {}
    for name, entry in entries.items():
        service = _service(name, entry, host, ports.get(name))
        found: list[str] = []
        if service["state"] != "absent" and service.get("server"):
            found += _unknown_server(name, service["server"]["host"], host["postgresql"].get("servers"))
        if service["auth"] and not host.get("sso"):
            found.append(
                "nobody can log in here: say rick:authentik:domain, and this host (in a fleet: the one that fleet.yaml "
                "calls sso) runs Authentik "
                f"(rick:services:{name}:auth)"
            )
        _resolve_containers(entry, service, found, (doubtful or {}).get(name, ()))
        service["after"] = [
            f"{needed}-{container}.service"
            for needed in entry["needs"]
            if needed in entries
            for container in entries[needed]["containers"]
        ]
        problems += [f"service {name}: {problem}" for problem in found]
        services[name] = service
    return services, problems


def _service(name, entry, host, port):
    absent = entry["state"] == "absent"
    # An entry that only says absent still means everything that had the service's name.
    postgres = _postgres(name, entry["postgres"] or ({} if absent else None))
    server = _server(postgres, host["postgresql"].get("servers", {}))
    valkey = _valkey(name, entry["valkey"] or ({} if absent else None), host["valkey"])
    groups = ["postgres-clients"] if _has_socket(postgres) else []
    groups += ["valkey-clients"] if valkey and valkey["isolation"] == "prefix" else []
    site = entry["site"]
    health = entry["health"] or {}
    auth = None if absent else login(name, entry, host.get("sso"))
    return {
        "name": name,
        "state": entry["state"],
        "data": entry["data"],
        "description": entry["description"],
        "needs": entry["needs"],
        "account": {
            "user": name,
            "uid": entry["uid"],
            "home": f"/opt/{name}",
            "groups": [] if absent else groups,
            "directories": [
                {"path": f"/opt/{name}/{volume}", "owner": _owner(name, entry, about), "mode": "0750"}
                for volume, about in entry["volumes"].items()
            ],
        },
        "postgres": postgres,
        # Only where there is one: what runs is known by a digest of all this.
        **({"server": server} if server else {}),
        "valkey": valkey,
        "secrets": _secrets(name, entry, postgres, valkey, auth, host.get("client_secrets", ())),
        "port": port,
        "publish": entry["publish"],
        "health": {
            "url": f"http://127.0.0.1:{port}{health['path']}" if health.get("path") and port else None,
            "timeout": health.get("timeout", 120),
        },
        "site": site
        and {
            **site,
            "upstream": f"127.0.0.1:{port}",
            "health_path": health.get("path"),
            "stopped": entry["state"] == "stopped",
            "login": "login" if auth and auth["pattern"] == "forward_auth" else None,
            # Who comes from outside sees the edge's certificate, not this host's.
            **({"behind_edge": True, "tls": "internal"} if host.get("behind") else {}),
        },
        "auth": auth,
        "rollback": entry["rollback"],
        "images": list(dict.fromkeys(one["image"] for _, one in _containers(entry) if one["image"])),
        # How each container gets in and what it is told; the units are made of these.
        "ways": {},
        "environment": {},
        "values": [],
        "private_sockets": [],
        "daemons": {"postgresql": host["postgresql"]["unit"]},
    }


def _postgres(name, asked):
    if asked is None:
        return None
    scram = asked.get("auth") == "scram"
    return {
        "role": name,
        "database": asked.get("database") or name,
        "locale": asked.get("locale", "C.UTF-8"),
        "extensions": asked.get("extensions", []),
        "connection_limit": asked.get("connection_limit", 20),
        "auth": asked.get("auth", "peer"),
        "secret": f"{name}.postgres" if scram else None,
        "readonly_roles": asked.get("readonly_roles", []),
        "readonly_connection_limit": asked.get("readonly_connection_limit", 5),
        **({"server": asked["host"]} if asked.get("host") else {}),
    }


def _has_socket(postgres):
    """Whether a service's database is this host's, so that a socket leads there."""
    return postgres is not None and "server" not in postgres


def _unknown_server(name, server, servers):
    if servers is None or server in servers:  # None: what is wrong with the settings is told already
        return []
    close = difflib.get_close_matches(server, servers, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return [
        f"nobody here may make a database at {server}{hint}; say rick:postgresql:servers:{server} with user and "
        f"password (rick:services:{name}:postgres:host)"
    ]


def _server(postgres, servers):
    """How the PostgreSQL of another host is reached; None where the database is this host's."""
    if postgres is None or _has_socket(postgres):
        return None
    about = servers.get(postgres["server"], UNKNOWN_SERVER)
    return {"host": postgres["server"], "port": about["port"], "authority": about["authority"], "seen_as": POSTGRES_CA}


def _valkey(name, asked, shared):
    if asked is None:
        return None
    instance = asked.get("isolation") == "instance"
    socket = f"/run/valkey-{name}/valkey.sock" if instance else shared["socket"]
    return {
        "user": name,
        "isolation": asked.get("isolation", "prefix"),
        "prefix": "" if instance else asked.get("prefix") or f"{name}:",
        "commands": asked.get("commands", []),
        "secret": f"{name}.valkey",
        "unit": f"valkey-server@{name}.service" if instance else shared["unit"],
        "directory": socket.rpartition("/")[0],
        "socket": socket,
        "group": name if instance else "valkey-clients",
        "memory": asked.get("memory"),
        "database": asked.get("database", 0),
    }


def login(name, entry, domain):
    """
    Return what Authentik has of a service, and how it is reached; None if nobody logs in.

    name, entry
        The service, and its entry, complete.

    domain
        Where its users log in.
    """
    asked = entry["auth"]
    if asked is None or asked["pattern"] == "none":
        return None
    hosts = [f"https://{one}" for one in entry["site"]["domains"]] if entry["site"] else []
    return {
        **{key: asked[key] for key in ("pattern", "policies", "consent", "lifetime", "client", "scopes")},
        **{key: asked[key] for key in ("offline_access", "claims_in_id_token", "issuer_mode", "sub_mode")},
        **{key: asked[key] for key in ("logout", "logout_uri", "logout_method")},
        "title": asked["title"] or name,
        "groups": [f"{name}_{role}" for role in asked["groups"]],
        "clients": [f"{name}-{client}" for client in asked["clients"]],
        "external_host": hosts[0] if hosts else None,
        "redirect_uris": [host + path for host in hosts for path in asked["redirect_paths"]] + asked["redirect_uris"],
        "secret": f"{name}.auth" if _has_client_secret(asked) else None,
        "url": f"https://{domain}",
    }


def _has_client_secret(asked):
    return asked["pattern"] == "api" or (asked["pattern"] == "oauth2" and asked["client"] == "confidential")


def _owner(name, entry, volume):
    if volume["owner"] is not None:
        return volume["owner"]
    users = {one["user"] for one in entry["containers"].values()}
    only = users.pop() if len(users) == 1 else None
    return only if isinstance(only, int) else name


def _secrets(name, entry, postgres, valkey, auth, shared):
    found = []
    for own, about in entry["secrets"].items():
        source = {key: about[key] for key in ("pillar", "file") if about[key] is not None}
        given = {key: about[key] for key in ("length", "alphabet") if about[key] is not None}
        found.append({"name": f"{name}.{own}", **(source or {"generate": {**GENERATED, **given}})})
    for one in (postgres, valkey, auth):
        if one and one["secret"] and entry["state"] != "absent":
            source = {"pillar": f"secrets:{name}:auth"} if one is auth and name in shared else {"generate": GENERATED}
            found.append({"name": one["secret"], **source})
    return found


def _ports(entries, remembered, listening):
    """
    A port for each service that has one: the fixed one, the one it has now, or one from its name.

    The same name leads to the same port on every host unless it is taken, so even a lost memory seldom moves a service.
    """
    wanted = {name: entry for name, entry in entries.items() if entry["port"] and entry["state"] != "absent"}
    fixed = {name: entry["host_port"] for name, entry in wanted.items() if entry["host_port"]}
    taken = {*fixed.values(), *(one["host_port"] for entry in entries.values() for one in entry["publish"])}
    ports = dict(fixed)
    for name in wanted:
        port = remembered.get(name, 0)
        if name not in ports and FIRST_PORT <= port < FIRST_PORT + PORTS and port not in taken:
            ports[name] = port
            taken.add(port)
    taken.update(listening)
    for name in sorted(wanted.keys() - ports.keys()):
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % PORTS
        while FIRST_PORT + number in taken:
            number = (number + 1) % PORTS
        ports[name] = FIRST_PORT + number
        taken.add(ports[name])
    return ports


def _containers(entry):
    """All containers of an entry: ``(name, container)``."""
    found = list(entry["containers"].items())
    found += [("init", entry["init"])] if entry["init"] else []
    return found + list(entry["timers"].items())


def _place(name, entry, container, *keys):
    """Where the pillar speaks of a container. The only one of a service is declared at the top of its entry."""
    if container in entry["timers"]:
        keys = ("timers", container, *keys)
    elif container == "init":
        keys = ("init", *keys)
    elif not entry["single"]:
        keys = ("containers", container, *keys)
    return f"({':'.join(('rick:services', name, *keys))})"


def _resolve_containers(entry, service, problems, doubtful):
    if service["state"] == "absent":
        return
    name = service["name"]
    for container, about in _containers(entry):
        way, problem = _way(about, service)
        if problem:
            problems.append(f"{container}: {problem} {_place(name, entry, container, 'sockets')}")
        service["ways"][container] = way
        plain = {}
        for variable, text in about["env"].items():
            at = _place(name, entry, container, "env", variable)
            parts, wrong = _parts(text, _known(service, way, entry), doubtful)
            problems += [f"{container}: {one} {at}" for one in wrong]
            if "\0" in text:
                problems.append(f"{container}: no environment can hold a NUL character {at}")
            whole = "".join(part.get("text", "") for part in parts)
            if all("text" in part for part in parts) and PLAIN.fullmatch(whole):
                plain[variable] = whole
            else:
                service["values"].append({"name": f"{name}.{container}.{variable}", "parts": parts})
        service["environment"][container] = plain
    _private_sockets(service)


def _way(container, service):
    """How a container reaches the sockets (group, private, none), and what speaks against what was asked for."""
    if not _has_socket(service["postgres"]) and not service["valkey"]:
        return "none", None
    obstacles = []
    if container["user"] != "service":
        obstacles.append(f"user: {container['user']}")
    if container["capabilities"]:
        obstacles.append(f"capabilities: {', '.join(container['capabilities'])}")
    if container["new_privileges"]:
        obstacles.append("new_privileges: true")
    asked = container["sockets"]
    if asked == "auto":
        return ("private" if obstacles else "group"), None
    if asked == "group" and obstacles:
        return "private", (
            f"sockets: group is refused with {'; '.join(obstacles)}: it could be somebody else to the database; "
            "say sockets: private or auto"
        )
    return asked, None


def _private_sockets(service):
    if "private" not in service["ways"].values():
        return
    if _has_socket(service["postgres"]):
        service["private_sockets"].append(
            {
                "target": f"{POSTGRESQL_DIRECTORY}/.s.PGSQL.5432",
                "user": service["name"],
                "group": "postgres-clients",
                "daemon": service["daemons"]["postgresql"],
            }
        )
    if service["valkey"]:
        valkey = service["valkey"]
        service["private_sockets"].append(
            {
                "target": valkey["socket"],
                "user": service["name"],
                "group": valkey["group"],
                "daemon": valkey["unit"],
            }
        )


def _known(service, way, entry):
    """What each placeholder stands for in a container: a list of parts."""
    name = service["name"]
    known = {
        "secret": {one["name"].partition(".")[2]: [{"secret": one["name"]}] for one in service["secrets"]},
        "service": {
            "name": _text(name),
            "home": _text(service["account"]["home"]),
            **({"gateway": _text(_gateway(entry["subnet"]))} if entry["subnet"] else {}),
            **({"port": _text(entry["port"]), "host_port": _text(service["port"])} if service["port"] else {}),
        },
        "site": {},
        "auth": _known_auth(name, service["auth"]) if service["auth"] else {},
        "postgres": {},
        "valkey": {},
    }
    if service["site"]:
        domain = service["site"]["domains"][0]
        known["site"] = {
            "domain": _text(domain),
            "url": _text(f"https://{domain}"),
            "domains": _text(",".join(service["site"]["domains"])),
        }
    if service.get("server"):
        known["postgres"] = _known_server(service["postgres"], service["server"])
    if way == "none":
        return known
    private = f"{PRIVATE_ROOT}/{name}" if way == "private" else None
    if _has_socket(service["postgres"]):
        known["postgres"] = _known_postgres(service["postgres"], private or POSTGRESQL_DIRECTORY)
    if service["valkey"]:
        known["valkey"] = _known_valkey(service["valkey"], private or service["valkey"]["directory"])
    return known


def _gateway(subnet):
    """The host's address in the network of a pod: the first, as Podman takes it (podman-network-create(1))."""
    return next(ipaddress.ip_network(subnet).hosts())


def _known_auth(name, auth):
    own = f"{auth['url']}/application/o/{name}/"
    everybody = f"{auth['url']}/application/o/"
    known = {
        "url": _text(auth["url"]),
        **{f"group_{group.removeprefix(f'{name}_')}": _text(group) for group in [f"{name}_users", *auth["groups"]]},
    }
    if auth["pattern"] == "forward_auth":
        return {**known, "logout_url": _text(f"{auth['external_host']}/outpost.goauthentik.io/sign_out")}
    known.update(
        client_id=_text(name),
        issuer=_text(own if auth["issuer_mode"] == "per_provider" else f"{auth['url']}/"),
        discovery_url=_text(f"{own}.well-known/openid-configuration"),
        jwks_url=_text(f"{own}jwks/"),
        token_url=_text(f"{everybody}token/"),
        introspection_url=_text(f"{everybody}introspect/"),
        authorize_url=_text(f"{everybody}authorize/"),
        userinfo_url=_text(f"{everybody}userinfo/"),
        logout_url=_text(f"{own}end-session/"),
        ca=_text(AUTHORITIES),
    )
    if auth["secret"]:
        known["client_secret"] = [{"secret": auth["secret"]}]
    return known


def _known_postgres(postgres, directory):
    role, database = postgres["role"], postgres["database"]
    # Named in full: inside the image the uid may have another name, and libpq would take that one for the role.
    password = [{"text": ":"}, {"secret": postgres["secret"], "encode": "url"}] if postgres["secret"] else []
    known = {
        "url": [
            {"text": f"postgresql://{role}"},
            *password,
            {"text": f"@/{database}?host={directory}"},
        ],
        "socket": _text(directory),
        "socket_file": _text(f"{directory}/.s.PGSQL.5432"),
        "user": _text(role),
        "database": _text(database),
    }
    if postgres["secret"]:
        known["password"] = [{"secret": postgres["secret"]}]
    return known


def _known_server(postgres, server):
    role, database, secret = postgres["role"], postgres["database"], postgres["secret"]
    place = f"{server['host']}:{server['port']}"
    checks = f"sslmode=verify-full&sslrootcert={server['seen_as']}"
    return {
        "url": [
            {"text": f"postgresql://{role}:"},
            {"secret": secret, "encode": "url"},
            {"text": f"@{place}/{database}?{checks}"},
        ],
        "host": _text(server["host"]),
        "port": _text(server["port"]),
        "ca": _text(server["seen_as"]),
        "user": _text(role),
        "database": _text(database),
        "password": [{"secret": secret}],
    }


def _known_valkey(valkey, directory):
    socket, number = f"{directory}/valkey.sock", valkey["database"]
    login = [{"text": f"{valkey['user']}:"}, {"secret": valkey["secret"], "encode": "url"}, {"text": "@"}]
    return {
        "url": [{"text": "unix://"}, *login, {"text": f"{socket}?db={number}"}],
        "redis_url": [{"text": "redis://"}, *login, {"text": f"localhost/{number}?unix_socket_path={socket}"}],
        "socket": _text(socket),
        "directory": _text(directory),
        "user": _text(valkey["user"]),
        "password": [{"secret": valkey["secret"]}],
        "prefix": _text(valkey["prefix"]),
        "database": _text(number),
    }


def _text(value):
    return [{"text": str(value)}]


def _parts(text, known, doubtful):
    """A value in parts: text as it is, and references to secrets; and the placeholders that mean nothing."""
    parts: list[dict] = []
    problems = []
    end = 0
    for found in PLACEHOLDER.finditer(text):
        parts.append({"text": text[end : found.start()]})
        end = found.end()
        if found["literal"] is not None:
            parts.append({"text": "{" + found["literal"] + "}"})
            continue
        leaves = known[found["root"]]
        if found["leaf"] not in leaves:
            if not _may_be(found["root"], found["leaf"], doubtful):
                problems.append(_unknown(found, leaves))
            continue
        for part in leaves[found["leaf"]]:
            encoded = {"encode": "url"} if found["url"] and "secret" in part else {}
            parts.append({**part, **encoded})
    parts.append({"text": text[end:]})
    return _merged(parts), problems


def _may_be(root, leaf, doubtful):
    """Whether a placeholder stands for what only a mistake elsewhere in the entry hides."""
    hidden = {path[0] for path in doubtful}
    if root == "secret":
        own = any(path[0] == "secrets" and path[1:2] in ((), (leaf,)) for path in doubtful)
        return own or (leaf in ("postgres", "valkey", "auth") and leaf in hidden)
    if root == "auth":  # its groups have names of the entry's own choice
        return root in hidden
    keys = {"port", "host_port", "subnet"} if root == "service" else {root}
    return leaf in _every_leaf(root) and bool(keys & hidden)


def _every_leaf(root):
    """All that a placeholder may name of what a service can have."""
    service = {
        "name": "",
        "account": {"home": ""},
        "secrets": [],
        "port": 1,
        "site": {"domains": [""]},
        "postgres": _postgres("", {"auth": "scram"}),
        "valkey": _valkey("", {"isolation": "instance"}, None),
        "auth": None,
    }
    elsewhere = {"host": "", "port": 1, "seen_as": ""}
    further = _known_server(service["postgres"], elsewhere) if root == "postgres" else {}
    return {**_known(service, "group", {"port": 1, "subnet": "10.0.0.0/29"})[root], **further}


def _unknown(found, leaves):
    if not leaves:
        missing = {
            "postgres": "this container has no PostgreSQL; say postgres: true",
            "valkey": "this container has no Valkey; say valkey: true",
            "site": "there is no site",
            "auth": "nobody logs in here; say auth: and a pattern",
            "secret": "there are no secrets",
        }.get(found["root"], "there is none")
        hint = missing
    else:
        close = difflib.get_close_matches(found["leaf"], leaves, n=1)
        hint = f"did you mean {{{found['root']}.{close[0]}}}?" if close else f"known: {', '.join(leaves)}"
    return f"{found[0]} stands for nothing ({hint}; as plain text it is written {{{found[0]}}})"


def _merged(parts):
    merged: list[dict] = []
    for part in parts:
        if "text" in part and merged and "text" in merged[-1]:
            merged[-1] = {"text": merged[-1]["text"] + part["text"]}
        elif part != {"text": ""}:
            merged.append(dict(part))
    return merged
