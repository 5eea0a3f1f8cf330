"""
What only all entries of the catalogue together can tell: who wants the same as somebody else, and who needs whom.

Pure functions of complete entries, as from ``catalogue_schema.complete``.
Each problem is a sentence that begins with its place in the pillar.
"""

import difflib
import ipaddress

# Connections of PostgreSQL that services leave to administrators, backups and the tree itself.
RESERVED_CONNECTIONS = 10
INFRASTRUCTURE_PORTS = {80: "Caddy", 443: "Caddy"}
RESERVED_DATABASES = ("postgres", "template0", "template1")
# What postgresql_password and postgres_tenant call theirs.
RESERVED_ROLES = ("scram-clients", "rick-infra-restore")


def problems(entries, names, max_connections, claims, doubtful=None):
    """
    Return what is wrong between the entries.

    entries
        ``{name: entry}``, as far as they could be read.

    names
        All names that are declared, those of entries that could not be read included.

    max_connections
        PostgreSQL's, None if that is not known.

    claims
        ``{name: claims}``, as from ``catalogue_names.claims``.

    doubtful
        ``{name: [paths]}``, as from ``catalogue_errors.judge``.
    """
    present = {name: entry for name, entry in entries.items() if entry["state"] != "absent"}
    # Data that is kept keeps its names.
    kept = {name: entry for name, entry in entries.items() if entry["state"] != "absent" or entry["data"] == "keep"}
    return [
        *_needs(present, entries, names),
        *_cycles(present),
        *_references(present, doubtful or {}),
        *_ports(present),
        *_twice("domain", _domains(present)),
        *_subnets(present),
        *_twice("uid", [(name, ("uid",), entry["uid"]) for name, entry in kept.items() if entry["uid"] is not None]),
        *_databases(kept),
        *_roles(kept, names),
        *_prefixes(kept),
        *_claims(claims),
        *_connections(present, max_connections),
    ]


def order(entries):
    """
    Return the names so that each service comes after those it needs: first all that need none, and so on.

    entries
        ``{name: entry}`` in which every need is met and no cycle is.
    """
    level: dict[str, int] = {}

    def depth(name):
        if name not in level:
            level[name] = 0  # who needs itself, by others or not, is told so elsewhere
            level[name] = 1 + max((depth(needed) for needed in entries[name]["needs"] if needed in entries), default=0)
        return level[name]

    return sorted(entries, key=lambda name: (depth(name), name))


def connections_for_services(max_connections):
    """
    Return how many of PostgreSQL's connections the services may share out among themselves.
    """
    return max_connections - RESERVED_CONNECTIONS


def _at(name, *path):
    return ":".join(["rick:services", str(name), *map(str, path)])


def _needs(present, entries, names):
    for name, entry in present.items():
        for needed in entry["needs"]:
            at = _at(name, "needs")
            if needed == name:
                yield f"{at}: a service cannot need itself"
            elif needed not in names:
                close = difflib.get_close_matches(needed, [str(one) for one in names], n=1)
                yield f"{at}: there is no service {needed!r}{f' (did you mean {close[0]!r}?)' if close else ''}"
            elif needed in entries and entries[needed]["state"] != "present" and entry["state"] == "present":
                yield f"{at}: {needed} is {entries[needed]['state']}; stop this one, too, or do not need it"


def _cycles(present):
    """Each cycle once, at its first name."""
    reported = set()
    for start in present:
        trail = _way_back(start, present)
        if trail and frozenset(trail) not in reported:
            reported.add(frozenset(trail))
            first = trail.index(min(trail))
            around = [*trail[first:], *trail[:first]]
            yield f"{_at(around[0], 'needs')}: {' -> '.join([*around, around[0]])}: none of them could start first"


def _way_back(start, present):
    """The shortest way from a service along its needs to itself, None if there is none."""
    ways, seen = [[start]], set()
    while ways:
        way = ways.pop(0)
        for needed in present[way[-1]]["needs"]:
            if needed == start and len(way) > 1:
                return way
            if needed in present and needed not in seen and needed != start:
                seen.add(needed)
                ways.append([*way, needed])
    return None


def _references(present, doubtful):
    for name, entry in present.items():
        if any(path[0] == "secrets" for path in doubtful.get(name, ())):
            continue
        known = list(entry["secrets"])
        top = entry["registry_auth"]
        places = {() if container["registry_auth"] == top else path: container for path, container in containers(entry)}
        for path, container in places.items():
            wanted = container["registry_auth"]
            if wanted is not None and wanted not in known:
                close = difflib.get_close_matches(wanted, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
                yield f"{_at(name, *path, 'registry_auth')}: there is no secret {wanted!r} ({hint})"


def containers(entry):
    """
    Return every container of an entry with its place, ``(path, container)``; that of an only one is the top.
    """
    if entry["single"]:
        yield (), entry["containers"]["web"]
    else:
        yield from ((("containers", name), one) for name, one in entry["containers"].items())
    if entry["init"]:
        yield ("init",), entry["init"]
    yield from ((("timers", name), one) for name, one in entry["timers"].items())


def published(entries):
    """
    Return what entries publish at a port of their choice, a list of ``(name, path, address, port, protocol)``.
    """
    wanted: list[tuple] = []
    for name, entry in entries.items():
        if entry["host_port"]:
            wanted.append((name, ("host_port",), "127.0.0.1", entry["host_port"], "tcp"))
        wanted += [
            (name, ("publish", number), one["address"], one["host_port"], one["protocol"])
            for number, one in enumerate(entry["publish"])
        ]
    return wanted


def _ports(present):
    wanted = published(present)
    for index, (name, path, address, port, protocol) in enumerate(wanted):
        if port in INFRASTRUCTURE_PORTS:
            yield f"{_at(name, *path)}: port {port} is {INFRASTRUCTURE_PORTS[port]}'s"
        for other, other_path, other_address, other_port, other_protocol in wanted[:index]:
            same = (port, protocol) == (other_port, other_protocol)
            if same and _overlap(address, other_address):
                yield f"{_at(name, *path)}: port {port}/{protocol} is taken by {_at(other, *other_path)}"


def _overlap(one, other):
    """Whether two addresses meet: the same, or one that stands for all."""
    return one == other or any(ipaddress.ip_address(address).is_unspecified for address in (one, other))


def _domains(present):
    for name, entry in present.items():
        if entry["site"]:
            yield from (
                (name, ("site", "domains", number), domain) for number, domain in enumerate(entry["site"]["domains"])
            )


def _subnets(present):
    wanted = [(name, ipaddress.ip_network(entry["subnet"])) for name, entry in present.items() if entry["subnet"]]
    for index, (name, subnet) in enumerate(wanted):
        for other, taken in wanted[:index]:
            if subnet.overlaps(taken):
                yield f"{_at(name, 'subnet')}: {subnet} overlaps with {_at(other, 'subnet')}, {taken}"


def _twice(what, wanted):
    """Those who want what another has already."""
    first = {}
    for name, path, value in wanted:
        if value in first:
            yield f"{_at(name, *path)}: {what} {value} is taken by {_at(*first[value])}"
        else:
            first[value] = (name, *path)


def _databases(kept):
    wanted = []
    for name, entry in kept.items():
        if entry["postgres"]:
            named = entry["postgres"]["database"]
            wanted.append((name, ("postgres", "database") if named else ("postgres",), named or name))
    for server in _places(kept):
        yield from _twice("database", [one for one in wanted if kept[one[0]]["postgres"]["host"] == server])
    for name, path, database in wanted:
        if database in RESERVED_DATABASES:
            yield f"{_at(name, *path)}: database {database} is PostgreSQL's own"


def _roles(kept, names):
    wanted = []
    for name, entry in kept.items():
        for number, role in enumerate(entry["postgres"]["readonly_roles"] if entry["postgres"] else ()):
            path = ("postgres", "readonly_roles", number)
            wanted.append((name, path, role))
            if role in names:
                yield f"{_at(name, *path)}: {role} is the role of service {role}"
            elif role == "postgres" or role.startswith("pg_") or role in ("public", "none"):
                yield f"{_at(name, *path)}: role {role} is PostgreSQL's own"
            elif role in RESERVED_ROLES:
                yield f"{_at(name, *path)}: role {role} belongs to this tree itself; take another name"
    for server in _places(kept):
        yield from _twice("role", [one for one in wanted if kept[one[0]]["postgres"]["host"] == server])


def _places(entries):
    """Where databases are: None for this host, and the servers elsewhere. What is taken at one is free at another."""
    return dict.fromkeys(entry["postgres"]["host"] for entry in entries.values() if entry["postgres"])


def _prefixes(kept):
    wanted = []
    for name, entry in kept.items():
        valkey = entry["valkey"]
        if valkey and valkey["isolation"] == "prefix":
            path = ("valkey", "prefix") if valkey["prefix"] else ("valkey",)
            wanted.append((name, path, valkey["prefix"] or f"{name}:"))
    for name, path, prefix in wanted:
        for other, other_path, other_prefix in wanted:
            if name == other or not prefix.startswith(other_prefix):
                continue
            if prefix != other_prefix:
                yield (
                    f"{_at(name, *path)}: prefix {prefix} begins with that of {_at(other, *other_path)}, "
                    f"{other_prefix}: each could read the other's keys"
                )
            elif name > other:
                yield f"{_at(name, *path)}: prefix {prefix} is taken by {_at(other, *other_path)}"


def _claims(claims):
    """Units and Podman's objects that two services would call the same: a's container worker, and service a-worker."""
    first = {}
    reported = set()
    for name, claimed in claims.items():
        for what, path in claimed:
            if what not in first:
                first[what] = (name, *path)
                continue
            at, other = _at(name, *path), _at(*first[what])
            if (at, other) not in reported:
                reported.add((at, other))
                yield f"{at}: {what} is also what {other} is called on the host; rename one of them"


def _connections(present, max_connections):
    # What a server elsewhere has to share out, and to whom else, nobody knows here.
    own = {name: entry["postgres"] for name, entry in present.items() if entry["postgres"]}
    limits = {name: _limit(postgres) for name, postgres in own.items() if postgres["host"] is None}
    if max_connections is None or not limits:
        return
    total, room = sum(limits.values()), connections_for_services(max_connections)
    if total > room:
        listed = ", ".join(f"{name} {limit}" for name, limit in sorted(limits.items(), key=lambda one: -one[1]))
        yield (
            f"rick:postgresql:max_connections: {max_connections}, of which {RESERVED_CONNECTIONS} are kept for "
            f"administration, but the services may open {total} ({listed}): raise it to "
            f"{total + RESERVED_CONNECTIONS}, or lower postgres:connection_limit of some"
        )


def _limit(postgres):
    """How many connections the roles of a database may have together."""
    return postgres["connection_limit"] + postgres["readonly_connection_limit"] * len(set(postgres["readonly_roles"]))
