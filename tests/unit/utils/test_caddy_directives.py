"""
Directives that a person wrote: taken apart without loss, and refused if they reach beyond their place.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

caddy_directives = load("utils", "caddy_directives")


def statements(text):
    return caddy_directives.statements("service notes: site:directives", text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("header X-Foo bar", ["header"]),
        ("header X-Foo bar\n\nencode gzip\n", ["header", "encode"]),
        ("handle_errors {\n  respond 1\n}\nencode gzip", ["handle_errors", "encode"]),
        ("handle /a {\n  handle {\n    respond 1\n  }\n}", ["handle"]),
        ("@x path /x/*\nredir @x /y", ["@x", "redir"]),
        ("header X \\\n  y\nencode gzip", ["header", "encode"]),
        ('respond "two\nlines"\nencode gzip', ["respond", "encode"]),
        ('respond "a \\" } b"\nencode gzip', ["respond", "encode"]),
        ('respond `a " } b`\nencode gzip', ["respond", "encode"]),
        ("respond {http.request.host}", ["respond"]),
        ("# } nothing\nencode gzip # }", ["encode", ""]),
    ],
)
def test_a_text_is_taken_apart_into_its_directives(text, names):
    assert [one["name"] for one in statements(text)] == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("}\nevil.example {\n  respond 1\n", "a } too many"),
        ("handle {\n}\n}", "a } too many"),
        ("handle {", "is not closed"),
        ("{\n}", "a block without a name"),
        ('respond "x', '" is not closed'),
        ("respond `x", "` is not closed"),
        ("import /etc/passwd", "import /etc/passwd"),
        ("import *", "import *"),
        ("handle {\n  import ../other.caddy\n}", "import ../other.caddy"),
        ('"import" /etc/passwd', "import /etc/passwd"),
        ("respond {$HOME}", "{env.NAME}"),
        ("respond <<END\n}\nEND", "heredocs"),
        ('handle "{"', "by itself"),
        ("header X \\\n", "nothing continues it"),
        ("header X \\\n\nencode gzip", "nothing continues it"),
        ("header X \\\n# why\nencode gzip", "nothing continues it"),
        ("header X y\\\\\nencode gzip", "ends with a backslash"),
        ("header X y \\", "ends with a backslash"),
        ('header X \\"a {"', "begins or ends with a backslash"),
        ("encode gzip # \\ why", "a backslash in a comment"),
        ("respond \x00", "'\\x00'"),
        ("respond 1\r\n", "'\\r'"),
    ],
)
def test_what_would_reach_beyond_its_place_is_refused_by_name(text, words):
    with pytest.raises(SaltInvocationError) as refusal:
        statements(text)
    assert str(refusal.value).startswith("service notes: site:directives: ")
    assert words in str(refusal.value)


def test_a_snippet_may_be_imported_by_its_name():
    assert [one["name"] for one in statements("import security-headers strict")] == ["import"]


def test_lines_are_ready_to_be_indented_unless_that_would_change_a_text():
    (block, text) = statements('  handle {\n    respond 1\n  }\n  respond "two\n  lines"\n')
    assert block["lines"] == ["handle {", "  respond 1", "}"]
    assert text["lines"] == ['respond "two\n  lines"']


def test_a_comment_is_not_lost():
    lines = [line for one in statements("# why\nencode gzip # really\n# end") for line in one["lines"]]
    assert lines == ["# why", "encode gzip", "# really", "# end"]


PIECES = st.sampled_from(["{", "}", '"', "`", "#", "\\", "\n", " ", "\t", "import", "/x", "a", "$", "<<", "é", "{$"])


@given(st.lists(PIECES, max_size=30).map("".join))
def test_any_text_is_refused_or_kept_with_its_braces_closed(text):
    try:
        found = statements(text)
    except SaltInvocationError:
        return
    lines = "\n".join(line for one in found for line in one["lines"])
    again = statements(lines)
    assert [one["name"] for one in again] == [one["name"] for one in found]
    words = lambda text: "".join(text.split())  # noqa: E731
    assert words(lines) == words(text)
