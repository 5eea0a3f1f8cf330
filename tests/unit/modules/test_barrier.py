"""
The barrier before services: whatever is not as it must be has a sentence, and a host that is fine has none.
"""

from types import SimpleNamespace

import pytest
from tree import load

barrier = load("modules", "barrier")

SOCKETS = {"postgresql": "/run/postgresql/.s.PGSQL.5432", "valkey": "/run/valkey/valkey.sock"}
UNITS = {"postgresql": "postgresql@17-main.service", "valkey": "valkey-server.service"}


@pytest.fixture
def host(monkeypatch):
    """A host where all is well; tests change ``facts``, ``active``, ``checks``, ``stat`` and ``groups``."""

    made = SimpleNamespace(
        facts=[],
        active=dict.fromkeys([*UNITS.values(), "caddy.service"], True),
        checks=[],
        groups={"postgres-clients": 101, "valkey-clients": 102},
        stat={},
    )
    for name, user, group in (("postgresql", "postgres", "postgres-clients"), ("valkey", "valkey", "valkey-clients")):
        owner = {"user": user, "group": group}
        made.stat[SOCKETS[name]] = {"type": "socket", "mode": "0770", **owner}
        made.stat[SOCKETS[name].rpartition("/")[0]] = {"type": "directory", "mode": "2750", **owner}
    functions = {
        "facts.problems": lambda: made.facts,
        "daemon.status": lambda units: {unit: {"active": made.active[unit]} for unit in units},
        "catalogue.infrastructure": lambda name: {"unit": UNITS[name], "socket": SOCKETS[name]},
        "verify_sockets.door": lambda door: [one for one in made.checks if door["unit"] == one["unit"]],
        "unix_socket.stat": lambda path: made.stat[path],
    }
    monkeypatch.setattr(barrier, "__salt__", functions, raising=False)
    utils = {"client_groups.on_this_host": lambda: made.groups}
    monkeypatch.setattr(barrier, "__utils__", utils, raising=False)
    return made


def test_a_host_that_is_fine_has_no_problem_and_no_drift(host):
    assert barrier.problems() == []
    assert barrier.drift() == {}


def test_facts_daemons_and_doors_are_all_told(host):
    host.facts = ["fact x is missing"]
    host.active["caddy.service"] = False
    host.checks = [{"name": "the door", "passed": False, "detail": "open", "unit": UNITS["valkey"]}]
    assert barrier.problems() == [
        "fact x is missing",
        "caddy.service does not run: journalctl -u caddy.service",
        "the door: open",
    ]


def test_the_door_of_a_daemon_that_does_not_run_is_not_tried(host):
    host.active[UNITS["valkey"]] = False
    host.checks = [{"name": "the door", "passed": False, "detail": "shut", "unit": UNITS["valkey"]}]
    assert barrier.problems() == ["valkey-server.service does not run: journalctl -u valkey-server.service"]


@pytest.mark.parametrize(
    "path, change, told",
    [
        ("/run/valkey", {"mode": "2755"}, "mode is 2755, not 2750"),
        ("/run/valkey", {"group": "root", "mode": "0755"}, "group is root, not valkey-clients, mode is 0755, not 2750"),
        (SOCKETS["valkey"], {"user": "nobody"}, "user is nobody, not valkey"),
        (SOCKETS["valkey"], {"type": "file"}, "type is file, not socket"),
    ],
)
def test_a_drift_is_told_with_its_path(host, path, change, told):
    host.stat[path] |= change
    assert barrier.drift() == {path: told}


def test_what_is_gone_is_told_as_gone_and_nothing_else_of_it(host):
    host.stat[SOCKETS["postgresql"]] = {"type": "absent"}
    assert barrier.drift() == {SOCKETS["postgresql"]: "type is absent, not socket"}


def test_a_host_without_the_group_has_no_such_socket(host):
    host.groups.clear()
    host.stat.clear()
    assert barrier.drift() == {}
