"""
Blueprints: YAML that describes objects. An instance is checked when it is stored, and applied when it is asked for.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from doubles.authentik import fields
from doubles.authentik.fields import Invalid
from doubles.authentik.rbac import KNOWN
from doubles.authentik.rest import Answer, Call, Collection, ServerException, exact
from doubles.authentik.store import now

STATES = ("present", "created", "must_created", "absent")
FAILED, END = "Failed to validate blueprint", "- Blueprint validation failed"
EITHER = "Either path or content must be set."
CODES = {
    "This field is required.": "required",
    "This field may not be blank.": "blank",
    "This field may not be null.": "null",
}


@dataclass
class Tag:
    """What a tag stands for is known only when the blueprint is applied."""

    name: str
    value: object


class Loader(yaml.SafeLoader):
    """Takes the tags that the double knows; any other one is an error, as in the original."""


def _construct(loader, node):
    value = loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    return Tag(node.tag.lstrip("!"), value)


for _name in ("Find", "KeyOf", "Context", "Env", "File", "Format"):
    Loader.add_constructor(f"!{_name}", _construct)


def parse(content):
    """
    Return the content of a blueprint. Raises ServerException where the original breaks (Q64).
    """
    try:
        found = yaml.load(content, Loader)  # noqa: S506 - a SafeLoader with a few tags
    except yaml.YAMLError as error:
        raise ServerException(str(error)) from error
    if isinstance(found, dict):
        for entry in found.get("entries") or ():
            if entry.get("state", "present") not in STATES:
                raise ServerException("an unknown state")
    return found


class Importer:
    """
    Checks and applies what a blueprint describes.

    collections
        ``{model: Collection}``.
    """

    def __init__(self, store, collections, call):
        self.store, self.collections, self.call = store, collections, call

    def check(self, content):
        """Raise Invalid with what is wrong with a blueprint."""
        found = parse(content)
        if not isinstance(found, dict):
            return
        if found.get("version", 1) != 1:
            raise Invalid({"content": [FAILED, "- Invalid blueprint version"]})
        made = {}
        for entry in found.get("entries") or ():
            self._check(entry, made)

    def _check(self, entry, made):
        collection = self.collections.get(entry.get("model"))
        if collection is None:
            raise Invalid({"content": [FAILED, "- App or Model does not exist", END]})
        identifiers = entry.get("identifiers")
        if not isinstance(identifiers, dict) or not identifiers:
            raise Invalid({"content": [FAILED, "- Entry invalid: No or invalid identifiers", END]})
        if entry.get("id"):
            made[entry["id"]] = None
        if entry.get("state") == "absent":
            return
        given = self._given(collection, entry)
        known = {name: value for name, value in given.items() if not self._has_tag(value)}
        wanted = {name: one for name, one in collection.writable.items() if name in known or name not in given}
        row = self._row(collection, identifiers)
        try:
            fields.clean_all(wanted, known, self.store, partial=row is not None)
        except Invalid as error:
            words = f"- Entry invalid: Serializer errors {self._as_the_framework_shows(error.detail)}"
            raise Invalid({"content": [FAILED, words, END]}) from None

    def _as_the_framework_shows(self, errors):
        def shown(detail):
            if not isinstance(detail, list):
                return repr(detail)
            parts = (f"ErrorDetail(string={words!r}, code={CODES.get(words, 'invalid')!r})" for words in detail)
            return f"[{', '.join(parts)}]"

        return "{" + ", ".join(f"{name!r}: {shown(detail)}" for name, detail in errors.items()) + "}"

    def _has_tag(self, value):
        if isinstance(value, dict):
            return any(map(self._has_tag, value.values()))
        return any(map(self._has_tag, value)) if isinstance(value, list) else isinstance(value, Tag)

    def _given(self, collection, entry):
        given = {**entry["identifiers"], **(entry.get("attrs") or {})}
        return {name: value for name, value in given.items() if name in collection.writable}

    def _row(self, collection, identifiers, made=None):
        wanted = {name: self._resolved(value, made or {}) for name, value in identifiers.items()}
        return self.store.find(collection.table, **wanted)

    def apply(self, content, context=None):
        """Make the objects so."""
        found = parse(content)
        if not isinstance(found, dict):
            return
        self.context = {**(found.get("context") or {}), **(context or {})}
        made = {}
        for entry in found.get("entries") or ():
            collection = self.collections[entry["model"]]
            row = self._row(collection, entry["identifiers"], made)
            state = entry.get("state", "present")
            if state == "absent":
                if row:
                    collection.delete(row)
                continue
            if row is None or state == "present":
                attributes = {**entry["identifiers"], **(entry.get("attrs") or {})}
                attributes = self._resolved(attributes, made)
                data = {name: value for name, value in attributes.items() if name in collection.writable}
                row = collection.update(row, data, self.call) if row else collection.create(data, self.call)
                self._more(entry["model"], row, attributes)
            if entry.get("id"):
                made[entry["id"]] = row["pk"]

    def _more(self, model, row, attributes):
        """What blueprints may set and the API may not."""
        if model == "authentik_rbac.role" and "permissions" in attributes:
            unknown = [name for name in attributes["permissions"] if name not in KNOWN]
            if unknown:
                raise Invalid({"permissions": [f'"{unknown[0]}" is not a valid choice.']})
            row["permissions"] = list(attributes["permissions"])
        if model == "authentik_core.token" and "key" in attributes:
            row["key"] = fields.Text(required=True).clean(attributes["key"], self.store)
        if model == "authentik_core.user" and "password" in attributes:
            row["password"] = attributes["password"]

    def _resolved(self, value, made):
        if isinstance(value, dict):
            return {key: self._resolved(one, made) for key, one in value.items()}
        if isinstance(value, list):
            return [self._resolved(one, made) for one in value]
        return self._of_tag(value, made) if isinstance(value, Tag) else value

    def _of_tag(self, tag, made):
        if tag.name == "KeyOf":
            if tag.value not in made:
                raise Invalid({"content": [f"KeyOf: failed to find entry with `id` of `{tag.value}`"]})
            return made[tag.value]
        if tag.name == "Find":
            model, *pairs = self._resolved(tag.value, made)
            row = self.store.find(self.collections[model].table, **dict(pairs))
            return row and row["pk"]
        if tag.name == "Format":
            template, *arguments = tag.value
            return template % tuple(self._resolved(one, made) for one in arguments)
        name, default = tag.value if isinstance(tag.value, list) else (tag.value, None)
        if tag.name == "Context":
            return self.context.get(name, default)
        if tag.name == "Env":
            return os.environ.get(name, default)
        return Path(name).read_text(encoding="utf-8").strip() if Path(name).exists() else default


class Blueprints(Collection):
    path, table, name = "managed/blueprints", "blueprints", "BlueprintInstance"
    verbose, model = "Blueprint Instance", "authentik_blueprints.blueprintinstance"
    writable = {
        "name": fields.Text(required=True, unique="Blueprint Instance with this name already exists."),
        "path": fields.Text(blank=True),
        "context": fields.Mapping(),
        "enabled": fields.Boolean(default=True),
        "content": fields.Text(blank=True),
    }
    search = ("name", "path")
    orderings = ("name", "path")
    filters = {name: exact(name) for name in ("name", "path")}

    def __init__(self, store, collections):
        super().__init__(store)
        self.collections = collections

    def represent(self, row, call):
        names = ("last_applied", "last_applied_hash", "status", "managed_models", "metadata")
        return {**super().represent(row, call), **{name: row[name] for name in names}}

    def refine(self, name, value, row, call, data):
        if name == "path" and value:
            raise Invalid("Blueprint file does not exist")
        return value

    def check(self, values, row, call, data):
        if not values.get("path") and not values.get("content"):
            raise Invalid({"non_field_errors": [EITHER]})
        Importer(self.store, self.collections, call).check(values["content"])

    def make(self, values, call):
        row = {**values, "last_applied": now(), "last_applied_hash": "", "status": "unknown"}
        return super().make({**row, "managed_models": [], "metadata": {}}, call)

    def apply(self, call, key):
        """What the worker does with it soon, the double does at once; the answer is that from before."""
        call.need(self.right("view"))
        row = self.look_up(key, call)
        answer = self.represent(row, call)
        if row["enabled"] and row["content"]:
            Importer(self.store, self.collections, call).apply(row["content"], row["context"])
            found = parse(row["content"])
            metadata = found.get("metadata") if isinstance(found, dict) else None
            if metadata:
                row["metadata"] = {"labels": {}, **metadata}
            digest = hashlib.sha512(row["content"].encode()).hexdigest()
            row.update(status="successful", last_applied=now(), last_applied_hash=digest)
        return Answer(200, answer)

    actions = {"apply": {"POST": apply}}


def apply_as_administrator(store, collections, content, context=None):
    """Apply a blueprint file, as the worker does with those of a folder."""
    administrator = store.find("users", username="akadmin")
    call = Call(store, "POST", {}, None, administrator, "")
    importer = Importer(store, collections, call)
    importer.check(content)
    importer.apply(content, context)
