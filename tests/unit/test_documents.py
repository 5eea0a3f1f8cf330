"""
What the documents name must exist: links, commands, functions, pillar keys, paths, and states in their snippets.
"""

import ast
import re
import textwrap
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import salt
import yaml
from tree import TREE, load

HIDDEN = re.compile(r"/\.|/node_modules/|/__pycache__/")
DOCUMENTS = sorted(
    path.relative_to(TREE).as_posix() for path in TREE.rglob("*.md") if not HIDDEN.search(f"/{path.relative_to(TREE)}")
)
SALT = Path(salt.__file__).parent
# Where Salt keeps a module under another name than it is called by.
VIRTUAL = {"sys": "sysmod", "user": "useradd", "group": "groupadd"}
# Keys below rick: that do not come from the defaults: the entries of the catalogue, and a choice for one run.
FROM_ELSEWHERE = {"services": {}, "only": []}
# What a part of an entry is completed with, and what the catalogue knows of a host.
REST_OF_ENTRY = {"image": "localhost/example:1", "port": 8080}
HOST = {
    "postgresql": {"unit": "postgresql@17-main.service", "socket": "/run/postgresql/.s.PGSQL.5432"},
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
    "ports": {},
    "sso": "auth.example.org",
}
# What makes a dotted word after the name of one of our modules the name of a file or unit instead.
ENDINGS = {"conf", "container", "key", "md", "network", "pod", "py", "service", "sls", "socket", "yaml"}
TOP = {path.name for path in TREE.iterdir() if not path.name.startswith(".")}

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
SALT_CALL = re.compile(r"\bsalt-call((?: +-[-\w=/.]+)*) +([a-z_]+\.[a-z_]+)")
COMMAND = re.compile(r"(?<![\w./-])(?:/srv/rick-infra/)?bin/([a-z]+)((?: +-?[-\w=…]+)*)")
PILLAR_KEY = re.compile(r"\brick(?::[a-z_]+)+")
PLACEHOLDER = re.compile(r"\[(?:measured|pasted) by |\bTODO\b|\bFIXME\b")


def text(document):
    return (TREE / document).read_text()


def code(document):
    """The code of a document: its blocks and its spans, one string each."""
    blocks = [block[2] for block in FENCE.findall(text(document))]
    return blocks + SPAN.findall(FENCE.sub("", text(document)))


def anchors(path):
    """The anchors of a document's headings, as the usual viewers make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def signatures(path):
    """The public functions of a module file, by the name that Salt gives them, with their arguments."""
    module = ast.parse(path.read_text())
    aliases = {}
    for node in module.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__func_alias__":
            aliases = ast.literal_eval(node.value)
    functions = [node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {
        aliases.get(node.name, node.name): {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)}
        for node in functions
    }


def functions(kind, module):
    """The functions that ``module`` has among our own or Salt's ``modules`` or ``states``."""
    ours = TREE / f"_{kind}" / f"{module}.py"
    theirs = SALT / kind / f"{VIRTUAL.get(module, module) if kind == 'modules' else module}.py"
    return next((signatures(path) for path in (ours, theirs) if path.exists()), {})


def of_ours(module):
    return any((TREE / folder / f"{module}.py").exists() for folder in ("_modules", "_runners", "_states"))


def snippets(document):
    """The YAML blocks of a document, parsed, if they hold more than comments."""
    blocks = [textwrap.dedent(block[2]) for block in FENCE.findall(text(document)) if block[1] == "yaml"]
    return [parsed for parsed in map(yaml.safe_load, blocks) if parsed is not None]


def entries(document):
    """Those YAML blocks of a document that are an entry of the catalogue, or a part of one."""
    keys = load("utils", "catalogue_schema").Entry.model_fields
    # fleet.yaml has cells, too.
    return [
        snippet
        for snippet in snippets(document)
        if keys & snippet.keys() and "rick" not in snippet and not {"edges", "sso"} & snippet.keys()
    ]


def unknown_keys(given, known, place):
    """Keys of a pillar snippet that the defaults do not have; an empty mapping there takes any."""
    if not isinstance(known, dict) or not known:
        return []
    if not isinstance(given, dict):
        return [f"{place} is not a mapping"]
    unknown = [f"{place}:{key}" for key in given if key not in known]
    return unknown + [
        problem for key in given if key in known for problem in unknown_keys(given[key], known[key], f"{place}:{key}")
    ]


@pytest.fixture(scope="module")
def defaults():
    found = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())
    return {**found, "rick": {**FROM_ELSEWHERE, **found["rick"]}}


@pytest.fixture(scope="module")
def schema():
    return jsonschema.Draft202012Validator(load("utils", "catalogue_schema").json_schema())


@pytest.mark.parametrize("document", DOCUMENTS)
class TestEachDocument:
    def test_every_relative_link_leads_to_a_file_and_its_heading(self, document):
        broken = []
        for target in LINK.findall(FENCE.sub("", text(document))):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (TREE / document).parent / name if name else TREE / document
            if not path.exists() or (anchor and anchor not in anchors(path)):
                broken.append(target)
        assert not broken

    def test_every_function_called_with_salt_call_exists(self, document):
        missing = [
            name
            for part in code(document)
            for _, name in SALT_CALL.findall(part)
            if name.partition(".")[2] not in functions("modules", name.partition(".")[0])
        ]
        assert not missing

    def test_every_function_or_state_of_ours_exists(self, document):
        missing = []
        for span in SPAN.findall(FENCE.sub("", text(document))):
            module, dot, name = span.partition(".")
            if dot and re.fullmatch(r"[a-z_]+", name) and name not in ENDINGS and of_ours(module):
                known = {name for kind in ("modules", "runners", "states") for name in functions(kind, module)}
                missing += [span] if name not in known else []
        assert not missing

    def test_every_command_in_bin_exists_with_its_options(self, document):
        missing = []
        for part in code(document):
            for name, rest in COMMAND.findall(part):
                path = TREE / "bin" / name
                source = path.read_text() if path.is_file() and path.stat().st_mode & 0o111 else None
                options = [word for word in rest.split() if word.startswith("--") and word not in ("--", "--help")]
                if source is None or any(option.partition("=")[0] not in source for option in options):
                    missing.append(f"bin/{name}{rest}")
        assert not missing

    def test_every_pillar_key_exists(self, document, defaults):
        missing = []
        for key in PILLAR_KEY.findall("\n".join(code(document))):
            value = defaults
            for part in key.split(":"):
                # An empty mapping takes any key.
                value = (value.get(part, ...) if value else {}) if isinstance(value, dict) else ...
            missing += [key] if value is ... else []
        assert not missing

    def test_every_pillar_snippet_sets_what_exists(self, document, defaults):
        unknown = [
            problem
            for snippet in snippets(document)
            if isinstance(snippet, dict) and set(snippet) == {"rick"}
            for problem in unknown_keys(snippet["rick"], defaults["rick"], "rick")
        ]
        assert not unknown

    def test_every_entry_is_valid(self, document):
        wrong = []
        for snippet in entries(document):
            entry, problems = load("utils", "catalogue_schema").complete({**REST_OF_ENTRY, **snippet})
            if not problems:
                _, problems = load("utils", "catalogue_resolve").resolve({"example": entry}, HOST)
            wrong += [f"{list(snippet)}: {problem}" for problem in problems]
        assert not wrong

    def test_every_fleet_is_valid(self, document):
        found = [snippet for snippet in snippets(document) if {"edges", "sso"} & snippet.keys()]
        assert [load("utils", "fleet_file").topology(one)[1] for one in found] == [[]] * len(found)

    def test_an_editor_takes_every_entry(self, document, schema):
        wrong = [
            f"{list(snippet)}: {error.json_path}: {error.message}"
            for snippet in entries(document)
            for error in schema.iter_errors(snippet)
        ]
        assert not wrong

    def test_every_state_in_a_snippet_exists_and_takes_its_arguments(self, document):
        wrong = []
        for snippet in snippets(document):
            if snippet in entries(document):
                continue
            for identifier, body in snippet.items():
                for function, arguments in body.items() if isinstance(body, dict) else ():
                    module, dot, name = str(function).partition(".")
                    if not dot or not isinstance(arguments, list):
                        continue
                    known = functions("states", module).get(name)
                    given = {key for argument in arguments for key in argument}
                    if known is None or given - known - {"require", "reload_grains"}:
                        wrong.append(f"{identifier}: {function} {sorted(given - (known or set()))}")
        assert not wrong

    def test_every_path_in_the_tree_exists(self, document):
        missing = [
            span
            for span in SPAN.findall(FENCE.sub("", text(document)))
            if "/" in span
            and span.partition("/")[0] in TOP
            and re.fullmatch(r"[\w./-]+", span)
            and not (TREE / span).exists()
        ]
        assert not missing

    def test_nothing_is_left_to_be_filled_in(self, document):
        assert not PLACEHOLDER.findall(text(document))


def test_every_part_of_the_infrastructure_has_a_readme():
    parts = [path for path in (TREE / "salt/infra").iterdir() if path.is_dir()]
    assert [path.name for path in parts if not (path / "README.md").exists()] == []


def test_every_decision_is_in_the_index_and_says_what_was_discarded():
    index = (TREE / "docs/adr/README.md").read_text()
    problems = []
    for path in sorted((TREE / "docs/adr").glob("0*.md")):
        headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        if f"({path.name})" not in index:
            problems.append(f"{path.name} is not in the index")
        problems += [
            f"{path.name} has no section {wanted}"
            for wanted in ("Context", "Decision", "Consequences", "Discarded")
            if wanted not in headings
        ]
    assert not problems
