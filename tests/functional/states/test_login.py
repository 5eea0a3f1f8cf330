"""
What Authentik has of a service, by its entry alone: in Salt's loader, over HTTP against the test double of Authentik.
"""

import copy
import itertools

import pytest
import yaml
from authentik_host import EMBEDDED, by, put, snapshot
from doubles.authentik import fields, providers
from tree import TREE, load

BLUEPRINT = (TREE / "salt/authentik/blueprint.yaml").read_text()
LESSER = "token-of-the-account-for-this-host-of-the-double"

BOARD = """
pattern: forward_auth
title: Board
groups: [admins, editors]
policies: {hours: {days: [mon], start: "08:00", end: "18:00", timezone: Europe/Berlin}, networks: 10.0.0.0/8}
lifetime: 8h
"""
DIARY = """
pattern: oauth2
redirect_paths: /callback
scopes: {"diary:read": Read your diary}
offline_access: true
lifetime: 5min
"""
PAGE = "{pattern: oauth2, client: public, redirect_uris: [app://page/back], groups: [], consent: explicit}"
ITEMS = """
pattern: api
scopes: ["api:read", "api:write"]
clients: [reporter, loader]
"""
PATTERNS = {"forward_auth": BOARD, "oauth2": DIARY, "public": PAGE, "api": ITEMS}


def resolved(auth, name="board"):
    """The ``auth`` of a service as the catalogue resolves it."""
    entry, problems = load("utils", "catalogue_schema").complete(
        {"image": "app:1", "port": 80, "site": f"{name}.example.test", "auth": yaml.safe_load(auth)}
    )
    assert not problems
    host = {
        "ports": {},
        "postgresql": {"unit": "postgresql@17-main.service"},
        "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
        "sso": "auth.example.test",
    }
    services, problems = load("utils", "catalogue_resolve").resolve({name: entry}, host)
    assert not problems
    return services[name]["auth"]


@pytest.fixture
def with_lesser_token(server, tmp_path, monkeypatch):
    """The host has the token of the account that the blueprint makes, as a real one."""

    def use(blueprint=BLUEPRINT):
        monkeypatch.setenv("RICK_INFRA_TOKEN", LESSER)
        server.app.authentik.apply_blueprint(blueprint)
        put(tmp_path, "authentik-api", LESSER)

    return use


@pytest.fixture
def present(apply, authentik, with_lesser_token):
    with_lesser_token()
    return lambda auth, name="board", test=False: apply(
        "login.present", name=name, auth=resolved(auth, name), test=test
    )


@pytest.fixture
def absent(apply, authentik):
    return lambda *services, test=False: apply("login.absent", name="x", services=list(services), test=test)


def objects(store):
    """What there is besides what comes with Authentik and with the blueprint, as text for people."""
    found = []
    for table, key in (("groups", "name"), ("applications", "slug"), ("providers", "name"), ("policies", "name")):
        found += [f"{table}: {row[key]}" for row in store.rows(table)]
    found += [f"mappings: {row['name']}" for row in store.rows("mappings") if row["managed"] is None]
    found += [f"users: {row['username']}" for row in store.rows("users")]
    found += [f"bindings: {row['order']}" for row in store.rows("bindings")]
    found += [f"attached: {key}" for key in by(store, "outposts", name=EMBEDDED)["providers"]]
    return sorted(found)


@pytest.mark.parametrize("auth", PATTERNS.values(), ids=PATTERNS)
def test_a_login_is_made_as_planned_and_a_second_run_changes_nothing(auth, present, authentik):
    before = snapshot(authentik)
    planned = present(auth, test=True)
    assert planned["result"] is None, planned["comment"]
    assert snapshot(authentik) == before
    done = present(auth)
    assert done["result"] is True, done["comment"]
    assert done["changes"] == planned["changes"]
    before = snapshot(authentik)
    for test in (True, False):
        again = present(auth, test=test)
        assert (again["result"], again["changes"]) == (True, {}), again
    assert snapshot(authentik) == before


def test_what_a_page_behind_the_proxy_has(present, authentik):
    assert present(BOARD)["result"] is True
    group = by(authentik, "groups", name="board_users")
    assert group["attributes"] == {"rick-infra": "board"}
    assert [by(authentik, "groups", name=f"board_{one}")["parents"] for one in ("admins", "editors")] == [
        [group["pk"]],
        [group["pk"]],
    ]
    provider = by(authentik, "providers", name="board")
    assert provider["external_host"] == "https://board.example.test"
    assert provider["access_token_validity"] == "seconds=28800"  # noqa: S105 - a time
    assert provider["skip_path_regex"] == ""
    application = by(authentik, "applications", slug="board")
    assert application["provider"] == provider["pk"]
    # All of them have to hold.
    assert application["policy_engine_mode"] == "all"
    bound = [one for one in authentik.rows("bindings") if one["target"] == application["pk"]]
    assert sorted((one["order"], bool(one["group"]), bool(one["policy"])) for one in bound) == [
        (0, True, False),
        (10, False, True),
        (11, False, True),
    ]
    assert all(one["enabled"] and not one["negate"] and not one["failure_result"] for one in bound)
    assert by(authentik, "outposts", name=EMBEDDED)["providers"] == [provider["pk"]]


def test_what_a_client_of_openid_connect_has(present, authentik, tmp_path):
    assert present(DIARY, "diary")["result"] is True
    provider = by(authentik, "providers", name="diary")
    assert [(one["matching_mode"], one["url"]) for one in provider["redirect_uris"]] == [
        ("strict", "https://diary.example.test/callback")
    ]
    assert provider["client_type"] == "confidential"
    assert provider["client_secret"] == (tmp_path / "secrets/diary.auth").read_text().strip()
    assert provider["signing_key"] is not None
    assert provider["include_claims_in_id_token"] is True
    mappings = {row["pk"]: row["scope_name"] for row in authentik.rows("mappings")}
    assert sorted(mappings[key] for key in provider["property_mappings"]) == sorted(
        ["openid", "email", "profile", "offline_access", "diary:read"]
    )
    assert by(authentik, "outposts", name=EMBEDDED)["providers"] == []


def test_a_public_client_has_no_secret_here(present, authentik, tmp_path):
    assert present(PAGE, "page")["result"] is True
    assert by(authentik, "providers", name="page")["client_type"] == "public"
    assert not (tmp_path / "secrets/page.auth").exists()


def test_programs_of_an_api_have_accounts_and_this_host_their_passwords(present, authentik, tmp_path):
    assert present(ITEMS, "items")["result"] is True
    for client in ("items-reporter", "items-loader"):
        account = by(authentik, "users", username=client)
        assert account["pk"] in by(authentik, "groups", name="items_users")["users"]
        password = (tmp_path / f"secrets/authentik-{client}").read_text().strip()
        assert password in [row["key"] for row in authentik.rows("tokens") if row["user"] == account["pk"]]


def test_a_new_secret_is_brought_to_authentik(present, authentik, tmp_path):
    assert present(DIARY, "diary")["result"] is True
    put(tmp_path, "diary.auth", "another-secret-of-the-diary")
    changes = present(DIARY, "diary")["changes"]
    assert list(changes) == ["OAuth2 provider diary"]
    assert "another-secret" not in str(changes)
    assert by(authentik, "providers", name="diary")["client_secret"] == "another-secret-of-the-diary"  # noqa: S105 - of a double


@pytest.mark.parametrize(("first", "then"), list(itertools.permutations(PATTERNS, 2)))
def test_another_pattern_leaves_nothing_of_the_former_one(first, then, present, absent, authentik, tmp_path):
    assert present(PATTERNS[then])["result"] is True
    alone = [one for one in objects(authentik) if "attached" not in one]
    attached = len(by(authentik, "outposts", name=EMBEDDED)["providers"])
    assert absent("board")["result"] is True
    assert present(PATTERNS[first])["result"] is True
    planned, done = (present(PATTERNS[then], test=test) for test in (True, False))
    assert done["result"] is True, done["comment"]
    assert planned["changes"] == done["changes"]
    assert [one for one in objects(authentik) if "attached" not in one] == alone
    assert len(by(authentik, "outposts", name=EMBEDDED)["providers"]) == attached
    # The passwords of programs go with their accounts.
    programs = {path.name for path in (tmp_path / "secrets").iterdir() if path.name.startswith("authentik-board-")}
    assert programs == ({"authentik-board-reporter", "authentik-board-loader"} if then == "api" else set())


@pytest.mark.parametrize("auth", PATTERNS.values(), ids=PATTERNS)
def test_a_service_without_a_login_has_nothing(auth, present, absent, authentik, with_lesser_token):
    before = objects(authentik)
    assert present(auth)["result"] is True
    alice = authentik.add("users", {**by(authentik, "users", username="akadmin"), "username": "alice", "name": "Alice"})
    by(authentik, "groups", name="board_users")["users"].append(alice["pk"])
    with_person = objects(authentik)
    planned = absent("other", "board", test=True)
    assert planned["result"] is None
    assert objects(authentik) == with_person
    done = absent("other", "board")
    assert done["result"] is True, done["comment"]
    assert done["changes"] == planned["changes"]
    # Who was in the group is known afterwards, and the person stays.
    assert "alice" in str(done["changes"]["board: group board_users"])
    assert objects(authentik) == sorted([*before, "users: alice"])
    assert absent("other", "board")["changes"] == {}


def test_services_that_are_not_named_stay(present, absent, authentik):
    assert present(BOARD)["result"] is True
    before = snapshot(authentik)
    assert absent("other")["changes"] == {}
    assert snapshot(authentik) == before


def test_what_an_entry_does_not_say_any_more_goes(present, authentik):
    assert present(BOARD)["result"] is True
    less = "{pattern: forward_auth, title: Board, groups: [admins], lifetime: 8h}"
    planned, done = (present(less, test=test) for test in (True, False))
    assert planned["changes"] == done["changes"]
    assert set(done["changes"]) == {
        "group board_editors",
        "policy rick-infra board: hours",
        "policy rick-infra board: networks",
    }
    assert [row["order"] for row in authentik.rows("bindings")] == [0]
    assert not [one for one in objects(authentik) if one.startswith("policies: rick-infra")]


@pytest.mark.parametrize(
    ("auth", "wanted"),
    [(DIARY, ["authorization_code", "refresh_token"]), (PAGE, ["authorization_code"]), (ITEMS, ["client_credentials"])],
)
def test_a_release_that_wants_to_know_the_ways_to_a_token_is_told(auth, wanted, present, authentik, monkeypatch):
    """Since 2026.5, where nobody could log in otherwise."""
    monkeypatch.setitem(providers.OAUTH2, "grant_types", fields.Field(default=list))
    planned, done = (present(auth, test=test) for test in (True, False))
    assert done["result"] is True, done["comment"]
    assert planned["changes"] == done["changes"]
    assert by(authentik, "providers", name="board")["grant_types"] == wanted
    by(authentik, "providers", name="board")["grant_types"] = []
    assert present(auth)["changes"]["OAuth2 provider board"] == {"grant_types": {"old": [], "new": wanted}}
    assert present(auth)["changes"] == {}


# What somebody changes by hand.
DRIFT = {
    "a binding that is gone": lambda store: _drop(store, "bindings", order=0),
    "a binding that decides nothing": lambda store: by(store, "bindings", order=10).update(enabled=False),
    "an application that any binding opens": lambda store: by(store, "applications", slug="board").update(
        policy_engine_mode="any"
    ),
    "an application without its provider": lambda store: by(store, "applications", slug="board").update(provider=None),
    "a group that is no part of the users any more": lambda store: by(store, "groups", name="board_admins").update(
        parents=[]
    ),
    "a policy that lets everybody in": lambda store: by(store, "policies", name="rick-infra board: hours").update(
        expression="return True"
    ),
    "a path that needs no login": lambda store: by(store, "providers", name="board").update(skip_path_regex="^/admin"),
    "an outpost without it": lambda store: by(store, "outposts", name=EMBEDDED).update(providers=[]),
    "the group of its users that is gone, and its binding with it": lambda store: _drop(
        store, "groups", name="board_users"
    ),
    "a group that is gone": lambda store: _drop(store, "groups", name="board_editors"),
}


def _drop(store, table, **wanted):
    store.delete(table, by(store, table, **wanted)["pk"])


@pytest.mark.parametrize("change", DRIFT.values(), ids=DRIFT)
def test_what_somebody_changed_is_put_right_as_planned(change, present, authentik):
    assert present(BOARD)["result"] is True
    before = objects(authentik)
    change(authentik)
    planned, done = (present(BOARD, test=test) for test in (True, False))
    assert done["result"] is True, done["comment"]
    assert done["changes"]
    assert planned["changes"] == done["changes"]
    assert objects(authentik) == before
    assert present(BOARD)["changes"] == {}


@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        ("group_present", {"name": "board_users"}, "group board_users"),
        ("application_present", {"name": "board"}, "application board"),
        (
            "proxy_provider_present",
            {"name": "board", "external_host": "https://elsewhere.example.test"},
            "proxy provider board",
        ),
        ("oauth2_provider_present", {"name": "board", "redirect_uris": []}, "OAuth2 provider board"),
    ],
)
def test_what_is_somebody_elses_is_refused_and_stays(
    function, arguments, told, test, present, absent, apply, authentik
):
    assert apply(function, **copy.deepcopy(arguments))["result"] is True
    before = snapshot(authentik)
    result = present(BOARD, test=test)
    assert result["result"] is False
    assert told in result["comment"]
    assert "the attribute rick-infra: board" in result["comment"]
    assert absent("board", test=test)["changes"] == {}
    assert snapshot(authentik) == before


def test_what_is_handed_over_is_taken(present, apply, authentik):
    assert apply("group_present", name="board_users", attributes={"rick-infra": "board", "more": 1})["result"] is True
    assert apply("application_present", name="board")["result"] is True
    assert present(BOARD)["result"] is True
    assert by(authentik, "groups", name="board_users")["attributes"] == {"rick-infra": "board", "more": 1}


@pytest.mark.parametrize("test", [True, False])
def test_an_authentik_in_trouble_is_one_clear_error(present, absent, server, test):
    def broken(_, start):
        start("500 Internal Server Error", [("Content-Type", "text/html")])
        return [b"<html>"]

    server.app = broken
    for result in (present(BOARD, test=test), absent("board", test=test)):
        assert result["result"] is False
        assert result["changes"] == {}
        assert "500" in result["comment"]


def test_before_there_is_an_authentik_all_of_it_is_planned(apply, authentik, tmp_path):
    (tmp_path / "secrets/authentik-api").unlink()
    result = apply("login.present", name="board", auth=resolved(BOARD), test=True)
    assert result["result"] is None, result["comment"]
    assert "application board" in result["changes"]
    assert apply("login.absent", name="x", services=["board"], test=True)["changes"] == {}


# What 2026.2.3 asks for and the recorded release, which the double behaves like, does not.
LATER = ("authentik_core.add_user_to_group", "authentik_core.remove_user_from_group")
RIGHTS = [line.strip("- ") for line in BLUEPRINT.splitlines() if line.strip().startswith("- authentik_")]


@pytest.fixture
def life(present, absent, apply, authentik):
    """All that this host does with logins, and that an administrator declares of people: whether it worked."""

    other_board = BOARD.replace("title: Board", "title: The board").replace("08:00", "09:00").replace("8h", "9h")
    other_diary = DIARY.replace("Read your", "Read the").replace("5min", "6min")

    def drift():
        by(authentik, "groups", name="diary_admins")["parents"] = []
        by(authentik, "bindings", order=10)["enabled"] = False
        for binding in [one for one in authentik.rows("bindings") if one["group"]]:
            authentik.add("bindings", {key: value for key, value in binding.items() if key != "pk"})
        return {"result": True}

    steps = [
        *(lambda auth=auth: present(auth) for auth in PATTERNS.values()),
        lambda: present(BOARD),
        lambda: present(other_board),
        lambda: present(DIARY, "diary"),
        lambda: present(other_diary, "diary"),
        lambda: present(ITEMS, "items"),
        lambda: apply("authentik.user_present", name="alice", groups=["diary_users"]),
        lambda: apply("authentik.user_present", name="alice", full_name="Alice", groups=[]),
        drift,
        lambda: present(other_diary, "diary"),
        lambda: present(other_board),
        lambda: apply("authentik.user_absent", name="alice"),
        lambda: absent("board", "diary", "items"),
    ]

    def lived():
        for step in steps:
            result = step()
            if not result["result"]:
                return result["comment"]
        return None

    return lived


def test_the_account_for_this_host_can_do_all_of_it(life):
    assert life() is None


@pytest.mark.parametrize("right", [one for one in RIGHTS if one not in LATER])
def test_the_account_has_no_right_that_it_could_do_without(right, life, with_lesser_token, authentik):
    with_lesser_token(BLUEPRINT.replace(f"        - {right}\n", ""))
    assert life() is not None
