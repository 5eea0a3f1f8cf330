"""
What is decided about units, from facts.
"""

import pytest
from tree import load

plan = load("utils", "quadlet_plan")

SERVICES = {"pod": "-pod", "network": "-network", "volume": "-volume", "image": "-image", "container": ""}


def unit(file, **facts):
    name, _, kind = file.rpartition(".")
    return {
        "file": file,
        "kind": kind,
        "service": f"{name}{SERVICES[kind]}.service",
        "resource": f"systemd-{name}",
        "digest": None if kind == "image" else "d",
        "uses": [],
        "pod": None,
        "starts_with_pod": True,
        "oneshot": False,
        "requires": [],
        "image": "localhost/x:1" if kind == "container" else None,
        "secrets": [],
        **facts,
    }


class Host:
    """A pod with two containers on a network of its own, with a volume and an image: all as declared."""

    def __init__(self):
        units = [
            unit("net.network"),
            unit("data.volume"),
            unit("img.image", image="localhost/x:1"),
            unit("notes.pod", uses=["net.network"]),
            unit("web.container", pod="notes.pod", uses=["notes.pod", "img.image"], secrets=["key"]),
            unit("worker.container", pod="notes.pod", uses=["data.volume", "notes.pod"]),
            unit("alone.container"),
        ]
        self.declared = {one["file"]: one for one in units}
        self.systemd = {
            one["service"]: {
                "LoadState": "loaded",
                "ActiveState": "active",
                "SubState": "running",
                "unread": False,
                "generated": one["digest"],
                "edited": False,
            }
            for one in units
        }
        self.podman = {
            "containers": {
                one["service"]: {"state": "running", "digest": "d", "image": "i", "healthy": None, "created": 1000}
                for one in units
                if one["kind"] in ("pod", "container")
            },
            "networks": {"systemd-net": "d"},
            "volumes": {"systemd-data": "d"},
            "images": {"localhost/x:1": "i", "img.image": "i"},
            "secrets": {"key": 999.5},
        }

    def decide(self, *files):
        involved = plan.involved(list(files) or ["notes.pod"], self.declared)
        return plan.decide(involved, self.declared, self.systemd, self.podman)

    def stop(self, service, state="failed", sub="failed"):
        self.systemd[service].update(ActiveState=state, SubState=sub)


NOTHING = {"reload": None, "start": {}, "restart": {}, "recreate": {}, "problems": []}


@pytest.fixture
def host():
    return Host()


def test_what_runs_as_declared_is_left_alone(host):
    assert host.decide() == NOTHING


def test_a_pod_stands_for_its_containers_and_all_they_use(host):
    found = plan.involved(["notes.pod"], host.declared)
    assert set(found) == set(host.declared) - {"alone.container"}


def test_a_container_that_does_not_start_with_its_pod_is_not_implied(host):
    host.declared["web.container"]["starts_with_pod"] = False
    assert "web.container" not in plan.involved(["notes.pod"], host.declared)
    assert "web.container" in plan.involved(["notes.pod", "web.container"], host.declared)


def test_a_container_that_failed_behind_an_active_pod_is_started(host):
    host.stop("web.service")
    decision = host.decide()
    assert decision["start"] == {"web.container": "failed"}
    assert not decision["restart"]


def test_a_container_that_fails_again_and_again_counts_as_down(host):
    host.stop("web.service", "activating", "auto-restart")
    assert "again and again" in host.decide()["start"]["web.container"]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"digest": "older"}, "another definition"),
        ({"digest": None}, "another definition"),
        ({"image": "older"}, "older image"),
        ({"state": "exited"}, "exited"),
        ({"healthy": False}, "unhealthy"),
    ],
)
def test_a_container_that_runs_something_else_restarts_alone(host, facts, reason):
    host.podman["containers"]["web.service"].update(facts)
    decision = host.decide()
    assert list(decision["restart"]) == ["web.container"]
    assert reason in decision["restart"]["web.container"]


def test_a_container_that_podman_has_lost_restarts(host):
    del host.podman["containers"]["web.service"]
    assert "gone" in host.decide()["restart"]["web.container"]


@pytest.mark.parametrize(("renewed", "restarts"), [(1001.0, True), (1000.1, True), (999.9, False)])
def test_a_secret_that_is_younger_than_the_container_restarts_it(host, renewed, restarts):
    host.podman["secrets"]["key"] = renewed
    assert bool(host.decide()["restart"]) is restarts


def test_a_secret_or_an_image_that_is_away_restarts_nothing(host):
    host.podman["secrets"] = host.podman["images"] = {}
    host.declared["alone.container"]["secrets"] = ["key"]
    assert host.decide("alone.container") == NOTHING


def test_a_changed_pod_restarts_with_its_containers(host):
    host.podman["containers"]["notes-pod.service"]["digest"] = "older"
    assert set(host.decide()["restart"]) == {"notes.pod", "web.container", "worker.container"}


def test_a_changed_network_is_made_anew_and_what_is_on_it_restarts(host):
    host.podman["networks"]["systemd-net"] = "older"
    decision = host.decide("net.network")
    assert set(decision["recreate"]) == {"net.network"}
    assert set(decision["restart"]) == {"notes.pod", "web.container", "worker.container"}


def test_what_was_down_before_is_not_restarted_along_with_its_network(host):
    host.podman["networks"]["systemd-net"] = "older"
    for service in ("notes-pod.service", "web.service", "worker.service"):
        host.stop(service, "inactive", "dead")
    assert host.decide("net.network")["restart"] == {}


def test_a_network_that_somebody_else_made_is_made_anew(host):
    host.podman["networks"]["systemd-net"] = None
    assert "net.network" in host.decide()["recreate"]


def test_a_network_or_volume_that_is_gone_is_made_again(host):
    host.podman["networks"] = {}
    host.podman["volumes"] = {}
    assert {"net.network", "data.volume"} <= set(host.decide()["restart"])


def test_a_changed_volume_is_refused_with_the_way_out(host):
    host.podman["volumes"]["systemd-data"] = "older"
    (problem,) = host.decide()["problems"]
    assert all(part in problem for part in ("data.volume", "systemd-data", "podman volume export"))


def test_a_volume_restored_from_a_backup_is_taken_as_it_is(host):
    host.podman["volumes"]["systemd-data"] = None
    assert host.decide() == NOTHING


def test_an_image_that_is_gone_is_fetched_again(host):
    host.podman["images"] = {}
    assert "img.image" in host.decide()["restart"]


@pytest.mark.parametrize(
    "service", ["net-network.service", "data-volume.service", "img-image.service", "notes-pod.service"]
)
def test_what_is_down_is_started(host, service):
    host.stop(service, "inactive", "dead")
    assert list(host.decide()["start"].values()) == ["inactive"]


@pytest.mark.parametrize(
    "facts", [{"LoadState": "not-found"}, {"unread": True}, {"generated": "older"}, {"generated": None}]
)
def test_systemd_reads_its_units_anew_if_it_has_others(host, facts):
    host.systemd["web.service"].update(facts)
    assert "web.service" in host.decide()["reload"]


def test_a_file_edited_by_hand_restarts_what_may_have_started_from_it(host):
    host.systemd["web.service"]["edited"] = True
    decision = host.decide()
    assert decision["reload"]
    assert "edited by hand" in decision["restart"]["web.container"]


def test_other_units_are_left_alone(host):
    host.stop("alone.service")
    assert host.decide() == NOTHING


@pytest.fixture
def with_init():
    """The web container waits for one that has run and ended."""
    host = Host()
    host.declared["init.container"] = unit("init.container", pod="notes.pod", oneshot=True)
    host.declared["web.container"]["requires"] = ["init.service"]
    host.systemd["init.service"] = {**host.systemd["web.service"], "SubState": "exited"}
    return host


def test_an_init_container_that_has_ended_is_no_container_that_is_gone(with_init):
    assert with_init.decide() == NOTHING


@pytest.mark.parametrize("facts", [{"digest": "other"}, {"image": "older"}])
def test_an_init_container_runs_again_before_what_waits_for_it(with_init, facts):
    with_init.podman["containers"]["web.service"].update(facts)
    assert with_init.decide()["restart"]["init.container"] == "runs again before web.container"


def test_an_init_container_does_not_run_again_for_what_does_not_wait_for_it(with_init):
    with_init.podman["containers"]["worker.service"]["digest"] = "other"
    assert list(with_init.decide()["restart"]) == ["worker.container"]


def test_an_init_container_that_failed_is_started(with_init):
    with_init.stop("init.service")
    assert with_init.decide()["start"] == {"init.container": "failed"}


@pytest.mark.parametrize("state", ["inactive", "failed", "active", "activating"])
def test_what_a_timer_starts_is_left_to_its_timer(with_init, state):
    with_init.declared["init.container"]["starts_with_pod"] = False
    with_init.stop("init.service", state)
    assert with_init.decide("notes.pod", "init.container") == NOTHING


def test_what_a_timer_starts_does_not_restart_with_its_pod(with_init):
    with_init.declared["init.container"]["starts_with_pod"] = False
    with_init.podman["containers"]["notes-pod.service"]["digest"] = "other"
    assert "init.container" not in with_init.decide()["restart"]


@pytest.mark.parametrize("file", ["web", "init"])
@pytest.mark.parametrize(("digest", "action"), [("d", "start"), ("other", "restart")])
def test_what_is_starting_with_another_definition_is_restarted(with_init, file, digest, action):
    with_init.stop(f"{file}.service", "activating", "start")
    with_init.podman["containers"][f"{file}.service"] = {"digest": digest, "state": "running", "image": "i"}
    assert f"{file}.container" in with_init.decide()[action]
