"""
What pods can reach over the network, tried from inside their own network namespaces.
"""

import contextlib
import errno
import os
import select
import socket
from pathlib import Path

PROC = "/proc"
LISTENING = "0A"  # TCP_LISTEN, as /proc/net/tcp writes it


def addresses(pid):
    """
    Return the IPv4 addresses of a process's network namespace, without loopback, a list of text.
    """
    found = []
    last = ""
    for line in Path(PROC, str(pid), "net/fib_trie").read_text().splitlines():
        words = line.split()
        if words[0] in ("|--", "+--"):
            last = words[1]
        elif words[0] == "/32" and words[1:] == ["host", "LOCAL"] and not last.startswith("127."):
            found.append(last)
    return sorted(set(found))


def listening_ports(pid):
    """
    Return the TCP ports on which something listens in a process's network namespace, beyond loopback.
    """
    ports = set()
    for name in ("tcp", "tcp6"):
        for line in Path(PROC, str(pid), "net", name).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, port = local.rpartition(":")
            if state == LISTENING and address not in ("0100007F", "00000000000000000000000001000000"):
                ports.add(int(port, 16))
    return sorted(ports)


def silent_port(pid):
    """
    Return a UDP port on which nobody listens in a process's network namespace.

    The kernel itself answers there. So whether datagrams arrive can be told without anybody's help.
    """
    taken = set()
    for name in ("udp", "udp6"):
        for line in Path(PROC, str(pid), "net", name).read_text().splitlines()[1:]:
            taken.add(int(line.split()[1].rpartition(":")[2], 16))
    return next(port for port in range(1, 65536) if port not in taken)


def reachable(attempts, timeout):
    """
    Return which of some addresses can be reached from the network namespaces of processes: a TCP port that accepts a
    connection, a UDP port that is known to be closed and says so.

    Changes the namespace of the calling thread for good: for a process of its own only (``run_as.call("root", …)``).

    attempts
        A list of ``[pid, targets]``; targets are a list of ``[address, port, protocol]``, protocol is ``tcp`` or
        ``udp`` (see ``silent_port``).

    timeout
        Seconds for all of them together; a packet that is dropped gets no answer.

    A list with the targets that were reached, for each attempt; None in the place of a process that has ended.
    """
    found: list[list | None] = []
    waiting = {}
    with contextlib.ExitStack() as stack:
        for pid, targets in attempts:
            try:
                _enter(pid)
            except FileNotFoundError:
                found.append(None)
                continue
            reached: list = []
            found.append(reached)
            for target in targets:
                client = stack.enter_context(_client(*target))
                waiting[client.fileno()] = (client, target, reached)
        _await(waiting, timeout)
    return found


def _enter(pid):
    with open(f"{PROC}/{pid}/ns/net") as namespace:  # noqa: PTH123 - a handle for setns(2), nothing is read
        os.setns(namespace.fileno(), os.CLONE_NEWNET)  # type: ignore[attr-defined] # since Python 3.12, as hosts have


def _client(address, port, protocol):
    """A socket that is on its way, from the namespace that was entered last; it stays there."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    client = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK)
    client.connect_ex((address, port))
    if protocol == "udp":
        with contextlib.suppress(OSError):  # no way there at all
            client.send(b"")
    return client


def _await(waiting, timeout):
    poll = select.poll()
    for descriptor, (_, target, _) in waiting.items():
        poll.register(descriptor, select.POLLOUT if target[2] == "tcp" else select.POLLERR)
    left = len(waiting)
    while left:
        events = poll.poll(timeout * 1000)
        if not events:
            break  # nothing has answered for that long
        for descriptor, _ in events:
            client, target, reached = waiting[descriptor]
            arrived = 0 if target[2] == "tcp" else errno.ECONNREFUSED
            if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == arrived:
                reached.append(target)
            poll.unregister(descriptor)
            left -= 1
