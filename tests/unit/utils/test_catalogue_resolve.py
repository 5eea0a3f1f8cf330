"""
From an entry to a resolved service: ports, ways to the sockets, and values of the environment that arrive unchanged.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree import load

schema = load("utils", "catalogue_schema")
catalogue = load("utils", "catalogue_resolve")

HOST = {
    "postgresql": {"unit": "postgresql@17-main.service"},
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
    "ports": {},
}


def entry(**data):
    completed, problems = schema.complete({"image": "localhost/app:1", **data})
    assert not problems
    return completed


def resolved(ports=None, **data):
    services, problems = catalogue.resolve({"notes": entry(**data)}, {**HOST, "ports": ports or {}})
    assert not problems
    return services["notes"]


def problems_of(**data):
    return catalogue.resolve({"notes": entry(**data)}, HOST)[1]


def value(service, variable, container="web"):
    """The parts of a variable, wherever it is delivered."""
    if variable in service["environment"][container]:
        return [{"text": service["environment"][container][variable]}]
    return next(one["parts"] for one in service["values"] if one["name"] == f"notes.{container}.{variable}")


def text(parts):
    return "".join(part["text"] if "text" in part else f"<{part['secret']}>" for part in parts)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_arrives_unchanged(given_text):
    mentions = any(f"{{{root}." in given_text for root in ("postgres", "valkey", "secret", "service", "site"))
    if not mentions:
        assert text(value(resolved(env={"A": given_text}), "A")) == given_text


@pytest.mark.parametrize(
    "hostile", ["$HOME", "100%", 'say "x"', "it's", "a\nb", "back\\slash", "{a: 1}", "ü", " x", "x "]
)
def test_what_systemd_would_change_is_delivered_as_a_secret(hostile):
    service = resolved(env={"A": hostile})
    assert "A" not in service["environment"]["web"]
    assert text(value(service, "A")) == hostile


@pytest.mark.parametrize(
    "plain", ["", "8080", "https://a.example.org/x?y=1&z=2", "two words", "a,b;c".replace(";", ":")]
)
def test_a_plain_value_is_to_be_seen_in_the_unit(plain):
    assert resolved(env={"A": plain})["environment"]["web"] == {"A": plain}


def test_placeholders_stand_for_the_way_to_the_databases():
    service = resolved(
        postgres=True,
        valkey=True,
        env={
            "A": "{postgres.url}",
            "B": "{postgres.socket}",
            "C": "{valkey.url}",
            "D": "{valkey.redis_url}",
            "E": "{valkey.prefix}",
            "F": "{valkey.password}",
        },
    )
    assert {name: text(value(service, name)) for name in "ABCDEF"} == {
        "A": "postgresql://notes@/notes?host=/run/postgresql",
        "B": "/run/postgresql",
        "C": "unix://notes:<notes.valkey>@/run/valkey/valkey.sock?db=0",
        "D": "redis://notes:<notes.valkey>@localhost/0?unix_socket_path=/run/valkey/valkey.sock",
        "E": "notes:",
        "F": "<notes.valkey>",
    }


SERVERS = {"db.example.org": {"port": 6432, "user": "rick", "authority": "/etc/ssl/db.crt"}}


def elsewhere(servers=SERVERS, **data):
    """A service whose database is on another host, and what is wrong with it."""
    postgresql = {**HOST["postgresql"], **({} if servers is None else {"servers": servers})}
    host = {**HOST, "postgresql": postgresql}
    one = entry(**{"postgres": {"host": "db.example.org"}, **data})
    services, problems = catalogue.resolve({"notes": one}, host)
    return services["notes"], problems


def test_placeholders_stand_for_a_server_elsewhere_with_its_certificate_checked():
    service, problems = elsewhere(
        env={"A": "{postgres.url}", "B": "{postgres.host} {postgres.port} {postgres.ca}", "C": "{postgres.password}"}
    )
    assert problems == []
    assert {name: text(value(service, name)) for name in "ABC"} == {
        "A": "postgresql://notes:<notes.postgres>@db.example.org:6432/notes"
        "?sslmode=verify-full&sslrootcert=/etc/rick-infra/postgres-ca.crt",
        "B": "db.example.org 6432 /etc/rick-infra/postgres-ca.crt",
        "C": "<notes.postgres>",
    }
    assert {"name": "notes.postgres", "generate": catalogue.GENERATED} in service["secrets"]


def test_who_has_a_database_elsewhere_has_no_way_to_that_of_the_host():
    service, _ = elsewhere(user=33, env={"A": "{postgres.url}"})
    assert (service["account"]["groups"], service["ways"]["web"], service["private_sockets"]) == ([], "none", [])
    service, _ = elsewhere(user=33, valkey=True)
    assert service["account"]["groups"] == ["valkey-clients"]
    assert [one["group"] for one in service["private_sockets"]] == ["valkey-clients"]


def test_a_socket_is_no_part_of_a_server_elsewhere():
    _, problems = elsewhere(env={"A": "{postgres.socket}"})
    assert "{postgres.socket} stands for nothing" in problems[0]


def test_a_server_that_is_not_in_the_settings_is_told_with_the_way_out():
    _, problems = elsewhere({"db2.example.org": SERVERS["db.example.org"]}, env={"A": "{postgres.url}"})
    assert problems == [
        "service notes: nobody here may make a database at db.example.org (did you mean 'db2.example.org'?); say "
        "rick:postgresql:servers:db.example.org with user and password (rick:services:notes:postgres:host)"
    ]


def test_where_the_settings_are_wrong_no_server_is_missed():
    assert elsewhere(None, env={"A": "{postgres.url}"})[1] == []


def test_a_service_without_a_server_elsewhere_resolves_as_if_there_were_none_at_all():
    asked = {"postgres": {"auth": "scram"}, "valkey": True, "env": {"A": "{postgres.url}"}}
    assert elsewhere(**asked)[0] == elsewhere(None, **asked)[0]
    assert "server" not in {**elsewhere(**asked)[0], **elsewhere(**asked)[0]["postgres"]}


def test_no_value_of_a_secret_is_in_a_resolved_service():
    service = resolved(secrets={"token": True, "smtp": {"pillar": "smtp:password"}}, env={"A": "x{secret.token}"})
    assert {"name": "notes.smtp", "pillar": "smtp:password"} in service["secrets"]
    assert value(service, "A") == [{"text": "x"}, {"secret": "notes.token"}]
    assert json.loads(json.dumps(service)) == service


def test_a_secret_within_an_address_is_encoded_when_asked_for():
    service = resolved(secrets={"token": True}, env={"A": "https://x:{secret.token:url}@example.org"})
    assert {"secret": "notes.token", "encode": "url"} in value(service, "A")


def test_doubled_braces_take_a_placeholders_meaning_away():
    assert text(value(resolved(env={"A": "{{postgres.url}}"}), "A")) == "{postgres.url}"


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        ({"env": {"A": "{postgres.url}"}}, "say postgres: true"),
        ({"env": {"A": "{postgres.ulr}"}, "postgres": True}, "did you mean {postgres.url}?"),
        ({"env": {"A": "{secret.tokn}"}, "secrets": {"token": True}}, "did you mean {secret.token}?"),
        ({"env": {"A": "{postgres.password}"}, "postgres": True}, "stands for nothing"),
        ({"env": {"A": "{site.url}"}}, "there is no site"),
        ({"env": {"A": "a\0b"}}, "NUL"),
    ],
)
def test_a_placeholder_that_stands_for_nothing_is_an_error_with_its_place(data, hint):
    (problem,) = problems_of(**data)
    assert hint in problem
    assert problem.startswith("service notes: web: ")
    assert "(rick:services:notes:env:A)" in problem


def test_the_place_of_a_container_is_named():
    (problem,) = problems_of(containers={"web": {}, "worker": {"env": {"A": "{valkey.url}"}}})
    assert "(rick:services:notes:containers:worker:env:A)" in problem


@pytest.mark.parametrize(
    ("container", "way"),
    [
        ({}, "group"),
        ({"user": "image"}, "private"),
        ({"user": 33}, "private"),
        ({"capabilities": ["CHOWN"]}, "private"),
        ({"new_privileges": True}, "private"),
        ({"sockets": "private"}, "private"),
        ({"sockets": "none"}, "none"),
    ],
)
def test_the_way_to_a_socket_is_the_first_that_is_safe(container, way):
    service = resolved(postgres=True, **container)
    assert service["ways"] == {"web": way}
    assert [one["target"] for one in service["private_sockets"]] == (
        ["/run/postgresql/.s.PGSQL.5432"] if way == "private" else []
    )


def test_a_container_that_could_be_anybody_is_refused_the_group():
    (problem,) = problems_of(postgres=True, user="image", sockets="group")
    assert "user: image" in problem
    assert "rick:services:notes:sockets" in problem


def test_a_private_socket_is_what_its_container_is_told():
    service = resolved(postgres=True, user="image", env={"A": "{postgres.url}"})
    assert text(value(service, "A")) == "postgresql://notes@/notes?host=/run/rick-infra/notes"


def test_a_service_is_in_the_groups_it_asked_for_only():
    assert resolved()["account"]["groups"] == []
    assert resolved(postgres=True)["account"]["groups"] == ["postgres-clients"]
    assert resolved(valkey={"isolation": "instance"})["account"]["groups"] == []


def test_an_instance_of_valkey_belongs_to_the_service():
    valkey = resolved(valkey={"isolation": "instance", "database": 3, "memory": 64})["valkey"]
    assert (valkey["socket"], valkey["group"]) == ("/run/valkey-notes/valkey.sock", "notes")
    assert (valkey["unit"], valkey["prefix"]) == ("valkey-server@notes.service", "")


def test_a_port_stays_and_is_nobody_elses():
    first = resolved(port=80)["port"]
    assert resolved(port=80)["port"] == first
    assert resolved(port=80, ports={"notes": 20007})["port"] == 20007
    assert resolved(port=80, ports={"notes": 20007}, host_port=8080)["port"] == 8080
    both = {"a": entry(port=80), "b": entry(port=80, host_port=first)}
    services, _ = catalogue.resolve({"notes": entry(port=80), **both}, HOST)
    assert len({one["port"] for one in services.values()}) == 3


@given(st.sets(st.from_regex(r"[a-z]{1,6}", fullmatch=True), max_size=30))
def test_ports_are_never_shared(names):
    services, _ = catalogue.resolve({name: entry(port=80) for name in names}, HOST)
    assert len({one["port"] for one in services.values()}) == len(names)


def test_an_entry_that_only_says_absent_means_everything_of_that_name():
    completed, _ = schema.complete({"state": "absent"})
    services, problems = catalogue.resolve({"notes": completed}, HOST)
    assert not problems
    assert services["notes"]["postgres"]["database"] == "notes"
    assert services["notes"]["valkey"]["user"] == "notes"


SSO = {**HOST, "sso": "auth.example.org"}


def with_login(auth, **data):
    services, problems = catalogue.resolve(
        {"notes": entry(port=80, site=["notes.example.org", "n.example.org"], auth=auth, **data)}, SSO
    )
    assert not problems
    return services["notes"]


@pytest.mark.parametrize("auth", [None, "none", {"pattern": "none"}])
def test_without_a_login_there_is_nothing_of_it(auth):
    service = with_login(auth)
    assert service["auth"] is None
    assert service["site"]["login"] is None


def test_a_site_behind_a_login_imports_it():
    service = with_login("forward_auth")
    assert service["site"]["login"] == "login"
    assert service["auth"]["external_host"] == "https://notes.example.org"
    assert service["auth"]["groups"] == ["notes_admins", "notes_readonly"]
    assert service["secrets"] == []


def test_users_come_back_to_each_domain():
    service = with_login({"pattern": "oauth2", "redirect_paths": "/callback", "redirect_uris": ["app://notes"]})
    assert service["site"]["login"] is None
    assert service["auth"]["redirect_uris"] == [
        "https://notes.example.org/callback",
        "https://n.example.org/callback",
        "app://notes",
    ]


@pytest.mark.parametrize(
    ("auth", "secret"),
    [
        ({"pattern": "oauth2", "redirect_paths": "/"}, True),
        ({"pattern": "oauth2", "redirect_paths": "/", "client": "public"}, False),
        ({"pattern": "api"}, True),
        ({"pattern": "forward_auth"}, False),
    ],
)
def test_a_client_that_can_keep_a_secret_has_one(auth, secret):
    names = [one["name"] for one in with_login(auth)["secrets"]]
    assert names == (["notes.auth"] if secret else [])


@pytest.mark.parametrize(
    ("placeholder", "meant"),
    [
        ("auth.url", "https://auth.example.org"),
        ("auth.client_id", "notes"),
        ("auth.client_secret", "<notes.auth>"),
        ("auth.issuer", "https://auth.example.org/application/o/notes/"),
        ("auth.discovery_url", "https://auth.example.org/application/o/notes/.well-known/openid-configuration"),
        ("auth.jwks_url", "https://auth.example.org/application/o/notes/jwks/"),
        ("auth.token_url", "https://auth.example.org/application/o/token/"),
        ("auth.introspection_url", "https://auth.example.org/application/o/introspect/"),
        ("auth.userinfo_url", "https://auth.example.org/application/o/userinfo/"),
        ("auth.logout_url", "https://auth.example.org/application/o/notes/end-session/"),
        ("auth.ca", "/etc/rick-infra/authorities/ca-certificates.crt"),
        ("auth.group_users", "notes_users"),
        ("auth.group_admins", "notes_admins"),
    ],
)
def test_what_a_client_has_to_know_has_a_placeholder(placeholder, meant):
    service = with_login({"pattern": "oauth2", "redirect_paths": "/callback"}, env={"A": f"{{{placeholder}}}"})
    assert text(value(service, "A")) == meant


def test_one_issuer_for_all_is_that_of_the_domain():
    auth = {"pattern": "oauth2", "redirect_paths": "/", "issuer_mode": "global"}
    assert text(value(with_login(auth, env={"A": "{auth.issuer}"}), "A")) == "https://auth.example.org/"


def test_behind_the_proxy_there_is_a_way_out():
    service = with_login("forward_auth", env={"A": "{auth.logout_url}"})
    assert text(value(service, "A")) == "https://notes.example.org/outpost.goauthentik.io/sign_out"


def test_without_a_login_its_placeholders_stand_for_nothing():
    (problem,) = problems_of(env={"A": "{auth.client_id}"})
    assert "nobody logs in here; say auth: and a pattern" in problem


def test_without_single_sign_on_nobody_can_log_in():
    (problem,) = problems_of(port=80, site="notes.example.org", auth="forward_auth")
    assert "say rick:authentik:domain" in problem
    assert problem.endswith("(rick:services:notes:auth)")


def test_the_gateway_is_known_where_the_network_is():
    service = resolved(subnet="10.89.200.0/29", env={"A": "{service.gateway}"})
    assert text(value(service, "A")) == "10.89.200.1"
    assert problems_of(env={"A": "{service.gateway}"})
