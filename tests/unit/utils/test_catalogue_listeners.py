"""
Who holds a port: sockets are real, whose they are is read in a copy of proc that says what a pod's monitor would.
"""

import contextlib
import os
import socket
from pathlib import Path

import pytest
from tree import load

listeners = load("utils", "catalogue_listeners")


@contextlib.contextmanager
def held(address="127.0.0.1", protocol="tcp", only_6=False):
    """A port that this process holds."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, listeners.KINDS[protocol]) as server:
        if only_6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((address, 0))
        if protocol == "tcp":
            server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def proc(tmp_path):
    """A function that makes a proc in which this process is the only one, and in a unit."""
    (tmp_path / "net").symlink_to("/proc/self/net")

    def make(unit):
        me = tmp_path / str(os.getpid())
        me.mkdir()
        (me / "fd").symlink_to(f"/proc/{os.getpid()}/fd")
        (me / "comm").write_text("conmon\n")
        (me / "cgroup").write_text(f"9:name=systemd:/\n0::/system.slice/{unit}/runtime\n")
        return str(tmp_path)

    return make


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(
    ("address", "wanted", "taken"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),  # noqa: S104 - test data
        ("0.0.0.0", "127.0.0.1", True),  # noqa: S104 - test data
        ("127.0.0.2", "127.0.0.1", False),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
        ("::1", "::1", True),
        ("::", "::1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
    ],
)
def test_a_port_is_taken_by_who_holds_it_at_that_address(proc, protocol, address, wanted, taken):
    with held(address, protocol) as port:
        found = listeners.strangers([(wanted, port, protocol)], ["shop"], proc("nginx.service"))
    assert list(found) == ([(wanted, port, protocol)] if taken else [])


def test_a_port_of_ipv6_alone_is_free_in_ipv4(proc):
    with held("::", only_6=True) as port:
        assert listeners.strangers([("127.0.0.1", port, "tcp")], [], proc("nginx.service")) == {}


def test_the_process_its_unit_and_the_way_out_are_told(proc):
    with held() as port:
        (words,) = listeners.strangers([("127.0.0.1", port, "tcp")], ["shop"], proc("nginx.service")).values()
    assert words == (
        f"conmon (process {os.getpid()} of nginx.service), which is no service of the catalogue; choose another one, "
        "or stop that: systemctl disable --now nginx.service"
    )


@pytest.mark.parametrize("unit", ["session-1.scope", "init"])
def test_what_is_no_units_is_told_by_its_process(proc, unit):
    with held() as port:
        (words,) = listeners.strangers([("127.0.0.1", port, "tcp")], ["shop"], proc(unit)).values()
    assert words.endswith("or stop that")


def test_what_no_process_holds_is_told(tmp_path):
    (tmp_path / "net").symlink_to("/proc/self/net")
    with held() as port:
        (words,) = listeners.strangers([("127.0.0.1", port, "tcp")], ["shop"], str(tmp_path)).values()
    assert "no process" in words


@pytest.mark.parametrize("wanted", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - test data
def test_what_a_services_pod_holds_is_no_strangers_also_if_another_wants_it(proc, wanted):
    with held() as port:
        assert listeners.strangers([(wanted, port, "tcp")], ["shop", "wiki"], proc("wiki-pod.service")) == {}


def test_the_pod_of_a_service_without_an_entry_is_a_stranger(proc):
    with held() as port:
        assert listeners.strangers([("127.0.0.1", port, "tcp")], ["shop"], proc("wiki-pod.service"))


def test_a_port_that_nobody_holds_asks_for_no_process(monkeypatch):
    with held() as port:
        pass
    monkeypatch.setattr(listeners, "_holders", lambda *_: pytest.fail("nobody has to be looked for"))
    assert listeners.strangers([("127.0.0.1", port, "tcp"), ("127.0.0.1", port, "udp")], []) == {}


def test_a_process_that_ends_meanwhile_is_nobody(tmp_path):
    (tmp_path / "1").mkdir()
    assert listeners._inodes(tmp_path / "1") == set()
    assert listeners._text(Path(tmp_path, "1", "comm")) == ""
