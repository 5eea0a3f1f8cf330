"""
What may be declared as a service's secrets and values, and how a value comes about.

A secret is called ``SERVICE.SECRET``, an environment value ``SERVICE.CONTAINER.VARIABLE``:
the number of parts keeps the two apart, in Podman too. The names of services,
secrets and containers have no dots; those of variables may.
"""

import re
import secrets
import string
from urllib.parse import quote_from_bytes

import salt.utils.data
from salt.exceptions import CommandExecutionError, SaltException, SaltInvocationError

SERVICE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")
SECRET = re.compile(r"[a-zA-Z0-9_-]+")
VARIABLE = re.compile(r"[a-zA-Z0-9_-]+\.[a-zA-Z_][a-zA-Z0-9_.-]*")
LONGEST_NAME = 253  # characters; podman-secret-create(1)
ALPHABETS = {
    "urlsafe": f"{string.ascii_letters}{string.digits}-_",
    "hex": "0123456789abcdef",
    "letters": string.ascii_letters,
    "digits": string.digits,
    "alphanumeric": f"{string.ascii_letters}{string.digits}",
}
LENGTH = 43  # characters of the alphabet urlsafe: 258 bits
LONGEST = 65_536  # characters of a generated secret
SOURCES = ("generate", "pillar", "file")
PILLAR = "/etc/rick-infra/pillar/site.sls"


def prefix(service):
    """
    Return what the names of all secrets and values of a service begin with.

    Raises SaltInvocationError for a name that would reach into another service's.
    """
    if not isinstance(service, str) or not SERVICE.fullmatch(service):
        raise SaltInvocationError(
            f"service {service!r}: use letters, digits, _ and - in its name, beginning with a letter or digit"
        )
    return f"{service}."


def secrets_of(service, names):
    """
    Return those of some names that are secrets of the service, sorted.
    """
    return sorted(name for name in names if name.startswith(f"{service}.") and name.count(".") == 1)


def declared(service, declarations):
    """
    Return where each declared secret comes from, ``{SERVICE.SECRET: (source, detail)}``.

    source
        ``generate``, with ``{"length", "alphabet"}`` complete as the detail; or
        ``pillar``, with the colon-separated path; or ``file``, with the path.

    Raises SaltInvocationError that names every mistake.
    """
    return _checked(service, declarations, SECRET, "SECRET", _source)


def composed(service, values):
    """
    Return the parts of each declared value, ``{SERVICE.CONTAINER.VARIABLE: parts}``.

    A part is ``{"text"}``, or ``{"secret", "encode"}`` where ``encode`` is None or ``url``.

    Raises SaltInvocationError that names every mistake.
    """
    return _checked(service, values, VARIABLE, "CONTAINER.VARIABLE", _parts)


def generate(length, alphabet):
    """
    Return a new random value, as bytes.

    length
        Number of characters.

    alphabet
        Those that may occur, or the name of some: ``urlsafe``, ``hex``, ``letters``, ``digits``, ``alphanumeric``.
    """
    characters = ALPHABETS.get(alphabet, alphabet)
    return "".join(secrets.choice(characters) for _ in range(length)).encode()


def join(parts, known):
    """
    Return the value that parts make, as bytes; None if a secret has none yet.

    known
        The values of the secrets that occur, ``{name: bytes or None}``.
    """
    pieces = []
    for part in parts:
        if "text" in part:
            pieces.append(part["text"].encode())
            continue
        value = known[part["secret"]]
        if value is None:
            return None
        pieces.append(quote_from_bytes(value, safe="").encode() if part["encode"] == "url" else value)
    return b"".join(pieces)


def from_pillar(pillar, place, resolved):
    """
    Return a value of the pillar, as bytes.

    pillar
        The host's. Not what ``pillar.get`` gives, which masks values.

    place
        Colon-separated.

    resolved
        What returns the value at an ``sdb://`` address: ``sdb.get``, strict.

    Raises CommandExecutionError if there is none, or it is no text.
    """
    value = salt.utils.data.traverse_dict_and_list(pillar, place, None)
    if value is None:
        broken = " (and the pillar has errors: salt-call pillar.items)" if pillar.get("_errors") else ""
        raise CommandExecutionError(f"the pillar has no {place}{broken}: set it, for example in {PILLAR}")
    if isinstance(value, str) and value.startswith("sdb://"):
        try:
            value = resolved(value)
        except (SaltException, OSError, KeyError) as error:
            raise CommandExecutionError(f"pillar {place}: its sdb:// address gives an error: {error}") from error
        if value is None:
            raise CommandExecutionError(f"pillar {place}: nothing is stored at its sdb:// address")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise CommandExecutionError(f"pillar {place} is {type(value).__name__}, not text: put it in quotes")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise CommandExecutionError(f"pillar {place} has half a character (a lone surrogate)") from None


def _checked(service, given, pattern, form, check):
    start = prefix(service)
    if not isinstance(given, (list, tuple)) or not all(isinstance(one, dict) for one in given):
        raise SaltInvocationError(f"service {service}: a list of mappings is needed, each with a name")
    found, problems = {}, []
    for one in given:
        name = one.get("name")
        if (
            not isinstance(name, str)
            or not name.startswith(start)
            or not pattern.fullmatch(name.removeprefix(start))
            or len(name) > LONGEST_NAME
        ):
            problems.append(
                f"{name!r} is not a name: {start}{form} of letters, digits, _ and -, at most {LONGEST_NAME} long"
            )
            continue
        if name in found:
            problems.append(f"{name} is there twice")
            continue
        try:
            found[name] = check({key: value for key, value in one.items() if key != "name"})
        except SaltInvocationError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise SaltInvocationError(f"service {service}: {'; '.join(problems)}")
    return found


def _source(declaration):
    if len(declaration) != 1 or not declaration.keys() <= set(SOURCES):
        raise SaltInvocationError(f"exactly one of {', '.join(SOURCES)} says where it comes from")
    source, detail = next(iter(declaration.items()))
    if source == "generate":
        return source, _generation(detail)
    if not isinstance(detail, str) or not detail:
        raise SaltInvocationError(f"{source} is not text")
    if source == "file" and not detail.startswith("/"):
        raise SaltInvocationError(f"file {detail}: not an absolute path")
    return source, detail


def _generation(detail):
    if not isinstance(detail or {}, dict) or not (detail or {}).keys() <= {"length", "alphabet"}:
        raise SaltInvocationError("generate takes length and alphabet")
    complete = {"length": LENGTH, "alphabet": "urlsafe", **(detail or {})}
    length, alphabet = complete["length"], complete["alphabet"]
    if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= LONGEST:
        raise SaltInvocationError(f"length {length!r} is not a number from 1 to {LONGEST}")
    if not isinstance(alphabet, str) or len(set(alphabet)) < 2 or not alphabet.isprintable():
        raise SaltInvocationError(f"alphabet {alphabet!r}: at least two different printable characters are needed")
    return complete


def _parts(declaration):
    if declaration.keys() != {"parts"} or not isinstance(declaration["parts"], (list, tuple)):
        raise SaltInvocationError("parts says what it is made of")
    return [_part(part) for part in declaration["parts"]]


def _part(part):
    if not isinstance(part, dict) or not all(isinstance(value, (str, type(None))) for value in part.values()):
        raise SaltInvocationError("a part is a mapping of text")
    if part.keys() == {"text"} and part["text"] is not None:
        try:
            part["text"].encode()
        except UnicodeEncodeError:
            raise SaltInvocationError("a text has half a character (a lone surrogate)") from None
        return {"text": part["text"]}
    if "secret" in part and part.keys() <= {"secret", "encode"} and part.get("encode") in (None, "url"):
        service, _, secret = (part["secret"] or "").partition(".")
        if SERVICE.fullmatch(service) and SECRET.fullmatch(secret):
            return {"secret": part["secret"], "encode": part.get("encode")}
        raise SaltInvocationError(f"secret {part['secret']!r} is not SERVICE.SECRET")
    raise SaltInvocationError("a part has text, or secret and perhaps encode: url")
