"""
Providers, the mappings of their scopes, certificates and flows, and the applications that users see.
"""

import copy
import re
import secrets
import string
import urllib.parse

from doubles.authentik import fields
from doubles.authentik.fields import Invalid
from doubles.authentik.policies import ENGINE_MODES, allows, check_syntax
from doubles.authentik.rest import (
    Answer,
    Collection,
    Refused,
    ServerException,
    exact,
    iexact,
    is_null,
)

LETTERS = string.ascii_letters + string.digits
MATCHING = ("strict", "regex")
DEFAULT_SCOPES = ("openid", "email", "profile", "ak_proxy", "entitlements")
INTERNAL_HOST = "Internal host cannot be empty when forward auth is disabled."
BASIC = "User and password attributes must be set when basic auth is enabled."
CALLBACK = "X-authentik-auth-callback=true"
RESERVED_SLUGS = ("authorize", "token", "device", "userinfo", "introspect", "revoke")


def random_text(length):
    return "".join(secrets.choice(LETTERS) for _ in range(length))


def check_redirect(one):
    if one["matching_mode"] == "regex":
        try:
            re.compile(one["url"])
        except re.error:
            raise Invalid(f"Invalid Regex Pattern: {one['url']}") from None


REDIRECT_URIS = {"matching_mode": fields.Choice(*MATCHING, required=True), "url": fields.Text(required=True)}
COMMON = {
    "name": fields.Text(required=True, unique="provider with this name already exists."),
    "authentication_flow": fields.Reference("flows", null=True),
    "authorization_flow": fields.Reference("flows", required=True),
    "invalidation_flow": fields.Reference("flows", required=True),
    "property_mappings": fields.References("mappings"),
}
# What an OAuth2 provider has, and a proxy provider as well since it is one.
OAUTH2 = {
    **COMMON,
    "client_type": fields.Choice("confidential", "public", default="confidential"),
    "client_id": fields.Text(
        longest=255,
        default=lambda: random_text(40),
        unique="OAuth2/OpenID Provider with this Client ID already exists.",
    ),
    "client_secret": fields.Text(blank=True, longest=255, default=lambda: random_text(128)),
    "access_code_validity": fields.Text(default="minutes=1", check=fields.duration),
    "access_token_validity": fields.Text(default="hours=1", check=fields.duration),
    "refresh_token_validity": fields.Text(default="days=30", check=fields.duration),
    "refresh_token_threshold": fields.Text(default="seconds=0", check=fields.duration),
    "include_claims_in_id_token": fields.Boolean(default=True),
    "signing_key": fields.Reference("certificates", null=True),
    "encryption_key": fields.Reference("certificates", null=True),
    "redirect_uris": fields.Nested(REDIRECT_URIS, required=True, check=check_redirect),
    "logout_uri": fields.Text(blank=True),
    "logout_method": fields.Choice("backchannel", "frontchannel", default="backchannel"),
    "sub_mode": fields.Choice(
        "hashed_user_id", "user_id", "user_uuid", "user_username", "user_email", "user_upn", default="hashed_user_id"
    ),
    "issuer_mode": fields.Choice("global", "per_provider", default="per_provider"),
    "jwt_federation_sources": fields.References("sources"),
    "jwt_federation_providers": fields.References("providers"),
}
PROXY = {
    **COMMON,
    "internal_host": fields.Text(blank=True, check=fields.url),
    "external_host": fields.Text(required=True, check=fields.url),
    "internal_host_ssl_validation": fields.Boolean(default=True),
    "certificate": fields.Reference("certificates", null=True),
    "skip_path_regex": fields.Text(blank=True),
    "basic_auth_enabled": fields.Boolean(default=False),
    "basic_auth_password_attribute": fields.Text(blank=True),
    "basic_auth_user_attribute": fields.Text(blank=True),
    "mode": fields.Choice("proxy", "forward_single", "forward_domain", default="proxy"),
    "intercept_header_auth": fields.Boolean(default=True),
    "cookie_domain": fields.Text(blank=True),
    "jwt_federation_sources": fields.References("sources"),
    "jwt_federation_providers": fields.References("providers"),
    "access_token_validity": fields.Text(default="hours=1", check=fields.duration),
    "refresh_token_validity": fields.Text(default="days=30", check=fields.duration),
}


def application_of(store, provider):
    return store.find("applications", provider=provider["pk"])


class AllProviders(Collection):
    """What all providers have in common; each kind has a collection of its own."""

    path, table, name, verbose, model = (
        "providers/all",
        "providers",
        "Provider",
        "Provider",
        "authentik_core.provider",
    )
    methods, detail_methods = ("GET",), ("GET", "DELETE")
    search = ("name",)
    component, plural, only = "", "Providers", None

    def with_application(self, rows, values):
        wanted = values[-1].lower() == "true"
        return [row for row in rows if (application_of(self.store, row) is None) == wanted]

    filters = {"application__isnull": with_application}

    def represent(self, row, call):
        kind = KINDS[row["kind"]] if self.only is None else type(self)
        application = application_of(self.store, row)
        shown = {
            "pk": row["pk"],
            **{name: row[name] for name in COMMON},
            "component": kind.component,
            "assigned_application_slug": application and application["slug"],
            "assigned_application_name": application and application["name"],
            "assigned_backchannel_application_slug": None,
            "assigned_backchannel_application_name": None,
            "verbose_name": kind.verbose,
            "verbose_name_plural": kind.plural,
            "meta_model_name": kind.model,
        }
        return {**shown, **{name: row[name] for name in self.writable}}

    def make(self, values, call):
        given = {name: one.default() for name, one in {**OAUTH2, **PROXY}.items()}
        return super().make({**given, **values, "kind": self.only}, call)

    def used_by(self, row, call):
        found = [self.store.tables["mappings"][pk] for pk in row["property_mappings"]]
        shown = {"app": "authentik_core", "model_name": "propertymapping", "action": "cascade_many"}
        return [{**shown, "pk": one["pk"], "name": f"Property Mapping {one['name']}"} for one in found]


class ProxyProviders(AllProviders):
    path, name, verbose, plural = "providers/proxy", "ProxyProvider", "Proxy Provider", "Proxy Providers"
    model, component, only = "authentik_providers_proxy.proxyprovider", "ak-provider-proxy-form", "proxy"
    methods, detail_methods = Collection.methods, Collection.detail_methods
    writable = PROXY
    filters = {
        **AllProviders.filters,
        "name__iexact": iexact("name"),
        "external_host__iexact": iexact("external_host"),
        "mode__iexact": iexact("mode"),
    }

    def rows(self, call):
        return [row for row in super().rows(call) if row["kind"] == "proxy"]

    def represent(self, row, call):
        attached = [one for one in self.store.rows("outposts") if row["pk"] in one["providers"]]
        shown = super().represent(row, call)
        shown.update(client_id=row["client_id"], redirect_uris=row["redirect_uris"])
        shown["outpost_set"] = [f"Outpost {outpost['name']}" for outpost in attached]  # Q46
        return shown

    def check(self, values, row, call, data):
        # What is not in the body counts as empty, the mode as proxy (Q24).
        if values.get("mode", "proxy") == "proxy" and not values.get("internal_host"):
            raise Invalid({"internal_host": [INTERNAL_HOST]})
        names = ("basic_auth_password_attribute", "basic_auth_user_attribute")
        if values.get("basic_auth_enabled") and not all(values.get(name) for name in names):
            raise Invalid({"basic_auth_enabled": [BASIC]})

    def make(self, values, call):
        row = super().make(values, call)
        self._as_the_outpost_needs(row)
        return row

    def change(self, row, values, call):
        super().change(row, values, call)
        self._as_the_outpost_needs(row)

    def _as_the_outpost_needs(self, row):
        """The mappings are always these (Q25), and where to return to follows from the address."""
        scopes = {one["scope_name"]: one["pk"] for one in self.store.rows("mappings") if one["managed"]}
        row["property_mappings"] = [scopes[name] for name in DEFAULT_SCOPES]
        host = row["external_host"]
        urls = (f"{host.rstrip('/')}/outpost.goauthentik.io/callback?{CALLBACK}", f"{host}?{CALLBACK}")
        row["redirect_uris"] = [{"matching_mode": "strict", "url": url} for url in urls]


class OAuth2Providers(AllProviders):
    path, name, verbose = "providers/oauth2", "OAuth2Provider", "OAuth2/OpenID Provider"
    plural, only = "OAuth2/OpenID Providers", "oauth2"
    model, component = "authentik_providers_oauth2.oauth2provider", "ak-provider-oauth2-form"
    methods, detail_methods = Collection.methods, Collection.detail_methods
    writable = OAUTH2
    filters = {**AllProviders.filters, **{name: exact(name) for name in ("name", "client_id", "client_type")}}

    def setup_urls(self, call, key):
        provider = self.look_up(key, call)
        base = f"{call.base}/application/o"
        shown = {"authorize": f"{base}/authorize/", "token": f"{base}/token/", "user_info": f"{base}/userinfo/"}
        application = application_of(self.store, provider)
        if application is None:
            return Answer(200, {"issuer": None, **shown, "provider_info": None, "logout": None})
        own = f"{base}/{application['slug']}"
        return Answer(
            200,
            {
                **shown,
                "issuer": issuer(provider, application, call.base),
                "provider_info": f"{own}/.well-known/openid-configuration",
                "logout": f"{own}/end-session/",
                "jwks": f"{own}/jwks/",
            },
        )

    actions = {"setup_urls": {"GET": setup_urls}}


KINDS = {"proxy": ProxyProviders, "oauth2": OAuth2Providers}


def issuer(provider, application, base):
    return f"{base}/" if provider["issuer_mode"] == "global" else f"{base}/application/o/{application['slug']}/"


class ScopeMappings(Collection):
    path, table, name = "propertymappings/provider/scope", "mappings", "ScopeMapping"
    verbose, plural, model = "Scope Mapping", "Scope Mappings", "authentik_providers_oauth2.scopemapping"
    component = "ak-property-mapping-provider-scope-form"
    writable = {
        "managed": fields.Text(null=True, default=None, unique="Managed by authentik with this name already exists."),
        "name": fields.Text(required=True, unique="Property Mapping with this name already exists."),
        "expression": fields.Text(required=True),
        "scope_name": fields.Text(required=True),
        "description": fields.Text(blank=True),
    }
    search = ("name", "scope_name")
    orderings, order = ("name", "scope_name"), ("scope_name", "name")
    filters = {
        **{name: exact(name) for name in ("managed", "name", "scope_name")},
        "managed__isnull": is_null("managed"),
    }
    common = ("managed", "name", "expression")

    def represent(self, row, call):
        shown = {"pk": row["pk"], **{name: row[name] for name in self.common}, "component": ScopeMappings.component}
        shown.update(verbose_name=ScopeMappings.verbose, verbose_name_plural=ScopeMappings.plural)
        shown["meta_model_name"] = ScopeMappings.model
        return {**shown, **{name: row[name] for name in self.writable}}

    def refine(self, name, value, row, call, data):
        if name == "expression":
            check_syntax(value, row and row["name"])
        if name == "scope_name" and " " in value:
            raise Invalid("Value must not contain spaces.")
        return value


class AllMappings(ScopeMappings):
    path, name, model = "propertymappings/all", "PropertyMapping", "authentik_core.propertymapping"
    methods, detail_methods, writable = ("GET",), ("GET", "DELETE"), {}

    def test(self, call, key):
        """For who may not do everything it breaks (Q88)."""
        if not call.superuser:
            raise ServerException("WrongAppError")
        mapping = self.look_up(key, call)
        raise Refused(501, f"the double does not evaluate {mapping['name']}")

    actions = {"test": {"POST": test}}


class SamlMappings(Collection):
    """There are none; they are here because somebody may look for a scope mapping among them."""

    path, table, name = "propertymappings/provider/saml", "saml mappings", "SAMLPropertyMapping"
    verbose, model = "SAML Provider Property Mapping", "authentik_providers_saml.samlpropertymapping"


class Flows(Collection):
    path, table, name, verbose, model = "flows/instances", "flows", "Flow", "Flow", "authentik_flows.flow"
    key = "slug"
    search = ("name", "slug", "title")
    orderings, order = ("slug", "name", "designation"), ("slug",)
    filters = {name: exact(name) for name in ("slug", "designation")}
    writable = {
        "name": fields.Text(required=True),
        "slug": fields.Text(required=True, check=fields.slug(), unique="Flow with this slug already exists."),
        "title": fields.Text(required=True),
        "designation": fields.Text(required=True),
        "authentication": fields.Text(default="none"),
    }

    def represent(self, row, call):
        bindings = [one for one in self.store.rows("bindings") if one["target"] == row["pk"]]
        return {
            **super().represent(row, call),
            "policybindingmodel_ptr_id": row["binding_model"],
            "background": "",
            "background_url": "/static/dist/assets/images/flow_background.jpg",
            "background_themed_urls": None,
            "stages": row["stages"],
            "policies": [one["pk"] for one in bindings],
            "cache_count": 0,
            "policy_engine_mode": "any",
            "compatibility_mode": False,
            "export_url": f"/api/v3/flows/instances/{row['slug']}/export/",
            "layout": "stacked",
            "denied_action": "message_continue",
        }


class Certificates(Collection):
    path, table, name = "crypto/certificatekeypairs", "certificates", "CertificateKeyPair"
    verbose, model = "Certificate-Key Pair", "authentik_crypto.certificatekeypair"
    search = ("name",)
    filters = {name: exact(name) for name in ("name", "managed")}

    def represent(self, row, call):
        place = f"/api/v3/{self.path}/{row['pk']}"
        return {
            "pk": row["pk"],
            "name": row["name"],
            "managed": row["managed"],
            **row["pair"].facts(),
            "private_key_available": True,
            "certificate_download_url": f"{place}/view_certificate/?download",
            "private_key_download_url": f"{place}/view_private_key/?download",
        }


class Applications(Collection):
    path, table, name = "core/applications", "applications", "Application"
    verbose, model, key = "Application", "authentik_core.application", "slug"
    writable = {
        "name": fields.Text(required=True),
        "slug": fields.Text(required=True, check=fields.slug(), unique="Application with this slug already exists."),
        "provider": fields.Reference("providers", null=True),
        "backchannel_providers": fields.References("providers"),
        "open_in_new_tab": fields.Boolean(default=False),
        "meta_launch_url": fields.Text(blank=True, check=fields.formatted),
        "meta_icon": fields.Text(blank=True),
        "meta_description": fields.Text(blank=True),
        "meta_publisher": fields.Text(blank=True),
        "policy_engine_mode": fields.Choice(*ENGINE_MODES, default="any"),
        "group": fields.Text(blank=True),
    }
    search = ("name", "slug", "meta_description", "meta_publisher", "group")
    orderings, order = ("name", "slug"), ("name",)
    filters = {name: exact(name) for name in ("name", "slug", "group", "meta_description", "meta_publisher")}

    def launch_url(self, row, user):
        provider = self.store.get("providers", row["provider"])
        found = row["meta_launch_url"] or (provider and launch_url_of(provider))
        if not found:
            return None
        return found % {name: user[name] for name in ("username", "name", "email")} if "%(" in found else found

    def represent(self, row, call):
        provider = self.store.get("providers", row["provider"])
        user = call.user or {"username": "", "name": "", "email": ""}
        short = None
        if provider:
            whole = AllProviders(self.store).represent(provider, call)
            short = {name: whole[name] for name in ("pk", "name", "component", "verbose_name", "meta_model_name")}
        return {
            **super().represent(row, call),
            "provider_obj": short,
            "backchannel_providers_obj": [],
            "launch_url": self.launch_url(row, user),
            "meta_icon_url": None,
            "meta_icon_themed_urls": None,
        }

    def refine(self, name, value, row, call, data):
        if name == "slug" and value in RESERVED_SLUGS:
            raise Invalid(f"The slug '{value}' is reserved and cannot be used for applications.")
        if name == "provider" and value is not None:
            other = self.store.find("applications", provider=value)
            if other and other is not row:
                raise Invalid("Application with this provider already exists.")
        return value

    def changed(self):
        self.store.listed_applications.clear()

    def may_list(self, call):
        """Everybody gets a list: of what they may use."""

    def on_list(self, call):
        if call.method != "GET":
            return super().on_list(call)
        rows = self.listed(call)
        if call.superuser and call.flag("superuser_full_list"):
            return Answer(200, self.page(rows, call))
        answer = self.page(rows, call)
        page = [self.store.find("applications", pk=one["pk"]) for one in answer["results"]]
        # What somebody may use is remembered, whatever was asked for then; not what was searched for.
        remembered = self.store.listed_applications
        if call.one("search"):
            allowed = [one for one in page if allows(self.store, one, call.user).passing]
        else:
            if not remembered.get(call.user["pk"]):  # nothing is not remembered
                found = [one["pk"] for one in page if allows(self.store, one, call.user).passing]
                remembered[call.user["pk"]] = found
            allowed = [self.store.tables["applications"][pk] for pk in remembered[call.user["pk"]]]
        if call.flag("only_with_launch_url"):
            allowed = [one for one in allowed if self.launch_url(one, call.user)]
        answer["results"] = [self.represent(one, call) for one in allowed]
        return Answer(200, answer)

    def check_access(self, call, key):
        application = self.look_up(key, call)
        user = call.user
        wanted = call.one("for_user")
        if wanted and call.superuser:  # ignored for others (Q89)
            user = self.store.get("users", int(wanted)) if wanted.isdigit() else None
            if user is None:
                raise Refused(400, {"for_user": "User not found"})
        return Answer(200, allows(self.store, application, user).shown())

    actions = {"check_access": {"GET": check_access}}


def launch_url_of(provider):
    """Where an application begins if nobody said so."""
    if provider["kind"] == "proxy":
        return provider["external_host"]
    first = next(iter(provider["redirect_uris"]), None)
    if first is None or first["matching_mode"] != "strict":
        return None
    place = urllib.parse.urlsplit(first["url"])
    return urllib.parse.urlunsplit(place._replace(path="", query="", fragment="")) or None


class Transactions(Collection):
    """Application, provider and bindings in one call: all of it, or nothing."""

    path, name, verbose = "core/transactional/applications", "Application", "Transactional Application"
    methods, detail_methods = ("PUT",), ()
    MODELS = {kind.model: name for name, kind in KINDS.items()}
    writable = {
        "app": fields.Field(required=True),
        "provider_model": fields.Choice(*MODELS, required=True),
        "provider": fields.Field(required=True),
        "policy_bindings": fields.Field(default=list),
    }

    def __init__(self, store, bindings):
        super().__init__(store)
        self.bindings = bindings

    def on_list(self, call):
        store = self.store
        given = fields.clean_all(self.writable, call.body, store)
        applications, providers = Applications(store), KINDS[self.MODELS[given["provider_model"]]](store)
        needed = [("provider", providers), ("app", applications)]
        needed += [("null", self.bindings)] * bool(given["policy_bindings"])
        for place, collection in needed:
            if not store.may(call.user, collection.right("add")):
                raise Refused(403, {place: f"User lacks permission to create {collection.model}"})
        if not given["provider"].get("name"):
            raise ServerException("a provider without a name")
        errors, bindings = {}, []
        try:
            application = applications.cleaned(given["app"], call)
        except Invalid as error:
            raise Refused(400, {"app": error.detail}) from None
        try:
            provider = providers.cleaned(given["provider"], call)
        except Invalid as error:
            errors["provider"] = error.detail
        wrong = []
        for one in given["policy_bindings"]:
            try:
                bindings.append(self.bindings.cleaned_without_target(one, call))
                wrong.append({})
            except Invalid as error:
                wrong.append(error.detail)
        if any(wrong):
            errors["policy_bindings"] = wrong
        if errors:
            raise Refused(400, errors)
        application["provider"] = providers.make(provider, call)["pk"]
        made = applications.make(application, call)
        for one in bindings:
            self.bindings.make({**copy.deepcopy(one), "target": made["pk"]}, call)
        applications.changed()
        return Answer(200, {"applied": True, "logs": []})
