"""
Podman's secrets: what it has, read without a process where that is possible, and how to give it more.

Podman's ``file`` driver keeps two files of JSON that only root can read. They
tell in a millisecond what two processes need 150 for. With another driver, or
if the files are not what we know, Podman itself is asked.
"""

import base64
import hashlib
import json
import shutil
import subprocess
import tomllib
from datetime import datetime
from pathlib import Path

from salt.exceptions import CommandExecutionError

STORAGE_CONFS = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")  # the first one there counts
GRAPH_ROOT = "/var/lib/containers/storage"  # containers-storage.conf(5)
LARGEST = 511_999  # bytes; "secret data must be larger than 0 and less than 512000 bytes"
TIMEOUT = 60  # seconds
NANOSECONDS = 1_000_000_000
# Hexadecimal, because Podman's JSON replaces what is not UTF-8.
FORMAT = '{{.ID}} {{.CreatedAt.UnixNano}} {{.UpdatedAt.UnixNano}} {{printf "%x" .SecretData}} {{.Spec.Name}}'


def largest():
    """
    Return the size in bytes of the largest value that Podman takes.
    """
    return LARGEST


def digest(value):
    """
    Return what ``read`` tells instead of a value: its SHA-256, hexadecimal.

    value
        Bytes.
    """
    return hashlib.sha256(value).hexdigest()


def read():
    """
    Return Podman's secrets, ``{name: {"id", "created", "updated", "digest"}}``; none where Podman is not installed.

    ``created`` and ``updated`` are seconds since 1970, ``digest`` is the
    SHA-256 of the value. The id changes with each value.

    Raises CommandExecutionError if Podman has to be asked and does not answer.
    """
    if not shutil.which("podman"):
        return {}
    stored = _from_files()
    return _from_podman() if stored is None else stored


def create(name, value):
    """
    Give Podman a secret, in the place of one of that name if there is one.

    name
        Letters, digits and ``_.-``, as in podman-secret-create(1).

    value
        Bytes, at least one and at most ``largest()``.

    Raises CommandExecutionError with Podman's own words.
    """
    # Through standard input: the process list shows arguments to everybody.
    _podman("secret", "create", "--replace", name, "-", value=value)


def remove(names):
    """
    Take secrets away from Podman. Those that it does not have are an error.

    Raises CommandExecutionError with Podman's own words.
    """
    if names:
        _podman("secret", "rm", "--", *names)


def _from_files():
    """What Podman's files say, None if they are not there or not as we know them."""
    try:
        folder = _graph_root() / "secrets"
        index = folder / "secrets.json"
        if folder.is_dir() and not index.exists():
            return {}  # Podman has run, and nobody has given it a secret
        entries = json.loads(index.read_bytes())["secrets"].values()
        if any(entry["driver"] != "file" for entry in entries):
            return None
        data = {}
        for place in {entry["driverOptions"]["path"] for entry in entries}:
            data |= json.loads((Path(place) / "secretsdata.json").read_bytes())
        return {
            entry["name"]: {
                "id": entry["id"],
                "created": _seconds(entry["createdAt"]),
                "updated": _seconds(entry.get("updatedAt") or entry["createdAt"]),
                "digest": digest(base64.b64decode(data[entry["id"]], validate=True)),
            }
            for entry in entries
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Written this very moment, or by a Podman that we do not know: it has the lock and the knowledge.
        return None


def _graph_root():
    for path in map(Path, STORAGE_CONFS):
        if path.exists():
            storage = tomllib.loads(path.read_text(encoding="utf-8")).get("storage", {})
            return Path(storage.get("graphroot") or GRAPH_ROOT)
    return Path(GRAPH_ROOT)


def _seconds(text):
    return datetime.fromisoformat(text).timestamp()


def _from_podman():
    names = _podman("secret", "ls", "--format", "{{.Name}}").decode().splitlines()
    if not names:
        return {}
    # What its driver cannot show is there all the same, with a value that is equal to none.
    found = {name: {"id": "", "created": 0.0, "updated": 0.0, "digest": ""} for name in names}
    for line in _podman("secret", "inspect", "--showsecret", "--format", FORMAT, "--", *names).decode().splitlines():
        identity, created, updated, value, name = line.split(" ")
        found[name] = {
            "id": identity,
            "created": int(created) / NANOSECONDS,
            "updated": int(updated) / NANOSECONDS,
            "digest": digest(bytes.fromhex(value)),
        }
    return found


def _podman(*arguments, value=None):
    try:
        done = subprocess.run(["podman", *arguments], input=value, capture_output=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        # Not the error's own words: a timeout carries what Podman had printed by then.
        reason = getattr(error, "strerror", None) or f"no answer within {TIMEOUT} s"
        raise CommandExecutionError(f"podman {' '.join(arguments[:2])}: {reason}") from None
    if done.returncode != 0:
        raise CommandExecutionError(f"podman {' '.join(arguments[:2])}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
