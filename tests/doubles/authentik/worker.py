"""
What the worker does: it fills an empty installation at its first start, and applies the blueprints of a folder.
"""

import hashlib
import logging

from doubles.authentik import seed
from doubles.authentik.blueprints import apply_as_administrator, parse
from doubles.authentik.fields import Invalid
from doubles.authentik.rest import ServerException
from doubles.authentik.store import now

BOOTSTRAP = "AUTHENTIK_BOOTSTRAP_"
EMAIL = "root@example.com"  # of the administrator, unless the first start is told another one

log = logging.getLogger(__name__)


def first_start(authentik, environment):
    """Make what a fresh installation has. Whatever the environment says later is ignored."""
    if authentik.store.seeded:
        return
    given = {name: environment.get(f"{BOOTSTRAP}{name}") or None for name in ("TOKEN", "EMAIL", "PASSWORD")}
    seed.fill(authentik.store, given["TOKEN"], given["EMAIL"] or EMAIL, given["PASSWORD"])
    log.info("the first start is done")


class Folder:
    """
    A folder of blueprints; what is below ``custom`` in it is ours.

    Each file is an instance that is applied when the file is another one than the last that could be applied.
    """

    def __init__(self, path):
        self.path = path
        self.refused = {}  # {place: digest of what could not be applied}

    def apply(self, authentik):
        """Apply what is new or changed."""
        for path in sorted((self.path / "custom").rglob("*.yaml")):
            self._apply(authentik, path.relative_to(self.path).as_posix(), path.read_text(encoding="utf-8"))

    def _apply(self, authentik, place, content):
        store = authentik.store
        digest = hashlib.sha512(content.encode()).hexdigest()
        row = store.find("blueprints", path=place)
        if self.refused.get(place) == digest or (row and (row["last_applied_hash"] == digest or not row["enabled"])):
            return
        before = store.saved()
        try:
            found = parse(content)
            apply_as_administrator(store, authentik.models, content, row and row["context"])
        except (Invalid, ServerException) as error:
            store.put_back(before)
            self.refused[place] = digest
            log.warning("blueprint %s is not applied: %s", place, error)
            status = {"status": "error"}
        else:
            self.refused.pop(place, None)
            log.info("blueprint %s is applied", place)
            metadata = {"name": place, "labels": {}, **((found or {}).get("metadata") or {})}
            status = {"status": "successful", "last_applied_hash": digest, "metadata": metadata}
        row = store.find("blueprints", path=place) or store.add(
            "blueprints",
            {"name": place, "path": place, "context": {}, "enabled": True, "content": "", "managed_models": []}
            | {"metadata": {"name": place, "labels": {}}, "last_applied_hash": ""},
        )
        row.update(status, last_applied=now())
