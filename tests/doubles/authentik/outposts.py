"""
Outposts: which providers the proxy serves. The embedded one runs in the server itself.
"""

from doubles.authentik import fields
from doubles.authentik.fields import Invalid
from doubles.authentik.providers import KINDS
from doubles.authentik.rest import Answer, Collection, iexact, is_null

EMBEDDED = "goauthentik.io/outposts/embedded"
EMBEDDED_NAME = "authentik Embedded Outpost"
TYPES = {"proxy": "proxy", "ldap": "ldap", "radius": "radius", "rac": "rac"}
# The keys of a configuration: their default, and of which type they must be.
CONFIG = {
    "authentik_host": ("", str),
    "authentik_host_insecure": (False, bool),
    "authentik_host_browser": ("", str),
    "log_level": ("info", str),
    "object_naming_template": ("ak-outpost-%(name)s", str),
    "refresh_interval": ("minutes=5", str),
    "container_image": (None, str),
    "docker_network": (None, str),
    "docker_map_ports": (True, bool),
    "docker_labels": (None, dict),
    "kubernetes_replicas": (1, int),
    "kubernetes_namespace": ("default", str),
    "kubernetes_ingress_annotations": ({}, dict),
    "kubernetes_ingress_secret_name": ("authentik-outpost-tls", str),
    "kubernetes_ingress_class_name": (None, str),
    "kubernetes_ingress_path_type": (None, str),
    "kubernetes_httproute_annotations": ({}, dict),
    "kubernetes_httproute_parent_refs": ([], list),
    "kubernetes_service_type": ("ClusterIP", str),
    "kubernetes_disabled_components": ([], list),
    "kubernetes_image_pull_secrets": ([], list),
    "kubernetes_json_patches": (None, dict),
}


def default_config(host=""):
    return {**{name: value for name, (value, _) in CONFIG.items()}, "authentik_host": host}


def check_config(config):
    for name, value in config.items():
        default, kind = CONFIG.get(name, (None, object))
        if value is None and default is None:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            words = f'Failed to validate config: wrong value type for field "{name}" - should be "{kind.__name__}"'
            raise Invalid({"config": [f'{words} instead of value "{value}" of type "{type(value).__name__}"']})
    if "refresh_interval" in config:
        try:
            fields.duration(config["refresh_interval"])
        except Invalid as error:
            raise Invalid({"config": error.detail}) from None


class Outposts(Collection):
    path, table, name, verbose, model = (
        "outposts/instances",
        "outposts",
        "Outpost",
        "Outpost",
        "authentik_outposts.outpost",
    )
    writable = {
        "name": fields.Text(required=True, unique="Outpost with this name already exists."),
        "type": fields.Choice(*TYPES, required=True),
        "providers": fields.References("providers", required=True),
        "service_connection": fields.Reference("connections", null=True),
        "config": fields.Mapping(required=True),
        "managed": fields.Text(null=True, default=None),
    }
    search = ("name",)
    filters = {
        "name__iexact": iexact("name"),
        "managed__iexact": iexact("managed"),
        "service_connection__isnull": is_null("service_connection"),
        "providers_by_pk": lambda self, rows, values: [
            row for row in rows if any(str(pk) in values for pk in row["providers"])
        ],
    }

    def represent(self, row, call):
        providers = [self.store.tables["providers"][pk] for pk in row["providers"]]
        interval = row["config"].get("refresh_interval", CONFIG["refresh_interval"][0])
        return {
            **super().represent(row, call),
            "providers_obj": [{"pk": one["pk"], "name": one["name"], "component": ""} for one in providers],
            "service_connection_obj": None,
            "refresh_interval_s": int(fields.timedelta(interval).total_seconds()),
            "token_identifier": f"ak-outpost-{row['pk']}-api",
        }

    def refine(self, name, value, row, call, data):
        embedded = bool(row) and row["managed"] == EMBEDDED
        if name == "name":
            if embedded and value != EMBEDDED_NAME:
                raise Invalid("Embedded outpost's name cannot be changed")
            if row and value == EMBEDDED_NAME:
                row["managed"] = EMBEDDED  # Q43
        if name == "providers":
            # Checked only against a type in the same body (Q42).
            kind = data.get("type")
            for pk in value if kind else ():
                provider = KINDS[self.store.tables["providers"][pk]["kind"]]
                if provider.only != kind:
                    raise Invalid(f"Outpost type {kind} can't be used with {provider.name} providers.")
            if not value and not (row and row["managed"] == EMBEDDED):
                raise Invalid("This list may not be empty.")
        return value

    def check(self, values, row, call, data):
        if "config" in values:
            check_config(values["config"])

    def default_settings(self, call):
        return Answer(200, {"config": default_config(f"{call.base}/")})

    def health(self, call, key):
        call.need(self.right("view"))
        self.look_up(key, call)
        return Answer(200, [])

    list_actions = {"default_settings": {"GET": default_settings}}
    actions = {"health": {"GET": health}}
