"""
systemd's answers, read from a systemctl of our own on PATH.
"""

import json

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

units = load("utils", "units")

SYSTEMCTL = """\
#!{python}
import json, pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
answers = json.loads((here / "answers.json").read_text())
for word, (code, out, err) in answers.items():
    if word in sys.argv:
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)
"""


@pytest.fixture
def systemd(monkeypatch, tmp_path):
    """Set what systemctl and journalctl answer to a verb; ``calls`` is what they were asked."""
    import sys

    class Systemd:
        def answers(self, **answers):
            (tmp_path / "answers.json").write_text(
                json.dumps({verb.replace("_", "-"): answer for verb, answer in answers.items()})
            )

        @property
        def calls(self):
            path = tmp_path / "calls"
            return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    for name in ("systemctl", "journalctl", "systemd-analyze", "busctl"):
        (tmp_path / name).write_text(SYSTEMCTL.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    systemd = Systemd()
    systemd.answers()
    return systemd


def test_one_call_asks_about_all_units(systemd):
    answer = "Id=a.service\nActiveState=active\nMainPID=7\n\nId=b.service\nActiveState=failed\nMainPID=0\n"
    systemd.answers(show=(0, answer, ""))
    assert units.show(["a.service", "b.service"], ["ActiveState", "MainPID"]) == {
        "a.service": {"ActiveState": "active", "MainPID": "7"},
        "b.service": {"ActiveState": "failed", "MainPID": "0"},
    }
    assert systemd.calls == [
        ["systemctl", "--no-pager", "show", "--property", "Id,ActiveState,MainPID", "--", "a.service", "b.service"]
    ]


def test_an_alias_answers_under_the_name_that_was_asked(systemd):
    systemd.answers(show=(0, "Id=redis-server.service\nLoadState=loaded\n\nId=b.service\nLoadState=not-found\n", ""))
    assert units.show(["valkey.service", "b.service"], ["LoadState"]) == {
        "valkey.service": {"LoadState": "loaded"},
        "b.service": {"LoadState": "not-found"},
    }


def test_values_may_be_empty_or_hold_equals_signs_and_spaces(systemd):
    systemd.answers(show=(0, "Id=a.service\nDropInPaths=\nEnvironment=A=1 B=2\nUnitFileState=\n", ""))
    assert units.show(["a.service"], ["DropInPaths", "Environment", "UnitFileState"]) == {
        "a.service": {"DropInPaths": "", "Environment": "A=1 B=2", "UnitFileState": ""}
    }


def test_the_id_is_there_if_it_was_asked_for(systemd):
    systemd.answers(show=(0, "Id=real.service\n", ""))
    assert units.show(["alias.service"], ["Id"]) == {"alias.service": {"Id": "real.service"}}


def test_without_units_nobody_is_asked(systemd):
    assert units.show([], ["Id"]) == {}
    units.act("restart", [])
    assert systemd.calls == []


def test_an_answer_with_a_unit_too_few_is_not_taken_for_another_s(systemd):
    systemd.answers(show=(0, "Id=a.service\n", ""))
    with pytest.raises(ValueError, match="shorter"):
        units.show(["a.service", "b.service"], ["Id"])


def test_units_are_acted_on_in_one_transaction(systemd):
    systemd.answers(show=(0, "Id=a.service\n\nId=-b.service\n", ""))
    units.act("restart", ["a.service", "-b.service"])
    units.daemon_reload()
    assert [call for call in systemd.calls if "show" not in call] == [
        ["systemctl", "--no-pager", "restart", "--", "a.service", "-b.service"],
        ["systemctl", "--no-pager", "daemon-reload"],
    ]


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ("TimeoutStartUSec=5min\nTimeoutStopUSec=1min 30s\n", 390),
        ("TimeoutStartUSec=1d\nTimeoutStopUSec=1h 1.5s\n", 90001.5),
        ("TimeoutStartUSec=infinity\nTimeoutStopUSec=500ms\n", 0.5),
        ("", 0),
    ],
)
def test_systemd_is_waited_for_as_long_as_its_own_limits_allow(systemd, monkeypatch, limits, seconds):
    waited = []
    run = units.subprocess.run

    def noted(command, **options):
        waited.append((command[2], options["timeout"]))
        return run(command, **options)

    monkeypatch.setattr(units.subprocess, "run", noted)
    systemd.answers(show=(0, f"Id=a.service\n{limits}", ""))
    units.act("stop", ["a.service"])
    assert waited[-1] == ("stop", units.JOB_TIMEOUT + seconds)


def test_a_failure_has_systemd_s_words_and_the_journal_of_the_units_that_failed(systemd):
    systemd.answers(
        start=(1, "", "Job for b.service failed.\n"),
        show=(0, "Id=a.service\nActiveState=active\n\nId=b.service\nActiveState=failed\n", ""),
        **{"__unit=b.service": (0, "b: no such file\n", "")},
    )
    with pytest.raises(CommandExecutionError) as raised:
        units.act("start", ["a.service", "b.service"])
    assert str(raised.value) == ("systemctl start -- a.service b.service: Job for b.service failed.\nb: no such file")
    assert systemd.calls[-1] == [
        "journalctl",
        "--no-pager",
        "--quiet",
        "--output=cat",
        "--lines=10",
        "--unit=b.service",
    ]


def test_a_failure_without_a_failed_unit_asks_for_no_journal(systemd):
    systemd.answers(enable=(1, "", "Unit x.service does not exist.\n"), show=(0, "Id=x\nActiveState=inactive\n", ""))
    with pytest.raises(CommandExecutionError, match=r"^systemctl enable -- x: Unit x.service does not exist\.$"):
        units.act("enable", ["x"])


def test_what_systemd_says_on_standard_output_counts_too(systemd):
    systemd.answers(daemon_reload=(1, "System has not been booted with systemd\n", ""))
    with pytest.raises(CommandExecutionError, match="not been booted with systemd"):
        units.daemon_reload()


def test_a_host_without_systemctl_is_an_error_that_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandExecutionError, match=r"systemctl daemon-reload: .*No such file"):
        units.daemon_reload()


def test_a_systemctl_that_hangs_is_given_up(systemd, monkeypatch, tmp_path):
    (tmp_path / "systemctl").write_text("#!/bin/sh\nread -r _ < /dev/zero\n")
    monkeypatch.setattr(units, "JOB_TIMEOUT", 0.2)
    with pytest.raises(CommandExecutionError, match=r"systemctl daemon-reload: .*timed out"):
        units.daemon_reload()


def test_systemd_can_be_told_without_waiting(systemd):
    units.act("restart", ["a.service"], wait=False)
    assert systemd.calls == [["systemctl", "--no-pager", "restart", "--no-block", "--", "a.service"]]


def test_the_journal_of_some_units_is_read(systemd):
    systemd.answers(**{"__unit=a.service": (0, "one\ntwo\n", "")})
    assert units.journal(["a.service"], 5, since=12.9) == "one\ntwo"
    assert systemd.calls[-1][-3:] == ["--lines=5", "--since=@12", "--unit=a.service"]
    assert units.journal([]) == ""


ROWS = [
    ["a.service", "", "loaded", "active", "running", "", "/", 0, "", "/"],
    ["other.service", "", "loaded", "activating", "start", "", "/", 12, "start", "/"],
]


def test_one_glance_is_enough_for_many_units(systemd):
    systemd.answers(ListUnitsByNames=(0, json.dumps({"type": "a(ssssssouso)", "data": [ROWS]}), ""))
    assert units.glance(["a.service", "alias.service"]) == {
        "a.service": {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Job": ""},
        "alias.service": {"LoadState": "loaded", "ActiveState": "activating", "SubState": "start", "Job": "12"},
    }
    assert len(systemd.calls) == 1
    assert units.glance([]) == {}


@pytest.mark.parametrize("answer", [(1, "", "no bus"), (0, "", ""), (0, "{}", ""), (0, '{"data": [[]]}', "")])
def test_without_an_answer_of_the_bus_systemctl_is_asked(systemd, answer):
    systemd.answers(
        ListUnitsByNames=answer,
        show=(0, "Id=a.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\nJob=\n", ""),
    )
    assert units.glance(["a.service"])["a.service"]["ActiveState"] == "failed"


def test_one_process_tells_whether_all_are_calendar_events(systemd):
    systemd.answers(daily=(0, "", ""), weekly=(0, "", ""))
    assert units.not_calendar(["daily", "weekly"]) == {}
    assert systemd.calls == [["systemd-analyze", "calendar", "--", "daily", "weekly"]]
    assert units.not_calendar([]) == {}


@pytest.mark.parametrize(
    ("next_ones", "expected"), [(["never"], False), (["never", "Fri 2026-11-27 00:00:00 UTC"], True), ([], False)]
)
def test_a_calendar_event_is_to_come_unless_systemd_says_never(systemd, next_ones, expected):
    said = "\n".join(f"  Original form: x\n    Next elapse: {one}\n" for one in next_ones)
    systemd.answers(x=(0, said, ""))
    assert units.upcoming(["x"]) is expected


def test_those_that_are_no_calendar_events_are_told_each_with_its_reason(systemd):
    systemd.answers(never=(1, "", "no\n"), daily=(0, "", ""))
    assert units.not_calendar(["daily", "never"]) == {"never": "no"}
