"""
What people and states ask of the catalogue.
"""

import subprocess

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import TREE, load

catalogue = load("modules", "catalogue")
schema = load("utils", "catalogue_schema")
resolve = load("utils", "catalogue_resolve")
service_units = load("utils", "service_units")

HOST = {
    "postgresql": {"unit": "postgresql@17-main.service"},
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
    "ports": {},
}
ENTRIES = {
    "wiki": {"image": "wiki:1", "port": 80, "site": "wiki.example", "needs": "notes", "valkey": "instance"},
    "notes": {"image": "notes:1", "port": 80, "postgres": "others", "valkey": True, "env": {"DB": "{postgres.url}"}},
    "queue": {"image": "queue:1", "postgres": {"auth": "scram"}, "containers": {"web": {}, "worker": {}}},
    "old": {"state": "absent"},
    "idle": {"image": "idle:1", "state": "stopped"},
}
ORDER = ["idle", "notes", "old", "queue", "wiki"]


@pytest.fixture
def host(monkeypatch):
    """The entries, known without a pillar; what is asked of others is written down."""
    declared = {name: schema.complete(data)[0] for name, data in ENTRIES.items()}
    services, problems = resolve.resolve(declared, HOST)
    assert not problems
    for name, service in services.items():
        service["units"] = service_units.units(declared[name], service)
        service["files"] = service_units.files(declared[name], service)
        service["digest"] = f"digest of {name}"
    state = {"problems": [], "only": None, "refused": {}, "asked": [], "memory": {}}

    def refused(name, digest, secrets):
        state["asked"].append(name)
        assert digest == f"digest of {name}"
        return state["refused"].get(name)

    salt = {
        "catalogue_entries.problems": lambda: state["problems"],
        "catalogue_entries.known": lambda: {"names": list(services), "services": services, "order": ORDER},
        "catalogue_entries.declared": lambda: ENTRIES,
        "catalogue_entries.only": lambda: state["only"],
        "catalogue_entries.remembered": lambda: state["memory"],
        "generation.refused": refused,
        "generation.without_secrets": lambda name, text: text.replace(f"password of {name}", "***"),
        "secret.path": lambda name: f"/secrets/{name}",
        "postgresql.query": lambda sql, params: [
            {"context": "postmaster" if params == ["max_connections"] else "sighup"}
        ],
        "postgresql.query_as": lambda *arguments: [{"asked": arguments}],
    }
    utils = functions("utils", *[path.stem for path in (TREE / "_utils").glob("catalogue_*.py")], "valkey_settings")
    utils["catalogue_infrastructure.settings"] = lambda component, pillar, grains: {"unit": f"{component}.service"}
    for name, value in {
        "__salt__": salt,
        "__utils__": utils,
        "__context__": {},
        "__pillar__": {},
        "__grains__": {},
    }.items():
        monkeypatch.setattr(catalogue, name, value, raising=False)
    return state


@pytest.fixture
def commands(monkeypatch):
    """What is called, and with which outcome it ends."""
    called, outcome = [], {"returncode": 0, "stdout": "out\n", "stderr": ""}

    def run(command, **_):
        called.append(command)
        return subprocess.CompletedProcess(command, **outcome)

    monkeypatch.setattr(catalogue.subprocess, "run", run)
    return called, outcome


def names(services):
    return [service["name"] for service in services]


# --- for states ------------------------------------------------------------------------------------------------------


def test_services_come_in_their_order(host):
    assert names(catalogue.services()) == ORDER


def test_some_can_be_asked_for_and_wait_for_nobody_else(host):
    host["only"] = ["wiki"]
    (wiki,) = catalogue.services()
    assert (wiki["name"], wiki["needs"]) == ("wiki", [])
    host["only"] = ["wiki", "notes"]
    assert [one["needs"] for one in catalogue.services()] == [[], ["notes"]]


def test_a_wrong_catalogue_has_no_services(host):
    host["problems"] = ["rick:services:notes: wrong"]
    assert catalogue.services() == []


def test_a_refused_definition_is_told_and_not_waited_for(host):
    host["refused"] = {"notes": "it did not become healthy"}
    found = {one["name"]: one for one in catalogue.services()}
    assert found["notes"]["refused"] == "it did not become healthy"
    assert found["wiki"]["refused"] is None
    assert found["wiki"]["needs"] == []
    assert catalogue.show("wiki")["needs"] == ["notes"]


def test_only_what_is_to_run_can_be_refused_and_is_asked_about_once(host):
    catalogue.services()
    catalogue.services()
    catalogue.part("notes", "refused")
    assert sorted(host["asked"]) == ["notes", "queue", "wiki"]


def test_a_part_of_a_service(host):
    assert catalogue.part("notes", "account", "user") == "notes"
    assert catalogue.part("notes", "postgres")["database"] == "others"
    assert catalogue.part("notes") == catalogue.show("notes")


@pytest.mark.parametrize("path", [["nonesuch"], ["name", "x"], ["needs", "0"]])
def test_a_part_that_is_not_there_is_an_error(host, path):
    with pytest.raises(CommandExecutionError, match=f"service notes has no {':'.join(path)}"):
        catalogue.part("notes", *path)


# --- for people ------------------------------------------------------------------------------------------------------


def test_check_counts_the_services(host):
    assert catalogue.check() == "5 services, no errors"
    assert "retcode" not in catalogue.__context__


def test_check_tells_each_error_and_ends_with_another_exit_code(host):
    host["problems"] = ["rick:services:a: one", "rick:services:b: two"]
    assert catalogue.check() == "rick:services:a: one\nrick:services:b: two"
    assert catalogue.__context__["retcode"] == 1


def test_the_list_is_short(host):
    assert catalogue.list_()["wiki"] == {
        "state": "present",
        "port": catalogue.show("wiki")["port"],
        "domains": ["wiki.example"],
        "images": ["wiki:1"],
        "needs": ["notes"],
    }


def test_a_service_that_is_not_there_is_told(host):
    with pytest.raises(CommandExecutionError, match=r"there is no service 'note' .*\(did you mean 'notes'\?\)"):
        catalogue.show("note")


@pytest.mark.parametrize(
    "call",
    [
        lambda: catalogue.show("notes"),
        lambda: catalogue.list_(),
        lambda: catalogue.impact("notes"),
        lambda: catalogue.part("notes"),
        lambda: catalogue.logs("notes"),
        lambda: catalogue.psql("notes"),
    ],
)
def test_of_a_wrong_catalogue_the_errors_are_told(host, call):
    host["problems"] = ["rick:services:a: one", "rick:services:b: two"]
    with pytest.raises(CommandExecutionError, match=r"(?s)a: one.*b: two"):
        call()


def test_the_schema_is_for_an_entry(host):
    assert catalogue.schema()["title"] == "A service of rick-infra"


@pytest.mark.parametrize("what", ["notes", "rick:services:notes", "notes:env:DB", "rick:services:notes:image"])
def test_impact_of_a_service_and_of_its_keys(host, what):
    answer = catalogue.impact(what)
    assert answer["restarts"] == ["notes-web.service"]
    assert answer["ordered_after"] == ["wiki"]


@pytest.mark.parametrize(
    ("what", "hint"),
    [
        ("notes:enf", "did you mean 'env'"),
        ("notes:postgres:databse", "did you mean 'database'"),
        ("queue:containers:worker:comand", "did you mean 'command'"),
    ],
)
def test_impact_of_a_key_that_no_entry_has_is_an_error(host, what, hint):
    with pytest.raises(CommandExecutionError, match=hint):
        catalogue.impact(what)


@pytest.mark.parametrize(
    ("what", "restarts", "reloads", "connected"),
    [
        ("rick:postgresql:max_connections", ["postgresql.service"], [], ["notes", "queue"]),
        ("rick:postgresql:settings:work_mem", [], ["postgresql.service"], ["notes", "queue"]),
        ("rick:postgresql", ["postgresql.service"], [], ["notes", "queue"]),
        ("rick:valkey:maxmemory", [], ["valkey.service"], ["notes"]),
        ("rick:valkey:settings:io_threads", ["valkey.service"], [], ["notes"]),
        ("rick:caddy:email", [], ["caddy.service"], []),
        ("rick:podman:remove_rootless", [], [], []),
    ],
)
def test_impact_of_the_infrastructure(host, what, restarts, reloads, connected):
    answer = catalogue.impact(what)
    assert (answer["restarts"], answer["reloads"], answer["connected"]) == (restarts, reloads, connected)


def test_impact_of_an_unknown_setting_is_an_error(host):
    with pytest.raises(CommandExecutionError, match="did you mean 'max_connections'"):
        catalogue.impact("rick:postgresql:max_conections")


def test_logs_show_no_secret_that_a_service_tells(host, commands):
    commands[1]["stdout"] = "logged in with password of queue\n"
    assert catalogue.logs("queue") == "logged in with ***"


def test_logs_are_those_of_all_units_of_a_service(host, commands):
    assert catalogue.logs("queue", lines=5) == "out"
    (command,) = commands[0]
    assert command[:4] == ["journalctl", "--no-pager", "--output=short-iso", "--lines=5"]
    assert set(command[4:]) == {
        "--unit=queue-web.service",
        "--unit=queue-worker.service",
        "--unit=queue-pod.service",
    }


@pytest.mark.parametrize("lines", [0, -1, "5", True, None])
def test_lines_are_a_number(host, commands, lines):
    with pytest.raises(SaltInvocationError, match="is not a number above 0"):
        catalogue.logs("notes", lines=lines)


def test_a_command_is_a_list_and_no_shell_takes_part(host, commands):
    assert catalogue.exec_("notes", ["echo", "$HOME; id", 5]) == "out"
    assert catalogue.exec_("queue", ["id"], container="worker") == "out"
    assert commands[0] == [
        ["podman", "exec", "notes-web", "echo", "$HOME; id", "5"],
        ["podman", "exec", "queue-worker", "id"],
    ]


@pytest.mark.parametrize("command", ["id; rm -rf /", [], None, [["x"]]])
def test_a_command_that_is_no_list_is_refused(host, commands, command):
    with pytest.raises(SaltInvocationError, match="is not a list of words"):
        catalogue.exec_("notes", command)
    assert commands[0] == []


@pytest.mark.parametrize(
    ("name", "container", "known"),
    [("queue", None, "web, worker"), ("queue", "x", "web, worker"), ("old", None, "none")],
)
def test_which_container_is_asked_where_it_is_not_clear(host, commands, name, container, known):
    with pytest.raises(SaltInvocationError, match=rf"say container=NAME \({known}"):
        catalogue.exec_(name, ["id"], container=container)


def test_a_command_that_fails_is_an_error_with_its_words(host, commands):
    commands[1].update(returncode=3, stderr="no such file")
    with pytest.raises(CommandExecutionError, match=r"(?s)podman exec notes-web: exit code 3.*no such file"):
        catalogue.exec_("notes", ["cat", "/nonexistent"])


def test_statements_run_as_the_service_in_its_database(host):
    assert catalogue.psql("notes", "SELECT 1") == [{"asked": ("notes", "SELECT 1", "others", "notes", None, None)}]
    assert catalogue.psql("queue", "SELECT 1") == [
        {"asked": ("queue", "SELECT 1", "queue", "queue", "/secrets/queue.postgres", None)}
    ]


def test_a_service_without_a_database_has_no_psql(host):
    with pytest.raises(CommandExecutionError, match=r"service wiki has no database \(rick:services:wiki:postgres\)"):
        catalogue.psql("wiki")


def test_orphans_are_asked_of_those_who_know(host, monkeypatch):
    tenants = {"gone": {"roles": ["gone"], "readonly_roles": [], "databases": ["gone"], "locked": True}}
    catalogue.__salt__.update(
        {
            "account.list": lambda: {"gone": {"service": "gone"}, "notes": {"service": "notes"}},
            "postgres_tenant.list": lambda server=None: tenants,
            "postgresql.servers": lambda: ["db.example.org"],
            "postgres_dump.list": lambda: {"gone": []},
            "valkey_user.list": lambda: [{"user": "gone", "instance": None}],
            "valkey_instance.list": lambda: [{"name": "gone", "declared": False, "data": True}],
            "private_socket.list": lambda: [{"name": "gone", "unit": "rick-private-gone-valkey"}],
            "caddy.sites": lambda: [{"service": "gone"}, {"service": None}],
            "quadlet_live.secrets": lambda: {"gone.token": 1},
            "quadlet_live.undeclared": lambda: {
                "gone": {"containers": [{"container": "gone-web"}], "networks": ["gone"]}
            },
            "generation.list": lambda: {"gone": ["/var/lib/rick-infra/services/gone"], "notes": ["x"]},
            "quadlet_live.declared": lambda: {"gone.pod": {"owner": "gone"}, "other.pod": {"owner": None}},
        }
    )
    utils = {
        "pod_timers.present": lambda: {"gone-clean.timer": "gone", "notes-clean.timer": "notes"},
        "catalogue_host.secret_files": lambda: ["gone.token", "notes.valkey"],
        "catalogue_host.homes": lambda: ["gone", "notes"],
    }
    monkeypatch.setattr(catalogue, "__utils__", {**catalogue.__utils__, **utils})
    ((name, left),) = catalogue.orphans().items()
    assert name == "gone"
    assert left.keys() == {
        *("user", "databases", "roles", "dumps", "valkey_user", "valkey_data", "private_sockets", "site", "units"),
        *("secrets", "directory", "containers", "networks", "generations", "way_out"),
    }
    assert left["units"] == ["gone.pod", "gone-clean.timer"]


@pytest.mark.parametrize("what", ["rick", "rick:services", "rick:services:", ""])
def test_impact_of_nothing_in_particular_is_an_error(host, what):
    with pytest.raises(CommandExecutionError, match="name one service"):
        catalogue.impact(what)


def test_a_secret_that_cannot_be_read_keeps_no_service_from_its_states(host, monkeypatch):
    def unreadable(name, digest, secrets):
        raise CommandExecutionError("/etc/token: No such file or directory")

    monkeypatch.setitem(catalogue.__salt__, "generation.refused", unreadable)
    assert [one["refused"] for one in catalogue.services()] == [None] * len(ORDER)
