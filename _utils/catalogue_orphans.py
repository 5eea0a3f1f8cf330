"""
What is left of services on a host, sorted by whose it was.
"""


def of(found, names, services):
    """
    Return what no entry owns, ``{service: {kind: [names], "way_out": text}}``.

    found
        ``accounts`` as from ``account.list``, ``tenants`` as from
        ``postgres_tenant.list``, ``elsewhere`` the same by server on another host,
        ``dumps`` as from ``postgres_dump.list``,
        ``valkey_users`` as from ``valkey_user.list``, ``valkey_instances`` as from ``valkey_instance.list``,
        ``private_sockets`` as from ``private_socket.list``, names of services in ``sites`` and ``directories``,
        ``secrets`` named ``SERVICE.SECRET``, ``units`` as ``{file: service}``, Quadlet files and timers,
        ``undeclared`` as from ``quadlet_live.undeclared``, ``generations`` as from ``generation.list``.

    names
        The names of all entries.

    services
        The resolved ones by name, empty if the catalogue is wrong.
    """
    left: dict[str, dict] = {}

    def add(service, kind, things):
        if service not in names and things:
            have = left.setdefault(service, {}).setdefault(kind, [])
            have += [thing for thing in things if thing not in have]

    for user, about in found["accounts"].items():
        add(about["service"], "user", [user])
    for service, tenant in found["tenants"].items():
        add(service, "databases", tenant["databases"])
        add(service, "roles", [*tenant["roles"], *tenant["readonly_roles"]])
    for server, tenants in found["elsewhere"].items():
        for service, tenant in tenants.items():
            add(service, "databases", [f"{one} at {server}" for one in tenant["databases"]])
            add(service, "roles", [f"{one} at {server}" for one in [*tenant["roles"], *tenant["readonly_roles"]]])
    for service in found["dumps"]:
        add(service, "dumps", [service])
    for instance in found["valkey_instances"]:
        if instance["declared"]:
            add(instance["name"], "valkey_instance", [instance["name"]])
        if instance["data"]:
            add(instance["name"], "valkey_data", [instance["name"]])
    for one in found["private_sockets"]:
        add(one["name"], "private_sockets", [one["unit"]])
    for one in found["valkey_users"]:
        add(one["user"], "valkey_user", [one["user"]])
        if one["instance"]:
            add(one["instance"], "valkey_instance", [one["instance"]])
    for kind, listed in (("site", "sites"), ("directory", "directories")):
        for service in found[listed]:
            add(service, kind, [service])
    for file, service in found["units"].items():
        add(service, "units", [file])
    for service, objects in found["undeclared"].items():
        add(service, "containers", [one["container"] for one in objects["containers"]])
        add(service, "networks", objects["networks"])
    for service, things in found["generations"].items():
        add(service, "generations", things)
    for secret in found["secrets"]:
        service, dot, _ = secret.partition(".")
        if dot:
            add(service, "secrets", [secret])
    for service, about in left.items():
        about["way_out"] = (
            f"write /etc/rick-infra/services/{service}.yaml with state: absent and data: archive (or delete), "
            "apply the highstate, then remove the file"
        )
    for service, databases in _forgotten(found["tenants"], services).items():
        left[service] = {
            "databases": databases,
            "way_out": "the entry has another database or none; sudo -u postgres dropdb NAME deletes one for good",
        }
    for server, tenants in found["elsewhere"].items():
        for service, databases in _forgotten(tenants, services, server).items():
            also = f"{left[service]['way_out']}; " if service in left else ""
            told = [f"{one} at {server}" for one in databases]
            way_out = (
                f"{also}the entry has another database than that at {server}; dropdb NAME there deletes it for good"
            )
            have = left.get(service, {}).get("databases", [])
            left[service] = {**left.get(service, {}), "databases": [*have, *told], "way_out": way_out}
    for service in _forgotten_data(found["valkey_instances"], services):
        also = f"{left[service]['way_out']}; " if service in left else ""
        way_out = f"{also}the entry has no Valkey of its own any more; rm -r /var/lib/valkey-{service} deletes its data"
        left[service] = {**left.get(service, {}), "valkey_data": [service], "way_out": way_out}
    for service, kinds in _undeclared(found["undeclared"], services):
        also = f"{left[service]['way_out']}; " if service in left else ""
        removed = "podman rm --force NAME removes a container, podman network rm NAME a network"
        way_out = f"{also}the entry has them no more; {removed}"
        left[service] = {**left.get(service, {}), **kinds, "way_out": way_out}
    return dict(sorted(left.items()))


def _forgotten(tenants, services, server=None):
    """Databases of services that go on without them, on this host or at a server elsewhere."""
    forgotten = {}
    for name, service in services.items():
        if service["state"] == "absent" or name not in tenants:
            continue
        postgres = service["postgres"]
        wanted = postgres["database"] if postgres and postgres.get("server") == server else None
        databases = [one for one in tenants[name]["databases"] if one != wanted]
        if databases:
            forgotten[name] = databases
    return forgotten


def _forgotten_data(instances, services):
    """Services that have left a Valkey of their own and go on."""
    for instance in instances:
        service = services.get(instance["name"])
        if not instance["data"] or not service or service["state"] == "absent":
            continue
        if not service["valkey"] or service["valkey"]["isolation"] != "instance":
            yield instance["name"]


def _undeclared(undeclared, services):
    """Containers and networks that services which go on have left. What the entry names gets its file back by a run."""
    for name, objects in undeclared.items():
        service = services.get(name)
        if not service or service["state"] == "absent":
            continue
        known = {unit["name"] for unit in service["units"]}
        containers = [
            one["container"]
            for one in objects["containers"]
            if one["unit"].removesuffix(".service").removesuffix("-pod" if one["infra"] else "") not in known
        ]
        networks = [one for one in objects["networks"] if one not in known]
        kinds = {kind: names for kind, names in (("containers", containers), ("networks", networks)) if names}
        if kinds:
            yield name, kinds
