"""
The proof that the files of a stopped Valkey can be read: a server of our own reads them.

Valkey's check programs would not do: that of 9.1 takes its own append-only files for damaged.
"""

import contextlib
import os
import subprocess
import tempfile
import threading
from pathlib import Path

from salt.exceptions import CommandExecutionError

SERVER = "valkey-server"
READY = "Ready to accept connections"
TIMEOUT = 3600  # seconds; only so that a server that hangs does not do so for ever
DATABASES = 1024  # more than any instance has; with fewer than the data's it refuses them
SAID = 5  # lines of a failed server's log in an error


@contextlib.contextmanager
def serving(data, owner):
    """
    Give the block the socket of a server that has read ``data``, and nothing but that. It writes nothing by itself.

    data
        Directory with what a Valkey has stored.

    owner
        ``(uid, gid)`` of the daemons' user: what a service has stored is read by nobody more powerful.

    Raises CommandExecutionError with the server's last words if it cannot read them.
    """
    with tempfile.TemporaryDirectory(prefix="rick-valkey-") as folder:
        os.chown(folder, *owner)
        command = [SERVER, "--port", "0", "--unixsocket", f"{folder}/s", "--dir", data, *_what_there_is(Path(data))]
        command += ["--databases", str(DATABASES), "--save", "", "--auto-aof-rewrite-percentage", "0"]
        try:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                text=True,
                errors="replace",
                user=owner[0],
                group=owner[1],
                extra_groups=[],
            )
        except OSError as error:
            raise CommandExecutionError(f"{SERVER}: {error.strerror}") from error
        deadline = threading.Timer(TIMEOUT, process.kill)
        deadline.start()
        try:
            said = []
            for line in process.stdout:  # type: ignore[union-attr] # it is a pipe
                said.append(line.strip())
                if READY in line:
                    break
            else:
                raise CommandExecutionError(f"{data}: {SERVER} cannot read it: {' '.join(said[-SAID:])}")
            yield f"{folder}/s"
        finally:
            deadline.cancel()
            process.kill()  # not asked to end: nothing has to be saved
            process.communicate()


def counts(keyspace):
    """
    Return how many keys that do not expire each database has, ``{number: count}``.

    keyspace
        ``{"db0": "keys=2,expires=0,…"}``, what INFO says of the keyspace.
    """
    found = {}
    for database, facts in keyspace.items():
        if database.startswith("db"):
            numbers = dict(fact.partition("=")[::2] for fact in facts.split(","))
            lasting = int(numbers["keys"]) - int(numbers["expires"])
            if lasting:
                found[int(database[2:])] = lasting
    return found


def _what_there_is(data):
    """The options that name the files: an append-only one counts if there is one, as for a server that has it on."""
    options = []
    for manifest in sorted(data.glob("*/*.manifest"))[:1]:
        options += ["--appendonly", "yes", "--appenddirname", manifest.parent.name]
        options += ["--appendfilename", manifest.name.removesuffix(".manifest")]
    for dump in sorted(data.glob("*.rdb"))[:1]:
        options += ["--dbfilename", dump.name]
    return options
