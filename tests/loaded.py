"""
The namespaces of modules as Salt's loader holds them, for tests that move a module's constants to a folder of theirs.
"""

import salt.loader


def of_module(modules, name):
    """
    Return the global names of an execution module.

    modules
        The loader, as in the fixture ``modules``.
    """
    # What a module calls can be of another loader, which executes the file anew in the same namespace when it first
    # needs it, and so would move constants back.
    getattr(modules.pack["__salt__"], name)
    return _namespace(modules, name)


def of_util(modules, name):
    """
    Return the global names of the util that execution modules see.
    """
    return _namespace(modules.pack["__utils__"], name)


def of_runner(runners, name):
    """
    Return the global names of a runner.
    """
    return _namespace(runners, name)


def _namespace(loader, name):
    function = next(key for key in loader if key.startswith(f"{name}."))
    return loader[function].func.__globals__


def states_over(loaders, modules):
    """
    Return ``apply(function, test=..., **arguments)`` for state functions that use exactly these execution modules.

    ``state.single`` loads all modules afresh, without the constants a test has
    moved: a real run would then act on the host. Here they are the loader's own
    functions on the test's modules.
    """
    utils = modules.pack["__utils__"]
    states = salt.loader.states(loaders.opts, modules, utils, None)

    def apply(function, /, *, test, **arguments):
        opts = [loader.opts for loader in (states, modules, utils)]
        before = [one.get("test") for one in opts]
        try:
            for one in opts:
                one["test"] = test
            return states[function](**arguments)
        finally:
            for one, value in zip(opts, before, strict=True):
                one["test"] = value

    return apply
