"""
The accounts of this host, from its three files: who there is, who is in which group, who is locked.

One look at the files answers for all accounts, groups and memberships, which
the name service could not do without a question for each.
"""

import os
from pathlib import Path

from salt.exceptions import CommandExecutionError

FOLDER = "/etc"
FILES = ("passwd", "group", "shadow")
MARK = "rick-infra service "  # what the comment (GECOS) of a service's account begins with


def mark(service):
    """
    Return the comment (GECOS) that the account of a service has, and no other.
    """
    return f"{MARK}{service}"


def stamp():
    """
    Return what changes whenever one of the files does.

    Raises CommandExecutionError if one is missing.
    """
    try:
        states = [os.stat(f"{FOLDER}/{file}") for file in FILES]  # noqa: PTH116 - asked often; Path takes three times as long
    except OSError as error:
        raise CommandExecutionError(f"{error.filename}: {error.strerror}") from error
    return [(state.st_ino, state.st_mtime_ns, state.st_size) for state in states]


def read():
    """
    Return ``{"users", "groups"}``.

    A user by name: ``uid``, ``gid``, ``comment``, ``home``, ``shell``,
    ``service`` (whose account it is, None if nobody's), ``groups`` (those that
    name it as a member, sorted), ``password`` (it can log in with one) and
    ``expires`` (days since 1970 until it does, None if never). A group by name: its gid.

    Raises CommandExecutionError if a file cannot be read.
    """
    shadow = {fields[0]: fields for fields in _lines("shadow", 8)}
    groups, memberships = {}, {}
    for name, _, gid, members in _lines("group", 4):
        groups.setdefault(name, int(gid))
        for member in members.split(","):
            memberships.setdefault(member, set()).add(name)
    users = {}
    for name, _, uid, gid, comment, home, shell in _lines("passwd", 7):
        comment = comment.partition(",")[0]
        secret = shadow.get(name, ["", "!"])[1]
        expires = shadow.get(name, [""] * 8)[7]
        users.setdefault(
            name,
            {
                "uid": int(uid),
                "gid": int(gid),
                "comment": comment,
                "home": home,
                "shell": shell,
                "service": comment.removeprefix(MARK) if comment.startswith(MARK) else None,
                "groups": sorted(memberships.get(name, ())),
                "password": not secret.startswith(("!", "*")),
                "expires": int(expires) if expires else None,
            },
        )
    return {"users": users, "groups": groups}


def names(users, groups):
    """
    Return ``{"users", "groups"}``: the first name that each number has, from what ``read`` returns.
    """
    found: dict = {"users": {}, "groups": {}}
    for name, user in users.items():
        found["users"].setdefault(user["uid"], name)
    for name, gid in groups.items():
        found["groups"].setdefault(gid, name)
    return found


def _lines(file, fields):
    """The lines of a file that have as many fields as they should; others (NIS, empty lines) name nobody."""
    path = Path(FOLDER) / file
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise CommandExecutionError(f"{path}: {error.strerror}") from error
    split = [line.split(":") for line in text.splitlines() if line and line[0] not in "+-#"]
    return [found[:fields] for found in split if len(found) >= fields]
