"""
What is declared, what systemd and Podman say, and what is done about the difference.

Every question is asked once in a run for all units. The answers are kept in the
run's ``__context__``, which the caller hands over as ``run``, until
``forget`` says that something has been changed.
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

PROPERTIES = ["LoadState", "ActiveState", "SubState", "NeedDaemonReload", "SourcePath"]
DECLARED, PLANNED, VERSION = "quadlet.declared", "quadlet.planned", "quadlet.version"
SYSTEMD, CONTAINERS, NETWORKS, VOLUMES = "quadlet.systemd", "quadlet.containers", "quadlet.networks", "quadlet.volumes"


def plan(run, file, text):
    """
    Take a file for written (text) or removed (None) from now on in this run.
    """
    run.setdefault(PLANNED, {})[file] = text
    forget(run)


def planned(run):
    """
    Return the files that are only planned, ``{file: text or None}``.
    """
    return dict(run.get(PLANNED, {}))


def forget(run):
    """
    Ask again what may have changed.
    """
    for key in (DECLARED, SYSTEMD, CONTAINERS, NETWORKS, VOLUMES):
        run.pop(key, None)


def declared(run):
    """
    Return what is known of every Quadlet file, planned ones included, ``{file: about}``.
    """
    if DECLARED not in run:
        texts = {**__utils__["quadlet_files.present"](), **planned(run)}
        run[DECLARED] = {
            file: __utils__["quadlet_files.about"](file, text) for file, text in texts.items() if text is not None
        }
    return run[DECLARED]


def systemd(run, services):
    """
    Return systemd's properties of units, ``{service: {property: value}}``.
    """
    known = run.setdefault(SYSTEMD, {})
    # Whoever is first asks for all.
    wanted = [*services, *(unit["service"] for unit in declared(run).values())]
    unknown = [service for service in dict.fromkeys(wanted) if service not in known]
    known.update(__utils__["units.show"](unknown, PROPERTIES))
    return {service: known[service] for service in services}


def containers(run):
    """
    Return the containers that units started, as ``quadlet_podman.containers`` does.
    """
    return _once(run, CONTAINERS, "quadlet_podman.containers")


def networks(run):
    """
    Return the networks, ``{name: digest}``.
    """
    return _once(run, NETWORKS, "quadlet_podman.networks")


def volumes(run):
    """
    Return the volumes, ``{name: digest}``.
    """
    return _once(run, VOLUMES, "quadlet_podman.volumes")


def version(run):
    """
    Return the version of Podman as a tuple of numbers, None if it is not installed.
    """
    return _once(run, VERSION, "quadlet_podman.version")


def known(run, files):
    """
    Return the names of some files and of all that belong to them.

    Raises SaltInvocationError for what is no list of file names, and
    CommandExecutionError for files that nobody declared.
    """
    if not isinstance(files, list) or not files:
        raise SaltInvocationError(f"units: {files!r} is not a list of files, for example [notes.pod]")
    kinds = [__utils__["quadlet_files.split"](file)[1] for file in files]
    there = declared(run)
    missing = [(file, kind) for file, kind in zip(files, kinds, strict=True) if file not in there]
    if missing:
        paths = ", ".join(__utils__["quadlet_files.path"](file) for file, _ in missing)
        raise CommandExecutionError(f"{paths}: no such file; declare it with quadlet.{missing[0][1]} and require that")
    return __utils__["quadlet_plan.involved"](files, there)


def decision(run, files):
    """
    Return what is to be done about files, as ``quadlet_plan.decide`` does.

    files
        As returned by ``known``.
    """
    there = declared(run)
    wanted = [there[file] for file in files]
    kinds = {unit["kind"] for unit in wanted}
    shown = systemd(run, [unit["service"] for unit in there.values()])
    facts = {
        unit["service"]: {**shown[unit["service"]], "generated": _generated_digest(unit["service"])}
        for unit in there.values()
    }
    podman = {
        "containers": containers(run),
        "networks": networks(run) if "network" in kinds else {},
        "volumes": volumes(run) if "volume" in kinds else {},
        "images": _images(run, wanted),
        "secrets": __utils__["quadlet_podman.secrets"](),
    }
    return __utils__["quadlet_plan.decide"](files, there, facts, podman)


def without_image(run, decided):
    """
    Return the containers that are to be started from an image which is not here, a list as in ``declared``.

    Those whose image a unit fetches or builds do not count.
    """
    there = declared(run)
    return [
        unit
        for unit in (there[file] for file in (*decided["start"], *decided["restart"]))
        if unit["kind"] == "container"
        and unit["image"]
        and unit["image"].rpartition(".")[2] not in ("image", "build")
        and not set("%$") & set(unit["image"])
        and unit["pull"] not in ("always", "newer")
        and not __utils__["quadlet_podman.has_image"](unit["image"])
    ]


def act(run, decided):
    """
    Do what was decided, without the reload.

    Raises CommandExecutionError if an image cannot be had, before anything is
    stopped, or if a unit does not start.
    """
    there = declared(run)

    def services(files):
        return [there[file]["service"] for file in files]

    _fetch_images(run, decided)
    renewed = decided["recreate"]
    if renewed:
        users = [file for file in decided["restart"] if there[file]["kind"] in ("pod", "container")]
        __utils__["units.act"]("stop", services([*users, *renewed]))
        present = __utils__["quadlet_podman.networks"]()
        names = [there[file]["resource"] for file in renewed]
        __utils__["quadlet_podman.remove_networks"]([name for name in names if name in present])
    # What systemd has given up on, it does not even try to start.
    touched = systemd(run, services([*decided["start"], *decided["restart"], *renewed]))
    failed = [service for service, state in touched.items() if state["ActiveState"] == "failed"]
    __utils__["units.act"]("reset-failed", failed)
    __utils__["units.act"]("restart", services([*renewed, *decided["restart"]]))
    __utils__["units.act"]("start", services(decided["start"]))


def remnants(run, files):
    """
    Return what files have made and is still there: ``paths``, ``services`` with their state, ``networks``.
    """
    found: dict = {"paths": [], "services": {}, "networks": []}
    there = declared(run)
    for file in dict.fromkeys(files):
        path = __utils__["quadlet_files.path"](file)
        # A file that is gone had the names that files have by default.
        unit = there.get(file) or __utils__["quadlet_files.about"](file, "")
        if planned(run).get(file, "") is not None and Path(path).exists():
            found["paths"].append(path)
        service = unit["service"]
        state = systemd(run, [service])[service]
        # A unit of that name which comes from elsewhere is somebody else's.
        ours = state["LoadState"] == "loaded" and state["SourcePath"] == path
        orphaned = state["LoadState"] == "not-found" and service in containers(run)
        if ours or orphaned:
            found["services"][service] = state["ActiveState"]
        if unit["kind"] == "network" and networks(run).get(unit["resource"]):
            found["networks"].append(unit["resource"])
    return found


def remove(run, files):
    """
    Stop units, delete their files, make systemd forget them, and remove what Podman has left of them.
    """
    found = remnants(run, files)
    services = list(found["services"])
    __utils__["units.act"]("stop", services)
    forget(run)
    failed = [service for service, state in systemd(run, services).items() if state["ActiveState"] == "failed"]
    __utils__["units.act"]("reset-failed", failed)
    for path in found["paths"]:
        Path(path).unlink(missing_ok=True)
    if services or found["paths"]:
        __utils__["units.daemon_reload"]()
    forget(run)
    left = [facts for service, facts in containers(run).items() if service in services]
    __utils__["quadlet_podman.remove_leftovers"](
        [facts["container"] for facts in left if not facts["infra"]], [facts["pod"] for facts in left if facts["infra"]]
    )
    __utils__["quadlet_podman.remove_networks"](found["networks"])
    forget(run)


def _once(run, key, function):
    if key not in run:
        run[key] = __utils__[function]()
    return run[key]


def _generated_digest(service):
    return __utils__["quadlet_text.carried_digest"](__utils__["quadlet_files.generated"](service))


def _images(run, wanted):
    """The ids of the images that units name, as far as this host has them; an image unit stands for its image."""
    there = declared(run)
    images = {}
    for image in {unit["image"] for unit in wanted if unit["image"]}:
        name = there[image]["image"] if image in there else image
        found = __utils__["quadlet_podman.image_id"](name)
        if found:
            images[image] = found
    return images


def _fetch_images(run, decided):
    """Have all images before anything is stopped: what runs keeps running if one cannot be had."""
    there = declared(run)
    missing = without_image(run, decided)
    local = [unit for unit in missing if unit["pull"] == "never" or unit["image"].startswith("localhost/")]
    if local:
        wanted = ", ".join(f"{unit['image']} (for {unit['file']})" for unit in local)
        raise CommandExecutionError(f"image {wanted} is not on this host and is not to be fetched: build or import it")
    for image in dict.fromkeys(unit["image"] for unit in missing):
        __utils__["quadlet_podman.pull"](image)
    for action in ("restart", "start"):
        fetching = [there[file]["service"] for file in decided[action] if there[file]["kind"] == "image"]
        __utils__["units.act"](action, fetching)
