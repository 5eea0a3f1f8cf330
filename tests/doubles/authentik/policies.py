"""
Policies and bindings, and the engine that decides by them who may use an application.
"""

import contextlib
import io
import ipaddress
import textwrap
from dataclasses import dataclass, field

from doubles.authentik import fields
from doubles.authentik.accounts import short_group, short_user
from doubles.authentik.fields import Invalid
from doubles.authentik.rest import Answer, Collection, ServerException, exact, refers

ENGINE_MODES = ("all", "any")
KINDS = ("policy", "group", "user")
TARGETS = ("applications", "flows")
# (name, description, component, model, whether it needs a licence)
TYPES = (
    ("Event Matcher Policy", "Passes when Event matches selected criteria.", "event-matcher", "eventmatcher", False),
    (
        "Expression Policy",
        "Execute arbitrary Python code to implement custom checks and validation.",
        "expression",
        "expression",
        False,
    ),
    (
        "GeoIP Policy",
        "Ensure the user satisfies requirements of geography or network topology, based on IP\naddress.",
        "geoip",
        "geoip",
        False,
    ),
    (
        "Password Expiry Policy",
        "If password change date is more than x days in the past, invalidate the user's password\nand show a notice",
        "password-expiry",
        "passwordexpiry",
        False,
    ),
    (
        "Password Policy",
        "Policy to make sure passwords have certain properties",
        "password",
        "password",
        False,
    ),
    (
        "Password Uniqueness Policy",
        "This policy prevents users from reusing old passwords.",
        "password-uniqueness",
        "uniquepassword",
        True,
    ),
    (
        "Reputation Policy",
        "Return true if request IP/target username's score is below a certain threshold",
        "reputation",
        "reputation",
        False,
    ),
)


@dataclass
class Result:
    passing: bool
    messages: list = field(default_factory=list)

    def shown(self):
        return {"passing": self.passing, "messages": self.messages, "log_messages": []}


def wrapped(expression):
    """An expression is the body of a function: that is why its lines are counted from two on."""
    return "def handler():\n" + textwrap.indent(expression, "    ") + "\n"


def check_syntax(expression, name):
    """Only that is checked when an expression is stored (Q39)."""
    try:
        compile(wrapped(expression), "expression", "exec")
    except SyntaxError as error:
        raise Invalid(f"Expression Syntax Error: {error.msg} ({name}, line {error.lineno})") from None


def evaluate(store, expression, user, address):
    """Run the text of an expression policy for a user who comes from an address."""
    messages = []
    names = {**names_of(store, user), "ak_client_ip": ipaddress.ip_address(address), "ak_message": messages.append}
    try:
        return Result(bool(run(expression, names)), messages)
    except Exception as error:
        return Result(False, [str(error)])


def names_of(store, user):
    """What an expression may use that is about a user."""
    return {
        "request": _Request(_User(store, user)),
        "ip_address": ipaddress.ip_address,
        "ip_network": ipaddress.ip_network,
        "ak_is_group_member": lambda who, **by: any(group.name == by.get("name") for group in who.groups.all()),
        "context": {},
    }


def run(expression, names):
    """Return what an expression returns. Raises whatever somebody wrote there."""
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(wrapped(expression), "expression", "exec"), names)  # noqa: S102 - what the original does
        return names["handler"]()


@dataclass
class _Group:
    name: str


class _User:
    """A user as an expression sees it."""

    def __init__(self, store, row):
        self.__dict__.update(row)
        self.is_superuser = store.is_superuser(row)
        self.groups = self
        self._groups = [_Group(group["name"]) for group in store.groups_of(row)]
        self._inherited = sorted(store.all_groups_of(row), key=lambda group: group["name"])

    def all(self):
        return self._groups

    def group_attributes(self, request=None):
        """Those of its groups, and what is its own before them."""
        found = {}
        for attributes in (*(group["attributes"] for group in self._inherited), self.attributes):
            found.update(attributes)
        return found

    def app_entitlements(self, application):
        """The double has none."""
        return []


@dataclass
class _Request:
    user: _User


def allows(store, target, user, address="127.0.0.1"):
    """
    Decide whether a user may use what bindings are for. Without any that are enabled, everybody may (Q32).
    """
    bindings = [one for one in store.rows("bindings") if one["target"] == target["pk"] and one["enabled"]]
    results = []
    for binding in sorted(bindings, key=lambda one: one["order"]):
        result = _of_binding(store, binding, user, address)
        results.append(Result(result.passing != binding["negate"], result.messages))
    if not results:
        return Result(True)
    verdict = all if target.get("policy_engine_mode") == "all" else any
    passing = verdict(one.passing for one in results)
    return Result(passing, [message for one in results for message in one.messages])


def _of_binding(store, binding, user, address):
    if binding["policy"]:
        policy = store.tables["policies"][binding["policy"]]
        return evaluate(store, policy.get("expression") or "return True", user, address)
    if binding["group"]:
        # Whoever is in a group below it is in it, too (Q23).
        return Result(any(group["pk"] == binding["group"] for group in store.all_groups_of(user)))
    return Result(binding["user"] == user["pk"])


class AllPolicies(Collection):
    """Policies of all kinds; those that are no expressions come with the installation and stay as they are."""

    path, table, name, verbose, model = "policies/all", "policies", "Policy", "Policy", "authentik_policies.policy"
    methods, detail_methods = ("GET",), ("GET", "DELETE")
    search = ("name",)

    def represent(self, row, call):
        shown = {name: row[name] for name in ("pk", "name", "execution_logging")}
        shown.update({name: row[name] for name in ("component", "verbose_name", "verbose_name_plural")})
        bound = sum(one["policy"] == row["pk"] for one in self.store.rows("bindings"))
        shown.update(meta_model_name=row["meta_model_name"], bound_to=bound + row["bound_elsewhere"])
        return {**shown, **row["settings"], **({"expression": row["expression"]} if "expression" in row else {})}

    def types(self, call):
        shown = []
        for name, description, component, model, licence in TYPES:
            one = {"name": name, "description": description, "component": f"ak-policy-{component}-form"}
            one.update(model_name=f"{model}policy", icon_url=None, requires_enterprise=licence, deprecated=False)
            shown.append(one)
        return Answer(200, shown)

    def test(self, call, key):
        """For who may not do everything it breaks (Q88)."""
        if not call.superuser:
            raise ServerException("WrongAppError")
        policy = self.look_up(key, call)
        wanted = {"user": fields.Reference("users", required=True), "context": fields.Mapping()}
        values = fields.clean_all(wanted, call.body, self.store)
        user = self.store.tables["users"][values["user"]]
        return Answer(200, evaluate(self.store, policy["expression"], user, "127.0.0.1").shown())

    list_actions = {"types": {"GET": types}}
    actions = {"test": {"POST": test}}

    def used_by(self, row, call):
        targets = [one["target"] for one in self.store.rows("bindings") if one["policy"] == row["pk"]]
        shown = {"app": "authentik_policies", "model_name": "policybindingmodel", "action": "cascade_many"}
        return [{**shown, "pk": target, "name": f"PolicyBindingModel {target}"} for target in targets]


class ExpressionPolicies(AllPolicies):
    path, name, verbose = "policies/expression", "ExpressionPolicy", "Expression Policy"
    model = "authentik_policies_expression.expressionpolicy"
    methods, detail_methods = Collection.methods, Collection.detail_methods
    list_actions = actions = {}
    writable = {
        "name": fields.Text(required=True, unique="Policy with this name already exists."),
        "execution_logging": fields.Boolean(default=False),
        "expression": fields.Text(required=True),
    }
    orderings = ("name",)
    filters = {name: exact(name) for name in ("name", "expression")}
    KIND = {
        "component": "ak-policy-expression-form",
        "verbose_name": "Expression Policy",
        "verbose_name_plural": "Expression Policies",
        "meta_model_name": model,
        "settings": {},
        "bound_elsewhere": 0,
    }

    def rows(self, call):
        return [row for row in super().rows(call) if "expression" in row]

    def make(self, values, call):
        return super().make({**values, **self.KIND}, call)

    def refine(self, name, value, row, call, data):
        if name == "expression":
            check_syntax(value, row["name"] if row else "temp-policy")
        return value


class Bindings(Collection):
    path, table, name = "policies/bindings", "bindings", "PolicyBinding"
    verbose, model = "Policy Binding", "authentik_policies.policybinding"
    writable = {
        "policy": fields.Reference("policies", null=True, cascade=True),
        "group": fields.Reference("groups", null=True, cascade=True),
        "user": fields.Reference("users", null=True, cascade=True),
        "target": fields.Reference(*TARGETS, required=True, cascade=True),
        "negate": fields.Boolean(default=False),
        "enabled": fields.Boolean(default=True),
        "order": fields.Integer(required=True),
        "timeout": fields.Integer(least=0, default=30),
        "failure_result": fields.Boolean(default=False),
    }
    orderings, order = ("order", "pk"), ("order", "pk")
    filters = {"target": refers("target", *TARGETS), "policy": refers("policy", "policies")}

    def represent(self, row, call):
        policy = self.store.get("policies", row["policy"])
        return {
            **super().represent(row, call),
            "policy_obj": AllPolicies(self.store).represent(policy, call) if policy else None,
            "group_obj": short_group(self.store.get("groups", row["group"])),
            "user_obj": short_user(self.store.get("users", row["user"])),
        }

    def check(self, values, row, call, data):
        if "target" not in data:
            raise ServerException("a binding without a target")  # Q35
        given = {**(row or {}), **values}
        for other in self.store.rows("bindings"):
            same = all(other[name] == given.get(name) for name in ("policy", "target", "order"))
            if same and given.get("policy") and other is not row:
                raise Invalid({"non_field_errors": ["The fields policy, target, order must make a unique set."]})
        self.check_kind(values)

    def check_kind(self, values):
        count = sum(values.get(name) is not None for name in KINDS)
        quoted = "'group', 'policy', 'user'"
        if count > 1:
            raise Invalid({"non_field_errors": [f"Only one of {quoted} can be set."]})
        if not count:
            raise Invalid({"non_field_errors": [f"One of {quoted} must be set."]})

    def cleaned_without_target(self, data, call):
        """For an application that is made in the same call."""
        wanted = {name: one for name, one in self.writable.items() if name != "target"}
        values = fields.clean_all(wanted, data, self.store)
        self.check_kind(values)
        return values

    def changed(self):
        self.store.listed_applications.clear()
