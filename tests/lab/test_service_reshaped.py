"""
Entries that become another kind of service: other ways to the sockets, other parts, less than before. All in one run.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from machine import Highstate

HELLO = {"image": "localhost/hello:1", "port": 8080, "health": {"path": "/", "timeout": 90}}
# Its health asks PostgreSQL and Valkey both, so a healthy one has reached them.
POSTGRES = {"connection_limit": 3}  # so that all of them fit
NOTES = {
    "image": "localhost/notes:1",
    "port": 8080,
    "health": {"path": "/health", "timeout": 90},
    "postgres": POSTGRES,
    "valkey": True,
    "env": {
        "DATABASE_URL": "{postgres.url}",
        "VALKEY_SOCKET": "{valkey.socket}",
        "VALKEY_USER": "{valkey.user}",
        "VALKEY_PASSWORD": "{valkey.password}",
        "VALKEY_PREFIX": "{service.name}:",
    },
}
IDLE = {"entrypoint": ["tail", "-f", "/dev/null"], "stop_signal": "SIGKILL"}
TICK = {"entrypoint": ["sh", "-c", "echo tick >> /data/ticks"], "schedule": "daily"}
DATA = {**HELLO, "volumes": {"data": "/data"}}
SCRAM = {**NOTES, "postgres": {**POSTGRES, "auth": "scram"}}
OWN = {**NOTES, "valkey": {"isolation": "instance"}}
CAPABLE = {**NOTES, "capabilities": ["CHOWN"]}
INIT = {"entrypoint": ["sh", "-c", "echo init > /data/made"]}
RICH = {
    **CAPABLE,
    "secrets": {"session": True},
    "env": {**NOTES["env"], "SESSION": "{secret.session}"},
}
RICH_OWN = {**OWN, "postgres": None, "env": {"CACHE_URL": "{valkey.url}"}, "health": None}
POD, STARTED, USER, ELSE = "has its pod", "is started", "has its user", "has nothing else"
DATABASE, CACHE, ENVIRONMENT, SECRETS = (
    "has its database",
    "has its Valkey user",
    "has its environment",
    "has its secrets",
)
PRIVATE, INSTANCE = "has its private sockets", "has a Valkey of its own"
DEFINED = {POD, STARTED}


@dataclass
class Change:
    """What a service was, what it becomes, what the run changes of it, and the proof on the host."""

    before: dict
    after: dict
    states: set
    proof: Callable


def status(host, container, key):
    """What the kernel says of a container's process."""
    return host.sh(f"awk -F'\\t' '/^{key}:/ {{print $2}}' /proc/{pid(host, container)}/status")


def pid(host, container):
    return host.sh(f"podman inspect --format '{{{{.State.Pid}}}}' {container}")


def root_is_mounted(host, container):
    return host.sh(f"awk '$2 == \"/\" {{print $4}}' /proc/{pid(host, container)}/mounts").split(",")[0]


def units(host, pattern):
    """Those that systemd has loaded, without those that only somebody else's name."""
    said = host.sh(f"systemctl list-units --all --no-legend --plain '{pattern}' | awk '$2 == \"loaded\" {{print $1}}'")
    return set(said.split())


def private_sockets(host, name):
    return {unit for unit in units(host, f"rick-private-{name}-*") if unit.endswith(".socket")}


def login(host, name):
    """Whether the service's user is let in without a password."""
    return host.run("runuser", "-u", name, "--", "psql", "-wqAtc", "select 1", check=False).returncode == 0


def shared_users(host):
    return {one["user"] for one in host.salt("valkey_user.list") if one["instance"] is None}


def is_active(host, unit):
    return host.run("systemctl", "is-active", unit, check=False).stdout.strip() == "active"


def has_less(host):
    database = host.sh("runuser -u postgres -- psql -qAt less -c 'select word from precious'")
    role = host.salt("postgresql.query", "select rolcanlogin from pg_roles where rolname = 'less'")
    return (
        (database, role) == ("kept", [{"rolcanlogin": False}])
        and "less" not in shared_users(host)
        and not private_sockets(host, "less")
        and host.sh("ls /var/lib/rick-infra/secrets | grep '^less[.]' || true") == ""
        and host.sh("podman secret ls --format '{{.Name}}' | grep '^less[.]' || true") == ""
    )


def has_no_instance(host):
    kept = host.run("test", "-d", "/var/lib/valkey-less-own", check=False).returncode == 0
    return kept and not is_active(host, "valkey-server@less-own")


CHANGES = {
    "way": Change(
        NOTES, {**NOTES, "user": 33}, {PRIVATE, *DEFINED},
        lambda host: status(host, "way-web", "Uid") == "33" and len(private_sockets(host, "way")) == 2,
    ),
    "back": Change(
        CAPABLE, NOTES, {*DEFINED, ELSE},
        lambda host: status(host, "back-web", "CapBnd").strip("0") == "" and private_sockets(host, "back") == set(),
    ),
    "rooted": Change(
        HELLO, {**HELLO, "capabilities": ["CHOWN"]}, DEFINED,
        lambda host: int(status(host, "rooted-web", "CapBnd"), 16) == 1,
    ),
    "writable": Change(
        HELLO, {**HELLO, "read_only": False}, DEFINED, lambda host: root_is_mounted(host, "writable-web") == "rw"
    ),
    "members": Change(
        {**HELLO, "containers": {"web": {}, "old": IDLE}}, {**HELLO, "containers": {"web": {}, "new": IDLE}}, DEFINED,
        lambda host: units(host, "members-*.service")
        == {f"members-{one}.service" for one in ("network", "pod", "web", "new")},
    ),
    "migrates": Change(
        DATA, {**DATA, "init": INIT}, DEFINED, lambda host: host.sh("cat /opt/migrates/data/made") == "init"
    ),
    "timers": Change(
        {**DATA, "timers": {"old": TICK, "late": TICK}},
        {**DATA, "timers": {"new": TICK, "late": {**TICK, "schedule": "2099-01-01"}}}, DEFINED,
        lambda host: units(host, "timers-*.timer") == {"timers-new.timer", "timers-late.timer"}
        and "2099" in host.sh("systemctl show -P NextElapseUSecRealtime timers-late.timer"),
    ),
    "ports": Change(
        HELLO, {**HELLO, "publish": [{"port": 8080, "host_port": 9090}]}, DEFINED,
        lambda host: host.http("/", 9090) == 200,
    ),
    "binds": Change(
        HELLO, {**HELLO, "binds": [{"source": "/srv/bound", "path": "/bound"}], "allow_binds": True}, DEFINED,
        lambda host: host.run("podman", "exec", "binds-web", "cat", "/bound/word").stdout == "bound\n",
    ),
    "login": Change(
        NOTES, SCRAM, {SECRETS, DATABASE, ENVIRONMENT, *DEFINED}, lambda host: not login(host, "login")
    ),
    "peer": Change(SCRAM, NOTES, {DATABASE, *DEFINED, ELSE}, lambda host: login(host, "peer")),
    "own": Change(
        NOTES, OWN, {USER, INSTANCE, CACHE, *DEFINED},
        lambda host: is_active(host, "valkey-server@own") and "own" not in shared_users(host),
    ),
    "shared": Change(
        OWN, NOTES, {USER, CACHE, *DEFINED, ELSE},
        lambda host: not is_active(host, "valkey-server@shared") and "shared" in shared_users(host),
    ),
    # Its data are kept, and nobody gets at them.
    "less": Change(RICH, HELLO, {USER, *DEFINED, ELSE}, has_less),
    "less-own": Change(RICH_OWN, {**HELLO, "health": None}, {*DEFINED, ELSE}, has_no_instance),
}  # fmt: skip


@dataclass
class Runs:
    plan: Highstate
    run: Highstate
    again: Highstate
    others: tuple[dict, dict]  # which start of what nobody has changed ran before, and after


@pytest.fixture(scope="module")
def host(main_machine):
    main_machine.run("/srv/rick-infra/examples/build", "hello")
    main_machine.sh("mkdir -p /srv/bound; echo bound > /srv/bound/word")
    for name, change in CHANGES.items():
        main_machine.declare(name, change.before)
    main_machine.converge()
    main_machine.psql("less", "create table precious as select 'kept' as word")
    main_machine.valkey("less-own", "SET word precious", "/run/valkey-less-own/valkey.sock")
    yield main_machine
    main_machine.remove(*CHANGES)
    main_machine.sh("rm -r /srv/bound")


@pytest.fixture(scope="module")
def runs(host):
    others = ("notes-*.service", "valkey-server.service", "postgresql@*", "caddy.service")
    before = host.invocations(*others)
    for name, change in CHANGES.items():
        host.declare(name, change.after)
    return Runs(host.apply(test=True), host.apply(), host.apply(), (before, host.invocations(*others)))


def of(name, states):
    """The states of one service, without its name."""
    return {state.removeprefix(f"Service {name} ") for state in states if state.startswith(f"Service {name} ")}


def test_all_of_it_is_changed_as_planned(runs):
    assert runs.plan.failed == runs.run.failed == {}
    assert runs.plan.planned == runs.run.changed


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_changes_of_a_service_what_its_entry_changed(runs, name):
    assert of(name, runs.run.changed) == CHANGES[name].states


@pytest.mark.parametrize("name", CHANGES)
def test_the_service_is_what_its_entry_says_now(host, runs, name):
    assert CHANGES[name].proof(host)


def test_the_verification_passes_and_nobody_reaches_what_is_anothers(host, runs):
    assert {name: detail for name, (passed, detail) in host.verify().items() if not passed} == {}
    access = host.salt("verify.access", check=False)
    assert [one for one in access["checks"] if not one["passed"]] == []


def test_the_next_run_changes_nothing_and_no_other_service_was_restarted(runs):
    assert (runs.again.changed, runs.again.failed) == (set(), {})
    assert runs.others[0] == runs.others[1]


def test_what_a_service_had_is_there_again_once_its_entry_says_so(host, runs):
    host.declare("less", RICH)
    host.declare("less-own", RICH_OWN)
    host.converge()
    assert host.psql("less", "select word from precious") == "kept"
    assert host.valkey("less-own", "GET word", "/run/valkey-less-own/valkey.sock").strip('"') == "precious"
