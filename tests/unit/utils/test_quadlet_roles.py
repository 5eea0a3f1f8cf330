"""
Init containers and what timers start: what the others of the pod get from them.
"""

import copy

import pytest
from quadlet_host import CLEANUP, INIT, UNITS, container
from tree import load

roles = load("utils", "quadlet_roles")


def made(*units):
    return {unit["name"]: unit["definition"] for unit in roles.with_init(list(units)) if unit["kind"] == "container"}


@pytest.mark.parametrize(("unit", "role"), [(UNITS[0], None), (UNITS[2], "main"), (INIT, "init"), (CLEANUP, "timer")])
def test_a_container_is_known_by_its_definition(unit, role):
    assert roles.role(unit) == role


def test_a_container_without_a_pod_has_no_role():
    alone = copy.deepcopy(INIT)
    del alone["definition"]["Container"]["Pod"]
    assert roles.role(alone) is None


def test_without_an_init_container_nothing_is_added():
    assert roles.with_init(UNITS) == UNITS


def test_the_others_wait_for_the_init_container_and_carry_its_digest():
    web = made(*UNITS, INIT)["notes-web"]
    assert web["Unit"] == {"After": ["notes-init.service"], "Requires": ["notes-init.service"]}
    assert web["Container"]["Label"][0].startswith("rick-infra.init=")


def test_what_a_timer_starts_runs_after_it_and_is_not_stopped_with_it():
    assert made(*UNITS, INIT, CLEANUP)["notes-cleanup"]["Unit"] == {"After": ["notes-init.service"]}


def test_another_init_container_makes_other_containers():
    other = container("notes-init", "migrate further", Service={"Type": "oneshot"})
    assert made(*UNITS, INIT)["notes-web"] != made(*UNITS, other)["notes-web"]
    assert made(*UNITS, INIT)["notes-web"] == made(*UNITS, INIT)["notes-web"]


def test_what_a_definition_says_itself_it_keeps():
    init = container("notes-init", Service={"Type": "oneshot", "RestartSec": 30}, Unit={"StartLimitIntervalSec": 5})
    web = container("notes-web", Unit={"After": "x.service"})
    web["definition"]["Container"]["Label"] = "a=b"
    found = made(web, init)
    assert found["notes-init"]["Service"]["RestartSec"] == 30
    assert found["notes-init"]["Service"]["RestartMode"] == "direct"
    assert found["notes-init"]["Unit"]["StartLimitIntervalSec"] == 5
    assert found["notes-web"]["Unit"]["After"] == ["x.service", "notes-init.service"]
    assert found["notes-web"]["Container"]["Label"][0] == "a=b"


def test_what_is_given_is_not_changed():
    units = copy.deepcopy([*UNITS, INIT, CLEANUP])
    roles.with_init(units)
    assert units == [*UNITS, INIT, CLEANUP]


def test_containers_of_another_pod_do_not_wait():
    other = container("wiki-web")
    other["definition"]["Container"]["Pod"] = "wiki.pod"
    assert "Unit" not in made(other, INIT)["wiki-web"]
