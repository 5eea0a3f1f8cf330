"""
The pod of a service as a whole: its Quadlet files and timers written, started side by side, stopped, removed.

.. code-block:: bash

    salt-call pod.files notes
    salt-call pod.problems notes '[notes.pod]'
    salt-call pod.prune_images

What belongs to a service is found by a mark, not by a list of ours: every
Quadlet file carries the label ``rick-infra.service=NAME`` (images a section
``[X-RickInfra]``), and so does what Podman makes of it; a timer's file says it
in its first line.
"""

import time
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

PLANNED_TIMERS = "pod.planned_timers"  # {service: {unit: text}}
ORDER = ("image", "network", "volume", "pod", "container")  # what is named by others comes before them
WRITTEN_HERE = "# Written by Salt (quadlet."
STARTED = "pod.started"  # {service: seconds since 1970}, of this run


def files(name):
    """
    Return the names of the Quadlet files that belong to a service.

    CLI Example:

    .. code-block:: bash

        salt-call pod.files notes
    """
    return [file for file, unit in __salt__["quadlet_live.declared"]().items() if unit["owner"] == name]


def render(name, units, at_boot=True):
    """
    Return the texts of a service's Quadlet files, ``{file: text}``.

    Parameters and errors are those of the state ``pod.declared``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.render notes '[{kind: network, name: notes, definition: {Network: {Options: isolate=true}}}]'
    """
    _check(name, units)
    texts: dict = {}
    for unit in sorted(__utils__["quadlet_roles.with_init"](units), key=lambda unit: ORDER.index(unit["kind"])):
        definition = unit["definition"]
        if not at_boot:
            definition = {section: keys for section, keys in definition.items() if section != "Install"}
        file = f"{unit['name']}.{unit['kind']}"
        texts[file] = __salt__["quadlet.render"](
            unit["kind"],
            unit["name"],
            definition=definition,
            user=unit.get("user"),
            socket_groups=unit.get("socket_groups"),
            service=name,
            siblings=texts,
            at_boot=at_boot,
        )
    return texts


def differences(name, units, timers=(), at_boot=True):
    """
    Return what has to be written until a service is declared so, ``{thing: change}``, ``{}`` if nothing.

    Parameters and errors are those of the state ``pod.declared``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.differences notes '[{kind: network, name: notes, definition: {Network: {Options: isolate=true}}}]'
    """
    return _differences(name, render(name, units, at_boot), timers, at_boot)


def plan(name, units, timers=(), at_boot=True):
    """
    Take a service for declared so in what is planned later in this run. Returns what ``pod.differences`` does.

    CLI Example: none, what is planned lasts for a run only.
    """
    texts = render(name, units, at_boot)
    changes = _differences(name, texts, timers, at_boot)
    for file, text in texts.items():
        __salt__["quadlet.plan"](file, text)
    planned = __context__.setdefault(PLANNED_TIMERS, {})
    planned[name] = __utils__["pod_timers.texts"](name, timers)
    return changes


def declare(name, units, timers=(), at_boot=True):
    """
    Write the files of a service. Starts and stops nothing: what is declared no more is for ``pod.start`` to remove.

    Returns what ``pod.differences`` does. Parameters and errors are those of the state ``pod.declared``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.declare notes '[{kind: network, name: notes, definition: {Network: {Options: isolate=true}}}]'
    """
    texts = render(name, units, at_boot)
    changes = _differences(name, texts, timers, at_boot)
    if not changes:
        return {}
    __salt__["quadlet.write_all"](texts)
    write_timers(name, __utils__["pod_timers.texts"](name, timers), at_boot)
    return changes


def write_timers(name, texts, at_boot=True):
    """
    Write the files of a service's timers and enable or disable them. Nothing starts or stops here.

    texts
        ``{unit: text}``.

    CLI Example: none, it is a part of pod.declare.
    """
    for unit, text in texts.items():
        path = __utils__["pod_timers.path"](unit)
        if __utils__["textfile.read"](path) != text:
            __utils__["textfile.write"](path, text)
        if __utils__["pod_timers.starts_at_boot"](unit) != at_boot:
            __utils__["pod_timers.start_at_boot"](unit, at_boot)
    __salt__["quadlet_live.forget"](list(texts))


def remove_timers(name, keep=()):
    """
    Stop and remove the timers of a service, but for some.

    keep
        Names of units, those of the timers that stay.

    CLI Example: none, it is a part of pod.start.
    """
    gone = [unit for unit in __salt__["quadlet_live.timers"](name) if unit not in keep]
    if not gone:
        return
    states = __utils__["units.show"](gone, ["ActiveState"])
    __salt__["quadlet_live.tell"]("stop", [unit for unit, state in states.items() if state["ActiveState"] not in _DOWN])
    for unit in gone:
        Path(__utils__["pod_timers.link"](unit)).unlink(missing_ok=True)
        Path(__utils__["pod_timers.path"](unit)).unlink(missing_ok=True)
        Path(__utils__["pod_timers.stamp"](unit)).unlink(missing_ok=True)
    __salt__["quadlet_live.forget"](gone)
    __salt__["quadlet_live.reload"]()


def start_changes(name, files, postgres=None, units=None, timers=()):
    """
    Return what ``pod.start`` would do, ``{thing: {"old", "new"}}``, ``{}`` if all runs as declared.

    Parameters and errors are those of the state ``pod.started``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.start_changes notes '[notes.pod]'
    """
    test = __opts__.get("test")
    stale, gone = _undeclared(name, units, timers)
    removal = _removal(stale, gone)
    if test and stale:
        __salt__["quadlet.check_removal"](stale)
        for file in stale:
            __salt__["quadlet.plan"](file, None)
    wanted = [file for file in _with_owned(name, files) if file not in stale]
    pending = __salt__["quadlet.pending"](wanted, __salt__["secret.pending"]() if test else [])
    return {**_start_changes(name, pending, _images_change(name, wanted, postgres), stale, gone), **removal}


def start(name, files, postgres=None, units=None, timers=(), server=None):
    """
    Start and restart what has to be, and return without waiting for it. What is declared no more goes.

    Images come first, then a dump of the database if the image of a container
    changes; if one of them fails, nothing is stopped or removed.

    Returns ``{"changes", "dump"}``: what ``pod.start_changes`` says, and the path of the dump or None.
    Parameters and errors are those of the state ``pod.started``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.start notes '[notes.pod]'
    """
    stale, gone = _undeclared(name, units, timers)
    removal = _removal(stale, gone)
    wanted = [file for file in _with_owned(name, files) if file not in stale]
    dumped = _images_change(name, wanted, postgres)  # also what is only about to be fetched
    prepared = __salt__["quadlet.prepare"](wanted)
    dumped = _images_change(name, wanted, postgres) or dumped
    changes = {**_start_changes(name, prepared["changes"], dumped, stale, gone), **removal}
    if not changes:
        return {"changes": {}, "dump": None}
    dump = __salt__["postgres_dump.dump"](name, postgres, server) if dumped else None
    __context__.setdefault(STARTED, {})[name] = time.time()
    if gone:
        remove_timers(name, keep=[unit for unit in __salt__["quadlet_live.timers"](name) if unit not in gone])
    decision = _without(wanted, stale, prepared["decision"])
    __salt__["quadlet.begin"](decision, wait=False)
    timers = __salt__["quadlet_live.timers"](name)
    states = __salt__["quadlet_live.systemd"](timers)
    if any(state["LoadState"] != "loaded" or state["unread"] for state in states.values()):
        __salt__["quadlet_live.reload"]()
    __salt__["quadlet_live.tell"]("start", [unit for unit in timers if states[unit]["ActiveState"] != "active"])
    __salt__["quadlet_live.tell"]("restart", _over(name, states))
    __salt__["quadlet_live.forget"](timers)
    return {"changes": changes, "dump": dump}


def restart(name, files):
    """
    Restart the pod of a service with its containers, and return without waiting for it.

    Returns the changes, ``{thing: {"old", "new"}}``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.restart notes '[notes.pod]'
    """
    changes = restart_changes(name, files)
    decision = __salt__["quadlet.prepare"](_with_owned(name, files))["decision"]
    for file in changes:
        decision["start"].pop(file, None)
        decision["restart"][file] = "restarted"
    __context__.setdefault(STARTED, {})[name] = time.time()
    __salt__["quadlet.begin"](decision, wait=False)
    return changes


def restart_changes(name, files):
    """
    Return what ``pod.restart`` would restart, ``{file: {"old", "new"}}``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.restart_changes notes '[notes.pod]'
    """
    there = __salt__["quadlet_live.declared"]()
    ours = [file for file in __salt__["quadlet_live.known"](files) if there[file]["kind"] in ("pod", "container")]
    # What a timer starts waits for its timer.
    ours = [file for file in ours if there[file]["starts_with_pod"] or not there[file]["oneshot"]]
    return {file: {"old": "not healthy", "new": "restarted"} for file in ours}


def running(name):
    """
    Return what of a service is active in systemd, ``{unit: state}``: its units and its timers.

    CLI Example:

    .. code-block:: bash

        salt-call pod.running notes
    """
    there = __salt__["quadlet_live.declared"]()
    units = [there[file]["service"] for file in files(name) if there[file]["kind"] in ("pod", "container")]
    units += __salt__["quadlet_live.timers"](name)
    states = __salt__["quadlet_live.systemd"](units)
    return {unit: state["ActiveState"] for unit, state in states.items() if state["ActiveState"] not in _DOWN}


def undeclared(name, units, timers=()):
    """
    Return what a service has and is declared no more, ``{thing: {"old", "new": None}}``, ``{}`` if nothing is.

    Parameters are those of the state ``pod.declared``.

    CLI Example:

    .. code-block:: bash

        salt-call pod.undeclared notes '[]'
    """
    return _removal(*_undeclared(name, units, timers))


def remove_undeclared(name, units, timers=()):
    """
    Stop and remove what a service has and is declared no more. Returns what ``pod.undeclared`` does.

    CLI Example:

    .. code-block:: bash

        salt-call pod.remove_undeclared notes '[]'
    """
    stale, gone = _undeclared(name, units, timers)
    changes = _removal(stale, gone)
    if gone:
        remove_timers(name, keep=[unit for unit in __salt__["quadlet_live.timers"](name) if unit not in gone])
    if stale:
        __salt__["quadlet.remove"](stale)
    return changes


def stop(name):
    """
    Stop all that runs of a service, its timers first. Returns what ran, as ``pod.running`` does.

    Raises CommandExecutionError if a unit does not stop.

    CLI Example:

    .. code-block:: bash

        salt-call pod.stop notes
    """
    units = running(name)
    for suffix in (".timer", ".service"):  # a timer must not start anew what has just been stopped
        __salt__["quadlet_live.tell"]("stop", [unit for unit in units if unit.endswith(suffix)])
    __salt__["quadlet_live.forget"]()
    there = __salt__["quadlet_live.declared"]()
    states = __salt__["quadlet_live.systemd"]([there[file]["service"] for file in files(name)])
    if any(state["unread"] or state["LoadState"] != "loaded" for state in states.values()):
        __salt__["quadlet_live.reload"]()
    failed = [unit for unit, state in states.items() if state["ActiveState"] == "failed"]
    __salt__["quadlet_live.tell"]("reset-failed", failed)
    __salt__["quadlet_live.forget"](list(states))
    return units


def remnants(name):
    """
    Return what is there of a service's pod, ``{thing: {"old", "new": None}}``, ``{}`` if nothing is.

    Files, units, containers, networks and timers that carry its mark, and what is remembered of its generations.

    CLI Example:

    .. code-block:: bash

        salt-call pod.remnants notes
    """
    found = files(name)
    changes = __salt__["quadlet.remnants"](found) if found else {}
    for unit in __salt__["quadlet_live.timers"](name):
        changes[__utils__["pod_timers.path"](unit)] = {"old": "present", "new": None}
    left = _left_in_podman(name)
    for facts in left["containers"]:
        changes.setdefault(f"container {facts['container']}", {"old": facts["state"], "new": None})
    for network in left["networks"]:
        changes.setdefault(f"network {network}", {"old": "present", "new": None})
    for path in __salt__["generation.remnants"](name):
        changes[path] = {"old": "present", "new": None}
    return changes


def remove(name):
    """
    Stop and remove all that carries the mark of a service. Volumes and images stay. Returns what was there.

    CLI Example:

    .. code-block:: bash

        salt-call pod.remove notes
    """
    changes = remnants(name)
    remove_timers(name)
    found = files(name)
    if found:
        __salt__["quadlet.remove"](found)
    left = _left_in_podman(name)
    if any(left.values()):
        pods = [facts["pod"] for facts in left["containers"] if facts["infra"]]
        containers = [facts["container"] for facts in left["containers"] if not facts["infra"]]
        __utils__["quadlet_podman.remove_leftovers"](containers, pods)
        __utils__["quadlet_podman.remove_networks"](left["networks"])
        __salt__["quadlet_live.forget"]()
    __salt__["generation.remove"](name)
    return changes


def forget_planned(name):
    """
    Take a service's files and timers for removed in what is planned later in this run.

    CLI Example: none, what is planned lasts for a run only.
    """
    for file in files(name):
        __salt__["quadlet.plan"](file, None)
    __context__.setdefault(PLANNED_TIMERS, {})[name] = {}


def prune_images():
    """
    Remove the images that nobody uses: no container, no Quadlet file, no generation. Returns their names.

    CLI Example:

    .. code-block:: bash

        salt-call pod.prune_images
    """
    names = __salt__["quadlet_live.images"]()
    used = {facts["image"] for facts in __salt__["quadlet_live.containers"]().values()}
    for unit in __salt__["quadlet_live.declared"]().values():
        if unit["image"]:
            used.add(__utils__["quadlet_podman.image_id"](unit["image"], names))
    used.update(__salt__["generation.images"]())
    gone = sorted(identity for identity in set(names.values()) - used)
    named = {one: [name for name, identity in names.items() if identity == one != name] for one in gone}
    removed = __utils__["quadlet_podman.remove_images"](named)
    return sorted(name for identity in removed for name in named[identity] or [identity])


_DOWN = ("inactive", "failed")


def _check(name, units):
    problems = []
    for unit in units:
        if unit.get("kind") not in ORDER:
            problems.append(f"{unit.get('kind')!r} is no kind of unit: {', '.join(ORDER)}")
        elif unit["name"] != name and not str(unit["name"]).startswith(f"{name}-"):
            problems.append(f"{unit['name']}.{unit['kind']}: a unit of {name} is called {name} or {name}-...")
        elif not isinstance(unit.get("definition"), dict):
            problems.append(f"{unit['name']}.{unit['kind']}: its definition is not a mapping of sections")
    if problems:
        raise SaltInvocationError(f"service {name}: {'; '.join(problems)}")


def _differences(name, texts, timers, at_boot):
    wanted = __utils__["pod_timers.texts"](name, timers)
    _refuse_foreign(name, texts, wanted)
    changes = __salt__["quadlet.diff_all"](texts)
    found = _timer_differences(name, wanted, at_boot)
    if any("diff" in change for change in found.values()):
        unfit = __utils__["units.not_calendar"](__utils__["pod_timers.events"](timers))
        if unfit:
            told = "; ".join(f"schedule {event!r} is no calendar event: {words}" for event, words in unfit.items())
            raise CommandExecutionError(f"service {name}: {told}")
    return {**changes, **found}


def _timer_differences(name, texts, at_boot):
    changes = {}
    for unit, text in texts.items():
        path, link = __utils__["pod_timers.path"](unit), __utils__["pod_timers.link"](unit)
        difference = __utils__["textfile.diff"](path, text)
        if difference:
            changes[path] = {"diff": difference}
        if __utils__["pod_timers.starts_at_boot"](unit) != at_boot:
            changes[link] = {"old": None, "new": path} if at_boot else {"old": path, "new": None}
    return changes


def _refuse_foreign(name, texts, timers):
    """Somebody else's file of that name is not ours to overwrite; one of ours that lost its label by hand is."""
    there = __salt__["quadlet_live.declared"]()
    problems = []
    for file in texts:
        if file not in there or there[file]["owner"] == name:
            continue
        path = __utils__["quadlet_files.path"](file)
        if there[file]["owner"]:
            problems.append(f"{path} belongs to service {there[file]['owner']}")
        elif not (__utils__["textfile.read"](path) or "").startswith(WRITTEN_HERE):
            problems.append(f"{path} is there already and was not written by Salt: move it away")
    for unit in timers:
        owner = __utils__["pod_timers.taken"](name, unit)
        if owner:
            problems.append(f"{unit} would take the place of {owner}: choose another name for the timer")
    if problems:
        raise CommandExecutionError(f"service {name}: {'; '.join(problems)}")


def _undeclared(name, units, timers):
    """The files and timers that a service has and that are declared no more; nothing is, if ``units`` is None."""
    if units is None:
        return [], []
    wanted = {f"{unit['name']}.{unit['kind']}" for unit in units}
    kept = __utils__["pod_timers.texts"](name, timers)
    return (
        [file for file in files(name) if file not in wanted],
        [unit for unit in __salt__["quadlet_live.timers"](name) if unit not in kept],
    )


def _removal(stale, gone):
    changes = __salt__["quadlet.remnants"](stale) if stale else {}
    return {**changes, **{__utils__["pod_timers.path"](unit): {"old": "present", "new": None} for unit in gone}}


def _with_owned(name, files):
    """What runs, and what must be known to systemd besides: what timers start."""
    there = __salt__["quadlet_live.declared"]()
    return list(dict.fromkeys([*files, *(file for file, unit in there.items() if unit["owner"] == name)]))


def _without(wanted, stale, decision):
    """What is to be done once the files that are declared no more are gone, with their units."""
    if not stale:
        return decision
    __salt__["quadlet.remove"](stale)
    rest = __salt__["quadlet.prepare"](wanted)["decision"]
    # What systemd had before it read its units anew is known no more, and was a reason to restart.
    for file, reason in decision["restart"].items():
        if file not in stale and file not in rest["start"]:
            rest["restart"].setdefault(file, reason)
    return rest


def _start_changes(name, pending, dumped, stale, gone):
    """A reload is a change of its own only if nothing else comes of it."""
    changes = {thing: change for thing, change in pending.items() if thing != "systemd" and thing not in stale}
    planned = __context__.get(PLANNED_TIMERS, {}).get(name)
    timers = __salt__["quadlet_live.timers"](name) if planned is None else list(planned)
    states = __salt__["quadlet_live.systemd"](timers)
    for unit, state in states.items():
        if state["ActiveState"] != "active" and unit not in gone:
            changes[unit] = {"old": state["ActiveState"], "new": "started"}
    for unit in _over(name, states):
        if unit not in gone:
            changes[unit] = {"old": "over", "new": "restarted"}
    if dumped:
        changes[f"database of {name}"] = {"old": "used with another image", "new": "dumped before"}
    return changes or pending


def _over(name, states):
    """Timers that systemd takes for over though their schedule is not: it looks no further, not even after a reload."""
    planned = __context__.get(PLANNED_TIMERS, {}).get(name, {})
    over = [
        unit for unit, state in states.items() if (state["ActiveState"], state["SubState"]) == ("active", "elapsed")
    ]
    texts = {unit: planned.get(unit) or __utils__["textfile.read"](__utils__["pod_timers.path"](unit)) for unit in over}
    events = {unit: __utils__["pod_timers.events_of"](text or "") for unit, text in texts.items()}
    return [unit for unit, found in events.items() if found and __utils__["units.upcoming"](found)]


def _images_change(name, files, postgres):
    """Whether a container that has run with an image will run with another, and there is data to lose by that."""
    if not postgres:
        return False
    decision = __salt__["quadlet_live.decision"](__salt__["quadlet_live.known"](files))
    units = [unit for unit in __salt__["quadlet_live.to_start"](decision) if unit["kind"] == "container"]
    if not units:
        return False
    before = __salt__["generation.containers"](name)
    local = __salt__["quadlet_live.image_ids"](units)
    running = __salt__["quadlet_live.containers"]()
    for unit in units:
        old = running[unit["service"]]["image"] if unit["service"] in running else before.get(unit["name"])
        if old and local.get(unit["image"]) != old:
            return True
    return False


def _left_in_podman(name):
    """What carries a service's mark and has no file any more, as from ``quadlet_live.undeclared``."""
    return __salt__["quadlet_live.undeclared"]().get(name, {"containers": [], "networks": []})
