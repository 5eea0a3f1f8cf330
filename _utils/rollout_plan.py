"""
In which order a roll-out goes over a fleet: services in waves by their needs, hosts in batches behind a canary.

Pure functions of who runs what and who needs whom.
"""

QUARTER = "25%"


def needs_of(entry):
    """
    Return the services that an entry needs, as far as its file says so in a way that can be used.

    entry
        As its file says it.
    """
    said = entry.get("needs")
    said = [said] if isinstance(said, str) else said
    return [one for one in said if isinstance(one, str)] if isinstance(said, list) else []


def runs(fleet):
    """
    Return the cells of each service, ``{service: [ids]}``.

    fleet
        As from ``read`` of the external pillar ``fleet``.
    """
    return {
        name: fleet["runs_on"](entry, fleet["topology"], fleet["hosts"])
        for name, entry in sorted(fleet["entries"].items())
    }


def circle(needs):
    """
    Return services that need each other in a circle, each the next one and the last one the first; an empty list if
    there are none.

    needs
        ``{service: [services]}``.
    """
    finished: set[str] = set()

    def walk(name, way):
        if name in way:
            return way[way.index(name) :]
        if name in finished:
            return []
        for one in needs.get(name, []):
            found = walk(one, [*way, name])
            if found:
                return found
        finished.add(name)
        return []

    return next((found for name in sorted(needs) if (found := walk(name, []))), [])


def waves(needs, cells):
    """
    Return the wave of each service, ``{service: number}`` from 1 on: what it needs is there before.

    needs
        ``{service: [services]}`` without a circle.

    cells
        ``{service: [ids]}``: who runs it.

    Within a host a run keeps the order by itself. So a service is in a later wave than one it needs only if some cell
    of its own does not run that one.
    """
    found: dict[str, int] = {}

    def number(name):
        if name not in found:
            behind = [
                number(one) + (0 if set(cells[name]) <= set(cells[one]) else 1)
                for one in needs.get(name, [])
                if one in cells
            ]
            found[name] = max(behind, default=1)
        return found[name]

    return {name: number(name) for name in sorted(cells)}


def steps(hosts, numbers, cells, whole=True):
    """
    Return what each host does in each wave, a list of ``{id: [services]}``; None for all that it must be.

    hosts
        The cells that take part.

    numbers
        As from ``waves``.

    cells
        As for ``waves``.

    whole
        Whether a host's last wave is its whole state, so that removals happen as well. A host without services has
        that in the first wave.
    """
    own = {host: [name for name in numbers if host in cells[name]] for host in sorted(hosts)}
    last = {host: max((numbers[name] for name in names), default=1) for host, names in own.items()}
    found = []
    for wave in range(1, max([*numbers.values(), 1]) + 1):
        step: dict[str, list | None] = {}
        for host, names in own.items():
            if whole and wave == last[host]:
                step[host] = None
            elif any(numbers[name] == wave for name in names):
                step[host] = [name for name in names if numbers[name] == wave]
        found.append(step)
    return [step for step in found if step]


def batches(hosts, canary=None, size=QUARTER):
    """
    Return hosts in lists, each to be finished before the next: one by itself, then as many at once as ``size`` says.

    hosts
        Minion ids.

    canary
        The one that is first. None, or if it is not among the hosts: the first by its name.

    size
        A number, or a share of the hosts such as ``25%``, rounded down, at least one.
    """
    if not hosts:
        return []
    first = canary if canary in hosts else min(hosts)
    others = sorted(set(hosts) - {first})
    count = _count(size, len(hosts))
    return [[first], *(others[start : start + count] for start in range(0, len(others), count))]


def _count(size, total):
    if isinstance(size, int):
        return size
    return max(1, total * int(size.rstrip("%")) // 100)
