"""
From files to entries: what a file says arrives as it looks, and none that cannot be used is passed over in silence.
"""

import json
import os

import pytest
import yaml
from dunders import functions
from hypothesis import given
from hypothesis import strategies as st
from tree import load

services = load("pillar", "services")
files = load("utils", "plain_files")
services.__utils__ = functions("utils", "plain_files")


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path


def read(folder, pillar=()):
    return services.ext_pillar("host", dict(pillar), str(folder))["rick"]


def error(folder):
    answer = read(folder)
    assert answer["services"] == {}
    (text,) = answer["services_errors"]
    return text.replace(str(folder), "")


def entry(folder, text):
    (folder / "notes.yaml").write_text(text)
    answer = read(folder)
    assert answer["services_errors"] == []
    return answer["services"]["notes"]


def test_a_file_is_an_entry_by_its_name(folder):
    (folder / "notes.yaml").write_text("image: notes:1\n")
    (folder / "wiki.yaml").write_text("image: wiki:1\nneeds: [notes]\n")
    assert read(folder) == {
        "services": {"notes": {"image": "notes:1"}, "wiki": {"image": "wiki:1", "needs": ["notes"]}},
        "services_errors": [],
    }


def test_without_the_folder_there_are_no_services(folder):
    assert read(folder / "nonesuch") == {"services": {}, "services_errors": []}


@pytest.mark.parametrize(
    "text",
    ["yes", "no", "on", "Off", "True", "012", "0x10", "1_000", "12:30", "2026-01-01", "1.10", "1e5", "+1", ".5", "-0"],
)
def test_what_looks_like_text_is_text(folder, text):
    assert entry(folder, f"a: {text}\n") == {"a": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-3", -3), ("1.5", 1.5), ("true", True), ("false", False), ("null", None), ("~", None), ("", None)],
)
def test_plain_values_have_their_type(folder, text, value):
    found = entry(folder, f"a: {text}\n")["a"]
    assert (found, type(found)) == (value, type(value))


def test_braces_percent_and_dollars_are_nothing_special(folder):
    assert entry(folder, "a: '{{ x }} {% y %} $z %n'\n") == {"a": "{{ x }} {% y %} $z %n"}


def test_one_part_of_a_file_may_be_used_twice(folder):
    assert entry(folder, "a: &same {x: 1}\nb: *same\n") == {"a": {"x": 1}, "b": {"x": 1}}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.text(st.characters(exclude_categories=["Cs", "Cn", "Co", "Cc"]) | st.sampled_from("\n\t\x01"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcdef: #-'\"", max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), values, min_size=1, max_size=3))
def test_what_is_quoted_arrives_as_it_is(data):
    # JSON is YAML, and quotes all text.
    text = json.dumps(data, ensure_ascii=False)
    assert yaml.load(text, Loader=files._Loader) == data  # noqa: S506 - the loader that is tested


@given(st.binary(max_size=60) | st.text(":-[]{}#&*!|>'\"%@`, \n\tab01~", max_size=40).map(str.encode))
def test_any_file_is_an_entry_or_an_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("services")
    (folder / "notes.yaml").write_bytes(data)
    answer = read(folder)
    assert len(answer["services"]) + len(answer["services_errors"]) == 1
    assert all(str(folder / "notes.yaml") in text for text in answer["services_errors"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", "/notes.yaml:4: key 'c' is there twice, first in line 3"),
        ("a: [1\nb: 2\n", "/notes.yaml:1: while parsing a flow sequence"),
        ("a: 1\n\tb: 2\n", "/notes.yaml:2: while scanning a plain scalar, found a tab character"),
        ("a: 1\n---\nb: 2\n", "/notes.yaml:2: expected a single document"),
        ("a: &x [*x]\n", "/notes.yaml:1: found unconstructable recursive node"),
        ("a: !!python/object:os.system x\n", "/notes.yaml:1: the tag tag:yaml.org,2002:python/object:os.system"),
        ("a: !!binary aGk=\n", "/notes.yaml:1: the tag"),
        ("a: !!bool x\n", "/notes.yaml:1: 'x' is not true or false"),
        ("a: *nonesuch\n", "/notes.yaml:1: found undefined alias"),
        ("? [a]\n: b\n", "/notes.yaml:1: a key must be text"),
        ("", "/notes.yaml:1: holds nothing; an entry is a mapping of keys, at least image: NAME:TAG"),
        ("# nothing yet\n", "/notes.yaml:1: holds nothing"),
        ("- image\n", "/notes.yaml:1: is no mapping"),
        ("a: 1\nb: \x07\n", "/notes.yaml:2: '\\x07' is not allowed in YAML"),
        ("[" * 5000, "/notes.yaml:"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(folder, text, told):
    (folder / "notes.yaml").write_text(text)
    assert error(folder).startswith(told)


@pytest.mark.parametrize(
    ("text", "line", "done"),
    [
        ("a:\n\tb: 2\n", 2, "indent with spaces, not with tabs"),
        ("a: 1\n \tb: 2\n", 2, "indent with spaces, not with tabs"),
        ("a: 1\n b: 2\n", 2, "the line is indented wrongly, or its value takes quotes for its colon"),
        ("a: it: is\n", 1, "the line is indented wrongly, or its value takes quotes for its colon"),
        ("a: 1\nb:2\nc: 3\n", 2, "behind a key stand a colon and a space"),
        ("a: 1\nb: @c\n", 2, "put quotes around the value"),
        ("a: *\n", 1, "put quotes around a value that begins with *"),
        ("a: *b\n", 1, "put quotes around a value that begins with *"),
        ("a: 1\nb: 'c\nd: 1\n", 2, "a quote that opens here is not closed"),
        ("a: 1\nb: {c\nd: 1\n", 2, "a brace or bracket that opens here is not closed; as text it takes quotes"),
        ("a:\n  b: 1\n c: 2\n", 3, "the line is indented wrongly, or something stands behind a closing quote"),
        ("a: 'b' c\n", 1, "the line is indented wrongly, or something stands behind a closing quote"),
        ("a: {{ b }}\n", 1, "put quotes around a value that begins with a brace"),
    ],
)
def test_a_mistake_that_people_make_is_told_with_what_to_do(folder, text, line, done):
    (folder / "notes.yaml").write_text(text)
    assert error(folder).startswith(f"/notes.yaml:{line}: ")
    assert error(folder).endswith(done)


def test_what_is_not_utf_8_is_named_with_its_line(folder):
    (folder / "notes.yaml").write_bytes(b"a: 1\nb: \xff\n")
    assert error(folder) == "/notes.yaml:2: not UTF-8"


def test_one_bad_file_hides_no_other(folder):
    (folder / "bad.yaml").write_text("[")
    (folder / "good.yaml").write_text("image: a:1\n")
    answer = read(folder)
    assert list(answer["services"]) == ["good"]
    assert len(answer["services_errors"]) == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("notes.yml", "/notes.yml: not read; if it is one of them, rename it to notes.yaml"),
        ("notes.sls", "/notes.sls: not read; if it is one of them, rename it to notes.yaml"),
        ("README", "/README: not read; only files NAME.yaml belong here, move everything else elsewhere"),
        (
            "notes.yaml.bak",
            "/notes.yaml.bak: not read; only files NAME.yaml belong here, move everything else elsewhere",
        ),
    ],
)
def test_a_stray_file_is_no_silent_miss(folder, name, told):
    (folder / name).write_text("image: a:1\n")
    assert error(folder) == told


@pytest.mark.parametrize("name", [".notes.yaml.swp", ".notes.yaml", "notes.yaml~", "#notes.yaml#", ".git"])
def test_what_editors_leave_is_passed_over(folder, name):
    (folder / name).write_text("[")
    assert read(folder) == {"services": {}, "services_errors": []}


def test_a_folder_in_the_place_of_a_file_is_named(folder):
    (folder / "notes.yaml").mkdir()
    assert error(folder).startswith("/notes.yaml: ")


def test_a_link_to_nothing_is_named(folder):
    (folder / "notes.yaml").symlink_to("/nonexistent")
    assert error(folder) == "/notes.yaml: No such file or directory"


def test_a_pipe_does_not_hold_the_run(folder):
    os.mkfifo(folder / "notes.yaml")
    assert error(folder).startswith("/notes.yaml: not a file")


def test_a_file_that_others_may_write_is_refused(folder):
    (folder / "notes.yaml").write_text("image: a:1\n")
    (folder / "notes.yaml").chmod(0o664)
    assert error(folder) == "/notes.yaml: others than its owner may write it (mode 0664); chmod go-w /notes.yaml"


def test_a_folder_that_others_may_write_is_refused(folder):
    (folder / "notes.yaml").write_text("image: a:1\n")
    folder.chmod(0o777)
    assert error(folder).startswith(": others than its owner may write it (mode 0777)")


def test_a_file_of_somebody_else_is_refused(folder, monkeypatch):
    (folder / "notes.yaml").write_text("image: a:1\n")
    owner = folder.stat().st_uid
    monkeypatch.setattr(files.os, "geteuid", lambda: owner + 1)
    status = os.stat_result((0o100644, 0, 0, 1, owner + 2, 0, 0, 0, 0, 0))
    with pytest.raises(files._Unusable, match="give it to root: chown root: /x"):
        files._check_owner("/x", status)


def test_a_file_too_large_for_an_entry_is_refused(folder):
    (folder / "notes.yaml").write_text("a: " + "x" * files.LARGEST)
    assert "larger than 1024 KiB" in error(folder)


def test_an_entry_in_both_places_is_an_error_and_none_wins(folder):
    (folder / "notes.yaml").write_text("image: a:1\n")
    answer = read(folder, {"rick": {"services": {"notes": {"image": "b:1"}, "wiki": {"image": "c:1"}}}})
    assert answer["services"] == {}
    assert answer["services_errors"] == [
        f"{folder}/notes.yaml: there is also a rick:services:notes in the pillar; keep one of them"
    ]


@pytest.mark.parametrize("ordinary", [[], "notes", 1, False])
def test_services_of_the_pillar_that_are_no_mapping_are_an_error(folder, ordinary):
    answer = read(folder, {"rick": {"services": ordinary}})
    assert answer["services_errors"] == [
        f"rick:services of the pillar: {ordinary!r} is not a mapping of entries by name"
    ]


@pytest.mark.parametrize("pillar", [{}, {"rick": None}, {"rick": []}, {"rick": {"services": None}}])
def test_a_pillar_without_services_is_no_error(folder, pillar):
    assert read(folder, pillar) == {"services": {}, "services_errors": []}


def test_aliases_are_refused_before_they_become_gigabytes(folder):
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    (folder / "a.yaml").write_text(bomb)
    assert error(folder) == "/a.yaml:1: larger than 1024 KiB once its aliases (*) are written out"
