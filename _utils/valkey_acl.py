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
# Nobody can log in as it, and yet it has all rights: when Valkey replays its append-only file at start, EXEC is judged
# by this user's, and what it may not do is lost without a word (Redis issue 14541).
DEFAULT_OFF = "user default off ~* &* +@all"

TRIAL = "rick-infra-trial"  # has rules for a moment and is off, so that the server can judge them

# What an application may do in the shared Valkey unless its entry says otherwise: everything but what reaches other
# services. Key rules do not cover the following, so they are taken away by name: SCAN and RANDOMKEY (and KEYS, which
# is @dangerous) answer with everybody's key names, so does CLIENT TRACKING in broadcast mode; PUBSUB lists
# everybody's channels; FUNCTION replaces and SCRIPT FLUSH or KILL ends what others run.
SHARED_COMMANDS = (
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
# In an instance there is nobody else: what speaks of all keys speaks of the application's own.
INSTANCE_COMMANDS = (
    "+@all",
    "-@dangerous",
    "+info",
    "+keys",
    "+sort",
    "+sort_ro",
    "+flushdb",
    "+flushall",
    "+swapdb",
    "+role",
    "+client|list",
)
# What no entry can ask for: it changes users, settings or the server itself, or shows what everybody sends.
FORBIDDEN = frozenset(
    {
        "@admin",
        "@dangerous",
        "acl",
        "cluster",
        "config",
        "debug",
        "failover",
        "migrate",
        "module",
        "monitor",
        "pfdebug",
        "psync",
        "replconf",
        "replicaof",
        "restore-asking",
        "shutdown",
        "slaveof",
        "sync",
    }
)
# What in the shared Valkey reaches other services' keys, scripts or connections besides.
FORBIDDEN_SHARED = frozenset(
    {
        "bgrewriteaof",
        "bgsave",
        "client",
        "client|kill",
        "client|no-evict",
        "client|pause",
        "client|unblock",
        "client|unpause",
        "commandlog",
        "flushall",
        "flushdb",
        "function",
        "latency",
        "save",
        "script",
        "script|kill",
        "slowlog",
        "swapdb",
    }
)

# Words that mean the default. 8.1 writes the first in ACL LIST and 9.1 does not; 9.1 may write the second.
_DEFAULT_WORDS = frozenset({"sanitize-payload", "alldbs"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_PREFIX = re.compile(r"[!-~]+")  # printable ASCII without the space, which separates rules
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


def trial():
    """
    Return the name of the user that has an application's rules for a moment, for the server to judge them.
    """
    return TRIAL


def line(name, password, prefix, commands=()):
    """
    Return the ACL line of an application's user.

    name
        The user: a letter or underscore, then letters, digits and ``_.-``.

    password
        In clear; only its SHA-256 gets into the line.

    prefix
        What its keys and channels begin with, taken literally. None: all keys and channels, of an instance.

    commands
        Rules such as ``+scan``, ``-@write``, ``+client|id``, applied in order after what applications may do anyway.
        ``-@all`` takes all of that away. What a category adds does not bring back what is denied to all; that takes
        a rule for the command itself.

    Raises SaltInvocationError that names the user and the rule, above all for one that would give away users,
    settings or other services' keys.
    """
    check_name(name)
    if prefix is None:
        reach = ["~*", "&*"]
    else:
        if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
            raise SaltInvocationError(
                f"valkey user {name}: prefix {prefix!r}: printable ASCII characters without spaces, one at least"
            )
        reach = [f"~{literal(prefix)}*", "resetchannels", f"&{literal(prefix)}*"]
    rules = _commands(name, commands, INSTANCE_COMMANDS if prefix is None else SHARED_COMMANDS, prefix is not None)
    return " ".join(["user", name, "on", f"#{password_hash(password)}", *reach, *rules])


def literal(text):
    """
    Return a glob pattern of Valkey's that stands for this text and nothing else.
    """
    return re.sub(r"[*?\[\]\\^]", r"\\\g<0>", text)


def prefix(text):
    """
    Return the prefix that an ACL line of ``line`` is bound to, or None if it has not exactly one.
    """
    patterns = [word for word in text.split() if word.startswith(("~", "%"))]
    if len(patterns) != 1 or not re.fullmatch(r"~([^\\*?\[\]^]|\\.)+\*", patterns[0]):
        return None
    return re.sub(r"\\(.)", r"\1", patterns[0][1:-1])


def overlapping(name, wanted, users):
    """
    Return the other users whose prefix begins with ``wanted``, or whose prefix ``wanted`` begins with.

    users
        ``{name: ACL line}``.
    """
    others = {other: prefix(text) for other, text in users.items() if other != name}
    return sorted(
        other for other, theirs in others.items() if theirs and (theirs.startswith(wanted) or wanted.startswith(theirs))
    )


def off(text):
    """
    Return an ACL line whose user cannot log in.
    """
    words = text.split()
    return " ".join([*words[:2], "off", *words[3:]])


def check_name(name):
    """
    Raise SaltInvocationError unless ``name`` may be the name of an application's user.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SaltInvocationError(
            f"valkey user {name!r}: a name is a letter or underscore, then up to 62 letters, digits or _.-"
        )
    if name in ("default", ADMINISTRATOR, TRIAL):
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


def _commands(name, asked, base, shared):
    """All rules after what the server does to them: a later rule for the same thing replaces the earlier ones."""
    if isinstance(asked, str) or not all(isinstance(rule, str) for rule in asked):
        raise SaltInvocationError(f"valkey user {name}: commands is a list of words without spaces, not {asked!r}")
    asked = [rule.lower() for rule in asked]
    # A category may hold what is denied to all, so the denials follow it once more.
    again = [rule for rule in base[1:] if rule.startswith("-") or "-@all" not in asked]
    rules = ["-@all"]
    for rule in base:
        rules = _with(rules, rule)
    for rule in asked:
        _check_command(name, rule, shared)
        for one in [rule, *(again if rule.startswith("+@") else [])]:
            rules = _with(rules, one)
    return rules


def _with(rules, rule):
    target = rule[1:]
    if target == "@all":
        return [rule]
    return [*(old for old in rules if old[1:] != target and not old[1:].startswith(f"{target}|")), rule]


def _check_command(name, rule, shared):
    if not _COMMAND.fullmatch(rule):
        raise SaltInvocationError(
            f"valkey user {name}: command rule {rule!r}: write +COMMAND, -COMMAND, +COMMAND|SUBCOMMAND or +@CATEGORY"
        )
    target = rule[1:]
    command = target.partition("|")[0]
    if rule.startswith("-"):
        return
    if target in FORBIDDEN or command in FORBIDDEN:
        raise SaltInvocationError(
            f"valkey user {name}: command rule {rule}: would give away the server itself; no service can have it"
        )
    if shared and (target in FORBIDDEN_SHARED or (command in FORBIDDEN_SHARED - {"client", "script"})):
        raise SaltInvocationError(
            f"valkey user {name}: command rule {rule}: reaches other services in the shared Valkey; "
            "take an instance (isolation: instance)"
        )
