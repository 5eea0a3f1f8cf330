"""
Settings of the whole server: its version, brands, and what the first page asks before anybody logs in.
"""

import os

from doubles.authentik import fields
from doubles.authentik.fields import Invalid
from doubles.authentik.rest import ANYBODY, Answer, Collection, exact

# What it behaves like is 2026.2.2; it can call itself otherwise, for tests of upgrades.
VERSION = os.environ.get("AUTHENTIK_DOUBLE_VERSION", "2026.2.2")
LOGO, ICON = "/static/dist/assets/icons/icon_left_brand.svg", "/static/dist/assets/icons/icon.png"
BACKGROUND = "/static/dist/assets/images/flow_background.jpg"
SETTINGS = {
    "avatars": fields.Text(default="gravatar,initials"),
    "default_user_change_name": fields.Boolean(default=True),
    "default_user_change_email": fields.Boolean(default=False),
    "default_user_change_username": fields.Boolean(default=False),
    "event_retention": fields.Text(default="days=365", check=fields.duration),
    "reputation_lower_limit": fields.Integer(default=-5),
    "reputation_upper_limit": fields.Integer(default=5),
    "footer_links": fields.Field(default=list),
    "gdpr_compliance": fields.Boolean(default=True),
    "impersonation": fields.Boolean(default=True),
    "impersonation_require_reason": fields.Boolean(default=True),
    "default_token_duration": fields.Text(default="minutes=30", check=fields.duration),
    "default_token_length": fields.Integer(least=0, default=60),
    "pagination_default_page_size": fields.Integer(least=1, default=20),
    "pagination_max_page_size": fields.Integer(least=1, default=100),
    "flags": fields.Mapping(),
}
FLOWS = ("authentication", "invalidation", "recovery", "unenrollment", "user_settings", "device_code")


class Brands(Collection):
    path, table, name, verbose, model = "core/brands", "brands", "Brand", "Brand", "authentik_brands.brand"
    key = pk_name = "brand_uuid"
    writable = {
        "domain": fields.Text(required=True, unique="This field must be unique."),
        "default": fields.Boolean(default=False),
        "branding_title": fields.Text(default="authentik"),
        "branding_logo": fields.Text(default=LOGO),
        "branding_favicon": fields.Text(default=ICON),
        "branding_custom_css": fields.Text(blank=True),
        "branding_default_flow_background": fields.Text(default=BACKGROUND),
        **{f"flow_{name}": fields.Reference("flows", null=True) for name in FLOWS},
        "default_application": fields.Reference("applications", null=True),
        "web_certificate": fields.Reference("certificates", null=True),
        "client_certificates": fields.References("certificates"),
        "attributes": fields.Mapping(),
    }
    search = ("domain", "branding_title")
    orderings, order = ("domain", "default"), ("domain",)
    filters = {name: exact(name) for name in ("domain", "branding_title", "brand_uuid")}

    def represent(self, row, call):
        return {"brand_uuid": row["brand_uuid"], **{name: row[name] for name in self.writable}}

    def refine(self, name, value, row, call, data):
        if name == "default" and value and any(one["default"] and one is not row for one in self.store.rows("brands")):
            raise Invalid("Only a single brand can be set as default.")
        return value

    def current(self, call):
        brand = self.store.find("brands", default=True)
        shown = {"matched_domain": brand["domain"], "branding_title": brand["branding_title"]}
        for name in ("logo", "favicon"):
            shown.update({f"branding_{name}": brand[f"branding_{name}"], f"branding_{name}_themed_urls": None})
        shown.update(branding_custom_css=brand["branding_custom_css"], ui_footer_links=[], ui_theme="automatic")
        for name in FLOWS:
            flow = self.store.get("flows", brand[f"flow_{name}"])
            if flow:
                shown[f"flow_{name}"] = flow["slug"]
        names = ("policies_buffered_access_view", "flows_continuous_login", "flows_refresh_others")
        return Answer(200, {**shown, "default_locale": "", "flags": dict.fromkeys(names, False)})

    current.access = ANYBODY
    list_actions = {"current": {"GET": current}}


class Version(Collection):
    path, verbose, methods, detail_methods = "admin/version", "Version", ("GET",), ()

    def on_list(self, call):
        shown = {"version_current": VERSION, "version_latest": VERSION, "version_latest_valid": True}
        return Answer(200, {**shown, "build_hash": "", "outdated": False, "outpost_outdated": False})


class Settings(Collection):
    path, verbose, model = "admin/settings", "Settings", "authentik_tenants.tenant"
    methods, detail_methods = ("GET", "PUT", "PATCH"), ()

    def on_list(self, call):
        call.need("authentik_rbac.view_system_settings")
        if call.method != "GET":
            call.need("authentik_rbac.edit_system_settings")
            partial = call.method == "PATCH"
            self.store.settings.update(fields.clean_all(SETTINGS, call.body, self.store, partial, defaults=False))
        return Answer(200, dict(self.store.settings))


class RootConfig(Collection):
    path, verbose, methods, detail_methods = "root/config", "Config", ("GET",), ()
    access = ANYBODY

    def on_list(self, call):
        reports = {"enabled": False, "sentry_dsn": "https://sentry.example.test/1", "environment": "customer"}
        reports.update(send_pii=False, traces_sample_rate=0.1)
        shown = {"error_reporting": reports, "capabilities": ["can_impersonate", "is_enterprise"]}
        return Answer(
            200, {**shown, **dict.fromkeys(("cache_timeout", "cache_timeout_flows", "cache_timeout_policies"), 300)}
        )
