"""
The text of Quadlet files: read, put together and written.

What a container, pod, network or volume was made from is remembered by Podman
as the label ``rick-infra.digest``. That is how a run can tell whether what runs
is what is declared.
"""

import hashlib
import re
import shlex

from salt.exceptions import SaltInvocationError

HEADER = "# Written by Salt (quadlet.{kind}). Changes made here are undone by the next run."
DIGEST_LABEL = "rick-infra.digest"
SERVICE_LABEL = "rick-infra.service"
SERVICE_SECTION = "X-RickInfra"  # for images, which carry no labels; systemd and Quadlet pass over X- sections

# A network or volume is made once, from its own section alone: nothing else in the file makes it another one.
DIGESTED = {
    "pod": ("Pod", "Service"),
    "container": ("Container", "Service"),
    "volume": ("Volume",),
    "network": ("Network",),
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")  # of a section or a key
_CARRIED = re.compile(rf"^(?:Label=|PodmanArgs=--label=){re.escape(DIGEST_LABEL)}=(\w+)$", re.MULTILINE)
_TRUE = ("1", "yes", "true", "on")


class Unit:
    """
    A Quadlet file: its lines in order, each a tuple of section, key and value.

    A line without meaning (a comment, an empty line) has the key None and its
    text as value; before the first section, its section is None.
    """

    def __init__(self, kind, lines):
        self.kind = kind
        self.own = kind.capitalize()  # the section that makes a file one of its kind, for example Container
        self.lines = list(lines)

    def sections(self):
        """
        Return the names of the sections, in order.
        """
        return list(dict.fromkeys(section for section, _, _ in self.lines if section))

    def pairs(self):
        """
        Return the pairs of section and key, in order, each once.
        """
        return list(dict.fromkeys((section, key) for section, key, _ in self.lines if key))

    def has(self, section, key):
        """
        Return whether the unit says anything about a key, even that it has no value.
        """
        return any(line[:2] == (section, key) for line in self.lines)

    def values(self, section, key):
        """
        Return all values of a key; an empty one takes those before it back. Quotes around a value are left out.
        """
        found = []
        for line in self.lines:
            if line[:2] == (section, key):
                value = line[2].strip().strip('"')
                found = [*found, value] if value else []
        return found

    def last(self, section, key):
        """
        Return the last value of a key, None if it has none.
        """
        found = self.values(section, key)
        return found[-1] if found else None

    def words(self, section, key):
        """
        Return all words of all values of a key, as a command line would have them.

        Raises SaltInvocationError for quotes that do not end.
        """
        found = []
        for line in self.lines:
            if line[:2] == (section, key):
                try:
                    found = [*found, *shlex.split(line[2])] if line[2].strip() else []
                except ValueError as error:
                    raise SaltInvocationError(f"[{section}] {key}={line[2]}: {error}") from error
        return found

    def is_true(self, section, key):
        """
        Return whether the last value of a key means yes (systemd.syntax(7)).
        """
        return (self.last(section, key) or "").lower() in _TRUE

    def with_added(self, section, *pairs):
        """
        Return the unit with further pairs of key and value at the end of a section, which is made if there is none.
        """
        new = [(section, key, str(value)) for key, value in pairs]
        end = len(self.lines) - 1
        place = max((index for index, line in enumerate(self.lines) if line[0] == section and line[1]), default=end)
        return Unit(self.kind, [*self.lines[: place + 1], *new, *self.lines[place + 1 :]])

    def with_lines_of(self, others):
        """
        Return the unit with the lines of others behind its own, as drop-ins add theirs.
        """
        return Unit(self.kind, [*self.lines, *(line for other in others for line in other.lines)])

    def digest(self):
        """
        Return the digest of what the unit makes, without comments and without the digest itself; None for images.

        Two texts with the same digest make the same container, pod, network or volume.
        """
        sections = DIGESTED.get(self.kind)
        if sections is None:
            return None
        counted = [line for line in self.lines if line[0] in sections and line[1] and DIGEST_LABEL not in line[2]]
        counted.sort(key=lambda line: sections.index(line[0]))  # the order of sections means nothing
        return hashlib.sha256(repr(counted).encode()).hexdigest()[:16]

    def with_digest(self):
        """
        Return the unit with the label that carries its digest into Podman. Images cannot carry one.
        """
        value = self.digest()
        if value is None:
            return self
        return self.with_added(self.own, self._label(f"{DIGEST_LABEL}={value}"))

    def with_service(self, name):
        """
        Return the unit with the mark of the service that it belongs to: a label, which what it makes carries as well.
        """
        if self.kind == "image":
            return self.with_added(SERVICE_SECTION, ("Service", name))
        return self.with_added(self.own, self._label(f"{SERVICE_LABEL}={name}"))

    def service(self):
        """
        Return the name of the service that the unit belongs to, None if it has no such mark.
        """
        if self.kind == "image":
            return self.last(SERVICE_SECTION, "Service")
        key, label = self._label(f"{SERVICE_LABEL}=")
        found = [value.removeprefix(label) for value in self.values(self.own, key) if value.startswith(label)]
        return found[-1] if found else None

    def _label(self, label):
        """Pods have a key for labels since Podman 5.6 only."""
        return ("PodmanArgs", f"--label={label}") if self.kind == "pod" else ("Label", label)

    def text(self):
        """
        Return the text of the unit.
        """
        written = []
        current = None
        for section, key, value in self.lines:
            if section != current:
                if written and written[-1]:
                    written.append("")
                written.append(f"[{section}]")
                current = section
            written.append(value if key is None else f"{key}={value}")
        return "\n".join(written).rstrip("\n") + "\n"

    def file_text(self):
        """
        Return the text of the unit's file, with the comment that says where it comes from.
        """
        return f"{HEADER.format(kind=self.kind)}\n\n{self.text()}"


def unit(kind, definition):
    """
    Return the unit that a definition describes.

    definition
        ``{section: {key: value or list of values}}``. Numbers are written as
        they are, true and false as ``true`` and ``false``. An empty text
        takes earlier values of that key back, as in systemd.

    Raises SaltInvocationError that lists every place that is not of this form,
    or that would continue on another line and so declare something else.
    """
    if not isinstance(definition, dict) or not definition:
        raise SaltInvocationError(f"definition: {definition!r} is not a mapping of sections")
    problems = []
    lines = []
    for section, keys in definition.items():
        if not isinstance(section, str) or not _NAME.fullmatch(section):
            problems.append(f"{section!r} is not the name of a section")
            continue
        if not isinstance(keys, dict):
            problems.append(f"[{section}] is not a mapping of keys to values")
            continue
        for key, value in keys.items():
            try:
                lines += _lines(section, key, value)
            except SaltInvocationError as error:
                problems.append(str(error))
    if problems:
        raise SaltInvocationError("definition: " + "; ".join(problems))
    return Unit(kind, lines)


def parse(kind, text, place):
    """
    Return the unit that a text holds, with its comments.

    place
        Where the text is from, for the error message.

    Raises SaltInvocationError that names the place and the line.
    """
    lines = []
    section = None
    pending = None  # a key and the value so far, if the line before ended in a backslash
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if pending:
            if line[:1] in ("#", ";"):
                continue  # systemd.syntax(7): comments within a continued line are skipped
            key, value = pending
            value = f"{value} {line}"
        elif not line or line[0] in "#;":
            lines.append((section, None, line))
            continue
        elif line[0] == "[":
            if line[-1] != "]":
                raise SaltInvocationError(f"{place}:{number}: {line!r} is not a section")
            section = line[1:-1]
            continue
        else:
            key, equals, value = (part.strip() for part in line.partition("="))
            if not equals or not _NAME.fullmatch(key) or section is None:
                raise SaltInvocationError(f"{place}:{number}: {line!r} is not KEY=VALUE in a section")
        pending = None
        if value.endswith("\\"):
            pending = (key, value[:-1].rstrip())
        else:
            lines.append((section, key, value))
    if pending:
        raise SaltInvocationError(f"{place}: the last line ends in a backslash")
    return Unit(kind, lines)


def carried_digest(text):
    """
    Return the digest that a file or generated unit carries as its label, None if it carries none.
    """
    found = _CARRIED.findall(text or "")
    return found[-1] if found else None


def _lines(section, key, value):
    if not isinstance(key, str) or not _NAME.fullmatch(key):
        raise SaltInvocationError(f"[{section}] {key!r} is not the name of a key")
    return [(section, key, _value(section, key, one)) for one in (value if isinstance(value, list) else [value])]


def _value(section, key, value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise SaltInvocationError(f"[{section}] {key}: {value!r} is not text, a number, true, false or a list of them")
    text = str(value).strip()
    # A line break would begin another line, which could be another key; a backslash at the end would swallow the next.
    if len(text.splitlines()) > 1 or "\0" in text or text.endswith("\\"):
        raise SaltInvocationError(f"[{section}] {key}: {value!r} does not fit into one line")
    return text
