"""
What the kernel says of a network namespace, read for its addresses and ports.
"""

import os
import socket

import pytest
from tree import load

pod_network = load("utils", "pod_network")

FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.89.1.0/24 2 0 2
        +-- 10.89.1.0/29 2 0 2
           |-- 10.89.1.0
              /24 link UNICAST
           |-- 10.89.1.2
              /32 host LOCAL
        |-- 10.89.1.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
Local:
     |-- 10.89.1.2
        /32 host LOCAL
"""
TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   990        0 1 1 0 100 0 0 10 0
   1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   990        0 1 1 0 100 0 0 10 0
   2: 0201590A:1F90 0101590A:C350 01 00000000:00000000 00:00000000 00000000   990        0 1 1 0 100 0 0 10 0
"""
TCP6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
   1: 00000000000000000000000001000000:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
"""


@pytest.fixture
def process(monkeypatch, tmp_path):
    (tmp_path / "7/net").mkdir(parents=True)
    for name, text in (("fib_trie", FIB_TRIE), ("tcp", TCP), ("tcp6", TCP6)):
        (tmp_path / "7/net" / name).write_text(text)
    monkeypatch.setattr(pod_network, "PROC", str(tmp_path))
    return 7


def test_addresses_are_the_pods_own(process):
    assert pod_network.addresses(process) == ["10.89.1.2"]


def test_ports_are_those_that_others_could_reach(process):
    assert pod_network.listening_ports(process) == [80, 8080]


def test_datagrams_that_arrive_where_nobody_listens_are_noticed(monkeypatch):
    """In the namespace of this very process, as far as one may without root."""
    monkeypatch.setattr(pod_network.os, "setns", lambda *_: None, raising=False)
    monkeypatch.setattr(pod_network.os, "CLONE_NEWNET", 0, raising=False)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        deaf = ["127.0.0.1", pod_network.silent_port(os.getpid()), "udp"]
        heard = ["127.0.0.1", listening.getsockname()[1], "udp"]
        attempts = [[os.getpid(), [heard, deaf]], [os.getpid(), []], [0, [deaf]]]  # the last is no process
        assert pod_network.reachable(attempts, 0.5) == [[deaf], [], None]
