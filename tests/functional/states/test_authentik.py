"""
Authentik's states in Salt's loader, over HTTP against the test double of Authentik.
"""

import copy
import io
import json
import threading

import pytest
from authentik_host import EMBEDDED, TOKEN, by, put, snapshot
from salt.exceptions import CommandExecutionError, SaltInvocationError

# What a service needs, in an order in which it can be made.
SHOP = [
    ("group_present", {"name": "shop_users", "attributes": {"notes": "may use the shop"}}),
    ("group_present", {"name": "shop_admins", "parents": ["shop_users"]}),
    (
        "user_present",
        {"name": "alice", "full_name": "Alice Archer", "email": "alice@example.com", "groups": ["shop_admins"]},
    ),
    ("service_account_present", {"name": "shop-backup", "groups": ["shop_users"]}),
    (
        "scope_mapping_present",
        {"name": "shop api:read", "scope": "api:read", "expression": "return {}", "description": "Read"},
    ),
    (
        "proxy_provider_present",
        {"name": "shop", "external_host": "https://shop.example.com", "access_token_validity": "hours=8"},
    ),
    (
        "oauth2_provider_present",
        {
            "name": "shop-api",
            "client_secret": "shop.oidc",
            "redirect_uris": ["https://shop.example.com/callback"],
            "scope_mappings": ["openid", "profile", "shop api:read"],
            "sub_mode": "user_username",
        },
    ),
    ("application_present", {"name": "shop", "title": "Shop", "provider": "shop", "mode": "all"}),
    ("application_present", {"name": "shop-api", "provider": "shop-api", "launch_url": "https://shop.example.com/api"}),
    (
        "expression_policy_present",
        {"name": "shop staff", "expression": "return request.user.email.endswith('@example.com')\n"},
    ),
    (
        "hours_policy_present",
        {"name": "shop hours", "days": ["mon", "tue"], "start": "08:00", "end": "18:00", "timezone": "Europe/Berlin"},
    ),
    ("network_policy_present", {"name": "shop networks", "networks": ["10.0.0.0/8"]}),
    ("binding_present", {"name": "users", "target": "shop", "group": "shop_users"}),
    ("binding_present", {"name": "hours", "target": "shop", "policy": "shop hours", "order": 10}),
    ("binding_present", {"name": "alice", "target": "shop-api", "user": "alice", "negate": True}),
    (
        "outpost_providers",
        {"name": "serve", "providers": ["shop"], "config": {"authentik_host": "https://auth.example.com"}},
    ),
    ("brand_present", {"name": "authentik-default", "title": "Example Ltd", "default_application": "shop"}),
]
ABSENT = [
    ("outpost_providers_absent", {"name": "serve", "providers": ["shop"]}),
    ("binding_absent", {"name": "hours", "target": "shop", "policy": "shop hours"}),
    ("binding_absent", {"name": "users", "target": "shop", "group": "shop_users"}),
    ("application_absent", {"name": "shop"}),
    ("application_absent", {"name": "shop-api"}),
    ("proxy_provider_absent", {"name": "shop"}),
    ("oauth2_provider_absent", {"name": "shop-api"}),
    ("scope_mapping_absent", {"name": "shop api:read"}),
    ("policy_absent", {"name": "shop staff"}),
    ("policy_absent", {"name": "shop hours"}),
    ("policy_absent", {"name": "shop networks"}),
    ("service_account_absent", {"name": "shop-backup"}),
    ("user_absent", {"name": "alice"}),
    ("group_absent", {"name": "shop_admins"}),
    ("group_absent", {"name": "shop_users"}),
]


@pytest.fixture(scope="module")
def kept():
    """What the first test made of SHOP: the tables of the double and the secrets, for the others."""
    return {}


@pytest.fixture
def shop(apply, authentik, tmp_path, kept):
    if not kept:
        for function, arguments in SHOP:
            result = apply(function, **copy.deepcopy(arguments))
            assert result["result"] is True, result["comment"]
            assert result["changes"], f"{function} {arguments['name']} changed nothing"
        kept["objects"] = authentik.saved()
        kept["secrets"] = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        return authentik
    authentik.put_back(kept["objects"])
    for name, text in kept["secrets"].items():
        put(tmp_path, name, text.strip())
    return authentik


def test_a_whole_service_is_made_and_a_second_run_changes_nothing(shop, apply):
    before = snapshot(shop)
    for function, arguments in SHOP:
        for test in (True, False):
            result = apply(function, test=test, **copy.deepcopy(arguments))
            assert (result["result"], result["changes"]) == (True, {}), result
    assert snapshot(shop) == before


def test_a_plan_lists_what_the_run_changes_and_changes_nothing(plan, apply, authentik):
    before = snapshot(authentik)
    planned = [plan(function, **copy.deepcopy(arguments)) for function, arguments in SHOP]
    assert [one["comment"] for one in planned if one["result"] is not None] == []
    assert snapshot(authentik) == before
    for (function, arguments), one in zip(SHOP, planned, strict=True):
        assert apply(function, **copy.deepcopy(arguments))["changes"] == one["changes"]


def test_all_of_it_is_removed_as_planned(shop, plan, apply):
    planned = [plan(function, **arguments) for function, arguments in ABSENT]
    assert [one["comment"] for one in planned if one["result"] is not None] == []
    for (function, arguments), one in zip(ABSENT, planned, strict=True):
        result = apply(function, **arguments)
        assert result["result"] is True, result["comment"]
        assert set(result["changes"]) == set(one["changes"])
        again = apply(function, **arguments)
        assert (again["result"], again["changes"]) == (True, {})
    left = [row.get("name") for table in ("groups", "users", "applications", "providers") for row in shop.rows(table)]
    assert not [name for name in left if "shop" in str(name).lower()]


# What somebody changes by hand: table, which object of it, field, value.
DRIFT = [
    ("groups", {"name": "shop_users"}, "attributes", {"notes": "another"}),
    ("groups", {"name": "shop_admins"}, "parents", []),
    ("users", {"username": "alice"}, "name", "Somebody"),
    ("users", {"username": "alice"}, "email", "alice@example.org"),
    ("users", {"username": "alice"}, "is_active", False),
    ("users", {"username": "shop-backup"}, "is_active", False),
    ("mappings", {"name": "shop api:read"}, "scope_name", "api:write"),
    ("mappings", {"name": "shop api:read"}, "expression", "return {'more': 1}"),
    ("mappings", {"name": "shop api:read"}, "description", ""),
    ("providers", {"name": "shop"}, "external_host", "https://elsewhere.example.com"),
    ("providers", {"name": "shop"}, "access_token_validity", "hours=9"),
    ("providers", {"name": "shop"}, "mode", "forward_domain"),
    ("providers", {"name": "shop"}, "authorization_flow", "default-provider-authorization-explicit-consent"),
    ("providers", {"name": "shop"}, "invalidation_flow", "default-invalidation-flow"),
    ("providers", {"name": "shop-api"}, "client_id", "another"),
    ("providers", {"name": "shop-api"}, "client_type", "public"),
    ("providers", {"name": "shop-api"}, "client_secret", "another-secret-of-the-shop"),
    ("providers", {"name": "shop-api"}, "redirect_uris", []),
    ("providers", {"name": "shop-api"}, "redirect_uris", [{"matching_mode": "regex", "url": ".*"}]),
    ("providers", {"name": "shop-api"}, "property_mappings", []),
    ("providers", {"name": "shop-api"}, "signing_key", None),
    ("providers", {"name": "shop-api"}, "sub_mode", "user_email"),
    ("applications", {"slug": "shop"}, "name", "Shops"),
    ("applications", {"slug": "shop"}, "provider", None),
    ("applications", {"slug": "shop"}, "policy_engine_mode", "any"),
    ("applications", {"slug": "shop-api"}, "meta_launch_url", ""),
    ("policies", {"name": "shop staff"}, "expression", "return True"),
    ("policies", {"name": "shop hours"}, "expression", "return True"),
    ("policies", {"name": "shop networks"}, "expression", "return True"),
    ("bindings", {"order": 10}, "enabled", False),
    ("bindings", {"order": 10}, "negate", True),
    ("bindings", {"order": 10}, "timeout", 5),
    ("bindings", {"order": 10}, "failure_result", True),
    ("outposts", {"name": EMBEDDED}, "providers", []),
    ("outposts", {"name": EMBEDDED}, "config", lambda config: {**config, "authentik_host": "https://x.example.com"}),
    ("brands", {"domain": "authentik-default"}, "branding_title", "authentik"),
    ("brands", {"domain": "authentik-default"}, "default_application", None),
]


def run_all(apply, test=False):
    return [apply(function, test=test, **copy.deepcopy(arguments)) for function, arguments in SHOP]


def drift(store, table, which, field, value):
    """Change something by hand; a flow by its slug."""
    row, flow = by(store, table, **which), store.find("flows", slug=value)
    row[field] = value(row[field]) if callable(value) else flow["pk"] if flow else value


def test_what_somebody_changed_is_put_right_as_planned(shop, apply):
    for table, which, field, value in DRIFT:
        before = snapshot(shop)
        drift(shop, table, which, field, value)
        drifted = snapshot(shop)
        planned = run_all(apply, test=True)
        assert snapshot(shop) == drifted, f"a plan changed {field} of {which}"
        done = run_all(apply)
        assert [one["comment"] for one in done if one["result"] is False] == []
        assert [one["changes"] for one in planned] == [one["changes"] for one in done]
        assert sum(bool(one["changes"]) for one in done) == 1, f"{field} of {which}: {done}"
        assert snapshot(shop) == before, f"{field} of {which} is not put right"


def test_membership_that_somebody_changed_is_put_right(shop, apply):
    by(shop, "groups", name="shop_admins")["users"] = []
    assert apply(*SHOP[2][:1], **SHOP[2][1])["changes"] == {"groups": {"old": [], "new": ["shop_admins"]}}
    assert by(shop, "groups", name="shop_admins")["users"] == [by(shop, "users", username="alice")["pk"]]


def test_what_is_not_declared_stays(shop, apply):
    by(shop, "groups", name="shop_users")["attributes"]["theirs"] = [1]
    by(shop, "applications", slug="shop")["meta_icon"] = "icon.png"
    outpost = by(shop, "outposts", name=EMBEDDED)
    outpost["config"]["log_level"] = "debug"
    other = {"name": "other", "external_host": "https://other.example.com"}
    assert apply("proxy_provider_present", **other)["result"]
    outpost["providers"].append(by(shop, "providers", name="other")["pk"])
    before = snapshot(shop)
    assert [one["changes"] for one in run_all(apply)] == [{}] * len(SHOP)
    assert snapshot(shop) == before
    result = apply("outpost_providers_absent", name="x", providers=["shop"])
    assert result["changes"] == {"providers": {"old": ["shop"], "new": []}}
    assert outpost["providers"] == [by(shop, "providers", name="other")["pk"]]
    assert outpost["config"]["log_level"] == "debug"


def test_a_provider_of_an_unknown_kind_stays_attached(shop, apply):
    """Nobody here knows its name, so it is known by its key."""
    outpost = by(shop, "outposts", name=EMBEDDED)
    row = shop.add("providers", {**by(shop, "providers", name="shop"), "name": "directory", "kind": "ldap"})
    outpost["providers"] = [row["pk"]]
    assert apply("outpost_providers", name="x", providers=["shop"])["result"] is True
    assert outpost["providers"] == [row["pk"], by(shop, "providers", name="shop")["pk"]]


def test_a_backslash_is_no_nul_character(apply, authentik):
    text = r"\x00 and \u0000"
    assert apply("group_present", name="a", attributes={"note": [text]})["result"] is True
    assert by(authentik, "groups", name="a")["attributes"] == {"note": [text]}


def test_a_secret_is_not_lost_if_the_account_cannot_be_made(apply, server, tmp_path):
    put(tmp_path, "authentik-shop-backup", "what was there before")
    inner = server.app
    server.app = lambda environ, start: (Broken("500 E", HTML, b"") if environ["REQUEST_METHOD"] == "POST" else inner)(
        environ, start
    )
    assert apply("service_account_present", name="shop-backup")["result"] is False
    assert (tmp_path / "secrets/authentik-shop-backup").read_text() == "what was there before\n"


def test_an_attribute_is_taken_away_by_null(shop, apply):
    assert apply("group_present", name="shop_users", attributes={"notes": None})["result"] is True
    assert by(shop, "groups", name="shop_users")["attributes"] == {}


def test_equal_bindings_are_one_afterwards(shop, apply):
    """Q37: the server takes a group twice."""
    first = by(shop, "bindings", order=0, group=by(shop, "groups", name="shop_users")["pk"])
    shop.add("bindings", dict(first))
    result = apply("binding_present", name="users", target="shop", group="shop_users")
    assert result["changes"] == {"copies": {"old": 2, "new": 1}}
    assert len([one for one in shop.rows("bindings") if one["group"] == first["group"]]) == 1


def test_a_binding_of_two_kinds_is_of_one_afterwards(shop, apply):
    """Q36: a change that does not say null leaves a user beside the group."""
    binding = by(shop, "bindings", order=10)
    binding["user"] = by(shop, "users", username="alice")["pk"]
    apply("binding_present", name="hours", target="shop", policy="shop hours", order=11)
    assert (binding["user"], binding["order"]) == (None, 11)


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        ("group_present", {"name": "a", "parents": ["nobody"]}, "there is no group 'nobody'"),
        ("group_present", {"name": "a", "parents": ["shop_user"]}, "'shop_user'; shop_users?"),
        ("group_present", {"name": "a", "parents": ["a"]}, "its own parent"),
        ("group_present", {"name": "shop_users", "parents": ["shop_admins"]}, "above itself"),
        ("group_present", {"name": "a", "attributes": ["x"]}, "is no mapping"),
        ("group_present", {"name": "a", "attributes": {"x": "a\0b"}}, "NUL"),
        ("group_present", {"name": "a", "superuser": "yes"}, "neither true nor false"),
        ("group_present", {"name": "a", "members": ["nobody"]}, "there is no user 'nobody'"),
        ("user_present", {"name": "a", "groups": "shop_users"}, "no list of names"),
        ("scope_mapping_present", {"name": "a", "scope": "a b", "expression": "return {}"}, "is not one word"),
        ("scope_mapping_present", {"name": "a", "scope": "a", "expression": "return ((("}, "is not Python"),
        ("proxy_provider_present", {"name": "a", "external_host": "shop.example.com"}, "is no address"),
        ("proxy_provider_present", {"name": "a", "external_host": "https://a.example.com/"}, "more than a host"),
        ("proxy_provider_present", {"name": "a", "external_host": "https://A.example.com"}, "capital letters"),
        (
            "proxy_provider_present",
            {"name": "a", "external_host": "https://a.example.com", "skip_paths": "((("},
            "no regular expression",
        ),
        (
            "proxy_provider_present",
            {"name": "a", "external_host": "https://auth.example.com", "mode": "forward_domain"},
            "cookie_domain",
        ),
        (
            "proxy_provider_present",
            {
                "name": "a",
                "external_host": "https://a.example.com",
                "mode": "forward_domain",
                "cookie_domain": "example.org",
            },
            "the domain of all its hosts",
        ),
        (
            "proxy_provider_present",
            {
                "name": "a",
                "external_host": "https://a.example.com",
                "authorization_flow": "default-authentication-flow",
            },
            "is a flow for authentication, not for authorization",
        ),
        (
            "proxy_provider_present",
            {"name": "a", "external_host": "https://a.example.com", "access_token_validity": "1 day"},
            "is no duration",
        ),
        ("oauth2_provider_present", {"name": "a", "redirect_uris": "https://a.example.com/cb"}, "no list of addresses"),
        ("oauth2_provider_present", {"name": "a", "redirect_uris": ["a.example.com/cb"]}, "is no address"),
        (
            "oauth2_provider_present",
            {"name": "a", "redirect_uris": [{"matching_mode": "regex", "url": "((("}]},
            "no regular expression",
        ),
        ("oauth2_provider_present", {"name": "a", "redirect_uris": [], "sub_mode": "uuid"}, "is none of"),
        (
            "oauth2_provider_present",
            {"name": "a", "redirect_uris": [], "scope_mappings": ["nope"]},
            "scope mapping 'nope'",
        ),
        ("oauth2_provider_present", {"name": "a", "redirect_uris": [], "signing_key": "nope"}, "certificate 'nope'"),
        ("application_present", {"name": "has space"}, "made of letters"),
        ("application_present", {"name": "a", "provider": "nope"}, "there is no provider 'nope'"),
        ("application_present", {"name": "a", "mode": "every"}, "is none of any, all"),
        ("expression_policy_present", {"name": "a", "expression": "return ((("}, "is not Python"),
        ("network_policy_present", {"name": "a", "networks": ["10.0.0.1/8"]}, "10.0.0.0/8?"),
        (
            "hours_policy_present",
            {"name": "a", "days": ["monday"], "start": "08:00", "end": "18:00", "timezone": "Europe/Berlin"},
            "is no day",
        ),
        ("binding_present", {"name": "a", "target": "nope", "group": "shop_users"}, "there is no application 'nope'"),
        ("binding_present", {"name": "a", "target": "shop"}, "exactly one of"),
        ("binding_present", {"name": "a", "target": "shop", "group": "shop_users", "user": "alice"}, "exactly one of"),
        ("binding_present", {"name": "a", "target": "shop", "group": "nobody"}, "there is no group 'nobody'"),
        ("binding_present", {"name": "a", "target": "shop", "group": "shop_users", "order": "1"}, "no whole number"),
        ("outpost_providers", {"name": "a", "providers": ["nope"]}, "there is no proxy provider 'nope'"),
        (
            "outpost_providers",
            {"name": "a", "providers": [], "outpost": "second", "config": {"a": "b"}},
            "no outpost 'second'",
        ),
        ("brand_present", {"name": "a.example.com", "default_application": "nope"}, "there is no application 'nope'"),
        ("service_account_present", {"name": "My Service"}, "small letters"),
        ("service_account_present", {"name": "alice"}, "account of a person"),
        ("group_absent", {"name": "shop_users"}, "is bound to shop"),
        ("policy_absent", {"name": "shop hours"}, "is bound to shop"),
    ],
)
def test_what_the_server_would_take_or_mistreat_is_refused_before(shop, apply, function, arguments, words, test):
    before = snapshot(shop)
    result = apply(function, test=test, **copy.deepcopy(arguments))
    assert result["result"] is False, result
    assert words in result["comment"]
    assert snapshot(shop) == before


def test_a_secret_of_an_oauth2_client_is_brought_and_shown_nowhere(shop, apply, tmp_path, caplog):
    """Q29: every answer of the server has it."""
    caplog.set_level(1)
    another = "another-secret-of-the-shop-0123456789"
    put(tmp_path, "shop.oidc", another)
    results = [apply(*SHOP[6][:1], test=test, **copy.deepcopy(SHOP[6][1])) for test in (True, False)]
    assert [set(one["changes"]) for one in results] == [{"client_secret"}] * 2
    assert by(shop, "providers", name="shop-api")["client_secret"] == another
    told = f"{results} {caplog.text}"
    assert "another-secret" not in told
    assert TOKEN not in told


def test_a_new_person_gets_the_first_password_and_keeps_a_later_one(apply, authentik, tmp_path):
    put(tmp_path, "bob-password", "first-password-of-bob")
    assert apply("user_present", name="bob", password="bob-password")["result"] is True  # noqa: S106 - a secret's name
    bob = by(authentik, "users", username="bob")
    assert (bob["password"], bob["name"]) == ("first-password-of-bob", "bob")
    bob["password"] = "chosen by bob"  # noqa: S105 - of a double
    assert apply("user_present", name="bob", password="bob-password")["changes"] == {}  # noqa: S106
    assert bob["password"] == "chosen by bob"  # noqa: S105


def test_a_lost_app_password_is_fetched_by_an_administrator(shop, apply, tmp_path):
    path = tmp_path / "secrets/authentik-shop-backup"
    before = path.read_text()
    path.unlink()
    assert set(apply(*SHOP[3][:1], **SHOP[3][1])["changes"]) == {"secret"}
    assert path.read_text() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_the_right_to_see_it_the_way_out_is_said(shop, apply, server, tmp_path):
    """Q84, Q91: an app password is shown to administrators only."""
    role = shop.add(
        "roles", {"name": "minion", "permissions": [f"authentik_core.{verb}_user" for verb in ("view", "change")]}
    )
    role["permissions"] += ["authentik_core.view_group", "authentik_core.view_token"]
    minion = by(shop, "users", username="shop-backup")
    minion["roles"] = [role["pk"]]
    token = shop.new_token("minion", "api", minion["pk"], expiring=False)
    put(tmp_path, "authentik-api", token["key"])
    (tmp_path / "secrets/authentik-shop-backup").unlink()
    result = apply(*SHOP[3][:1], **SHOP[3][1])
    assert result["result"] is False
    assert "service_account_absent" in result["comment"]


class Broken:
    """An application that answers everything in one way."""

    def __init__(self, status, headers, body):
        self.answer = (status, headers, body)

    def __call__(self, environ, start_response):
        status, headers, body = self.answer
        start_response(status, headers)
        return [body]


HTML, JSON = [("Content-Type", "text/html")], [("Content-Type", "application/json")]


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Broken("500 Internal Server Error", HTML, b"<html>"), "it answers 500"),
        (Broken("405 Method Not Allowed", HTML, b""), "an exception in the server"),
        (Broken("200 OK", HTML, b"<html>"), "no JSON"),
        (Broken("302 Found", [("Location", "https://auth.example.com/")], b""), "a redirect"),
        (
            Broken("403 Forbidden", [("Content-Type", "application/json")], b'{"detail": "Token invalid/expired"}'),
            "token",
        ),
    ],
    ids=["exception", "empty", "page", "redirect", "token"],
)
def test_a_server_in_trouble_is_one_clear_error(apply, server, broken, words, test):
    server.app = broken
    result = apply("group_present", test=test, name="a")
    assert result["result"] is False
    assert words in result["comment"]
    assert len(result["comment"].splitlines()) == 1
    assert TOKEN not in result["comment"]


@pytest.mark.parametrize("function", [one for one, _ in SHOP])
def test_a_host_without_authentik_is_told_where_the_token_belongs(apply, tmp_path, function):
    arguments = copy.deepcopy(next(arguments for name, arguments in SHOP if name == function))
    for key in ("parents", "groups", "provider", "default_application", "scope_mappings"):
        arguments.pop(key, None)
    (tmp_path / "secrets/authentik-api").unlink()
    result = apply(function, **arguments)
    assert result["result"] is False
    assert "authentik" in result["comment"]


def test_a_whole_service_is_planned_for_a_host_without_authentik(plan, tmp_path):
    (tmp_path / "secrets/authentik-api").unlink()
    planned = [plan(function, **copy.deepcopy(arguments)) for function, arguments in SHOP]
    assert [one["comment"] for one in planned if one["result"] is not None] == []


def test_two_hosts_that_make_the_same_thing_at_once_agree(apply, authentik, server):
    """Q14: the loser is told that it exists already, or nothing at all."""
    inner, before = server.app, []

    def late(environ, start_response):
        if environ["REQUEST_METHOD"] == "POST" and not before:
            before.append(True)
            row = {"name": "both", "attributes": {"by": "the other"}, "is_superuser": False}
            authentik.add("groups", {**row, "parents": [], "users": [], "roles": []})
        return inner(environ, start_response)

    server.app = late
    assert apply("group_present", name="both", attributes={"by": "this one"})["result"] is True
    assert [one["attributes"] for one in authentik.rows("groups") if one["name"] == "both"] == [{"by": "this one"}]


def test_it_is_waited_for_until_the_default_flows_are_there(apply, authentik):
    flow = by(authentik, "flows", slug="default-provider-authorization-implicit-consent")
    del authentik.tables["flows"][flow["pk"]]
    threading.Timer(0.2, lambda: authentik.tables["flows"].update({flow["pk"]: flow})).start()
    assert apply("ready", name="x", timeout=30)["result"] is True
    del authentik.tables["flows"][flow["pk"]]
    result = apply("ready", name="x", timeout=0)
    assert (result["result"], "default-provider-authorization-implicit-consent" in result["comment"]) == (False, True)
    assert "would be waited for" in apply("ready", test=True, name="x")["comment"]


def test_an_argument_that_no_state_knows_is_refused(apply):
    """Q5, Q25: the server would take it without a word."""
    with pytest.raises(TypeError, match="property_mappings"):
        apply("proxy_provider_present", name="a", external_host="https://a.example.com", property_mappings=[])


def test_a_field_that_the_server_ignores_is_no_success(apply, server):
    """Q5: an older version may not know it."""
    inner = server.app.wsgi_app

    def older(environ, start_response):
        if environ["REQUEST_METHOD"] in ("POST", "PATCH"):
            text = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            body = {key: value for key, value in json.loads(text).items() if key != "sub_mode"}
            data = json.dumps(body).encode()
            environ.update({"wsgi.input": io.BytesIO(data), "CONTENT_LENGTH": str(len(data))})
        return inner(environ, start_response)

    server.app = older
    result = apply("oauth2_provider_present", name="a", redirect_uris=[], sub_mode="user_email")
    assert result["result"] is False
    assert "still different: sub_mode" in result["comment"]


def test_a_look_up_is_exact(shop, apply):
    """Q6, Q7: names differ by case, and filters may not."""
    assert apply("group_present", name="Shop_Users")["changes"] == {"name": {"old": None, "new": "Shop_Users"}}
    assert (
        apply("proxy_provider_present", name="SHOP", external_host="https://b.example.com")["changes"]["name"]["old"]
        is None
    )


def test_white_space_that_the_server_strips_is_no_difference(shop, apply):
    """Q9."""
    padded = {"name": "shop staff", "expression": "\n return request.user.email.endswith('@example.com')  \n\n"}
    assert apply("expression_policy_present", **padded)["changes"] == {}
    assert apply("group_present", name=" shop_users ")["changes"] == {}


def test_members_stay_when_something_else_of_a_group_changes(shop, apply):
    """Q12: a PUT would put them out."""
    alice = by(shop, "users", username="alice")["pk"]
    assert apply("group_present", name="shop_admins", attributes={"a": 1})["result"] is True
    assert by(shop, "groups", name="shop_admins")["users"] == [alice]


def test_an_application_that_the_list_hides_is_found(shop, apply, tmp_path):
    """Q16, Q81: the list has only what the token's user may open."""
    role = shop.add("roles", {"name": "minion", "permissions": []})
    kinds = ("core.application", "providers_proxy.proxyprovider", "providers_oauth2.oauth2provider")
    for kind in kinds:
        app, _, model = kind.partition(".")
        role["permissions"] += [f"authentik_{app}.{verb}_{model}" for verb in ("view", "change", "add")]
    minion = by(shop, "users", username="shop-backup")
    minion["roles"] = [role["pk"]]
    put(tmp_path, "authentik-api", shop.new_token("minion", "api", minion["pk"], expiring=False)["key"])
    assert apply("application_present", name="shop", title="Shop", provider="shop")["changes"] == {}
    assert set(apply("application_present", name="shop", description="Things")["changes"]) == {"description"}


def test_a_proxy_provider_is_no_oauth2_provider(shop, apply):
    """Q27, Q90: it is in the list of those, too."""
    assert apply("oauth2_provider_absent", name="shop")["changes"] == {}
    assert by(shop, "providers", name="shop")
    result = apply("oauth2_provider_present", name="shop", redirect_uris=[])
    assert (result["result"], "already exists" in result["comment"]) == (False, True)


def test_equal_redirect_uris_are_one(apply, authentik):
    """Q28: the server keeps both."""
    given = {"name": "a", "redirect_uris": ["https://a.example.com/cb", "https://a.example.com/cb"]}
    assert apply("oauth2_provider_present", **given)["result"] is True
    assert len(by(authentik, "providers", name="a")["redirect_uris"]) == 1
    assert apply("oauth2_provider_present", **given)["changes"] == {}


def test_a_duration_in_other_words_is_no_difference(shop, apply):
    """Q30: it is stored as it was written."""
    arguments = {**SHOP[5][1], "access_token_validity": "minutes=480"}
    assert apply("proxy_provider_present", **arguments)["changes"] == {}


def test_a_refusal_of_the_server_is_told(shop, apply):
    """Q33: a provider belongs to one application."""
    result = apply("application_present", name="second", provider="shop")
    assert result["result"] is False
    assert "Application with this provider already exists" in result["comment"]


def test_only_proxy_providers_are_attached_to_a_proxy(shop, apply):
    """Q42: the server looks only if the type is in the same request."""
    before = snapshot(shop)
    for test in (True, False):
        result = apply("outpost_providers", test=test, name="x", providers=["shop-api"])
        assert (result["result"], "no proxy provider" in result["comment"]) == (False, True)
    assert snapshot(shop) == before


def test_an_outpost_that_somebody_deleted_is_told(shop, apply):
    """Q44, Q92."""
    shop.tables["outposts"].clear()
    result = apply("outpost_providers", name="x", providers=["shop"])
    assert (result["result"], "when the server is restarted" in result["comment"]) == (False, True)


def test_an_app_password_does_not_expire(shop):
    """Q51."""
    assert by(shop, "tokens", identifier="service-account-shop-backup-password")["expiring"] is False


def test_access_of_somebody_else_is_asked_by_an_administrator_only(shop, apply, modules, tmp_path):
    """Q89: others get the answer about themselves."""
    modules.pack["__context__"].clear()
    assert modules["authentik.access"]("shop-api", "alice") == {"passing": False, "messages": []}
    assert modules["authentik.access"]("shop-api", "akadmin")["passing"] is True
    minion = by(shop, "users", username="shop-backup")
    minion["roles"] = [shop.add("roles", {"name": "m", "permissions": ["authentik_core.view_user"]})["pk"]]
    put(tmp_path, "authentik-api", shop.new_token("minion", "api", minion["pk"], expiring=False)["key"])
    modules.pack["__context__"].clear()
    with pytest.raises(CommandExecutionError, match="no administrator"):
        modules["authentik.access"]("shop-api", "alice")


def test_what_is_shown_by_hand_can_be_declared(shop, modules):
    modules.pack["__context__"].clear()
    assert modules["authentik.version"]().startswith("2026.2")
    assert "shop_users" in modules["authentik.list"]("group")
    assert modules["authentik.show"]("application", "shop")["provider"] == "shop"
    assert modules["authentik.show"]("oauth2_provider", "shop-api")["client_secret"].startswith("(hidden")
    assert modules["authentik.show"]("group", "nobody") is None
    assert modules["authentik.unready"]() is None
    with pytest.raises(SaltInvocationError, match="is none of"):
        modules["authentik.show"]("gruop", "shop")


# The models of the API's own client, by method and collection.
REQUESTS = {
    ("POST", "core/groups"): "GroupRequest",
    ("PATCH", "core/groups"): "PatchedGroupRequest",
    ("POST", "core/users"): "UserRequest",
    ("PATCH", "core/users"): "PatchedUserRequest",
    ("POST", "core/users/service_account"): "UserServiceAccountRequest",
    ("POST", "propertymappings/provider/scope"): "ScopeMappingRequest",
    ("PATCH", "propertymappings/provider/scope"): "PatchedScopeMappingRequest",
    ("POST", "providers/proxy"): "ProxyProviderRequest",
    ("PATCH", "providers/proxy"): "PatchedProxyProviderRequest",
    ("POST", "providers/oauth2"): "OAuth2ProviderRequest",
    ("PATCH", "providers/oauth2"): "PatchedOAuth2ProviderRequest",
    ("POST", "core/applications"): "ApplicationRequest",
    ("PATCH", "core/applications"): "PatchedApplicationRequest",
    ("POST", "policies/expression"): "ExpressionPolicyRequest",
    ("PATCH", "policies/expression"): "PatchedExpressionPolicyRequest",
    ("POST", "policies/bindings"): "PolicyBindingRequest",
    ("PUT", "policies/bindings"): "PolicyBindingRequest",
    ("PATCH", "outposts/instances"): "PatchedOutpostRequest",
    ("PATCH", "core/brands"): "PatchedBrandRequest",
}


# What releases after that of the client take, and earlier ones ignore.
LATER = {"providers/oauth2": {"grant_types"}}


def test_all_that_is_sent_is_what_the_apis_own_client_would_send(apply, authentik, server):
    """Q5: of a field that is spelt wrongly nobody else would tell."""
    import authentik_client.models as models  # takes seconds

    inner, sent = server.app.wsgi_app, []

    def listening(environ, start_response):
        if environ["REQUEST_METHOD"] in ("POST", "PUT", "PATCH"):
            text = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            sent.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], json.loads(text)))
            environ["wsgi.input"] = io.BytesIO(text)
        return inner(environ, start_response)

    server.app = listening
    for function, arguments in SHOP:
        assert apply(function, **copy.deepcopy(arguments))["result"] is True
    for change in DRIFT:
        drift(authentik, *change)
    assert [one["comment"] for one in run_all(apply) if one["result"] is False] == []
    used = set()
    for method, path, body in sent:
        place = path.removeprefix("/api/v3/").strip("/")
        key = next(key for key in ((method, place), (method, place.rpartition("/")[0])) if key in REQUESTS)
        model = getattr(models, REQUESTS[key])
        known = {field.alias or name for name, field in model.model_fields.items()}
        assert body.keys() <= known | LATER.get("/".join(place.split("/")[:2]), set()), f"{method} {place}"
        model.model_validate(body)
        used.add(key)
    assert used == set(REQUESTS)
