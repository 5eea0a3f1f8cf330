"""
The Quadlet units of a service, made from its resolved entry: a network, a pod, its containers.

Least privilege is what an entry gets without asking: the service's own user,
no capabilities, no new privileges, a read-only root, a network of its own, a port on loopback only.
"""

import json

SECRETS = "/var/lib/rick-infra/secrets"
PRIVATE_ROOT = "/run/rick-infra"
# Whom a container may trust, this host's own authority included: the directory here, and where it sees it.
AUTHORITIES = ("/etc/caddy/authorities", "/etc/rick-infra/authorities")
HEALTH_START_PERIOD = 60  # seconds in which a failing check does not count against a container that starts
STOP_MARGIN = 30  # seconds that Podman may take to remove a container, once its stop_timeout is over


def units(entry, service):
    """
    Return the units of a service, in the order in which they build on each other.

    entry
        Complete, as from ``catalogue_schema.complete``.

    service
        Resolved, as from ``catalogue_resolve.resolve``.

    A list of ``{"kind", "name", "definition", "user", "socket_groups"}``, as the states of ``quadlet`` take them.
    """
    if service["state"] == "absent":
        return []
    name = service["name"]
    made = [
        {
            "kind": "network",
            "name": name,
            # strict: apart from Podman's default network, too.
            "definition": {
                "Network": {
                    "NetworkName": name,
                    "Options": "isolate=strict",
                    **({"Subnet": entry["subnet"]} if entry["subnet"] else {}),
                }
            },
        },
        {"kind": "pod", "name": name, "definition": {"Pod": _pod(entry, service), **_order(service)}},
    ]
    for container, about in entry["containers"].items():
        made.append(_container(service, entry, container, about, {}))
    if entry["init"]:
        made.append(_container(service, entry, "init", entry["init"], {"Type": "oneshot"}))
    for timer, about in entry["timers"].items():
        made.append(_container(service, entry, timer, about, {"Type": "oneshot"}, {"StartWithPod": False}))
    return made


def timers(entry, service):
    """
    Return the timers of a service, a list of ``{"name", "schedule", "persistent"}``.
    """
    if service["state"] == "absent":
        return []
    return [
        {"name": f"{service['name']}-{timer}", "schedule": about["schedule"], "persistent": about["persistent"]}
        for timer, about in entry["timers"].items()
    ]


def files(entry, service):
    """
    Return the names of the files whose units run while the service does.
    """
    if service["state"] == "absent":
        return []
    name = service["name"]
    return [f"{name}.network", f"{name}.pod", *(f"{name}-{container}.container" for container in entry["containers"])]


def _order(service):
    """At boot nobody waits as a run does. It is an order only: what is needed need not run for this one to start."""
    return {"Unit": {"After": service["after"]}} if service["after"] else {}


def _pod(entry, service):
    name = service["name"]
    published = [f"127.0.0.1:{service['port']}:{entry['port']}"] if service["port"] else []
    for one in entry["publish"]:
        address = f"[{one['address']}]" if ":" in one["address"] else one["address"]
        published.append(f"{address}:{one['host_port']}:{one['port']}/{one['protocol']}")
    pod = {"PodName": name, "Network": f"{name}.network"}
    if published:
        pod["PublishPort"] = published
    if _asks_authentik(service):
        # By the host's address in the pod's network: where Authentik is, outside may be nobody who knows the name.
        pod["AddHost"] = f"{service['auth']['url'].removeprefix('https://')}:host-gateway"
    if entry["shm_size"]:
        pod["ShmSize"] = entry["shm_size"]
    return pod


def _asks_authentik(service):
    return service["auth"] is not None and service["auth"]["pattern"] != "forward_auth"


def _container(service, entry, container, about, service_section, further=None):
    name = f"{service['name']}-{container}"
    image = about["image"]
    way = service["ways"][container]
    definition = {
        "Container": {
            "ContainerName": name,
            "Pod": f"{service['name']}.pod",
            "Image": image,
            "Pull": "never" if image.startswith("localhost/") else about["pull"],
            **_what_runs(about),
            **_values("Environment", [_variable(*pair) for pair in service["environment"][container].items()]),
            **_values("Secret", _secrets(service, entry, container)),
            **_values("Volume", _volumes(service, entry, way)),
            **_containment(about),
            **_health(about["health"]),
            **_values("PodmanArgs", [*_limits(about["resources"]), *_credentials(service, about)]),
            **(further or {}),
        },
        "Service": {
            **service_section,
            "TimeoutStartSec": about["start_timeout"],
            "TimeoutStopSec": about["stop_timeout"] + STOP_MARGIN,
        },
    }
    return {
        "kind": "container",
        "name": name,
        "definition": definition,
        "user": service["name"] if about["user"] == "service" else None,
        "socket_groups": _socket_groups(service, way),
    }


def _what_runs(about):
    found = {}
    if about["entrypoint"]:
        found["Entrypoint"] = _literal(json.dumps(about["entrypoint"]))
    if about["command"]:
        found["Exec"] = " ".join(map(_word, about["command"]))
    if isinstance(about["user"], int):
        found["User"] = str(about["user"])
    if about["stop_signal"]:
        found["StopSignal"] = about["stop_signal"]
    found["StopTimeout"] = about["stop_timeout"]
    return found


def _containment(about):
    found = {
        "ReadOnly": about["read_only"],
        "NoNewPrivileges": not about["new_privileges"],
        "DropCapability": "all",
        **_values("AddCapability", [one.removeprefix("CAP_") for one in about["capabilities"]]),
    }
    return {**found, **_values("Tmpfs", map(_literal, about["tmpfs"]))}


def _health(health):
    if not health or not health["command"]:
        return {}
    # As a list it needs no shell in the image.
    command = _literal(json.dumps(health["command"]))
    return {
        "HealthCmd": command,
        # Until it has succeeded once it is tried each second: Podman's first try comes before most programs answer, and
        # the run would wait for the second one, an interval later.
        "HealthStartupCmd": command,
        "HealthStartupInterval": "1s",
        "HealthStartupTimeout": f"{health['command_timeout']}s",
        "HealthInterval": f"{health['interval']}s",
        "HealthTimeout": f"{health['command_timeout']}s",
        "HealthRetries": health["retries"],
        "HealthStartPeriod": f"{HEALTH_START_PERIOD}s",
        "Notify": "healthy",
    }


def _limits(resources):
    options = {"memory": "memory", "cpus": "cpus", "pids-limit": "pids"}
    return [f"--{option}={resources[key]}" for option, key in options.items() if resources[key] is not None]


def _credentials(service, about):
    """Not by an image unit: before Podman 5.6 that asks the registry at each boot, and stops the service without it."""
    secret = about["registry_auth"]
    return [f"--authfile={SECRETS}/{service['name']}.{secret}"] if secret else []


def _secrets(service, entry, container):
    name = service["name"]
    mounted = [
        # Whoever runs in the container may read it, whatever its uid there; on the host only root can.
        _quoted(f"{name}.{secret},type=mount,target={about['mount']},mode=0444")
        for secret, about in entry["secrets"].items()
        if about["mount"]
    ]
    own = f"{name}.{container}."
    values = [value["name"] for value in service["values"] if value["name"].startswith(own)]
    return [*mounted, *(f"{value},type=env,target={value.removeprefix(own)}" for value in values)]


def _volumes(service, entry, way):
    name = service["name"]
    found = [
        f"/opt/{name}/{volume}:{_literal(about['path'])}{':ro' if about['read_only'] else ''}"
        for volume, about in entry["volumes"].items()
    ]
    found += [
        f"{_literal(bind['source'])}:{_literal(bind['path'])}{':ro' if bind['read_only'] else ''}"
        for bind in entry["binds"]
    ]
    if _asks_authentik(service):
        found.append(f"{AUTHORITIES[0]}:{AUTHORITIES[1]}:ro")
    if service.get("server"):
        # The file alone: what lies beside it on the host is nobody's business in there.
        found.append(f"{service['server']['authority']}:{service['server']['seen_as']}:ro")
    if way == "private":
        return [*found, f"{PRIVATE_ROOT}/{name}:{PRIVATE_ROOT}/{name}:ro"]
    if way == "group":
        directories = ["/run/postgresql"] if service["postgres"] and not service.get("server") else []
        directories += [service["valkey"]["directory"]] if service["valkey"] else []
        found += [f"{directory}:{directory}:ro" for directory in directories]
    return found


def _socket_groups(service, way):
    if way != "group":
        return []
    # An instance of Valkey belongs to the service's own group, which its containers have anyway.
    return list(service["account"]["groups"])


def _values(key, values):
    values = list(values)
    return {key: values} if values else {}


def _variable(name, value):
    # Only plain values come here (catalogue_resolve.PLAIN).
    return _quoted(f"{name}={value}")


def _quoted(word):
    """A word in which a space is all that takes quotes: entries may say no more there (catalogue_schema.MOUNTED)."""
    return f'"{word}"' if " " in word else word


def _literal(text):
    """Text that systemd takes as it is, without specifiers and variables (systemd.unit(5), systemd.service(5))."""
    return text.replace("%", "%%").replace("$", "$$")


def _word(word):
    """A word of a command line as systemd reads it (systemd.syntax(7), Quoting)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    escaped = "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in escaped)
    return f'"{_literal(escaped)}"'
