"""
Podman's Quadlet units: written, checked, compared with what runs, and brought into line.

A file in ``/etc/containers/systemd`` declares a container, pod, volume, network
or image; Podman's generator makes a systemd unit of it. This module writes such
files after the generator has accepted them, and restarts exactly what runs with
something else than is declared.

.. code-block:: bash

    salt-call quadlet.units
    salt-call quadlet.check
    salt-call quadlet.pending '[notes.pod]'
    salt-call quadlet.apply '[notes.pod]'

Whether something must restart is never remembered, but asked: each container,
pod, network and volume carries the digest of the definition that it was made
from as a label. Its image and its secrets count as well. So a run that was
killed between writing a file and restarting is repaired by the next one.

A definition is pure Quadlet, ``{section: {key: value or list}}``, and its values
are written as they are. systemd expands ``%`` and ``$`` in some of them: write
``%%`` and ``$$`` where the character itself is meant. Everybody on the host can read the files and
the units made of them: what is secret belongs into a Podman secret
(``Secret=NAME,type=env,target=VARIABLE``), never into ``Environment=``.
"""

import difflib
import os
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError, SaltRenderError

MODE = 0o644  # the unit that the generator makes of a file is as readable: less would only pretend


def render(
    kind,
    name,
    definition=None,
    source=None,
    context=None,
    user=None,
    socket_groups=None,
    service=None,
    siblings=None,
    at_boot=True,
):
    """
    Return the text of a unit's file, complete with what it needs to survive and to be contained.

    kind
        ``pod``, ``container``, ``volume``, ``network`` or ``image``.

    name
        Name of the unit, without suffix.

    definition, source, context, user, socket_groups
        As in the states.

    service
        The service that the unit belongs to, by name: it then carries the label ``rick-infra.service=NAME``, and
        may reach no other service's sockets and groups.

    siblings
        Files that are written together with this one, ``{file: text}``; a container's pod is looked for there first.

    at_boot
        False: nothing is added that starts the unit at boot.

    Raises SaltInvocationError for a definition that cannot be, and
    CommandExecutionError for a user, group or fact that is missing. With
    ``test=True`` what is missing is taken for something that an earlier state
    makes, and a placeholder says so in the text.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.render network notes definition='{Network: {Options: isolate=strict}}'
    """
    file = __utils__["quadlet_files.file_name"](kind, name)
    groups = socket_groups or []
    test = bool(__opts__.get("test"))
    known = __utils__["client_groups.declared"]()
    system = __utils__["client_groups.on_this_host"]()
    facts = __grains__.get("rick_infra", {}).get("client_groups", {})
    try:
        __utils__["quadlet_ids.check_groups"](groups, known)
        unit = _unit(kind, definition, source, context)
        problems = __utils__["quadlet_keys.section_problems"](unit)
        if problems:
            raise SaltInvocationError("; ".join(problems))
        unit = __utils__["quadlet_ids.of_user"](unit, user, groups, test)
        shared = {about["directory"]: about for about in known.values()}
        unit = _complete(unit, shared, groups, at_boot)
        refused = _refused(file, unit, shared, system, user, groups, service, siblings or {})
        if refused:
            raise SaltInvocationError("; ".join(refused))
        unit = __utils__["quadlet_ids.of_groups"](unit, groups, known, system, facts, test)
    except (CommandExecutionError, SaltInvocationError) as error:
        raise type(error)(f"{file}: {error}") from error
    return (unit.with_service(service) if service else unit).with_digest().file_text()


def check(file=None, text=None):
    """
    Return what Podman's generator makes of all files of the folder, ``{"passed", "errors", "units"}``.

    ``errors`` is a list of sentences, ``units`` maps each systemd unit to its text.

    file, text
        A file that is not written yet, for example ``notes.pod``, and its
        text: checked among the others, in place of what has its name. Errors of other files that were there
        before are left out then.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.check --out=json
        salt-call quadlet.check notes.pod "$(cat notes.pod)"
    """
    if file is None:
        result = __utils__["quadlet_generator.run"](_folder(), __salt__["quadlet_live.planned"]())
        return {"passed": not result["errors"], **result}
    errors, units = _problems({file: text or ""})
    return {"passed": not errors, "errors": errors, "units": units}


def diff(file, text):
    """
    Return what would change if a file had this text, ``{}`` if nothing would.

    The keys are the path of the file and the unit that it becomes, each with
    a ``diff``; the second is left out while Podman is not installed.

    Raises CommandExecutionError with all that speaks against the text.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.diff notes.pod "$(cat notes.pod)"
    """
    return diff_all({file: text})


def diff_all(texts):
    """
    Return what would change if files had these texts, as ``quadlet.diff`` does. They are checked together.

    texts
        ``{file: text}``.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.diff_all "{notes.pod: '$(cat notes.pod)'}"
    """
    changes = {}
    different = {}
    for file, text in texts.items():
        path = __utils__["quadlet_files.path"](file)
        access = _access(path)
        difference = __utils__["textfile.diff"](path, text)
        if access:
            changes[path] = access
        if difference:
            changes[path] = {**access, "diff": difference}
            different[file] = text
    if not different:
        return changes
    errors, units = _problems(different)
    if errors:
        raise CommandExecutionError(f"{', '.join(different)}: {'; '.join(errors)}")
    for file, text in different.items():
        service = __salt__["quadlet_live.about"](file, text)["service"]
        difference = _unit_diff(service, units[service]) if service in units else ""
        if difference:
            changes[service] = {"diff": difference}
    return changes


def write(file, text):
    """
    Write a file at once, without starting anything. Returns the changes as ``quadlet.diff`` does.

    Raises CommandExecutionError with all that speaks against the text; nothing is written then.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.write notes.pod "$(cat notes.pod)"
    """
    return write_all({file: text})


def write_all(texts):
    """
    Write files, each at once, without starting anything. Returns the changes as ``quadlet.diff`` does.

    texts
        ``{file: text}``.

    Raises CommandExecutionError with all that speaks against the texts; nothing is written then.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.write_all "{notes.pod: '$(cat notes.pod)'}"
    """
    changes = diff_all(texts)
    for file, text in texts.items():
        path = __utils__["quadlet_files.path"](file)
        if path in changes:
            __utils__["textfile.write"](path, text, MODE)
            __salt__["quadlet_live.note"](file, text)
    return changes


def plan(file, text):
    """
    Take a file for written (text) or removed (None) in what is planned later in this run.

    Used by states in test mode: a container is checked together with the pod
    that is only planned.

    CLI Example: none, it lasts for a run only.
    """
    __salt__["quadlet_live.plan"](file, text)


def units():
    """
    Return what is declared and what runs, one entry a file.

    A list of ``{"file", "service", "active", "as_declared", "reason"}``:
    ``active`` is systemd's ActiveState, ``reason`` what ``quadlet.apply`` would act on.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.units --out=json
    """
    declared = __salt__["quadlet_live.declared"]()
    decision = __salt__["quadlet_live.decision"](list(declared))
    systemd = __salt__["quadlet_live.systemd"]([unit["service"] for unit in declared.values()])
    reasons = {**decision["start"], **decision["restart"], **decision["recreate"]}
    refused = " ".join(decision["problems"])
    return [
        {
            "file": file,
            "service": unit["service"],
            "active": systemd[unit["service"]]["ActiveState"],
            "as_declared": file not in reasons and f"{file}:" not in refused,
            "reason": reasons.get(file, ""),
        }
        for file, unit in declared.items()
    ]


def running_containers(names=None):
    """
    Return what runs of the containers that Quadlet files declare.

    names
        Names of ``.container`` files, without the suffix. All by default.

    A list of ``{"name", "service", "container", "state", "healthy", "pid", "image"}``: ``pid`` is the
    container's own process on the host (0 if it does not run), ``healthy`` is None if nobody checks it.
    A container that Podman does not have is left out.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.running_containers '[notes-web]'
    """
    found = []
    containers = __salt__["quadlet_live.containers"]()
    for unit in __salt__["quadlet_live.declared"]().values():
        facts = containers.get(unit["service"])
        if unit["kind"] == "container" and facts and (names is None or unit["name"] in names):
            shown = {key: facts[key] for key in ("container", "state", "healthy", "pid", "image")}
            found.append({"name": unit["name"], "service": unit["service"], **shown})
    return found


def pending(files, renewed=()):
    """
    Return what ``quadlet.apply`` would do, ``{thing: {"old", "new"}}``, ``{}`` if all runs as declared.

    files
        Names of files, for example ``[notes.pod]``. The containers of a pod, and the networks, volumes and images
        that they name belong to it and need not be listed.

    renewed
        Names of secrets that an earlier state of the same test run would renew.

    Raises CommandExecutionError if a file is missing (unless ``test=True``) or
    a volume would have to be removed.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.pending '[notes.pod]'
    """
    return _changes(_decision(files, renewed))


def missing_images(files):
    """
    Return the images that ``quadlet.apply`` would need and that are not on this host, a list of names.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.missing_images '[notes.pod]'
    """
    units = __salt__["quadlet_live.to_start"](_decision(files))
    return sorted({unit["image"] for unit in __salt__["quadlet_live.without_image"](units)})


def apply(files):
    """
    Start what does not run, and restart exactly what runs with something else than is declared.

    Images that are missing are fetched first: if one cannot be had, nothing is
    stopped. A changed network is removed and made anew, with all that uses it stopped meanwhile. Data is never removed.

    files
        As for ``quadlet.pending``, whose answer is returned.

    Raises CommandExecutionError if something is missing or does not start.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.apply '[notes.pod]'
    """
    prepared = prepare(files)
    begin(prepared["decision"])
    if prepared["changes"]:
        left = _changes(_decision(files))
        if left:
            wrong = ", ".join(f"{thing} ({about['old']})" for thing, about in left.items())
            raise CommandExecutionError(f"started, and still not as declared: {wrong}; see journalctl -u UNIT")
    return prepared["changes"]


def prepare(files):
    """
    Do what has to be done before anything is stopped: have the images, and make systemd read the files.

    files
        As for ``quadlet.pending``.

    Returns ``{"changes", "decision"}``: what was pending, as ``quadlet.pending`` says it, and what is left for
    ``quadlet.begin``.

    Raises CommandExecutionError if something is missing; nothing is stopped then.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.prepare '[notes.pod]'
    """
    decision = _decision(files)
    changes = _changes(decision)
    __salt__["quadlet_live.fetch_images"](__salt__["quadlet_live.to_start"](decision))
    if decision["reload"]:
        __salt__["quadlet_live.reload"]()
        before, decision = decision, _decision(files)
        # What systemd had before the reload is known no more, and was a reason to restart.
        for file in before["restart"].keys() - decision["start"].keys():
            decision["restart"].setdefault(file, before["restart"][file])
        if decision["reload"]:
            errors = __utils__["quadlet_generator.run"](_folder(), {})["errors"]
            raise CommandExecutionError("; ".join([f"after a reload, {decision['reload']}", *errors]))
    __salt__["quadlet_live.start_image_units"](decision)
    return {"changes": changes, "decision": decision}


def begin(decision, wait=True):
    """
    Stop, start and restart units as decided.

    decision
        From ``quadlet.prepare``.

    wait
        False: return once systemd knows what to do.

    Raises CommandExecutionError if a unit does not start.

    CLI Example: none, it takes a decision: see quadlet.apply.
    """
    files = [*decision["start"], *decision["restart"], *decision["recreate"]]
    if not files:
        return
    there = __salt__["quadlet_live.declared"]()
    try:
        __salt__["quadlet_live.act"](decision, wait)
    finally:
        # Whatever hangs on them has moved along.
        pods = {there[file]["pod"] or file for file in files}
        near = [unit["service"] for unit in there.values() if unit["file"] in files or unit["pod"] in pods]
        __salt__["quadlet_live.forget"](near)


def remnants(files):
    """
    Return what is there of some units, ``{thing: {"old", "new": None}}``, ``{}`` if nothing is.

    Only what these files made counts: a unit of the same name that comes from elsewhere is not theirs.
    Volumes and images stay in any case.

    files
        Names of files.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.remnants '[notes.pod, notes-web.container]'
    """
    found = __salt__["quadlet_live.remnants"](files)
    changes = {path: {"old": "present", "new": None} for path in found["paths"]}
    changes.update({service: {"old": state, "new": None} for service, state in found["services"].items()})
    changes.update({network: {"old": "network", "new": None} for network in found["networks"]})
    return changes


def remove(files):
    """
    Stop units, delete their files, and make systemd forget them, in this order. Returns what was there.

    A unit that is deleted first cannot be stopped cleanly. Containers, pods
    and networks that are left are removed; volumes and images stay.

    files
        Names of files.

    Raises CommandExecutionError if a file that stays needs one of them; nothing is touched then.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.remove '[notes.pod, notes-web.container]'
    """
    changes = remnants(files)
    check_removal(files)
    __salt__["quadlet_live.remove"](files)
    return changes


def check_removal(files):
    """
    Raise CommandExecutionError if a file that stays could not be without one of these.

    CLI Example:

    .. code-block:: bash

        salt-call quadlet.check_removal '[notes.network]'
    """
    gone = {file: None for file in files if Path(__utils__["quadlet_files.path"](file)).exists()}
    if gone and __utils__["quadlet_generator.installed"]():
        errors, _ = __utils__["quadlet_generator.new_errors"](_folder(), {**__salt__["quadlet_live.planned"](), **gone})
        if errors:
            raise CommandExecutionError(f"still needed: {'; '.join(errors)}; list what needs it as well")


def _unit(kind, definition, source, context):
    if (definition is None) == (source is None):
        raise SaltInvocationError("give either a definition or a source")
    if definition is not None:
        return __utils__["quadlet_text.unit"](kind, definition)
    environment = __opts__.get("saltenv") or "base"
    template = __salt__["cp.get_file_str"](source, environment)
    if not template:
        raise CommandExecutionError(f"source {source} is missing or empty")
    try:
        text = __salt__["file.apply_template_on_contents"](template, "jinja", context, {}, environment)
    except SaltRenderError as error:
        raise CommandExecutionError(f"source {source}: {error}") from error
    if not isinstance(text, str):  # what the function answers instead of raising
        raise CommandExecutionError(f"source {source}: {text['comment']}")
    return __utils__["quadlet_text.parse"](kind, text, source)


def _complete(unit, shared, groups, at_boot):
    """
    The unit with what it needs to survive, and to be contained if a socket is in front of it.

    shared
        The shared socket directories with what is known of the daemon behind each.
    """
    if unit.kind != "container":
        return __utils__["quadlet_defaults.complete"](unit, at_boot=at_boot)
    private = __utils__["private_units.root"]()
    protected = __utils__["quadlet_guard.needs_protection"](unit, shared, groups)
    directories, names = __utils__["quadlet_guard.sockets"](unit, shared, private)
    before = [shared[directory]["unit"] for directory in directories]
    before += [
        f"{__utils__['private_units.places'](name, f'{directory}/socket')['unit']}.socket"
        for name in names
        for directory in shared
    ]
    return __utils__["quadlet_defaults.complete"](unit, protected, before, at_boot)


def _refused(file, unit, shared, system, user, groups, service, siblings):
    """Why the unit may not have the sockets that it reaches."""
    if unit.kind not in ("pod", "container", "volume"):
        return []
    name = unit.last("Container", "Pod")
    pod = None
    if name and name.endswith(".pod"):
        planned = {**__salt__["quadlet_live.planned"](), **siblings}
        text = planned.get(name) or __utils__["textfile.read"](__utils__["quadlet_files.path"](name)) or ""
        pod = _with_drop_ins(name, __utils__["quadlet_text.parse"]("pod", text, name))
    return __utils__["quadlet_guard.problems"](
        _with_drop_ins(file, unit),
        shared,
        __utils__["private_units.root"](),
        system,
        user,
        groups,
        pod,
        service,
    )


def _with_drop_ins(file, unit):
    paths = __utils__["quadlet_files.drop_ins"](file)
    texts = [(path, __utils__["textfile.read"](path) or "") for path in paths]
    return unit.with_lines_of([__utils__["quadlet_text.parse"](unit.kind, text, path) for path, text in texts])


def _unit_diff(service, text):
    """How a generated unit would change."""
    present = __utils__["textfile.read"](__utils__["quadlet_files.generated_path"](service)) or ""
    present = __utils__["quadlet_files.without_header"](present).strip().splitlines()
    lines = difflib.unified_diff(present, text.strip().splitlines(), fromfile=service, tofile=service, lineterm="")
    return "\n".join(lines)


def _problems(texts):
    """All that speaks against some files, and the units that the generator makes with them (none without one)."""
    planned = __salt__["quadlet_live.planned"]()
    abouts = {file: __salt__["quadlet_live.about"](file, text) for file, text in texts.items()}
    there = {**__salt__["quadlet_live.declared"](), **abouts}
    problems, hints = [], []
    for file, text in texts.items():
        kind = __utils__["quadlet_files.split"](file)[1]
        unit = __utils__["quadlet_text.parse"](kind, text, file)
        others = [other for name, other in there.items() if name != file]
        found = __utils__["quadlet_files.name_problems"](file, unit, others)
        needs_version = __utils__["quadlet_keys.needs_version"](unit)
        hints += __utils__["quadlet_keys.key_problems"](
            unit, __salt__["quadlet_live.version"]() if needs_version else None
        )
        if kind == "volume":
            found += _volume_problems(abouts[file])
        problems += [f"{file}: {problem}" for problem in found] if len(texts) > 1 else found
    if not __utils__["quadlet_generator.installed"]():
        if not __opts__.get("test"):
            raise CommandExecutionError(
                f"{', '.join(texts)}: Podman is not installed; require sls infra.podman, which installs it"
            )
        return [*problems, *hints], {}
    if not __opts__.get("test"):  # an earlier state may yet build it
        problems += __salt__["quadlet_live.image_problems"](list(abouts.values()))
    errors, units = __utils__["quadlet_generator.new_errors"](_folder(), {**planned, **texts})
    # What the generator accepts is right, even if our table has not heard of it.
    return [*problems, *(hints if errors else []), *errors], units


def _volume_problems(about):
    """A volume holds data, so it is not made anew: refused before the file says what is not so."""
    present = __salt__["quadlet_live.volumes"]().get(about["resource"])
    if present in (None, about["digest"]):
        return []
    return [__utils__["quadlet_plan.changed_volume"](about["resource"])]


def _folder():
    return __utils__["quadlet_files.folder"]()


def _access(path):
    """What is wrong with the file itself: others could write to it and so become root."""
    try:
        status = Path(path).lstat()
    except FileNotFoundError:
        return {}
    owner, mode = (os.geteuid(), os.getegid()), f"{status.st_mode & 0o7777:04o}"
    if Path(path).is_symlink():
        return {"old": "a symbolic link", "new": "a file"}
    if (status.st_uid, status.st_gid) != owner or mode != f"{MODE:04o}":
        return {"old": f"{status.st_uid}:{status.st_gid} {mode}", "new": f"{owner[0]}:{owner[1]} {MODE:04o}"}
    return {}


def _changes(decision):
    if decision["problems"]:
        raise CommandExecutionError("; ".join(decision["problems"]))
    changes = {"systemd": {"old": decision["reload"], "new": "reloaded"}} if decision["reload"] else {}
    for action, done in (("recreate", "made anew"), ("restart", "restarted"), ("start", "started")):
        changes.update({file: {"old": reason, "new": done} for file, reason in decision[action].items()})
    return changes


def _decision(files, renewed=()):
    return __salt__["quadlet_live.decision"](__salt__["quadlet_live.known"](files), renewed)
