"""
What only all entries together can tell.
"""

import pytest
from tree import load

schema = load("utils", "catalogue_schema")
names = load("utils", "catalogue_names")
checks = load("utils", "catalogue_checks")


def entries(**services):
    found = {}
    for name, data in services.items():
        entry, problems = schema.complete({"image": "a:1", **data})
        assert not problems, problems
        found[name.replace("_", "-")] = entry
    return found


def told(max_connections=200, known=(), **services):
    found = entries(**services)
    claims = {name: names.claims(name, entry) for name, entry in found.items()}
    return [
        text.removeprefix("rick:services:")
        for text in checks.problems(found, [*found, *known], max_connections, claims)
    ]


def test_services_that_share_nothing_are_fine():
    services = {
        name: {"port": 80, "site": f"{name}.example", "postgres": True, "valkey": True} for name in ("a", "b", "ab")
    }
    assert told(**services) == []


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        (
            {"port": 1, "host_port": 9000},
            {"port": 1, "host_port": 9000},
            "b:host_port: port 9000/tcp is taken by rick:services:a:host_port",
        ),
        (
            {"port": 1, "host_port": 9000},
            {"publish": [{"port": 1, "host_port": 9000, "address": "0.0.0.0"}]},  # noqa: S104 - test data
            "b:publish:0: port 9000/tcp is taken by rick:services:a:host_port",
        ),
        (
            {"publish": [{"port": 1, "host_port": 53, "protocol": "udp"}]},
            {"publish": [{"port": 1, "host_port": 53, "protocol": "udp"}]},
            "b:publish:0: port 53/udp is taken by rick:services:a:publish:0",
        ),
        (
            {"port": 1, "site": "x.example"},
            {"port": 1, "site": ["y.example", "x.example"]},
            "b:site:domains:1: domain x.example is taken by rick:services:a:site:domains:0",
        ),
        ({"uid": 2000}, {"uid": 2000}, "b:uid: uid 2000 is taken by rick:services:a:uid"),
        (
            {"postgres": "x"},
            {"postgres": "x"},
            "b:postgres:database: database x is taken by rick:services:a:postgres:database",
        ),
        ({"postgres": True}, {"postgres": "a"}, "b:postgres:database: database a is taken by rick:services:a:postgres"),
        ({}, {"postgres": "postgres"}, "b:postgres:database: database postgres is PostgreSQL's own"),
        (
            {"postgres": {"readonly_roles": ["reader"]}},
            {"postgres": {"readonly_roles": ["reader"]}},
            "b:postgres:readonly_roles:0: role reader is taken by rick:services:a:postgres:readonly_roles:0",
        ),
        ({}, {"postgres": {"readonly_roles": ["a"]}}, "b:postgres:readonly_roles:0: a is the role of service a"),
        (
            {},
            {"postgres": {"readonly_roles": ["pg_monitor"]}},
            "b:postgres:readonly_roles:0: role pg_monitor is PostgreSQL's own",
        ),
        (
            {"valkey": {"prefix": "x:"}},
            {"valkey": {"prefix": "x:"}},
            "b:valkey:prefix: prefix x: is taken by rick:services:a:valkey:prefix",
        ),
        (
            {"valkey": True},
            {"valkey": {"prefix": "a:b:"}},
            "b:valkey:prefix: prefix a:b: begins with that of rick:services:a:valkey, a:: each could read the other's "
            "keys",
        ),
        ({}, {"port": 1, "host_port": 443}, "b:host_port: port 443 is Caddy's"),
        ({}, {"needs": "b"}, "b:needs: a service cannot need itself"),
        ({}, {"needs": "c"}, "b:needs: there is no service 'c'"),
        ({"state": "stopped"}, {"needs": "a"}, "b:needs: a is stopped; stop this one, too, or do not need it"),
        ({"state": "absent"}, {"needs": "a"}, "b:needs: a is absent; stop this one, too, or do not need it"),
        ({}, {"registry_auth": "x"}, "b:registry_auth: there is no secret 'x' (known: none)"),
        (
            {},
            {"registry_auth": "tokem", "secrets": {"token": True}},
            "b:registry_auth: there is no secret 'tokem' (did you mean 'token'?)",
        ),
    ],
)
def test_what_two_cannot_have_or_nobody_has_is_told_once(one, other, sentence):
    assert told(a=one, b=other) == [sentence]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"publish": [{"port": 1, "host_port": 53, "protocol": "udp"}]}, {"publish": [{"port": 1, "host_port": 53}]}),
        (
            {"publish": [{"port": 1, "host_port": 53, "address": "192.0.2.1"}]},
            {"publish": [{"port": 1, "host_port": 53, "address": "192.0.2.2"}]},
        ),
        ({"port": 8080}, {"port": 8080}),
        ({"port": 1, "site": "*.example.org"}, {"port": 1, "site": "a.example.org"}),
        ({"valkey": "instance"}, {"valkey": {"prefix": "a:"}}),
        ({"state": "absent", "uid": 2000, "data": "delete"}, {"uid": 2000}),
        ({"state": "absent", "port": 1, "host_port": 9000}, {"port": 1, "host_port": 9000}),
        ({"state": "stopped"}, {"state": "stopped", "needs": "a"}),
        ({"state": "absent"}, {"state": "absent", "needs": ["a", "nonesuch"]}),
    ],
)
def test_what_does_not_meet_is_fine(one, other):
    assert told(a=one, b=other) == []


def test_data_that_is_kept_keeps_its_names():
    assert told(a={"state": "absent", "postgres": "x"}, b={"postgres": "x"}) == [
        "b:postgres:database: database x is taken by rick:services:a:postgres:database"
    ]


def test_a_misspelt_need_gets_a_suggestion():
    assert told(wiki={}, b={"needs": "wikki"}) == ["b:needs: there is no service 'wikki' (did you mean 'wiki'?)"]


def test_a_service_whose_file_cannot_be_read_may_be_needed():
    assert told(known=["broken"], a={"needs": "broken"}) == []


@pytest.mark.parametrize(
    ("needs", "shown"),
    [
        ({"a": "b", "b": "a"}, ["a:needs: a -> b -> a: none of them could start first"]),
        ({"c": "b", "b": "d", "d": "c"}, ["b:needs: b -> d -> c -> b: none of them could start first"]),
        ({"a": "b", "b": ["a", "c"], "c": "b"}, ["a:needs: a -> b -> a: none", "b:needs: b -> c -> b: none"]),
        ({"a": "b", "b": "c", "c": []}, []),
    ],
)
def test_a_cycle_is_shown_once(needs, shown):
    found = told(**{name: {"needs": needed} for name, needed in needs.items()})
    assert [text[: len(start)] for text, start in zip(found, shown, strict=True)] == shown


@pytest.mark.parametrize(
    ("services", "place"),
    [
        (
            {"a": {"containers": {"worker": {}}}, "a_worker": {}},
            "a-worker: a-worker is also what rick:services:a:containers:worker",
        ),
        (
            {"a": {"containers": {"x-web": {}}}, "a_x": {}},
            "a-x: a-x-web is also what rick:services:a:containers:x-web is called on the host; rename one of them",
        ),
        ({"a": {"timers": {"b": {"schedule": "daily"}}}, "a_b": {}}, "a-b: a-b is also what rick:services:a:timers:b"),
        (
            {"a": {"containers": {"x-pod": {}}}, "a_x": {}},
            "a-x: a-x-pod.service is also what rick:services:a:containers:x-pod",
        ),
    ],
)
def test_two_that_would_be_called_the_same_on_the_host_are_told(services, place):
    (sentence,) = told(**services)
    assert sentence.startswith(place)


def test_connections_must_fit_into_postgresql_with_a_reserve():
    services = {"a": {"postgres": {"connection_limit": 150}}, "b": {"postgres": {"connection_limit": 40}}}
    assert told(200, **services) == []
    assert told(199, **services) == [
        "rick:postgresql:max_connections: 199, of which 10 are kept for administration, but the services may open 190 "
        "(a 150, b 40): raise it to 200, or lower postgres:connection_limit of some"
    ]
    assert told(None, **services) == []


def test_all_is_told_at_once():
    assert len(told(a={"needs": "x", "uid": 2000}, b={"uid": 2000, "port": 1, "host_port": 80})) == 3


def test_those_that_need_none_come_first_and_each_after_those_it_needs():
    found = entries(d={}, a={"needs": "c"}, c={"needs": "d"}, b={"needs": ["d", "c"]}, e={})
    assert checks.order(found) == ["d", "e", "c", "a", "b"]


def test_roles_of_the_tree_itself_are_no_readers():
    own = [load("modules", "postgresql_password").group(), load("utils", "postgres_dumps").RESTORER]
    found = told(a={"postgres": {"readonly_roles": own}})
    assert [text.partition(": ")[0] for text in found] == [f"a:postgres:readonly_roles:{number}" for number in (0, 1)]


def test_read_only_roles_count_with_a_limit_of_their_own():
    readers = {"readonly_roles": ["r", "s"], "readonly_connection_limit": 10}
    assert told(200, a={"postgres": {"connection_limit": 170, **readers}}) == []
    (sentence,) = told(199, a={"postgres": {"connection_limit": 170, **readers}})
    assert "may open 190 (a 190)" in sentence


def test_what_is_taken_at_one_server_is_free_at_another():
    one = {"database": "shared", "readonly_roles": ["reader"], "connection_limit": 150}
    there = {**one, "host": "db.example.org"}
    assert told(max_connections=300, a={"postgres": one}, b={"postgres": there}) == []
    assert told(a={"postgres": there}, b={"postgres": there}) == [
        "b:postgres:database: database shared is taken by rick:services:a:postgres:database",
        "b:postgres:readonly_roles:0: role reader is taken by rick:services:a:postgres:readonly_roles:0",
    ]
