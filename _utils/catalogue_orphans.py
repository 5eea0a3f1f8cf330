"""
What is left of services on a host, sorted by whose it was.
"""


def of(found, names, services):
    """
    Return what no entry owns, ``{service: {kind: [names], "way_out": text}}``.

    found
        ``accounts`` as from ``account.list``, ``tenants`` as from
        ``postgres_tenant.list``, ``valkey_users`` as from ``valkey_user.list``,
        names of services in ``sites`` and ``directories``, ``secrets`` named ``SERVICE.SECRET``, ``units`` as
        ``{file: service}``.

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
    for one in found["valkey_users"]:
        add(one["user"], "valkey_user", [one["user"]])
        if one["instance"]:
            add(one["instance"], "valkey_instance", [one["instance"]])
    for kind, listed in (("site", "sites"), ("directory", "directories")):
        for service in found[listed]:
            add(service, kind, [service])
    for file, service in found["units"].items():
        add(service, "units", [file])
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
    return dict(sorted(left.items()))


def _forgotten(tenants, services):
    """Databases of services that go on without them."""
    forgotten = {}
    for name, service in services.items():
        if service["state"] == "absent" or name not in tenants:
            continue
        wanted = service["postgres"]["database"] if service["postgres"] else None
        databases = [one for one in tenants[name]["databases"] if one != wanted]
        if databases:
            forgotten[name] = databases
    return forgotten
