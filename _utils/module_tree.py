"""
Which modules a host has: whether those that it runs are the ones that its master serves.

Salt can fetch them before each run (``autoload_dynamic_modules``), which asks the master once for each file, whether
it has changed or not: with this tree, that takes longer than a run that has nothing to do.
"""

import hashlib
from pathlib import Path

KINDS = ("beacons", "grains", "modules", "output", "states", "utils")


def digest(folder, prefix=""):
    """
    Return a digest of the modules below a folder, None if there are none.

    folder
        Where the folders of the kinds are: the top of the tree, or what Salt has made of it on a host.

    prefix
        What the folders' names begin with: ``_`` in the tree.
    """
    total, found = hashlib.sha256(), False
    for kind in KINDS:
        for path in sorted(Path(folder, f"{prefix}{kind}").glob("*.py")):
            total.update(f"{kind}/{path.name} ".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
            found = True
    return total.hexdigest() if found else None
