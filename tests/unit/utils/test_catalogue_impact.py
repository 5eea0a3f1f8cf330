"""
What restarts when a key changes. That nothing else does is shown with any entry in test_catalogue_any_entry.
"""

import pytest
from tree import load

schema = load("utils", "catalogue_schema")
resolve = load("utils", "catalogue_resolve")
service_units = load("utils", "service_units")
impact = load("utils", "catalogue_impact")

HOST = {
    "postgresql": {
        "unit": "postgresql@17-main.service",
        "servers": {"db": {"port": 5432, "authority": "/etc/ssl/db.crt"}},
    },
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
    "ports": {},
}
DATA = {
    "image": "app:1",
    "port": 8080,
    "site": "app.example",
    "health": "/health",
    "postgres": True,
    "valkey": True,
    "secrets": {"token": True, "file": {"mount": "/run/file"}, "unused": True},
    "volumes": {"data": "/data"},
    "env": {"A": "1"},
    "containers": {
        "web": {"env": {"URL": "{site.url}", "A": "2"}, "user": 33},
        "worker": {"env": {"DB": "{postgres.url}", "TOKEN": "x{secret.token}"}},
    },
    "timers": {"clean": {"schedule": "daily"}},
}
BOTH = ["app-web.service", "app-worker.service"]
WEB, WORKER = BOTH


def resolved(**services):
    entries = {name: schema.complete(data)[0] for name, data in services.items()}
    found, problems = resolve.resolve(entries, HOST)
    assert not problems
    for name, one in found.items():
        one["units"], one["files"] = service_units.units(entries[name], one), service_units.files(entries[name], one)
    return found


def of(key, data=DATA):
    services = resolved(app=data, page={"image": "p:1", "needs": "app"}, more={"image": "m:1", "needs": "page"})
    path = key.split(":")
    answer = impact.of_key(path, data, services["app"], list(services.values()))
    assert answer["says"]
    return answer


@pytest.mark.parametrize(
    ("key", "restarts", "caddy"),
    [
        ("env", BOTH, False),
        ("env:A", [WORKER], False),
        ("image", BOTH, False),
        ("user", [WORKER], False),
        ("containers:web", [WEB], False),
        ("containers:web:env:URL", [WEB], False),
        ("port", BOTH, False),
        ("host_port", BOTH, True),
        ("publish", BOTH, False),
        ("site", [WEB], True),
        ("site:domains", [WEB], True),
        ("site:tls", [], True),
        ("health", [], False),
        ("health:timeout", [], False),
        ("secrets:token", [WORKER], False),
        ("secrets:file", BOTH, False),
        ("secrets:unused", [], False),
        ("postgres", BOTH, False),
        ("postgres:connection_limit", [], False),
        ("postgres:database", [WORKER], False),
        ("valkey:commands", [], False),
        ("volumes:data", BOTH, False),
        ("volumes:data:owner", [], False),
        ("description", [], False),
        ("needs", [], False),
        ("rollback", [], False),
        ("timers:clean", [], False),
        ("state", BOTH, True),
    ],
)
def test_a_key_restarts_what_depends_on_it(key, restarts, caddy):
    answer = of(key)
    assert answer["restarts"] == restarts
    assert answer["reloads"] == (["caddy.service"] if caddy else [])
    assert answer["ordered_after"] == (["more", "page"] if restarts else [])


def test_what_does_not_run_is_not_restarted():
    assert of("image", {**DATA, "state": "stopped"})["restarts"] == []


def test_a_service_is_its_containers():
    services = resolved(app=DATA, page={"image": "p:1", "needs": "app"})
    answer = impact.of_service(services["app"], list(services.values()))
    assert (answer["restarts"], answer["ordered_after"]) == (BOTH, ["page"])


@pytest.fixture
def with_authentik(monkeypatch):
    monkeypatch.setitem(HOST, "sso", "auth.example")
    site = {"image": "app:1", "port": 80}
    return list(
        resolved(
            authentik={**site, "site": "auth.example", "containers": {"server": {}, "worker": {}}},
            board={**site, "site": "board.example", "auth": "forward_auth"},
            items={**site, "auth": "api"},
        ).values()
    )


AUTHENTIK = ["authentik-server.service", "authentik-worker.service"]


@pytest.mark.parametrize(
    ("key", "restarts", "reloads"),
    [
        ("version", AUTHENTIK, []),
        ("env", AUTHENTIK, []),
        ("subnet", AUTHENTIK, []),
        (None, AUTHENTIK, []),
        ("tls", [], ["caddy.service"]),
        ("domain", ["items-web.service"], ["caddy.service"]),
        ("connection_limit", [], []),
        ("token", [], []),
    ],
)
def test_a_setting_of_authentik_restarts_what_hangs_on_it(with_authentik, key, restarts, reloads):
    answer = impact.of_authentik([key] if key else [], with_authentik)
    assert (answer.get("restarts", []), answer.get("reloads", [])) == (restarts, reloads)


def test_without_authentik_its_settings_touch_nothing():
    assert impact.of_authentik(["version"], []) == {"says": "this host runs no Authentik"}


def test_a_server_elsewhere_concerns_those_that_have_a_database_there():
    there = {**DATA, "postgres": {"host": "db"}}
    services = list(resolved(app=there, other=DATA).values())
    assert impact.of_servers(["db", "port"], services)["restarts"] == BOTH
    assert impact.of_servers([], services)["restarts"] == BOTH
    assert "restarts" not in impact.of_servers(["db", "password"], services)
    assert impact.of_servers(["db2"], services)["restarts"] == []
    assert impact.of_key(["postgres", "host"], there, services[0], services)["restarts"] == BOTH
