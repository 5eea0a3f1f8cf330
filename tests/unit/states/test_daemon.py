"""
Daemons: what is planned is what is done, and a daemon that does not stay up is a failure.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

daemon = load("states", "daemon")

UNIT = "valkey-server.service"
SOCKET = "/run/valkey/valkey.sock"
WELL = {"loaded": True, "active": True, "enabled": True, "stale_unit": False, "stale_process": False}


class Host:
    """Units that behave: what is started runs, what is restarted is fresh."""

    def __init__(self, **facts):
        self.units = {UNIT: {**WELL, **facts}}
        self.calls = []
        self.survives = True
        self.refuses = None
        self.listening = True
        self.type = "socket"
        self.listens_when_started = True

    def listeners(self, path):
        assert path == SOCKET
        return [{"unit": UNIT if self.listening else "impostor.service", "pid": 1}]

    def status(self, units):
        if self.refuses == "status":
            raise CommandExecutionError("systemctl show: no bus")
        return {unit: dict(self.units[unit]) for unit in units}

    def apply(self, start=(), restart=(), enable=()):
        self.calls.append({"start": list(start), "restart": list(restart), "enable": list(enable)})
        if self.refuses == "apply":
            raise CommandExecutionError("systemctl start: failed, see the journal")
        for unit in self.units.values():
            unit["stale_unit"] = False
        self.listening = self.listening or self.listens_when_started
        self.type = "socket"
        for unit in [*start, *restart]:
            self.units[unit].update(active=self.survives, stale_process=False)
        for unit in enable:
            self.units[unit]["enabled"] = True


@pytest.fixture
def running(monkeypatch, results):
    def call(host, test, earlier=None, **arguments):
        monkeypatch.setattr(
            daemon,
            "__salt__",
            {
                "daemon.status": host.status,
                "daemon.apply": host.apply,
                "unix_socket.listeners": host.listeners,
                "unix_socket.stat": lambda path: {"type": host.type},
            },
            raising=False,
        )
        monkeypatch.setattr(daemon, "__utils__", results, raising=False)
        monkeypatch.setattr(daemon, "__opts__", {"test": test}, raising=False)
        monkeypatch.setattr(daemon, "__running__", earlier or {}, raising=False)
        return daemon.running("Valkey runs", units=[UNIT], **arguments)

    return call


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_daemon_that_runs_as_declared_is_left_alone(running, test_mode):
    host = Host()
    result = running(host, test_mode, enable=[UNIT])
    assert (result["result"], result["changes"], host.calls) == (True, {}, [])


FACTS = [
    ({"active": False}, {"start": [UNIT], "restart": [], "enable": []}),
    ({"active": False, "loaded": False, "enabled": False}, {"start": [UNIT], "restart": [], "enable": [UNIT]}),
    ({"stale_process": True}, {"start": [], "restart": [UNIT], "enable": []}),
    ({"stale_unit": True}, {"start": [], "restart": [], "enable": []}),
    ({"stale_unit": True, "stale_process": True}, {"start": [], "restart": [UNIT], "enable": []}),
    ({"enabled": False}, {"start": [], "restart": [], "enable": [UNIT]}),
]


@pytest.mark.parametrize(("facts", "_call"), FACTS)
def test_test_mode_plans_and_touches_nothing(running, facts, _call):
    host = Host(**facts)
    result = running(host, True, enable=[UNIT])
    assert result["result"] is None
    assert result["changes"]
    assert host.calls == []


@pytest.mark.parametrize(("facts", "call"), FACTS)
def test_what_is_planned_is_what_is_done_and_then_nothing_is_left(running, facts, call):
    planned = running(Host(**facts), True, enable=[UNIT])
    host = Host(**facts)
    done = running(host, False, enable=[UNIT])
    assert done["result"] is True
    assert done["changes"] == planned["changes"]
    assert host.calls == [call]
    assert running(host, True, enable=[UNIT])["changes"] == {}


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_unit_that_need_not_start_by_name_is_not_enabled(running, test_mode):
    assert running(Host(enabled=False), test_mode)["changes"] == {}


def test_a_daemon_that_is_dead_after_its_start_is_a_failure(running):
    host = Host(active=False)
    host.survives = False
    result = running(host, False)
    assert result["result"] is False
    assert result["comment"] == f"Started, but not running any more: {UNIT} (journalctl -u {UNIT})"


def test_what_systemd_says_is_the_failure(running):
    host = Host(active=False)
    host.refuses = "apply"
    result = running(host, False)
    assert (result["result"], result["comment"]) == (False, "systemctl start: failed, see the journal")


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_host_without_systemd_is_a_failure_and_no_traceback(running, test_mode):
    host = Host()
    host.refuses = "status"
    result = running(host, test_mode)
    assert (result["result"], result["comment"]) == (False, "systemctl show: no bus")


DROP_IN = "file_|-Valkey leaves its directory alone_|-/etc/systemd/system/valkey-server.service.d/50.conf_|-managed"


@pytest.mark.parametrize(
    ("tag", "result", "planned"),
    [
        (DROP_IN, None, True),
        (DROP_IN, True, False),
        (DROP_IN.replace("valkey-server", "other"), None, False),
        (DROP_IN.replace("file_", "service_"), None, False),
    ],
)
def test_a_plan_counts_with_the_drop_ins_that_the_same_run_would_write(running, tag, result, planned):
    answer = running(Host(), True, earlier={tag: {"result": result}})
    assert (answer["result"] is None) == planned
    assert bool(answer["changes"]) == planned


@pytest.mark.parametrize("there", ["socket", "absent"])
def test_a_daemon_that_does_not_listen_on_its_socket_is_restarted(running, there):
    host = Host()
    host.listening, host.type = False, there
    plan = running(host, True, sockets={UNIT: SOCKET})
    assert host.calls == []
    done = running(host, False, sockets={UNIT: SOCKET})
    assert plan["changes"] == done["changes"] != {}
    assert host.calls == [{"start": [], "restart": [UNIT], "enable": []}]
    assert running(host, False, sockets={UNIT: SOCKET})["changes"] == {}


def test_a_daemon_that_still_does_not_listen_after_a_restart_is_a_failure(running):
    host = Host()
    host.listening = host.listens_when_started = False
    result = running(host, False, sockets={UNIT: SOCKET})
    assert result["result"] is False
    assert SOCKET in result["comment"]
