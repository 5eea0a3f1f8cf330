"""
systemd timers of services: what their files say, where they are, whose they are.
"""

import re
from pathlib import Path

from salt.exceptions import SaltInvocationError

FOLDER = "/etc/systemd/system"
WANTS = "timers.target.wants"
STAMPS = "/var/lib/systemd/timers"  # when persistent timers ran last
# Where somebody else may have a timer of that name (systemd.unit(5)).
OTHER_FOLDERS = ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
HEADER = "# Written by Salt (pod.declared) for service {service}. Changes made here are undone by the next run."
_OWNER = re.compile(r"^# Written by Salt \(pod\.declared\) for service ([a-z0-9_-]+)\.", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,200}")

# Without AccuracySec systemd starts within a minute of the time: every ten seconds is once a minute (systemd.timer(5)).
TEXT = """\
{header}
[Unit]
Description=When {name} of service {service} runs

[Timer]
{schedule}
AccuracySec=1s
Persistent={persistent}
Unit={name}.service

[Install]
WantedBy=timers.target
"""


def texts(service, timers):
    """
    Return the text of each timer's file, ``{unit: text}``.

    service
        Name of the service.

    timers
        A list of ``{"name", "schedule", "persistent"}``: the name of the container that it starts, one or several
        calendar events (systemd.time(7)), and whether a time that passed while the host was off is made up for.

    Raises SaltInvocationError that names every mistake.
    """
    found, problems = {}, []
    for timer in timers:
        name, schedule = timer.get("name"), timer.get("schedule")
        events = schedule if isinstance(schedule, list) else [schedule]
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not name.startswith(f"{service}-"):
            problems.append(f"timer {name!r}: its name is {service}- and lower-case letters, digits, _ and -")
        elif not all(isinstance(event, str) and event.strip() and event.isprintable() for event in events):
            problems.append(f"timer {name}: schedule {schedule!r} is not a calendar event, for example daily")
        else:
            lines = [f"OnCalendar={event.strip().replace('%', '%%')}" for event in events]
            found[f"{name}.timer"] = TEXT.format(
                header=HEADER.format(service=service),
                name=name,
                service=service,
                schedule="\n".join(lines),
                persistent="true" if timer.get("persistent") else "false",
            )
    if problems:
        raise SaltInvocationError("; ".join(problems))
    return found


def events(timers):
    """
    Return the calendar events of timers, each once.
    """
    schedules = [timer["schedule"] for timer in timers]
    return list(dict.fromkeys(event for one in schedules for event in (one if isinstance(one, list) else [one])))


def events_of(text):
    """
    Return the calendar events of a timer's file, by its text.
    """
    lines = [line.partition("=") for line in text.splitlines()]
    return [event.replace("%%", "%") for key, _, event in lines if key == "OnCalendar"]


def path(unit):
    """
    Return the path of a timer's file.
    """
    return f"{FOLDER}/{unit}"


def link(unit):
    """
    Return the path of the link that starts a timer at boot.
    """
    return f"{FOLDER}/{WANTS}/{unit}"


def starts_at_boot(unit):
    """
    Return whether a timer starts at boot: its link is there and leads to its file. None if something else is there.
    """
    place = Path(link(unit))
    if place.is_symlink() and str(place.readlink()) == path(unit):
        return True
    return None if place.is_symlink() or place.exists() else False


def start_at_boot(unit, wanted):
    """
    Make a timer start at boot, or not. What is in the place of its link goes.
    """
    place = Path(link(unit))
    place.unlink(missing_ok=True)
    if wanted:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path(unit))


def stamp(unit):
    """
    Return the path of the file by which systemd remembers when a persistent timer ran last.
    """
    return f"{STAMPS}/stamp-{unit}"


def present():
    """
    Return the timers of services that have a file here, ``{unit: service}``.
    """
    owners = {file.name: _owner(file) for file in sorted(Path(FOLDER).glob("*.timer"))}
    return {unit: owner for unit, owner in owners.items() if owner}


def taken(service, unit):
    """
    Return the path of somebody else's timer of this name, None if there is none.
    """
    own = Path(path(unit))
    if (own.exists() or own.is_symlink()) and _owner(own) != service:
        return str(own)
    return next((f"{folder}/{unit}" for folder in OTHER_FOLDERS if (Path(folder) / unit).exists()), None)


def _owner(file):
    if file.is_symlink() or not file.is_file():
        return None
    found = _OWNER.search(file.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None
