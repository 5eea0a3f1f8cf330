"""
systemd units: asked and acted upon in batches, one process for all of them.
"""

import subprocess

from salt.exceptions import CommandExecutionError

JOB_TIMEOUT = 300  # seconds; above any TimeoutStartSec the tree sets, so that systemd's own limit speaks first


def show(units, properties):
    """
    Return the given properties of the given units, ``{unit: {property: value}}``.

    Values are systemd's text. A unit that systemd does not know is there too,
    with ``LoadState=not-found`` if that property was asked for.

    units
        Unit names with their suffix, for example ``["valkey-server.service"]``.

    properties
        Names as in systemd.unit(5) and org.freedesktop.systemd1(5).

    Raises CommandExecutionError if systemd does not answer.
    """
    if not units:
        return {}
    answer = _systemctl("show", "--property", ",".join(["Id", *properties]), "--", *units)
    # One block a unit, in the order asked; an alias answers with another Id, so order is what identifies it.
    blocks = answer.strip("\n").split("\n\n")
    return {
        unit: {
            key: value for key, _, value in (line.partition("=") for line in block.splitlines()) if key in properties
        }
        for unit, block in zip(units, blocks, strict=True)
    }


def daemon_reload():
    """
    Make systemd read its units again, and generators (Quadlet's among them) run.

    Raises CommandExecutionError with systemd's own words.
    """
    _systemctl("daemon-reload")


def act(verb, units):
    """
    Start, stop, restart, try-restart, enable or disable units in one transaction and wait for the outcome.

    verb
        ``start``, ``stop``, ``restart`` or another verb of systemctl(1) that takes units.

    units
        Unit names with their suffix.

    Raises CommandExecutionError that carries systemd's words and the last
    lines of each failed unit's journal.
    """
    if not units:
        return
    try:
        _systemctl(verb, "--", *units)
    except CommandExecutionError as error:
        raise CommandExecutionError(f"{error}\n{_journal(units)}".rstrip()) from error


def _journal(units):
    """The last lines of the units that failed: what an administrator would look up next."""
    failed = [unit for unit, state in show(units, ["ActiveState"]).items() if state["ActiveState"] == "failed"]
    if not failed:
        return ""
    command = ["journalctl", "--no-pager", "--output=cat", "--lines=10"]
    command += [f"--unit={unit}" for unit in failed]
    return subprocess.run(command, capture_output=True, text=True, timeout=JOB_TIMEOUT, check=False).stdout.strip()


def _systemctl(*arguments):
    command = ["systemctl", "--no-pager", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=JOB_TIMEOUT, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"systemctl {arguments[0]}: {error}") from error
    if done.returncode != 0:
        raise CommandExecutionError(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
