"""
Where the tree is, and how one of its modules is loaded without a Salt process.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import salt

# Salt puts an old-style import hook on sys.meta_path; pytest asks each hook there for the find_spec of today's.
salt.NaclImporter.find_spec = lambda *_arguments, **_options: None

TREE = Path(__file__).resolve().parent.parent


def load(kind, name):
    """
    Return the module ``_KIND/NAME.py`` of the tree, for example ``load("modules", "quadlet")``.

    The same module object comes back each time, as from an import, so that
    ``configure_loader_modules`` can set Salt's dunders on it.
    """
    qualified = f"rick_infra_{kind}_{name}"
    if qualified not in sys.modules:
        spec = importlib.util.spec_from_file_location(qualified, TREE / f"_{kind}" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[qualified] = module
        spec.loader.exec_module(module)
    return sys.modules[qualified]


def load_script(folder, name):
    """
    Return a command as a module, without running it. What it shares lies beside it and in bin.

    The folders stay where modules are looked for, as the commands themselves leave them.
    """
    for beside in (TREE / "bin", TREE / folder):
        if str(beside) not in sys.path:
            sys.path.insert(0, str(beside))
    loader = importlib.machinery.SourceFileLoader(f"rick_{folder}_{Path(name).stem}", str(TREE / folder / name))
    spec = importlib.util.spec_from_file_location(loader.name, loader.path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its module up by name.
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module
