"""
The access matrix: every pair is tried, and a neighbour that is let in anywhere is a failed check.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

verify_access = load("modules", "verify_access")
verify_service = load("modules", "verify_service")

SHARED = "/run/valkey/valkey.sock"


def service(name, **further):
    return {
        "name": name,
        "state": "present",
        "private_sockets": [],
        "account": {"user": name},
        "files": [f"{name}.pod", f"{name}-web.container"],
        "postgres": {"role": name, "database": name, "secret": None},
        "valkey": {
            "user": name,
            "prefix": f"{name}:",
            "secret": f"{name}.valkey",
            "socket": SHARED,
            "isolation": "prefix",
            "commands": [],
        },
        **further,
    }


def instance(name, **further):
    socket = f"/run/valkey-{name}/valkey.sock"
    valkey = {
        "user": name,
        "prefix": "",
        "secret": f"{name}.valkey",
        "socket": socket,
        "isolation": "instance",
        "commands": [],
    }
    return service(name, valkey=valkey, **further)


class Host:
    """A sound host: each is let in at its own, and nowhere else."""

    def __init__(self):
        self.databases = {("notes", "notes", "notes"), ("wiki", "wiki", "wiki")}  # user, role, database
        self.passwords = {}
        self.keys = {("notes", "notes:access"), ("wiki", "wiki:access")}
        self.sockets = set()  # user, path
        self.scanning = set()
        self.reachable = []
        self.pids = {"notes-web": 11, "wiki-web": 12}
        self.user = None
        self.ended = set()
        self.gone = set()  # pids
        self.batches = []
        self.absent = set()  # paths of sockets

    def call(self, user, function, timeout):
        assert timeout > 0
        self.user = user
        return function()

    def refusal(self, role, database, password, place=None):
        if password != self.passwords.get(role):
            return "fe_sendauth: no password supplied"
        return None if (self.user, role, database) in self.databases else "no pg_hba.conf entry"

    def round_trip(self, user, _secret_file, key, _socket):
        if (user, key) not in self.keys:
            raise CommandExecutionError("NOPERM")
        return True

    def readable(self, user, _secret_file, keys, _socket):
        return [key for key in keys if (user, key) in self.keys]

    def lists_keys(self, user, _secret_file, _socket):
        return user in self.scanning

    def probe_user(self, path, user):
        if path in self.absent:
            return {"outcome": "absent", "detail": f"{path} does not exist"}
        allowed = (user, path) in self.sockets
        return {"outcome": "allowed" if allowed else "refused", "detail": "connected" if allowed else "denied"}

    def ports(self, pid):
        if pid in self.ended:
            raise FileNotFoundError(f"/proc/{pid}/net/tcp")
        return [8080]

    def reached(self, attempts, timeout):
        assert timeout > 0
        self.batches.append([pid for pid, _ in attempts])
        return [
            None if pid in self.gone else [one for one in targets if [pid, *one] in self.reachable]
            for pid, targets in attempts
        ]

    def running(self, names):
        return [{"name": name, "pid": self.pids[name]} for name in names if name in self.pids]


@pytest.fixture
def host(monkeypatch):
    made = Host()
    salt = {
        "verify_service.check": verify_service.check,
        "secret.path": lambda name: f"/secrets/{name}",
        "valkey.round_trip": made.round_trip,
        "valkey_user.readable": made.readable,
        "valkey_user.lists_keys": made.lists_keys,
        "unix_socket.probe_user": made.probe_user,
        "quadlet.running_containers": made.running,
        "private_socket.path": lambda name, target: f"/run/rick-infra/{name}/{target.rpartition('/')[2]}",
    }
    utils = {
        "run_as.call": made.call,
        "postgresql_server.refusal": made.refusal,
        "secret_files.read": lambda path: f"what is in {path}",
        "pod_network.addresses": lambda pid: [f"10.89.0.{pid}"],
        "pod_network.listening_ports": made.ports,
        "pod_network.silent_port": lambda pid: 1,
        "pod_network.reachable": made.reached,
    }
    monkeypatch.setattr(verify_access, "__salt__", salt, raising=False)
    monkeypatch.setattr(verify_access, "__utils__", utils, raising=False)
    return made


def test_who_may_list_all_keys_though_no_entry_says_so_is_found(host):
    host.scanning = {"notes"}
    assert "SCAN" in failures()["notes is refused at every other's keys"]
    asked = service("notes")
    asked["valkey"]["commands"] = ["+scan"]
    assert failures(asked, service("wiki")) == {}


def failures(*services):
    found = verify_access.checks(list(services) or [service("notes"), service("wiki")])
    return {one["name"]: one["detail"] for one in found if not one["passed"]}


def test_a_sound_host_passes_and_each_pair_was_tried(host):
    assert failures() == {}
    found = {one["name"]: one["detail"] for one in verify_access.checks([service("notes"), service("wiki")])}
    assert found["notes reaches its own database"] == "notes"
    assert found["notes is refused at every other database, and as anybody else"] == "3 attempts"
    assert found["notes is refused at every other's keys"] == "1 attempts"
    assert found["notes's pod is refused at every other pod"] == "2 attempts"


def test_a_service_with_a_password_uses_it(host):
    host.passwords["wiki"] = "what is in /secrets/wiki.postgres"
    wiki = service("wiki", postgres={"role": "wiki", "database": "wiki", "secret": "wiki.postgres"})
    assert failures(service("notes"), wiki) == {}


def test_a_neighbours_database_that_lets_in(host):
    host.databases.add(("notes", "notes", "wiki"))
    assert failures() == {"notes is refused at every other database, and as anybody else": "gets in to wiki as notes"}


@pytest.mark.parametrize(("role", "database"), [("wiki", "wiki"), ("postgres", "notes")])
def test_somebody_elses_name_that_lets_in(host, role, database):
    host.databases.add(("notes", role, database))
    assert failures() == {
        "notes is refused at every other database, and as anybody else": f"gets in to {database} as {role}"
    }


def test_an_own_database_that_is_shut(host):
    host.databases.remove(("wiki", "wiki", "wiki"))
    assert failures() == {"wiki reaches its own database": "no pg_hba.conf entry"}


def test_a_user_that_cannot_be_asked(host, monkeypatch):
    def call(user, function, _timeout):
        if user == "root":
            return function()
        raise CommandExecutionError(f"there is no user {user}")

    monkeypatch.setitem(verify_access.__utils__, "run_as.call", call)
    assert failures()["notes is tried at the databases"] == "there is no user notes"


def test_a_neighbours_keys_that_can_be_read(host):
    host.keys.add(("notes", "wiki:access"))
    assert failures() == {"notes is refused at every other's keys": "gets in to wiki:access"}


def test_own_keys_that_are_shut(host):
    host.keys.remove(("notes", "notes:access"))
    assert failures() == {"notes reaches its own keys": "NOPERM"}


def test_a_neighbours_instance_that_lets_in(host):
    host.keys.add(("wiki", "wiki:access"))
    assert failures(service("notes"), instance("wiki")) == {}
    host.sockets.add(("notes", "/run/valkey-wiki/valkey.sock"))
    assert failures(service("notes"), instance("wiki")) == {
        "notes is refused at every other's keys": "gets in to /run/valkey-wiki/valkey.sock (connected)"
    }


@pytest.mark.parametrize(("port", "protocol"), [(8080, "tcp"), (1, "udp")])
def test_a_neighbours_pod_that_can_be_reached(host, port, protocol):
    host.reachable = [[11, "10.89.0.12", port, protocol]]
    assert failures() == {"notes's pod is refused at every other pod": f"reaches 10.89.0.12:{port}/{protocol}"}


def test_a_pod_that_ends_while_it_is_looked_at_does_not_run(host):
    host.ended.add(11)
    assert failures() == {"notes's pod is refused at every other pod": "the pod is not running"}


def test_a_pod_that_ends_before_it_tries_does_not_run(host):
    host.gone.add(11)
    assert failures() == {"notes's pod is refused at every other pod": "the pod is not running"}


def test_all_pods_try_at_once_as_far_as_descriptors_suffice(host, monkeypatch):
    assert failures() == {}
    assert host.batches == [[11, 12]]
    monkeypatch.setattr(verify_access, "AT_ONCE", 3)  # each has two targets
    host.reachable = [[12, "10.89.0.11", 8080, "tcp"]]
    assert failures() == {"wiki's pod is refused at every other pod": "reaches 10.89.0.11:8080/tcp"}
    assert host.batches[1:] == [[11], [12]]


def test_a_pod_that_does_not_run_proves_nothing(host):
    del host.pids["notes-web"]
    assert failures() == {"notes's pod is refused at every other pod": "the pod is not running"}


def test_a_service_without_databases_is_tried_at_everybodys(host):
    notes = service("notes", postgres=None, valkey=None)
    found = {one["name"]: one["detail"] for one in verify_access.checks([notes, service("wiki")])}
    assert found["notes is refused at every other database, and as anybody else"] == "3 attempts"
    assert found["notes is refused at every other's keys"] == "1 attempts"
    assert failures(notes, service("wiki")) == {}
    host.databases.add(("notes", "wiki", "wiki"))
    host.sockets.add(("notes", SHARED))
    assert failures(notes, service("wiki")) == {
        "notes is refused at every other database, and as anybody else": "gets in to wiki as wiki",
        "notes is refused at every other's keys": f"gets in to {SHARED} (connected)",
    }


def test_a_service_with_an_instance_is_tried_at_the_shared_socket(host):
    host.keys.add(("notes", "notes:access"))
    host.sockets.add(("notes", SHARED))
    assert failures(instance("notes"), service("wiki")) == {
        "notes is refused at every other's keys": f"gets in to {SHARED} (connected)"
    }


STOPPED = service("wiki", state="stopped")


def test_a_stopped_service_is_tried_at_and_tries_nothing(host):
    del host.pids["wiki-web"]
    found = {one["name"]: one["detail"] for one in verify_access.checks([service("notes"), STOPPED])}
    assert failures(service("notes"), STOPPED) == {}
    assert found["notes is refused at every other database, and as anybody else"] == "3 attempts"
    assert found["notes is refused at every other's keys"] == "1 attempts"
    assert not [name for name in found if name.startswith("wiki")]


def test_a_stopped_services_database_and_keys_that_let_in(host):
    host.databases.add(("notes", "notes", "wiki"))
    host.keys.add(("notes", "wiki:access"))
    assert failures(service("notes"), STOPPED) == {
        "notes is refused at every other database, and as anybody else": "gets in to wiki as notes",
        "notes is refused at every other's keys": "gets in to wiki:access",
    }


def test_a_stopped_instance_may_have_taken_its_socket_along_and_one_that_runs_may_not(host):
    path = "/run/valkey-wiki/valkey.sock"
    host.absent.add(path)
    host.keys.add(("wiki", "wiki:access"))
    assert failures(service("notes"), instance("wiki", state="stopped")) == {}
    expected = {"notes is refused at every other's keys": f"gets in to {path} ({path} does not exist)"}
    assert failures(service("notes"), instance("wiki")) == expected


def test_a_stopped_instance_with_an_open_door(host):
    host.sockets.add(("notes", "/run/valkey-wiki/valkey.sock"))
    assert failures(service("notes"), instance("wiki", state="stopped")) == {
        "notes is refused at every other's keys": "gets in to /run/valkey-wiki/valkey.sock (connected)"
    }


def test_a_neighbours_private_socket_that_lets_in(host):
    path = "/run/rick-infra/wiki/.s.PGSQL.5432"
    wiki = service("wiki", private_sockets=[{"target": "/run/postgresql/.s.PGSQL.5432"}])
    check = "notes is refused at every other's private sockets"
    assert check in {one["name"] for one in verify_access.checks([service("notes"), wiki])}
    assert failures(service("notes"), wiki) == {}
    host.sockets.add(("notes", path))
    assert failures(service("notes"), wiki) == {check: f"gets in to {path} (connected)"}


def test_where_there_is_no_door_none_is_tried(host):
    names = [
        one["name"]
        for one in verify_access.checks([service(name, postgres=None, valkey=None) for name in ("notes", "wiki")])
    ]
    assert names == ["notes's pod is refused at every other pod", "wiki's pod is refused at every other pod"]
