"""
What tests of Authentik's states share: the secrets of the host, and what the double has.
"""

TOKEN = "token-of-the-administrator-of-the-double"  # noqa: S105 - of a double
EMBEDDED = "authentik Embedded Outpost"


def put(folder, name, value):
    path = folder / "secrets" / name
    path.write_text(f"{value}\n")
    path.chmod(0o600)


def by(store, table, **wanted):
    found = store.find(table, **wanted)
    assert found, f"nothing in {table} with {wanted}"
    return found


def snapshot(store):
    """Return what the double has, table by table."""
    return {name: rows for name, rows in store.saved()[0].items() if rows}
