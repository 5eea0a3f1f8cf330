"""
Writes the reference of an entry from the models that validate it, in the place of a comment in docs/reference/entry.md.

The JSON Schema that editors use is made from the same models: ``docs/build --schema``.
"""

import importlib.util
import json
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent.parent / "_utils/catalogue_schema.py"
PAGE = "docs/reference/entry"
SCHEMA = Path(__file__).resolve().parent.parent / "reference/service.schema.json"
PLACE = "<!-- The keys are written here when the site is built. -->"
NAMES = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}
ENTRY, CONTAINER = "An entry", "Container"


def models():
    """Return the module that has the models of an entry."""
    spec = importlib.util.spec_from_file_location("rick_infra_catalogue_schema", MODELS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def json_schema():
    """Return the JSON Schema of an entry as text."""
    return f"{json.dumps(models().json_schema(), indent=2, ensure_ascii=False)}\n"


def reference(schema, forms):
    """
    Return a section for each model of the schema, in Markdown: entry, container, then what they refer to.

    forms
        What each pattern of a text means to a person.
    """
    schema = explained(schema, forms)
    names = dict.fromkeys([CONTAINER, *mentioned(schema, schema["$defs"])])
    parts = {ENTRY: schema, **{name: schema["$defs"][name] for name in names}}
    return "\n\n".join(section(name, part, parts[CONTAINER]) for name, part in parts.items())


def explained(schema, forms):
    """A copy of the schema in which each pattern is followed by its meaning, except that some text is any text."""
    if isinstance(schema, list):
        return [explained(one, forms) for one in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {key: explained(value, forms) for key, value in schema.items()}
    form = forms.get(schema.get("pattern"), "") if schema.get("type") == "string" else ""
    return {**copied, "form": form} if form and "text" not in form else copied


def mentioned(schema, definitions):
    """The names of all definitions that a schema refers to, each when it is first mentioned."""
    found = {}

    def look(part):
        if isinstance(part, dict):
            name = part.get("$ref", "").rpartition("/")[2]
            if name and name not in found:
                found[name] = None
                look(definitions[name])
            for value in part.values():
                look(value)
        elif isinstance(part, list):
            for value in part:
                look(value)

    look({"properties": schema["properties"]})
    return list(found)


def section(name, model, container_model):
    """One model: its heading, what it is, and a table of its keys."""
    properties, container = model["properties"], container_model["properties"]
    inherits = name != CONTAINER and container.keys() <= properties.keys()
    own = [key for key in properties if not (inherits and key in container)]
    required = model.get("required", [])
    lines = [f"## {name}", "", model.get("description", "")]
    if inherits:
        lines += ["", f"It has the keys of a [container](#{anchor(CONTAINER)}) too."]
    lines += ["", "| Key | Type | Default | |", "|---|---|---|---|"]
    lines += [row(key, properties[key], key in required) for key in own]
    return "\n".join(lines)


def row(key, field, required):
    default = "**required**" if required else default_of(field)
    cells = (f"`{key}`", type_of(field), default, field.get("description", ""))
    return "| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in cells) + " |"


def default_of(field):
    default = field.get("default")
    if default in (None, "", [], {}):
        return ""  # what nobody sets is not there
    return f"`{default if isinstance(default, str) else json.dumps(default, ensure_ascii=False)}`"


def type_of(field):
    """The type of a field in words, with links to the models in it."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})"
    if "allOf" in field:
        return type_of(field["allOf"][0])
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(type_of(one) for one in field["anyOf"] if one.get("type") != "null"))
    if "const" in field:
        return f"`{field['const'] if isinstance(field['const'], str) else json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = field.get("type")
    if kind == "array":
        return f"list of {type_of(field['items'])}" if "items" in field else "list"
    if kind == "object":
        # Where the names must have a form, the values are below its pattern.
        values = [*field.get("patternProperties", {}).values(), field.get("additionalProperties")]
        return f"mapping of names to {type_of(values[0])}"
    if isinstance(kind, list):
        return " or ".join(type_of({"type": one}) for one in kind)
    form = f" ({field['form']})" if "form" in field else ""
    return f"{NAMES[kind]}{form}{limits(field)}"


def limits(field):
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum")
    if low is None and high is None:
        return ""
    if high is None:
        return f", {low} or more" if "minimum" in field else f", more than {low}"
    return f", {low} to {high}"


def anchor(name):
    return name.lower().replace(" ", "-")


def write_keys(app, document, source):
    if document == PAGE:
        app.env.note_dependency(str(MODELS))
        module = models()
        source[0] = source[0].replace(PLACE, reference(module.json_schema(), module.FORMS))


def setup(app):
    app.connect("source-read", write_keys)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}


if __name__ == "__main__":
    SCHEMA.write_text(json_schema())
