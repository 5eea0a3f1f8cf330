"""
Numbers for names: users and client groups are declared by name, and looked up when a state runs.

In test mode, what does not exist yet counts as made by an earlier state of the
same run: a readable placeholder takes the number's place.
"""

import pwd

from salt.exceptions import CommandExecutionError, SaltInvocationError


def of_user(unit, user, groups, test):
    """
    Return a container or volume with the uid and gid of its user.

    user
        Name of a user, or None: the unit is left as it is.

    groups
        Client groups that the container asks for.

    test
        Whether a user that does not exist is a plan, and no error.

    Raises SaltInvocationError for what is no name, or if the unit has ids of
    its own, and CommandExecutionError if there is no such user.
    """
    own = [key for key in ("User", "Group") if unit.has(unit.own, key)]
    if user is None:
        if groups and own:
            raise SaltInvocationError(f"{own[0]}= is a number that nobody checks: say user: NAME in the state instead")
        return unit
    if not isinstance(user, str) or not user or user.isdigit():
        raise SaltInvocationError(f"user: {user!r} is not the name of a user")
    if own:
        raise SaltInvocationError(f"the definition has {own[0]}= already; leave it out, user: {user} gives it")
    try:
        account = pwd.getpwnam(user)
        ids = (str(account.pw_uid), str(account.pw_gid))
    except KeyError as error:
        if not test:
            raise CommandExecutionError(
                f"there is no user {user} on this host: require the state that makes it (user.present)"
            ) from error
        ids = (f"<uid of {user}, made in this run>", f"<gid of {user}, made in this run>")
    return unit.with_added(unit.own, ("User", ids[0]), ("Group", ids[1]))


def of_groups(unit, groups, known, system, facts, test):
    """
    Return a container with the gids of its client groups, on which facts and system must agree.

    groups
        Names of client groups.

    known, system
        What ``client_groups`` says: which are declared, and their gids on this host.

    facts
        The published gids, ``{group: gid}``.

    test
        Whether a group that is missing or not published yet is a plan, and no error.

    Raises CommandExecutionError that names the fact and the SLS that publishes it.
    """
    pairs = []
    for group in groups:
        about = known[group]
        if not test and (group not in system or facts.get(group) != system[group]):
            what = f"says {facts[group]}, the system says {system.get(group)}" if group in facts else "is missing"
            raise CommandExecutionError(
                f"fact {about['fact']} (grain rick_infra:client_groups:{group}) {what}; "
                f"{about['published_by']} publishes it: salt-call state.apply {about['published_by']}"
            )
        pairs.append(("GroupAdd", str(system.get(group, f"<gid of {group}, made in this run>"))))
    return unit.with_added("Container", *pairs) if pairs else unit


def check_groups(groups, known):
    """
    Raise SaltInvocationError unless ``groups`` is a list of known client groups, each once.
    """
    if not isinstance(groups, list):
        raise SaltInvocationError(f"socket_groups: {groups!r} is not a list; for example [{next(iter(known))}]")
    unknown = [str(group) for group in groups if group not in known]
    if unknown:
        raise SaltInvocationError(
            f"socket_groups: {', '.join(unknown)} is no client group; there are {' and '.join(known)}"
        )
    if len(set(groups)) != len(groups):
        raise SaltInvocationError(f"socket_groups: {', '.join(groups)} names a group twice")
