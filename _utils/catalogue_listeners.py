"""
Who holds the ports that services want: processes of this host that are none of theirs.

Read from ``/proc`` without a process, and only once the catalogue has changed.
"""

import contextlib
import errno
import ipaddress
import socket
import sys
from pathlib import Path

FAMILIES = {"": socket.AF_INET, "6": socket.AF_INET6}
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
WAITING = {"tcp": "0A", "udp": "07"}  # TCP_LISTEN and TCP_CLOSE, as proc_pid_net(5) shows sockets that wait for anybody
WORD = 4  # bytes; addresses are shown word by word, each in the byte order of the machine
POD = "{}-pod.service"  # Podman's monitor in there holds what the pod publishes


def strangers(wanted, services, processes="/proc"):
    """
    Return who keeps services from what they want to publish, ``{(address, port, protocol): words}``.

    wanted
        ``[(address, port, protocol)]``.

    services
        Names of the services. What their pods hold is theirs to share out: two may swap their ports.

    processes
        Where proc(5) is.
    """
    wanted = list(dict.fromkeys(wanted))
    ports = {(port, protocol) for _, port, protocol in wanted}
    sockets = [one for one in _sockets(processes) if (one["port"], one["protocol"]) in ports]
    if not sockets:
        return {}
    holders = _holders({one["inode"] for one in sockets}, processes)
    own = {POD.format(name) for name in services}
    found = {}
    for address, port, protocol in wanted:
        near = [one for one in sockets if (one["port"], one["protocol"]) == (port, protocol)]
        mine = [one for one in near if holders.get(one["inode"], {}).get("unit") in own]
        if any(one["address"] == ipaddress.ip_address(address) for one in mine):
            continue
        others = [one for one in near if one not in mine and _meet(one["address"], ipaddress.ip_address(address))]
        if others and not _is_free(address, port, protocol):
            found[address, port, protocol] = _words(holders.get(others[0]["inode"]))
    return found


def _sockets(processes):
    """All sockets that wait for connections or datagrams."""
    for protocol in KINDS:
        for version in FAMILIES:
            for line in _text(Path(processes, "net", f"{protocol}{version}")).splitlines()[1:]:
                fields = line.split()
                address, port = fields[1].split(":")
                if fields[3] == WAITING[protocol]:
                    found = {"address": _address(address), "port": int(port, 16)}
                    yield {**found, "protocol": protocol, "inode": fields[9]}


def _address(text):
    words = [int(text[at : at + 2 * WORD], 16) for at in range(0, len(text), 2 * WORD)]
    address = ipaddress.ip_address(b"".join(word.to_bytes(WORD, sys.byteorder) for word in words))
    return getattr(address, "ipv4_mapped", None) or address


def _meet(one, other):
    """Whether two addresses may mean the same: ``::`` is mostly that of IPv4 as well."""
    if one.version == other.version:
        return one == other or one.is_unspecified or other.is_unspecified
    return any(address.version == 6 and address.is_unspecified for address in (one, other))


def _is_free(address, port, protocol):
    """Whether the kernel would give it to somebody, which it knows better than its tables tell."""
    try:
        with socket.socket(FAMILIES["6" if ":" in address else ""], KINDS[protocol]) as probe:
            if protocol == "tcp":  # as Podman does: a connection that is just being closed is in nobody's way
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE
    return True


def _holders(inodes, processes):
    """Which processes hold sockets, ``{inode: {"process", "pid", "unit"}}``."""
    found, left = {}, set(inodes)
    for process in Path(processes).iterdir():
        if not left:
            break
        if process.name.isdigit():
            for inode in left & _inodes(process):
                left.discard(inode)
                found[inode] = {
                    "process": _text(process / "comm").strip(),
                    "pid": process.name,
                    "unit": _unit(_text(process / "cgroup")),
                }
    return found


def _inodes(process):
    found = set()
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    found.add(target.removeprefix("socket:[").removesuffix("]"))
    return found


def _unit(cgroups):
    """The unit that a process belongs to, None outside of all."""
    for line in cgroups.splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            units = [part for part in path.split("/") if part.endswith((".service", ".scope"))]
            return units[-1] if units else None
    return None


def _words(holder):
    if holder is None:
        return "the kernel: no process is seen to hold it; choose another one"
    unit = holder["unit"]
    who = f"{holder['process']} (process {holder['pid']}{f' of {unit}' if unit else ''})"
    stop = f": systemctl disable --now {unit}" if unit and unit.endswith(".service") else ""
    return f"{who}, which is no service of the catalogue; choose another one, or stop that{stop}"


def _text(path):
    """What a file says, nothing if it or its process is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
