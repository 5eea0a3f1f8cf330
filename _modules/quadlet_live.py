"""
What is declared in Quadlet files, what systemd and Podman say, and what is done about the difference.

The ground under ``quadlet.pending``, ``quadlet.apply`` and ``quadlet.remove``,
which are what people call. Every question is asked once in a run for all units,
and the answer kept until ``forget`` says that something has been changed.
"""

from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

DECLARED, PLANNED, VERSION = "quadlet.declared", "quadlet.planned", "quadlet.version"
TIMERS = "quadlet.timers"
SYSTEMD, LOADED = "quadlet.systemd", "quadlet.loaded"
FAR_FUTURE = 2**63  # seconds since 1970
CONTAINERS, NETWORKS, VOLUMES = "quadlet.containers", "quadlet.networks", "quadlet.volumes"
OWNERS = "quadlet.network_owners"
CERTAIN = "quadlet.certain"  # whether Podman itself told of the containers
STORED, PLACES = "quadlet.stored", "quadlet.places"


def plan(file, text):
    """
    Take a file for written (text) or removed (None) from now on in this __context__.

    CLI Example: none, what is planned lasts for a run only.
    """
    __context__.setdefault(PLANNED, {})[file] = text
    note(file, text)


def planned():
    """
    Return the files that are only planned, ``{file: text or None}``.

    CLI Example: none, what is planned lasts for a run only.
    """
    return dict(__context__.get(PLANNED, {}))


def note(file, text):
    """
    Take note that a file has been written (text) or removed (None): the others need not be read again.

    CLI Example: none, what is remembered lasts for a run only.
    """
    if DECLARED not in __context__:
        return
    there = __context__[DECLARED]
    known = there.pop(file, None)
    if text is not None:
        there[file] = about(file, text)
        __context__[DECLARED] = dict(sorted(there.items()))
    forget([unit["service"] for unit in (known, there.get(file)) if unit])


def forget(services=None):
    """
    Ask again what may have changed.

    services
        systemd units that were acted upon: nothing else is asked again, but what Podman has. All by default.

    CLI Example: none, what is remembered lasts for a run only.
    """
    for key in (CONTAINERS, CERTAIN, NETWORKS, OWNERS, VOLUMES, TIMERS):
        __context__.pop(key, None)
    if services is None:
        for key in (DECLARED, SYSTEMD, LOADED):
            __context__.pop(key, None)
        return
    for key in (SYSTEMD, LOADED):
        for service in services:
            __context__.get(key, {}).pop(service, None)


def reload():
    """
    Make systemd and Quadlet's generator read all files again.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.reload
    """
    __utils__["units.daemon_reload"]()
    shown, read = __context__.get(SYSTEMD, {}), __context__.get(LOADED, {})
    digests = {unit["service"]: unit["digest"] for unit in __context__.get(DECLARED, {}).values()}
    stale = [service for service, state in shown.items() if state["LoadState"] != "loaded" or state["unread"]]
    stale += [
        service for service, state in read.items() if state["edited"] or state["generated"] != digests.get(service)
    ]
    forget(dict.fromkeys(stale))


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
        __context__[DECLARED] = {file: _about(file, text) for file, text in texts.items() if text is not None}
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
    Return systemd's LoadState, ActiveState, SubState and Job of units, ``{service: {property: value}}``.

    And ``unread``: whether the file of the unit was written after systemd last read it.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.systemd '[notes-pod.service]'
    """
    known = __context__.setdefault(SYSTEMD, {})
    if any(service not in known for service in services):
        # Whoever is first asks for all.
        wanted = [*services, *(unit["service"] for unit in declared().values()), *_timers()]
        unknown = [service for service in dict.fromkeys(wanted) if service not in known]
        known.update(_glance(unknown))
    return {service: known[service] for service in services}


def timers(service):
    """
    Return the timers of a service that have a file here, a list of unit names.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.timers notes
    """
    return [unit for unit, owner in _timers().items() if owner == service]


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
    known = __context__.setdefault(LOADED, {})
    there = declared().values()
    shown = systemd([unit["service"] for unit in there])
    for unit in there:
        if unit["service"] not in known:
            known[unit["service"]] = {**shown[unit["service"]], **_generated(unit)}
    return known


def containers():
    """
    Return the containers that units started, as ``quadlet_podman.containers`` does.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.containers
    """
    if CONTAINERS not in __context__:
        stored = __utils__["podman_store.containers"]()
        __context__[CERTAIN] = stored is None
        __context__[CONTAINERS] = __utils__["quadlet_podman.containers"]() if stored is None else stored
    return __context__[CONTAINERS]


def networks():
    """
    Return the networks, ``{name: digest}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.networks
    """
    if NETWORKS not in __context__:
        found = __utils__["podman_store.networks"]()
        wanted = {unit["resource"] for unit in declared().values() if unit["kind"] == "network"}
        # One that seems to be gone may lie elsewhere.
        certain = found is not None and wanted <= found.keys()
        __context__[NETWORKS] = found if certain else __utils__["quadlet_podman.networks"]()
    return __context__[NETWORKS]


def undeclared():
    """
    Return what Podman has with the mark of a service and without a file that declares it, ``{service: found}``.

    ``found`` is ``{"containers": [facts], "networks": [names]}``: the facts as in ``quadlet_live.containers``, with
    their ``unit``. A pod is there by its infra container.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.undeclared
    """
    if OWNERS not in __context__:
        stored = __utils__["podman_store.network_owners"]()
        __context__[OWNERS] = __utils__["quadlet_podman.network_owners"]() if stored is None else stored
    units = {unit["service"]: unit["owner"] for unit in declared().values()}
    names = {unit["resource"]: unit["owner"] for unit in declared().values() if unit["kind"] == "network"}
    found: dict[str, dict] = {}
    for unit, facts in containers().items():
        if facts["owner"] and units.get(unit) != facts["owner"]:
            left = found.setdefault(facts["owner"], {"containers": [], "networks": []})
            left["containers"].append({**facts, "unit": unit})
    for network, owner in __context__[OWNERS].items():
        if owner and names.get(network) != owner:
            found.setdefault(owner, {"containers": [], "networks": []})["networks"].append(network)
    return found


def volumes():
    """
    Return the volumes, ``{name: digest}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.volumes
    """
    if VOLUMES not in __context__:
        found = __utils__["podman_store.volumes"]()
        __context__[VOLUMES] = __utils__["quadlet_podman.volumes"]() if found is None else found
    return __context__[VOLUMES]


def images():
    """
    Return the local images by all their names, ``{name: id}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.images
    """
    return _stored("images")


def secrets():
    """
    Return when each of Podman's secrets got its value, ``{name: seconds since 1970}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.secrets
    """
    return _stored("secrets")


def store_stamp():
    """
    Return what is another value after Podman's images or secrets have changed, None if nobody can tell.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.store_stamp
    """
    return __utils__["podman_store.stamp"](_once(PLACES, "podman_store.places"))


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


def decision(files, renewed=(), confirm=True):
    """
    Return what is to be done about files, as ``quadlet_plan.decide`` does.

    files
        As returned by ``known``.

    renewed
        Names of secrets that count as newer than all that runs.

    confirm
        Whether Podman is asked for containers that its database does not show to run: it may have to wait for locks.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.decision '[notes.pod, notes-web.container]'
    """
    there = declared()
    wanted = [there[file] for file in files]
    kinds = {unit["kind"] for unit in wanted}
    states = loaded()
    podman = {
        "containers": _certain_containers(wanted, states) if confirm else containers(),
        "networks": networks() if "network" in kinds else {},
        "volumes": volumes() if "volume" in kinds else {},
        "images": image_ids(wanted),
        "secrets": {**secrets(), **dict.fromkeys(renewed, FAR_FUTURE)},
    }
    return __utils__["quadlet_plan.decide"](files, there, states, podman)


def image_ids(units):
    """
    Return the ids of the images that units name, as far as this host has them; an image unit stands for its image.

    units
        A list of what ``about`` returns.

    CLI Example: none, it takes what is known of units: see quadlet_live.images.
    """
    there = declared()
    found = {}
    for image in {unit["image"] for unit in units if unit["image"]}:
        name = there[image]["image"] if image in there else image
        identity = __utils__["quadlet_podman.image_id"](name, images())
        if identity:
            found[image] = identity
    return found


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
        and not _has_image(unit["image"])
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
    missing = [(unit["image"], "missing", unit["authfile"]) for unit in without_image(units)]
    again = [(unit["image"], unit["pull"], unit["authfile"]) for unit in units if _is_asked_for_again(unit)]
    for image, policy, authfile in dict.fromkeys([*missing, *again]):
        __utils__["quadlet_podman.pull"](image, policy, authfile)


def start_image_units(decided):
    """
    Have the images that units fetch, before anything is stopped: it can fail.

    Raises CommandExecutionError if one cannot be had.

    CLI Example: none, it takes a decision: see quadlet.apply.
    """
    there = declared()
    files = [file for file in (*decided["start"], *decided["restart"]) if there[file]["kind"] == "image"]
    services = [there[file]["service"] for file in files]
    tell("restart", services)
    if services:
        forget(services)


def act(decided, wait=True):
    """
    Do what was decided, without the reload and the images.

    wait
        False: systemd is told what to start and not waited for.

    Raises CommandExecutionError if a unit does not start, or systemd refuses to try.

    CLI Example: none, it takes a decision: see quadlet.apply.
    """
    there = declared()

    def services(files):
        return [there[file]["service"] for file in files]

    fetched = [file for file in (*decided["start"], *decided["restart"]) if there[file]["kind"] == "image"]
    renewed = decided["recreate"]
    if renewed:
        users = [file for file in decided["restart"] if there[file]["kind"] in ("pod", "container")]
        tell("stop", services([*users, *renewed]))
        present = __utils__["quadlet_podman.networks"]()
        names = [there[file]["resource"] for file in renewed]
        try:
            __utils__["quadlet_podman.remove_networks"]([name for name in names if name in present])
        except CommandExecutionError:
            # Somebody else's container is in it: what was stopped for nothing runs on.
            tell("start", services([*renewed, *users]))
            raise
    # What systemd has given up on, it does not even try to start.
    touched = systemd(services([*decided["start"], *decided["restart"], *renewed]))
    failed = [service for service, state in touched.items() if state["ActiveState"] == "failed"]
    tell("reset-failed", failed)
    verbs = {"restart": [*renewed, *decided["restart"]], "start": decided["start"]}
    for verb, files in verbs.items():
        tell(verb, services(file for file in files if file not in fetched), wait)


def tell(verb, services, wait=True):
    """
    Have systemd act on units of services, as ``units.act`` does; what they logged shows no values of their secrets.

    Raises CommandExecutionError with systemd's words and the last lines of what has failed.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.tell restart '[notes-web.service]'
    """
    try:
        __utils__["units.act"](verb, services, wait)
    except CommandExecutionError as error:
        raise CommandExecutionError(_without_secrets(str(error), services)) from None


def remnants(files):
    """
    Return what files have made and is still there: ``paths``, ``services`` with their state, ``networks``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet_live.remnants '[notes.pod]'
    """
    found: dict = {"paths": [], "services": {}, "networks": []}
    there = declared()
    # A file that is gone had the names that files have by default.
    abouts = {file: there.get(file) or about(file, "") for file in files}
    states = systemd([unit["service"] for unit in abouts.values()])
    known = [service for service, state in states.items() if state["LoadState"] == "loaded"]
    sources = __utils__["units.show"](known, ["SourcePath"])
    for file, unit in abouts.items():
        path = __utils__["quadlet_files.path"](file)
        if planned().get(file, "") is not None and Path(path).exists():
            found["paths"].append(path)
        service = unit["service"]
        state = states[service]
        # A unit of that name which comes from elsewhere is somebody else's.
        ours = state["LoadState"] == "loaded" and sources[service]["SourcePath"] == path
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


def _without_secrets(text, services):
    acted = [unit for unit in declared().values() if unit["service"] in services]
    for owner in sorted({unit["owner"] for unit in acted if unit["owner"]}):
        text = __salt__["generation.without_secrets"](owner, text)
    names = sorted({secret for unit in acted for secret in unit["secrets"]} & secrets().keys())
    text = __utils__["pod_causes.without"](text, list(__utils__["quadlet_podman.secret_values"](names).values()))
    return __utils__["pod_causes.printable"](text)


def _stop(services):
    forget()
    # systemctl refuses to stop what it does not know, and that is down.
    up = [service for service, state in systemd(services).items() if state["ActiveState"] not in ("inactive", "failed")]
    tell("stop", up)
    forget()
    failed = [service for service, state in systemd(services).items() if state["ActiveState"] == "failed"]
    tell("reset-failed", failed)


def _remove_leftovers(services):
    """Remove what Podman still has of units."""
    left = [facts for service, facts in containers().items() if service in services]
    pods = [facts["pod"] for facts in left if facts["infra"]]
    alone = [facts["container"] for facts in left if not facts["infra"]]
    if left:
        __utils__["quadlet_podman.remove_leftovers"](alone, pods)


def _about(file, text):
    """A file that cannot be read has its name, and nothing else: it is no reason to leave all others alone."""
    try:
        return about(file, text)
    except SaltInvocationError:
        return about(file, "")


def _once(key, function):
    if key not in __context__:
        __context__[key] = __utils__[function]()
    return __context__[key]


def _generated(unit):
    """What the generator made of a file when systemd last read its units."""
    text = __utils__["textfile.read"](__utils__["quadlet_files.generated_path"](unit["service"])) or ""
    digest = __utils__["quadlet_text.carried_digest"](text)
    edited = digest is not None and digest == unit["digest"] and not _says(text, unit)
    return {"generated": digest, "edited": edited}


def _says(text, unit):
    """Whether a generated unit was made from what a file declares."""
    own = f"X-{unit['kind'].capitalize()}"
    lines = "".join(f"{key}={value}\n" for key, value in unit["declares"])
    if f"[{own}]\n{lines}\n[" in text or text.endswith(f"[{own}]\n{lines}"):
        return True  # as the generator copies it, comments left out; reading it properly takes ten times as long
    present = __utils__["quadlet_text.parse"](unit["kind"], text, unit["service"])
    return [line[1:] for line in present.lines if line[0] == own and line[1]] == unit["declares"]


def _certain_containers(wanted, states):
    """The containers; what is missing is missing by Podman's own word."""
    found = containers()
    expected = [
        unit["service"]
        for unit in wanted
        if unit["kind"] in ("pod", "container")
        and not unit["oneshot"]
        and states[unit["service"]]["ActiveState"] == "active"
    ]
    if not __context__[CERTAIN] and any(found.get(name, {}).get("state") != "running" for name in expected):
        __context__[CONTAINERS], __context__[CERTAIN] = __utils__["quadlet_podman.containers"](), True
    return __context__[CONTAINERS]


def _timers():
    return _once(TIMERS, "pod_timers.present")


def _glance(services):
    paths = {unit["service"]: __utils__["quadlet_files.path"](unit["file"]) for unit in declared().values()}
    paths.update({one: __utils__["pod_timers.path"](one) for one in services if one.endswith(".timer")})
    unread = __utils__["quadlet_files.unread"]([paths[one] for one in services if one in paths])
    states = __utils__["units.glance"](services)
    return {one: {**state, "unread": paths.get(one) in unread} for one, state in states.items()}


def _stored(what):
    """What lies in Podman's store: read once, and again only if the store is another since."""
    mark = store_stamp()
    known = __context__.setdefault(STORED, {})
    if mark is None or known.get(what, (None,))[0] != mark:
        known[what] = (mark, __utils__[f"quadlet_podman.{what}"](__utils__["podman_store.places"]()))
    return known[what][1]


def _is_asked_for_again(unit):
    """Podman would fetch it when it starts, within the start's time, with the old one stopped already."""
    named = unit["kind"] == "container" and unit["image"] and unit["image"].rpartition(".")[2] not in ("image", "build")
    return named and unit["pull"] in ("always", "newer") and not set("%$") & set(unit["image"])


def _has_image(name):
    return __utils__["quadlet_podman.image_id"](name, images()) is not None or __utils__["quadlet_podman.has_image"](
        name
    )
