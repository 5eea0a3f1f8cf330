"""
What may be declared as secrets and values, and what comes of it.
"""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

secret_values = load("utils", "secret_values")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
NOT_A_NAME = ["notes", "notes.", "notes.a.b", "wiki.a", "notes.a b", "notes.ä", "notesx.a", "notes.a\n", None, 7, ""]


@pytest.mark.parametrize("service", ["", "a.b", "a/b", ".", "-a", "a b", None, 7, "ä"])
def test_a_service_s_name_cannot_reach_into_another_s(service):
    for function in (secret_values.prefix, lambda one: secret_values.declared(one, [])):
        with pytest.raises(SaltInvocationError, match="letters, digits"):
            function(service)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("notes.token", True),
        ("notes.web.URL", False),
        ("notes.web.discovery.type", False),
        ("notes-2.token", False),
        ("note.token", False),
        ("notes", False),
        ("valkey-notes", False),
    ],
)
def test_the_number_of_parts_tells_a_secret_from_a_value(name, secret):
    assert secret_values.secrets_of("notes", [name]) == ([name] if secret else [])


def test_declarations_are_completed():
    given = [
        {"name": "notes.a", "generate": {}},
        {"name": "notes.b", "generate": {"length": 16, "alphabet": "hex"}},
        {"name": "notes.c", "pillar": "smtp:password"},
        {"name": "notes.d", "file": "/root/key"},
        {"name": "notes.e", "generate": None},
    ]
    default = {"length": 43, "alphabet": "urlsafe"}
    assert secret_values.declared("notes", given) == {
        "notes.a": ("generate", default),
        "notes.b": ("generate", {"length": 16, "alphabet": "hex"}),
        "notes.c": ("pillar", "smtp:password"),
        "notes.d": ("file", "/root/key"),
        "notes.e": ("generate", default),
    }


@pytest.mark.parametrize("name", NOT_A_NAME)
def test_what_is_no_name_of_a_secret(name):
    with pytest.raises(SaltInvocationError, match=r"service notes: .* is not a name: notes\.SECRET"):
        secret_values.declared("notes", [{"name": name, "generate": {}}])


@pytest.mark.parametrize(
    "name", ["notes", "notes.web", "notes.web.", "notes.web.1x", "wiki.web.X", "notes..X", f"notes.web.{'X' * 250}"]
)
def test_what_is_no_name_of_a_value(name):
    with pytest.raises(SaltInvocationError, match="is not a name"):
        secret_values.composed("notes", [{"name": name, "parts": []}])


@pytest.mark.parametrize(
    ("declaration", "words"),
    [
        ({}, "exactly one of"),
        ({"generate": {}, "pillar": "a"}, "exactly one of"),
        ({"value": "x"}, "exactly one of"),
        ({"pillar": ""}, "pillar is not text"),
        ({"pillar": ["a"]}, "pillar is not text"),
        ({"file": "key"}, "not an absolute path"),
        ({"generate": {"size": 3}}, "length and alphabet"),
        ({"generate": 7}, "length and alphabet"),
        ({"generate": {"length": 0}}, "length 0"),
        ({"generate": {"length": True}}, "length True"),
        ({"generate": {"length": "12"}}, "length '12'"),
        ({"generate": {"length": 10**6}}, "length 1000000"),
        ({"generate": {"alphabet": ""}}, "two different"),
        ({"generate": {"alphabet": "aaa"}}, "two different"),
        ({"generate": {"alphabet": "ab\n"}}, "two different printable"),
        ({"generate": {"alphabet": 10}}, "two different"),
    ],
)
def test_a_declaration_that_cannot_be(declaration, words):
    with pytest.raises(SaltInvocationError, match=f"notes.a: .*{words}"):
        secret_values.declared("notes", [{"name": "notes.a", **declaration}])


def test_every_mistake_is_named_at_once():
    with pytest.raises(
        SaltInvocationError, match=r"notes\.a: .*; notes\.b: .*; 'x' is not a name.*; notes\.c is there twice"
    ):
        secret_values.declared(
            "notes",
            [
                {"name": "notes.a"},
                {"name": "notes.b", "pillar": 1},
                {"name": "x"},
                {"name": "notes.c", "generate": {}},
                {"name": "notes.c", "generate": {}},
            ],
        )


@pytest.mark.parametrize("given", [None, "x", {"name": "notes.a"}, ["notes.a"]])
def test_what_is_no_list_of_mappings(given):
    for function in (secret_values.declared, secret_values.composed):
        with pytest.raises(SaltInvocationError, match="a list of mappings"):
            function("notes", given)


@pytest.mark.parametrize(
    "parts",
    [
        None,
        "x",
        ["x"],
        [{}],
        [{"text": None}],
        [{"text": 7}],
        [{"text": "x", "secret": "notes.a"}],
        [{"text": "x", "encode": "url"}],
        [{"secret": "a"}],
        [{"secret": "notes.a.b"}],
        [{"secret": "../x.y"}],
        [{"secret": None}],
        [{"secret": "notes.a", "encode": "base64"}],
        [{"text": "\ud800"}],
    ],
)
def test_parts_that_cannot_be(parts):
    with pytest.raises(SaltInvocationError, match=r"notes\.web\.X: "):
        secret_values.composed("notes", [{"name": "notes.web.X", "parts": parts}])


@given(length=st.integers(1, 100), alphabet=st.sampled_from([*secret_values.ALPHABETS, "äöü", "01"]))
def test_a_generated_value_is_of_its_length_and_alphabet(length, alphabet):
    value = secret_values.generate(length, alphabet).decode()
    assert len(value) == length
    assert set(value) <= set(secret_values.ALPHABETS.get(alphabet, alphabet))


def test_generated_values_differ():
    assert len({secret_values.generate(43, "urlsafe") for _ in range(100)}) == 100


@given(before=TEXT, value=st.binary(max_size=200), after=TEXT)
def test_text_and_secrets_arrive_unchanged(before, value, after):
    declared = [{"name": "notes.web.X", "parts": [{"text": before}, {"secret": "notes.a"}, {"text": after}]}]
    parts = secret_values.composed("notes", declared)["notes.web.X"]
    assert secret_values.join(parts, {"notes.a": value}) == before.encode() + value + after.encode()


@given(value=st.binary(max_size=200))
def test_an_encoded_secret_cannot_leave_its_place_in_a_url(value):
    parts = secret_values.composed(
        "notes", [{"name": "notes.web.X", "parts": [{"secret": "notes.a", "encode": "url"}]}]
    )["notes.web.X"]
    encoded = secret_values.join(parts, {"notes.a": value})
    assert unquote_to_bytes(encoded) == value
    assert not set(encoded) & set(b"/:@?#[]& \n\0+=")
    assert encoded.isascii()


def test_a_secret_that_does_not_exist_yet_leaves_the_value_open():
    parts = [{"text": "x"}, {"secret": "notes.a", "encode": None}]
    assert secret_values.join(parts, {"notes.a": None}) is None
