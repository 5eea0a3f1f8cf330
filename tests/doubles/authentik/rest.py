"""
The API as its framework makes it: collections of objects, lists in pages, rights, and the forms of errors.
"""

import json
import uuid
from dataclasses import dataclass, field

from doubles.authentik.fields import Invalid, Reference, References, clean_all

ANYBODY = "anybody"  # no login is needed
NO_LOGIN = "Authentication credentials were not provided."
NO_PERMISSION = "You do not have permission to perform this action."
NOT_FOUND = "Not found."


class Refused(Exception):
    """A request that is answered with an error: its status and the body."""

    def __init__(self, status, body):
        super().__init__(status, body)
        self.status, self.body = status, {"detail": body} if isinstance(body, str) else body


class ServerException(Exception):
    """What breaks in the original. A client sees an empty 405."""


@dataclass
class Call:
    """A request to the API."""

    store: object
    method: str
    query: dict  # {name: [values]}
    body: object
    user: dict | None
    base: str  # the server's own address, as the client wrote it
    context: dict = field(default_factory=dict)

    def one(self, name):
        """The last value of a query parameter, None if it is not there."""
        return self.query[name][-1] if self.query.get(name) else None

    def flag(self, name, default=False):
        value = self.one(name)
        return default if value is None else value.lower() == "true"

    @property
    def superuser(self):
        return self.user is not None and self.store.is_superuser(self.user)

    def need(self, *permissions):
        if not all(self.store.may(self.user, permission) for permission in permissions):
            raise Refused(403, NO_PERMISSION)


@dataclass
class Answer:
    status: int
    body: object = None


class Collection:
    """
    Objects of a kind, below a path. What kinds have of their own they override.

    name, verbose
        As the original calls the kind in code, and for people.

    model
        As permissions call it, ``authentik_core.group``.

    filters
        ``{query parameter: how(row, value)}``; unknown parameters are ignored.
    """

    path = table = name = verbose = model = ""
    key = "pk"
    writable: dict = {}
    filters: dict = {}
    search: tuple = ()
    orderings: tuple = ("name",)
    order: tuple = ("name",)
    methods: tuple = ("GET", "POST")
    detail_methods: tuple = ("GET", "PUT", "PATCH", "DELETE")
    list_actions: dict = {}  # {name: {method: function}}
    actions: dict = {}

    def __init__(self, store):
        self.store = store

    # What kinds differ in.

    def rows(self, call):
        """Those that there are for somebody, before any filter."""
        return self.store.rows(self.table)

    def represent(self, row, call):
        return {"pk": row["pk"], **{name: row[name] for name in self.writable}}

    def refine(self, name, value, row, call, data):
        """Check a cleaned value against the object and the others; return it, or another one."""
        return value

    def check(self, values, row, call, data):
        """Check the values of all fields together."""

    def make(self, values, call):
        return self.store.add(self.table, dict(values), self.pk_name)

    def change(self, row, values, call):
        row.update(values)

    def changed(self):
        """Called after whatever was written."""

    def right(self, verb):
        app, _, model = self.model.partition(".")
        return f"{app}.{verb}_{model}"

    pk_name = "pk"

    # Writing.

    def cleaned(self, data, call, row=None, partial=False):
        def refine(name, value):
            words = self.writable[name].unique
            if words and any(one[name] == value and one is not row for one in self.store.rows(self.table)):
                raise Invalid(words)
            return self.refine(name, value, row, call, data)

        values = clean_all(self.writable, data, self.store, partial, defaults=row is None, refine=refine)
        self.check(values, row, call, data)
        return values

    def create(self, data, call):
        row = self.make(self.cleaned(data, call), call)
        self.changed()
        return row

    def update(self, row, data, call, partial=True):
        self.change(row, self.cleaned(data, call, row, partial), call)
        self.changed()
        return row

    def delete(self, row):
        self.store.delete(self.table, row[self.pk_name])
        self.changed()

    # Reading.

    def look_up(self, key, call):
        """The object of a key in the path; one that cannot be a key is not found in other words."""
        rows = self.rows(call)
        if self.key == "pk" or self.key.endswith("uuid"):
            try:
                key = int(key) if self.store.numbered(self.table) else str(uuid.UUID(key))
            except ValueError:
                raise Refused(404, NOT_FOUND) from None
        for row in rows:
            if row[self.key] == key:
                return row
        raise Refused(404, f"No {self.name} matches the given query.")

    def listed(self, call):
        """The objects of a list, filtered and in order."""
        rows = self.rows(call)
        for name, how in self.filters.items():
            values = [value for value in call.query.get(name, ()) if value != ""]
            if values:
                rows = how(self, rows, values)
        words = (call.one("search") or "").split()
        rows = [row for row in rows if all(self._has(row, word) for word in words)]
        return sorted_by(rows, self._ordering(call))

    def _has(self, row, word):
        return any(word.lower() in str(row.get(name) or "").lower() for name in self.search)

    def _ordering(self, call):
        wanted = [name for name in (call.one("ordering") or "").split(",") if name.lstrip("-") in self.orderings]
        return wanted or self.order

    def page(self, rows, call, represent=None):
        """A page of a list, with what the framework says about it."""
        page, info = paginate(rows, call)
        represent = represent or (lambda row: self.represent(row, call))
        return {"pagination": info, "results": [represent(row) for row in page], "autocomplete": {}}

    def used_by(self, row, call):
        """What refers to an object, and what happens to it if the object goes."""
        return []

    # Requests.

    def on_list(self, call):
        if call.method == "GET":
            self.may_list(call)
            return Answer(200, self.page(self.listed(call), call))
        self.may_create(call)
        return Answer(201, self.represent(self.create(call.body, call), call))

    def on_detail(self, call, key):
        self.may_touch(call)
        row = self.look_up(key, call)
        self.may_change(call, row)
        if call.method == "GET":
            return Answer(200, self.represent(row, call))
        if call.method == "DELETE":
            self.delete(row)
            return Answer(204)
        row = self.update(row, call.body, call, partial=call.method == "PATCH")
        return Answer(200, self.represent(row, call))

    def may_list(self, call):
        call.need(self.right("view"))

    def may_create(self, call):
        call.need(self.right("add"))

    def may_touch(self, call):
        """Before the object is looked up."""
        wanted = {"GET": ("view",), "DELETE": ("delete",)}.get(call.method, ("view", "change"))
        call.need(*map(self.right, wanted))

    def may_change(self, call, row):
        """After that."""

    def describe(self, call):
        """The answer to OPTIONS."""
        words = f"{self.verbose} Viewset"
        shown = {"name": f"{self.verbose} List", "description": words, "renders": ["application/json"]}
        return {**shown, "parses": ["application/json"], "actions": {"POST": self.described_fields()}}

    def described_fields(self):
        return {name: described(name, one) for name, one in self.writable.items()}


def described(name, one=None, kind=None, label=None):
    """How OPTIONS describes a field; without ``one`` it is read-only."""
    label = label or (one.label if one else None) or name.replace("_", " ").capitalize()
    found = {"type": kind or (one.kind if one else "field"), "required": bool(one and one.required)}
    found.update(read_only=one is None, label=label)
    if one and one.help_text:
        found["help_text"] = one.help_text
    return found


def sorted_by(rows, names):
    """Sort by several fields; a leading dash turns one round. Nothing comes before something."""
    for name in reversed(names):
        field = name.lstrip("-")
        rows = sorted(rows, key=lambda row: (row[field] is not None, row[field]), reverse=name.startswith("-"))
    return rows


def paginate(rows, call):
    """The rows of the page that was asked for, and where it is."""
    default, most = call.store.settings["pagination_default_page_size"], call.store.settings["pagination_max_page_size"]
    wanted = call.one("page_size")
    size = min(int(wanted), most) if wanted and wanted.isdigit() and int(wanted) else default
    total = max(1, -(-len(rows) // size))
    asked = call.one("page") or "1"
    number = total if asked == "last" else int(asked) if asked.isdigit() else 0
    if not 1 <= number <= total:
        raise Refused(404, "Invalid page.")
    first = (number - 1) * size
    page = rows[first : first + size]
    info = {
        "next": number + 1 if number < total else 0,
        "previous": number - 1,
        "count": len(rows),
        "current": number,
        "total_pages": total,
        "start_index": first + 1 if rows else 0,
        "end_index": first + len(page),
    }
    return page, info


# Filters, as {name: how(collection, rows, values)}.


def exact(field):
    """White space around the text does not count, case does."""
    return lambda collection, rows, values: [row for row in rows if str(row.get(field)) == values[-1].strip()]


def iexact(field):
    def how(collection, rows, values):
        return [row for row in rows if str(row.get(field) or "").lower() == values[-1].strip().lower()]

    return how


def truth(field):
    return lambda collection, rows, values: [row for row in rows if bool(row[field]) == (values[-1].lower() == "true")]


def is_null(field):
    def how(collection, rows, values):
        return [row for row in rows if (row.get(field) is None) == (values[-1].lower() == "true")]

    return how


def refers(field, *tables):
    """Of a related object, which must exist."""

    def how(collection, rows, values):
        try:
            key = Reference(*tables).clean(values[-1], collection.store)
        except Invalid as error:
            words = error.detail
            if "Invalid pk" in words[0]:
                words = ["Select a valid choice. That choice is not one of the available choices."]
            raise Refused(400, {field: words}) from None
        return [row for row in rows if row[field] == key]

    return how


def containing(field):
    """JSON that an attribute field has."""

    def how(collection, rows, values):
        try:
            wanted = json.loads(values[-1])
        except ValueError:
            raise Refused(400, ["filter: failed to parse JSON"]) from None
        return [row for row in rows if all(row[field].get(key) == value for key, value in wanted.items())]

    return how


def relations(collections):
    """Which field of which table refers to which tables: ``(table, name, field)``."""
    found = {}
    for collection in collections:
        for name, one in collection.writable.items():
            if isinstance(one, Reference | References):
                found[collection.table, name] = (collection.table, name, one)
    return list(found.values())
