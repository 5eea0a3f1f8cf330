"""
Keys of one prefix: found, written to a file that is proven, restored from it, and deleted.

The file has a line of JSON a key, with what ``DUMP`` says of it in base64, between a line that says whose they are and
one with their number and a SHA-256 of all before. ``RESTORE`` takes nothing that does not carry its own checksum.
"""

import base64
import hashlib
import json
import os
import secrets
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from salt.exceptions import CommandExecutionError

FOLDER = "/var/lib/rick-infra/archive"
FORMAT = "rick-infra valkey keys 1"
TIMEOUT = 300  # seconds for one answer; a single value may be half a gigabyte
BATCH = 100  # keys in one exchange
SCANNED = 1000  # keys that one SCAN looks at: short enough not to keep other clients waiting
SIZES = {"string": "STRLEN", "list": "LLEN", "set": "SCARD", "hash": "HLEN", "zset": "ZCARD", "stream": "XLEN"}
SHOWN = 5  # keys in an error


def folder(service):
    """
    Return the directory of a service's archives.
    """
    return f"{FOLDER}/{service}"


def has_keys(server, prefix):
    """
    Return whether any key begins with the prefix, in any numbered database.

    server
        As from ``valkey_server.server``.
    """
    client = server.client(TIMEOUT)
    try:
        return any(True for _ in _batches(client, prefix))
    finally:
        client.close()


def delete(server, prefix):
    """
    Delete all keys that begin with the prefix.
    """
    client = server.client(TIMEOUT)
    try:
        for _, keys in _batches(client, prefix):
            client.ask_all([("UNLINK", *keys)])
    finally:
        client.close()


def write(server, prefix, service):
    """
    Write all keys that begin with the prefix to a new archive of a service, prove it, and return its path.

    The proof: the file is read back, and each value is restored once under a key that is deleted again, where it has
    to have the type and the number of elements that it had.

    Raises CommandExecutionError if that fails; nothing is left of the archive then.
    """
    target = Path(folder(service))
    client = server.client(TIMEOUT)
    try:
        for place in reversed((target, *target.parents)):
            if not place.is_dir():
                place.mkdir(mode=0o700)
        descriptor, staged = tempfile.mkstemp(dir=target, prefix=".valkey.", suffix=".unfinished")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as stream:
                _write(client, prefix, service, stream)
                stream.flush()
                os.fsync(descriptor)
            _prove(client, prefix, service, staged)
            final = target / f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-valkey.keys"
            Path(staged).rename(final)
        finally:
            Path(staged).unlink(missing_ok=True)
    except OSError as error:
        raise CommandExecutionError(f"archive of valkey user {service}: {target}: {error.strerror}") from error
    finally:
        client.close()
    return str(final)


def restore(server, service, path):
    """
    Bring the keys of an archive back and return their number, without those that have expired since.

    Raises CommandExecutionError if the archive is damaged or of another service, if a key exists already, or if the
    server refuses one; nothing has been restored then.
    """
    _check(service, path)
    client = server.client(TIMEOUT)
    restored = []
    try:
        taken = []
        for database, batch in _records(path):
            client.select(database)
            found = client.ask_all([("EXISTS", one["key"]) for one in batch])
            taken += [_shown(one["key"]) for one, exists in zip(batch, found, strict=True) if exists]
        if taken:
            raise CommandExecutionError(
                f"{path}: {len(taken)} of its keys exist already ({', '.join(taken[:SHOWN])}): nothing was restored"
            )
        try:
            for database, batch in _records(path):
                client.select(database)
                restored += [(database, one["key"]) for one in batch]
                client.ask_all([("RESTORE", one["key"], *_lifetime(one)) for one in batch])
            return _existing(client, restored)
        except CommandExecutionError:
            for database, key in restored:
                client.select(database)
                client.ask_all([("UNLINK", key)])
            raise
    finally:
        client.close()


def _lifetime(record):
    if record["expires"] is None:
        return (0, record["value"])
    return (record["expires"], record["value"], "ABSTTL")


def _existing(client, keys):
    number = 0
    for database, key in keys:
        client.select(database)
        number += client.ask_all([("EXISTS", key)])[0]
    return number


def _batches(client, prefix):
    """All keys that begin with the prefix, each once: ``(database, [key])``, and that database is selected."""
    pattern = "".join(f"\\{character}" if character in r"*?[]^\\" else character for character in prefix) + "*"
    keyspace = client.ask("INFO", "keyspace")
    databases = [int(line[2:].partition(":")[0]) for line in keyspace.splitlines() if line.startswith("db")]
    for database in databases:
        client.select(database)
        cursor, seen = b"0", set()
        while True:
            cursor, keys = client.ask_all([("SCAN", cursor, "MATCH", pattern, "COUNT", SCANNED)])[0]
            new = [key for key in dict.fromkeys(keys) if key not in seen]  # SCAN may tell of a key twice
            seen.update(new)
            for first in range(0, len(new), BATCH):
                yield database, new[first : first + BATCH]
            if cursor == b"0":
                break


def _write(client, prefix, service, stream):
    digest, number = hashlib.sha256(), 0

    def put(entry):
        line = json.dumps(entry).encode() + b"\n"
        digest.update(line)
        stream.write(line)

    put({"format": FORMAT, "service": service, "prefix": prefix})
    for database, keys in _batches(client, prefix):
        commands = [(command, key) for key in keys for command in ("TYPE", "PEXPIRETIME", "DUMP")]
        answers = client.ask_all(commands)
        kinds = [kind.decode() for kind in answers[0::3]]
        sizes = _sizes(client, keys, kinds)
        for key, kind, expires, value, size in zip(keys, kinds, answers[1::3], answers[2::3], sizes, strict=True):
            if value is None:
                continue  # has expired since
            put(
                {
                    "database": database,
                    "key": base64.b64encode(key).decode(),
                    "type": kind,
                    "size": size,
                    "expires": expires if expires >= 0 else None,
                    "value": base64.b64encode(value).decode(),
                }
            )
            number += 1
    stream.write(json.dumps({"keys": number, "sha256": digest.hexdigest()}).encode() + b"\n")


def _sizes(client, keys, kinds):
    """The number of elements of each key, None where its type has none that we know of."""
    known = [(SIZES[kind], key) for key, kind in zip(keys, kinds, strict=True) if kind in SIZES]
    answers = iter(client.ask_all(known))
    return [next(answers) if kind in SIZES else None for kind in kinds]


def _prove(client, prefix, service, path):
    _check(service, path)
    scratch = f"{prefix}rick-infra:{secrets.token_hex()}".encode()  # below the prefix: a killed run leaves it there
    client.select(0)
    try:
        for _, batch in _records(path):
            for one in batch:
                _, kind = client.ask_all([("RESTORE", scratch, 0, one["value"], "REPLACE"), ("TYPE", scratch)])
                size = _sizes(client, [scratch], [kind.decode()])[0]
                # One that was just about to expire was counted after it was gone.
                if (kind.decode(), size) != (one["type"], one["size"]) and one["expires"] is None:
                    raise CommandExecutionError(
                        f"archive of valkey user {service}: {_shown(one['key'])} is a {one['type']} of {one['size']} "
                        f"and comes back as a {kind.decode()} of {size}: nothing was deleted"
                    )
    finally:
        client.ask_all([("UNLINK", scratch)])


def _check(service, path):
    """Raise CommandExecutionError unless the archive is whole and the service's."""
    digest, number, last = hashlib.sha256(), -1, b""
    try:
        with Path(path).open("rb") as stream:
            head = json.loads(stream.readline())
            stream.seek(0)
            for line in stream:
                if last:
                    digest.update(last)
                    number += 1
                last = line
            tail = json.loads(last)
    except OSError as error:
        raise CommandExecutionError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CommandExecutionError(f"{path}: not an archive of valkey keys, or not all of it") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise CommandExecutionError(f"{path}: not an archive of valkey keys")
    if tail != {"keys": number, "sha256": digest.hexdigest()}:
        raise CommandExecutionError(f"{path}: the archive is damaged")
    if head["service"] != service:
        raise CommandExecutionError(f"{path}: holds keys of {head['service']}, not of {service}")


def _records(path):
    """The keys of an archive, as ``(database, [record])``."""
    batch = []
    with Path(path).open("rb") as stream:
        stream.readline()
        for line in stream:
            record = json.loads(line)
            if "key" not in record:
                break
            record["key"] = base64.b64decode(record["key"])
            record["value"] = base64.b64decode(record["value"])
            if batch and (batch[0]["database"] != record["database"] or len(batch) == BATCH):
                yield batch[0]["database"], batch
                batch = []
            batch.append(record)
    if batch:
        yield batch[0]["database"], batch


def _shown(key):
    return key.decode(errors="backslashreplace")
