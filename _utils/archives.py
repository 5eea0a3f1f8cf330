"""
What a run has archived of services: all of it is written and proved before the first of their data goes, and once.
"""

from pathlib import Path

CONTEXT = "archives.made"


def note(context, service, what, file):
    """
    Remember an archive for the rest of the run, and return its path.

    context
        ``__context__`` of the module.

    service, what
        What is in it: ``files``, ``keys``, ``valkey``, or the name of a database after ``database``.

    file
        Its path.
    """
    context.setdefault(CONTEXT, {})[service, what] = file
    return file


def made(context, service, what):
    """
    Return the archive that this run has made of something, None if it has made none or that is gone.
    """
    file = context.get(CONTEXT, {}).get((service, what))
    return file if file and Path(file).exists() else None
