"""
Everything that the double knows: tables of objects, and what goes with an object that is deleted.
"""

import collections
import copy
import datetime
import secrets
import time
import uuid

NUMBERED = ("users", "providers")  # the others have UUIDs


def now():
    """The present time as the API writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")


class Store:
    """
    ``tables[name][key]`` is an object, a mapping. ``relations`` are set by the collections: which field refers where.
    """

    def __init__(self):
        self.tables = collections.defaultdict(dict)
        self.relations = []  # (table, field name, Field)
        self.settings = {}
        self.sessions = {}
        self.grants = {}  # of OAuth2: codes and tokens
        self.consents = {}  # {(user, application): the scopes that the user has agreed to}
        self.outpost_sessions = {}  # of the embedded outpost, which has cookies of its own
        self.listed_applications = {}  # what the application list of a user was computed as last
        self.ahead = 0  # seconds; by how much time has passed faster here
        self.seeded = False  # whether there is what a first start makes
        self._numbers = collections.Counter()  # {table: the last number}

    def __getstate__(self):
        """What is kept of it. What the relations are, code says."""
        return {name: value for name, value in vars(self).items() if name != "relations"}

    def __setstate__(self, state):
        """Become what was kept; also in place, since others hold this very object."""
        vars(self).update(state)

    def time(self):
        """The present time in seconds, as what expires counts it."""
        return time.time() + self.ahead

    def saved(self):
        """
        A copy of all objects, and of which numbers come next: what ``put_back`` takes. Keys of certificates, made when
        they are first needed, are not copied.
        """
        return copy.deepcopy((dict(self.tables), self._numbers), self._pairs(self.tables))

    def put_back(self, saved):
        """Have the objects of before."""
        tables, self._numbers = copy.deepcopy(saved, self._pairs(saved[0]))
        self.tables.clear()
        self.tables.update(tables)

    @staticmethod
    def _pairs(tables):
        return {id(row["pair"]): row["pair"] for row in tables.get("certificates", {}).values()}

    def numbered(self, table):
        return table in NUMBERED

    def new_key(self, table):
        return self._next(table) if table in NUMBERED else str(uuid.uuid4())

    def row_number(self, table):
        """The next number of a table that has such keys in the database only."""
        return self._next(f"rows of {table}")

    def _next(self, name):
        self._numbers[name] += 1
        return self._numbers[name]

    def add(self, table, row, key="pk"):
        row[key] = self.new_key(table)
        self.tables[table][row[key]] = row
        return row

    def rows(self, table):
        return list(self.tables[table].values())

    def get(self, table, key):
        return None if key is None else self.tables[table].get(key)

    def find(self, table, **wanted):
        """The first object whose fields have these values, None if there is none."""
        return next((row for row in self.rows(table) if all(row.get(key) == wanted[key] for key in wanted)), None)

    def delete(self, table, key):
        """Delete an object, what belongs to it, and all mention of it."""
        if self.tables[table].pop(key, None) is None:
            return
        for other, name, field in self.relations:
            if table not in field.to:
                continue
            for row in self.rows(other):
                value = row.get(name)
                if isinstance(value, list):
                    row[name] = [one for one in value if one != key]
                elif value == key and getattr(field, "cascade", False):
                    self.delete(other, row.get("brand_uuid") or row["pk"])
                elif value == key:
                    row[name] = None

    # Users and groups: who is in which, also by way of groups above.

    def groups_of(self, user):
        """The groups that a user is a direct member of."""
        return [group for group in self.rows("groups") if user["pk"] in group["users"]]

    def all_groups_of(self, user):
        """Those and all groups above them."""
        found, left = {}, self.groups_of(user)
        while left:
            group = left.pop()
            if group["pk"] not in found:
                found[group["pk"]] = group
                left += [self.tables["groups"][pk] for pk in group["parents"]]
        return list(found.values())

    def is_superuser(self, user):
        return any(group["is_superuser"] for group in self.all_groups_of(user))

    def roles_of(self, user):
        keys = [*user["roles"], *(role for group in self.all_groups_of(user) for role in group["roles"])]
        return [self.tables["roles"][key] for key in dict.fromkeys(keys)]

    def may(self, user, permission):
        """Whether a user has a global permission, ``authentik_core.view_group``."""
        if user is None:
            return False
        return self.is_superuser(user) or any(permission in role["permissions"] for role in self.roles_of(user))

    def new_token(self, identifier, intent, user, expiring, expires=None, description="", managed=None):
        """Make a token with a random key."""
        row = {
            "managed": managed,
            "identifier": identifier,
            "intent": intent,
            "user": user,
            "description": description,
            "expires": expires or now(),
            "expiring": expiring,
            "key": secrets.token_urlsafe(45),
            "key_readers": [],
        }
        return self.add("tokens", row)
