"""
Which socket a file is, asked of the real kernel.
"""

import os
import socket
import struct

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

sock_diag = load("utils", "sock_diag")


@pytest.fixture
def listen():
    """Listen on a path until the test ends."""
    opened = []

    def start(path):
        server = socket.socket(socket.AF_UNIX)
        opened.append(server)
        server.bind(str(path))
        server.listen()
        return server

    yield start
    for server in opened:
        server.close()


def inode(server):
    return os.fstat(server.fileno()).st_ino


def test_the_listening_socket_of_a_file_is_found(listen, tmp_path):
    server = listen(tmp_path / "s")
    assert sock_diag.listening((tmp_path / "s").stat()) == [inode(server)]


def test_a_replaced_socket_of_the_same_path_is_not_found(listen, tmp_path):
    path = tmp_path / "s"
    listen(path)
    # kept, so that the file system does not give its inode to the next one
    path.rename(tmp_path / "old")
    second = listen(path)
    assert sock_diag.listening(path.stat()) == [inode(second)]


def test_nobody_listens_on_what_its_owner_has_closed(listen, tmp_path):
    listen(tmp_path / "s").close()
    assert sock_diag.listening((tmp_path / "s").stat()) == []


def test_a_kernel_without_the_module_is_told_apart_from_a_socket_without_listener():
    body = struct.pack("=i", -2)
    with pytest.raises(CommandExecutionError, match="load the kernel module unix_diag"):
        sock_diag._refuse(body)
