"""What the commands in bin share: how they speak, how they fail, how they install what they lack.

Standard library only: this runs on a host that has nothing but Debian's python3.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time

PATIENCE = 2.0  # seconds; what takes longer says what it is doing
STARTED = time.monotonic()


class Failure(Exception):
    """The command cannot do its job; the text is one line for the user."""


def say(text):
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


@contextlib.contextmanager
def step(text):
    """
    Say what is being done if it takes longer than PATIENCE, and how long it took.

    The first figure on the line is the time since the command began.
    """
    begun = time.monotonic()
    announced = threading.Event()

    def announce():
        announced.set()
        say(f"[{time.monotonic() - STARTED:6.1f} s] {text} …")

    timer = threading.Timer(PATIENCE, announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if announced.is_set():
        now = time.monotonic()
        say(f"[{now - STARTED:6.1f} s] {text}: done in {now - begun:.1f} s")


def apt_install(packages):
    """Install Debian packages that are missing, and say so."""
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise Failure(f"needs {', '.join(packages)}, and there is no apt-get to install them: use a Debian-family host")
    say(f"installing with apt: {' '.join(packages)}")
    # The rest is kept: a proxy may be named there only.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        with step(f"apt-get {command[0]}"):
            done = subprocess.run(
                ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
            raise Failure(f"apt-get {command[0]} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
