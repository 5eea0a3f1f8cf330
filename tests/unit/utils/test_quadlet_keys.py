"""
The table of keys.
"""

import pytest
from tree import load

quadlet_keys = load("utils", "quadlet_keys")
quadlet_text = load("utils", "quadlet_text")

PODMAN = (5, 4, 2)


def unit(kind="container", **keys):
    return quadlet_text.unit(kind, {kind.capitalize(): keys or {"Image": "x"}})


@pytest.mark.parametrize(
    ("kind", "key", "meant"),
    [("container", "Volme", "Volume"), ("container", "image", "Image"), ("pod", "PublishPorts", "PublishPort")],
)
def test_a_misspelt_key_is_named_with_what_was_meant(kind, key, meant):
    (problem,) = quadlet_keys.key_problems(unit(kind, **{key: "x"}), PODMAN)
    assert key in problem
    assert f"did you mean {meant!r}" in problem


def test_a_key_that_nobody_could_mean_gets_no_suggestion():
    (problem,) = quadlet_keys.key_problems(unit(Zzyzx="x"), PODMAN)
    assert "did you mean" not in problem


def test_a_key_that_this_podman_is_too_old_for_is_named_with_both_versions():
    assert quadlet_keys.key_problems(unit(Memory="1g"), PODMAN) == [
        "key Memory in [Container] needs Podman 5.5, this host has 5.4.2"
    ]
    assert quadlet_keys.key_problems(unit(Memory="1g"), (5, 5, 0)) == []


def test_without_a_podman_a_known_key_is_right():
    assert quadlet_keys.key_problems(unit(Memory="1g")) == []


@pytest.mark.parametrize(
    ("key", "needed"), [("Image", False), ("GroupAdd", False), ("AppArmor", True), ("Nonsense", False)]
)
def test_the_version_is_asked_for_only_if_a_key_is_younger_than_every_supported_podman(key, needed):
    assert quadlet_keys.needs_version(unit(**{key: "x"})) is needed


def test_a_key_is_looked_for_in_its_own_section():
    assert quadlet_keys.key_problems(unit("pod", Image="x"), PODMAN)
    assert quadlet_keys.key_problems(unit("pod", PodName="x"), PODMAN) == []


def test_what_systemd_reads_is_left_to_systemd():
    given = quadlet_text.unit("pod", {"Pod": {"PodName": "x"}, "Service": {"Anything": 1}, "X-Mine": {"A": 1}})
    assert quadlet_keys.key_problems(given, PODMAN) == []
    assert quadlet_keys.section_problems(given) == []


@pytest.mark.parametrize(("section", "meant"), [("Srvice", "Service"), ("container", "Container")])
def test_a_misspelt_section_is_named(section, meant):
    given = quadlet_text.unit("container", {"Container": {"Image": "x"}, section: {"A": 1}})
    (problem,) = quadlet_keys.section_problems(given)
    assert f"[{section}]" in problem
    assert meant in problem


def test_the_section_of_another_kind_is_refused_and_the_own_one_missed():
    problems = quadlet_keys.section_problems(quadlet_text.unit("pod", {"Container": {"Image": "x"}}))
    assert any("[Container]" in problem for problem in problems)
    assert any("[Pod] is missing" in problem for problem in problems)


@pytest.mark.parametrize(
    ("section", "key", "since"),
    [
        ("Container", "Secret", (4, 5)),
        ("Container", "GroupAdd", (5, 1)),
        ("Container", "StartWithPod", (5, 3)),
        ("Container", "ReloadCmd", (5, 5)),
        ("Pod", "ShmSize", (5, 4)),
        ("Pod", "Label", (5, 6)),
        ("Pod", "ExitPolicy", (5, 6)),
        ("Image", "Image", (4, 8)),
    ],
)
def test_the_table_says_since_when(section, key, since):
    assert [version for version, names in quadlet_keys.KEYS[section].items() if key in names.split()] == [since]


@pytest.mark.parametrize("section", ["Container", "Pod", "Volume", "Network", "Image", "Quadlet"])
def test_a_key_is_in_the_table_once(section):
    names = " ".join(quadlet_keys.KEYS[section].values()).split()
    assert len(names) == len(set(names))
