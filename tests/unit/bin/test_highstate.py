"""
How bin/bootstrap shows a run of Salt.
"""

import json

import pytest


@pytest.fixture
def highstate(command):
    return command("highstate.py")


def answer(*states):
    """Salt's JSON, in an order that is not the run's."""
    entries = {
        f"file_|-{state['id']}_|-name_|-managed": {
            "__run_num__": number,
            "result": True,
            "changes": {},
            "comment": "",
            **{key: value for key, value in state.items() if key != "id"},
        }
        for number, state in enumerate(states)
    }
    return json.dumps({"local": dict(reversed(entries.items()))})


def shown(highstate, capsys, verb, *states):
    highstate.show(highstate.states_in(answer(*states), []), verb)
    return capsys.readouterr().out.splitlines()


def test_a_change_is_a_line_and_what_was_right_is_only_counted(highstate, capsys):
    lines = shown(
        highstate,
        capsys,
        "changed",
        {"id": "Right already"},
        {"id": "Changed", "changes": {"mode": "0644"}, "comment": "It was\nlong", "duration": 2500},
    )
    assert lines == ["  changed  Changed: It was [2.5 s]", "2 states in 2.5 s: 1 changed, 0 failed, 0 not run"]


def test_a_failure_is_told_in_full_and_what_it_prevented_by_name(highstate, capsys):
    lines = shown(
        highstate,
        capsys,
        "changed",
        {"id": "Cause", "result": False, "comment": "first\nsecond", "__sls__": "infra.valkey", "changes": {"a": "b"}},
        {"id": "One", "result": False, "comment": "One or more requisite failed: …", "__state_ran__": False},
        {"id": "Two", "result": False, "comment": "One or more requisite failed: …", "__state_ran__": False},
    )
    margin = " " * 11
    assert lines == [
        "  FAILED   Cause (in infra.valkey)",
        f"{margin}first",
        f"{margin}second",
        f'{margin}changed nevertheless: {{"a": "b"}}',
        "  not run  because of that: One; Two",
        "3 states in 0.0 s: 0 changed, 1 failed, 2 not run",
    ]


def test_a_plan_lists_what_has_no_result_yet_with_its_diffs(highstate, capsys):
    lines = shown(
        highstate,
        capsys,
        "planned",
        {"id": "A group", "result": None, "comment": "would be added"},
        {"id": "A file", "result": None, "comment": "would change", "changes": {"/etc/x": {"diff": "-a\n+b\n"}}},
    )
    assert lines[:4] == [
        "  planned  A group: would be added",
        "  planned  A file: would change",
        " " * 11 + "-a",
        " " * 11 + "+b",
    ]


def test_a_warning_of_a_state_is_shown_although_nothing_changed(highstate, capsys):
    lines = shown(highstate, capsys, "changed", {"id": "Rootless", "warnings": ["old lingers"]})
    assert lines[0] == "  warning  Rootless: old lingers"


@pytest.mark.parametrize("refusal", [["Rendering SLS 'base:x' failed", "line 3"], "a sentence"])
def test_a_run_that_salt_refused_is_a_failure_with_salts_words(highstate, refusal):
    with pytest.raises(highstate.Failure) as failure:
        highstate.states_in(json.dumps({"local": refusal}), [])
    for line in [refusal] if isinstance(refusal, str) else refusal:
        assert line in str(failure.value)


def test_no_answer_at_all_is_a_failure_and_what_salt_logged_is_shown(highstate, capsys):
    with pytest.raises(highstate.Failure):
        highstate.states_in("Traceback: …", ["something broke"])
    assert "something broke" in capsys.readouterr().err


def test_a_state_that_takes_long_is_announced(highstate, capsys, monkeypatch):
    announced = []

    class Step:
        def __init__(self, text):
            announced.append(text)

        def __enter__(self):
            return self

        def __exit__(self, *_details):
            return None

    monkeypatch.setattr(highstate, "step", Step)
    complaints = highstate.follow(
        [
            "[INFO    ] Loading fresh modules for state activity\n",
            "[INFO    ] Running state [/etc/x] at time 21:00:00.000000\n",
            "[INFO    ] Executing state pkg.installed for [podman]\n",
            "[WARNING ] The first line\n",
            "and the second\n",
            "[INFO    ] Completed state [podman] at time 21:00:01.000000 (duration_in_ms=1.0)\n",
            "continued, but of no interest\n",
        ]
    )
    assert "pkg.installed podman" in announced
    assert complaints == ["The first line\nand the second"]
