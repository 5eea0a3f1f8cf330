"""
Ready-made policies, run as Authentik runs them: the body of a function, with its names around it.
"""

import datetime
import ipaddress
import sys
import textwrap
import types
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

expressions = load("utils", "authentik_expressions")

WEEK = 7 * 24 * 60  # minutes
ALL_DAYS = list(expressions.DAYS)
TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def run(expression, moment=None, address=None):
    """What the expression answers, and what it tells."""
    told = []
    names = {"ak_client_ip": address, "ip_network": ipaddress.ip_network, "ak_message": told.append}
    exec(f"def policy():\n{textwrap.indent(expression, '    ')}", names)  # noqa: S102 - as Authentik does

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return moment.astimezone(tz)

    real = sys.modules["datetime"]
    sys.modules["datetime"] = types.SimpleNamespace(datetime=Clock)
    try:
        return names["policy"](), told
    finally:
        sys.modules["datetime"] = real


def at(text, timezone="Europe/Berlin"):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(timezone))


@given(
    days=st.lists(st.sampled_from(ALL_DAYS), min_size=1),
    start=TIMES,
    end=TIMES,
    timezone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati"]),
    moment=st.datetimes(datetime.datetime(2020, 1, 1), datetime.datetime(2035, 1, 1), timezones=st.just(datetime.UTC)),
)
def test_the_hours_are_those_minutes_of_the_week(days, start, end, timezone, moment):
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
    if first == last:
        return
    length = (last - first) % (24 * 60)
    minutes = {(ALL_DAYS.index(day) * 1440 + first + offset) % WEEK for day in days for offset in range(length)}
    local = moment.astimezone(zoneinfo.ZoneInfo(timezone))
    minute = local.weekday() * 1440 + local.hour * 60 + local.minute
    answer, told = run(expressions.hours(days, start, end, timezone), moment)
    assert answer is (minute in minutes)
    assert bool(told) is not answer


@pytest.mark.parametrize(
    ("moment", "answer"),
    [
        ("2026-11-27T21:59", False),  # a Friday
        ("2026-11-27T22:00", True),
        ("2026-11-28T05:59", True),
        ("2026-11-28T06:00", False),
        ("2026-11-28T22:00", False),
        ("2026-11-27T05:59", False),
    ],
)
def test_hours_past_midnight_belong_to_the_day_on_which_they_begin(moment, answer):
    assert run(expressions.hours(["fri"], "22:00", "06:00", "Europe/Berlin"), at(moment))[0] is answer


@pytest.mark.parametrize("moment", ["2026-11-28T00:00", "2026-11-28T23:59"])
def test_a_whole_day_is_until_24_00(moment):
    assert run(expressions.hours(["sat"], "00:00", "24:00", "Europe/Berlin"), at(moment))[0]


def test_who_is_refused_is_told_the_hours():
    expression = expressions.hours(["fri", "mon", "mon"], "08:00", "18:00", "Europe/Berlin")
    assert run(expression, at("2026-11-28T12:00")) == (
        False,
        ["This application can be used Mon, Fri, 08:00 to 18:00 (Europe/Berlin)."],
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["monday"], "08:00", "18:00", "UTC"), "'monday' is no day: mon, tue"),
        (([], "08:00", "18:00", "UTC"), "not a list of days"),
        (("mon", "08:00", "18:00", "UTC"), "not a list of days"),
        ((["mon"], 480, "18:00", "UTC"), "480 is no time of day: write it in quotes"),
        ((["mon"], "8:00", "18:00", "UTC"), "'8:00' is no time of day"),
        ((["mon"], "08:00", "24:01", "UTC"), "'24:01' is no time of day"),
        ((["mon"], "24:00", "08:00", "UTC"), "an end"),
        ((["mon"], "08:00", "08:00", "UTC"), "no time at all"),
        ((["mon"], "08:00", "18:00", "Europe/Berln"), "no time zone; Europe/Berlin?"),
        *(((["mon"], "08:00", "18:00", one), "no time zone") for one in (None, 7, ["UTC"], "", "Europe", "../passwd")),
        ((["x"], "y", "18:00", "z"), "'x' is no day.*'y' is no time.*'z' is no time zone"),
    ],
)
def test_what_cannot_be_hours_is_refused_with_every_mistake(arguments, words):
    with pytest.raises(SaltInvocationError, match=words):
        expressions.hours(*arguments)


@given(
    address=ADDRESSES,
    others=st.lists(ADDRESSES, min_size=1, max_size=3),
    length=st.integers(0, 32),
)
def test_an_address_is_let_in_by_its_networks_alone(address, others, length):
    networks = [ipaddress.ip_network(f"{other}/{length}", strict=False) for other in others]
    answer, told = run(expressions.networks([str(network) for network in networks]), address=address)
    real = getattr(address, "ipv4_mapped", None) or address
    assert answer is any(real.version == network.version and real in network for network in networks)
    assert bool(told) is not answer


def test_an_ipv4_address_in_the_form_of_version_6_is_that_address():
    expression = expressions.networks(["10.0.0.0/8"])
    assert run(expression, address=ipaddress.ip_address("::ffff:10.1.2.3"))[0] is True
    assert run(expression, address=ipaddress.ip_address("::ffff:11.1.2.3"))[0] is False


@pytest.mark.parametrize(
    ("cidrs", "words"),
    [
        ([], "not a list"),
        ("10.0.0.0/8", "not a list"),
        (["10.0.0.1/8"], "'10.0.0.1/8' is no network: 10.0.0.0/8?"),
        (["10.0.0.0/33", "x"], "'10.0.0.0/33' is no network.*'x' is no network"),
        ([10], "10 is no network"),
        ([None], "None is no network"),
    ],
)
def test_what_cannot_be_networks_is_refused_with_every_mistake(cidrs, words):
    with pytest.raises(SaltInvocationError, match=words):
        expressions.networks(cidrs)


def test_the_server_stores_the_texts_as_they_are():
    """Q9: it strips them, and what it has would differ for ever."""
    for text in (expressions.networks(["10.0.0.0/8"]), expressions.hours(["mon"], "08:00", "18:00", "UTC")):
        assert text == text.strip()
