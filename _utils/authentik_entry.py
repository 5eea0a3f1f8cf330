"""
Authentik as a service of the platform: what ``rick:authentik`` of the pillar means as an entry of the catalogue.

What the releases differ in is decided here, and nowhere else.
"""

import ipaddress
import re
import urllib.parse

NAME = "authentik"
# Its releases, in the order in which its database goes from one to the next; it goes through all of them.
MAJORS = ("2025.2", "2025.4", "2025.6", "2025.8", "2025.10", "2025.12", "2026.2", "2026.5")
VERSION = re.compile(r"20\d\d\.\d{1,2}\.\d{1,3}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
FILE = re.compile(r"/[^\x00-\x1f\x7f-\x9f\"`{}\\]+")
SETTING = re.compile(r"AUTHENTIK_[A-Z0-9_]+")
IMAGE = re.compile(r"(?P<repository>.+?):(?P<version>[^:@/]+)(@sha256:[0-9a-f]{64})?")
SECRETS = ("secret-key", "admin", "api")
DECIDED = {
    "AUTHENTIK_SECRET_KEY",
    "AUTHENTIK_LISTEN__HTTP",
    "AUTHENTIK_LISTEN__METRICS",
    "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS",
    "AUTHENTIK_BOOTSTRAP_PASSWORD",
    "AUTHENTIK_BOOTSTRAP_TOKEN",
    "AUTHENTIK_BOOTSTRAP_EMAIL",
    *(f"AUTHENTIK_POSTGRESQL__{key}" for key in ("HOST", "PORT", "USER", "NAME", "PASSWORD")),
}
# What the two containers of a pod would both want; worker and server are one program.
WORKER_HTTP, WORKER_METRICS = 9001, 9301
READY = "/-/health/ready/"
# Authentik before 2025.10 speaks to its cache over TCP only, and Valkey has none (goauthentik/authentik#5077). So the
# pod gets a way from its own loopback to the socket; the image brings the Python for it.
CACHE_PORT = 6379
CACHE = """\
import asyncio, os
async def copy(source, target):
    try:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()
async def serve(reader, writer):
    try:
        other_reader, other_writer = await asyncio.open_unix_connection(os.environ["VALKEY_SOCKET"])
    except OSError as error:
        print(error, flush=True)
        writer.close()
        return
    await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(os.environ["CACHE_PORT"]))
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""


def problems(settings, installed):
    """
    Return what is wrong with the settings, sentences that begin with their place.

    settings
        ``rick:authentik``, its types checked, with a domain.

    installed
        The image that the host has of it now, with its version; None if it has none.
    """
    found = []
    for key, form, like in (
        ("domain", DOMAIN, "a domain, such as auth.example.org"),
        ("version", VERSION, "a release, such as 2026.2.2"),
        ("digest", DIGEST, "the digest of an image, sha256: and 64 hexadecimal digits"),
    ):
        value = settings[key]
        if value is not None and not form.fullmatch(value):
            found.append(f"rick:authentik:{key}: {value!r} is not {like}")
    found += [*_tls(settings["tls"]), *_subnet(settings["subnet"]), *_env(settings["env"])]
    found += [
        f"rick:authentik:secrets:{name}: the tree makes that one" for name in settings["secrets"] if name in SECRETS
    ]
    place = urllib.parse.urlsplit(settings["url"])
    if place.scheme != "http" or place.hostname != "127.0.0.1" or not place.port:
        found.append(
            f"rick:authentik:url: {settings['url']} is not this host's loopback, http://127.0.0.1:PORT, but with "
            "rick:authentik:domain this host runs Authentik"
        )
    return found or _version(settings["version"], installed)


def entry(settings):
    """
    Return the entry of the service, as a file of the catalogue would have it.

    settings
        As for ``problems``, without any.
    """
    version = settings["version"]
    with_cache, with_data = not _since(version, "2025.10"), _since(version, "2025.12")
    digest = f"@{settings['digest']}" if settings["digest"] else ""
    return {
        "description": "Single sign-on",
        "state": settings["state"],
        "data": settings["data"],
        "image": f"{settings['image']}:{version}{digest}",
        "port": 9000,
        "host_port": urllib.parse.urlsplit(settings["url"]).port,
        "subnet": settings["subnet"],
        # Its first start makes the database's tables and the default flows.
        "health": {"path": READY, "timeout": "10min"},
        "start_timeout": "10min",
        "stop_timeout": "30s",
        "site": {"domains": [settings["domain"]], "tls": settings["tls"]},
        "postgres": {"connection_limit": settings["connection_limit"]},
        **({"valkey": "instance"} if with_cache else {}),
        "secrets": {
            "secret-key": {"length": 60, "alphabet": "alphanumeric"},
            "admin": {"length": 32, "alphabet": "alphanumeric"},
            "api": {"length": 60, "alphabet": "alphanumeric"},
            **settings["secrets"],
        },
        "volumes": {
            **({"data": "/data"} if with_data else {}),
            "media": "/data/media" if with_data else "/media",
            "certs": "/certs",
            "templates": {"path": "/templates", "read_only": True},
            "blueprints": {"path": "/blueprints/custom", "read_only": True},
        },
        "env": {
            "AUTHENTIK_POSTGRESQL__HOST": "{postgres.socket}",
            "AUTHENTIK_POSTGRESQL__USER": "{postgres.user}",
            "AUTHENTIK_POSTGRESQL__NAME": "{postgres.database}",
            "AUTHENTIK_POSTGRESQL__PASSWORD": "",
            "AUTHENTIK_SECRET_KEY": "{secret.secret-key}",
            # Whose word on a client's address and host it takes: Caddy comes by the gateway of the pod's network.
            "AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS": "{service.gateway}/32",
            "AUTHENTIK_DISABLE_UPDATE_CHECK": True,
            "AUTHENTIK_DISABLE_STARTUP_ANALYTICS": True,
            "AUTHENTIK_ERROR_REPORTING__ENABLED": False,
            # In /dev/shm, which the pod shares, each container would find the other's.
            "TMPDIR": "/tmp",  # noqa: S108 - a file system of the container's own
            **(_cache_settings() if with_cache else {}),
            **settings["env"],
        },
        "containers": {
            "server": {"command": ["server"], "health": {"command": _ready(9000)}},
            "worker": {
                "command": ["worker"],
                "health": {"command": _ready(WORKER_HTTP)},
                "env": {
                    "AUTHENTIK_LISTEN__HTTP": f"0.0.0.0:{WORKER_HTTP}",
                    "AUTHENTIK_LISTEN__METRICS": f"0.0.0.0:{WORKER_METRICS}",
                    # Read at the first start only; without a password, the first visitor could set it.
                    "AUTHENTIK_BOOTSTRAP_PASSWORD": "{secret.admin}",
                    **({"AUTHENTIK_BOOTSTRAP_EMAIL": settings["email"]} if settings["email"] else {}),
                    # For the blueprint, salt/authentik/blueprint.yaml.
                    "RICK_INFRA_TOKEN": "{secret.api}",
                },
            },
            **({"cache": _cache()} if with_cache else {}),
        },
    }


def _tls(tls):
    if isinstance(tls, dict):
        if set(tls) != {"certificate", "key"} or not all(
            isinstance(path, str) and FILE.fullmatch(path) for path in tls.values()
        ):
            yield "rick:authentik:tls: an own certificate has a certificate and a key, absolute paths of files"
    elif tls not in ("internal", "acme"):
        yield f"rick:authentik:tls: {tls!r} is neither internal nor acme nor a mapping of certificate and key"


def _subnet(text):
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        yield f"rick:authentik:subnet: {text!r} is not a network, such as 10.89.255.0/29: {error}"
        return
    if subnet.prefixlen > 29:  # gateway, pod, and the two that no network gives away
        yield f"rick:authentik:subnet: {text} is too small for a pod: /29 at least"


def _env(env):
    for key, value in env.items():
        place = f"rick:authentik:env:{key}"
        if not isinstance(key, str) or not SETTING.fullmatch(key):
            yield f"rick:authentik:env: {key!r} is no setting of Authentik, AUTHENTIK_..."
        elif key in DECIDED:
            yield f"{place}: is decided by the tree"
        elif not isinstance(value, (str, int, float)):
            yield f"{place}: {value!r} is not one text, number, true or false"


def _version(version, installed):
    """Why the installed version cannot become this one."""
    wanted = _major(version)
    if _place(wanted) < 0:
        return [f"rick:authentik:version: {version} is older than {MAJORS[0]}, the oldest that this tree knows"]
    found = IMAGE.fullmatch(installed or "")
    if not found or not VERSION.fullmatch(found["version"]) or _major(found["version"]) == wanted:
        return []
    now, then = _place(_major(found["version"])), _place(wanted)
    if then < now:
        return [
            f"rick:authentik:version: {version} is older than {found['version']}, which the database belongs to: "
            "Authentik does not go back; restore the dump from before the upgrade "
            "(docs/guides/authentik-deployment.md)"
        ]
    between = [major for number, major in enumerate(MAJORS) if now < number < then]
    if between:
        way = " -> ".join([*(f"the latest {major}" for major in between), version])
        return [
            f"rick:authentik:version: {found['version']} cannot become {version} at once, since the database goes "
            f"through each release: {way}, one highstate for each"
        ]
    return []


def _major(version):
    return version.rpartition(".")[0]


def _place(major):
    """Where a release comes in their order; one that is not known yet comes after all that are."""
    if major in MAJORS:
        return MAJORS.index(major)
    return len(MAJORS) if _numbers(major) > _numbers(MAJORS[-1]) else -1


def _since(version, major):
    return _numbers(_major(version)) >= _numbers(major)


def _numbers(major):
    return tuple(map(int, major.split(".")))


def _ready(port):
    """Its own health command would answer for whichever of the two containers wrote its file last."""
    ask = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{port}{READY}', timeout=5)"
    return ["python", "-c", ask]


def _cache_settings():
    return {
        "AUTHENTIK_REDIS__HOST": "127.0.0.1",
        "AUTHENTIK_REDIS__PORT": CACHE_PORT,
        "AUTHENTIK_REDIS__USERNAME": "{valkey.user}",
        "AUTHENTIK_REDIS__PASSWORD": "{valkey.password}",
        "AUTHENTIK_REDIS__DB": 0,
    }


def _cache():
    return {
        "entrypoint": ["python", "-u", "-c", CACHE],
        "env": {"VALKEY_SOCKET": "{valkey.socket}", "CACHE_PORT": CACHE_PORT},
        "health": {
            "command": ["python", "-c", f"import socket; socket.create_connection(('127.0.0.1', {CACHE_PORT}), 5)"]
        },
    }
