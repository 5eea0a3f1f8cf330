"""
What a service's name may be, and what on the host is called after it.

A service's name becomes a user, a group, units, Podman's objects, a role, a
database and a user of Valkey, so it has to fit them all.
"""

import re

LONGEST = 31  # characters; useradd(8) takes 32, tools that show users fewer
GECOS = "rick-infra service {}"
# What a unit of a service says in its file: a label, a section's key for images, a timer's first line.
MARKS = ("rick-infra.service={}", "Service={}", "(pod.declared) for service {}")

# fmt: off
# base-passwd, and what daemons and udev make
DEBIAN = (
    "root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy", "www-data", "backup",
    "list", "irc", "nobody", "nogroup", "adm", "tty", "disk", "kmem", "dialout", "fax", "voice", "cdrom", "floppy",
    "tape", "sudo", "audio", "dip", "operator", "src", "shadow", "utmp", "video", "sasl", "plugdev", "staff", "users",
    "messagebus", "sshd", "polkitd", "crontab", "input", "render", "sgx", "kvm", "netdev", "ssl-cert",
)
# fmt: on
# And what the tree and its parts are called on every host.
RESERVED = {
    **dict.fromkeys(DEBIAN, "Debian has a user or group of that name"),
    **dict.fromkeys(("postgres", "template0", "template1"), "PostgreSQL's own"),
    **dict.fromkeys(("public", "none", "user"), "a word of PostgreSQL's"),
    **dict.fromkeys(("valkey", "default"), "Valkey's own"),
    **dict.fromkeys(("caddy", "podman", "salt"), "a part of the infrastructure"),
    **dict.fromkeys(("postgres-clients", "valkey-clients"), "a client group"),
    "scram-clients": "the role of those who have a password in PostgreSQL",
    # podman-network-create(1) refuses what is also a mode of a network.
    **dict.fromkeys(
        ("host", "bridge", "private", "container", "ns", "pasta", "slirp4netns"), "a word for networks of Podman's"
    ),
}
RESERVED_BEGINNINGS = {
    "pg_": "PostgreSQL keeps roles that begin so to itself",
    "systemd-": "systemd's users and units begin so",
    "rick-": "the tree's own units begin so",
}


def problem(name):
    """
    Return why a service may not have a name, None if it may.
    """
    for beginning, reason in RESERVED_BEGINNINGS.items():
        if str(name).startswith(beginning):
            return f"it begins with {beginning}: {reason}"
    if not isinstance(name, str) or not re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name):
        return (
            "users, units, roles and ACL users take lower-case letters, digits and dashes, beginning with a letter "
            "and not ending with a dash"
        )
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, and the name of a user has {LONGEST} at most"
    if name in RESERVED:
        return f"it is taken: {RESERVED[name]}"
    return None


def claims(name, entry):
    """
    Return the names that a service takes on the host, a list of ``[name, path]`` with the place in the entry.

    A unit has its suffix; without one it is the name of a pod or container, which Podman does not tell apart.
    """
    if entry["state"] == "absent":
        return []
    found: list[list] = [[name, []], [f"{name}-pod.service", []], [f"{name}-network.service", []]]
    parts = [
        (part, [] if entry["single"] else ["containers", part], about) for part, about in entry["containers"].items()
    ]
    parts += [("init", ["init"], entry["init"])] if entry["init"] else []
    parts += [(part, ["timers", part], about) for part, about in entry["timers"].items()]
    for part, path, about in parts:
        found += [[f"{name}-{part}", path], [f"{name}-{part}.service", path]]
        # What has to be fetched with credentials has a unit for that.
        found += [[f"{name}-{part}-image.service", path]] if about["registry_auth"] else []
    return found + [[f"{name}-{timer}.timer", ["timers", timer]] for timer in entry["timers"]]


def foreign(services, host):
    """
    Return what on the host has a service's name and is not the service's, as sentences.

    services
        ``{name: {"uid": number or None, "claims": as from claims}}``.

    host
        ``{"users": {name: (uid, gecos)}, "groups": [names], "units": {unit: (path, text)}}``.
    """
    found = []
    owners = {uid: user for user, (uid, _) in host["users"].items()}
    for name, about in services.items():
        place = f"rick:services:{name}"
        uid, gecos = host["users"].get(name, (None, None))
        if gecos is not None and gecos.split(",")[0] != GECOS.format(name):
            found.append(f"{place}: user {name} (uid {uid}) exists on this host and is no service's; take another name")
        elif gecos is None and name in host["groups"]:
            found.append(f"{place}: group {name} exists on this host and is no service's; take another name")
        owner = owners.get(about["uid"])
        if about["uid"] is not None and owner not in (None, name):
            found.append(f"{place}:uid: {about['uid']} is the uid of user {owner} on this host")
        for unit, path in about["claims"]:
            where, text = host["units"].get(unit, (None, None))
            if where and not _is_ours(text, name):
                at = ":".join([place, *map(str, path)])
                found.append(f"{at}: unit {unit} exists on this host ({where}) and is not of this service")
    return found


def _is_ours(text, name):
    return any(re.search(rf"{re.escape(mark.format(name))}(?![a-z0-9-])", text) for mark in MARKS)
