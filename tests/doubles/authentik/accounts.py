"""
Groups, users and tokens: who there is, and who is who.
"""

import hashlib
import re
import secrets

from doubles.authentik import fields
from doubles.authentik.fields import Invalid
from doubles.authentik.rest import (
    NO_PERMISSION,
    NOT_FOUND,
    Answer,
    Collection,
    Refused,
    ServerException,
    containing,
    described,
    exact,
    truth,
)
from doubles.authentik.store import now

USER_TYPES = ("internal", "external", "service_account", "internal_service_account")
TAKEN = "A user/group with these details already exists"


def short_group(group):
    return None if group is None else {"pk": group["pk"], "num_pk": int(group["pk"][:8], 16), "name": group["name"]}


def short_user(user):
    if user is None:
        return None
    return {name: user[name] for name in ("pk", "username", "name", "is_active", "last_login", "email", "attributes")}


def short_role(role):
    return {"pk": role["pk"], "name": role["name"]}


def has_nul(value):
    """Whether there is a NUL in some JSON: the database of the original breaks on it."""
    if isinstance(value, dict):
        return any(has_nul(one) for one in (*value, *value.values()))
    if isinstance(value, list):
        return any(map(has_nul, value))
    return isinstance(value, str) and fields.NUL in value


class Groups(Collection):
    path, table, name, verbose, model = "core/groups", "groups", "Group", "Group", "authentik_core.group"
    writable = {
        "name": fields.Text(required=True, unique="Group with this name already exists."),
        "is_superuser": fields.Boolean(default=False, help_text="Users added to this group will be superusers."),
        "parents": fields.References("groups"),
        "users": fields.References("users"),
        "attributes": fields.Mapping(),
        "roles": fields.References("roles"),
    }
    search = ("name",)
    filters = {
        "name": exact("name"),
        "is_superuser": truth("is_superuser"),
        "attributes": containing("attributes"),
    }

    def children(self, group):
        return [one for one in self.store.rows("groups") if group["pk"] in one["parents"]]

    def represent(self, row, call):
        store = self.store
        users = [store.tables["users"][pk] for pk in row["users"]]
        roles = [store.tables["roles"][pk] for pk in row["roles"]]
        parents = [store.tables["groups"][pk] for pk in row["parents"]]
        children = self.children(row)
        return {
            "pk": row["pk"],
            "num_pk": int(row["pk"][:8], 16),
            "name": row["name"],
            "is_superuser": row["is_superuser"],
            "parents": [one["pk"] for one in parents],
            "parents_obj": [short_group(one) for one in parents] if call.flag("include_parents") else None,
            "users": row["users"],
            "users_obj": [short_user(one) for one in users] if call.flag("include_users", True) else None,
            "attributes": row["attributes"],
            "roles": row["roles"],
            "roles_obj": [short_role(one) for one in roles],
            "inherited_roles_obj": [] if call.flag("include_inherited_roles") else None,
            "children": [one["pk"] for one in children],
            "children_obj": [short_group(one) for one in children] if call.flag("include_children") else None,
        }

    def check(self, values, row, call, data):
        if has_nul(values.get("attributes")):
            raise ServerException("NUL in JSON")
        wanted, present = values.get("is_superuser"), bool(row and row["is_superuser"])
        if wanted is not None and wanted != present:
            verb = "enable" if wanted else "disable"
            if not self.store.may(call.user, f"authentik_core.{verb}_group_superuser"):
                words = f"User does not have permission to set superuser status to {wanted}."
                raise Invalid({"is_superuser": [words]})

    def change(self, row, values, call):
        if call.method == "PUT":  # Q12
            values.setdefault("users", [])
        super().change(row, values, call)

    def used_by(self, row, call):
        shown = []
        for child in self.children(row):
            shown.append(("group", child["pk"], f"Group {child['name']}", "cascade_many"))
        for child in self.children(row):
            words = f"Group Ancestry Node from {child['pk']} to {row['pk']}"
            shown.append(("groupancestrynode", f"{child['pk']}-{row['pk']}", words, "cascade"))
        for child in self.children(row):
            words = f"Group Parentage Node from #{child['pk']} to {row['pk']}"
            shown.append(("groupparentagenode", self.store.new_key("parentage"), words, "cascade"))
        keys = ("model_name", "pk", "name", "action")
        return [{"app": "authentik_core", **dict(zip(keys, one, strict=True))} for one in shown]

    def described_fields(self):
        shown = {
            "pk": described("pk", kind="string", label="Group uuid"),
            "num_pk": described("num_pk", kind="integer"),
        }
        for name, one in super().described_fields().items():
            shown[name] = one
            if name in ("parents", "users", "roles"):
                shown[f"{name}_obj"] = described(f"{name}_obj")
        names = ("inherited_roles_obj", "children", "children_obj")
        return {**shown, **{name: described(name) for name in names}}

    def membership(self, call, key, right, change):
        call.need(f"authentik_core.{right}")
        group = self.look_up(key, call)
        values = fields.clean_all({"pk": fields.Integer(required=True)}, call.body, self.store)
        user = self.store.get("users", values["pk"])
        if user is None or not self.store.may(call.user, "authentik_core.view_user"):
            raise Refused(404, NOT_FOUND)
        change(group, user["pk"])
        self.changed()
        return Answer(204)

    def add_user(self, call, key):
        def change(group, pk):
            if pk not in group["users"]:
                group["users"].append(pk)

        return self.membership(call, key, "add_user_to_group", change)

    def remove_user(self, call, key):
        def change(group, pk):
            group["users"] = [one for one in group["users"] if one != pk]

        return self.membership(call, key, "remove_user_from_group", change)

    actions = {"add_user": {"POST": add_user}, "remove_user": {"POST": remove_user}}


class Users(Collection):
    path, table, name, verbose, model = "core/users", "users", "User", "User", "authentik_core.user"
    writable = {
        "username": fields.Text(required=True, longest=150, unique="This field must be unique."),
        "name": fields.Text(required=True, blank=True),
        "is_active": fields.Boolean(default=True),
        "last_login": fields.Moment(null=True),
        "groups": fields.References("groups"),
        "roles": fields.References("roles"),
        "email": fields.Text(blank=True, longest=254, check=fields.email),
        "attributes": fields.Mapping(),
        "path": fields.Text(default="users"),
        "type": fields.Choice(*USER_TYPES, default="internal"),
    }
    search = ("username", "name", "email")
    orderings = ("username", "name", "email")
    order = ("username",)

    def by_group(self, rows, values):
        names = {group["name"]: group for group in self.store.rows("groups")}
        for value in values:
            if value not in names:
                words = f"Select a valid choice. {value} is not one of the available choices."
                raise Refused(400, {"groups_by_name": [words]})
        members = {pk for value in values for pk in names[value]["users"]}
        return [row for row in rows if row["pk"] in members]

    def by_superuser(self, rows, values):
        return [row for row in rows if self.store.is_superuser(row) == (values[-1].lower() == "true")]

    filters = {
        **{name: exact(name) for name in ("username", "name", "email", "path", "type")},
        "is_active": truth("is_active"),
        "is_superuser": by_superuser,
        "attributes": containing("attributes"),
        "groups_by_name": by_group,
    }

    def uid(self, user):
        return hashlib.sha256(f"{user['pk']}-{user['uuid']}".encode()).hexdigest()

    def represent(self, row, call):
        groups = self.store.groups_of(row)
        roles = [self.store.tables["roles"][pk] for pk in row["roles"]]
        shown = {name: row[name] for name in self.writable if name != "groups"}
        return {
            "pk": row["pk"],
            **shown,
            "date_joined": row["date_joined"],
            "is_superuser": self.store.is_superuser(row),
            "groups": [group["pk"] for group in groups],
            "groups_obj": [short_group(group) for group in groups],
            "roles_obj": [short_role(role) for role in roles],
            "avatar": f"https://avatar.example.test/{row['pk']}",
            "uid": self.uid(row),
            "uuid": row["uuid"],
            "password_change_date": row["password_change_date"],
            "last_updated": now(),
        }

    def refine(self, name, value, row, call, data):
        if name == "path" and value.strip("/") != value:
            raise Invalid("No leading or trailing slashes allowed.")
        return value

    def make(self, values, call):
        groups = values.pop("groups")
        row = super().make(values, call)
        row.update(uuid=self.store.new_key("uuids"), date_joined=now(), password_change_date=now(), password=None)
        self._join(row, groups)
        return row

    def change(self, row, values, call):
        groups = values.pop("groups", None)
        super().change(row, values, call)
        if groups is not None:
            self._join(row, groups)

    def _join(self, user, keys):
        for group in self.store.rows("groups"):
            members = [pk for pk in group["users"] if pk != user["pk"]]
            group["users"] = [*members, user["pk"]] if group["pk"] in keys else members

    def me(self, call):
        user = call.user
        names = ("pk", "username", "name", "is_active", "email", "type")
        shown = {name: user[name] for name in names}
        shown.update(
            is_superuser=self.store.is_superuser(user),
            groups=[{"name": group["name"], "pk": group["pk"]} for group in self.store.groups_of(user)],
            roles=[short_role(role) for role in self.store.roles_of(user)],
            avatar=f"https://avatar.example.test/{user['pk']}",
            uid=self.uid(user),
            settings={},
            system_permissions=sorted({one for role in self.store.roles_of(user) for one in role["permissions"]}),
        )
        return Answer(200, {"user": shown})

    def set_password(self, call, key):
        call.need("authentik_core.reset_user_password")
        user = self.look_up(key, call)
        values = fields.clean_all({"password": fields.Text(required=True)}, call.body, self.store)
        user.update(password=values["password"], password_change_date=now())
        return Answer(204)

    SERVICE_ACCOUNT = {
        "name": fields.Text(required=True, unique="This field must be unique."),
        "create_group": fields.Boolean(default=False),
        "expiring": fields.Boolean(default=True),
        "expires": fields.Moment(),
    }

    def service_account(self, call):
        call.need("authentik_core.add_user", "authentik_core.add_token")
        store = self.store

        def refine(name, value):
            if name == "name" and store.find("users", username=value):
                raise Invalid("This field must be unique.")
            return value

        values = fields.clean_all(self.SERVICE_ACCOUNT, call.body, store, refine=refine)
        name, expiring = values["name"], values["expiring"]
        with_group = values["create_group"] and store.may(call.user, "authentik_core.add_group")  # Q85
        identifier = f"service-account-{slugified(name)}-password"
        if store.find("tokens", identifier=identifier) or (with_group and store.find("groups", name=name)):
            raise Invalid({"non_field_errors": [TAKEN]})
        given = {name: one.default() for name, one in self.writable.items()}
        given.update(username=name, name=name, type="service_account", path="goauthentik.io/service-accounts")
        given["attributes"] = {"goauthentik.io/user/token-expires": expiring}
        user = self.make(given, call)
        token = store.new_token(identifier, "app_password", user["pk"], expiring, values["expires"])
        answer = {"username": name, "user_uid": self.uid(user), "user_pk": user["pk"], "token": token["key"]}
        if with_group:
            group = {field: one.default() for field, one in Groups.writable.items()}
            group = store.add("groups", {**group, "name": name, "users": [user["pk"]]})
            answer["group_pk"] = group["pk"]
        self.changed()
        return Answer(200, answer)

    list_actions = {"me": {"GET": me}, "service_account": {"POST": service_account}}
    actions = {"set_password": {"POST": set_password}}


class Tokens(Collection):
    path, table, name, verbose, model = "core/tokens", "tokens", "Token", "Token", "authentik_core.token"
    key = "identifier"
    writable = {
        "managed": fields.Text(null=True, default=None),
        "identifier": fields.Text(
            required=True,
            longest=255,
            check=fields.slug('""'),
            unique="Token with this identifier already exists.",
        ),
        "intent": fields.Choice("verification", "api", "recovery", "app_password", default="verification"),
        "user": fields.Reference("users", cascade=True),
        "description": fields.Text(blank=True),
        "expires": fields.Moment(null=True),
        "expiring": fields.Boolean(default=True),
    }
    search = ("identifier", "description")
    orderings = ("identifier", "expires")
    order = ("identifier",)

    def by_owner(self, rows, values):
        user = self.store.find("users", username=values[-1])
        return [row for row in rows if user and row["user"] == user["pk"]]

    filters = {
        **{name: exact(name) for name in ("identifier", "intent", "managed", "description")},
        "user__username": by_owner,
    }

    def rows(self, call):
        """Who may not view tokens sees those of their own only (Q81)."""
        rows = super().rows(call)
        if self.store.may(call.user, "authentik_core.view_token"):
            return rows
        return [row for row in rows if row["user"] == call.user["pk"]]

    def represent(self, row, call):
        user = self.store.get("users", row["user"])
        return {**super().represent(row, call), "user_obj": short_user(user)}

    def refine(self, name, value, row, call, data):
        if name == "user" and row is not None and value != row["user"]:
            raise Invalid("User cannot be changed")
        return value

    def check(self, values, row, call, data):
        if values.get("intent") not in (None, "api", "app_password"):
            raise Invalid({"intent": [f"Invalid intent {values['intent']}"]})

    def _expiring(self, values, row):
        """The server says when a token of the API expires (Q51)."""
        duration = fields.timedelta(self.store.settings["default_token_duration"])
        intent = values.get("intent") or (row and row["intent"])
        if intent == "api" or not values.get("expires"):
            return fields.datetime.datetime.now(fields.datetime.UTC) + duration
        return None

    def make(self, values, call):
        owner = values["user"] if call.superuser and values["user"] else call.user["pk"]  # Q83
        expires = self._expiring(values, None)
        expires = expires.isoformat().replace("+00:00", "Z") if expires else values["expires"]
        row = self.store.new_token(
            values["identifier"], values["intent"], owner, values["expiring"], expires, values["description"]
        )
        if not call.superuser:
            row["key_readers"].append(call.user["pk"])
            self._managed_role(call.user)
        return row

    def _managed_role(self, user):
        """The server remembers in a role of its own who may see the key (Q84)."""
        name = f"ak-managed-role--user-{user['pk']}"
        role = self.store.find("roles", name=name)
        if role is None:
            role = self.store.add("roles", {"name": name, "permissions": [], "managed": True})
        if role["pk"] not in user["roles"]:
            user["roles"].append(role["pk"])

    def change(self, row, values, call):
        values.setdefault("user", call.user["pk"])  # Q49
        super().change(row, values, call)

    def may_list(self, call):
        pass

    may_create = may_touch = may_list

    def may_change(self, call, row):
        verb = {"GET": "view", "DELETE": "delete"}.get(call.method, "change")
        if row["user"] != call.user["pk"]:
            call.need(self.right(verb))

    def view_key(self, call, key):
        token = self._with_key(call, key, "authentik_core.view_token_key")
        return Answer(200, {"key": token["key"]})

    def set_key(self, call, key):
        token = self._with_key(call, key, "authentik_core.set_token_key")
        values = fields.clean_all({"key": fields.Text(required=True)}, call.body, self.store)
        token["key"] = values["key"]
        return Answer(204)

    def _with_key(self, call, key, right):
        token = self.store.find("tokens", identifier=key)
        reads = right.endswith("view_token_key") and token and call.user["pk"] in token["key_readers"]
        if not reads and not self.store.may(call.user, right):
            raise Refused(403, NO_PERMISSION)
        if token is None:
            raise Refused(404, f"No {self.name} matches the given query.")
        return token

    actions = {"view_key": {"GET": view_key}, "set_key": {"POST": set_key}}


def slugified(text):
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text.lower())).strip("-_")


def app_password(store, username, password):
    """The user whose app password this is, None if it is nobody's."""
    user = store.find("users", username=username)
    if user is None or not user["is_active"]:
        return None
    keys = [one["key"] for one in store.rows("tokens") if (one["user"], one["intent"]) == (user["pk"], "app_password")]
    return user if any(secrets.compare_digest(key.encode(), password.encode()) for key in keys) else None
