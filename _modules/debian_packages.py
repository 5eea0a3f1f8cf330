"""
Debian packages, installed without their daemons being started.

A package starts its daemon as soon as it is unpacked, with the defaults it
ships: Valkey, for one, opens a TCP port. The tree wants the configuration
there first. Debian's own means is ``/usr/sbin/policy-rc.d``: a script that
answers 101 forbids every start (deb-systemd-invoke(1p), invoke-rc.d(8)).
"""

import contextlib
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError

POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_SAVED = Path("/usr/sbin/policy-rc.d.before-rick-infra")
POLICY_TEXT = """\
#!/bin/sh
# rick-infra is installing packages, and starts their daemons itself once they are configured.
# It removes this file when it is done; one left by an interrupted run goes with the next.
exit 101
"""
CONFIGURE_TIMEOUT = 600  # seconds


def missing(packages):
    """
    Return those of the packages that are not installed completely.

    packages
        List of names.

    CLI Example:

    .. code-block:: bash

        salt-call debian_packages.missing '[podman, catatonit]'
    """
    installed = __salt__["pkg.list_pkgs"]()
    return [package for package in packages if package not in installed]


def interrupted():
    """
    Return True if an earlier installation of ours was cut off and left its traces.

    CLI Example:

    .. code-block:: bash

        salt-call debian_packages.interrupted
    """
    return POLICY_SAVED.exists() or _is_ours(POLICY)


def install(packages):
    """
    Install packages and start none of their daemons; finish first what a cut-off run left half-done.

    packages
        List of names. Recommended packages are not installed along.

    Returns the versions, ``{package: {"old": ..., "new": ...}}``. Raises
    CommandExecutionError with apt's or dpkg's own words.

    CLI Example:

    .. code-block:: bash

        salt-call debian_packages.install '[podman, catatonit]'
    """
    with _daemons_held():
        # apt refuses to do anything while dpkg is half-way through something.
        command = ["dpkg", "--configure", "--pending", "--force-confdef", "--force-confold"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=CONFIGURE_TIMEOUT,
                check=False,
                stdin=subprocess.DEVNULL,
                env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise CommandExecutionError(f"dpkg --configure --pending: {error}") from error
        if done.returncode != 0:
            raise CommandExecutionError(f"dpkg --configure --pending: {done.stderr.strip()}")
        __salt__["pkg.refresh_db"](failhard=False)
        return __salt__["pkg.install"](pkgs=packages, install_recommends=False)


def release():
    """
    Take away what keeps daemons from starting, if a cut-off run left it; an administrator's own policy comes back.

    CLI Example:

    .. code-block:: bash

        salt-call debian_packages.release
    """
    if _is_ours(POLICY):
        POLICY.unlink()
    if POLICY_SAVED.exists():
        POLICY_SAVED.rename(POLICY)


@contextlib.contextmanager
def _daemons_held():
    """Put our policy in place, and back what was there; what a killed run leaves, release() takes away."""
    release()
    if POLICY.exists():
        POLICY.rename(POLICY_SAVED)
    # At once: half a file, left by a killed run, would not be known as ours.
    __utils__["textfile.write"](str(POLICY), POLICY_TEXT, mode=0o755)
    try:
        yield
    finally:
        release()


def _is_ours(path):
    return path.exists() and path.read_text(errors="replace") == POLICY_TEXT
