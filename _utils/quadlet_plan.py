"""
What has to be done until what runs is what is declared: a decision from facts alone, without events.
"""

DOWN = ("inactive", "failed")


def involved(files, declared):
    """
    Return the files that belong together with some: pods with their containers, and what they all use.

    files
        Names of files.

    declared
        What is known of all Quadlet files of the host, ``{file: about}``.
    """
    found = []
    waiting = list(files)
    while waiting:
        file = waiting.pop(0)
        if file in found or file not in declared:
            continue
        found.append(file)
        waiting += declared[file]["uses"]
        if declared[file]["kind"] == "pod":
            waiting += [one["file"] for one in declared.values() if one["pod"] == file and one["starts_with_pod"]]
    return found


def decide(files, declared, systemd, podman):
    """
    Return what to do about some files, ``{"reload", "start", "restart", "recreate", "problems"}``.

    ``reload`` is the reason why systemd has to read its units anew, or None.
    ``start``, ``restart`` and ``recreate`` (networks) are ``{file: reason}``;
    ``problems`` is a list of what cannot be done.

    files
        As returned by ``involved``.

    declared
        What is known of all Quadlet files of the host.

    systemd
        ``{service: {property: value}}`` with LoadState, ActiveState and
        SubState, ``unread``, whether the file is younger than what systemd has
        read, ``generated``, the digest in the unit that the generator last
        made, and ``edited``, whether that unit says something else than the
        file although it has its digest.

    podman
        ``containers``, ``networks``, ``volumes``, ``images`` (id by name) and
        ``secrets``, as in ``quadlet_podman``.
    """
    decision: dict = {"reload": None, "start": {}, "restart": {}, "recreate": {}, "problems": []}
    for file in files:
        unit = declared[file]
        state = systemd[unit["service"]]
        if state["LoadState"] == "not-found":
            decision["reload"] = f"{unit['service']} is unknown to systemd"
        elif state["unread"] or state["generated"] != unit["digest"] or state["edited"]:
            decision["reload"] = f"systemd has an older {unit['service']}"
        judge = {"network": _network, "volume": _volume, "image": _image}.get(unit["kind"], _container)
        action, reason = judge(unit, state, podman)
        if action == "refuse":
            decision["problems"].append(reason)
        elif action:
            decision[action][file] = reason
    _spread(decision, declared, systemd)
    return decision


def _down(state):
    """Why a unit counts as not running, None if it runs."""
    if state["ActiveState"] == "active":
        return None
    return state["ActiveState"] if state["SubState"] != "auto-restart" else "failing again and again"


def _container(unit, state, podman):
    if unit["oneshot"]:
        return _oneshot(unit, state, podman)
    down = _down(state)
    found = podman["containers"].get(unit["service"])
    if down:
        return _starting_otherwise(unit, state, found) or ("start", down)
    if found is None or found["state"] != "running":
        return "restart", "its container is gone" if found is None else f"its container is {found['state']}"
    if found["digest"] != unit["digest"]:
        return "restart", "runs with another definition"
    if state["edited"]:
        return "restart", "was perhaps started from a file that had been edited by hand"
    image = podman["images"].get(unit["image"])
    if image and found["image"] != image:
        return "restart", f"runs an older image than {unit['image']} is now"
    for secret in unit["secrets"]:
        if podman["secrets"].get(secret, 0) > found["created"]:
            return "restart", f"runs with an older value of secret {secret}"
    if found["healthy"] is False:
        return "restart", "unhealthy"
    return None, None


def _oneshot(unit, state, podman):
    """It has ended when all is well. What a timer starts is nobody else's business."""
    if unit["pod"] and not unit["starts_with_pod"]:
        return None, None
    down = _down(state)
    if down:
        return _starting_otherwise(unit, state, podman["containers"].get(unit["service"])) or ("start", down)
    if state["edited"]:
        return "restart", "was perhaps started from a file that had been edited by hand"
    return None, None


def _starting_otherwise(unit, state, found):
    """To start what is about to start changes nothing: systemd goes on with what it has begun."""
    if state["ActiveState"] == "activating" and found and found["digest"] != unit["digest"]:
        return "restart", "starts with another definition"
    return None


def _network(unit, state, podman):
    down = _down(state)
    networks = podman["networks"]
    if unit["resource"] not in networks:
        return ("start", down) if down else ("restart", f"network {unit['resource']} is gone")
    if networks[unit["resource"]] != unit["digest"]:
        return "recreate", "was made from another definition"
    return ("start", down) if down else (None, None)


def _volume(unit, state, podman):
    down = _down(state)
    volumes = podman["volumes"]
    name = unit["resource"]
    if name not in volumes:
        return ("start", down) if down else ("restart", f"volume {name} is gone")
    # One without our label was there before, restored from a backup perhaps: it is taken as it is.
    if volumes[name] not in (None, unit["digest"]):
        return "refuse", f"{unit['file']}: {changed_volume(name)}"
    return ("start", down) if down else (None, None)


def changed_volume(name):
    """
    Return the text of the refusal to change a volume that holds data.
    """
    return (
        f"volume {name} was made from another definition, and only removing it would change that. Data is never "
        f"removed here: declare a volume of another name, or save the data (podman volume export {name}), stop what "
        f"uses it, remove it (podman volume rm {name}), and import the data after the next run"
    )


def _image(unit, state, podman):
    down = _down(state)
    if down:
        return "start", down
    if unit["image"] not in podman["images"]:
        return "restart", f"image {unit['image']} is gone"
    return None, None


def _spread(decision, declared, systemd):
    """What runs on something that is made anew has to be started anew with it."""

    def runs(one):
        return systemd[one["service"]]["ActiveState"] not in DOWN

    def restart(one, reason):
        if runs(one) and one["file"] not in decision["start"]:
            decision["restart"].setdefault(one["file"], reason)

    for network in decision["recreate"]:
        for one in declared.values():
            if network in one["uses"]:
                restart(one, f"{network} is made anew")
    for pod in [file for file in decision["restart"] if declared[file]["kind"] == "pod"]:
        for one in declared.values():
            if one["pod"] == pod and (one["starts_with_pod"] or not one["oneshot"]):
                restart(one, f"restarts with {pod}")
    for file in [*decision["start"], *decision["restart"]]:
        for one in declared.values():
            if one["oneshot"] and one["starts_with_pod"] and one["service"] in declared[file]["requires"]:
                restart(one, f"runs again before {file}")
