"""
Quadlet files as text.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

quadlet_text = load("utils", "quadlet_text")

KINDS = ("pod", "container", "volume", "network", "image")
NAMES = st.from_regex(r"[A-Z][A-Za-z]{0,9}", fullmatch=True)
SCALARS = st.one_of(st.booleans(), st.integers(), st.text(max_size=30))
DEFINITIONS = st.dictionaries(
    NAMES,
    st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, min_size=1, max_size=3)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


def pairs(unit):
    return [line for line in unit.lines if line[1]]


@given(DEFINITIONS)
def test_a_definition_declares_what_it_says_and_nothing_else(definition):
    try:
        unit = quadlet_text.unit("container", definition)
    except SaltInvocationError:
        return  # refused, so nothing is declared
    assert pairs(quadlet_text.parse("container", unit.text(), "here")) == unit.lines
    assert {(section, key) for section, key, _ in unit.lines} == {
        (section, key) for section, keys in definition.items() for key in keys
    }


@pytest.mark.parametrize(
    "value", ["a\nVolume=/:/host", "a\r\nb", "a\\", "a\0b", "a\u2028b", None, {"a": "b"}, ["a", ["b"]]]
)
def test_a_value_that_could_declare_something_else_is_refused(value):
    with pytest.raises(SaltInvocationError, match=r"\[Container\] Environment"):
        quadlet_text.unit("container", {"Container": {"Environment": value}})


@pytest.mark.parametrize(
    "definition", [None, {}, [], "Container", {"Container": "Image=x"}, {"[X": {"A": 1}}, {"X": {"a b": 1}}]
)
def test_what_is_no_definition_is_refused(definition):
    with pytest.raises(SaltInvocationError, match="definition"):
        quadlet_text.unit("container", definition)


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(SaltInvocationError) as error:
        quadlet_text.unit("container", {"Container": {"A": None, "B": "x\ny"}, "Unit": 3})
    assert all(part in str(error.value) for part in ("[Container] A", "[Container] B", "[Unit]"))


def test_values_are_written_as_quadlet_reads_them():
    unit = quadlet_text.unit(
        "container", {"Container": {"ReadOnly": True, "Port": 80, "Environment": ["A=%n", "B=$C"]}}
    )
    assert unit.text() == "[Container]\nReadOnly=true\nPort=80\nEnvironment=A=%n\nEnvironment=B=$C\n"


def test_comments_and_order_of_a_text_are_kept():
    text = "# first\n\n[Unit]\nAfter=a.service\n\n[Container]\n# why\nImage=x\n\n[Unit]\nAfter=b.service\n"
    assert quadlet_text.parse("container", text, "here").text() == text


def test_continued_lines_are_joined_without_the_comments_in_between():
    unit = quadlet_text.parse("container", "[Container]\nExec=a \\\n# not this\n; nor this\n  b\nImage=x\n", "here")
    assert unit.values("Container", "Exec") == ["a b"]
    assert unit.last("Container", "Image") == "x"


@pytest.mark.parametrize(
    "text", ["Image=x\n", "[Container]\nImage\n", "[Container\nImage=x\n", "[Container]\nExec=a \\"]
)
def test_a_text_that_would_make_the_generator_drop_the_whole_folder_is_refused(text):
    with pytest.raises(SaltInvocationError, match="here"):
        quadlet_text.parse("container", text, "here")


def test_an_empty_value_takes_earlier_ones_back():
    unit = quadlet_text.unit(
        "container", {"Container": {"Volume": ["/a:/a", "", "/b:/b"], "PodmanArgs": ["--a", "", "--b"]}}
    )
    assert unit.values("Container", "Volume") == ["/b:/b"]
    assert unit.words("Container", "PodmanArgs") == ["--b"]


@pytest.mark.parametrize("kind", ["pod", "container", "volume", "network"])
def test_the_digest_is_carried_and_found_again(kind):
    unit = quadlet_text.unit(kind, {kind.capitalize(): {"GlobalArgs": "a"}})
    text = unit.with_digest().file_text()
    assert quadlet_text.carried_digest(text) == unit.digest()
    assert quadlet_text.parse(kind, text, "here").digest() == unit.digest()


def test_an_image_carries_no_digest():
    unit = quadlet_text.unit("image", {"Image": {"Image": "x"}})
    assert unit.with_digest() is unit
    assert quadlet_text.carried_digest(unit.text()) is None


def test_the_digest_minds_what_is_made_and_not_how_it_is_written():
    first = quadlet_text.parse("container", "[Container]\nImage=x\n[Service]\nRestart=no\n", "here")
    second = quadlet_text.parse(
        "container", "# hm\n[Service]\nRestart=no\n[Unit]\nAfter=a\n[Container]\nImage=x\n", "here"
    )
    third = quadlet_text.parse("container", "[Container]\nImage=y\n[Service]\nRestart=no\n", "here")
    assert first.digest() == second.digest()
    assert first.digest() != third.digest()


@pytest.mark.parametrize("kind", ["volume", "network"])
def test_a_network_or_volume_is_another_one_only_if_its_own_section_changes(kind):
    own = kind.capitalize()
    first = quadlet_text.unit(kind, {own: {"Driver": "x"}})
    second = quadlet_text.unit(kind, {own: {"Driver": "x"}, "Service": {"RestartSec": 1}})
    third = quadlet_text.unit(kind, {own: {"Driver": "y"}})
    assert first.digest() == second.digest() != third.digest()


def test_added_lines_stand_at_the_end_of_their_section():
    unit = quadlet_text.unit("container", {"Container": {"Image": "x"}, "Unit": {"After": "a"}})
    assert unit.with_added("Container", ("Pull", "never")).text() == (
        "[Container]\nImage=x\nPull=never\n\n[Unit]\nAfter=a\n"
    )
    assert unit.with_added("Install", ("WantedBy", "b")).text().endswith("After=a\n\n[Install]\nWantedBy=b\n")


@pytest.mark.parametrize("kind", ["pod", "container", "volume", "network", "image"])
def test_a_unit_says_which_service_it_belongs_to(kind):
    unit = quadlet_text.unit(kind, {kind.capitalize(): {"ServiceName": "x"}})
    assert unit.service() is None
    written = quadlet_text.parse(kind, unit.with_service("notes").with_digest().file_text(), "x")
    assert written.service() == "notes"


def test_a_service_is_a_part_of_what_is_made():
    unit = quadlet_text.unit("network", {"Network": {"Options": "isolate=true"}})
    assert unit.with_service("a").digest() != unit.with_service("b").digest()
