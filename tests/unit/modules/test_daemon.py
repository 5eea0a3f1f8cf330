"""
Daemons' live facts: what systemd says and how old the process is.
"""

import os
import socket
import time
from types import SimpleNamespace

import psutil
import pytest
from tree import load

daemon = load("modules", "daemon")

UNIT = "valkey-server.service"
RUNNING = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "NeedDaemonReload": "no",
    "DropInPaths": "",
    "ExecMainStartTimestampMonotonic": "1000000",
    "MainPID": "42",
}


@pytest.fixture
def systemd(monkeypatch):
    """What systemd answers, and what it was asked to do."""
    calls = []
    answers = {UNIT: dict(RUNNING)}
    utils = {
        "units.show": lambda units, properties: {
            unit: {key: value for key, value in answers[unit].items() if key in properties} for unit in units
        },
        "units.daemon_reload": lambda: calls.append(("daemon-reload",)),
        "units.act": lambda verb, units: calls.append((verb, *units)),
    }
    monkeypatch.setattr(daemon, "__utils__", utils, raising=False)
    return SimpleNamespace(answer=answers[UNIT], answers=answers, calls=calls)


@pytest.fixture
def drop_in(monkeypatch, tmp_path):
    """A drop-in that counts as one below /etc, written ``age`` seconds after (or, negative, before) the start."""
    # pathlib's own class: only the question whether it lies below /etc is answered for a test's directory.
    monkeypatch.setattr(daemon.Path, "is_relative_to", lambda path, base: str(path).startswith(str(tmp_path / "etc")))
    started = time.monotonic() - 100
    path = tmp_path / "etc/50-rick-infra.conf"
    path.parent.mkdir()

    def write(after_start):
        path.write_text("[Service]\n")
        written = time.time() - time.monotonic() + started + after_start
        os.utime(path, (written, written))
        return {"DropInPaths": f"/usr/lib/x.conf {path}", "ExecMainStartTimestampMonotonic": str(int(started * 1e6))}

    return write


def test_a_running_unit(systemd):
    assert daemon.status([UNIT]) == {
        UNIT: {"loaded": True, "active": True, "enabled": True, "stale_unit": False, "stale_process": False}
    }


def test_a_unit_that_does_not_exist_yet(systemd):
    systemd.answer.update(LoadState="not-found", ActiveState="inactive", UnitFileState="", MainPID="0")
    assert daemon.status([UNIT])[UNIT] == dict.fromkeys(
        ("loaded", "active", "enabled", "stale_unit", "stale_process"), False
    )


@pytest.mark.parametrize(
    ("state", "active"),
    [("active", True), ("reloading", True), ("activating", False), ("deactivating", False), ("failed", False)],
)
def test_only_a_unit_that_is_up_is_active(systemd, state, active):
    systemd.answer["ActiveState"] = state
    assert daemon.status([UNIT])[UNIT]["active"] is active


@pytest.mark.parametrize(
    ("state", "enabled"),
    [
        *((state, True) for state in ("enabled", "enabled-runtime", "static", "indirect", "generated", "alias")),
        *((state, False) for state in ("disabled", "masked", "masked-runtime", "linked", "bad", "")),
    ],
)
def test_enabled_is_what_starts_at_boot(systemd, state, enabled):
    systemd.answer["UnitFileState"] = state
    assert daemon.status([UNIT])[UNIT]["enabled"] is enabled


def test_a_unit_file_newer_than_systemd_s_view_is_stale(systemd):
    systemd.answer["NeedDaemonReload"] = "yes"
    assert daemon.status([UNIT])[UNIT]["stale_unit"] is True


@pytest.mark.parametrize(("after_start", "stale"), [(-50, False), (50, True)])
def test_a_process_older_than_its_drop_in_is_stale(systemd, drop_in, after_start, stale):
    systemd.answer.update(drop_in(after_start))
    assert daemon.status([UNIT])[UNIT]["stale_process"] is stale


def test_a_drop_in_from_the_future_does_not_restart_the_daemon_at_each_run(systemd, drop_in):
    systemd.answer.update(drop_in(86400))
    assert daemon.status([UNIT])[UNIT]["stale_process"] is False


def test_a_drop_in_that_is_gone_is_passed_over(systemd, drop_in, tmp_path):
    systemd.answer.update(drop_in(50))
    (tmp_path / "etc/50-rick-infra.conf").unlink()
    assert daemon.status([UNIT])[UNIT]["stale_process"] is False


def test_a_drop_in_of_a_package_is_the_package_s_business(systemd, tmp_path):
    shipped = tmp_path / "shipped.conf"
    shipped.write_text("")
    systemd.answer.update(DropInPaths=str(shipped), ExecMainStartTimestampMonotonic="1")
    assert daemon.status([UNIT])[UNIT]["stale_process"] is False


@pytest.mark.parametrize("facts", [{"MainPID": "0"}, {"ActiveState": "failed"}])
def test_without_a_process_there_is_no_stale_process(systemd, drop_in, facts):
    systemd.answer.update({**drop_in(50), **facts})
    assert daemon.status([UNIT])[UNIT]["stale_process"] is False


def test_a_unit_that_is_no_service_has_no_process(systemd):
    systemd.answers["x.socket"] = {
        key: value for key, value in RUNNING.items() if "PID" not in key and "Exec" not in key
    }
    assert daemon.status(["x.socket"])["x.socket"]["stale_process"] is False


def test_systemd_reads_its_units_before_anything_is_started(systemd):
    daemon.apply(start=["a.service"], restart=["b.service"], enable=["c.service"])
    assert systemd.calls == [
        ("daemon-reload",),
        ("enable", "c.service"),
        ("restart", "b.service"),
        ("start", "a.service"),
    ]


LISTENER = SimpleNamespace(
    type=socket.SOCK_STREAM,
    status=psutil.CONN_LISTEN,
    pid=42,
    laddr=SimpleNamespace(ip="127.0.0.1", port=6379),
    raddr=(),
)
RECEIVER = SimpleNamespace(**{**vars(LISTENER), "type": socket.SOCK_DGRAM, "status": psutil.CONN_NONE})


@pytest.mark.parametrize(
    ("cgroup", "found"),
    [
        ("0::/system.slice/valkey-server.service\n", True),
        ("0::/system.slice/valkey-server.service/child\n", True),
        ("0::/system.slice/valkey-server.service-of-another\n", False),
        ("0::/system.slice/ssh.service\n", False),
        ("12:pids:/x\n1:name=systemd:/y\n0::/system.slice/valkey-server.service\n", True),
        (None, False),
    ],
)
def test_tcp_listeners_are_those_of_the_unit_s_control_group(monkeypatch, systemd, cgroup, found):
    def read_text(path):
        assert str(path) == "/proc/42/cgroup"
        if cgroup is None:
            raise ProcessLookupError  # ended while we looked
        return cgroup

    systemd.answer["ControlGroup"] = "/system.slice/valkey-server.service"
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [LISTENER])
    monkeypatch.setattr(daemon.Path, "read_text", read_text)
    assert daemon.tcp_listeners(UNIT) == (["127.0.0.1:6379"] if found else [])


@pytest.mark.parametrize(
    ("connections", "found"),
    [
        ([LISTENER, RECEIVER, LISTENER], [["127.0.0.1", 6379, "tcp"], ["127.0.0.1", 6379, "udp"]]),
        ([SimpleNamespace(**{**vars(RECEIVER), "raddr": ("127.0.0.1", 53)})], []),  # which asks somebody
    ],
)
def test_bound_is_what_listens_and_what_receives(monkeypatch, systemd, connections, found):
    systemd.answer["ControlGroup"] = "/system.slice/notes-pod.service"
    monkeypatch.setattr(psutil, "net_connections", lambda kind: connections)
    monkeypatch.setattr(daemon.Path, "read_text", lambda path: "0::/system.slice/notes-pod.service\n")
    assert daemon.bound(UNIT) == found


@pytest.mark.parametrize("change", [{"status": psutil.CONN_ESTABLISHED}, {"pid": None}])
def test_what_does_not_listen_or_is_nobody_s_is_passed_over(monkeypatch, systemd, change):
    systemd.answer["ControlGroup"] = "/system.slice/valkey-server.service"
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [SimpleNamespace(**{**vars(LISTENER), **change})])
    monkeypatch.setattr(daemon.Path, "read_text", lambda path: "0::/system.slice/valkey-server.service\n")
    assert daemon.tcp_listeners(UNIT) == []


def test_a_unit_that_is_off_has_no_tcp_listeners(monkeypatch, systemd):
    systemd.answer["ControlGroup"] = ""
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [LISTENER])
    assert daemon.tcp_listeners(UNIT) == []
