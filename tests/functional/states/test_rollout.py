"""
Phases of a roll-out as states: what the runner says is what Salt is told, and a plan changes nothing.
"""

import pytest


@pytest.fixture
def rollout(states, monkeypatch):
    """The states over a scripted runner: ``rollout.answers`` by function, and what was called."""

    class Scripted:
        def __init__(self):
            self.answers = {
                "plan": {"text": "wave 1:", "problems": []},
                "begin": [],
                "phase": {"passed": True},
                "end": "deploy 1: 4 hosts",
            }
            self.called = []

        def __getitem__(self, name):
            function = name.removeprefix("rollout.")

            def call(**keywords):
                self.called.append((function, keywords))
                return self.answers[function]

            return call

    made = Scripted()
    getattr(states.rollout, "begun")  # noqa: B009 - loads the module
    monkeypatch.setattr("salt.loader.runner", lambda *_arguments, **_options: made)
    return made


def test_a_plan_is_shown_and_nothing_else_is_called(rollout, states):
    found = states.rollout.begun(name="x", kind="deploy", test=True)
    assert (found.result, found.comment) == (None, "wave 1:")
    assert states.rollout.phase(name="answers", test=True).result is True
    assert states.rollout.ended(name="x", test=True).result is True
    assert [function for function, _ in rollout.called] == ["plan"]


@pytest.mark.parametrize("test_mode", [True, False])
def test_what_cannot_be_begun_fails_with_all_that_is_wrong(rollout, states, test_mode):
    rollout.answers |= {"begin": ["no", "neither"], "plan": {"text": "", "problems": ["no", "neither"]}}
    found = states.rollout.begun(name="x", kind="deploy", test=test_mode)
    assert (found.result, found.comment) == (False, "no\nneither")


def test_a_phase_that_did_not_pass_fails_with_the_verdict(rollout, states):
    rollout.answers["phase"] = {"passed": False, "verdict": "deploy 1 STOPPED at valid"}
    found = states.rollout.phase(name="valid")
    assert (found.result, found.comment) == (False, "deploy 1 STOPPED at valid")


def test_the_end_has_changes_so_that_it_is_always_shown(rollout, states):
    found = states.rollout.ended(name="x")
    assert (found.result, found.comment) == (True, "deploy 1: 4 hosts")
    assert found.changes
