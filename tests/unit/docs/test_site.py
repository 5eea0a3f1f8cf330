"""
The documentation site: it is built without a warning, and everything public is in it.
"""

import re
import subprocess
import sys

import pytest
from tree import TREE

sys.path.insert(0, str(TREE / "docs/_extensions"))
import entry_reference
import loader_modules

# What a browser would fetch from elsewhere; a link that somebody clicks is another matter.
FOREIGN = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*(?:src|href)=["'](?:https?:)?//[^"']*""")
MODULE = '''"""
What the module is for.
"""

__func_alias__ = {"list_": "list"}


def list_(places: list, *, limit=None):
    """
    Return them.

    places
        Where.
    """


def _private():
    """Not for others."""
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    done = subprocess.run([TREE / "docs/build", directory], capture_output=True, text=True, check=False)
    warnings = done.stdout + done.stderr
    assert not warnings
    assert done.returncode == 0
    return directory


def public_functions():
    for folder, kind in loader_modules.KINDS.items():
        for path in sorted((TREE / folder).glob("*.py")):
            _, names = functions(path.read_text(), path.stem, kind)
            for name in names:
                yield folder, path.stem, f"{loader_modules.namespace(kind)}.{name}"


def functions(source, module, kind):
    lines = list(loader_modules.page(source, module, kind, f"{module}.py"))
    return lines, [line.split(" ", 2)[2].partition("(")[0] for line in lines if line.startswith(".. py:function::")]


def test_every_public_function_has_its_place_in_the_site(site):
    pages = {}
    missing = []
    for folder, module, name in public_functions():
        page = site / folder / f"{module}.html"
        text = pages.setdefault(page, page.read_text())
        missing += [] if f'id="{name}"' in text else [name]
    assert pages
    assert missing == []


def test_every_key_of_an_entry_is_in_its_reference(site):
    page = (site / "docs/reference/entry.html").read_text()
    schema = entry_reference.models().json_schema()
    keys = {key for model in (schema, *schema["$defs"].values()) for key in model["properties"]}
    assert [key for key in sorted(keys) if f">{key}<" not in page] == []
    assert entry_reference.PLACE not in page


def test_the_site_fetches_nothing_from_elsewhere(site):
    assert [found for page in site.rglob("*.html") for found in FOREIGN.findall(page.read_text())] == []


def test_whoever_opens_the_directory_gets_to_the_first_page(site):
    target = re.search(r'url=([^"]+)', (site / "index.html").read_text())[1]
    assert (site / target).is_file()


def test_a_function_in_a_text_leads_to_its_manual(site):
    page = (site / "docs/sockets.html").read_text()
    assert "_states/private_socket.html#states.private_socket.present" in page


def test_the_schema_for_editors_is_that_of_the_models():
    assert entry_reference.SCHEMA.read_text() == entry_reference.json_schema(), "write it anew: docs/build --schema"


def test_the_page_of_a_module_has_what_salt_offers_and_no_more():
    lines, names = functions(MODULE, "places", "functions")
    assert names == ["places.list"]
    assert ".. py:function:: places.list(places, *, limit=None)" in lines
    assert "Not for others" not in "\n".join(lines)


def test_a_line_of_a_page_knows_its_place_in_the_file():
    lines = loader_modules.page(MODULE, "places", "functions", "_modules/places.py")
    place = lines.info(list(lines).index("   Return them."))
    assert place == ("_modules/places.py", MODULE.splitlines().index("    Return them."))


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ({"type": "string"}, "text"),
        ({"type": "string", "form": "a size, such as 512M"}, "text (a size, such as 512M)"),
        ({"type": "integer", "minimum": 1, "maximum": 9}, "whole number, 1 to 9"),
        ({"type": "integer", "minimum": 1}, "whole number, 1 or more"),
        ({"type": "number", "exclusiveMinimum": 0}, "number, more than 0"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text"),
        (
            {"anyOf": [{"type": ["boolean", "string"]}, {"$ref": "#/$defs/Site"}]},
            "true or false or text or [Site](#site)",
        ),
        ({"enum": ["peer", "scram"]}, "`peer`, `scram`"),
        ({"const": True}, "`true`"),
        ({"type": "array", "items": {"type": "string"}}, "list of text"),
        ({"type": "object", "patternProperties": {"^a$": {"type": "string"}}}, "mapping of names to text"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "mapping of names to text"),
    ],
)
def test_a_type_in_words(field, words):
    assert entry_reference.type_of(field) == words


def test_a_pattern_is_explained_unless_any_text_will_do():
    schema = {"a": [{"type": "string", "pattern": "^/"}], "b": {"type": "string", "pattern": "^[^\0]*$"}}
    forms = {"^/": "a path", "^[^\0]*$": "text without NUL characters"}
    assert entry_reference.explained(schema, forms) == {**schema, "a": [{**schema["a"][0], "form": "a path"}]}


def test_a_bar_in_a_description_stays_in_its_cell():
    assert entry_reference.row("key", {"type": "string", "description": "a|b"}, False) == r"| `key` | text |  | a\|b |"
