"""
What can be declared of an object in Authentik: how it is compared, shown and sent.

People declare names, the API has primary keys; it strips texts, stores durations as they were written and keeps lists
in any order. Here both become comparable, so that a difference that is shown is one. Numbers like Q9 are those of the
API's recorded surprises.
"""

import datetime
import re
import urllib.parse

from salt.exceptions import SaltInvocationError

HIDDEN = "(hidden)"
DURATION = re.compile(r"(?:(?:microseconds|milliseconds|seconds|minutes|hours|days|weeks)=\d+(?:;(?=.)|$))+")
SLUG = re.compile(r"[-a-zA-Z0-9_]+")
GRANT_TYPES = (
    "authorization_code",
    "implicit",
    "hybrid",
    "refresh_token",
    "client_credentials",
    "password",
    "urn:ietf:params:oauth:grant-type:device_code",
)
MATCHING_MODES = ("strict", "regex")


class Field:
    """
    A value that the API takes as it is.

    api
        Its name in the API, if that is not the one by which it is declared.
    """

    secret = False
    # False: only some releases have it; the others are asked nothing of it.
    everywhere = True

    def __init__(self, api=None):
        self.api = api

    def checked(self, value):
        """
        Return the value in the form in which the server stores it. Raises ValueError that says what it should be.
        """
        return value

    def present(self, stored, objects):
        """
        Return what is declared by what the server has.
        """
        return stored

    def meet(self, value, objects):
        """
        Look at what a declared value is about, before what is there is compared with it.
        """

    def sent(self, value, objects):
        """
        Return what the API wants for a declared value.
        """
        return value

    def wanted(self, value, present):
        """
        Return the whole value, where only a part of it is declared.
        """
        return value

    def same(self, value, present):
        """
        Return whether a declared value is there already.
        """
        return value == present


class Text(Field):
    """Stripped, since the server does that, too (Q9)."""

    def __init__(self, api=None, pattern=None, like=None):
        super().__init__(api)
        self._pattern, self._like = pattern, like

    def checked(self, value):
        if not isinstance(value, str) or "\0" in value:
            raise ValueError("is no text")
        value = value.strip()
        if self._pattern and not self._pattern.fullmatch(value):
            raise ValueError(f"is not {self._like}")
        return value


class Boolean(Field):
    def checked(self, value):
        if not isinstance(value, bool):
            raise ValueError("is neither true nor false")
        return value


class Integer(Field):
    def checked(self, value):
        if not isinstance(value, int) or isinstance(value, bool) or not -(2**31) <= value < 2**31:
            raise ValueError("is no whole number")
        return value


class Choice(Field):
    def __init__(self, *choices, api=None):
        super().__init__(api)
        self.choices = choices

    def checked(self, value):
        if value not in self.choices:
            raise ValueError(f"is none of {', '.join(self.choices)}")
        return value


class Duration(Text):
    """Two texts may be the same time (Q30)."""

    def checked(self, value):
        value = super().checked(value)
        if not DURATION.fullmatch(value):
            raise ValueError("is no duration such as hours=1;minutes=30")
        return value

    def same(self, value, present):
        return self._parsed(value) == self._parsed(present)

    @staticmethod
    def _parsed(text):
        try:
            pairs = [part.partition("=") for part in str(text).split(";") if part]
            return datetime.timedelta(**{unit: int(number) for unit, _, number in pairs})
        except (TypeError, ValueError):
            return text


class Address(Text):
    """Where an application is: stored as it is written, though only scheme, host and port count (Q26)."""

    def checked(self, value):
        value = super().checked(value)
        place = urllib.parse.urlsplit(value)
        if place.scheme not in ("http", "https") or not place.hostname or place.username:
            raise ValueError("is no address like https://shop.example.com")
        if place.path or place.query or place.fragment:
            raise ValueError(f"has more than a host: {place.scheme}://{place.netloc}")
        if value != value.lower():
            raise ValueError(f"has capital letters: {value.lower()}")
        return value


class Expression(Text):
    """Python, as the body of a function."""

    def checked(self, value):
        value = super().checked(value)
        lines = "".join(f"    {line}\n" for line in value.splitlines())
        try:
            compile(f"def expression():\n{lines}", "expression", "exec")
        except SyntaxError as error:
            # Only lines of the expression are counted, not the one that is put before.
            raise ValueError(f"is not Python: {error.msg} (line {max(1, (error.lineno or 2) - 1)})") from None
        return value


class Regex(Text):
    """One a line; that they are valid, nobody else looks at (Q26)."""

    def checked(self, value):
        value = super().checked(value)
        for line in value.splitlines():
            try:
                re.compile(line)
            except re.error as error:
                raise ValueError(f"has no regular expression in {line!r}: {error}") from None
        return value


class Attributes(Field):
    """
    A mapping whose declared keys are ours, and no others; null takes one away. The API replaces all of it (Q20).
    """

    def checked(self, value):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise ValueError("is no mapping")
        if _has_nul(value):
            raise ValueError("has a NUL character")  # on which the server breaks (Q10)
        return value

    def wanted(self, value, present):
        merged = {**(present or {}), **value}
        return {key: one for key, one in merged.items() if one is not None}

    def same(self, value, present):
        return self.wanted(value, present) == present


def _has_nul(value):
    if isinstance(value, dict):
        return any(map(_has_nul, (*value, *value.values())))
    return any(map(_has_nul, value)) if isinstance(value, list) else isinstance(value, str) and "\0" in value


class Reference(Field):
    """
    Another object, declared by name.

    kind
        A kind of ``authentik_objects``.

    where
        Called with the object: a ValueError of it says why it may not be that one.
    """

    def __init__(self, kind, api=None, where=None):
        super().__init__(api)
        self._kind, self._where = kind, where

    def checked(self, value):
        return value if value is None else Text().checked(value)

    def meet(self, value, objects):
        # Of what is in no list, the name is known only once somebody has asked for it by that name (Q16).
        if value is not None and self._kind == "application":
            objects.find(self._kind, value)

    def present(self, stored, objects):
        return None if stored is None else objects.name(self._kind, stored)

    def sent(self, value, objects):
        return None if value is None else objects.reference(self._kind, value, self._where)


class References(Field):
    """Several others. Their order says nothing."""

    def __init__(self, kind, api=None):
        super().__init__(api)
        self._kind = kind

    def checked(self, value):
        if not isinstance(value, list):
            raise ValueError("is no list of names")
        return sorted({Text().checked(one) for one in value})

    def present(self, stored, objects):
        return sorted(objects.name(self._kind, one) for one in stored)

    def sent(self, value, objects):
        return [objects.reference(self._kind, one) for one in value]


class RedirectUris(Field):
    """
    A list of addresses, which have to match exactly, or of ``{matching_mode, url}``.

    Only regular expressions are checked by the server, and equal ones stay twice (Q28).
    """

    def checked(self, value):
        if not isinstance(value, list):
            raise ValueError("is no list of addresses")
        found = [self._one(one if isinstance(one, dict) else {"url": one}) for one in value]
        return [one for number, one in enumerate(found) if one not in found[:number]]

    def _one(self, given):
        mode, url = given.get("matching_mode", "strict"), given.get("url")
        if set(given) - {"matching_mode", "url"} or mode not in MATCHING_MODES or not isinstance(url, str):
            raise ValueError(f"has {given!r}: an address, or {{matching_mode: strict or regex, url: ...}}")
        url = url.strip()
        if mode == "regex":
            Regex().checked(url)
        elif not urllib.parse.urlsplit(url).scheme or any(space in url for space in " \t\n"):
            raise ValueError(f"has {url!r}, which is no address like https://shop.example.com/callback")
        return {"matching_mode": mode, "url": url}

    def present(self, stored, objects):
        return [{name: one[name] for name in ("matching_mode", "url")} for one in stored]


class GrantTypes(Field):
    """
    The ways to a token that a provider goes (RFC 6749, 1.3). Since 2026.5 it goes none that is not said; before, the
    API ignores it (Q5).
    """

    everywhere = False

    def checked(self, value):
        if not isinstance(value, list) or set(value) - set(GRANT_TYPES):
            raise ValueError(f"is no list of {', '.join(GRANT_TYPES)}")
        return sorted(set(value))

    def present(self, stored, objects):
        return sorted(stored)


class Secret(Text):
    """A text that is shown nowhere (Q29)."""

    secret = True


def _flow_for(designation):
    """Whether a flow is of the kind that a field wants: the server takes any (Q26)."""

    def check(flow):
        if flow["designation"] != designation:
            raise ValueError(f"is a flow for {flow['designation']}, not for {designation}")

    return check


_PROVIDER: dict[str, Field] = {
    "authorization_flow": Reference("flow", where=_flow_for("authorization")),
    "invalidation_flow": Reference("flow", where=_flow_for("invalidation")),
    "authentication_flow": Reference("flow", where=_flow_for("authentication")),
    "access_token_validity": Duration(),
    "refresh_token_validity": Duration(),
}
FIELDS: dict[str, dict[str, Field]] = {
    "group": {
        "name": Text(),
        "parents": References("group"),
        "superuser": Boolean("is_superuser"),
        "attributes": Attributes(),
        "members": References("user", "users"),
    },
    "user": {
        "username": Text(),
        "full_name": Text("name"),
        "email": Text(),
        "active": Boolean("is_active"),
        "groups": References("group"),
        "attributes": Attributes(),
        "path": Text(pattern=re.compile(r"[^/](?:.*[^/])?"), like="a path like users/staff"),
        "type": Choice("internal", "external", "service_account"),
    },
    "scope_mapping": {
        "name": Text(),
        "scope": Text("scope_name", re.compile(r"[!#-\[\]-~]+"), "one word (RFC 6749, 3.3)"),
        "expression": Expression(),
        "description": Text(),
    },
    "proxy_provider": {
        "name": Text(),
        **_PROVIDER,
        "mode": Choice("forward_single", "forward_domain"),
        "external_host": Address(),
        "cookie_domain": Text(),
        "skip_paths": Regex("skip_path_regex"),
        "intercept_header_auth": Boolean(),
    },
    "oauth2_provider": {
        "name": Text(),
        **_PROVIDER,
        "access_code_validity": Duration(),
        "client_type": Choice("confidential", "public"),
        "client_id": Text(pattern=re.compile(r"[!-~]{1,255}"), like="1 to 255 characters without spaces"),
        "client_secret": Secret(),
        "redirect_uris": RedirectUris(),
        "grant_types": GrantTypes(),
        "scope_mappings": References("scope_mapping", "property_mappings"),
        "signing_key": Reference("certificate"),
        "sub_mode": Choice("hashed_user_id", "user_id", "user_uuid", "user_username", "user_email", "user_upn"),
        "issuer_mode": Choice("global", "per_provider"),
        "claims_in_id_token": Boolean("include_claims_in_id_token"),
        "logout_uri": Text(),
        "logout_method": Choice("backchannel", "frontchannel"),
    },
    "application": {
        "slug": Text(pattern=SLUG, like="made of letters, digits, - and _"),
        "title": Text("name"),
        "provider": Reference("provider"),
        "mode": Choice("any", "all", api="policy_engine_mode"),
        "launch_url": Text("meta_launch_url"),
        "description": Text("meta_description"),
        "publisher": Text("meta_publisher"),
        "section": Text("group"),
        "new_tab": Boolean("open_in_new_tab"),
    },
    "policy": {
        "name": Text(),
        "expression": Expression(),
        "execution_logging": Boolean(),
    },
    "binding": {
        "target": Reference("application"),
        "group": Reference("group"),
        "policy": Reference("policy"),
        "user": Reference("user"),
        "order": Integer(),
        "negate": Boolean(),
        "enabled": Boolean(),
        "timeout": Integer(),
        "failure_result": Boolean(),
    },
    "outpost": {
        "providers": References("provider"),
        "config": Attributes(),
    },
    "brand": {
        "domain": Text(),
        "title": Text("branding_title"),
        "logo": Text("branding_logo"),
        "favicon": Text("branding_favicon"),
        "css": Text("branding_custom_css"),
        "background": Text("branding_default_flow_background"),
        "authentication_flow": Reference("flow", "flow_authentication", _flow_for("authentication")),
        "invalidation_flow": Reference("flow", "flow_invalidation", _flow_for("invalidation")),
        "recovery_flow": Reference("flow", "flow_recovery", _flow_for("recovery")),
        "default_application": Reference("application"),
        "attributes": Attributes(),
    },
}
# What a change must always say, since the server takes something else for granted (Q24).
COMPANIONS = {"proxy_provider": ("mode",)}


def check(kind, name, declared):
    """
    Return the declared values of an object as they are stored; what is None is not declared.

    Raises SaltInvocationError that names every mistake.
    """
    found, problems = {}, []
    for key, value in declared.items():
        if value is None:
            continue
        one = FIELDS[kind][key]
        try:
            found[key] = one.checked(value)
        except ValueError as error:
            problems.append(f"{key} {HIDDEN if one.secret else repr(value)} {error}")
    if problems:
        raise SaltInvocationError(f"authentik: {kind.replace('_', ' ')} {name}: {'; '.join(problems)}")
    return found


def shown(kind, stored, objects):
    """
    Return an object as one would declare it, secrets hidden.
    """
    found = {
        key: one.present(stored[one.api or key], objects)
        for key, one in FIELDS[kind].items()
        if one.everywhere or (one.api or key) in stored
    }
    return {key: HIDDEN if value and FIELDS[kind][key].secret else value for key, value in found.items()}


def differences(kind, declared, stored, objects):
    """
    Return what is not as declared, ``{field: {"old", "new"}}``, secrets hidden.

    stored
        The object as the API gives it, None if there is none.
    """
    changes = {}
    for key, value in declared.items():
        one = FIELDS[kind][key]
        if stored is not None and not one.everywhere and (one.api or key) not in stored:
            continue
        one.meet(value, objects)
        present = None if stored is None else one.present(stored[one.api or key], objects)
        if stored is not None and one.same(value, present):
            continue
        new = one.wanted(value, present)
        changes[key] = {"old": HIDDEN, "new": f"{HIDDEN}, another one"} if one.secret else {"old": present, "new": new}
    return changes


def body(kind, declared, stored, objects, only=None):
    """
    Return what to send so that an object becomes as declared.

    only
        The fields that differ. What has to be said with them is added. None: all.

    Raises SaltInvocationError that names what is referred to and is not there.
    """
    found = {}
    for key, one in FIELDS[kind].items():
        wanted = only is None or key in only
        if wanted and key in declared:
            known = stored is not None and (one.api or key) in stored
            present = one.present(stored[one.api or key], objects) if known else None
            found[one.api or key] = one.sent(one.wanted(declared[key], present), objects)
        elif key in COMPANIONS.get(kind, ()) and stored is not None:
            found[one.api or key] = stored[one.api or key]
    return found
