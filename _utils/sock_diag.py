"""
The listening Unix sockets of this network namespace, as the kernel knows them.

``/proc/net/unix`` shows the path a socket was bound under, which may be a
link's (``/var/run`` for ``/run``) or that of a socket which has been replaced
since. The kernel's sock_diag(7) also says which file each socket is, so what
is asked for can be compared with what is really there.
"""

import errno
import os
import socket
import struct

from salt.exceptions import CommandExecutionError

# linux/sock_diag.h, linux/unix_diag.h, linux/netlink.h
NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
NLMSG_ERROR = 2
NLMSG_DONE = 3
UDIAG_SHOW_VFS = 0x2
UNIX_DIAG_VFS = 1
LISTENING = 1 << 10  # TCP_LISTEN, which Unix sockets share
ANY_COOKIE = 0xFFFFFFFF

HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
REQUEST = struct.Struct("=BBHIIIII")  # unix_diag_req: family, protocol, padding, states, inode, show, cookie
ANSWER = struct.Struct("=BBBBIII")  # unix_diag_msg: family, type, state, padding, inode, cookie
ATTRIBUTE = struct.Struct("=HH")  # nlattr: length, type
PAIR = struct.Struct("=II")  # unix_diag_vfs: inode, device

BUFFER = 1 << 18  # bytes; the kernel fills at most 32 KiB at once, see NLMSG_GOODSIZE


def listening(status):
    """
    Return the socket inodes (as in ``/proc/PID/fd``) that listen on one file, usually one or none.

    status
        The ``os.stat_result`` of the socket file. It must lie on a file system
        whose files carry its own device number: tmpfs, ext4 and xfs do, btrfs
        and overlayfs do not.

    Raises CommandExecutionError if the kernel does not answer.
    """
    # The kernel gives 32 bits of the inode, and the device as it numbers it itself.
    wanted = (status.st_ino & 0xFFFFFFFF, os.major(status.st_dev) << 20 | os.minor(status.st_dev))
    return [inode for inode, file in _dump() if file == wanted]


def _dump():
    """Yield (socket inode, (file inode, device) or None) of each listening Unix socket."""
    request = REQUEST.pack(socket.AF_UNIX, 0, 0, LISTENING, 0, UDIAG_SHOW_VFS, ANY_COOKIE, ANY_COOKIE)
    header = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as link:
        link.sendto(header + request, (0, 0))
        while True:
            for kind, body in _messages(link.recv(BUFFER)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    _refuse(body)
                yield _parse(body)


def _messages(data):
    offset = 0
    while offset < len(data):
        length, kind, *_ = HEADER.unpack_from(data, offset)
        yield kind, data[offset + HEADER.size : offset + length]
        offset += _aligned(length)


def _parse(body):
    inode = ANSWER.unpack_from(body)[4]
    offset = ANSWER.size
    while offset < len(body):
        length, kind = ATTRIBUTE.unpack_from(body, offset)
        if kind == UNIX_DIAG_VFS:
            return inode, PAIR.unpack_from(body, offset + ATTRIBUTE.size)
        offset += _aligned(length)
    return inode, None


def _aligned(length):
    return (length + 3) & ~3


def _refuse(body):
    code = -struct.unpack_from("=i", body)[0]
    hint = ": load the kernel module unix_diag" if code == errno.ENOENT else ""
    raise CommandExecutionError(f"the kernel does not tell who listens on Unix sockets ({os.strerror(code)}){hint}")
