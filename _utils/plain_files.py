"""
Plain files of YAML, without templating, as an administrator writes them: what they hold, or why they cannot be used.

The YAML is that of version 1.2, as editors check it. Only ``true``, ``false``,
``null`` and numbers in their plain form are not text: ``yes``, ``012``,
``12:30`` and ``2026-01-01`` mean what they look like, and ``1.10`` does not become 1.1.
"""

import marshal
import os
import re
import stat
import time
from pathlib import Path

import yaml

SUFFIX = ".yaml"
LARGEST = 1024 * 1024  # bytes; more is a mistake
# Nanoseconds. What was changed twice within one tick of the kernel's clock, some milliseconds, looks unchanged.
SETTLED = 2_000_000_000
# What other code than this has read may mean something else.
CODE = Path(__file__).stat().st_mtime_ns
# What editors leave behind while they work: hidden files, and copies with a ~ at the end or in #.
IGNORED = re.compile(r"\..*|.*~|#.*#")
ANOTHER_SUFFIX = re.compile(r"(?P<name>[^.]+)\.(yml|YAML|YML|sls|json)")
TAB = re.compile(r" *\t")
# What a YAML parser complains of, what was most likely done, and whether that was where it began to read.
MISTAKES = (
    ("mapping values are not allowed", "the line is indented wrongly, or its value takes quotes for its colon", False),
    ("could not find expected ':'", "behind a key stand a colon and a space", True),
    ("cannot start any token", "put quotes around the value", False),
    ("undefined alias", "put quotes around a value that begins with *", False),
    ("while scanning an alias", "put quotes around a value that begins with *", False),
    ("while scanning a quoted scalar", "a quote that opens here is not closed", True),
    ("while parsing a flow", "a brace or bracket that opens here is not closed; as text it takes quotes", True),
    ("while parsing a block", "the line is indented wrongly, or something stands behind a closing quote", False),
)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Mappings, lists, text, true and false, null, numbers; keys that are there twice are refused."""

    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - the class's own, as PyYAML wants it
    yaml_constructors: dict = {}  # noqa: RUF012

    def mapping(self, node):
        found, lines = {}, {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _problem("a key must be text; put quotes around a value that begins with a brace", key_node)
            key = self.construct_object(key_node)
            if key in found:
                raise _problem(f"key {key!r} is there twice, first in line {lines[key]}", key_node)
            lines[key] = key_node.start_mark.line + 1
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def sequence(self, node):
        return [self.construct_object(one, deep=True) for one in node.value]

    def number(self, node):
        """A number only if that is how it is written: text that merely looks like one stays as it is."""
        for kind in (int, float):
            try:
                value = kind(node.value)
            except (ValueError, OverflowError):
                continue
            if repr(value) == node.value:
                return value
        return node.value

    def boolean(self, node):
        if node.value not in ("true", "false"):
            raise _problem(f"{node.value!r} is not true or false", node)
        return node.value == "true"

    def unknown(self, node):
        raise _problem(f"the tag {node.tag} means nothing here", node)


def _problem(text, node):
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:map", _Loader.mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _Loader.sequence)
_Loader.add_constructor("tag:yaml.org,2002:str", lambda loader, node: node.value)
_Loader.add_constructor("tag:yaml.org,2002:null", lambda loader, node: None)
_Loader.add_constructor("tag:yaml.org,2002:bool", _Loader.boolean)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)$"), ["t", "f"])
_Loader.add_constructor(None, _Loader.unknown)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?$"), list("-0123456789")
)


def mappings(directory, hint, memory=None):
    """
    Return what the files ``NAME.yaml`` of a folder hold, and what is wrong: ``({name: data}, {path: sentence})``.

    directory
        Path of the folder. It may be missing.

    hint
        What a file should hold, for the sentence about one that holds nothing.

    memory
        A dictionary that is the same one in the next call: then only files are parsed with which anything has happened
        since. It is for this function alone.
    """
    memory = {} if memory is None else memory
    known = memory.get(str(directory), {})
    found, errors, remembered = {}, {}, {}
    for path in _files(Path(directory), errors):
        name = path.name.removesuffix(SUFFIX)
        try:
            found[name], remembered[name] = _again(path, hint, known.get(name))
        except _Unusable as error:
            errors[str(path)] = str(error)
    memory[str(directory)] = remembered  # and nothing of files that are gone
    return found, errors


def mapping(path, hint):
    """
    Return the mapping that a file holds, and why it cannot be used: ``(data, None)`` or ``(None, sentence)``.

    path
        The file.

    hint
        What it should hold.
    """
    try:
        return _load(Path(path), hint)[0], None
    except _Unusable as error:
        return None, str(error)


def identity(status):
    """
    Return what differs as soon as a file or folder is another one, or its content, owner or mode are.

    None if it was changed so shortly ago that it may change again and look the same.

    status
        As from ``os.stat``. It has a time that nobody can set, that of the last change of any kind (ctime).
    """
    if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) < SETTLED:
        return None
    return (
        *(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns),
        *(status.st_mode, status.st_uid, status.st_gid),
    )


class _Unusable(Exception):
    """Why a file cannot be used, with its path and line."""


def _again(path, hint, known):
    """
    What a file holds, and what to remember of it, None if nothing: ``(data, (code, identity, bytes))``.

    It is remembered as bytes, since whoever is given the data may change it.
    """
    try:
        now = identity(path.stat())
    except OSError:  # who reads it says why
        now = None
    if now and known and known[:2] == (CODE, now):
        return marshal.loads(known[2]), known  # noqa: S302 - made below, by this process
    data, status = _load(path, hint)
    now = identity(status)
    return data, (CODE, now, marshal.dumps(data)) if now else None


def _files(folder, errors):
    try:
        _check_owner(folder, folder.stat())
        paths = sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        errors[str(folder)] = f"{folder}: {error.strerror}"
        return []
    except _Unusable as error:
        errors[str(folder)] = str(error)
        return []
    wanted = []
    for path in paths:
        other = ANOTHER_SUFFIX.fullmatch(path.name)
        if IGNORED.fullmatch(path.name):
            continue
        if path.name.endswith(SUFFIX):
            wanted.append(path)
        elif other:
            errors[str(path)] = f"{path}: not read; if it is one of them, rename it to {other['name']}{SUFFIX}"
        else:
            errors[str(path)] = f"{path}: not read; only files NAME{SUFFIX} belong here, move everything else elsewhere"
    return wanted


def _check_owner(path, status):
    """Who may write an entry decides what root runs."""
    if status.st_uid not in (0, os.geteuid()):
        raise _Unusable(f"{path}: belongs to uid {status.st_uid}; give it to root: chown root: {path}")
    if status.st_mode & 0o022:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise _Unusable(f"{path}: others than its owner may write it (mode {mode}); chmod go-w {path}")


def _load(path, hint):
    """What a file holds, and its status when it was read."""
    text, status = _text(path)
    unfit = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if unfit:
        line = text.count("\n", 0, unfit.start()) + 1
        raise _Unusable(f"{path}:{line}: {unfit[0]!r} is not allowed in YAML; in double quotes it can be written \\x..")
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader with less than SafeLoader has
    except yaml.MarkedYAMLError as error:
        raise _Unusable(f"{path}:{_said(error, text)}") from error
    except yaml.YAMLError as error:
        raise _Unusable(f"{path}:1: {error}") from error
    except RecursionError as error:
        raise _Unusable(f"{path}:1: nested too deeply") from error
    if not isinstance(data, dict):
        what = "holds nothing" if data is None else "is no mapping"
        raise _Unusable(f"{path}:1: {what}; {hint}")
    if _size(data, {}) > LARGEST:
        raise _Unusable(f"{path}:1: larger than {LARGEST // 1024} KiB once its aliases (*) are written out")
    return data, status


def _said(error, text):
    """What the parser complains of, behind its line, with what was most likely done."""
    mark = error.problem_mark or error.context_mark
    about = ", ".join(part for part in (error.context, error.problem) if part)
    lines = text.splitlines()
    if mark and mark.line < len(lines) and TAB.match(lines[mark.line]):
        return f"{mark.line + 1}: {about}: indent with spaces, not with tabs"
    for complaint, done, at_beginning in MISTAKES:
        if complaint in about:
            about = f"{about}: {done}"
            mark = error.context_mark if at_beginning and error.context_mark else mark
            break
    return f"{mark.line + 1 if mark else 1}: {about}"


def _size(value, known):
    """About how many characters a value has, each alias of it counted anew: a few of them can mean gigabytes."""
    if not isinstance(value, (dict, list)):
        return len(str(value)) + 1
    if id(value) not in known:
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(one, known) for one in inner)
    return known[id(value)]


def _text(path):
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _Unusable(
                    f"{path}: not a file; only files NAME{SUFFIX} belong here, move everything else elsewhere"
                )
            _check_owner(path, status)
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise _Unusable(f"{path}: {error.strerror}") from error
    if len(data) > LARGEST:
        raise _Unusable(f"{path}: larger than {LARGEST // 1024} KiB, which no such file is")
    try:
        return data.decode("utf-8-sig"), status
    except UnicodeDecodeError as error:
        raise _Unusable(f"{path}:{data.count(bytes([10]), 0, error.start) + 1}: not UTF-8") from error
