"""
Quadlet's files on this host: where they are, what they may be called, which systemd unit each one becomes.
"""

import re
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

FOLDER = "/etc/containers/systemd"
GENERATED = "/run/systemd/generator"

AUTHFILE = "--authfile="  # podman-run(1)
# The service that a file becomes is its name with this behind (podman-systemd.unit(5)).
SUFFIXES = {"pod": "-pod", "container": "", "volume": "-volume", "network": "-network", "image": "-image"}
RESOURCE_KEYS = {"pod": "PodName", "container": "ContainerName", "volume": "VolumeName", "network": "NetworkName"}

# Where systemd looks for units, without what generators make (systemd.unit(5)).
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/etc/init.d",
)
# Units that the tree installs, perhaps only later in the same run: a file of such a name would take their place.
RESERVED = frozenset({"caddy", "podman", "postgresql", "salt-master", "salt-minion", "ssh", "sshd", "valkey-server"})

# No @: what is declared is an instance, not a template. The first character is what Podman takes for a name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}")


def folder():
    """
    Return the folder of the files.
    """
    return FOLDER


def path(file):
    """
    Return the path of a file.
    """
    return f"{FOLDER}/{file}"


def file_name(kind, name):
    """
    Return the name of a unit's file.

    Raises SaltInvocationError for a name that cannot be one: empty, with a
    slash or white space, with a leading ``-``, with ``@``, or with the suffix already on it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SaltInvocationError(
            f"unit name {name!r}: write letters, digits and _.- and begin with a letter or digit, as in 'notes-web'"
        )
    if "." in name and name.rpartition(".")[2] in SUFFIXES:
        raise SaltInvocationError(f"unit name {name!r}: leave the suffix out, the function {kind} adds .{kind}")
    return f"{name}.{kind}"


def split(file):
    """
    Return a file's base name and kind.

    Raises SaltInvocationError for what is not the name of a Quadlet file.
    """
    name, dot, kind = str(file).rpartition(".")
    if not dot or kind not in SUFFIXES or not _NAME.fullmatch(name):
        raise SaltInvocationError(
            f"{file!r} is not the name of a Quadlet file: NAME.KIND, where KIND is one of {', '.join(SUFFIXES)}"
        )
    return name, kind


def present():
    """
    Return the names of all Quadlet files of the kinds we know.
    """
    try:
        entries = sorted(Path(FOLDER).iterdir())
    except FileNotFoundError:
        return []
    return [entry.name for entry in entries if entry.suffix[1:] in SUFFIXES and entry.is_file()]


def drop_ins(file):
    """
    Return the paths of the drop-ins of a file, ``KIND.d/*.conf`` and ``NAME.KIND.d/*.conf``.
    """
    _, kind = split(file)
    folders = (Path(path(f"{kind}.d")), Path(path(f"{file}.d")))
    return [str(found) for folder in folders for found in sorted(folder.glob("*.conf"))]


def unread(paths):
    """
    Return those of some files that were written after systemd last read its units, a set.

    Whenever it does, it runs the generators, which fill their folder anew. ``NeedDaemonReload`` says the same, and
    takes systemd 2 ms for each unit.
    """
    try:
        read = Path(GENERATED).stat().st_mtime_ns
    except FileNotFoundError:
        return set()
    found = set()
    for path in paths:
        try:
            if Path(path).stat().st_mtime_ns > read:
                found.add(path)
        except FileNotFoundError:
            continue
    return found


def about(file, unit, digest):
    """
    Return what a file declares, as far as others have to know it.

    The keys are ``file``, ``name``, ``kind``, ``service`` (the systemd unit),
    ``resource`` (what Podman calls the thing), ``digest`` (see
    ``quadlet_text``), ``uses`` (other Quadlet files that it names), ``pod``
    (the one it is in, or None), ``starts_with_pod``, ``oneshot`` (it runs and
    ends), ``requires`` (systemd units that must have started before it),
    ``image`` (or None), ``pull`` (the policy, or None), ``authfile`` (with the
    credentials for its registry, or None), ``secrets`` (names of
    Podman secrets), ``owner`` (the service that it belongs to, or None) and
    ``declares`` (the pairs of key and value in its own section).

    unit
        As from ``quadlet_text``.

    digest
        The one that the file carries.
    """
    name, kind = split(file)

    def last(key):
        return unit.last(unit.own, key)

    def values(key):
        return unit.values(unit.own, key)

    service = _service_base(name, unit)
    resource = last(RESOURCE_KEYS[kind]) if kind in RESOURCE_KEYS else None
    image = last("Image")
    pod = last("Pod")
    named = [value.partition(":")[0] for key in ("Network", "Volume") for value in values(key)]
    named += re.findall(r"[A-Za-z0-9_.-]+\.(?:volume|image)(?=[,\s]|$)", " ".join(values("Mount")))
    named += [value for value in (image, pod) if value]
    return {
        "file": file,
        "name": name,
        "kind": kind,
        "service": f"{service}.service",
        "resource": resource or f"systemd-{service if kind == 'container' else name}",
        "digest": digest,
        "uses": sorted({one for one in named if one.rpartition(".")[2] in SUFFIXES and "/" not in one}),
        "pod": pod,
        "starts_with_pod": not last("StartWithPod") or unit.is_true(unit.own, "StartWithPod"),
        "oneshot": unit.last("Service", "Type") == "oneshot",
        "requires": unit.words("Unit", "Requires"),
        "image": image,
        "pull": (last("Pull") or "").lower() or None,
        "authfile": next(
            (word.removeprefix(AUTHFILE) for word in values("PodmanArgs") if word.startswith(AUTHFILE)), None
        ),
        "secrets": [value.partition(",")[0] for value in values("Secret")],
        "owner": unit.service(),
        "declares": [line[1:] for line in unit.lines if line[0] == unit.own and line[1]],
    }


def name_problems(file, unit, others):
    """
    Return why the systemd units that a file becomes may not have their names, one sentence each.

    A generated unit outranks the one a package ships: ``caddy.container``
    would take the place of the real Caddy.

    unit
        As from ``quadlet_text``.

    others
        What is known of all other Quadlet files, as from ``about``.
    """
    service = _service_base(split(file)[0], unit)
    if not _NAME.fullmatch(service):
        return [f"ServiceName={service}: write letters, digits and _.- only"]
    services = [f"{service}.service", *unit.words("Install", "Alias")]
    problems = []
    for name in services:
        owner = next((other["file"] for other in others if other["service"] == name), None) or _owner(name, file)
        if owner:
            problems.append(f"it would become {name} and take the place of {owner}: choose another name")
    return problems


def generated_path(service):
    """
    Return the path of the unit that the generator makes.
    """
    return f"{GENERATED}/{service}"


def without_header(text):
    """
    Return the text of a generated unit without the generator's own comment.
    """
    return re.sub(r"\A# Automatically generated by .*\n#? *\n", "", text)


def _service_base(name, unit):
    return unit.last(unit.own, "ServiceName") or f"{name}{SUFFIXES[unit.kind]}"


def _owner(unit, file):
    """Who else has a unit of that name: a path, a package to come, or another generator; None if nobody."""
    base = unit.removesuffix(".service")
    if base in RESERVED:
        return f"the host's own {unit}"
    for folder in UNIT_FOLDERS:
        candidate = Path(folder) / (base if folder == "/etc/init.d" else unit)
        if candidate.exists() or candidate.is_symlink():
            return str(candidate)
    for folder in (f"{GENERATED}.early", GENERATED, f"{GENERATED}.late"):
        candidate = Path(folder) / unit
        if candidate.exists() and not _is_ours(candidate, file):
            return str(candidate)
    return None


def _is_ours(generated_unit, file):
    """Whether a generated unit comes from this file, or from one that is gone."""
    try:
        text = generated_unit.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandExecutionError(f"{generated_unit}: {error.strerror}") from error
    source = re.search(r"^SourcePath=(.*)$", text, re.MULTILINE)
    if not source or not source[1].startswith(f"{FOLDER}/"):
        return False
    return source[1] == path(file) or not Path(source[1]).exists()
