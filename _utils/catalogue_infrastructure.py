"""
The settings of the infrastructure, ``rick:podman``, ``rick:postgresql`` and so on: checked, and completed with what
is derived from the host.

``catalogue.infrastructure`` asks here and adds nothing.
"""

import difflib
import math
import re
from typing import Any

from salt.exceptions import CommandExecutionError

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
        "servers": dict,
    },
    "valkey": {
        "maxmemory": (int, type(None)),
        "maxmemory_policy": str,
        "appendonly": bool,
        "appendfsync": str,
        "settings": dict,
    },
    "caddy": {
        "email": (str, type(None)),
        "acme_ca": (str, type(None)),
        "acme_ca_root": (str, type(None)),
        "access_log": bool,
        "global_options": str,
    },
    "authentik": {
        "domain": (str, type(None)),
        "version": str,
        "image": str,
        "digest": (str, type(None)),
        "tls": (str, dict),
        "email": (str, type(None)),
        "state": str,
        "data": str,
        "subnet": str,
        "connection_limit": int,
        "env": dict,
        "secrets": dict,
        "url": str,
        "token": str,
    },
}

# What is said of each PostgreSQL outside the host: what it may be, and the default; three dots: there is none.
SERVER: dict[str, tuple[Any, Any]] = {
    "port": (int, 5432),
    "user": (str, ...),
    "password": (dict, ...),
    "database": (str, "postgres"),
    "authority": ((str, type(None)), None),
}
# As in catalogue_schema, where entries name it.
SERVER_NAME = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# What a role or database may be called that others have made, and the path of a file that Podman mounts.
SERVER_FORMS = {
    "user": (re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,62}"), "the name of a role"),
    "database": (re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}"), "the name of a database"),
    "authority": (re.compile(r"/[A-Za-z0-9_.@+/-]+"), "the absolute path of a file, of letters, digits and _.@+-"),
}
# Debian's, which ca-certificates keeps: whom the host trusts, where a server names no authority of its own.
SYSTEM_TRUST = "/etc/ssl/certs/ca-certificates.crt"
MAX_PORT = 65535

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

# What may have several lines.
LINES = {("caddy", "global_options")}

CHOICES = {
    ("authentik", "state"): ("present", "stopped", "absent"),
    ("authentik", "data"): ("keep", "archive", "delete"),
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


# What else there is below ``rick``: the catalogue's, and what a master says of the fleet.
SERVICES = ("services", "services_errors", "only", "fleet")


def components():
    """
    Return the names of the infrastructure's parts.
    """
    return list(SETTINGS)


def keys(component):
    """
    Return the names of a part's settings.
    """
    return list(SETTINGS[component])


def settings(component, pillar, grains):
    """
    Return the settings of a part of the infrastructure, complete with paths and what is derived from the host.

    component
        One of ``components``.

    pillar, grains
        The host's.

    Sizes are MiB. Raises CommandExecutionError that lists every mistake in ``rick:COMPONENT``.
    """
    if component not in SETTINGS:
        raise CommandExecutionError(f"no infrastructure named {component!r}: {_any_of(SETTINGS)}")
    checked = _checked(component, _rick(pillar))
    if component == "postgresql":
        return _postgresql(checked, grains)
    if component == "valkey":
        return _valkey(checked, grains)
    if component == "authentik" and "sso" not in _roles(_rick(pillar)):
        # Of another host: that Authentik is not this one's to run.
        return {**checked, "domain": None}
    return checked


def _rick(pillar):
    rick = pillar.get("rick")
    if not isinstance(rick, dict) or not rick.keys() - set(SERVICES):
        raise CommandExecutionError(
            "the pillar has no rick: the tree's pillar/ is not among pillar_roots, or /etc/rick-infra/pillar/site.sls "
            "overrides all of it (salt-call pillar.items shows what is there)"
        )
    return rick


def _roles(rick):
    """A host by itself may be everything; what a master says of one is the external pillar's, and of its form."""
    fleet = rick.get("fleet")
    return fleet.get("roles", []) if isinstance(fleet, dict) else ["cell", "sso"]


def _unknown_sections(rick):
    """A misspelt section would silently leave every default of the right one in force."""
    known = [*SETTINGS, *SERVICES]
    return [f"rick: unknown setting {key!r}{_did_you_mean(key, known)}" for key in rick if key not in known]


def _checked(section, rick):
    """The section of the pillar, with every mistake in it reported at once."""
    place = f"rick:{section}"
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
        elif isinstance(value, str) and (section, key) not in LINES and not value.isprintable():
            problems.append(f"{place}:{key}: {value!r} is not one line of text")
        elif (section, key) in ENTRIES:
            form, meaning = ENTRIES[section, key]
            wrong = [entry for entry in value if not (isinstance(entry, str) and form.fullmatch(entry))]
            problems += [f"{place}:{key}: {entry!r} is not {meaning}" for entry in wrong]
    further = settings.get("settings")
    if isinstance(further, dict) and "settings" in known:
        problems += _further_problems(section, further)
    if isinstance(settings.get("servers"), dict) and "servers" in known:
        problems += _server_problems(settings["servers"])
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


def _server_problems(servers):
    """What is wrong with what is said of PostgreSQL on other hosts."""
    problems = []
    for name, given in servers.items():
        place = f"rick:postgresql:servers:{name}"
        if not isinstance(name, str) or not SERVER_NAME.fullmatch(name):
            problems.append(f"{place}: {name!r} is not the name of a host, which its certificate is checked against")
        if not isinstance(given, dict):
            problems.append(f"{place}: not a mapping of {', '.join(SERVER)}")
            continue
        problems += [f"{place}: unknown {key!r}{_did_you_mean(key, SERVER)}" for key in given if key not in SERVER]
        for key, (kind, default) in SERVER.items():
            problems += [f"{place}:{key}: {text}" for text in _wrong_of_server(key, given.get(key, default), kind)]
    return problems


def _wrong_of_server(key, value, kind):
    if value is ...:
        yield f"missing; say {_way_of_password() if key == 'password' else 'which role may create roles and databases'}"
    elif key == "password":
        # The value itself is never shown: whoever writes a password here is the one to be told.
        if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= {"pillar", "file"}:
            yield f"is shown by the pillar, so it is not written here; say {_way_of_password()}"
        elif not all(isinstance(one, str) and one and one.isprintable() for one in value.values()):
            yield f"not one line of text; say {_way_of_password()}"
        elif not value.get("file", "/").startswith("/"):
            yield f"file: {value['file']!r} is not an absolute path"
    elif not isinstance(value, kind) or isinstance(value, bool):
        yield f"{value!r} is not {'a number' if kind is int else 'text'}"
    elif key == "port" and not 1 <= value <= MAX_PORT:
        yield f"{value} is not a port"
    elif value is not None and key in SERVER_FORMS and not SERVER_FORMS[key][0].fullmatch(value):
        yield f"{value!r} is not {SERVER_FORMS[key][1]}"


def _way_of_password():
    return "{file: /path} of a file that only root can read, or {pillar: KEY}"


def _servers(given):
    """What is said of each server, complete."""
    defaults = {key: default for key, (_, default) in SERVER.items()}
    found = {name: {**defaults, **about} for name, about in given.items()}
    return {name: {**about, "authority": about["authority"] or SYSTEM_TRUST} for name, about in found.items()}


def _one_line(value):
    if isinstance(value, str):
        return value.isprintable()
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _postgresql(checked, grains):
    codename = grains["oscodename"]
    if codename not in POSTGRESQL_VERSIONS:
        raise CommandExecutionError(
            f"Debian release {codename!r} is not supported: {' or '.join(POSTGRESQL_VERSIONS)} is"
        )
    version = POSTGRESQL_VERSIONS[codename]
    memory = _memory(grains)
    buffers = checked["shared_buffers"] or _between(128, memory // 4, 8192)
    spare = max(memory - buffers, 0)
    configured = {
        "max_connections": checked["max_connections"],
        "shared_buffers": f"{buffers}MB",
        "effective_cache_size": f"{checked['effective_cache_size'] or max(memory // 2, 128)}MB",
        "work_mem": f"{checked['work_mem'] or _between(4, spare // (3 * checked['max_connections']), 64)}MB",
        "maintenance_work_mem": f"{checked['maintenance_work_mem'] or _between(64, buffers // 4, 1024)}MB",
        **checked["settings"],
    }
    return {
        "version": version,
        "unit": f"postgresql@{version}-main.service",
        "config_directory": f"/etc/postgresql/{version}/main",
        "socket": "/run/postgresql/.s.PGSQL.5432",
        "settings": {key: _postgresql_literal(value) for key, value in configured.items()},
        # The files decide these, whatever ALTER SYSTEM says.
        "decided": ["listen_addresses", "unix_socket_directories", "unix_socket_permissions", *configured],
        "servers": _servers(checked["servers"]),
    }


def _postgresql_literal(value):
    """The value as postgresql.conf wants it: quoted, with quotes doubled (config-setting.html)."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value)
    # Numbers too: 1e+20 is none to postgresql.conf unless it is quoted.
    return "'" + str(value).replace("\\", "\\\\").replace("'", "''") + "'"


def _valkey(checked, grains):
    configured = {
        "maxmemory": f"{checked['maxmemory'] or max(_memory(grains) // 8, 64)}mb",
        "maxmemory-policy": checked["maxmemory_policy"],
        "appendonly": checked["appendonly"],
        "appendfsync": checked["appendfsync"],
        **{key.replace("_", "-").lower(): value for key, value in checked["settings"].items()},
    }
    return {
        "unit": "valkey-server.service",
        "socket": "/run/valkey/valkey.sock",
        "settings": {
            key: ("yes" if value else "no") if isinstance(value, bool) else str(value)
            for key, value in configured.items()
        },
    }


def _memory(grains):
    """The host's memory in MiB, rounded down to 64: what the kernel keeps for itself differs from boot to boot."""
    return int(grains["mem_total"]) // 64 * 64


def _between(low, value, high):
    return max(low, min(value, high))


def _any_of(names):
    *others, last = names
    return f"{', '.join(others)} or {last}"


def _did_you_mean(word, known):
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(known)})"


def _raise(problems):
    if problems:
        raise CommandExecutionError("\n".join(problems))
