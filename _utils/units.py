"""
systemd units: asked and acted upon in batches, one process for all of them.
"""

import json
import re
import subprocess

from salt.exceptions import CommandExecutionError

# The one question to systemd about many units that it answers at once: 10 ms for 80 units, where show takes 170.
LIST = (
    "busctl",
    "--json=short",
    "call",
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
    "ListUnitsByNames",
    "as",
)
JOB_TIMEOUT = 300  # seconds for an answer, and for what a unit without a limit of its own does
WAITED_FOR = ("start", "stop", "restart", "try-restart", "reload-or-restart")
# What systemd calls units of time (systemd.time(7)), in seconds.
UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN = re.compile(r"([0-9.]+)(us|ms|s|min|h|d|w)(?:\s|$)")


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


def glance(units):
    """
    Return ``LoadState``, ``ActiveState``, ``SubState`` and ``Job`` (empty if there is none) of units, as ``show``.

    Much quicker than that for many units.

    Raises CommandExecutionError if systemd does not answer.
    """
    if not units:
        return {}
    try:
        done = subprocess.run(
            [*LIST, str(len(units)), *units], capture_output=True, text=True, timeout=JOB_TIMEOUT, check=False
        )
        rows = json.loads(done.stdout)["data"][0] if done.returncode == 0 else []
    except (FileNotFoundError, subprocess.TimeoutExpired, ValueError, LookupError, TypeError):
        rows = []
    if len(rows) != len(units):
        # A bus that is away, or another form of answer: systemctl has a way of its own.
        return show(units, ["LoadState", "ActiveState", "SubState", "Job"])
    # In the order asked; an alias answers with another name.
    return {
        unit: {"LoadState": row[2], "ActiveState": row[3], "SubState": row[4], "Job": str(row[7] or "")}
        for unit, row in zip(units, rows, strict=True)
    }


def daemon_reload():
    """
    Make systemd read its units again, and generators (Quadlet's among them) run.

    Raises CommandExecutionError with systemd's own words.
    """
    _systemctl("daemon-reload")


def act(verb, units, wait=True):
    """
    Start, stop, restart, try-restart, enable or disable units in one transaction and wait for the outcome.

    verb
        ``start``, ``stop``, ``restart`` or another verb of systemctl(1) that takes units.

    units
        Unit names with their suffix.

    wait
        False: return once systemd has put the work into its queue. True: however long the units' own limits
        (``TimeoutStartSec``, ``TimeoutStopSec``) allow, so that systemd's limit speaks first.

    Raises CommandExecutionError that carries systemd's words and the last
    lines of each failed unit's journal.
    """
    if not units:
        return
    try:
        patience = JOB_TIMEOUT + _allowed(units) if wait and verb in WAITED_FOR else JOB_TIMEOUT
        _systemctl(verb, *([] if wait else ["--no-block"]), "--", *units, timeout=patience)
    except CommandExecutionError as error:
        raise CommandExecutionError(f"{error}\n{_journal_of_failed(units)}".rstrip()) from error


def journal(units, lines=10, since=None):
    """
    Return the last lines of units' journal, as text; empty if there are none.

    since
        Seconds since 1970: nothing older.
    """
    if not units:
        return ""
    command = ["journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}"]
    command += [] if since is None else [f"--since=@{int(since)}"]
    command += [f"--unit={unit}" for unit in units]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=JOB_TIMEOUT, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"journalctl: {error}") from error
    return done.stdout.strip()


def not_calendar(expressions):
    """
    Return those of some texts that are no calendar events (systemd.time(7)), with systemd's words, ``{text: words}``.

    One process asks for all of them; only if something is wrong is each asked for by itself.
    """
    if not expressions or _calendar(expressions).returncode == 0:
        return {}
    answers = {expression: _calendar([expression]) for expression in expressions}
    return {expression: done.stderr.strip() for expression, done in answers.items() if done.returncode != 0}


def upcoming(expressions):
    """
    Return whether one of some calendar events (systemd.time(7)) is still to come.
    """
    said = [line.split() for line in _calendar(expressions).stdout.splitlines()]
    return any(words[:2] == ["Next", "elapse:"] and words[2:] != ["never"] for words in said)


def _calendar(expressions):
    command = ["systemd-analyze", "calendar", "--", *expressions]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=JOB_TIMEOUT, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"systemd-analyze calendar: {error}") from error


def _journal_of_failed(units):
    """What an administrator would look up next."""
    return journal([unit for unit, state in show(units, ["ActiveState"]).items() if state["ActiveState"] == "failed"])


def _allowed(units):
    """The seconds that units may take to stop and start, one after the other. Endless ones do not count."""
    limits = [
        limit for state in show(units, ["TimeoutStartUSec", "TimeoutStopUSec"]).values() for limit in state.values()
    ]
    return sum(float(number) * UNITS_OF_TIME[unit] for limit in limits for number, unit in _SPAN.findall(limit))


def _systemctl(*arguments, timeout=None):
    command = ["systemctl", "--no-pager", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout or JOB_TIMEOUT, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"systemctl {arguments[0]}: {error}") from error
    if done.returncode != 0:
        raise CommandExecutionError(f"systemctl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
