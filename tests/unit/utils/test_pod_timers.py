"""
Timers of services: their files, and whose they are.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

timers = load("utils", "pod_timers")
DAILY = {"name": "notes-cleanup", "schedule": "daily", "persistent": True}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(timers, "FOLDER", str(tmp_path))
    monkeypatch.setattr(timers, "OTHER_FOLDERS", (str(tmp_path / "usr"),))
    return tmp_path


def write(folder, service, **keys):
    for unit, text in timers.texts(service, [{**DAILY, **keys}]).items():
        (folder / unit).write_text(text)


def test_a_timer_starts_the_container_of_its_name():
    text = timers.texts("notes", [DAILY])["notes-cleanup.timer"]
    for line in (
        "OnCalendar=daily",
        "AccuracySec=1s",
        "Persistent=true",
        "Unit=notes-cleanup.service",
        "WantedBy=timers.target",
    ):
        assert f"\n{line}\n" in text


def test_a_timer_may_have_several_events():
    text = timers.texts("notes", [{**DAILY, "schedule": ["Mon 03:00", "*-*-01"], "persistent": False}])
    assert "OnCalendar=Mon 03:00\nOnCalendar=*-*-01\n" in text["notes-cleanup.timer"]
    assert "\nPersistent=false\n" in text["notes-cleanup.timer"]
    assert timers.events([DAILY, DAILY, {"schedule": ["daily", "hourly"]}]) == ["daily", "hourly"]


@pytest.mark.parametrize(
    "keys",
    [
        {"name": "wiki-cleanup"},
        {"name": "notes-../x"},
        {"name": None},
        {"schedule": ""},
        {"schedule": None},
        {"schedule": "daily\nUnit=poweroff.target"},
        {"schedule": ["daily", 5]},
    ],
)
def test_what_is_no_timer_is_refused(keys):
    with pytest.raises(SaltInvocationError, match="timer "):
        timers.texts("notes", [{**DAILY, **keys}])


@given(st.text())
def test_no_schedule_adds_a_line(schedule):
    try:
        text = timers.texts("notes", [{**DAILY, "schedule": schedule}])["notes-cleanup.timer"]
    except SaltInvocationError:
        return
    assert len(text.splitlines()) == len(timers.texts("notes", [DAILY])["notes-cleanup.timer"].splitlines())


def test_timers_are_found_by_the_service_that_they_say(folder):
    write(folder, "notes")
    write(folder, "notes-b", name="notes-b-x")
    (folder / "notes-own.timer").write_text("[Timer]\n")
    (folder / "notes-link.timer").symlink_to(folder / "notes-cleanup.timer")
    assert timers.present() == {"notes-b-x.timer": "notes-b", "notes-cleanup.timer": "notes"}


def test_a_name_that_somebody_else_has_is_taken(folder):
    write(folder, "notes")
    (folder / "usr").mkdir()
    (folder / "usr/notes-daily.timer").touch()
    (folder / "notes-own.timer").write_text("[Timer]\n")
    assert timers.taken("notes", "notes-cleanup.timer") is None
    assert timers.taken("notes", "notes-new.timer") is None
    assert timers.taken("wiki", "notes-cleanup.timer") == str(folder / "notes-cleanup.timer")
    assert timers.taken("notes", "notes-own.timer") == str(folder / "notes-own.timer")
    assert timers.taken("notes", "notes-daily.timer") == str(folder / "usr/notes-daily.timer")


def test_paths_are_systemds():
    assert timers.path("a.timer") == "/etc/systemd/system/a.timer"
    assert Path(timers.link("a.timer")).parent.name == "timers.target.wants"
    assert timers.stamp("a.timer") == "/var/lib/systemd/timers/stamp-a.timer"


@pytest.mark.parametrize("obstacle", ["nothing", "file", "link"])
def test_a_timer_starts_at_boot_only_by_the_link_to_its_file(folder, obstacle):
    place = Path(timers.link("notes-cleanup.timer"))
    place.parent.mkdir()
    if obstacle == "file":
        place.write_text("")
    elif obstacle == "link":
        place.symlink_to("/dev/null")
    assert not timers.starts_at_boot("notes-cleanup.timer")
    timers.start_at_boot("notes-cleanup.timer", True)
    assert timers.starts_at_boot("notes-cleanup.timer")
    assert str(place.readlink()) == timers.path("notes-cleanup.timer")
    timers.start_at_boot("notes-cleanup.timer", False)
    assert timers.starts_at_boot("notes-cleanup.timer") is False
