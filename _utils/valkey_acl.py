"""
Lines of Valkey's ACL file, written the way the server repeats them in ACL LIST.

Because both texts are the same, a file and a running server can be compared
line by line. https://valkey.io/topics/acl describes the rules.
"""

import hashlib
import re

from salt.exceptions import CommandExecutionError, SaltInvocationError

ADMINISTRATOR = "rick-infra"
ADMINISTRATOR_RULES = "~* &* +@all"
DEFAULT_OFF = "user default off resetchannels -@all"

# What an application may do unless its state says otherwise: everything but what reaches other services.
# Key rules do not cover the following, so they are taken away by name: SCAN and RANDOMKEY (and KEYS, which is
# @dangerous) answer with everybody's key names, so does CLIENT TRACKING in broadcast mode; PUBSUB lists everybody's
# channels; FUNCTION replaces and SCRIPT FLUSH or KILL ends what others run.
APPLICATION_COMMANDS = (
    "+@all",
    "-@dangerous",
    "-scan",
    "-randomkey",
    "-function",
    "-script|flush",
    "-script|kill",
    "-pubsub",
    "-client|tracking",
)

# Words that mean the default. 8.1 writes the first in ACL LIST and 9.1 does not; 9.1 may write the second.
_DEFAULT_WORDS = frozenset({"sanitize-payload", "alldbs"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_PATTERN = re.compile(r"[!-~]+")  # printable ASCII without the space, which separates rules
_COMMAND = re.compile(r"[+-](@[a-z]+|[a-z0-9_.-]+(\|[a-z0-9_-]+)?)")


def administrator():
    """
    Return the name of the user that Salt logs in as.
    """
    return ADMINISTRATOR


def administrator_lines(password):
    """
    Return the two lines every ACL file of ours has, ``{user: line}``: the default user off, the administrator on.
    """
    return {
        "default": DEFAULT_OFF,
        ADMINISTRATOR: f"user {ADMINISTRATOR} on #{password_hash(password)} {ADMINISTRATOR_RULES}",
    }


def line(name, password, keys=None, channels=None, commands=None):
    """
    Return the ACL line of an application's user.

    name
        The user: a letter or underscore, then letters, digits and ``_.-``.

    password
        In clear; only its SHA-256 gets into the line.

    keys
        Key patterns, for example ``["notes:*"]``, or with a leading ``%R~`` (read only) or ``%W~`` (write only).
        Default: ``NAME:*``. An empty list gives no keys.

    channels
        Channel patterns of publish and subscribe. Default: ``NAME:*``.

    commands
        Rules such as ``+@all``, ``-@dangerous``, ``+client|id``, applied in order; nothing is allowed until one of
        them allows it. Default: ``APPLICATION_COMMANDS``.

    Raises SaltInvocationError that names the user and the rule.
    """
    check_name(name)
    own = [f"{name}:*"]
    rules = [
        *_keys(name, own if keys is None else keys),
        *_channels(name, own if channels is None else channels),
        *_commands(name, APPLICATION_COMMANDS if commands is None else commands),
    ]
    return " ".join(["user", name, "on", f"#{password_hash(password)}", *rules])


def check_name(name):
    """
    Raise SaltInvocationError unless ``name`` may be the name of an application's user.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SaltInvocationError(
            f"valkey user {name!r}: a name is a letter or underscore, then up to 62 letters, digits or _.-"
        )
    if name in ("default", ADMINISTRATOR):
        raise SaltInvocationError(f"valkey user {name}: belongs to valkey.administrator_present")


def parse(text, place):
    """
    Return the users of an ACL file or of ACL LIST, ``{name: canonical line}``.

    place
        Where the text is from, for the error message.

    Raises CommandExecutionError that names the place and the line.
    """
    users = {}
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.split()
        if not words:
            continue
        if words[0] != "user" or len(words) < 2 or words[1] in users:
            raise CommandExecutionError(
                f"{place}:{number}: not a line 'user NAME RULES' of its own; correct or delete it"
            )
        users[words[1]] = canonical(raw)
    return users


def canonical(text):
    """
    Return an ACL line without the words that only repeat a default of the server.
    """
    return " ".join(word for word in text.split() if word not in _DEFAULT_WORDS)


def masked(text):
    """
    Return an ACL line without password hashes (and without a password, should somebody have written one), or None.
    """
    if text is None:
        return None
    return " ".join(f"{word[0]}..." if word[0] in "#>" else word for word in text.split())


def hashes(text):
    """
    Return the password hashes of an ACL line.
    """
    return {word for word in text.split() if word.startswith("#")}


def password_hash(password):
    """
    Return what the ACL file holds of a password: SHA-256, in hexadecimal digits, without salt.
    """
    return hashlib.sha256(password.encode()).hexdigest()


def _keys(name, patterns):
    rules = {}
    for pattern in _listed(name, "keys", patterns):
        access, _, bare = pattern.partition("~") if pattern.startswith(("%", "~")) else ("", "", pattern)
        access = "".join(sorted(access.removeprefix("%").upper()))
        if not bare or access not in ("", "R", "W", "RW") or bare in rules:
            raise SaltInvocationError(
                f"valkey user {name}: key pattern {pattern!r}: write each once, as PATTERN, %R~PATTERN or %W~PATTERN"
            )
        rules[bare] = f"%{access}~{bare}" if access in ("R", "W") else f"~{bare}"
    if rules.get("*") == "~*" and len(rules) > 1:
        raise SaltInvocationError(f"valkey user {name}: key pattern * already covers the others; leave them out")
    return list(rules.values())


def _channels(name, patterns):
    listed = [pattern.removeprefix("&") for pattern in _listed(name, "channels", patterns)]
    if len(set(listed)) != len(listed) or not all(listed):
        raise SaltInvocationError(f"valkey user {name}: a channel pattern is empty or there twice")
    if listed == ["*"]:
        return ["&*"]
    if "*" in listed:
        raise SaltInvocationError(f"valkey user {name}: channel pattern * already covers the others; leave them out")
    return ["resetchannels", *(f"&{pattern}" for pattern in listed)]


def _commands(name, wanted):
    """The rules after what the server does to them: a later rule for the same thing replaces the earlier ones."""
    rules = ["-@all"]
    for raw in _listed(name, "commands", wanted):
        rule = raw.lower()
        if not _COMMAND.fullmatch(rule):
            raise SaltInvocationError(
                f"valkey user {name}: command rule {raw!r}: write +COMMAND, -COMMAND, +COMMAND|SUBCOMMAND or +@CATEGORY"
            )
        target = rule[1:]
        if target == "@all":
            rules = [rule]
            continue
        rules = [old for old in rules if old[1:] != target and not old[1:].startswith(f"{target}|")]
        rules.append(rule)
    return rules


def _listed(name, what, patterns):
    if isinstance(patterns, str) or not all(isinstance(one, str) and _PATTERN.fullmatch(one) for one in patterns):
        raise SaltInvocationError(f"valkey user {name}: {what} is a list of words without spaces, not {patterns!r}")
    return patterns
