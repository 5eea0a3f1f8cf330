"""
What units get on top of their definitions.
"""

import pytest
from tree import load

defaults = load("utils", "quadlet_defaults")
quadlet_text = load("utils", "quadlet_text")


def pod(**sections):
    return quadlet_text.unit("pod", {"Pod": {"PodName": "notes"}, **sections})


def container(keys=None, **sections):
    return quadlet_text.unit("container", {"Container": {"Image": "x", **(keys or {})}, **sections})


def test_a_pod_outlives_its_containers_and_starts_at_boot():
    unit = defaults.complete(pod())
    assert unit.words("Pod", "PodmanArgs") == ["--exit-policy=continue"]
    assert unit.last("Install", "WantedBy") == "multi-user.target"
    assert unit.last("Service", "RestartSec")


def test_a_pod_that_cannot_start_does_not_try_for_ever():
    unit = defaults.complete(pod())
    assert int(unit.last("Unit", "StartLimitIntervalSec")) > 0
    assert int(unit.last("Unit", "StartLimitBurst")) > 0


@pytest.mark.parametrize("keys", [{"PodmanArgs": "--exit-policy=stop"}, {"ExitPolicy": "stop"}])
def test_a_pods_own_exit_policy_stays(keys):
    unit = defaults.complete(quadlet_text.unit("pod", {"Pod": keys}))
    assert "--exit-policy=continue" not in unit.words("Pod", "PodmanArgs")


def test_a_container_comes_back_for_ever():
    unit = defaults.complete(container())
    assert unit.last("Service", "Restart") == "always"
    assert unit.last("Unit", "StartLimitIntervalSec") == "0"


def test_a_container_by_itself_starts_at_boot_and_one_in_a_pod_with_the_pod():
    assert defaults.complete(container()).last("Install", "WantedBy") == "multi-user.target"
    assert not defaults.complete(container({"Pod": "notes.pod"})).has("Install", "WantedBy")


@pytest.mark.parametrize("install", [{"WantedBy": "default.target"}, {"WantedBy": ""}, {"RequiredBy": "a.target"}])
def test_what_a_definition_says_about_boot_stays(install):
    unit = defaults.complete(container(Install=install))
    assert "multi-user.target" not in unit.values("Install", "WantedBy")


def test_what_a_definition_says_about_restarts_stays():
    unit = defaults.complete(container(Service={"Restart": "no", "RestartSec": 60}, Unit={"StartLimitIntervalSec": 5}))
    assert unit.values("Service", "Restart") == ["no"]
    assert unit.values("Service", "RestartSec") == ["60"]
    assert unit.values("Unit", "StartLimitIntervalSec") == ["5"]


def test_what_ends_by_itself_is_not_restarted():
    """systemd refuses Restart=always for Type=oneshot."""
    assert not defaults.complete(container(Service={"Type": "oneshot"})).has("Service", "Restart")


def test_a_container_with_a_socket_is_contained():
    unit = defaults.complete(container(), protected=True)
    assert unit.values("Container", "DropCapability") == ["all"]
    assert unit.is_true("Container", "NoNewPrivileges")
    assert not defaults.complete(container()).has("Container", "DropCapability")


def test_what_a_definition_says_about_capabilities_is_left_for_the_guard():
    unit = defaults.complete(container({"DropCapability": "NET_RAW", "NoNewPrivileges": "false"}), protected=True)
    assert unit.values("Container", "DropCapability") == ["NET_RAW"]
    assert not unit.is_true("Container", "NoNewPrivileges")


def test_a_container_waits_for_its_daemon_and_does_not_restart_with_it():
    unit = defaults.complete(
        container(Unit={"After": "a.service postgresql.service"}), units_before=["postgresql.service"]
    )
    assert unit.words("Unit", "After") == ["a.service", "postgresql.service"]
    assert unit.words("Unit", "Wants") == ["postgresql.service"]
    assert not unit.has("Unit", "Requires")


@pytest.mark.parametrize("kind", ["volume", "network"])
def test_nothing_is_added_to_what_is_made_once(kind):
    unit = quadlet_text.unit(kind, {kind.capitalize(): {"GlobalArgs": "x"}})
    assert defaults.complete(unit) is unit


def test_an_image_may_take_as_long_as_any_other_pull_and_not_for_ever():
    image = {"Image": {"Image": "registry.example.org/app:1"}}
    assert int(defaults.complete(quadlet_text.unit("image", image)).last("Service", "TimeoutStartSec")) >= 1800
    own = {**image, "Service": {"TimeoutStartSec": 5}}
    assert defaults.complete(quadlet_text.unit("image", own)).values("Service", "TimeoutStartSec") == ["5"]
