"""
Whatever a pillar holds: a complaint that begins with its place, or an answer that any configuration can take.
"""

import json
import re

import yaml
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError
from tree import TREE, load

infrastructure = load("utils", "catalogue_infrastructure")

DEFAULTS = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
COMPONENTS = ("podman", "postgresql", "valkey", "caddy")


def unquoted(literal):
    """What PostgreSQL reads: guc-file.l, GUC_scanstr."""
    if not literal.startswith("'"):
        return literal
    assert re.fullmatch(r"'([^'\\\n]|\\.|'')*'", literal)
    return re.sub(r"\\(.)|''", lambda match: match[1] or "'", literal[1:-1])


@given(st.text().filter(str.isprintable))
def test_postgresql_reads_back_the_text_that_was_given(text):
    assert unquoted(infrastructure._postgresql_literal(text)) == text


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_postgresql_reads_back_the_number_that_was_given(number):
    literal = infrastructure._postgresql_literal(number)
    assert type(number)(unquoted(literal)) == number
    # An exponent without a point is two words to postgresql.conf.
    assert literal.startswith("'") or re.fullmatch(r"-?\d+", literal)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
keys = st.text(max_size=12) | st.integers() | st.booleans() | st.none()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
known_keys = st.sampled_from([key for settings in infrastructure.SETTINGS.values() for key in settings])
further = st.dictionaries(st.sampled_from(["timeout", "jit", "port", "x.y"]) | keys, scalars | values, max_size=4)
sections = st.dictionaries(known_keys | keys, values | further, max_size=5)
arbitrary = values | st.dictionaries(
    st.sampled_from(sorted(DEFAULTS)) | keys, sections | values | st.just({}), max_size=5
)


def merged(site):
    """The defaults with a site's data over them, one level deep as in the file."""
    rick = json.loads(json.dumps(DEFAULTS))
    for section, settings in site.items():
        if isinstance(settings, dict) and isinstance(rick.get(section), dict):
            rick[section].update(settings)
        else:
            rick[section] = settings
    return rick


def all_texts(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from all_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from all_texts(inner)
    else:
        yield str(value)


def asked(rick):
    """What is made of a pillar: answers, and None where it complained."""
    for name in COMPONENTS:
        try:
            yield infrastructure.settings(name, {"rick": rick}, {"oscodename": "trixie", "mem_total": 3900})
        except CommandExecutionError as error:
            assert str(error).startswith(("rick", "the pillar has no rick")), "a complaint begins with its place"
            yield None


@given(arbitrary.filter(lambda value: isinstance(value, dict)))
def test_any_pillar_gives_a_complaint_or_a_valid_answer(site):
    for answer in asked(merged(site)):
        if answer is not None:
            json.dumps(answer)  # what an SLS does with it
            answer = {key: value for key, value in answer.items() if key != "global_options"}
            assert not any("\n" in text or "\r" in text for text in all_texts(answer))


@given(arbitrary)
def test_a_pillar_without_defaults_gives_a_complaint_or_a_valid_answer(rick):
    if isinstance(rick, dict):
        for answer in asked(rick):
            json.dumps(answer)


@given(further)
def test_any_further_settings_give_a_complaint_or_one_line_each(settings):
    rick = merged({"postgresql": {"settings": settings}, "valkey": {"settings": settings}})
    for answer in asked(rick):
        if answer and "settings" in answer:
            for key, value in answer["settings"].items():
                assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", key)
                assert isinstance(value, str)
                assert len(f"{key} {value}".splitlines()) == 1
