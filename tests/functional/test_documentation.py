"""
``salt-call sys.doc`` is the manual: every public function is in it, complete.
"""

import ast
import inspect

import pytest
import salt.loader
from tree import TREE

MODULES = sorted(path.stem for path in (TREE / "_modules").glob("*.py"))
STATES = sorted(path.stem for path in (TREE / "_states").glob("*.py"))


def public_functions(kind, name):
    """The functions that a file of ours defines for others, by the name Salt gives them."""
    tree = ast.parse((TREE / f"_{kind}" / f"{name}.py").read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    aliases = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(one, "id", "") == "__func_alias__" for one in node.targets):
            aliases = ast.literal_eval(node.value)
    return {aliases.get(function, function) for function in names}


@pytest.fixture(scope="module")
def modules(loaders):
    # No loader of its own: that would execute each file again in the namespace in which others use it.
    return loaders.modules


@pytest.fixture(scope="module")
def states(loaders, modules):
    return salt.loader.states(loaders.opts, modules, loaders.utils, salt.loader.serializers(loaders.opts))


@pytest.mark.parametrize("name", MODULES)
def test_salt_offers_what_the_module_defines_and_no_more(modules, name):
    offered = modules["sys.list_functions"](name)
    assert {function.removeprefix(f"{name}.") for function in offered} == public_functions("modules", name)


@pytest.mark.parametrize("name", MODULES)
def test_every_function_of_an_execution_module_has_a_complete_manual_entry(modules, name):
    manual = modules["sys.doc"](name)
    incomplete = []
    for function in public_functions("modules", name):
        called = f"{name}.{function}"
        text = inspect.getdoc(modules[called]) or ""
        if not manual.get(called):
            incomplete.append(f"{called}: no docstring")
        # Some are of use within a run only; they say so instead: "CLI Example: none, ...".
        elif "CLI Example: none, " not in text and ("CLI Example:" not in text or f"salt-call {called}" not in text):
            incomplete.append(f"{called}: no CLI example that calls it")
    assert incomplete == []


@pytest.mark.parametrize("name", STATES)
def test_every_state_has_a_complete_manual_entry(states, name):
    incomplete = []
    for function in public_functions("states", name) - {"mod_watch"}:
        called = f"{name}.{function}"
        text = inspect.getdoc(states[called]) or ""
        if not text:
            incomplete.append(f"{called}: no docstring")
        elif ".. code-block:: yaml" not in text or f"{called}:" not in text:
            incomplete.append(f"{called}: no YAML example that uses it")
        else:
            incomplete += [f"{called}: {parameter} is not explained" for parameter in unexplained(states[called], text)]
    assert incomplete == []


@pytest.mark.parametrize(
    ("kind", "name"), [("modules", name) for name in MODULES] + [("states", name) for name in STATES]
)
def test_every_module_says_what_it_is_for(kind, name):
    assert ast.get_docstring(ast.parse((TREE / f"_{kind}" / f"{name}.py").read_text()))


def unexplained(function, text):
    """The parameters that the text does not mention by name."""
    words = set(text.replace("`", " ").replace(",", " ").replace("=", " ").replace(".", " ").split())
    return [name for name in inspect.signature(function).parameters if name not in words]
