"""
The verification: passes on a sound host, and each check fails when what it proves is taken away.
"""

import grp
import http.server
import pwd
import threading
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

verify = load("modules", "verify")
http_answer = load("utils", "http_answer")
verify_service = load("modules", "verify_service")
verify_sockets = load("modules", "verify_sockets")
private_units = load("utils", "private_units")

PG, VK = "/run/postgresql/.s.PGSQL.5432", "/run/valkey/valkey.sock"
GIDS = {"postgres-clients": 101, "valkey-clients": 102}
BOTH_GROUPS = ["postgres-clients", "valkey-clients"]
SERVICE = {
    "name": "notes",
    "state": "present",
    "refused": None,
    "account": {"user": "notes", "groups": BOTH_GROUPS},
    "files": ["notes.network", "notes.pod", "notes-web.container"],
    "units": [{"kind": "container", "name": "notes-web", "socket_groups": BOTH_GROUPS}],
    "postgres": {"role": "notes", "database": "notes", "secret": None},
    "valkey": {"user": "notes", "prefix": "notes:", "secret": "notes.valkey", "socket": VK, "isolation": "prefix"},
    "timers": [],
    "private_sockets": [],
    "publish": [],
    "site": None,
}
OWN = "/run/valkey-notes/valkey.sock"
OWN_VALKEY = {
    "user": "notes",
    "prefix": "",
    "secret": "notes.valkey",
    "socket": OWN,
    "isolation": "instance",
    "unit": "valkey-server@notes.service",
    "group": "notes",
}
PRIVATE = "/run/rick-infra/notes/.s.PGSQL.5432"
STATUS = """\
Name:\tgunicorn
Uid:\t990\t990\t990\t990
Gid:\t991\t991\t991\t991
Groups:\t101 102 991
CapInh:\t0000000000000000
CapPrm:\t0000000000000000
CapEff:\t0000000000000000
CapBnd:\t0000000000000000
NoNewPrivs:\t1
"""


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.server.status == "gibberish":
            self.wfile.write(b"\x00\x01 what?\r\n\r\n")
            return
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def web():
    """A service that answers with the status it is told."""
    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        server.status = 200
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Host:
    """A sound host whose protections can be taken away one by one."""

    def __init__(self, url):
        self.roles, self.logins = ["cell", "sso"], {}
        self.services = [{**SERVICE, "account": {**SERVICE["account"]}, "health": {"url": url}}]
        self.mistakes = []
        self.facts = []
        self.firewall = []
        self.units = {
            name: {"ActiveState": "active", "SubState": "running", "ControlGroup": f"/system.slice/{name}"}
            for name in (
                "postgresql@17-main.service",
                "valkey-server.service",
                "valkey-server@notes.service",
                "caddy.service",
                "notes-web.service",
            )
        }
        self.units["rick-private-notes-postgresql.socket"] = {"ActiveState": "active", "SubState": "listening"}
        self.units["notes-tick.timer"] = {
            "ActiveState": "active",
            "SubState": "waiting",
            "NextElapseUSecRealtime": "Fri 2026-11-27 00:00:00 UTC",
        }
        self.units["notes-init.service"] = {
            "ActiveState": "active",
            "SubState": "exited",
            "Result": "success",
            "ExecMainExitTimestamp": "Thu 2026-11-26 18:22:23 UTC",
        }
        self.bound = [["192.0.2.1", 9090, "tcp"], ["::1", 53, "udp"]]
        self.tcp = {}
        self.owners = {
            "/run/postgresql": self.owner("directory", "postgres", "postgres-clients", "2750"),
            PG: self.owner("socket", "postgres", "postgres-clients", "0770"),
            "/run/valkey": self.owner("directory", "valkey", "valkey-clients", "2750"),
            VK: self.owner("socket", "valkey", "valkey-clients", "0770"),
            "/run/valkey-notes": self.owner("directory", "valkey", "notes", "2750"),
            OWN: self.owner("socket", "valkey", "notes", "0770"),
            "/run/rick-infra": self.owner("directory", "root", "root", "0700"),
            "/run/rick-infra/notes": self.owner("directory", "root", "root", "0755"),
            PRIVATE: self.owner("socket", "root", "root", "0666"),
        }
        self.listening = {
            PG: [{"pid": 1, "unit": "postgresql@17-main.service"}],
            VK: [{"pid": 2, "unit": "valkey-server.service"}],
            OWN: [{"pid": 3, "unit": "valkey-server@notes.service"}],
        }
        # who gets in: the members of the group
        self.admitted = {PG: {101}, VK: {102}, OWN: {991}, PRIVATE: set()}
        self.open_to_all = False
        self.containers = [{"name": "notes-web", "pid": 42, "state": "running"}]
        self.rows = [{"role": "notes"}]
        self.raising = {}

    @staticmethod
    def owner(kind, user, group, mode):
        return {"type": kind, "user": user, "group": group, "mode": mode}

    def probe(self, path, uid, gid, groups):
        assert uid != 0
        if self.open_to_all or self.admitted[path] & {gid, *groups}:
            return {"outcome": "allowed", "detail": "connected"}
        return {"outcome": "refused", "detail": "permission denied by its directory"}

    def functions(self):
        functions = {
            "catalogue.infrastructure": lambda name: {
                "postgresql": {"unit": "postgresql@17-main.service", "socket": PG},
                "valkey": {"unit": "valkey-server.service", "socket": VK},
            }[name],
            "catalogue.services": lambda: self.services,
            "catalogue.problems": lambda: self.mistakes,
            "catalogue.show": lambda name: {one["name"]: one for one in self.services}[name],
            "facts.problems": lambda: self.facts,
            "facts.published": lambda: GIDS,
            "pod_firewall.problems": lambda: self.firewall,
            "daemon.tcp_listeners": lambda unit: self.tcp.get(unit, []),
            "daemon.bound": lambda unit: {"notes-pod.service": self.bound}[unit],
            "unix_socket.stat": lambda path: self.owners[path],
            "unix_socket.listeners": lambda path: self.listening[path],
            "unix_socket.probe": self.probe,
            "quadlet.running_containers": lambda names: [one for one in self.containers if one["name"] in names],
            "postgresql.query_as": lambda user, query, database, role, secret_file: self.rows,
            "secret.path": lambda name: f"/var/lib/rick-infra/secrets/{name}",
            "verify_login.checks": lambda service: [],
            "verify_login.of_authentik": lambda name, auth: [{"name": name, "passed": True, "detail": str(auth)}],
            "verify_edge.checks": lambda _without: [{"name": "edge", "passed": True, "detail": ""}],
            "fleet.roles": lambda: self.roles,
            "fleet.problems": lambda: ["the master gives this host no role"],
            "fleet.logins": lambda: self.logins,
            "valkey.round_trip": lambda user, secret_file, key, socket: True,
            "verify_service.check": verify_service.check,
            "verify_service.checks": verify_service.checks,
            "verify_service.active_in_system_slice": verify_service.active_in_system_slice,
            "verify_service.probe": verify_service.probe,
            "verify_service.gid": verify_service.gid,
            "verify_sockets.door": verify_sockets.door,
            "verify_sockets.no_tcp": verify_sockets.no_tcp,
            "verify_sockets.of_service": verify_sockets.of_service,
        }
        return {name: self.guarded(name, function) for name, function in functions.items()}

    def guarded(self, name, function):
        def call(*arguments):
            if name in self.raising:
                raise self.raising[name]
            return function(*arguments)

        return call


@pytest.fixture
def host(monkeypatch, tmp_path, web):
    host = Host(f"http://127.0.0.1:{web.server_port}/health")
    (tmp_path / "42").mkdir()
    host.status = tmp_path / "42/status"
    host.status.write_text(STATUS)

    def getgrnam(name):
        return grp.struct_group((name, "x", GIDS[name], []))

    accounts = {"notes": (990, 991), "nobody": (65534, 65534)}

    def getpwnam(name):
        uid, gid = accounts[name]
        return pwd.struct_passwd((name, "x", uid, gid, "", "/", ""))

    def show(units, properties):
        if "units.show" in host.raising:
            raise host.raising["units.show"]
        return {unit: host.units[unit] for unit in units}

    host.accounts = accounts
    clients = {group: {} for group in GIDS}
    utils = {
        "units.show": show,
        "client_groups.declared": lambda: clients,
        "http_answer.status": http_answer.status,
        "private_units.places": private_units.places,
        "private_units.root": private_units.root,
    }
    monkeypatch.setattr(verify_service, "PROC", str(tmp_path))
    monkeypatch.setattr(verify_service.grp, "getgrnam", getgrnam)
    monkeypatch.setattr(verify_service.pwd, "getpwnam", getpwnam)
    for module in (verify, verify_service, verify_sockets):
        monkeypatch.setattr(module, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(module, "__utils__", utils, raising=False)
    monkeypatch.setattr(verify, "__context__", {}, raising=False)
    return host


def failures():
    result = verify.host()
    assert set(result) == {"passed", "checks"}
    for check in result["checks"]:
        assert set(check) == {"name", "passed", "detail"}
        assert type(check["name"]) is str
        assert type(check["passed"]) is bool
        assert type(check["detail"]) is str
    failed = {check["name"]: check["detail"] for check in result["checks"] if not check["passed"]}
    assert result["passed"] is not bool(failed)
    assert verify.__context__.get("retcode", 0) == (1 if failed else 0)
    return failed


def test_a_sound_host_passes_and_says_what_was_proved(host):
    assert failures() == {}
    details = {check["name"]: check["detail"] for check in verify.host()["checks"]}
    assert details == {
        "pods answer other hosts by published ports only": "nft list table inet rick_infra",
        "facts equal the system": "postgres-clients=101, valkey-clients=102",
        "postgresql@17-main.service is active in /system.slice": "/system.slice/postgresql@17-main.service",
        "valkey-server.service is active in /system.slice": "/system.slice/valkey-server.service",
        "caddy.service is active in /system.slice": "/system.slice/caddy.service",
        "the catalogue is valid": "",
        "PostgreSQL has no TCP listener": "",
        "Valkey has no TCP listener": "",
        "/run/postgresql belongs to its clients": "postgres:postgres-clients 2750",
        f"{PG} belongs to its clients": "postgres:postgres-clients 0770",
        f"{PG} is answered by postgresql@17-main.service": "",
        f"an outsider is refused at {PG}": "uid 65534, groups [65534]: permission denied by its directory",
        "/run/valkey belongs to its clients": "valkey:valkey-clients 2750",
        f"{VK} belongs to its clients": "valkey:valkey-clients 0770",
        f"{VK} is answered by valkey-server.service": "",
        f"an outsider is refused at {VK}": "uid 65534, groups [65534]: permission denied by its directory",
        "notes-web.service is active in /system.slice": "/system.slice/notes-web.service",
        "notes-web's process has the ids of notes": "uid 990, groups [101, 102, 991], no capabilities",
        f"notes gets in at {PG}": "uid 990, groups [991, 101, 102]: connected",
        "notes without postgres-clients is refused": "uid 990, groups [991, 102]: permission denied by its directory",
        f"notes gets in at {VK}": "uid 990, groups [991, 101, 102]: connected",
        "notes without valkey-clients is refused": "uid 990, groups [991, 101]: permission denied by its directory",
        "notes: a query as notes": "role notes, database notes",
        "notes: a cache round trip as notes": "notes:verify written, read and deleted",
        f"notes answers at {host.services[0]['health']['url']}": "HTTP 200",
    }


def test_a_host_without_services_has_its_infrastructure_checked(host):
    host.services = []
    assert failures() == {}
    assert len(verify.host()["checks"]) == 16


# --- each protection taken away --------------------------------------------------------------------------------------


def test_facts_that_lie(host):
    host.facts = ["fact a is missing", "fact b says 1"]
    assert failures() == {"facts equal the system": "fact a is missing; fact b says 1"}


def test_pods_that_answer_other_hosts(host):
    host.firewall = ["nft has no table"]
    assert failures() == {"pods answer other hosts by published ports only": "nft has no table"}


@pytest.mark.parametrize("unit", ["postgresql@17-main.service", "valkey-server.service", "notes-web.service"])
def test_a_unit_that_is_not_active(host, unit):
    host.units[unit].update(ActiveState="failed", SubState="failed", ControlGroup="")
    assert failures() == {f"{unit} is active in /system.slice": f"failed (failed); journalctl -u {unit}"}


@pytest.mark.parametrize("cgroup", ["/user.slice/user-1000.slice/x.service", "", "/system.slice-not/x.service"])
def test_a_unit_outside_the_system_slice(host, cgroup):
    host.units["valkey-server.service"]["ControlGroup"] = cgroup
    assert failures() == {"valkey-server.service is active in /system.slice": f"runs in {cgroup or 'no control group'}"}


@pytest.mark.parametrize(
    ("unit", "title"), [("postgresql@17-main.service", "PostgreSQL"), ("valkey-server.service", "Valkey")]
)
def test_a_tcp_listener(host, unit, title):
    host.tcp[unit] = ["127.0.0.1:1", "[::1]:1"]
    assert failures() == {f"{title} has no TCP listener": "listens on 127.0.0.1:1, [::1]:1"}


@pytest.mark.parametrize("path", ["/run/postgresql", PG, "/run/valkey", VK])
@pytest.mark.parametrize("change", [{"user": "root"}, {"group": "root"}, {"mode": "0777"}, {"type": "symlink"}])
def test_a_door_that_is_not_as_it_should_be(host, path, change):
    expected = {**host.owners[path]}
    host.owners[path].update(change)
    ((key, value),) = change.items()
    assert failures() == {f"{path} belongs to its clients": f"{key} is {value}, not {expected[key]}"}


def test_a_socket_that_is_not_there(host):
    host.owners[VK] = {"type": "absent"}
    host.raising["unix_socket.listeners"] = CommandExecutionError("nobody there")
    failed = failures()
    assert failed[f"{VK} belongs to its clients"].startswith("type is absent, not socket, user is None")
    assert failed[f"{VK} is answered by valkey-server.service"] == "nobody there"


@pytest.mark.parametrize(
    ("listeners", "detail"),
    [
        ([], "listening: nobody"),
        ([{"pid": 7, "unit": "impostor.service"}], "listening: impostor.service"),
        ([{"pid": 7, "unit": None}], "listening: pid 7"),
        (
            [{"pid": 2, "unit": "valkey-server.service"}, {"pid": 7, "unit": None}],
            "listening: pid 7, valkey-server.service",
        ),
    ],
)
def test_somebody_else_behind_the_socket(host, listeners, detail):
    host.listening[VK] = listeners
    assert failures() == {f"{VK} is answered by valkey-server.service": detail}


def test_a_door_that_is_open_to_all(host):
    host.open_to_all = True
    assert failures() == {
        f"an outsider is refused at {PG}": "allowed: connected",
        f"an outsider is refused at {VK}": "allowed: connected",
        "notes without postgres-clients is refused": "allowed: connected",
        "notes without valkey-clients is refused": "allowed: connected",
    }


def test_a_door_that_lets_the_service_in_by_another_group(host):
    host.admitted[VK].add(991)
    assert failures() == {"notes without valkey-clients is refused": "allowed: connected"}


def test_a_door_that_is_shut_to_the_service(host):
    host.admitted[PG] = set()
    assert failures() == {f"notes gets in at {PG}": "refused: permission denied by its directory"}


def test_a_service_whose_user_does_not_exist(host):
    del host.accounts["notes"]
    assert failures() == {"notes: user notes exists": "there is no user notes; apply the highstate"}


@pytest.mark.parametrize("containers", [[], [{"name": "notes-web", "pid": 0}]])
def test_a_container_that_does_not_run(host, containers):
    host.containers = containers
    assert failures() == {"notes-web's process has the ids of notes": "the container is not running"}


def test_a_container_whose_process_ended_meanwhile(host):
    host.status.unlink()
    assert "No such file" in failures()["notes-web's process has the ids of notes"]


@pytest.mark.parametrize(
    ("line", "instead", "detail"),
    [
        ("Uid:\t990\t990", "Uid:\t990\t0", "uid 0/990, not 990"),
        ("Gid:\t991\t991\t991\t991", "Gid:\t0\t0\t0\t0", "gid 0, not 991"),
        ("101 102 991", "101 991", "groups [101, 991], not postgres-clients, valkey-clients (101, 102)"),
        ("101 102 991", "0 101 102", "groups [0, 101, 102], not postgres-clients, valkey-clients (101, 102)"),
        ("101 102 991", "", "groups [], not postgres-clients, valkey-clients (101, 102)"),
        ("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000080", "has capabilities"),
        ("CapEff:\t0000000000000000", "CapEff:\t0000000000000080", "has capabilities"),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "may gain privileges"),
    ],
)
def test_a_process_with_other_ids_or_more_rights(host, line, instead, detail):
    assert line in STATUS
    host.status.write_text(STATUS.replace(line, instead))
    assert failures() == {"notes-web's process has the ids of notes": detail}


@pytest.mark.parametrize("rows", [[], [{"role": "postgres"}]])
def test_a_query_that_is_answered_as_somebody_else(host, rows):
    host.rows = rows
    assert failures() == {"notes: a query as notes": f"answered {rows}"}


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_service_that_is_not_healthy(host, web, status):
    web.status = status
    assert failures() == {f"notes answers at {host.services[0]['health']['url']}": f"HTTP {status}"}


def test_a_service_that_answers_gibberish(host, web):
    web.status = "gibberish"
    ((name, detail),) = failures().items()
    assert name.startswith("notes answers at")
    assert detail.startswith("does not answer (")


def test_a_service_that_does_not_answer(host):
    host.services[0]["health"]["url"] = "http://127.0.0.1:1/health"
    assert "refused" in failures()["notes answers at http://127.0.0.1:1/health"]


def test_a_proxy_in_the_environment_is_not_asked(host, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert failures() == {}


@pytest.mark.parametrize("error", [CommandExecutionError, SaltInvocationError, OSError])
@pytest.mark.parametrize(
    ("function", "count"),
    [
        ("facts.problems", 1),
        ("units.show", 4),
        ("daemon.tcp_listeners", 2),
        ("unix_socket.stat", 4),
        ("unix_socket.listeners", 2),
        ("unix_socket.probe", 6),
        ("quadlet.running_containers", 1),
        ("postgresql.query_as", 1),
        ("secret.path", 1),
        ("valkey.round_trip", 1),
    ],
)
def test_a_check_whose_call_raises_is_a_failed_check(host, function, count, error):
    host.raising[function] = error("it is broken")
    failed = failures()
    assert len(failed) == count
    assert set(failed.values()) == {"it is broken"}


def test_an_error_without_words_fails_all_the_same(host):
    host.raising["valkey.round_trip"] = CommandExecutionError("")
    assert failures() == {"notes: a cache round trip as notes": "CommandExecutionError"}


def test_a_mistake_in_the_catalogue_is_a_failed_check(host):
    host.mistakes = ["service a: wrong", "service b: wrong"]
    assert failures() == {"the catalogue is valid": "service a: wrong; service b: wrong"}


@pytest.mark.parametrize(("groups", "passes"), [("991", True), ("101 991", False)])
def test_a_container_with_a_private_socket_is_in_no_client_group(host, groups, passes):
    host.services[0]["units"] = [{"kind": "container", "name": "notes-web", "socket_groups": []}]
    host.status.write_text(STATUS.replace("101 102 991", groups).replace("990", "0"))
    expected = {} if passes else {"notes-web's process is in no client group": "is in postgres-clients"}
    assert failures() == expected


def test_a_stopped_service_must_not_run(host):
    host.services[0]["state"] = "stopped"
    assert failures() == {"notes is stopped": "notes-web runs"}
    host.containers = []
    verify.__context__.clear()
    assert failures() == {}


def test_a_service_that_is_to_be_gone_is_not_checked(host):
    host.services[0]["state"] = "absent"
    assert failures() == {}


PUBLISHED = [
    {"address": "192.0.2.1", "host_port": 9090, "port": 8080, "protocol": "tcp"},
    {"address": "::1", "host_port": 53, "port": 53, "protocol": "udp"},
]


def test_each_port_that_is_published_is_shown_and_bound(host):
    host.services[0]["publish"] = PUBLISHED
    names = {check["name"] for check in verify.service("notes")["checks"]}
    expected = {"notes is reached past Caddy at 192.0.2.1:9090/tcp", "notes is reached past Caddy at [::1]:53/udp"}
    assert expected <= names
    assert failures() == {}


@pytest.mark.parametrize("bound", [["127.0.0.1", 9090, "tcp"], ["192.0.2.1", 9090, "udp"], ["192.0.2.1", 9091, "tcp"]])
def test_a_published_port_that_the_pod_is_not_bound_to(host, bound):
    host.services[0]["publish"] = PUBLISHED[:1]
    host.bound = [bound]
    assert failures() == {"notes is reached past Caddy at 192.0.2.1:9090/tcp": "notes-pod.service is not bound to it"}


def with_a_timer(host, **state):
    host.services[0]["timers"] = [{"name": "notes-tick", "schedule": "daily", "persistent": True}]
    host.units["notes-tick.timer"].update(state)
    return failures()


@pytest.mark.parametrize("state", [{}, {"SubState": "running", "NextElapseUSecRealtime": ""}])
def test_a_timer_that_will_elapse_or_runs_just_now(host, state):
    assert with_a_timer(host, **state) == {}
    assert "notes-tick.timer has a next time" in {check["name"] for check in verify.host()["checks"]}


@pytest.mark.parametrize(
    ("state", "detail"),
    [
        ({"ActiveState": "inactive", "SubState": "dead"}, "inactive (dead); journalctl -u notes-tick.timer"),
        ({"SubState": "elapsed", "NextElapseUSecRealtime": ""}, "its schedule names no time to come"),
    ],
)
def test_a_timer_that_will_not_elapse(host, state, detail):
    assert with_a_timer(host, **state) == {"notes-tick.timer has a next time": detail}


@pytest.mark.parametrize(
    ("state", "detail"),
    [
        ({}, None),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"},
            "activating (auto-restart), last result: exit-code; journalctl -u notes-init.service",
        ),
    ],
)
def test_an_init_container_must_have_succeeded(host, state, detail):
    host.services[0]["units"] = [*SERVICE["units"], {"kind": "container", "name": "notes-init", "socket_groups": []}]
    host.units["notes-init.service"].update(state)
    assert failures() == ({"notes-init.service has succeeded": detail} if detail else {})
    assert "notes-init.service has succeeded" in {check["name"] for check in verify.host()["checks"]}


@pytest.fixture
def own_valkey(host):
    host.services[0]["valkey"] = OWN_VALKEY
    return host


def test_a_valkey_of_its_own_is_a_door_like_the_shared_one(own_valkey):
    assert failures() == {}
    names = {check["name"] for check in verify.service("notes")["checks"]}
    assert {f"an outsider is refused at {OWN}", f"notes gets in at {OWN}"} <= names


@pytest.mark.parametrize("path", ["/run/valkey-notes", OWN])
def test_a_valkey_of_its_own_whose_door_is_anothers(own_valkey, path):
    own_valkey.owners[path].update(group="valkey-clients")
    assert failures() == {f"{path} belongs to its clients": "group is valkey-clients, not notes"}


def test_a_valkey_of_its_own_that_lets_an_outsider_in(own_valkey):
    own_valkey.admitted[OWN].add(65534)
    assert failures() == {f"an outsider is refused at {OWN}": "allowed: connected"}


def test_a_valkey_of_its_own_that_is_off_and_shut(own_valkey):
    unit = "valkey-server@notes.service"
    own_valkey.units[unit].update(ActiveState="inactive", SubState="dead")
    own_valkey.listening[OWN] = []
    own_valkey.admitted[OWN] = set()
    assert failures() == {
        f"{unit} is active in /system.slice": f"inactive (dead); journalctl -u {unit}",
        f"{OWN} is answered by {unit}": "listening: nobody",
        f"notes gets in at {OWN}": "refused: permission denied by its directory",
    }


def test_a_valkey_of_its_own_that_listens_on_tcp(own_valkey):
    own_valkey.tcp["valkey-server@notes.service"] = ["127.0.0.1:6379"]
    assert failures() == {"valkey-server@notes.service has no TCP listener": "listens on 127.0.0.1:6379"}


@pytest.fixture
def private(host):
    host.services[0]["private_sockets"] = [{"target": PG, "user": "notes", "group": "postgres-clients"}]
    return host


@pytest.mark.parametrize(
    ("roles", "names"),
    [
        ([], {"this host has a role"}),
        (["edge"], {"edge"}),
    ],
)
def test_what_is_checked_follows_from_the_hosts_roles(host, roles, names):
    host.roles = roles
    result = verify.host()
    assert {one["name"] for one in result["checks"]} == names
    assert result["passed"] == bool(roles)


def test_logins_of_services_elsewhere_are_checked_where_authentik_is(host):
    host.logins = {"elsewhere": {"pattern": "api"}, "open": None}
    assert "elsewhere" in {one["name"] for one in verify.host()["checks"]}
    assert "open" not in {one["name"] for one in verify.host()["checks"]}
    host.roles = ["cell"]
    assert "elsewhere" not in {one["name"] for one in verify.host()["checks"]}


def test_a_private_socket_is_a_door_as_well(private):
    assert failures() == {}
    names = {check["name"] for check in verify.service("notes")["checks"]}
    assert {"rick-private-notes-postgresql.socket is active", f"an outsider is refused at {PRIVATE}"} <= names


def test_a_private_socket_that_is_off(private):
    unit = "rick-private-notes-postgresql.socket"
    private.units[unit].update(ActiveState="inactive", SubState="dead")
    assert failures() == {f"{unit} is active": f"inactive (dead); journalctl -u {unit}"}


@pytest.mark.parametrize("path", ["/run/rick-infra", "/run/rick-infra/notes", PRIVATE])
@pytest.mark.parametrize("change", [{"user": "notes"}, {"mode": "0777"}])
def test_a_private_socket_that_is_not_roots(private, path, change):
    expected = {**private.owners[path]}
    private.owners[path].update(change)
    ((key, value),) = change.items()
    assert failures() == {f"{path} is root's": f"{key} is {value}, not {expected[key]}"}


def test_a_private_socket_that_lets_an_outsider_in(private):
    private.admitted[PRIVATE].add(65534)
    assert failures() == {f"an outsider is refused at {PRIVATE}": "allowed: connected"}


def test_one_service_is_checked_by_its_name(host):
    assert verify.service("notes")["passed"]
    assert all("notes" in check["name"] for check in verify.service("notes")["checks"])


def test_of_a_wrong_catalogue_the_errors_are_told_and_not_that_there_is_nothing(host):
    host.mistakes = ["rick:services:a: one", "rick:services:b: two"]
    host.services = []
    host.raising["catalogue.show"] = CommandExecutionError("\n".join(host.mistakes))
    for call in (verify.access, lambda: verify.service("a")):
        with pytest.raises(CommandExecutionError, match=r"(?s)a: one.*b: two"):
            call()


def test_a_definition_that_was_taken_back_is_told_though_what_runs_is_sound(host):
    host.services[0]["refused"] = "notes-web.service answers 500"
    assert failures() == {
        "notes is as declared": "taken back, since it did not become healthy: notes-web.service answers 500"
    }


def test_the_table_is_the_usual_output():
    assert set(verify.__outputter__.values()) == {"verification"}


def test_only_the_services_own_doors_are_tried(host):
    host.services[0]["account"]["groups"] = ["valkey-clients"]
    host.services[0]["units"] = [{"kind": "container", "name": "notes-web", "socket_groups": ["valkey-clients"]}]
    host.status.write_text(STATUS.replace("101 102 991", "102 991"))
    assert failures() == {}
    assert not any("gets in at /run/postgresql" in check["name"] for check in verify.host()["checks"])


def test_a_group_that_does_not_exist_is_no_crash(host, monkeypatch):
    def getgrnam(name):
        return {"postgres-clients": SimpleNamespace(gr_gid=101)}[name]

    monkeypatch.setattr(verify_service.grp, "getgrnam", getgrnam)
    failed = failures()
    assert f"notes gets in at {VK}" in failed
    assert (
        "(101, None)" in failed["notes-web's process has the ids of notes"]
        or "(None, 101)" in failed["notes-web's process has the ids of notes"]
    )
