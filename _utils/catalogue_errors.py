"""
What is wrong with an entry of the catalogue, in words for people: all of it at once, each with its place.

A value is quoted unless it may be a secret: what stands below ``secrets`` and ``env`` is not.
"""

import copy
import difflib

ROUNDS = 8  # how often what is wrong is taken out to see what else is
LISTED = 16  # words; more is no help
SHOWN = 60  # characters of a value
HIDDEN = ("secrets", "env")
WRAPPERS = ("rick", "services")  # keys that the pillar has around an entry, and its file has not

# Pydantic reports a value that fits no member of a union once for each member.
UNIONS = {
    "user": "service, image, or the number of a uid above 0",
    "tls": "internal, acme, or a mapping with certificate and key",
}
WANTED = {
    "string_type": "text; put quotes around it if it is meant as it is",
    "string_unicode": "text that can be written",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping of names, with a line NAME: VALUE for each",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}
# How other tools call what an entry has a key for.
ELSEWHERE = {
    "cap_add": "capabilities",
    "database": "postgres",
    "depends_on": "needs",
    "domain": "site",
    "domains": "site",
    "environment": "env",
    "healthcheck": "health",
    "ports": "port",
    "redis": "valkey",
}
# What else than a mapping the values below a key may be.
SHORT_FORMS = {
    "secrets": "true, to have one generated, or a mapping that says where it comes from (pillar, file)",
    "volumes": "a path or a mapping with path",
}
# A key with nothing behind it is mostly one whose content is not indented.
EMPTY = ("dict_type", "list_type", "model_type", "model_attributes_type")
ABOUT_A_KEY = ("extra_forbidden", "missing")


def judge(data, name, complete, known_keys, forms):
    """
    Return an entry, complete, and what is wrong with it.

    data
        What the file holds.

    name
        Name of the service.

    complete, known_keys, forms
        The functions of ``catalogue_schema``.

    Returns ``(entry, problems, doubtful)``. Each problem is ``(path, text)`` with a tuple of keys. With problems,
    ``entry`` is what the rest of the data says, good enough to compare it with others; None if it says nothing.
    ``doubtful`` are the paths of what it does not say although something stands there, or was meant to.
    """
    entry, found = complete(data)
    problems: dict[tuple, tuple] = {}
    doubtful: set[tuple] = set()
    removed: set[str] = set()
    rest = copy.deepcopy(data) if found else data
    for _ in range(ROUNDS):
        if entry is not None:
            break
        told = list(_plain(found, rest, name, known_keys, forms()))
        if isinstance(data, dict) and len(data) == 1 and _is_wrapper(tuple(data), name):
            # Nothing is where it belongs: what else is told follows from that.
            return None, [((), text) for path, _, text, _ in told if path == tuple(data)], []
        for path, kind, text, judged_by in told:
            # Without what was taken out, other things may seem to be missing.
            if not removed & set(judged_by):
                problems.setdefault(path, (path[:-1] if kind in ABOUT_A_KEY else path, text))
        doubtful.update(_meant_path(path, kind, known_keys) for path, kind, *_ in told)
        removed.update(str(path[0]) for path, *_ in told if path)
        # From the end of each list to its beginning: what is taken out moves what is behind it.
        for path in sorted((path for path, *_ in told), key=_position, reverse=True):
            _take_out(rest, path)
        if not isinstance(rest, dict):
            break
        # To compare entries nobody needs the image.
        if any(path[-1:] == ("image",) for path in problems):
            rest["image"] = "localhost/unknown:0"
        entry, found = complete(rest)
    return entry, sorted(problems.values(), key=lambda problem: [str(step) for step in problem[0]]), list(doubtful)


def place(name, path):
    """
    Return where the pillar has something: ``rick:services:NAME:KEY:KEY``.
    """
    return ":".join(["rick:services", str(name), *map(str, path)])


def sentence(name, path, text):
    """
    Return a problem as a sentence that begins with its place.
    """
    return f"{place(name, path)}: {text}"


def from_sentence(text):
    """
    Return a sentence of ``catalogue_resolve``, ``service NAME: what is wrong (PLACE)``, with the place in front.
    """
    said, bracket, at = text.rpartition(" (")
    if not bracket or not at.startswith("rick:services:"):
        return text
    return f"{at.removesuffix(')')}: {said.partition(': ')[2]}"


def suggestion(word, known):
    """
    Return the known word that was probably meant, or all of them if they are few, to be put behind a sentence.
    """
    known = [str(one) for one in known]
    meant = _meant(word, known)
    if meant:
        return f" (did you mean {meant!r}?)"
    if len(known) > LISTED:
        return ""
    return f" (known: {', '.join(known)})" if known else ""


def _meant(word, known):
    """The known word that was probably meant, None if there is none like it."""
    elsewhere = ELSEWHERE.get(str(word))
    close = [elsewhere] if elsewhere in known else difflib.get_close_matches(str(word), known, n=1)
    return close[0] if close else None


def _meant_path(path, kind, known_keys):
    """Where something wrong was meant to stand."""
    if kind != "extra_forbidden":
        return path
    return (*path[:-1], _meant(path[-1], known_keys(path[:-1])) or path[-1])


def _plain(found, data, name, known_keys, forms):
    """Pydantic's problems with paths and words of ours: ``(path, kind, text, keys that it was judged by)``."""
    unions = {}
    for problem in found:
        path, tags = _walked(problem["path"], problem["kind"], data)
        if problem["kind"] == "misfit":
            yield path, problem["kind"], problem["text"], problem["context"]["judged_by"]
        elif tags:
            unions.setdefault(path[: tags[0]], []).append((path, tags[0], problem))
        else:
            yield path, problem["kind"], _text(problem, path, name, known_keys, forms), ()
    for members in unions.values():
        yield from _union(members, name, known_keys, forms)


def _walked(steps, kind, data):
    """A path without what pydantic adds for the members of unions, and the positions where it did."""
    path, tags, at = [], [], data
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if step == "[key]":
            continue
        if step in _steps(at):
            at = at[step]
        elif path and path[-1] in UNIONS and not (last and kind in ABOUT_A_KEY):
            tags.append(len(path))
            continue
        path.append(step)
    return tuple(path), tags


def _steps(value):
    """The keys or positions of what is in a value."""
    if isinstance(value, dict):
        return value.keys()
    return range(len(value)) if isinstance(value, list) else ()


def _is_wrapper(path, name):
    return len(path) == 1 and path[0] in (*WRAPPERS, name)


def _union(members, name, known_keys, forms):
    """The problems of the one member that was probably meant, else that it is none."""
    whole = members[0][0][: members[0][1]]
    within = [(path, problem) for path, _, problem in members if path != whole]
    if within:
        for path, problem in within:
            yield path, problem["kind"], _text(problem, path, name, known_keys, forms), ()
    else:
        yield whole, "union", f"{_shown(members[0][2]['given'], whole)} is not {UNIONS[whole[-1]]}", ()


def _text(problem, path, name, known_keys, forms):
    kind, given, context = problem["kind"], problem["given"], problem["context"]
    if problem["path"][-1:] == ("[key]",):
        what = context.get("pattern")
        return f"{path[-1]!r} is not {forms.get(what) if what else 'text, as a name must be'}"
    if kind == "extra_forbidden":
        if _is_wrapper(path, name):
            return f"unknown key {path[0]!r}: the file holds the entry itself, without keys around it"
        return f"unknown key {path[-1]!r}{suggestion(path[-1], known_keys(path[:-1]))}"
    if kind == "missing":
        return f"{path[-1]!r} is missing"
    if given is None and path and kind in EMPTY:
        return "it is empty: indent what belongs to it, or take the key away"
    shown = _shown(given, path)
    if kind == "model_type" and len(path) == 2 and path[0] in SHORT_FORMS:
        return f"{shown} is not {SHORT_FORMS[path[0]]}"
    if kind in WANTED:
        return f"{shown} is not {WANTED[kind]}"
    if kind == "string_pattern_mismatch":
        return f"{shown} is not {forms[context['pattern']]}"
    if kind == "literal_error":
        expected = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        if len(expected) == 1:
            return f"{shown} is not {expected[0]}, the only value so far"
        close = difflib.get_close_matches(str(given), expected, n=1)
        return f"{shown} is none of {', '.join(expected)}{f' (did you mean {close[0]!r}?)' if close else ''}"
    limits = {
        "greater_than_equal": ("ge", "below"),
        "less_than_equal": ("le", "above"),
        "less_than": ("lt", "not below"),
    }
    if kind in limits:
        key, word = limits[kind]
        return f"{shown} is {word} {context[key]}"
    if kind == "greater_than":
        return f"{shown} is not above {context['gt']}"
    if kind == "string_too_long":
        return f"it has more than {context['max_length']} characters"
    if kind == "too_short":
        return "it is empty"
    return problem["text"]


def _shown(value, path):
    if value is None:
        return "nothing (null)"
    if any(step in HIDDEN for step in path):
        return "the value"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _position(path):
    return [(0, step, "") if isinstance(step, int) else (1, 0, str(step)) for step in path]


def _take_out(data, path):
    """Take out what is at a path, or if nothing is there, the innermost of what is above it."""
    at, holder, key = data, None, None
    for step in path:
        if step not in _steps(at):
            break
        holder, key, at = at, step, at[step]
    if holder is not None:
        del holder[key]
