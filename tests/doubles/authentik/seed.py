"""
What a fresh installation has: flows, scope mappings, the administrator, the embedded outpost, and so on.

Which objects those are is read from ``tests/contract/preloaded.json``.
"""

import copy
import json
from pathlib import Path

from doubles.authentik import certificates, outposts, rbac, system
from doubles.authentik.accounts import Groups, Users
from doubles.authentik.outposts import Outposts
from doubles.authentik.policies import ExpressionPolicies
from doubles.authentik.providers import Flows, ScopeMappings
from doubles.authentik.store import now
from doubles.authentik.system import Brands

PRELOADED = Path(__file__).resolve().parents[2] / "contract/preloaded.json"
# How many stages the default flows have that anybody looks at; the others have one.
STAGES = {
    "default-authentication-flow": 4,
    "default-provider-authorization-implicit-consent": 0,
    "default-provider-invalidation-flow": 0,
}
# Policies that come with it and are no expressions.
OTHER_POLICIES = (
    {
        "name": "default-match-policy-exception",
        "component": "ak-policy-event-matcher-form",
        "verbose_name": "Event Matcher Policy",
        "verbose_name_plural": "Event Matcher Policies",
        "meta_model_name": "authentik_policies_event_matcher.eventmatcherpolicy",
        "settings": {"action": "policy_exception", "client_ip": None, "app": None, "model": None},
    },
    {
        "name": "default-password-change-password-policy",
        "component": "ak-policy-password-form",
        "verbose_name": "Password Policy",
        "verbose_name_plural": "Password Policies",
        "meta_model_name": "authentik_policies_password.passwordpolicy",
        "settings": {
            "password_field": "password",
            **dict.fromkeys(("amount_digits", "amount_uppercase", "amount_lowercase", "amount_symbols"), 0),
            "length_min": 8,
            "symbol_charset": "!\\\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ ",
            "error_message": "Password needs to be 8 characters or longer.",
            "check_static_rules": True,
            "check_have_i_been_pwned": False,
            "check_zxcvbn": True,
            "hibp_allowed_count": 0,
            "zxcvbn_score_threshold": 2,
        },
    },
)


def fill(store, token, email="root@example.test", password=None):
    """
    Put into an empty store what the first start does.

    token
        The key of the administrator's token, None for none.

    password
        The administrator's. None: there is none, and nobody logs in as akadmin.
    """
    store.settings = {name: one.default() for name, one in system.SETTINGS.items()}
    store.seeded = True
    fresh = copy.deepcopy(json.loads(PRELOADED.read_text(encoding="utf-8"))["fresh_state"])
    keys = {}

    def add(table, collection, given, **more):
        row = {name: one.default() for name, one in collection.writable.items()}
        given = {name: value for name, value in given.items() if name in row}
        row = store.add(table, {**row, **given, **more}, collection.pk_name)
        return row

    for flow in fresh["/flows/instances/"]:
        stages = [store.new_key("stages") for _ in range(STAGES.get(flow["slug"], 1))]
        login = "none" if flow["designation"] == "authentication" else "require_authenticated"
        row = add("flows", Flows, flow, stages=stages, authentication=login, binding_model=store.new_key("models"))
        keys[flow["pk"]] = row["pk"]
    for mapping in fresh["/propertymappings/provider/scope/"]:
        keys[mapping["pk"]] = add("mappings", ScopeMappings, mapping)["pk"]
    for policy in fresh["/policies/expression/"]:
        kind = {**ExpressionPolicies.KIND, "bound_elsewhere": policy["bound_to"]}
        add("policies", ExpressionPolicies, {"name": policy["name"], "expression": "return True"}, **kind)
    for policy in OTHER_POLICIES:
        store.add("policies", {**policy, "execution_logging": False, "bound_elsewhere": 1})
    store.add("certificates", {"name": certificates.NAME, "managed": None, "pair": certificates.Pair()})
    _add_people(store, fresh, add, keys, email, password, token)
    for brand in fresh["/core/brands/"]:
        flows = {name: keys[value] for name, value in brand.items() if name.startswith("flow_") and value}
        add("brands", Brands, {**brand, **flows})
    for one in fresh["/managed/blueprints/"]:
        row = {"name": one["name"], "path": one["path"], "context": {}, "enabled": True, "content": ""}
        row.update(last_applied=now(), last_applied_hash="0" * 128, status="successful", managed_models=[])
        store.add("blueprints", {**row, "metadata": {"name": one["name"], "labels": {}}})
    embed(store)


def _add_people(store, fresh, add, keys, email, password, token):
    reader = store.add("roles", {"name": "authentik Read-only", "permissions": list(rbac.VIEW_ALL)})
    people = {}
    for user in fresh["/core/users/"]:
        outpost = user["type"] == "internal_service_account"
        name = f"ak-outpost-{store.new_key('names').replace('-', '')}" if outpost else user["username"]
        row = add("users", Users, user, username=name, uuid=store.new_key("uuids"), last_login=None, password=None)
        row.pop("groups")
        row.update(roles=[], date_joined=now(), password_change_date=now())
        people[user["pk"] if not outpost else "outpost"] = row
        if outpost:
            managed = {"name": f"ak-managed-role--user-{row['pk']}", "permissions": []}
            row["roles"] = [store.add("roles", managed)["pk"]]
    administrator = people["$user_akadmin"]
    administrator.update(email=email, password=password)
    for group in fresh["/core/groups/"]:
        members = [people[pk]["pk"] for pk in group["users"]]
        add("groups", Groups, group, users=members, roles=[reader["pk"]] * bool(group["roles"]))
    if token is not None:
        bootstrap = store.new_token("authentik-bootstrap-token", "api", administrator["pk"], expiring=False)
        bootstrap["key"] = token


def embed(store):
    """Make the embedded outpost if there is none: each start of the server does."""
    if store.find("outposts", managed=outposts.EMBEDDED):
        return
    row = {name: one.default() for name, one in Outposts.writable.items()}
    row.update(name=outposts.EMBEDDED_NAME, type="proxy", providers=[], managed=outposts.EMBEDDED)
    row = store.add("outposts", {**row, "config": outposts.default_config()})
    account = next(user for user in store.rows("users") if user["type"] == "internal_service_account")
    identifier = f"ak-outpost-{row['pk']}-api"
    store.new_token(identifier, "api", account["pk"], expiring=False, managed=f"goauthentik.io/outpost/{identifier}")
