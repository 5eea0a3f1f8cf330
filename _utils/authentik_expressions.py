"""
Ready-made policies for Authentik: who may use an application at which hours, and from which networks.

Authentik has no such policies of its own: it runs the text of an expression, Python, as the body of a function. What is
written here says yes or no, and tells whom it refuses why.
"""

import difflib
import ipaddress
import re
import zoneinfo

from salt.exceptions import SaltInvocationError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")  # in the order of datetime.weekday()
TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")

HOURS = """\
from datetime import datetime
from zoneinfo import ZoneInfo

now = datetime.now(ZoneInfo({timezone!r}))
day, minute = now.weekday(), now.hour * 60 + now.minute
if {condition}:
    return True
ak_message({message!r})
return False"""

NETWORKS = """\
networks = [ip_network(text) for text in {networks!r}]
address = getattr(ak_client_ip, "ipv4_mapped", None) or ak_client_ip
if any(address in network for network in networks):
    return True
ak_message({message!r})
return False"""


def hours(days, start, end, timezone):
    """
    Return the expression that is true within hours of the week, by the clocks of a time zone.

    days
        Those on which the hours begin: ``[mon, tue, wed, thu, fri, sat, sun]`` or some of them.

    start, end
        ``"08:00"`` and ``"18:00"``, which is the first minute outside. An end before the start is on the next day;
        ``"24:00"`` is midnight.

    timezone
        As in the database of time zones, ``Europe/Berlin``. Summer time is that of the zone.

    Raises SaltInvocationError that names every mistake.
    """
    problems = [*_day_problems(days), *_time_problems(start, end), *_timezone_problems(timezone)]
    if problems:
        raise SaltInvocationError(f"hours: {'; '.join(problems)}")
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
    numbers = sorted({DAYS.index(day) for day in days})
    if first < last:
        condition = f"day in {numbers} and {first} <= minute < {last}"
    else:
        condition = f"(day in {numbers} and minute >= {first}) or ((day - 1) % 7 in {numbers} and minute < {last})"
    names = ", ".join(DAYS[number].capitalize() for number in numbers)
    message = f"This application can be used {names}, {start} to {end} ({timezone})."
    return HOURS.format(timezone=timezone, condition=condition, message=message)


def networks(cidrs):
    """
    Return the expression that is true for who comes from one of some networks.

    cidrs
        ``["10.0.0.0/8", "2001:db8::/32"]``. A single address is a network of its own.

    Raises SaltInvocationError that names every mistake.
    """
    if not isinstance(cidrs, list) or not cidrs:
        raise SaltInvocationError(f"networks: {cidrs!r} is not a list of networks such as [10.0.0.0/8]")
    found, problems = [], []
    for text in cidrs:
        try:
            found.append(str(ipaddress.ip_network(text if isinstance(text, str) else "")))
        except ValueError:
            problems.append(f"{text!r} is no network{_network_hint(text)}")
    if problems:
        raise SaltInvocationError(f"networks: {'; '.join(problems)}")
    message = "This application cannot be used from your network."
    return NETWORKS.format(networks=list(dict.fromkeys(found)), message=message)


def _day_problems(days):
    if not isinstance(days, list) or not days:
        return [f"days {days!r} is not a list of days such as [mon, fri]"]
    return [f"{day!r} is no day: {', '.join(DAYS)}" for day in days if day not in DAYS]


def _time_problems(start, end):
    # YAML before 1.2 takes 08:00 without quotes for a number.
    wrong = [text for text in (start, end) if not isinstance(text, str) or not TIME.fullmatch(text)]
    found = [f'{text!r} is no time of day: write it in quotes, as "08:00"' for text in wrong]
    if not wrong and start == "24:00":
        found.append('"24:00" is an end; a day starts at "00:00"')
    if not wrong and start == end:
        found.append(f'from {start} to {end} is no time at all: a whole day is "00:00" to "24:00"')
    return found


def _timezone_problems(timezone):
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError):  # a directory, not text
        meant = difflib.get_close_matches(str(timezone), sorted(zoneinfo.available_timezones()), 1)
        return [f"{timezone!r} is no time zone{f'; {meant[0]}?' if meant else ', such as Europe/Berlin'}"]
    return []


def _network_hint(text):
    """Mostly, somebody wrote an address with the length of its network."""
    try:
        return f": {ipaddress.ip_network(text, strict=False)}?"
    except ValueError:
        return ", such as 10.0.0.0/8"
