"""
What salt-ssh calls in place of the tree's execution functions, so that they have the pillar.
"""

import salt.loader
from tree import TREE

MODULES = {path.stem for path in (TREE / "_modules").glob("*.py")}


def of_the_tree(loader):
    return {function for function in loader if function.partition(".")[0] in MODULES}


def test_each_function_of_the_tree_is_called_with_pillar(loaders, modules):
    # With one that is not, a host of a fleet would take itself for one without a master.
    assert of_the_tree(salt.loader.ssh_wrapper(loaders.opts, {}, {})) == of_the_tree(modules)


def test_nothing_of_salts_own_is_replaced(loaders):
    own = salt.loader.ssh_wrapper({**loaders.opts, "module_dirs": []}, {}, {})
    assert not of_the_tree(own)
