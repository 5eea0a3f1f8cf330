"""
The cluster that Debian's package makes when it is installed, if that was cut off.

A process that is killed inside the package's script leaves half a cluster. When the script runs again, it takes what is
there for a whole one (pg_createcluster(1) adopts a directory with a ``PG_VERSION``): a server without databases.

.. code-block:: bash

    salt-call postgresql_cluster.half_made 17
"""

import time
from pathlib import Path

CONFIGURATION = Path("/etc/postgresql")  # VERSION/main below each of them
DATA = Path("/var/lib/postgresql")
# pg_createcluster writes them in this order, when the data are made.
WRITTEN = ("postgresql.conf", "environment")
# What a server writes when it starts, and leaves there; what comes with a copy of another cluster.
WHOLE = ("postmaster.opts", "backup_label", "backup_manifest")


def half_made(version):
    """
    Return what there is of a cluster that nobody finished making, ``{path: {"old", "new"}}``, ``{}`` if nothing is.

    version
        ``17``.

    One whose server has ever run, and one that was copied from another, is whole.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_cluster.half_made 17
    """
    configuration, data = CONFIGURATION / version / "main", DATA / version / "main"
    if not data.is_dir() or not any(data.iterdir()) or any((data / name).exists() for name in WHOLE):
        return {}
    if all((configuration / name).exists() for name in WRITTEN):
        return {}
    return {str(data): {"old": "half made", "new": None}}


def put_aside(version):
    """
    Move what ``half_made`` finds aside, so that the package makes a cluster. Nothing is deleted.

    Returns what ``half_made`` does.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_cluster.put_aside 17
    """
    changes = half_made(version)
    if changes:
        data = DATA / version / "main"
        data.rename(data.with_name(f"main.half-made-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"))
        # With it, a cluster would count as there.
        (CONFIGURATION / version / "main" / WRITTEN[0]).unlink(missing_ok=True)
    return changes
