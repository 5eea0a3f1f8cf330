"""
Makes a page of each file that Salt's loader loads: its docstring, and that of each public function.

The files are read, not imported: what the loader would put into them is not needed, and a page cannot have side
effects. Each line keeps its place, so that a warning about a docstring names the line in the Python file.
"""

import ast
import copy
import inspect
from pathlib import PurePath

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.parsers import RSTParser
from sphinx.util.nodes import make_refnode

KINDS = {
    "_beacons": "beacon",
    "_grains": "grains",
    "_modules": "functions",
    "_output": "outputter",
    "_pillar": "external pillar",
    "_runners": "runner",
    "_states": "states",
}


class LoaderModuleParser(RSTParser):
    """Reads a Python file as the page about it."""

    supported = ("loader-module",)

    def parse(self, inputstring, document):
        path = PurePath(document["source"])
        super().parse(page(inputstring, path.stem, KINDS[path.parent.name], str(path)), document)


def page(source, name, kind, path):
    """
    Return the page about a file as lines of reStructuredText, each with its place in the file.

    source
        Text of the file.

    name
        Name of the module as Salt calls it.

    kind
        One of the values of KINDS.

    path
        What a warning shall call the file.
    """
    module = ast.parse(source)
    title = f"{name} {kind}"
    lines = StringList()

    def add(text, first_line, indent=""):
        for number, line in enumerate(text.splitlines()):
            lines.append(f"{indent}{line}".rstrip(), path, first_line + number)
        lines.append("", path, first_line)

    add(f"{title}\n{'=' * len(title)}", 0)
    add(inspect.cleandoc(ast.get_docstring(module) or ""), 1)
    # The name of the kind keeps states and functions of one name apart; it is not shown.
    add(f".. py:currentmodule:: {namespace(kind)}", 0)
    aliases = function_aliases(module)
    for function in public_functions(module):
        arguments = ast.unparse(without_annotations(function.args))
        add(f".. py:function:: {name}.{aliases.get(function.name, function.name)}({arguments})", function.lineno - 1)
        # The docstring begins on the line after its quotes.
        add(ast.get_docstring(function) or "", function.body[0].lineno, "   ")
    return lines


def namespace(kind):
    return kind.replace(" ", "_")


def public_functions(module):
    """The functions of a file that Salt offers to others, in the order of the file."""
    return [node for node in module.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def function_aliases(module):
    """What ``__func_alias__`` says: Salt's name for a function whose own would hide one of Python's."""
    for node in module.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__func_alias__":
            return ast.literal_eval(node.value)
    return {}


def without_annotations(arguments):
    bare = copy.deepcopy(arguments)
    for argument in (*bare.posonlyargs, *bare.args, *bare.kwonlyargs, bare.vararg, bare.kwarg):
        if argument is not None:
            argument.annotation = None
    return bare


def link_functions(app, doctree, document):
    """Turn ``quadlet.running`` in any text into a link to its manual."""
    objects = app.env.domaindata["py"]["objects"]
    for literal in list(doctree.findall(nodes.literal)):
        words = literal.astext().split()
        called = words[:1] == ["salt-call"]
        # States are what documents talk about; functions are what they call.
        kinds = ("functions", "states") if called else ("states", "functions")
        names = [word.partition("(")[0] for word in (words[1:] if called else words[:1]) if not word.startswith("-")]
        places = [f"{kind}.{name}" for name in names[:1] for kind in kinds]
        found = next((objects[place] for place in places if place in objects), None)
        if found and not isinstance(literal.parent, nodes.reference):
            literal.replace_self(make_refnode(app.builder, document, found.docname, found.node_id, literal.deepcopy()))


def setup(app):
    app.add_source_suffix(".py", "loader-module")
    app.add_source_parser(LoaderModuleParser)
    app.connect("doctree-resolved", link_functions)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}
