"""
What this host publishes about its client groups: the facts that applications consume.

``rick_infra:client_groups`` maps each group to its gid; two flat grains carry
the same numbers for those who target or template on them::

    salt-call grains.get rick_infra:client_groups
    salt -G 'valkey_client_group_gid:*' test.ping

A group that does not exist has no key: absent, never zero, because a
``--group-add 0`` would hand a container root's group.

Grains are what a minion says about itself. They tell a host about its own
groups; no secret may depend on them.
"""


def client_groups():
    """
    Return the published facts. Never fails: a host without the groups publishes none.
    """
    gids = __utils__["client_groups.on_this_host"]()
    if not gids:
        return {}
    declared = __utils__["client_groups.declared"]()
    flat = {declared[name]["fact"]: gid for name, gid in gids.items()}
    return {"rick_infra": {"client_groups": gids}, **flat}
