"""
The client groups' gids: what the host publishes, compared with what the system says.

Infrastructure creates the groups and publishes their gids as grains;
applications consume the grains. This module is how the two are held together.
"""

import grp


def published():
    """
    Return the client groups' gids as the grains have them, ``{group: gid}``.

    CLI Example:

    .. code-block:: bash

        salt-call facts.published
    """
    return dict(__grains__.get("rick_infra", {}).get("client_groups", {}))


def stale():
    """
    Return True if the grains lack a client group, or have another gid than the system.

    True on a virgin host, where the groups are yet to be made.

    CLI Example:

    .. code-block:: bash

        salt-call facts.stale
    """
    declared = __utils__["client_groups.declared"]()
    facts = published()
    return facts != __utils__["client_groups.on_this_host"]() or set(facts) != set(declared)


def problems():
    """
    Return what is wrong with the published facts, one sentence each; an empty list if nothing is.

    A fact must be defined, equal to what the system says, and its gid must be
    the group's own: a gid that two groups share opens a socket to both.

    CLI Example:

    .. code-block:: bash

        salt-call facts.problems
    """
    facts = published()
    system = __utils__["client_groups.on_this_host"]()
    names_by_gid = {}
    for group in grp.getgrall():
        names_by_gid.setdefault(group.gr_gid, []).append(group.gr_name)
    found = []
    for group, about in __utils__["client_groups.declared"]().items():
        fact = f"fact {about['fact']} (grain rick_infra:client_groups:{group})"
        way_out = f"apply {about['published_by']}: salt-call state.apply {about['published_by']}"
        if group not in system:
            found.append(f"{fact} is missing: the group does not exist; {way_out}")
        elif group not in facts:
            found.append(f"{fact} is missing although the group exists; refresh it: salt-call saltutil.refresh_grains")
        elif facts[group] != system[group]:
            found.append(f"{fact} says {facts[group]}, the system says {system[group]}; {way_out}")
        elif __grains__.get(about["fact"]) != facts[group]:
            found.append(f"grain {about['fact']} says {__grains__.get(about['fact'])}, not {facts[group]}; {way_out}")
        else:
            others = [name for name in names_by_gid.get(facts[group], []) if name != group]
            if others:
                found.append(f"{fact}: gid {facts[group]} also belongs to {', '.join(others)}; give {group} its own")
    return found
