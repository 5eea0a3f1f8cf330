"""
The pod of a service as a whole. Files are real, systemd and Podman answer from a script.
"""

import copy

import pytest
from quadlet_host import (
    CLEANUP,
    FILES,
    INIT,
    NETWORK,
    PAST,
    TIMERS,
    UNITS,
    changed,
    container,
    install,
    live,
    pod,
    quadlet,
    timers,
)
from salt.exceptions import CommandExecutionError, SaltInvocationError


@pytest.fixture
def host(tmp_path, monkeypatch, results):
    return install(tmp_path, monkeypatch, results)


@pytest.fixture
def notes(host):
    """A service that runs, with a timer."""
    pod.declare("notes", [*UNITS, CLEANUP], TIMERS)
    pod.start("notes", FILES)
    assert pod.start_changes("notes", FILES) == {}
    host.done.clear()
    host.unwaited.clear()
    host.context.clear()
    return host


def test_every_file_carries_the_service_and_is_found_by_it(notes):
    image = {"kind": "image", "name": "notes-web", "definition": {"Image": {"Image": "registry.test/x:1"}}}
    pod.declare("notes", [*UNITS, CLEANUP, image], TIMERS)
    assert set(pod.files("notes")) == {*FILES, "notes-cleanup.container", "notes-web.image"}
    assert "--label=rick-infra.service=notes" in notes.text("notes.pod")
    assert "Label=rick-infra.service=notes" in notes.text("notes-web.container")
    assert pod.files("note") == []


def test_a_service_that_is_declared_so_is_no_change_and_asks_nobody(notes):
    notes.refused["notes.pod"] = "the generator was asked"
    notes.asked.clear()
    assert pod.declare("notes", [*UNITS, CLEANUP], TIMERS) == {}
    assert notes.asked == []
    assert notes.done == []


def test_nothing_starts_when_a_service_is_declared(host):
    pod.declare("notes", [*UNITS, CLEANUP], TIMERS)
    assert host.done == []
    assert host.calendar == ["daily"]


def test_all_files_are_checked_together_and_none_is_written_if_one_is_refused(host):
    host.refused["notes-web.container"] = "no"
    with pytest.raises(CommandExecutionError, match="no"):
        pod.declare("notes", UNITS)
    assert list(host.folder.iterdir()) == []


def test_what_is_declared_no_more_is_stopped_and_removed_at_the_start(notes):
    more = [*UNITS, CLEANUP, container("notes-worker")]
    pod.declare("notes", more, TIMERS)
    pod.start("notes", FILES, units=more, timers=TIMERS)
    pod.declare("notes", UNITS)
    assert "notes-worker.service" in notes.containers
    assert pod.differences("notes", UNITS) == {}
    notes.options["test"] = True
    planned = pod.start_changes("notes", FILES, units=UNITS)
    notes.options["test"] = False
    notes.context.clear()
    assert pod.undeclared("notes", UNITS).keys() <= planned.keys()
    assert pod.start("notes", FILES, units=UNITS)["changes"] == planned
    assert set(pod.files("notes")) == set(FILES)
    assert "notes-worker.service" not in notes.containers
    assert notes.systemd.get("notes-cleanup.timer") is None
    assert timers.present() == {}
    assert pod.undeclared("notes", UNITS) == {}
    assert pod.start_changes("notes", FILES, units=UNITS) == {}


def test_what_is_declared_no_more_runs_on_while_an_image_cannot_be_had(notes):
    units = [*UNITS[:-1], {**changed(Image="registry.test/new:1")[-1], "name": "notes-app"}]
    pod.declare("notes", units)
    notes.utils["quadlet_podman.pull"] = refuse
    with pytest.raises(CommandExecutionError, match="no such image"):
        pod.start("notes", ["notes.pod", "notes-app.container"], units=units)
    assert notes.containers["notes-web.service"]["state"] == "running"
    assert notes.done == []


def refuse(*_):
    raise CommandExecutionError("no such image")


def test_a_plan_is_what_the_run_does(host):
    host.options["test"] = True
    planned = pod.plan("notes", [*UNITS, CLEANUP], TIMERS)
    started = pod.start_changes("notes", FILES)
    host.options["test"] = False
    host.context.clear()
    done = pod.declare("notes", [*UNITS, CLEANUP], TIMERS)
    assert planned.keys() == done.keys()
    assert pod.start("notes", FILES)["changes"] == started
    assert {"notes.pod", "notes-web.container", "notes-cleanup.timer"} <= started.keys()


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ({"kind": "pod", "name": "wiki", "definition": {"Pod": {}}}, "is called notes or notes-"),
        ({"kind": "kube", "name": "notes", "definition": {}}, "no kind of unit"),
        ({"kind": "pod", "name": "notes", "definition": None}, "not a mapping"),
    ],
)
def test_units_that_cannot_be_a_services_are_refused(host, unit, reason):
    with pytest.raises(SaltInvocationError, match=reason):
        pod.declare("notes", [unit])


def test_somebody_elses_file_is_not_overwritten(host):
    (host.folder / "notes.pod").write_text("[Pod]\n")
    with pytest.raises(CommandExecutionError, match=r"notes\.pod is there already"):
        pod.declare("notes", UNITS)
    assert host.text("notes.pod") == "[Pod]\n"


def test_another_services_file_is_not_overwritten(host):
    pod.declare("a", [{"kind": "network", "name": "a-b", "definition": NETWORK}])
    with pytest.raises(CommandExecutionError, match="belongs to service a"):
        pod.declare("a-b", [{"kind": "network", "name": "a-b", "definition": NETWORK}])


def test_a_file_of_ours_whose_label_was_edited_away_is_put_right(notes):
    path = notes.folder / "notes.pod"
    path.write_text(path.read_text().replace("PodmanArgs=--label=rick-infra.service=notes\n", ""))
    pod.declare("notes", [*UNITS, CLEANUP], TIMERS)
    assert "rick-infra.service=notes" in notes.text("notes.pod")


def test_a_calendar_event_that_is_none_is_refused_before_anything_is_written(host):
    with pytest.raises(CommandExecutionError, match="no calendar event"):
        pod.declare("notes", [*UNITS, CLEANUP], [{**TIMERS[0], "schedule": "never"}])
    assert list(host.folder.iterdir()) == []


def test_somebody_elses_timer_keeps_its_name(host, tmp_path):
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/notes-cleanup.timer").touch()
    with pytest.raises(CommandExecutionError, match="take the place of"):
        pod.declare("notes", [*UNITS, CLEANUP], TIMERS)


def test_what_is_not_for_boot_has_nothing_that_starts_it(notes):
    units = copy.deepcopy([*UNITS, CLEANUP])
    units[1]["definition"]["Install"] = {"WantedBy": "multi-user.target"}
    pod.declare("notes", units, TIMERS, at_boot=False)
    assert "[Install]" not in notes.text("notes.pod")
    assert not (timers.Path(timers.link("notes-cleanup.timer"))).is_symlink()
    pod.declare("notes", units, TIMERS)
    assert "[Install]" in notes.text("notes.pod")
    assert (timers.Path(timers.link("notes-cleanup.timer"))).is_symlink()


@pytest.mark.parametrize(("schedule", "starts"), [(PAST, False), ("daily", True)])
def test_a_timer_that_was_over_starts_again_once_its_schedule_is_not(notes, schedule, starts):
    pod.declare("notes", [*UNITS, CLEANUP], [{**TIMERS[0], "schedule": PAST}])
    pod.start("notes", FILES)
    unit = "notes-cleanup.timer"
    notes.systemd[unit].update(SubState="elapsed")
    notes.context.clear()
    timer = [{**TIMERS[0], "schedule": schedule}]
    notes.options["test"] = True
    pod.plan("notes", [*UNITS, CLEANUP], timer)
    planned = pod.start_changes("notes", FILES)
    notes.options["test"] = False
    notes.context.clear()
    pod.declare("notes", [*UNITS, CLEANUP], timer)
    notes.done.clear()
    assert (pod.start("notes", FILES)["changes"].get(unit) is not None) == (unit in planned) == starts
    assert (("restart", unit) in notes.done) == starts
    assert pod.start_changes("notes", FILES) == {}


def test_a_service_is_started_without_waiting(host):
    pod.declare("notes", [*UNITS, CLEANUP], TIMERS)
    pod.start("notes", FILES)
    assert {"notes-pod.service", "notes-web.service"} <= set(host.unwaited)
    assert "notes-cleanup.service" not in host.containers
    assert host.systemd["notes-cleanup.timer"]["ActiveState"] == "active"


def test_an_image_that_is_missing_stops_nothing(notes):
    pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    notes.images.clear()
    notes.done.clear()
    with pytest.raises(CommandExecutionError, match="localhost/x:1"):
        pod.start("notes", FILES)
    assert notes.done == []


@pytest.mark.parametrize("policy", ["always", "newer"])
def test_an_image_that_podman_would_look_for_at_the_start_is_fetched_before(notes, policy):
    pod.declare("notes", [*changed(Image="registry.test/x:1", Pull=policy), CLEANUP], TIMERS)
    notes.done.clear()
    pod.start("notes", FILES)
    assert notes.done[0] == ("pull", "registry.test/x:1", policy, None)


def test_the_database_of_that_name_is_dumped_before_another_image_meets_it(notes):
    notes.images["localhost/x:1"] = "newer"
    changes = pod.start_changes("notes", FILES, "notes_v2")
    assert changes["database of notes"]["new"] == "dumped before"
    assert pod.start("notes", FILES, "notes_v2") == {"changes": changes, "dump": "/dumps/notes"}
    assert notes.dumps == [("notes", "notes_v2", [])]


def test_nothing_stops_if_the_dump_fails(notes):
    def full(_name, _database, _server):
        raise CommandExecutionError("no space left")

    notes.images["localhost/x:1"] = "newer"
    notes.salt["postgres_dump.dump"] = full
    with pytest.raises(CommandExecutionError, match="no space"):
        pod.start("notes", FILES, "notes_v2")
    assert notes.done == []


@pytest.mark.parametrize("postgres", ["notes", None])
def test_a_database_is_not_dumped_for_another_definition_with_the_same_image(notes, postgres):
    pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    assert pod.start("notes", FILES, postgres)["dump"] is None


def test_the_init_container_runs_before_the_others_each_time_it_changes(host):
    units = [*UNITS, INIT]
    pod.declare("notes", units)
    assert "notes-init.service" in host.text("notes-web.container")
    pod.start("notes", FILES)
    assert pod.start_changes("notes", FILES) == {}
    units = [*UNITS, container("notes-init", "migrate further", Service={"Type": "oneshot"})]
    pod.declare("notes", units)
    assert {"notes-init.container", "notes-web.container"} == set(pod.start("notes", FILES)["changes"])


def test_a_service_that_is_stopped_has_nothing_that_runs(notes):
    assert "notes-cleanup.timer" in pod.stop("notes")
    assert pod.running("notes") == {}
    assert notes.done[0] == ("stop", "notes-cleanup.timer")


def test_a_restart_takes_the_pod_and_its_containers_and_no_timers_container(notes):
    assert set(pod.restart("notes", FILES)) == {"notes.pod", "notes-web.container"}
    assert set(notes.unwaited) == {"notes-pod.service", "notes-web.service"}


def test_what_is_gone_leaves_nothing_and_nobody_else_is_touched(notes):
    other = copy.deepcopy(UNITS[:1])
    other[0]["name"] = "notes-2"
    pod.declare("notes-2", other)
    changes = pod.remnants("notes")
    assert pod.remove("notes") == changes
    assert pod.remnants("notes") == {}
    assert [path.name for path in notes.folder.iterdir()] == ["notes-2.network"]
    assert timers.present() == {}


def test_a_container_without_a_file_is_removed_with_its_service(notes):
    notes.containers["notes-old.service"] = {**notes.containers["notes-web.service"], "container": "notes-old"}
    assert "container notes-old" in pod.remnants("notes")
    pod.remove("notes")
    assert ("rm", ["notes-old"], []) in notes.done


def test_a_network_without_a_file_is_removed_with_its_service(notes):
    notes.networks["notes-old"], notes.network_owners = "n", {"notes-old": "notes", "wiki": "wiki", "podman": None}
    assert pod.remnants("notes")["network notes-old"] == {"old": "present", "new": None}
    pod.remove("notes")
    assert pod.remnants("notes") == {}
    assert set(notes.network_owners) == {"wiki", "podman"}


def test_what_no_file_declares_is_told_by_whose_it_is(notes):
    notes.containers["wiki-pod.service"] = {**notes.containers["notes-pod.service"], "owner": "wiki"}
    notes.network_owners = {"systemd-notes": "notes", "wiki": "wiki", "podman": None}
    found = live.undeclared()
    assert set(found) == {"wiki"}
    assert [one["unit"] for one in found["wiki"]["containers"]] == ["wiki-pod.service"]
    assert found["wiki"]["networks"] == ["wiki"]


def test_images_that_a_container_a_file_or_a_generation_needs_are_not_pruned(notes):
    notes.images.update({"localhost/old:1": "old", "old": "old", "nameless": "nameless", "localhost/kept:1": "kept"})
    notes.salt["generation.images"] = lambda: ["kept"]
    assert pod.prune_images() == ["localhost/old:1", "nameless"]


def test_writing_one_file_does_not_read_the_others_again(notes, monkeypatch):
    quadlet.units()
    read = []
    monkeypatch.setitem(
        notes.utils, "quadlet_files.present", lambda: read.append("all") or pytest.fail("the folder was read again")
    )
    pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    assert pod.start_changes("notes", FILES)
    assert read == []
