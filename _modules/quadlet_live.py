"""
What is declared in Quadlet files, what systemd and Podman say, and what is done about the difference.

The ground under ``quadlet.pending``, ``quadlet.apply`` and ``quadlet.remove``,
which are what people call. Every question is asked once in a run for all units,
and the answer kept until ``forget`` says that something has been changed.
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

PROPERTIES = ["LoadState", "ActiveState", "SubState", "NeedDaemonReload", "SourcePath"]
DECLARED, PLANNED, VERSION = "quadlet.declared", "quadlet.planned", "quadlet.version"
SYSTEMD, LOADED = "quadlet.systemd", "quadlet.loaded"
FAR_FUTURE = 2**63  # seconds since 1970
CONTAINERS, NETWORKS, VOLUMES = "quadlet.containers", "quadlet.networks", "quadlet.volumes"


def plan(file, text):
    """
    Take a file for written (text) or removed (None) from now on in this __context__.

    CLI Example: none, what is planned lasts for a run only.
    """
    __context__.setdefault(PLANNED, {})[file] = text
    forget()


def planned():
    """
    Return the files that are only planned, ``{file: text or None}``.

    CLI Example: none, what is planned lasts for a run only.
    """
    return dict(__context__.get(PLANNED, {}))


def forget():
    """
    Ask again what may have changed.

    CLI Example: none, what is remembered lasts for a run only.
    """
    for key in (DECLARED, SYSTEMD, LOADED, CONTAINERS, NETWORKS, VOLUMES):
        __context__.pop(key, None)


def declared():
    """
    Return what is known of every Quadlet file, planned ones included, ``{file: about}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.declared
    """
    if DECLARED not in __context__:
        present = {
            file: __utils__["textfile.read"](__utils__["quadlet_files.path"](file))
            for file in __utils__["quadlet_files.present"]()
        }
        texts = {**present, **planned()}
        __context__[DECLARED] = {file: about(file, text) for file, text in texts.items() if text is not None}
    return __context__[DECLARED]


def about(file, text):
    """
    Return what a file with some text declares, as ``quadlet_files.about`` does.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.about notes.pod "$(cat notes.pod)"
    """
    kind = __utils__["quadlet_files.split"](file)[1]
    unit = __utils__["quadlet_text.parse"](kind, text, __utils__["quadlet_files.path"](file))
    return __utils__["quadlet_files.about"](file, unit, __utils__["quadlet_text.carried_digest"](text))


def systemd(services):
    """
    Return systemd's properties of units, ``{service: {property: value}}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.systemd '[notes-pod.service]'
    """
    known = __context__.setdefault(SYSTEMD, {})
    # Whoever is first asks for all.
    wanted = [*services, *(unit["service"] for unit in declared().values())]
    unknown = [service for service in dict.fromkeys(wanted) if service not in known]
    known.update(__utils__["units.show"](unknown, PROPERTIES))
    return {service: known[service] for service in services}


def loaded():
    """
    Return what systemd has of every declared unit, ``{service: facts}``.

    The facts are systemd's properties, ``generated`` (the digest in the unit
    that the generator last made, None without one) and ``edited`` (whether
    that unit says something else than the file although it has its digest).

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.loaded
    """
    if LOADED not in __context__:
        there = declared().values()
        shown = systemd([unit["service"] for unit in there])
        __context__[LOADED] = {unit["service"]: {**shown[unit["service"]], **_generated(unit)} for unit in there}
    return __context__[LOADED]


def containers():
    """
    Return the containers that units started, as ``quadlet_podman.containers`` does.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.containers
    """
    return _once(CONTAINERS, "quadlet_podman.containers")


def networks():
    """
    Return the networks, ``{name: digest}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.networks
    """
    return _once(NETWORKS, "quadlet_podman.networks")


def volumes():
    """
    Return the volumes, ``{name: digest}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.volumes
    """
    return _once(VOLUMES, "quadlet_podman.volumes")


def version():
    """
    Return the version of Podman as a tuple of numbers, None if it is not installed.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.version
    """
    return _once(VERSION, "quadlet_podman.version")


def known(files):
    """
    Return the names of some files and of all that belong to them.

    Raises SaltInvocationError for what is no list of file names, and
    CommandExecutionError for files that nobody declared.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.known '[notes.pod]'
    """
    if not isinstance(files, list) or not files:
        raise SaltInvocationError(f"units: {files!r} is not a list of files, for example [notes.pod]")
    kinds = [__utils__["quadlet_files.split"](file)[1] for file in files]
    there = declared()
    missing = [(file, kind) for file, kind in zip(files, kinds, strict=True) if file not in there]
    if missing:
        paths = ", ".join(__utils__["quadlet_files.path"](file) for file, _ in missing)
        raise CommandExecutionError(f"{paths}: no such file; declare it with quadlet.{missing[0][1]} and require that")
    return __utils__["quadlet_plan.involved"](files, there)


def decision(files, renewed=()):
    """
    Return what is to be done about files, as ``quadlet_plan.decide`` does.

    files
        As returned by ``known``.

    renewed
        Names of secrets that count as newer than all that runs.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.decision '[notes.pod, notes-web.container]'
    """
    there = declared()
    wanted = [there[file] for file in files]
    kinds = {unit["kind"] for unit in wanted}
    podman = {
        "containers": containers(),
        "networks": networks() if "network" in kinds else {},
        "volumes": volumes() if "volume" in kinds else {},
        "images": _images(wanted),
        "secrets": {**__utils__["quadlet_podman.secrets"](), **dict.fromkeys(renewed, FAR_FUTURE)},
    }
    return __utils__["quadlet_plan.decide"](files, there, loaded(), podman)


def without_image(units):
    """
    Return those of some containers whose image is not here, a list as in ``declared``.

    Those whose image a unit fetches or builds do not count.

    units
        A list of what ``about`` returns.

    CLI Example: none, it takes what is known of units: see quadlet.missing_images.
    """
    return [
        unit
        for unit in units
        if unit["kind"] == "container"
        and unit["image"]
        and unit["image"].rpartition(".")[2] not in ("image", "build")
        and not set("%$") & set(unit["image"])
        and unit["pull"] not in ("always", "newer")
        and not __utils__["quadlet_podman.has_image"](unit["image"])
    ]


def to_start(decided):
    """
    Return what is known of the units that a decision starts or restarts.

    CLI Example: none, it takes a decision: see quadlet.pending.
    """
    return [declared()[file] for file in (*decided["start"], *decided["restart"])]


def image_problems(units):
    """
    Return which images some containers lack and nobody will fetch, one sentence each.

    units
        A list of what ``about`` returns.

    CLI Example: none, it takes what is known of units: see quadlet.missing_images.
    """
    return [
        f"image {unit['image']} (for {unit['file']}) is not on this host and is not to be fetched: build or import it"
        for unit in without_image(units)
        if unit["pull"] == "never" or unit["image"].startswith("localhost/")
    ]


def fetch_images(units):
    """
    Have the images of containers: what runs keeps running if one cannot be had.

    units
        A list of what ``about`` returns.

    Raises CommandExecutionError that names each image that is missing.

    CLI Example: none, it takes what is known of units: see quadlet.apply.
    """
    problems = image_problems(units)
    if problems:
        raise CommandExecutionError("; ".join(problems))
    for image in dict.fromkeys(unit["image"] for unit in without_image(units)):
        __utils__["quadlet_podman.pull"](image)


def act(decided):
    """
    Do what was decided, without the reload.

    Raises CommandExecutionError if a unit does not start.

    CLI Example: none, it takes a decision: see quadlet.apply.
    """
    there = declared()

    def services(files):
        return [there[file]["service"] for file in files]

    # Images that units fetch: before anything is stopped, since that can fail.
    images = [file for file in (*decided["start"], *decided["restart"]) if there[file]["kind"] == "image"]
    __utils__["units.act"]("restart", services(images))
    renewed = decided["recreate"]
    if renewed:
        users = [file for file in decided["restart"] if there[file]["kind"] in ("pod", "container")]
        __utils__["units.act"]("stop", services([*users, *renewed]))
        present = __utils__["quadlet_podman.networks"]()
        names = [there[file]["resource"] for file in renewed]
        try:
            __utils__["quadlet_podman.remove_networks"]([name for name in names if name in present])
        except CommandExecutionError:
            # Somebody else's container is in it: what was stopped for nothing runs on.
            __utils__["units.act"]("start", services([*renewed, *users]))
            raise
    # What systemd has given up on, it does not even try to start.
    touched = systemd(services([*decided["start"], *decided["restart"], *renewed]))
    failed = [service for service, state in touched.items() if state["ActiveState"] == "failed"]
    __utils__["units.act"]("reset-failed", failed)
    __utils__["units.act"](
        "restart", services([*renewed, *(file for file in decided["restart"] if file not in images)])
    )
    __utils__["units.act"]("start", services(file for file in decided["start"] if file not in images))


def remnants(files):
    """
    Return what files have made and is still there: ``paths``, ``services`` with their state, ``networks``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.remnants '[notes.pod]'
    """
    found: dict = {"paths": [], "services": {}, "networks": []}
    there = declared()
    for file in dict.fromkeys(files):
        path = __utils__["quadlet_files.path"](file)
        # A file that is gone had the names that files have by default.
        unit = there.get(file) or about(file, "")
        if planned().get(file, "") is not None and Path(path).exists():
            found["paths"].append(path)
        service = unit["service"]
        state = systemd([service])[service]
        # A unit of that name which comes from elsewhere is somebody else's.
        ours = state["LoadState"] == "loaded" and state["SourcePath"] == path
        made_once = unit["kind"] not in ("pod", "container") and state["ActiveState"] == "active"
        orphaned = state["LoadState"] == "not-found" and (made_once or service in containers())
        if ours or orphaned:
            found["services"][service] = state["ActiveState"]
        if unit["kind"] == "network" and networks().get(unit["resource"]):
            found["networks"].append(unit["resource"])
    return found


def remove(files):
    """
    Stop units, delete their files, make systemd forget them, and remove what Podman has left of them.

    CLI Example: none, quadlet.remove checks first.
    """
    found = remnants(files)
    services = list(found["services"])
    # systemd does not know how to stop what has no unit any more: it would kill Podman's own process in it.
    orphaned = [service for service, state in systemd(services).items() if state["LoadState"] == "not-found"]
    _remove_leftovers(orphaned)
    _stop(services)
    for path in found["paths"]:
        Path(path).unlink(missing_ok=True)
    if services or found["paths"]:
        __utils__["units.daemon_reload"]()
    forget()
    _remove_leftovers(services)
    __utils__["quadlet_podman.remove_networks"](found["networks"])
    forget()


def _stop(services):
    forget()
    # systemctl refuses to stop what it does not know, and that is down.
    up = [service for service, state in systemd(services).items() if state["ActiveState"] not in ("inactive", "failed")]
    __utils__["units.act"]("stop", up)
    forget()
    failed = [service for service, state in systemd(services).items() if state["ActiveState"] == "failed"]
    __utils__["units.act"]("reset-failed", failed)


def _remove_leftovers(services):
    """Remove what Podman still has of units."""
    left = [facts for service, facts in containers().items() if service in services]
    pods = [facts["pod"] for facts in left if facts["infra"]]
    alone = [facts["container"] for facts in left if not facts["infra"]]
    if left:
        __utils__["quadlet_podman.remove_leftovers"](alone, pods)


def _once(key, function):
    if key not in __context__:
        __context__[key] = __utils__[function]()
    return __context__[key]


def _generated(unit):
    """What the generator made of a file when systemd last read its units."""
    text = __utils__["textfile.read"](__utils__["quadlet_files.generated_path"](unit["service"])) or ""
    digest = __utils__["quadlet_text.carried_digest"](text)
    present = __utils__["quadlet_text.parse"](unit["kind"], text, unit["service"])
    declares = [line[1:] for line in present.lines if line[0] == f"X-{present.own}" and line[1]]
    return {
        "generated": digest,
        "edited": digest is not None and digest == unit["digest"] and declares != unit["declares"],
    }


def _images(wanted):
    """The ids of the images that units name, as far as this host has them; an image unit stands for its image."""
    there = declared()
    local = __utils__["quadlet_podman.images"]()
    images = {}
    for image in {unit["image"] for unit in wanted if unit["image"]}:
        name = there[image]["image"] if image in there else image
        found = __utils__["quadlet_podman.image_id"](name, local)
        if found:
            images[image] = found
    return images
