"""
The facts barrier: between infrastructure, which publishes the client groups' gids, and the applications on it.
"""


def published(name):
    """
    Ensure the grains say what the system says, within this run.

    name
        A title.

    Applied with ``reload_grains: True``, which makes Salt read the grains anew
    once this state has run: later states' ``__grains__`` and templates see
    them. Ask for the reload only while ``facts.stale`` says so, since each one
    costs a tenth of a second.

    .. code-block:: yaml

        Client groups are published as facts:
          facts.published:
            - reload_grains: {{ salt["facts.stale"]() }}
    """
    facts = __salt__["facts.published"]()
    system = __utils__["client_groups.on_this_host"]()
    if __opts__["test"]:
        # Groups that an earlier state of this run makes count as there.
        system = {group: system.get(group, "made in this run") for group in __utils__["client_groups.declared"]()}
    changes = {
        group: {"old": facts.get(group), "new": system.get(group)}
        for group in sorted({*facts, *system})
        if facts.get(group) != system.get(group)
    }
    if not changes:
        return __utils__["results.unchanged"](name, "The facts are what the system says")
    if __opts__["test"]:
        return __utils__["results.planned"](name, changes, "The grains would be read anew")
    return __utils__["results.changed"](name, changes, "The grains are read anew")


def valid(name):
    """
    Fail unless every client group's fact is defined, true, and its gid nobody else's.

    name
        A title. What requires this state does not run on facts that lie.

    In test mode a fact that is missing is no failure if its group does not
    exist yet: the same run makes it.

    .. code-block:: yaml

        The facts are valid:
          facts.valid:
            - require:
              - facts: Client groups are published as facts
    """
    if __opts__["test"] and __salt__["facts.stale"]():
        return __utils__["results.unchanged"](name, "The facts would be validated once they are published")
    problems = __salt__["facts.problems"]()
    if problems:
        return __utils__["results.failed"](name, "\n".join(problems))
    return __utils__["results.unchanged"](name, "Every fact is defined, true and its gid nobody else's")
