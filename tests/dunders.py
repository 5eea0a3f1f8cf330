"""
What Salt's loader would put into a module, for tests that run without it.
"""

import types

from tree import load


def functions(kind, *names):
    """
    Return the public functions of the tree's modules as ``{"module.function": function}``.

    Fits ``__utils__`` (kind ``utils``), ``__salt__`` (``modules``) and ``__states__`` (``states``).
    """
    return {
        f"{name}.{attribute}": value
        for name in names
        for attribute, value in vars(load(kind, name)).items()
        if isinstance(value, types.FunctionType) and not attribute.startswith("_")
    }
