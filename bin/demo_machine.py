"""
A machine of a demonstration: brought up, written to, and told to do things for the user to see.

Standard library only, as all of bin.
"""

import json
import os
import subprocess
import time
from pathlib import Path

from console import STARTED, Failure, say

TREE = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("RICK_CACHE", "/var/cache/rick-infra"))  # as in bin/lab
LAB = TREE / "bin/lab"
INSIDE = Path("/srv/rick-infra")  # where a lab machine shows the tree


def chapter(title):
    say(f"[{time.monotonic() - STARTED:6.1f} s] {title}")


def lab(*arguments):
    """Run bin/lab, which says itself what it does and what goes wrong."""
    done = subprocess.run([str(LAB), *arguments], check=False)
    if done.returncode != 0:
        raise Failure(f"bin/lab {arguments[0]} ended with exit code {done.returncode}; what it said is above")


class Machine:
    """A machine of bin/lab, by its name."""

    def __init__(self, name, way_out):
        self.name, self.way_out = name, way_out

    def find(self):
        """Return the machine's state (up, off) and address, or None if there is none."""
        listing = subprocess.run([str(LAB), "list"], capture_output=True, text=True, check=False)
        if listing.returncode != 0:
            raise Failure(f"bin/lab list: {listing.stderr.strip()}")
        for line in listing.stdout.splitlines()[1:]:
            name, state, _suite, address = line.split()
            if name == self.name:
                return state, address
        return None

    def delete(self):
        if self.find():
            lab("down", self.name)

    def up(self):
        """Make sure the machine is up and shows this tree; return its address."""
        known = self.find()
        if not known or known[0] != "up":
            lab("up", self.name)
            known = self.find()
        else:
            say(f"{self.name} is up at {known[1]}")
        # Not by name: another clone's machine shows that clone, under the same name.
        shown = self.run("stat", "--format=%d:%i", str(INSIDE), stdout=subprocess.PIPE)
        own = TREE.stat()
        if shown.stdout.strip() != f"{own.st_dev}:{own.st_ino}":
            raise Failure(f"the machine {self.name} shows another tree than {TREE}: start it anew with {self.way_out}")
        return known[1]

    def command(self, *command):
        """Return the command line that runs a command in the machine."""
        return [str(LAB), "exec", self.name, "--", *command]

    def run(self, *command, **options):
        """Run a command in the machine; what is done about its failure is the caller's."""
        return subprocess.run(self.command(*command), text=True, check=False, **options)

    def inside(self, *command, text=None):
        """Run a command in the machine, for the user to see; ``text`` is its standard input."""
        source = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
        done = self.run(*command, **source)
        if done.returncode != 0:
            raise Failure(
                f"{command[0]} ended with exit code {done.returncode} in the machine {self.name}; what it said is"
                f" above. Look around: sudo bin/lab exec {self.name} -- bash"
            )

    def write(self, path, text):
        """Write a file of the machine."""
        if self.run("tee", path, input=text, stdout=subprocess.DEVNULL).returncode != 0:
            raise Failure(f"{path} could not be written in the machine {self.name}; what it said is above")

    def read(self, path):
        """Return the text of a file of the machine."""
        done = self.run("cat", path, stdout=subprocess.PIPE)
        if done.returncode != 0:
            raise Failure(f"{path} could not be read in the machine {self.name}; what it said is above")
        return done.stdout

    def salt(self, *function):
        """Return what a function of Salt answers in the machine, None if it fails."""
        done = self.run("salt-call", "--out=json", *function, capture_output=True)
        return json.loads(done.stdout)["local"] if done.returncode == 0 else None

    def root_certificate(self):
        """Fetch the certificate of the machine's own authority and return the file it is in now."""
        found = self.salt("caddy.root_certificate")
        if found is None:
            raise Failure(f"Caddy of the machine {self.name} has no authority of its own: journalctl -u caddy")
        path = CACHE / f"{self.name}-authority.crt"
        path.write_text(found)
        path.chmod(0o644)  # for the users of this host who want to look
        return path
