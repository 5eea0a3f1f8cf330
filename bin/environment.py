"""
Python environments made from locked requirements: Salt's own on a host, and the tests'.

An environment is whole or it is made again: its stamp is written last and says what it was made from.
Standard library only: this runs on a host that has nothing but Debian's python3.
"""

import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from console import Failure, apt_install, say, step

CONF = Path(__file__).resolve().parent.parent / "conf"
INSTALLER = CONF / "installer.lock"
STAMP = ".made-from"
RECIPE = "1"  # counted up when an environment made by an earlier version of this file has to be made again
# What would lead Python or pip to something other than the environment that is being made.
MISLEADING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
# Settings of the host's pip that decide whether it reaches its packages, and uv's names for them.
PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY"}


def digest(lock):
    """Return what an environment made from ``lock`` by this Python depends on, as a hexadecimal digest."""
    total = hashlib.sha256(f"{RECIPE} {platform.python_version_tuple()[:2]} {platform.machine()}\n".encode())
    for path in (INSTALLER, lock):
        total.update(path.read_bytes())
    return total.hexdigest()


def is_current(directory, lock):
    """Return whether the environment in ``directory`` is whole and made from ``lock``."""
    stamp = directory / STAMP
    # A python that is gone, after a new release of Debian, leaves a dangling link behind.
    return stamp.exists() and stamp.read_text() == digest(lock) and (directory / "bin/python").exists()


def make(directory, lock, purpose):
    """
    Make the environment in ``directory`` from ``lock``, unless it is there already.

    ``purpose`` completes "make an environment for …". Returns whether it was made. Raises Failure.
    """
    if is_current(directory, lock):
        return False
    install_venv()
    with alone(directory.parent):
        if is_current(directory, lock):
            return False
        say(f"making an environment for {purpose} in {directory}")
        if directory.exists():
            shutil.rmtree(directory)
        with step("create an empty environment"):
            run(sys.executable, "-m", "venv", str(directory))
        with step(f"install the installer ({INSTALLER.name})"):
            run(str(directory / "bin/pip"), "install", "--quiet", "--require-hashes", "--requirement", str(INSTALLER))
        # Beside the environment's files, so that they can be linked rather than copied.
        cache = directory / ".cache"
        with step(f"download and install {lock.name}"):
            install(directory, lock, cache)
        shutil.rmtree(cache)
        # A power cut must not leave a stamp on files that never reached the disk.
        os.sync()
        (directory / STAMP).write_text(digest(lock))
    return True


@contextlib.contextmanager
def alone(folder):
    """
    Wait until nobody else makes an environment in ``folder``, and keep others waiting.

    The tools that are run inherit the lock: one that outlives a killed run still writes, and must end first.
    """
    held = os.open(folder, os.O_RDONLY)  # a folder can be locked, and so no other file is needed
    try:
        with step("wait for another run that makes an environment"):
            fcntl.flock(held, fcntl.LOCK_EX)
        os.set_inheritable(held, True)
        yield
    finally:
        os.close(held)


def install_venv():
    """Make sure that this Python can make environments; Debian has that in a package of its own."""
    if importlib.util.find_spec("ensurepip"):
        return
    if Path(sys.executable).resolve().parent != Path("/usr/bin"):
        raise Failure(f"{sys.executable} has no ensurepip module: use a complete Python, or Debian's /usr/bin/python3")
    if os.geteuid() != 0:
        raise Failure("python3-venv is not installed: sudo apt-get install python3-venv")
    # The journal of unfinished work; as long as a killed run has left one, apt refuses everything.
    if any(Path("/var/lib/dpkg/updates").iterdir()):
        with step("finish an interrupted installation (dpkg --configure -a)"):
            run("dpkg", "--configure", "-a", environment={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    apt_install(["python3-venv"])


def install(directory, lock, cache):
    """Install exactly what ``lock`` lists, each file checked against its hash."""
    environment = {**clean_environment(), **settings_for_uv(directory), "UV_CACHE_DIR": str(cache)}
    # What pip trusts on this host, uv shall trust too; and no Python but the environment's own is wanted.
    environment |= {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"}
    run(
        *(str(directory / "bin/uv"), "pip", "install", "--quiet", "--python", str(directory / "bin/python")),
        *("--no-deps", "--require-hashes", "--no-build-isolation-package", "salt", "--requirement", str(lock)),
        environment=environment,
        cwd=directory,  # away from a pyproject.toml that uv would read
    )


def settings_for_uv(directory):
    """Return as environment variables those settings of this host's pip without which uv would not get through."""
    found = {}
    for line in run(str(directory / "bin/pip"), "config", "list").splitlines():
        name, _, value = line.partition("=")
        # Later lines outrank earlier ones, except that the environment outranks all.
        key = name.rpartition(".")[2]
        if key in PIP_TO_UV and name.startswith(("global.", "install.", ":env:.")):
            found[name.startswith(":env:."), PIP_TO_UV[key]] = ast.literal_eval(value)
    chosen = {variable: value for (_, variable), value in sorted(found.items())}
    return {variable: value for variable, value in chosen.items() if variable not in os.environ}


def clean_environment():
    """Return this process' environment without what would mislead Python, pip or uv."""
    environment = {key: value for key, value in os.environ.items() if key not in MISLEADING}
    return {**environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_NO_CACHE_DIR": "1"}


def run(*command, environment=None, cwd=None):
    """Run a command and return its output; what it complains about is shown only if it fails."""
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment or clean_environment(),
        cwd=cwd,
        close_fds=False,  # the lock, see alone(); Python marks all else as not to be inherited
    )
    if done.returncode != 0:
        sys.stderr.write(done.stderr or done.stdout)
        raise Failure(f"{' '.join(command[:3])} … failed with exit code {done.returncode}; what it said is above")
    return done.stdout
