"""
Whatever entries say: each is completed and resolved, or refused with its place. Nothing raises an exception.
"""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tree import load

schema = load("utils", "catalogue_schema")
errors = load("utils", "catalogue_errors")
names = load("utils", "catalogue_names")
checks = load("utils", "catalogue_checks")
resolve = load("utils", "catalogue_resolve")
service_units = load("utils", "service_units")
impact = load("utils", "catalogue_impact")
refusals = load("utils", "catalogue_refusals")
quadlet_text = load("utils", "quadlet_text")
caddy_site = load("utils", "caddy_site")
caddy_directives = load("utils", "caddy_directives")
valkey_acl = load("utils", "valkey_acl")
pod_timers = load("utils", "pod_timers")
postgresql_locales = load("utils", "postgresql_locales")
postgresql_names = load("utils", "postgresql_names")

HOST = {
    "postgresql": {
        "unit": "postgresql@17-main.service",
        "servers": {"db": {"port": 5432, "authority": "/etc/ssl/db.crt"}},
    },
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
    "ports": {},
    "sso": "auth.example",
}
SLOW = settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60, deadline=None)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(scalars.filter(lambda one: one == one), inner, max_size=3)
    ),
    max_leaves=6,
)
text = st.text(max_size=20) | st.sampled_from(
    [
        "{postgres.url}",
        "{valkey.redis_url:url}",
        "{secret.token}",
        "{secret.nonesuch}",
        "{{site.url}}",
        "{auth.client_secret}",
        "{auth.ca}",
        "{postgres.ca}",
        "{service.gateway}",
        "a$b%n\n\"'\\",
        "ü",
    ]
)
name = st.sampled_from(["web", "worker", "api", "clean"])
env = st.dictionaries(st.sampled_from(["A", "DATABASE_URL", "X.y"]), text, max_size=3)
health = st.sampled_from(["/health", {"command": "check me"}, {"path": "/", "timeout": "5min"}, None])
container = st.fixed_dictionaries(
    {},
    optional={
        "image": st.sampled_from(["app:1", "app", f"app@sha256:{'0' * 64}"]),
        "command": st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)),
        "env": env,
        "user": st.sampled_from(["service", "image", 33]),
        "sockets": st.sampled_from(["auto", "group", "private", "none"]),
        "capabilities": st.sampled_from([[], ["CHOWN"]]),
        "read_only": st.booleans(),
        "health": st.sampled_from([{"command": "check"}, None]),
        "registry_auth": st.sampled_from(["token", "nonesuch"]),
    },
)
auth = st.sampled_from(["none", "forward_auth", "api"]) | st.fixed_dictionaries(
    {"pattern": st.sampled_from(["forward_auth", "oauth2", "api"])},
    optional={
        "groups": st.lists(st.sampled_from(["admins", "users", "A"]), max_size=2),
        "policies": st.sampled_from(
            [{"networks": "10.0.0.0/8"}, {"hours": {"start": "08:00", "end": "18:00"}}, {"hours": {"start": "8"}}]
        ),
        "redirect_paths": st.sampled_from(["/callback", ["/a", "/b"]]),
        "redirect_uris": st.sampled_from([["app://x"], ["nonsense"]]),
        "scopes": st.sampled_from([["api:read"], {"api:read": "Read"}, ["two words"]]),
        "client": st.sampled_from(["public", "confidential"]),
        "lifetime": st.sampled_from(["8h", "30d", 1]),
        "clients": st.lists(name, max_size=2),
        "title": text,
    },
)
service = st.fixed_dictionaries(
    {"image": st.just("app:1")},
    optional={
        "state": st.sampled_from(["present", "stopped", "absent"]),
        "needs": st.lists(st.sampled_from(["a", "b", "c", "nonesuch"]), max_size=2),
        "uid": st.sampled_from([2000, 2001]),
        "port": st.sampled_from([8080, 80]),
        "host_port": st.sampled_from([9000, 443]),
        "publish": st.lists(
            st.fixed_dictionaries(
                {"port": st.just(1), "host_port": st.sampled_from([9000, 9001])},
                optional={"address": st.sampled_from(["0.0.0.0", "::", "::1"]), "protocol": st.just("udp")},  # noqa: S104 - test data
            ),
            max_size=2,
        ),
        "postgres": st.sampled_from(
            [
                True,
                "shared",
                {"auth": "scram"},
                {"host": "db"},
                {"host": "nonesuch"},
                {"readonly_roles": ["reader", "a"], "connection_limit": 150},
            ]
        ),
        "valkey": st.sampled_from([True, "instance", {"prefix": "a:"}, {"prefix": "a:b:"}]),
        "site": st.sampled_from(["a.example", ["a.example", "b.example"]]),
        "subnet": st.sampled_from(["10.1.0.0/29", "10.1.0.0/24"]),
        "auth": auth,
        "secrets": st.sampled_from([{"token": True}, {"token": {"mount": "/run/token"}}, {"token": {"file": "/x"}}]),
        "volumes": st.sampled_from([{"data": "/data"}, {"data": {"path": "/data", "owner": 5}}]),
        "env": env,
        "health": health,
        "containers": st.dictionaries(name, container, max_size=2),
        "init": container,
        "timers": st.dictionaries(name, container.map(lambda one: {"schedule": "daily", **one}), max_size=1),
    },
)
catalogues = st.dictionaries(st.sampled_from(["a", "a-web", "b", "c"]), service, max_size=3)


def judge(data, called):
    return errors.judge(data, called, schema.complete, schema.known_keys, schema.forms)[:2]


@SLOW
@given(anything | st.dictionaries(st.sampled_from(sorted(schema.Entry.model_fields)) | st.text(max_size=5), anything))
def test_any_data_is_completed_or_refused_with_a_place(data):
    entry, problems = judge(data, "notes")
    assert entry is not None or problems
    for path, told in problems:
        assert told
        sentence = errors.sentence("notes", path, told)
        assert sentence.startswith("rick:services:notes")
    if not problems:
        json.dumps(entry)


@SLOW
@given(service, st.sampled_from(sorted(schema.Entry.model_fields)), anything)
def test_one_wrong_value_among_right_ones_is_refused_at_its_key(data, key, value):
    before = judge(data, "notes")[1]
    _, problems = judge({**data, key: value}, "notes")
    if problems and not before:
        # What does not fit together may be told at the other end, as containers without image are.
        assert all(path for path, _ in problems)


@SLOW
@given(service, st.sampled_from(sorted(schema.Entry.model_fields)), anything)
def test_what_a_wrong_entry_leaves_can_be_resolved_and_judged(data, key, value):
    given_data = {**data, key: value}
    entry, _, doubtful = errors.judge(given_data, "notes", schema.complete, schema.known_keys, schema.forms)
    if entry is None:
        return
    services, _ = resolve.resolve({"notes": entry}, HOST, {"notes": doubtful})
    rules = (checks.containers, caddy_directives.statements, valkey_acl.line)
    opened = {bind["source"]: [] for bind in entry["binds"]}
    refusals.problems(entry, services["notes"], *rules, opened, doubtful)


def resolved(data):
    """Services and problems, as ``catalogue_entries`` has them."""
    entries, problems = {}, []
    for called, one in data.items():
        entry, wrong = judge(one, called)
        problems += [errors.sentence(called, path, told) for path, told in wrong]
        if not wrong:
            entries[called] = entry
    claims = {called: names.claims(called, entry) for called, entry in entries.items()}
    problems += checks.problems(entries, list(data), 200, claims)
    services, unresolved = resolve.resolve(entries, HOST)
    problems += [errors.from_sentence(one) for one in unresolved]
    for called, one in services.items():
        rules = (checks.containers, caddy_directives.statements, valkey_acl.line)
        opened = {bind["source"]: [] for bind in entries[called]["binds"]}
        found = refusals.problems(entries[called], one, *rules, opened)
        problems += [errors.sentence(called, path, told) for path, told in found]
    if not problems:
        for called, one in services.items():
            one["units"] = service_units.units(entries[called], one)
            one["files"] = service_units.files(entries[called], one)
            one["timers"] = service_units.timers(entries[called], one)
    return entries, services, problems


@SLOW
@given(catalogues)
def test_any_entries_are_resolved_or_refused_with_a_place(data):
    entries, services, problems = resolved(data)
    assert all(one.startswith(("rick:services:", "rick:postgresql:max_connections")) for one in problems)
    assert len(problems) == len(set(problems))
    if not problems:
        assert services.keys() == data.keys()
        assert sorted(checks.order(entries)) == sorted(data)
        json.dumps(services)


@SLOW
@given(catalogues)
def test_accepted_services_want_nothing_of_each_other(data):
    entries, services, problems = resolved(data)
    if problems:
        return
    running = [one for one in services.values() if one["state"] != "absent"]
    ports = [one["port"] for one in running if one["port"]]
    assert len(ports) == len(set(ports))
    assert len(domains := [one for s in running if s["site"] for one in s["site"]["domains"]]) == len(set(domains))
    units = [f"{one['name']}.{one['kind']}" for s in running for one in s["units"]]
    assert len(units) == len(set(units))
    order = checks.order(entries)
    for one in running:
        assert all(order.index(needed) < order.index(one["name"]) for needed in one["needs"])


@SLOW
@given(catalogues)
def test_the_order_of_keys_changes_nothing(data):
    def turned(value):
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    ports = {called: 20000 + number for number, called in enumerate(sorted(data))}
    one, other = (
        {called: judge(entry, called)[0] for called, entry in which.items()} for which in (data, turned(data))
    )
    host = {**HOST, "ports": ports}
    assert resolve.resolve(one, host)[0] == resolve.resolve(other, host)[0]


def restarting(before, after):
    """The containers that are others: their own definition, or the pod's that they are in."""
    old, new = ({f"{one['name']}.{one['kind']}": one for one in service["units"]} for service in (before, after))
    pod = old.get("a.pod") != new.get("a.pod") or before["account"]["uid"] != after["account"]["uid"]
    return {
        file.replace(".container", ".service")
        for file in before["files"]
        if file.endswith(".container") and (pod or old[file] != new.get(file))
    }


def told_to_caddy(site):
    return site and (caddy_site.text("a", site, [], None, ()), site["directives"])


@SLOW
@given(service.filter(lambda one: one.get("state", "present") == "present"), service, st.data())
def test_nothing_restarts_that_impact_does_not_tell(data, other, draw):
    data.pop("needs", None)
    key = draw.draw(st.sampled_from(sorted({*data, *other} - {"needs", "containers", "state"})))
    changed = {**data, key: other[key]} if key in other else {k: v for k, v in data.items() if k != key}
    _, before, wrong = resolved({"a": data})
    _, after, wrong_too = resolved({"a": changed})
    if wrong or wrong_too or before["a"]["files"] != after["a"]["files"]:
        return
    told = impact.of_key([key], data, before["a"], list(before.values()))
    told_after = impact.of_key([key], changed, after["a"], list(after.values()))
    assert restarting(before["a"], after["a"]) <= {*told["restarts"], *told_after["restarts"]}
    if told_to_caddy(before["a"]["site"]) != told_to_caddy(after["a"]["site"]):
        assert "caddy.service" in [*told["reloads"], *told_after["reloads"]]


# What lies at the edge of what a schema lets through, and what lies beyond it.
edge = st.text(max_size=8) | st.sampled_from(
    ["\r", "\x85", "\u2028", "\\", "a\\", ":U", ",uid=0", "{", "}", "{}", "ü", " ", '"', "`", "'", "%n", "$x", "#"]
)
path = edge.map(lambda one: f"/{one}") | st.sampled_from(["/data", "/tmp", "/run/postgresql", "/"])
site = st.fixed_dictionaries(
    {"domains": st.just("a.example")},
    optional={
        "directives": edge | st.sampled_from(["header {\n\tX y\n}", "import x", "log", "}", "a {$B}"]),
        "public_paths": st.lists(path, max_size=2),
        "tls": st.fixed_dictionaries({"certificate": path, "key": path}) | st.sampled_from(["acme", "internal"]),
        "max_body": st.sampled_from([10, "10MB", "1KiB", "x"]),
    },
)
odd = st.fixed_dictionaries(
    {"image": st.just("app:1"), "port": st.just(80)},
    optional={
        "command": st.lists(edge, max_size=2),
        "entrypoint": st.lists(edge, max_size=2),
        "health": path | st.fixed_dictionaries({"command": st.lists(edge, min_size=1, max_size=2)}),
        "env": st.dictionaries(st.just("A"), edge, max_size=1),
        "tmpfs": st.lists(path, max_size=2),
        "capabilities": st.lists(st.sampled_from(["CHOWN", "CAP_KILL", "ALL", "X"]), max_size=2),
        "stop_signal": st.sampled_from(["INT", "SIGRTMIN+1", "SIGX", "9"]),
        "volumes": st.dictionaries(name, path, max_size=2),
        "binds": st.lists(st.fixed_dictionaries({"source": path, "path": path}), max_size=1),
        "allow_binds": st.just(True),
        "secrets": st.dictionaries(name, st.fixed_dictionaries({"mount": path}), max_size=2),
        "site": site,
        "postgres": st.fixed_dictionaries(
            {},
            optional={
                "locale": st.sampled_from(["C", "xx", "de_DE.UTF-8", "de_DE"]) | edge,
                "database": st.sampled_from(["postgres", "shop-2", "_x"]) | edge,
                "readonly_roles": st.lists(st.sampled_from(["scram-clients", "r", "pg_x", "postgres"]), max_size=2),
            },
        ),
        "valkey": st.fixed_dictionaries(
            {},
            optional={
                "isolation": st.sampled_from(["prefix", "instance"]),
                "commands": st.lists(
                    st.sampled_from(["+scan", "+acl", "+@dangerous", "+-x|", "-@all", "+client|id"]), max_size=2
                ),
            },
        ),
        "timers": st.fixed_dictionaries({"x": st.fixed_dictionaries({"schedule": edge | st.just("daily")})}),
    },
)


@settings(suppress_health_check=list(HealthCheck), max_examples=300, deadline=None)
@given(odd)
def test_no_state_refuses_what_the_catalogue_accepts(data):
    entries, services, problems = resolved({"a": data})
    if problems:
        return
    entry, one = entries["a"], services["a"]
    for unit in one["units"]:
        made = quadlet_text.unit(unit["kind"], unit["definition"])
        written = quadlet_text.parse(unit["kind"], made.file_text(), "file")
        assert [line for line in written.lines if line[1]] == made.lines, "what is written is what is read"
    pod_timers.texts("a", one["timers"])
    if one["site"]:
        caddy_site.check("a", one["site"])
        caddy_directives.statements("a", one["site"]["directives"])
    if one["valkey"]:
        valkey_acl.line("a", "secret", one["valkey"]["prefix"] or None, one["valkey"]["commands"])
    if one["postgres"]:
        postgresql_locales.missing(one["postgres"]["locale"])
        postgresql_names.database(one["postgres"]["database"])
        for role in one["postgres"]["readonly_roles"]:
            postgresql_names.role(role)
    assert entry["containers"]["web"]["image"] == "app:1"
