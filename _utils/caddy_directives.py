"""
Lines of a Caddyfile that a person wrote: taken apart as Caddy's own lexer does, and checked, so that they stay where
they are put.
"""

import re
import textwrap

from salt.exceptions import SaltInvocationError

# Not part of what happens to a request, so Caddy accepts them beside the route only.
BESIDE_THE_ROUTE = ("bind", "handle_errors", "log")
SNIPPET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def beside_the_route():
    """
    Return the names of the directives that stand in a site, not in its route.
    """
    return BESIDE_THE_ROUTE


def statements(place, text):
    """
    Return the directives of a text, in order: a list of ``{"name", "lines"}``, blocks and comments included.

    place
        What the text is, for the errors, for example ``service notes: site:directives``.

    text
        Lines as in a Caddyfile.

    Raises SaltInvocationError for braces or quotes that do not close, and for
    what would reach beyond these lines: files that are imported, variables
    that are replaced when Caddy reads the file, heredocs.
    """
    found = []
    depth = 0
    end = 0
    for token in _tokens(place, text):
        word = token["word"]
        _refuse(place, token, text)
        if token["first"] and depth == 0:
            if token["bare"] and word == "{":
                raise SaltInvocationError(f"{place}: a block without a name")
            found.append({"name": word, "rigid": False})
        if token["bare"] and word == "{":
            depth += 1
        elif token["bare"] and word == "}":
            depth -= 1
            if depth < 0:
                raise SaltInvocationError(f"{place}: there is a }} too many")
        end = found[-1]["end"] = token["end"]
        found[-1]["rigid"] |= "\n" in text[token["start"] : end]
    if depth:
        raise SaltInvocationError(f"{place}: a {{ is not closed")
    if text[end:].strip():  # comments at the end
        found.append({"name": "", "rigid": False, "end": len(text)})
    starts = [0, *(one["end"] for one in found)]
    return [
        # What stands before a directive on its first line is the comment behind the one before.
        {"name": one["name"], "lines": _lines(text[start : one["end"]].lstrip(" \t" if start else ""), one["rigid"])}
        for start, one in zip(starts, found, strict=False)
    ]


def _lines(text, rigid):
    """The lines of a directive, ready to be indented; one piece if a quoted text goes over several of them."""
    return [text.strip()] if rigid else textwrap.dedent(text.strip("\n")).rstrip().splitlines()


def _refuse(place, token, text):
    word = token["word"]
    if token["bare"] and word.startswith("<<"):
        raise SaltInvocationError(f"{place}: {word}: heredocs are not accepted; quote the text with ` instead")
    if "{$" in text[token["start"] : token["end"]]:
        raise SaltInvocationError(
            f"{place}: {word}: a variable that is replaced when Caddy reads the file is not accepted; "
            "{env.NAME} is replaced when a request is served"
        )
    # To Caddy it may be one of a quote or of the end of the line.
    if token["bare"] and (word.startswith("\\") or word.endswith("\\")):
        raise SaltInvocationError(f"{place}: {word}: begins or ends with a backslash; quote it with `")
    if not token["bare"] and word in ("{", "}"):
        raise SaltInvocationError(f'{place}: "{word}" by itself, in quotes: some releases of Caddy take it for a brace')
    if token["imported"] and not SNIPPET.fullmatch(word):
        raise SaltInvocationError(
            f"{place}: import {word}: only snippets of /etc/caddy/snippets can be imported here, by their name"
        )


def _tokens(place, text):
    """
    Yield the tokens: ``word`` and ``bare`` (not in quotes), ``first`` of its line, ``imported`` (after ``import``), and
    where they ``start`` and ``end``.
    """
    control = next((character for character in text if not character.isprintable() and character not in "\n\t"), None)
    if control is not None:
        raise SaltInvocationError(f"{place}: holds the character {control!r}")
    position, first, imported = 0, True, False
    while position < len(text):
        character = text[position]
        if character == "\n":
            first = True
            position += 1
        elif text.startswith("\\\n", position):
            position += 2
            following = text[position:].lstrip(" \t")[:1]
            # Or what we write below would continue the line.
            if following in ("", "\n", "#"):
                raise SaltInvocationError(f"{place}: a line ends with a backslash, and nothing continues it")
        elif character.isspace():
            position += 1
        elif character == "#":
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            # Caddy's older releases take the next line for a part of some of these.
            if "\\" in text[position:end]:
                raise SaltInvocationError(f"{place}: {text[position:end]}: a backslash in a comment is not accepted")
            position = end
        else:
            word, end = _token(place, text, position)
            bare = character not in '"`'
            yield {
                "word": word,
                "bare": bare,
                "first": first,
                "imported": imported,
                "start": position,
                "end": end,
            }
            # Wherever it stands: after a quoted text of several lines, Caddy's older releases see the start of a line.
            imported = word == "import"
            first = False
            position = end


def _token(place, text, start):
    """The token that begins at ``start``, and where it ends."""
    quote = text[start]
    if quote in '"`':
        position = start + 1
        while position < len(text) and text[position] != quote:
            # Nothing is escaped between backticks.
            position += 2 if quote == '"' and text[position] == "\\" else 1
        if position >= len(text):
            raise SaltInvocationError(f"{place}: a {quote} is not closed")
        return text[start + 1 : position], position + 1
    position = start
    while position < len(text) and not text[position].isspace():
        if text.startswith("\\\n", position):
            break
        position += 1
    return text[start:position], position
