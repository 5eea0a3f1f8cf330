"""
Names in PostgreSQL: which ones a service may have.
"""

import re

from salt.exceptions import SaltInvocationError

SUPERUSER = "postgres"
OWN_DATABASES = ("postgres", "template0", "template1")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")  # PostgreSQL cuts longer ones off, silently, at 63 bytes


def role(name):
    """
    Return ``name`` if the role of a service may have it.

    Raises SaltInvocationError for what cannot be a name, for the superuser and for names PostgreSQL keeps for itself.
    """
    _check("role", name)
    if name in (SUPERUSER, "public", "none") or name.startswith("pg_"):
        raise SaltInvocationError(f"role {name}: belongs to PostgreSQL itself, choose another name")
    return name


def database(name):
    """
    Return ``name`` if the database of a service may have it.

    Raises SaltInvocationError for what cannot be a name and for the server's own databases.
    """
    _check("database", name)
    if name in OWN_DATABASES:
        raise SaltInvocationError(f"database {name}: belongs to PostgreSQL itself, choose another name")
    return name


def _check(kind, name):
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SaltInvocationError(
            f"{kind} {name!r}: a name is a letter or underscore, then up to 62 letters, digits or _.-"
        )
