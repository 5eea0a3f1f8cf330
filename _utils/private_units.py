"""
The text of a private socket's units and tmpfiles.d file, and what its names may be.
"""

import hashlib
import re

from salt.exceptions import SaltInvocationError

ROOT = "/run/rick-infra"  # 0700: on the host only root gets past it
UNIT_FOLDER = "/etc/systemd/system"
TMPFILES_FOLDER = "/etc/tmpfiles.d"
PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
DIGEST_VARIABLE = "RICK_DEFINITION"
DESCRIPTORS_PER_CONNECTION = 6  # two sockets and two pipes, see systemd's socket-proxyd.c
DESCRIPTORS_SPARE = 64

NAMES = {
    "name": re.compile(r"[a-z][a-z0-9_-]{0,30}"),
    "kind": re.compile(r"[a-z0-9_]+"),  # no dash: the last one in a unit's name is what separates it
    "user": re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}"),
    "group": re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}"),
    "daemon": re.compile(r"[A-Za-z0-9_.@:-]+\.(service|socket|target)"),
}

TMPFILES = """\
# Written by Salt (private_socket.present). Changes made here are undone by the next run.
d {root} 0700 root root - -
d {directory} 0755 root root - -
"""

SOCKET = """\
# Written by Salt (private_socket.present). Changes made here are undone by the next run.
[Unit]
Description=Private socket of {name} to {target}

[Socket]
ListenStream={path}
# Any uid of the one container that has the directory mounted may connect; on the host {root} keeps everybody out.
SocketMode=0666
DirectoryMode=0700
# A proxy that cannot start must not end the socket for good; systemd slows the attempts down (PollLimit).
TriggerLimitIntervalSec=0

[Install]
WantedBy=sockets.target
"""

SERVICE = """\
# Written by Salt (private_socket.present). Changes made here are undone by the next run.
[Unit]
Description=Private socket of {name} to {target}, as user {user}
# Restarting the socket unit restarts this one, which holds the listening socket.
Requires={unit}.socket
After={unit}.socket{after}
{wants}StartLimitIntervalSec=0

[Service]
Type=notify
User={user}
SupplementaryGroups={group}
ExecStart={proxy} --connections-max={connections_max} {target}
LimitNOFILE={descriptors}
UMask=0077
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
PrivateDevices=yes
PrivateIPC=yes
PrivateNetwork=yes
PrivateTmp=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
"""


def root():
    """
    Return the directory that holds the directories of all private sockets.
    """
    return ROOT


def unit_folder():
    """
    Return the folder of the unit files.
    """
    return UNIT_FOLDER


def places(name, target, kind=None):
    """
    Return where the parts of one private socket are.

    The keys are ``unit`` (without suffix), ``kind``, ``directory``, ``path``,
    ``socket_unit``, ``service_unit``, ``tmpfiles`` and ``link`` (what starts
    the socket unit at boot).

    Raises SaltInvocationError for names that cannot be.
    """
    directory, _, basename = target.rpartition("/")
    if kind is None:
        kind = directory.rpartition("/")[2].replace("-", "_")
    _check("name", name)
    _check("kind", kind)
    unit = f"rick-private-{name}-{kind}"
    return {
        "unit": unit,
        "kind": kind,
        "directory": f"{ROOT}/{name}",
        "path": f"{ROOT}/{name}/{basename}",
        "socket_unit": f"{UNIT_FOLDER}/{unit}.socket",
        "service_unit": f"{UNIT_FOLDER}/{unit}.service",
        "tmpfiles": f"{TMPFILES_FOLDER}/{unit}.conf",
        "link": f"{UNIT_FOLDER}/sockets.target.wants/{unit}.socket",
    }


def files(name, target, user, group, daemon=None, kind=None, connections_max=256):
    """
    Return the text of each file of a private socket, ``{path: text}``.

    Parameters and errors are those of the state ``private_socket.present``.
    """
    at = places(name, target, kind)
    _check("user", user)
    _check("group", group)
    if user == "root":
        raise SaltInvocationError(
            f"private socket of {name}: user root would give the container root's rights: name the service's own user"
        )
    if isinstance(connections_max, bool) or not isinstance(connections_max, int) or connections_max < 1:
        raise SaltInvocationError(
            f"private socket of {name}: connections_max {connections_max!r} is not a number above 0"
        )
    daemons = [daemon] if isinstance(daemon, str) else list(daemon or [])
    for unit in daemons:
        _check("daemon", unit)
    values = {
        **at,
        "root": ROOT,
        "name": name,
        "target": target,
        "user": user,
        "group": group,
        "proxy": PROXY,
        "after": "".join(f" {unit}" for unit in daemons),
        # Wants, not Requires: a restart of the daemon must not end the proxy.
        "wants": f"Wants={' '.join(daemons)}\n" if daemons else "",
        "connections_max": connections_max,
        "descriptors": DESCRIPTORS_PER_CONNECTION * connections_max + DESCRIPTORS_SPARE,
    }
    service = SERVICE.format(**values)
    return {
        at["tmpfiles"]: TMPFILES.format(**values),
        at["socket_unit"]: SOCKET.format(**values),
        at["service_unit"]: f"{service}Environment={DIGEST_VARIABLE}={_digest(service)}\n",
    }


def digest(text):
    """
    Return the digest that a service unit's text carries into its process, None if it has none.
    """
    found = re.search(rf"^Environment={DIGEST_VARIABLE}=(\w+)$", text, re.MULTILINE)
    return found and found[1]


def running_digest(environment):
    """
    Return the digest of the definition a process was started with, None without one.

    environment
        The content of ``/proc/PID/environ``.
    """
    prefix = f"{DIGEST_VARIABLE}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry.removeprefix(prefix).decode()
    return None


def _digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check(what, value):
    if not isinstance(value, str) or not NAMES[what].fullmatch(value):
        raise SaltInvocationError(f"private socket: {what} {value!r} is not of the form {NAMES[what].pattern}")
