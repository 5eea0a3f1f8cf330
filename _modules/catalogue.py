"""
What the pillar declares, checked and complete: the one place that reads ``rick:*``.

States and SLS files ask here and never read a raw pillar key, so that a
mistake is reported once, with its place and the way out, before anything
changes.
"""

import difflib
import ipaddress
import math
import re
from typing import Any

from salt.exceptions import CommandExecutionError

EXAMPLES = ("notes",)

# The PostgreSQL that each supported Debian release ships.
POSTGRESQL_VERSIONS = {"trixie": "17", "forky": "18"}

# Each setting and what it may be. None: derived from the host.
SETTINGS: dict[str, dict[str, Any]] = {
    "podman": {"unqualified_search_registries": list, "remove_rootless": list},
    "postgresql": {
        "max_connections": int,
        "shared_buffers": (int, type(None)),
        "effective_cache_size": (int, type(None)),
        "work_mem": (int, type(None)),
        "maintenance_work_mem": (int, type(None)),
        "settings": dict,
    },
    "valkey": {
        "maxmemory": (int, type(None)),
        "maxmemory_policy": str,
        "appendonly": bool,
        "appendfsync": str,
        "settings": dict,
    },
    "notes": {"listen": str, "port": int},
}

# What the tree decides, because the sockets' protection rests on it.
RESERVED = {
    "postgresql": (
        "listen_addresses",
        "unix_socket_directories",
        "unix_socket_group",
        "unix_socket_permissions",
        "port",
        "hba_file",
        "ident_file",
        "data_directory",
        "config_file",
        "include",
        "include_dir",
        "include_if_exists",
    ),
    "valkey": (
        "port",
        "tls-port",
        "bind",
        "unixsocket",
        "unixsocketperm",
        "unixsocketgroup",
        "aclfile",
        "user",
        "requirepass",
        "include",
        "daemonize",
        "supervised",
        "enable-debug-command",
        "enable-module-command",
        "enable-protected-configs",
    ),
}

# What would show a secret, in the pillar and in the configuration's diff.
SECRETS = {
    "postgresql": ("primary_conninfo",),
    "valkey": ("masterauth", "primaryauth", "masteruser", "primaryuser", "tls-key-file-pass"),
}

# The names that each configuration file can hold at all.
SETTING_NAMES = {
    "postgresql": re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?"),
    "valkey": re.compile(r"[A-Za-z][A-Za-z0-9._-]*"),
}

# What each entry of a list must be.
ENTRIES = {
    ("podman", "unqualified_search_registries"): (
        re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._/-]+)?"),
        "a registry, such as registry.example.org:5000",
    ),
    ("podman", "remove_rootless"): (re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*"), "the name of a user"),
}

CHOICES = {
    ("valkey", "appendfsync"): ("always", "everysec", "no"),
    ("valkey", "maxmemory_policy"): (
        "noeviction",
        "allkeys-lru",
        "allkeys-lfu",
        "allkeys-random",
        "volatile-lru",
        "volatile-lfu",
        "volatile-random",
        "volatile-ttl",
    ),
}


def infrastructure(component):
    """
    Return the settings of a part of the infrastructure, complete with paths and what is derived from the host.

    component
        ``podman``, ``postgresql`` or ``valkey``.

    Sizes are MiB. Raises CommandExecutionError that lists every mistake in
    ``rick:COMPONENT`` of the pillar.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.infrastructure postgresql
    """
    if component not in ("podman", "postgresql", "valkey"):
        raise CommandExecutionError(f"no infrastructure named {component!r}: podman, postgresql or valkey")
    settings = _checked(component)
    if component == "postgresql":
        return _postgresql(settings)
    if component == "valkey":
        return _valkey(settings)
    return settings


def examples():
    """
    Return the names of the example services that the pillar asks for at ``rick:examples``.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.examples
    """
    rick = _rick()
    wanted = rick.get("examples") or []
    if not isinstance(wanted, list):
        raise CommandExecutionError(f"rick:examples: {wanted!r} is not a list; for example [notes]")
    unknown = [name for name in wanted if name not in EXAMPLES]
    _raise(
        _unknown_sections(rick)
        + [f"rick:examples: no example named {name!r}{_did_you_mean(name, EXAMPLES)}" for name in unknown]
    )
    return list(dict.fromkeys(wanted))


def notes():
    """
    Return where the example service notes listens, ``{"listen": address, "port": number}``.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.notes
    """
    settings = _checked("notes")
    problems = []
    try:
        # Podman publishes on an address, not on an interface.
        scoped = "%" in str(ipaddress.ip_address(settings["listen"]))
    except ValueError:
        scoped = True
    if scoped:
        problems.append(f"rick:notes:listen: {settings['listen']!r} is not an IP address")
    if not 0 < settings["port"] < 65536:
        problems.append(f"rick:notes:port: {settings['port']} is not a port (1 to 65535)")
    _raise(problems)
    return settings


def services():
    """
    Return the services of this host, as ``verify`` wants to know them.

    A list of ``{"name", "user", "containers", "groups", "database", "valkey_user", "secret", "health_url"}``:
    ``containers`` are names of ``.container`` files without the suffix, ``groups`` the client groups the service is in.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.services
    """
    return [_notes_service() for name in examples() if name == "notes"]


def _notes_service():
    settings = notes()
    address = ipaddress.ip_address(settings["listen"])
    if address.is_unspecified:
        host = "[::1]" if address.version == 6 else "127.0.0.1"
    else:
        host = f"[{address}]" if address.version == 6 else str(address)
    return {
        "name": "notes",
        "user": "notes",
        "containers": ["notes-web"],
        "groups": ["postgres-clients", "valkey-clients"],
        "database": "notes",
        "valkey_user": "notes",
        "secret": "valkey-notes",
        "health_url": f"http://{host}:{settings['port']}/health",
    }


def _rick():
    pillar = __pillar__.get("rick")
    if not isinstance(pillar, dict):
        raise CommandExecutionError(
            "the pillar has no rick: the tree's pillar/ is not among pillar_roots, or /etc/rick-infra/pillar/site.sls "
            "overrides all of it (salt-call pillar.items shows what is there)"
        )
    return pillar


def _unknown_sections(rick):
    """A misspelt section would silently leave every default of the right one in force."""
    known = [*SETTINGS, "examples"]
    return [f"rick: unknown setting {key!r}{_did_you_mean(key, known)}" for key in rick if key not in known]


def _checked(section):
    """The section of the pillar, with every mistake in it reported at once."""
    place = f"rick:{section}"
    rick = _rick()
    settings = rick.get(section)
    if not isinstance(settings, dict):
        raise CommandExecutionError(f"{place}: {settings!r} is not a mapping of settings")
    known = SETTINGS[section]
    problems = _unknown_sections(rick)
    problems += [f"{place}: unknown setting {key!r}{_did_you_mean(key, known)}" for key in settings if key not in known]
    for key, kind in known.items():
        value = settings.get(key)
        allowed = kind if isinstance(kind, tuple) else (kind,)
        # YAML's true is an int to Python.
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            names = " or ".join("null" if one is type(None) else one.__name__ for one in allowed)
            problems.append(f"{place}:{key}: {value!r} is not {names}")
        elif isinstance(value, int) and not isinstance(value, bool) and value <= 0:
            problems.append(f"{place}:{key}: {value} is not above zero")
        elif (section, key) in CHOICES and value not in CHOICES[section, key]:
            problems.append(f"{place}:{key}: {value!r} is not one of {', '.join(CHOICES[section, key])}")
        elif (section, key) in ENTRIES:
            form, meaning = ENTRIES[section, key]
            wrong = [entry for entry in value if not (isinstance(entry, str) and form.fullmatch(entry))]
            problems += [f"{place}:{key}: {entry!r} is not {meaning}" for entry in wrong]
    further = settings.get("settings")
    if isinstance(further, dict) and "settings" in known:
        problems += _further_problems(section, further)
    _raise(problems)
    return dict(settings)


def _further_problems(section, further):
    """What is wrong with ``settings``, which go to the daemon's own configuration as they are."""
    place = f"rick:{section}:settings"
    problems = []
    own = {key.replace("_", "-"): key for key in SETTINGS[section] if key != "settings"}
    reserved = {key.replace("_", "-") for key in RESERVED[section]}
    secrets = {key.replace("_", "-") for key in SECRETS[section]}
    for key, value in further.items():
        plain = str(key).replace("_", "-").lower()
        if plain in own:
            problems.append(f"{place}: {key} has a place of its own, rick:{section}:{own[plain]}")
        elif plain in reserved:
            problems.append(f"{place}: {key} is decided by the tree, because the socket's protection rests on it")
        elif plain in secrets:
            problems.append(f"{place}: {key} is not accepted, because it would show a secret")
        elif not isinstance(key, str) or not SETTING_NAMES[section].fullmatch(key):
            problems.append(f"{place}: {key!r} is not the name of a setting")
        elif not _one_line(value):
            problems.append(f"{place}:{key}: {value!r} is not one line of text, a number, true or false")
    return problems


def _one_line(value):
    if isinstance(value, str):
        return value.isprintable()
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _postgresql(settings):
    codename = __grains__["oscodename"]
    if codename not in POSTGRESQL_VERSIONS:
        raise CommandExecutionError(
            f"Debian release {codename!r} is not supported: {' or '.join(POSTGRESQL_VERSIONS)} is"
        )
    version = POSTGRESQL_VERSIONS[codename]
    memory = _memory()
    buffers = settings["shared_buffers"] or _between(128, memory // 4, 8192)
    spare = max(memory - buffers, 0)
    configured = {
        "max_connections": settings["max_connections"],
        "shared_buffers": f"{buffers}MB",
        "effective_cache_size": f"{settings['effective_cache_size'] or max(memory // 2, 128)}MB",
        "work_mem": f"{settings['work_mem'] or _between(4, spare // (3 * settings['max_connections']), 64)}MB",
        "maintenance_work_mem": f"{settings['maintenance_work_mem'] or _between(64, buffers // 4, 1024)}MB",
        **settings["settings"],
    }
    return {
        "version": version,
        "unit": f"postgresql@{version}-main.service",
        "config_directory": f"/etc/postgresql/{version}/main",
        "socket": "/run/postgresql/.s.PGSQL.5432",
        "settings": {key: _postgresql_literal(value) for key, value in configured.items()},
        # The files decide these, whatever ALTER SYSTEM says.
        "decided": ["listen_addresses", "unix_socket_directories", "unix_socket_permissions", *configured],
    }


def _postgresql_literal(value):
    """The value as postgresql.conf wants it: quoted, with quotes doubled (config-setting.html)."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value)
    # Numbers too: 1e+20 is none to postgresql.conf unless it is quoted.
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"


def _valkey(settings):
    configured = {
        "maxmemory": f"{settings['maxmemory'] or max(_memory() // 8, 64)}mb",
        "maxmemory-policy": settings["maxmemory_policy"],
        "appendonly": settings["appendonly"],
        "appendfsync": settings["appendfsync"],
        **{key.replace("_", "-").lower(): value for key, value in settings["settings"].items()},
    }
    return {
        "unit": "valkey-server.service",
        "socket": "/run/valkey/valkey.sock",
        "settings": {
            key: ("yes" if value else "no") if isinstance(value, bool) else str(value)
            for key, value in configured.items()
        },
    }


def _memory():
    """The host's memory in MiB, rounded down to 64: what the kernel keeps for itself differs from boot to boot."""
    return int(__grains__["mem_total"]) // 64 * 64


def _between(low, value, high):
    return max(low, min(value, high))


def _did_you_mean(word, known):
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"


def _raise(problems):
    if problems:
        raise CommandExecutionError("\n".join(problems))
