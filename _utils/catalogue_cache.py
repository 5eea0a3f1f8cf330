"""
What the catalogue was found to be, kept for as long as nothing that it was made from has changed.

The file may be lost or damaged at any time: then the work is done again.
"""

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "/var/lib/rick-infra/catalogue.json"
# The code whose answer is kept; a change of it is a change of the answer.
CODE = (
    "catalogue_schema",
    "catalogue_errors",
    "catalogue_names",
    "catalogue_checks",
    "catalogue_resolve",
    "catalogue_refusals",
    "service_units",
    "caddy_directives",
    "quadlet_guard",
    "valkey_acl",
)


def key(data, module):
    """
    Return the key of what follows from some data, None if the code that it follows by cannot be found.

    data
        Anything JSON has a form for; other values count by how Python shows them.

    module
        Path of the execution module, whose code counts as well: the rest lies in the folder of utils beside it.
    """
    digest = hashlib.sha256()
    folder = Path(module).parent
    # _modules beside _utils in the tree, modules beside utils where Salt has copied them to.
    utils = folder.with_name(folder.name.replace("modules", "utils"))
    for file in (folder / f"{Path(module).stem}.py", *(utils / f"{name}.py" for name in CODE)):
        try:
            digest.update(file.read_bytes())
        except OSError:
            return None
    try:
        text = json.dumps(data, default=repr)
    except TypeError:  # a key that JSON has no form for, such as a date
        text = repr(data)
    digest.update(text.encode(errors="surrogatepass"))
    return digest.hexdigest()


def load(wanted, path=None):
    """
    Return what is kept under a key, None if nothing is.
    """
    try:
        kept = json.loads(Path(path or FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    keys = kept.get("keys") if isinstance(kept, dict) else None
    return kept.get("answer") if isinstance(keys, list) and wanted in keys else None


def store(keys, answer, path=None):
    """
    Keep an answer under each of some keys, in place of what was kept before.

    A host where that cannot be written works as well, only not as fast.
    """
    target = Path(path or FILE)
    text = json.dumps({"keys": keys, "answer": answer})
    try:
        # mkdir(parents=True) would give the mode to the last one only.
        for folder in reversed(target.parents):
            if not folder.is_dir():
                folder.mkdir(mode=0o700)
        descriptor, staged = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # mode 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            Path(staged).replace(target)
        finally:
            Path(staged).unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be written, so the catalogue is worked out anew each time: %s", target, error.strerror)
