"""
The objects of an Authentik, by the names that people give them.

Each list is fetched once in a run and looked up here, letter by letter: the API's own filters ignore case, or the
filter (Q6, Q7). So what a run asks does not grow with the services. A plan counts on what earlier states of it would
make or remove.
"""

import contextlib
import difflib
import itertools
from typing import NamedTuple

from salt.exceptions import CommandExecutionError, SaltInvocationError


class Kind(NamedTuple):
    """
    Objects of a kind.

    collection
        Where the API has them.

    label
        What people call one.

    by
        The field with the name; unique, letter by letter.

    key
        The field by which the path names one.

    one_by_one
        Whether each is asked for: of users there are many, and of applications the list is not whole (Q16).

    declared_by
        The state that makes one, None if it comes with Authentik.

    bound_by
        The field of a binding that refers to one.

    query
        What to ask a list with, as pairs.
    """

    collection: str
    label: str
    by: str = "name"
    key: str = "pk"
    one_by_one: bool = False
    declared_by: str | None = None
    bound_by: str | None = None
    query: tuple = ()


KINDS = {
    "group": Kind("core/groups", "group", declared_by="group_present", bound_by="group"),
    "user": Kind("core/users", "user", "username", one_by_one=True, declared_by="user_present", bound_by="user"),
    "flow": Kind("flows/instances", "flow", "slug", "slug"),
    "certificate": Kind("crypto/certificatekeypairs", "certificate"),
    "scope_mapping": Kind("propertymappings/provider/scope", "scope mapping", declared_by="scope_mapping_present"),
    "proxy_provider": Kind("providers/proxy", "proxy provider", declared_by="proxy_provider_present"),
    "oauth2_provider": Kind("providers/oauth2", "OAuth2 provider", declared_by="oauth2_provider_present"),
    "application": Kind(
        *("core/applications", "application", "slug", "slug", True, "application_present", "target"),
        query=(("superuser_full_list", "true"),),  # for administrators it is whole then
    ),
    "policy": Kind("policies/expression", "policy", declared_by="expression_policy_present", bound_by="policy"),
    "binding": Kind("policies/bindings", "binding", "pk"),
    "outpost": Kind("outposts/instances", "outpost"),
    "brand": Kind("core/brands", "brand", "domain", "brand_uuid", declared_by="brand_present"),
}
PROVIDERS = ("proxy_provider", "oauth2_provider")


def kind(name):
    """
    Return a kind of objects. Raises SaltInvocationError if there is none of that name.
    """
    if name not in KINDS:
        raise SaltInvocationError(f"authentik: {name!r} is none of {', '.join(KINDS)}")
    return KINDS[name]


def over(api, without=""):
    """
    Return the Objects of an Authentik; nothing is asked yet.

    api
        As ``authentik_api.connect`` returns it. None, in a plan for a host that has no Authentik yet: nothing is
        there but what comes with it.

    without
        Why there is none.
    """
    return Objects(api, without)


class Objects:
    """
    What an Authentik has, as far as a run has asked.
    """

    def __init__(self, api, without):
        self.api, self._without = api, without
        self._lists, self._ones = {}, {}
        self._planned, self._gone = set(), set()

    def needed(self):
        """
        Return the api. Raises CommandExecutionError with the reason if there is none.
        """
        if self.api is None:
            raise CommandExecutionError(f"authentik: {self._without}")
        return self.api

    def forget(self):
        """
        Take nothing for known any more: something was written.
        """
        self._lists.clear()
        self._ones.clear()

    def list(self, name):
        """
        Return all objects of a kind; of applications those that the token's user may use, an administrator all.
        """
        if self.api is None:
            return []
        if name not in self._lists:
            found = self.api.list(kind(name).collection, **dict(kind(name).query))
            if name == "oauth2_provider":  # a proxy provider is in both lists (Q27)
                proxies = {one["pk"] for one in self.list("proxy_provider")}
                found = [one for one in found if one["pk"] not in proxies]
            self._lists[name] = found
        return [one for one in self._lists[name] if (name, one[kind(name).key]) not in self._gone]

    def find(self, name, wanted):
        """
        Return the object of a kind with a name, None if there is none.

        Raises CommandExecutionError if there are several: which one is meant, nobody could tell.
        """
        one = kind(name)
        wanted = wanted.strip()
        if not one.one_by_one:
            found = [found for found in self.list(name) if found[one.by] == wanted]
            if len(found) > 1:
                raise CommandExecutionError(f"Authentik has {len(found)} objects of the kind {one.label} {wanted!r}")
            return found[0] if found else None
        if self.api is None:
            return None
        if (name, wanted) not in self._ones:
            by_path = one.key == one.by
            answer = self.api.read(one.collection, wanted) if by_path else self.api.find(one.collection, one.by, wanted)
            self._ones[name, wanted] = answer
        found = self._ones[name, wanted]
        return None if found and (name, found[one.key]) in self._gone else found

    def is_a(self, name, wanted):
        """
        Return whether there is an object of a kind with a name, or will be once what is planned is done.
        """
        return (name, wanted) in self._planned or self.find(name, wanted) is not None

    def reference(self, name, wanted, where=None):
        """
        Return the primary key of an object that another one refers to.

        where
            Called with the object: a ValueError of it says why it may not be that one.

        Raises SaltInvocationError that names what is missing, and what it may be called instead.
        """
        if name == "provider":
            return self._provider(wanted)
        found = self._mapping(wanted) if name == "scope_mapping" else self.find(name, wanted)
        if found is None and (name, wanted) in self._planned:
            return f"the planned {kind(name).label} {wanted}"
        if found is None and self.api is None and kind(name).declared_by in (None, "scope_mapping_present"):
            return f"the {kind(name).label} {wanted} that comes with Authentik"
        if found is None:
            raise SaltInvocationError(self._missing(name, wanted))
        if where:
            try:
                where(found)
            except ValueError as error:
                raise SaltInvocationError(f"authentik: {kind(name).label} {wanted} {error}") from None
        return found["pk"]

    def _provider(self, wanted):
        for name in PROVIDERS:
            if self.is_a(name, wanted):
                return self.reference(name, wanted)
        raise SaltInvocationError(self._missing("proxy_provider", wanted).replace("proxy provider", "provider"))

    def _mapping(self, wanted):
        """Those that come with Authentik are known by their scopes: openid, email, profile."""
        ours = self.find("scope_mapping", wanted)
        brought = [one for one in self.list("scope_mapping") if one["managed"] and one["scope_name"] == wanted]
        return ours or (brought[0] if brought else None)

    def _missing(self, name, wanted):
        one = kind(name)
        names = [found[one.by] for found in self.list(name)] if not one.one_by_one else []
        close = difflib.get_close_matches(wanted, names, 1)
        meant = f"; {close[0]}?" if close else ""
        how = f" (authentik.{one.declared_by} makes one)" if one.declared_by and not close else ""
        return f"authentik: there is no {one.label} {wanted!r}{meant}{how}"

    def name(self, name, key):
        """
        Return the name of an object by its primary key; one that nobody knows is called by the key.
        """
        if name == "user":
            return self._user_name(key)
        for one in PROVIDERS if name == "provider" else (name,):
            asked = [found for (asked, _), found in self._ones.items() if asked == one and found]
            for found in itertools.chain(asked, self._rest(one)):
                if found["pk"] == key:
                    brought = one == "scope_mapping" and found["managed"]
                    return found["scope_name"] if brought else found[kind(one).by]
        return str(key)

    def _rest(self, name):
        """Those that nobody has asked for, fetched only if they are needed."""
        yield from self.list(name)

    def _user_name(self, key):
        for group in self._lists.get("group", ()):
            for user in group.get("users_obj") or ():
                if user["pk"] == key:
                    return user["username"]
        if ("user", key) not in self._ones:
            self._ones["user", key] = self.api.read("core/users", key)
        found = self._ones["user", key]
        return found["username"] if found else str(key)

    def bindings(self, name, one):
        """
        Return the bindings that refer to an object: of an application those that decide who may use it.
        """
        field = kind(name).bound_by
        return [binding for binding in self.list("binding") if binding[field] == one["pk"]] if field else []

    @contextlib.contextmanager
    def trial(self):
        """
        Forget at the end what was planned within: for plans that are made to be carried out at once.
        """
        planned, gone = set(self._planned), set(self._gone)
        try:
            yield
        finally:
            self._planned, self._gone = planned, gone

    def plan(self, name, wanted):
        """
        Take an object for made in what is planned later in this run.
        """
        self._planned.add((name, wanted))

    def plan_removal(self, name, one):
        """
        Take an object for removed in what is planned later in this run, and the bindings with it.
        """
        self._gone.add((name, one[kind(name).key]))
        for binding in self.bindings(name, one):
            self._gone.add(("binding", binding["pk"]))
