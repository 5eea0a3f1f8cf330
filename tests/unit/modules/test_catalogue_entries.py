"""
From the pillar to resolved services: what is kept, what is asked anew, and what is wrong.
"""

import datetime
import json
import sys

import pytest
import yaml
from dunders import functions
from tree import TREE, load

entries = load("modules", "catalogue_entries")

DEFAULTS = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
UTILS = [path.stem for path in (TREE / "_utils").glob("catalogue_*.py")] + [
    "authentik_entry",
    "caddy_directives",
    "client_groups",
    "postgres_tenants",
    "private_units",
    "quadlet_guard",
    "quadlet_text",
    "service_units",
    "units",
    "valkey_acl",
]


class Host:
    """A host with some entries, as one run sees it; ``again`` is the next run."""

    def __init__(self, patch, tmp_path):
        self.patch = patch
        self.file = tmp_path / "state/catalogue.json"
        self.taken = {"users": {}, "groups": [], "units": {}}
        self.ports = {}
        self.listening = []
        self.images = {}
        self.strangers = {}
        self.looked = []
        self.postgresql = None  # roles and databases of a server that runs
        self.calendar = []
        self.judged = 0
        self.opts = {"test": False}
        self.rick = json.loads(json.dumps({**DEFAULTS, "services": {}, "services_errors": []}))
        patch.setattr(load("utils", "catalogue_cache"), "FILE", str(self.file))
        utils = functions("utils", *UTILS)
        complete = utils["catalogue_schema.complete"]

        def counted(data):
            self.judged += 1
            return complete(data)

        utils["catalogue_schema.complete"] = counted
        utils["catalogue_host.taken"] = lambda units: self.taken
        utils["catalogue_host.ports"] = lambda names: {name: self.ports[name] for name in names if name in self.ports}
        utils["catalogue_host.listening"] = lambda: self.listening
        utils["catalogue_host.image"] = lambda container: self.images.get(container)

        def strangers(wanted, names):
            self.looked.append((wanted, names))
            return self.strangers

        utils["catalogue_listeners.strangers"] = strangers

        def not_calendar(events):
            self.calendar.append(events)
            return {event: "no" for event in events if event == "nonsense"}

        utils["units.not_calendar"] = not_calendar
        salt = {
            "postgresql.server": lambda: {"accepting": self.postgresql is not None},
            "postgresql.inventory": lambda: self.postgresql,
        }
        for name, value in {
            "__utils__": utils,
            "__salt__": salt,
            "__grains__": {"oscodename": "trixie", "mem_total": 3900},
            "__opts__": self.opts,
        }.items():
            patch.setattr(entries, name, value, raising=False)
        self.again()

    def again(self, services=None, **rick):
        if services is not None:
            self.rick = {**self.rick, "services": services}
        self.rick = {**self.rick, **rick}
        self.patch.setattr(entries, "__pillar__", {"rick": self.rick}, raising=False)
        self.patch.setattr(entries, "__context__", {}, raising=False)
        self.judged = 0
        self.calendar = []
        return self


@pytest.fixture
def host(monkeypatch, tmp_path):
    return Host(monkeypatch, tmp_path)


APP = {"image": "app:1", "port": 80}


def test_without_entries_there_is_nothing_and_nothing_wrong(host):
    assert entries.problems() == []
    assert entries.known()["services"] == {}


def test_services_are_complete(host):
    host.again({"a": APP, "b": {**APP, "needs": "a", "timers": {"x": {"schedule": "daily"}}}})
    assert entries.problems() == []
    known = entries.known()
    assert known["order"] == ["a", "b"]
    b = known["services"]["b"]
    assert b["files"] == ["b.network", "b.pod", "b-web.container"]
    assert [one["name"] for one in b["timers"]] == ["b-x"]
    assert len(b["digest"]) == 64
    json.dumps(known)


def test_within_a_run_the_work_is_done_once(host):
    host.again({"a": APP})
    assert entries.known() is entries.known()
    assert host.judged == 1


def test_the_next_run_reads_what_was_kept(host):
    host.again({"a": APP})
    before = entries.known()
    host.again()
    assert json.dumps(entries.known()) == json.dumps(before)
    assert host.judged == 0


def test_what_is_kept_is_read_without_the_library_that_validates(host, monkeypatch):
    host.again({"a": APP})
    entries.known()
    host.again()
    utils = {name: one for name, one in entries.__utils__.items() if not name.startswith("catalogue_schema.")}
    monkeypatch.setattr(entries, "__utils__", utils)
    assert entries.known()["order"] == ["a"]


def test_once_the_services_run_what_was_kept_still_holds(host):
    host.again({"a": APP, "b": APP})
    before = entries.known()["services"]
    host.ports = {name: service["port"] for name, service in before.items()}
    host.again()
    assert {name: one["port"] for name, one in entries.known()["services"].items()} == host.ports
    assert host.judged == 0


def test_a_port_that_a_service_has_stays(host):
    host.ports = {"a": 23456}
    host.again({"a": APP})
    assert entries.known()["services"]["a"]["port"] == 23456


@pytest.mark.parametrize(
    "change",
    [
        {"services": {"a": {**APP, "image": "app:2"}}},
        {"services": {"a": APP, "b": APP}},
        {"postgresql": {**DEFAULTS["postgresql"], "max_connections": 300}},
        {"services_errors": ["/etc/rick-infra/services/x.yaml:1: no"]},
    ],
)
def test_a_change_is_noticed(host, change):
    host.again({"a": APP})
    entries.known()
    host.again(**change)
    entries.known()
    assert host.judged


@pytest.mark.parametrize("damage", ["", "{", '{"keys": 1}', None])
def test_a_lost_or_damaged_file_is_made_anew(host, damage):
    host.again({"a": APP})
    before = entries.known()
    host.file.unlink()
    if damage is not None:
        host.file.write_text(damage)
    host.again()
    assert json.dumps(entries.known()) == json.dumps(before)
    assert host.judged == 1
    host.again()
    entries.known()
    assert host.judged == 0


def test_test_mode_leaves_no_file(host):
    host.opts["test"] = True
    host.again({"a": APP})
    entries.known()
    assert not host.file.exists()


def test_what_is_wrong_is_kept_as_well(host):
    for _ in range(2):
        host.again({"a": {"image": "a"}})
        assert len(entries.problems()) == 1
        assert entries.known()["services"] == {}
    assert host.judged == 0


def test_all_that_is_wrong_is_told_at_once_and_sorted(host):
    host.again(
        {
            "a": {"image": "a", "hots_port": 1},
            "b": {**APP, "uid": 2000, "env": {"X": "{secret.nonesuch}"}},
            "c": {**APP, "uid": 2000, "needs": "d"},
            "Bad": APP,
        },
        services_errors=["/etc/rick-infra/services/x.yaml:1: holds nothing"],
        only=["z"],
        valkey={**DEFAULTS["valkey"], "maxmemory": "lots"},
    )
    found = entries.problems()
    assert found == sorted(found)
    assert [text.partition(": ")[0] for text in found] == [
        "/etc/rick-infra/services/x.yaml:1",
        "rick:only",
        "rick:services:Bad",
        "rick:services:a",
        "rick:services:a:image",
        "rick:services:b:env:X",
        "rick:services:c:needs",
        "rick:services:c:uid",
        "rick:valkey:maxmemory",
    ]


def places(found):
    return [text.partition(": ")[0].removeprefix("rick:services:") for text in found]


def env(**values):
    return {"env": values}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"healht": "/", **env(A="{postgres.url}")}, ["a", "a:env:A"]),
        ({"health": 5, "volumes": {"x": "/tmp"}}, ["a:health", "a:volumes:x:path"]),
        ({"healht": "/", "site": {"domains": "a.b", "directives": "header {"}}, ["a", "a:site:directives"]),
        ({"postgres": {"databse": "x"}, **env(A="{postgres.url} {postgres.ulr}")}, ["a:env:A", "a:postgres"]),
        ({"secrets": {"s": {"pilar": "x"}}, **env(A="{secret.s}", B="{secret.t}")}, ["a:env:B", "a:secrets:s"]),
        (
            {"containers": {"web": {"zzz": 1, "env": {"A": "{site.url}"}}}},
            ["a:containers:web", "a:containers:web:env:A"],
        ),
    ],
)
def test_a_mistake_hides_no_other_of_the_same_entry(host, data, told):
    host.again({"a": {**APP, **data}})
    assert places(entries.problems()) == told


@pytest.mark.parametrize(
    "data",
    [
        {"postgress": True, **env(A="{postgres.url}")},
        {"postgres": {"auth": "scrm"}, **env(A="{postgres.password}")},
        {"postgres": 5, **env(A="{postgres.url}")},
        {"valkey": {"isolation": "instanc", "commands": ["+flushall"]}, **env(A="{valkey.url}")},
        {"secrets": {"s": 5}, "registry_auth": "s", **env(A="{secret.s}")},
        {"secrts": {"s": True}, **env(A="{secret.s}")},
        {"domains": ["a.b"], **env(A="{site.url}")},
        {"port": "80", **env(A="{service.port}")},
        {"auth": {"pattern": "oauth"}, **env(A="{auth.issuer} {auth.group_admins} {secret.auth}")},
        {"valkey": 5, **env(A="{secret.valkey}")},
        {"tmpfs": "/x", "volumes": {"x": "/tmp"}},
        {"containers": {"w": {"tmfps": []}}, "volumes": {"x": "/tmp"}},
    ],
)
def test_what_only_follows_from_a_mistake_is_not_told(host, data):
    host.again({"a": {**APP, **data}})
    assert len(entries.problems()) == 1, entries.problems()


def test_a_mistake_in_the_infrastructure_hides_none_in_an_entry(host):
    entry = {**APP, "postgres": True, "valkey": True, **env(A="{valkey.ulr}"), "volumes": {"x": "/run/valkey"}}
    wrong = {
        "valkey": {**DEFAULTS["valkey"], "maxmemory": "lots"},
        "postgresql": {**DEFAULTS["postgresql"], "max_connections": 0},
    }
    host.again({"a": entry}, **wrong)
    assert sorted(places(entries.problems())) == [
        *("a:env:A", "a:volumes:x:path", "rick:postgresql:max_connections", "rick:valkey:maxmemory"),
    ]
    assert entries.known()["services"] == {}


def test_who_needs_a_service_whose_file_cannot_be_read_is_not_blamed(host):
    host.again({"a": {**APP, "needs": "x"}}, services_errors=["/etc/rick-infra/services/x.yaml:1: holds nothing"])
    assert entries.problems() == ["/etc/rick-infra/services/x.yaml:1: holds nothing"]


def test_a_name_that_is_taken_on_the_host_is_told_although_the_entry_has_not_changed(host):
    host.again({"a": APP})
    assert entries.problems() == []
    host.taken = {**host.taken, "users": {"a": (1000, "Alice")}}
    host.again()
    assert entries.problems() == [
        "rick:services:a: user a (uid 1000) exists on this host and is no service's; take another name"
    ]
    assert host.judged == 0


@pytest.mark.parametrize("only", ["a", ["a"], [], None])
def test_some_of_the_services_can_be_asked_for(host, only):
    host.again({"a": APP}, only=only)
    assert entries.problems() == []


@pytest.mark.parametrize("only", ["nonesuch", ["a", "nonesuch"], [5], {"a": 1}, 5])
def test_asking_for_what_is_not_there_is_an_error(host, only):
    host.again({"a": APP}, only=only)
    (problem,) = entries.problems()
    assert problem.startswith("rick:only: ")


def test_without_the_external_pillar_no_service_disappears_in_silence(host, monkeypatch):
    rick = {key: value for key, value in host.rick.items() if key not in ("services", "services_errors")}
    monkeypatch.setattr(entries, "__pillar__", {"rick": rick})
    (problem,) = entries.problems()
    assert "ext_pillar: [services: /etc/rick-infra/services]" in problem


@pytest.mark.parametrize("rick", [None, [], "x", 5, {"services": []}, {"services": "a", "services_errors": "x"}])
def test_a_pillar_of_another_shape_is_a_problem_and_no_exception(host, monkeypatch, rick):
    monkeypatch.setattr(entries, "__pillar__", {"rick": rick})
    assert entries.problems()
    assert entries.known()["services"] == {}


@pytest.mark.parametrize(
    "change", [{"description": "other"}, {"rollback": False}, {"data": "delete"}, {"needs": ["b"]}]
)
def test_what_does_not_change_what_runs_is_no_other_definition(host, change):
    host.again({"a": APP, "b": APP})
    before = entries.known()["services"]["a"]["digest"]
    host.again({"b": APP, "a": {**dict(reversed(APP.items())), **change}})
    assert entries.known()["services"]["a"]["digest"] == before


@pytest.mark.parametrize(
    "change", [{"image": "app:2"}, {"env": {"A": "1"}}, {"site": "a.example"}, {"host_port": 9000}]
)
def test_another_definition_has_another_digest(host, change):
    host.again({"a": APP})
    before = entries.known()["services"]["a"]["digest"]
    host.again({"a": {**APP, **change}})
    assert entries.known()["services"]["a"]["digest"] != before


def test_pydantic_is_what_the_schema_imports_and_nothing_else_does():
    importing = [
        path.name
        for path in (TREE / "_utils").glob("*.py")
        if "import pydantic" in path.read_text() or "from pydantic" in path.read_text()
    ]
    assert importing == ["catalogue_schema.py"]
    assert "pydantic" in sys.modules


@pytest.mark.parametrize("name", ["a\0b", datetime.date(2026, 1, 1), 5, None, "a/b"])
def test_a_name_of_another_kind_is_a_problem_and_no_exception(host, name):
    host.again({name: APP})
    assert any("cannot be the name of a service" in text for text in entries.problems())


def test_a_key_of_another_kind_is_a_problem_and_no_exception(host):
    host.again({"a": {**APP, datetime.date(2026, 1, 1): 1, "env": {5: "x"}}})
    assert {text.partition(": ")[0] for text in entries.problems()} >= {"rick:services:a:env:5"}


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"timers": {"x": {"schedule": "nonsense"}}}, "a:timers:x:schedule"),
        ({"valkey": {"commands": ["+scan", "+@dangerous"]}}, "a:valkey:commands:1"),
        ({"valkey": {"isolation": "instance", "commands": ["+acl"]}}, "a:valkey:commands:0"),
        ({"valkey": {"commands": ["+flushall"]}}, "a:valkey:commands:0"),
        ({"site": {"domains": "a.b", "directives": "header {"}}, "a:site:directives"),
        ({"site": {"domains": "a.b", "directives": "import /etc/shadow"}}, "a:site:directives"),
        ({"volumes": {"x": "/data", "y": "//data/"}}, "a:volumes:y:path"),
        ({"volumes": {"x": "/tmp"}}, "a:volumes:x:path"),
        ({"volumes": {"x": "/"}}, "a:volumes:x:path"),
        ({"containers": {"w": {"tmpfs": ["/x", "/x/."]}}}, "a:containers:w:tmpfs"),
        ({"volumes": {"x": "/x"}, "secrets": {"s": {"mount": "/x"}}}, "a:secrets:s:mount"),
        ({"postgres": True, "volumes": {"x": "/run/postgresql"}}, "a:volumes:x:path"),
        ({"allow_binds": True, "binds": [{"source": "/run", "path": "/x"}]}, "a:binds:0:source"),
        ({"allow_binds": True, "binds": [{"source": "/run/rick-infra", "path": "/x"}]}, "a:binds:0:source"),
        ({"allow_binds": True, "binds": [{"source": "/var/run/valkey/", "path": "/x"}]}, "a:binds:0:source"),
    ],
)
def test_what_a_state_would_refuse_is_told_at_its_place(host, data, place):
    host.again({"a": {**APP, **data}})
    assert places(entries.problems()) == [place]
    assert entries.known()["services"] == {}


def test_all_that_states_would_refuse_is_told_at_once(host):
    timers = {"x": {"schedule": "nonsense"}, "y": {"schedule": "daily"}}
    host.again(
        {
            "a": {**APP, "timers": timers, "valkey": {"commands": ["+acl"]}, "volumes": {"x": "/tmp"}},
            "b": {**APP, "timers": timers},
            "c": {**APP, "hots_port": 1},
        }
    )
    assert places(entries.problems()) == [
        "a:timers:x:schedule",
        "a:valkey:commands:0",
        "a:volumes:x:path",
        "b:timers:x:schedule",
        "c",
    ]
    assert host.calendar == [["nonsense", "daily"]], "one question for all schedules"


def test_schedules_are_judged_only_when_the_catalogue_has_changed(host):
    host.again({"a": {**APP, "timers": {"x": {"schedule": "daily"}}}})
    assert entries.problems() == []
    host.again()
    assert entries.problems() == []
    assert host.calendar == []


HELD = {**APP, "host_port": 8092, "publish": [{"port": 53, "host_port": 53, "address": "::", "protocol": "udp"}]}


def test_a_port_that_a_stranger_holds_is_told_until_it_is_free(host):
    host.strangers = {("127.0.0.1", 8092, "tcp"): "nginx", ("::", 53, "udp"): "named"}
    for _ in range(2):
        host.again({"a": HELD, "b": APP})
        assert entries.problems() == [
            "rick:services:a:host_port: port 8092/tcp of 127.0.0.1 is taken by nginx",
            "rick:services:a:publish:0: port 53/udp of :: is taken by named",
        ]
        assert entries.known()["services"] == {}
    host.strangers = {}
    host.again()
    assert entries.problems() == []


def test_who_holds_ports_is_asked_only_when_the_catalogue_has_changed_and_for_what_runs_only(host):
    host.again({"a": HELD, "off": {**HELD, "state": "stopped", "host_port": 1, "publish": []}})
    assert entries.problems() == []
    assert host.looked == [([("127.0.0.1", 8092, "tcp"), ("::", 53, "udp")], ["a", "off"])]
    host.again()
    assert entries.problems() == []
    assert len(host.looked) == 1


def test_a_new_port_is_none_where_something_listens(host):
    host.again({"a": APP})
    first = entries.known()["services"]["a"]["port"]
    host.file.unlink()
    host.listening = [first]
    host.again()
    assert entries.known()["services"]["a"]["port"] == first + 1
    # What listens at the port that a service has is the service.
    host.ports = {"a": first}
    host.again()
    assert entries.known()["services"]["a"]["port"] == first


ROLE = {"comment": None}


@pytest.mark.parametrize(
    ("postgres", "server", "told"),
    [
        (True, {"roles": {"a": ROLE}, "databases": {}}, "role a exists and was not made for it"),
        ("shop", {"roles": {}, "databases": {"shop": {"comment": None, "owner": "postgres"}}}, "database shop exists"),
        ({"readonly_roles": ["r"]}, {"roles": {"r": ROLE}, "databases": {}}, "role r exists"),
    ],
)
def test_what_exists_in_postgresql_and_is_no_services_is_told_before_anything_changes(host, postgres, server, told):
    host.again({"a": {**APP, "postgres": postgres}})
    assert entries.problems() == []
    host.postgresql = server
    host.again()
    (problem,) = entries.problems()
    assert problem.startswith(f"rick:services:a:postgres: {told}")
    assert "COMMENT ON" in problem
    assert host.judged == 0


def test_what_is_the_services_own_in_postgresql_is_fine(host):
    mark = {"comment": "rick-infra service a"}
    host.postgresql = {"roles": {"a": mark}, "databases": {"a": {**mark, "owner": "a"}}}
    host.again({"a": {**APP, "postgres": True}})
    assert entries.problems() == []


def test_without_a_database_postgresql_is_not_asked(host, monkeypatch):
    monkeypatch.setattr(entries, "__salt__", {})
    host.again({"a": APP, "b": {"state": "absent", "postgres": True}})
    assert entries.problems() == []


def _authentik(host, services=None, **settings):
    return host.again(services, authentik={**DEFAULTS["authentik"], "domain": "auth.example.org", **settings})


BEHIND = {"image": "app:1", "port": 80, "site": "a.example.org", "auth": "forward_auth"}


def test_a_host_with_a_domain_for_logins_runs_authentik(host):
    _authentik(host, {"a": BEHIND})
    assert entries.problems() == []
    known = entries.known()
    assert known["order"] == ["a", "authentik"]
    assert known["services"]["authentik"]["files"] == [
        "authentik.network",
        "authentik.pod",
        "authentik-server.container",
        "authentik-worker.container",
    ]


def test_without_a_domain_there_is_no_authentik(host):
    host.again({"a": APP})
    assert "authentik" not in entries.known()["services"]
    host.again({"a": BEHIND})
    assert [one for one in entries.problems() if "say rick:authentik:domain" in one]


def test_a_mistake_in_its_settings_is_told_once_and_stops_the_services(host):
    _authentik(host, {"a": BEHIND}, version="newest")
    (problem,) = entries.problems()
    assert problem.startswith("rick:authentik:version: 'newest' is not a release")
    assert entries.known()["services"] == {}
    _authentik(host, {"a": BEHIND}, version=2026)
    (problem,) = entries.problems()
    assert problem.startswith("rick:authentik:version: 2026 is not str")


def test_its_name_is_taken(host):
    _authentik(host, {"authentik": APP})
    (problem,) = entries.problems()
    assert problem.startswith("rick:services:authentik: this host runs Authentik already")


def test_a_jump_over_a_release_is_refused_before_anything_changes(host):
    host.images = {"authentik-server": "ghcr.io/goauthentik/server:2025.10.3"}
    _authentik(host, {"a": APP})
    (problem,) = entries.problems()
    assert "2025.10.3 cannot become 2026.2.3 at once" in problem


def test_subnets_do_not_overlap(host):
    _authentik(host, {"a": {**APP, "subnet": "10.89.255.0/24"}})
    (problem,) = entries.problems()
    assert (
        problem == "rick:services:authentik:subnet: 10.89.255.0/29 overlaps with rick:services:a:subnet, 10.89.255.0/24"
    )
