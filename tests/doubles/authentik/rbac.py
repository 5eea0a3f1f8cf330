"""
Roles and permissions.
"""

import json
from pathlib import Path

from doubles.authentik import fields
from doubles.authentik.fields import Invalid
from doubles.authentik.rest import (
    NOT_FOUND,
    Answer,
    Collection,
    Refused,
    ServerException,
    exact,
    refers,
    sorted_by,
)

# The kinds of objects, as {application: {model: name for people}}: all that the role for reading may view.
MODELS = json.loads((Path(__file__).parent / "models.json").read_text(encoding="utf-8"))
# Those that it may not, as they are only what other kinds have in common.
ABSTRACT = {"authentik_policies": {"policy": "Policy"}, "authentik_core": {"provider": "provider"}}
SPECIAL = {
    "authentik_core.group": {
        "add_user_to_group": "Add user to group",
        "remove_user_from_group": "Remove user from group",
        "enable_group_superuser": "Enable superuser status",
        "disable_group_superuser": "Disable superuser status",
    },
    "authentik_core.user": {
        "reset_user_password": "Reset Password",
        "impersonate": "Can impersonate other users",
        "preview_user": "Can preview user data sent to providers",
        "view_user_applications": "View applications the user has access to",
    },
    "authentik_core.token": {
        "view_token_key": "View token's key",
        "set_token_key": "Set a token's key",
    },
}


def known_permissions():
    """All permissions, ``{app.codename: facts}``."""
    found = {}
    for table in (MODELS, ABSTRACT):
        for app, models in table.items():
            for model, verbose in models.items():
                verbs = {f"{verb}_{model}": f"Can {verb} {verbose}" for verb in ("add", "change", "delete", "view")}
                for codename, name in {**verbs, **SPECIAL.get(f"{app}.{model}", {})}.items():
                    facts = {"name": name, "codename": codename, "model": model, "app_label": app}
                    words = app.removeprefix("authentik_").replace("_", " ").capitalize()
                    facts.update(app_label_verbose=f"authentik {words}", model_verbose=verbose)
                    found[f"{app}.{codename}"] = {"id": len(found) + 1, **facts}
    return found


KNOWN = known_permissions()
VIEW_ALL = [f"{app}.view_{model}" for app, models in MODELS.items() for model in models]


class Roles(Collection):
    path, table, name, verbose, model = "rbac/roles", "roles", "Role", "Role", "authentik_rbac.role"
    writable = {"name": fields.Text(required=True, longest=150, unique="Role with this name already exists.")}
    search = ("name",)

    def by_user(self, rows, values):
        user = self.store.get("users", int(values[-1])) if values[-1].isdigit() else None
        held = [role["pk"] for role in self.store.roles_of(user)] if user else []
        return [row for row in rows if row["pk"] in held]

    filters = {"name": exact("name"), "users": by_user}

    def make(self, values, call):
        return super().make({**values, "permissions": []}, call)

    def _with_user(self, call, key):
        call.need("authentik_rbac.change_role")
        role = self.look_up(key, call)
        values = fields.clean_all({"pk": fields.Integer(required=True)}, call.body, self.store)
        user = self.store.get("users", values["pk"])
        if user is None:
            raise Refused(404, NOT_FOUND)
        return role, user

    def add_user(self, call, key):
        role, user = self._with_user(call, key)
        if role["pk"] not in user["roles"]:
            user["roles"].append(role["pk"])
        return Answer(204)

    def remove_user(self, call, key):
        role, user = self._with_user(call, key)
        user["roles"] = [pk for pk in user["roles"] if pk != role["pk"]]
        return Answer(204)

    actions = {"add_user": {"POST": add_user}, "remove_user": {"POST": remove_user}}


class Permissions(Collection):
    path, name, verbose, model = "rbac/permissions", "Permission", "Permission", "authentik_rbac.role"
    methods, detail_methods = ("GET",), ()
    search = ("name", "codename", "model", "app_label")
    orderings, order = ("codename", "name"), ("name",)

    def by_role(self, rows, values):
        [role] = refers("pk", "roles")(self, self.store.rows("roles"), values) or [{"permissions": []}]
        return [row for row in rows if f"{row['app_label']}.{row['codename']}" in role["permissions"]]

    filters = {
        "codename": exact("codename"),
        "content_type__app_label": exact("app_label"),
        "content_type__model": exact("model"),
        "role": by_role,
    }

    def rows(self, call):
        return list(KNOWN.values())

    def represent(self, row, call):
        return row


class RolePermissions(Collection):
    """Which role has which permissions, and the two calls that change it."""

    path, table, name = "rbac/permissions/assigned_by_roles", "roles", "Role"
    verbose, model = "Role Assigned Permission", "authentik_rbac.role"
    methods, detail_methods = ("GET",), ()

    def listed(self, call):
        app, _, model = (call.one("model") or "").partition(".")
        rows = [
            row for row in self.store.rows("roles") if any(self._is_of(one, app, model) for one in row["permissions"])
        ]
        return sorted_by(rows, ("name",))

    def _is_of(self, permission, app, model):
        facts = KNOWN[permission]
        return facts["app_label"] == app and facts["model"] == model

    def represent(self, row, call):
        names = ("id", "codename", "model", "app_label", "name")
        held = [{name: KNOWN[one][name] for name in names} for one in row["permissions"]]
        return {"role_pk": row["pk"], "name": row["name"], "object_permissions": [], "model_permissions": held}

    def _asked(self, call, key):
        call.need("authentik_rbac.change_role")
        role = self.look_up(key, call)
        values = fields.clean_all({"permissions": fields.Field(required=True)}, call.body, self.store)
        if not all("." in one for one in values["permissions"]):
            words = "When assigning global permissions, codename must be given as app_label.codename"
            raise Invalid({"permissions": [words]})
        if not all(one in KNOWN for one in values["permissions"]):
            raise ServerException("an unknown permission")  # Q77: nothing is stored
        return role, values["permissions"]

    def assign(self, call, key):
        role, wanted = self._asked(call, key)
        role["permissions"] = list(dict.fromkeys([*role["permissions"], *wanted]))
        return Answer(200, [{"id": str(KNOWN[one]["id"])} for one in wanted])

    def unassign(self, call, key):
        role, unwanted = self._asked(call, key)
        role["permissions"] = [one for one in role["permissions"] if one not in unwanted]
        return Answer(204)

    actions = {"assign": {"POST": assign}, "unassign": {"PATCH": unassign}}
