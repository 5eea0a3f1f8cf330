"""
The states of a service's pod, over the real modules. Files are real; systemd, Podman and the clock follow a script.
"""

import pytest
from quadlet_host import CLEANUP, FILES, TIMERS, UNITS, changed, container, generation, health, install, pod
from salt.exceptions import CommandExecutionError
from tree import load

states = load("states", "pod")
URL = "http://127.0.0.1:1/health"
BOTH_MODES = pytest.mark.parametrize("test_mode", [True, False])


class Clock:
    """A clock that moves when somebody sleeps. ``then`` happens after so many seconds."""

    def __init__(self):
        self.now = 0.0
        self.later = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        for moment, act in list(self.later):
            if self.now >= moment:
                self.later.remove((moment, act))
                act()

    def after(self, seconds, act):
        self.later.append((self.now + seconds, act))


@pytest.fixture
def host(tmp_path, monkeypatch, results):
    found = install(tmp_path, monkeypatch, results)
    found.clock = Clock()
    monkeypatch.setattr(health, "time", found.clock)
    monkeypatch.setattr(states, "__running__", {}, raising=False)
    for name in ("__salt__", "__utils__", "__context__", "__opts__"):
        value = {"__salt__": found.salt, "__utils__": found.utils, "__context__": found.context}.get(
            name, found.options
        )
        monkeypatch.setattr(states, name, value, raising=False)
    return found


def run(host, units=UNITS, timers=(), **arguments):
    """The three states of one run, on a fresh context."""
    host.context.clear()
    host.done.clear()
    answers = [states.declared("notes", units, timers)]
    if answers[-1]["result"] is not False:
        answers.append(states.started("notes", FILES))
    if answers[-1]["result"] is not False:
        answers.append(states.healthy("notes", FILES, URL, digest="d", **arguments))
    return answers


@pytest.fixture
def notes(host):
    """A service that is healthy."""
    assert [answer["result"] for answer in run(host, [*UNITS, CLEANUP], TIMERS)] == [True, True, True]
    return host


@BOTH_MODES
def test_a_healthy_service_is_no_change(notes, test_mode):
    notes.options["test"] = test_mode
    answers = run(notes, [*UNITS, CLEANUP], TIMERS)
    assert [answer["result"] for answer in answers] == [True, True, True]
    assert [answer["changes"] for answer in answers] == [{}, {}, {}]
    assert notes.done == []


def test_what_is_planned_is_what_is_changed_on_a_virgin_host(host):
    host.options["test"] = True
    planned = run(host, [*UNITS, CLEANUP], TIMERS)
    assert [answer["result"] for answer in planned] == [None, None, True]
    assert host.done == []
    assert list(host.folder.iterdir()) == []
    host.options["test"] = False
    done = run(host, [*UNITS, CLEANUP], TIMERS)
    assert [answer["changes"].keys() for answer in planned] == [answer["changes"].keys() for answer in done]


def test_a_service_that_takes_a_while_is_waited_for(host):
    host.answer = "does not answer"
    host.clock.after(30, lambda: setattr(host, "answer", None))
    answer = run(host)[-1]
    assert answer["result"] is True
    assert 30 <= host.clock.now < 32


def test_the_health_of_a_container_is_waited_for(host):
    original = host.run

    def start(service):
        original(service)
        if service == "notes-web.service":
            host.containers[service]["starting"] = True
            host.clock.after(5, lambda: host.containers[service].update(starting=False))

    host.run = start
    assert run(host)[-1]["result"] is True
    assert host.clock.now >= 5


def test_a_job_that_is_still_to_be_done_is_waited_for(host):
    """Between the order and the stop, what runs is the old container, active and well."""
    run(host)
    host.context.clear()
    host.systemd["notes-web.service"]["Job"] = "123"
    host.clock.after(3, lambda: host.systemd["notes-web.service"].update(Job=""))
    assert states.healthy("notes", FILES, URL)["result"] is True
    assert host.clock.now >= 3


def test_the_first_time_nothing_is_taken_back_and_the_pod_is_left_for_a_look(host):
    host.answer = "500"
    host.journal = "OSError: [Errno 30] Read-only file system: '/x'"
    answer = run(host, timeout=20)[-1]
    assert answer["result"] is False
    for words in ("answers 500", "read_only: false", "Errno 30"):
        assert words in answer["comment"]
    assert host.clock.now < 22
    assert host.containers["notes-web.service"]["state"] == "running"
    assert generation.show("notes") is None
    assert generation.refused("notes", "d") is None


def test_what_does_not_become_healthy_is_taken_back_and_not_tried_again(notes):
    before = notes.text("notes-web.container")

    def answers(_url):
        return "500" if "Exec=new" in notes.text("notes-web.container") else None

    notes.utils["http_answer.wrong"] = answers
    answer = run(notes, [*changed(Exec="new"), CLEANUP], TIMERS, timeout=20)[-1]
    assert answer["result"] is False
    assert "the new definition did not become healthy; rolled back to the last healthy one" in answer["comment"]
    assert "answers 500" in answer["comment"]
    assert notes.text("notes-web.container") == before
    assert "answers 500" in generation.refused("notes", "d")
    assert generation.refused("notes", "d2") is None
    notes.context.clear()
    assert pod.start_changes("notes", FILES) == {}


def test_a_generation_that_is_not_healthy_any_more_is_said(notes):
    notes.answer = "500"
    answer = run(notes, [*changed(Exec="new"), CLEANUP], TIMERS, timeout=20)[-1]
    assert answer["result"] is False
    assert "not healthy now either" in answer["comment"]


@pytest.mark.parametrize("rollback", [True, False])
def test_rollback_can_be_turned_off(notes, rollback):
    notes.answer = "500"
    run(notes, [*changed(Exec="new"), CLEANUP], TIMERS, timeout=5, rollback=rollback)
    assert ("Exec=new" in notes.text("notes-web.container")) is not rollback


def test_a_unit_that_failed_for_good_is_not_waited_for(notes):
    notes.obedient = True
    original = notes.run

    def start(service):
        original(service)
        if service == "notes-web.service" and "Exec=new" in notes.text("notes-web.container"):
            notes.systemd[service].update(ActiveState="failed", SubState="failed", Result="exit-code")

    notes.run = start
    answer = run(notes, [*changed(Exec="new"), CLEANUP], TIMERS, timeout=100)[-1]
    assert answer["result"] is False
    assert "notes-web.service: failed (failed), last result: exit-code" in answer["comment"]
    assert notes.clock.now < 10


def test_what_nobody_changed_is_restarted_and_not_taken_back(notes):
    notes.answer = "500"
    begin = notes.act

    def cured(verb, services, wait=True):
        begin(verb, services, wait)
        notes.answer = None

    notes.utils["units.act"] = cured
    notes.options["test"] = True
    planned = run(notes, [*UNITS, CLEANUP], TIMERS)[-1]
    assert planned["result"] is None
    notes.options["test"] = False
    answer = run(notes, [*UNITS, CLEANUP], TIMERS)[-1]
    assert answer["result"] is True
    assert answer["changes"] == planned["changes"]
    assert set(answer["changes"]) == {"notes.pod", "notes-web.container"}
    assert generation.refused("notes", "d") is None


def test_one_bad_answer_restarts_nothing(notes):
    notes.answer = "502"
    notes.clock.after(2, lambda: setattr(notes, "answer", None))
    answer = run(notes, [*UNITS, CLEANUP], TIMERS)[-1]
    assert (answer["result"], answer["changes"]) == (True, {})


def test_a_failure_without_a_change_keeps_the_definition(notes):
    notes.answer = "500"
    answer = run(notes, [*UNITS, CLEANUP], TIMERS, timeout=20)[-1]
    assert answer["result"] is False
    assert "rolled back" not in answer["comment"]
    assert generation.refused("notes", "d") is None


def test_a_run_that_was_killed_in_the_middle_is_finished_by_the_next(notes):
    pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    notes.options["test"] = True
    planned = run(notes, [*changed(Exec="new"), CLEANUP], TIMERS)
    notes.options["test"] = False
    answers = run(notes, [*changed(Exec="new"), CLEANUP], TIMERS)
    assert [answer["changes"] for answer in answers] == [answer["changes"] for answer in planned]
    assert "notes-web.container" in answers[1]["changes"]


def test_without_its_memory_a_service_converges_and_is_kept_again(notes):
    generation.remove("notes")
    assert [answer["changes"] for answer in run(notes, [*UNITS, CLEANUP], TIMERS)] == [{}, {}, {}]
    assert generation.show("notes")


def refused(host):
    host.utils["http_answer.wrong"] = lambda _: "500" if "Exec=new" in host.text("notes-web.container") else None
    run(host, [*changed(Exec="new"), CLEANUP], TIMERS, timeout=5)
    host.context.clear()
    host.done.clear()


def test_a_refused_definition_fails_and_changes_nothing(notes):
    refused(notes)
    answer = states.refused("notes", "it answered 500")
    assert answer["result"] is False
    assert answer["changes"] == {}
    for words in ("it answered 500", "generation.retry notes", "runs"):
        assert words in answer["comment"]
    assert notes.done == []


def test_what_runs_instead_of_a_refused_definition_is_kept_running(notes):
    refused(notes)
    notes.act("stop", ["notes-web.service"])
    answer = states.refused("notes", "it answered 500")
    assert answer["result"] is False
    assert "notes-web.container" in answer["changes"]
    assert "notes-web.service" in notes.containers


def test_a_rollback_that_was_killed_is_finished_by_the_next_run(notes):
    before = notes.text("notes-web.container")
    pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    pod.start("notes", FILES)
    generation.refuse("notes", "d", "it answers 500")
    notes.context.clear()
    notes.options["test"] = True
    assert "would be put right" in states.refused("notes", "x")["comment"]
    notes.options["test"] = False
    assert states.refused("notes", "x")["result"] is False
    assert notes.text("notes-web.container") == before
    assert generation.deviations("notes") == {}


def test_what_a_failed_run_has_changed_is_put_back_without_a_start(notes):
    """An earlier state wrote something, a later one failed, and nothing was started."""
    before = notes.text("notes-web.container")
    pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    notes.context.clear()
    notes.options["test"] = True
    assert states.put_back("notes")["changes"] == {}
    assert "Exec=new" in notes.text("notes-web.container")
    notes.options["test"] = False
    notes.done.clear()
    answer = states.put_back("notes")
    assert answer["result"] is True
    assert str(notes.folder / "notes-web.container") in answer["changes"]
    assert notes.text("notes-web.container") == before
    assert [done for done in notes.done if done[0] in ("start", "restart")] == []
    assert states.put_back("notes")["changes"] == {}


def test_before_the_first_healthy_run_there_is_nothing_to_put_back(host):
    pod.declare("notes", UNITS)
    assert states.put_back("notes") == {"name": "notes", "result": True, "changes": {}, "comment": "notes is as it was"}
    assert (host.folder / "notes-web.container").exists()


def test_that_it_cannot_be_put_back_is_said(notes):
    pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    notes.context.clear()
    notes.images.clear()
    answer = states.put_back("notes")
    assert (answer["result"], "is not on this host any more" in answer["comment"]) == (False, True)


def test_a_refused_definition_without_a_generation_says_so(notes):
    pod.declare("notes", UNITS)
    generation.remove("notes")
    assert "no healthy generation" in states.refused("notes", "x")["comment"]


def test_an_image_that_changes_is_told_with_the_dump(notes):
    notes.images["localhost/x:1"] = "new"
    answer = states.started("notes", FILES, postgres="notes")
    assert answer["result"] is True
    assert "/dumps/notes" in answer["comment"]


def test_a_plan_names_the_images_that_are_missing(notes):
    notes.options["test"] = True
    states.declared("notes", [*changed(Image="registry.test/y:1"), CLEANUP], TIMERS)
    assert "registry.test/y:1" in states.started("notes", FILES)["comment"]


def test_a_service_is_stopped_and_stays_so(notes):
    notes.options["test"] = True
    planned = states.stopped("notes", UNITS)
    assert planned["result"] is None
    notes.options["test"] = False
    assert states.stopped("notes", UNITS)["changes"] == planned["changes"]
    assert states.stopped("notes", UNITS)["changes"] == {}
    assert set(pod.files("notes")) == set(FILES)


def test_a_new_definition_that_cannot_be_started_leaves_the_last_healthy_one(notes):
    before = {path.name: path.read_text() for path in notes.folder.iterdir()}

    def no_image(*_):
        raise CommandExecutionError("registry.test: no such image")

    notes.utils["quadlet_podman.pull"] = no_image
    notes.context.clear()
    units = [*changed(Image="registry.test/new:1"), CLEANUP]
    states.declared("notes", units, TIMERS)
    answer = states.started("notes", FILES, units=units, timers=TIMERS, rollback=True)
    assert answer["result"] is False
    for words in ("no such image", "The last healthy one runs on"):
        assert words in answer["comment"]
    assert {path.name: path.read_text() for path in notes.folder.iterdir()} == before
    assert generation.refused("notes", "d") is None
    assert notes.containers["notes-web.service"]["state"] == "running"


def test_a_service_is_removed_as_planned(notes):
    notes.options["test"] = True
    planned = states.absent("notes")
    assert planned["result"] is None
    assert states.absent("other")["changes"] == {}
    notes.options["test"] = False
    notes.context.clear()
    answer = states.absent("notes")
    assert answer["changes"] == planned["changes"]
    assert states.absent("notes")["changes"] == {}
    assert list(notes.folder.iterdir()) == []


def test_a_service_whose_files_are_planned_to_go_is_planned_gone(notes):
    notes.options["test"] = True
    states.absent("notes")
    assert pod.files("notes") == []


@BOTH_MODES
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("declared", {"units": [container("wiki-web")]}),
        ("started", {"files": ["wiki.pod"]}),
        ("healthy", {"files": ["wiki.pod"]}),
    ],
)
def test_an_error_is_the_states_comment(host, function, arguments, test_mode):
    host.options["test"] = test_mode
    answer = getattr(states, function)("notes", **arguments)
    assert answer["result"] is False
    assert "wiki" in answer["comment"]
    assert answer["changes"] == {}


@pytest.mark.parametrize("function", ["stopped", "absent"])
def test_an_error_of_systemd_is_the_states_comment(notes, function):
    def no_answer(*_):
        raise CommandExecutionError("systemctl: no answer")

    notes.utils["units.act"] = no_answer
    answer = getattr(states, function)("notes")
    assert answer["result"] is False
    assert "no answer" in answer["comment"]


def test_secrets_of_the_service_do_not_show_in_the_reason(host):
    host.values = {"notes.token": b"s3cret-token"}
    host.secrets = {"notes.token": 0}
    host.answer = "500"
    host.journal = "token s3cret-token was refused"
    answer = run(host, timeout=2)[-1]
    assert "s3cret-token" not in answer["comment"]
    assert "was refused" in answer["comment"]


def test_a_plan_that_repairs_something_before_does_not_restart_what_may_suffer_from_it(host, monkeypatch):
    """A stopped database makes a service unhealthy; the run starts the database, and then all is well."""
    monkeypatch.setitem(states.__salt__, "pod_health.look", lambda *_: [{"unit": "notes-web.service", "state": "503"}])
    monkeypatch.setitem(states.__opts__, "test", True)
    monkeypatch.setattr(states, "__running__", {"daemon_|-Valkey runs_|-x_|-running": {"result": None}})
    answer = states.healthy("notes", FILES, URL)
    assert (answer["result"], answer["changes"]) == (True, {})
