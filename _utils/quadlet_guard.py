"""
Which containers may have a shared socket in front of them.

PostgreSQL takes the uid of who connects for its name, and a container of root's
Podman has the host's uids: one that may choose its uid can be the superuser.
So a container that mounts a shared socket directory, or asks for a client
group, must run as its service's own user and have no way to become another.
Every other image gets a private socket (``private_socket.present``).

What is checked is what a definition says. It protects from mistakes and from
images, not from somebody who may write definitions, and so is root anyway.
"""

import contextlib
import os
import pwd
import re
from pathlib import Path

WAY_OUT = "or give the container a socket of its own instead (private_socket.present), which is safe with any image"

# Each of these gives ids, capabilities or mounts that the other keys do not show.
FORBIDDEN = (
    "AddCapability",
    "ContainersConfModule",
    "GIDMap",
    "GlobalArgs",
    "RemapGid",
    "RemapUid",
    "RemapUidSize",
    "RemapUsers",
    "SubGIDMap",
    "SubUIDMap",
    "UIDMap",
    "UserNS",
)
# Options of podman-run(1) and podman-pod-create(1) that change neither ids, capabilities, namespaces nor mounts.
ALLOWED_OPTION = re.compile(
    r"add-host|cpu-(period|quota|shares)|cpus|cpuset-(cpus|mems)|dns(-option|-search)?|env|exit-policy|expose"
    r"|health-[a-z-]+|hostname|http-proxy|init|label|log-(driver|opt)|memory(-reservation|-swap|-swappiness)?"
    r"|network-alias|no-host(name|s)|oom-score-adj|pids-limit|publish|pull|read-only(-tmpfs)?|retry(-delay)?|secret"
    r"|shm-size|stop-(signal|timeout)|timeout|tz|ulimit|umask"
)
MOUNT_OPTIONS = frozenset(
    {"ro", "nodev", "noexec", "nosuid", "bind", "rbind", "private", "rprivate", "slave", "rslave"}
)

# Where a specifier leads in a system unit (systemd.unit(5)).
SPECIFIERS = {
    "%%": "%",
    "%t": "/run",
    "%h": "/root",
    "%S": "/var/lib",
    "%C": "/var/cache",
    "%L": "/var/log",
    "%E": "/etc",
    "%T": "/tmp",  # noqa: S108 - the place that systemd means
    "%V": "/var/tmp",  # noqa: S108
}


def problems(kind, lines, user=None, socket_groups=(), pod_lines=()):
    """
    Return why a unit may not have what it asks for, one sentence each with the way out; empty if it may.

    kind
        ``pod``, ``container`` or ``volume``. Others reach no socket.

    lines
        The unit as ``quadlet_text`` has it, with its drop-ins.

    user
        The host's user that the state was given, by name. It may be missing
        on a host where an earlier state makes it.

    socket_groups
        Client groups that the state was given.

    pod_lines
        The unit of the pod that the container is in.
    """
    shared = {about["directory"]: group for group, about in __utils__["client_groups.declared"]().items()}
    private = __utils__["private_units.root"]()
    found = []
    protected = [f"socket group {group}" for group in socket_groups]
    for how, source, options in _mounts(kind, lines):
        reached = [directory for directory in (*shared, private) if _reaches(source, directory)]
        if not reached:
            continue
        if _inside(source, private):
            found += _mount_problems(how, source, options)
            continue
        exactly = options is not None and [os.path.normpath(source)] == reached and reached[0] in shared
        if kind != "container" or not exactly:
            found.append(
                f"{how} opens {', '.join(reached)}: mount a socket directory itself, in the container that needs it, "
                f"with Volume={next(iter(shared))}:{next(iter(shared))}:ro; {WAY_OUT}"
            )
            continue
        found += _mount_problems(how, source, options)
        protected.append(f"{how}")
    if kind == "container":
        found += _group_problems(lines)
        if protected:
            reasons = _identity_problems(lines, user, pod_lines)
            found += [f"{' and '.join(dict.fromkeys(protected))}: {reason}; {WAY_OUT}" for reason in reasons]
    return found


def needs_protection(lines, socket_groups):
    """
    Return whether a container asks for a client group or mounts a shared socket directory.
    """
    directories = [about["directory"] for about in __utils__["client_groups.declared"]().values()]
    return bool(socket_groups) or any(
        _reaches(source, directory) for _, source, _ in _mounts("container", lines) for directory in directories
    )


def units_before(lines):
    """
    Return the systemd units behind the sockets that a container mounts: it is to start after them.

    They are the daemons of the shared directories, and the socket units of private ones.
    """
    private = __utils__["private_units.root"]()
    units = []
    for _, source, _ in _mounts("container", lines):
        for about in __utils__["client_groups.declared"]().values():
            directory = about["directory"]
            if _reaches(source, directory):
                units.append(about["unit"])
            elif _inside(source, private):
                name = os.path.relpath(os.path.normpath(source), private).split("/")[0]
                at = __utils__["private_units.places"](name, f"{directory}/socket")
                units.append(f"{at['unit']}.socket")
    return list(dict.fromkeys(units))


def _mounts(kind, lines):
    """
    What of the host a unit brings into a container: ``(how, path, options)``.

    Options are None where the mount is not of the one form that can be judged.
    """
    section = __utils__["quadlet_text.section"](kind)
    found = []
    for value in __utils__["quadlet_text.values"](lines, section, "Volume"):
        found += _volume(f"Volume={value}", value, judged=True)
    for value in __utils__["quadlet_text.words"](lines, section, "Mount"):
        found += [(f"Mount={value}", path, None) for path in _mount_sources(value)]
    for key in ("Rootfs", "Device") if kind != "pod" else ():
        for value in __utils__["quadlet_text.values"](lines, section, key):
            found.append((f"{key}={value}", _expanded(value.partition(":")[0]), None))
    found += _argument_mounts(__utils__["quadlet_text.words"](lines, section, "PodmanArgs"))
    return [entry for entry in found if entry[1].startswith("/")]


def _volume(how, value, judged):
    source, colon, rest = value.partition(":")
    if not colon:
        return []
    options = [option for option in rest.partition(":")[2].split(",") if option]
    return [(how, _expanded(source), options if judged else None)]


def _mount_sources(value):
    """Every path of the host in ``--mount``; a glob is taken for the folder that it begins in."""
    sources = []
    for token in value.split(","):
        key, _, path = token.partition("=")
        if key in ("volume-opt", "o"):
            path = path.rpartition("=")[2]
        elif key not in ("source", "src"):
            continue
        if re.search(r"[*?\[]", path):
            path = os.path.dirname(re.split(r"[*?\[]", path)[0])  # noqa: PTH120 - text, not a file
        sources.append(_expanded(path))
    return sources


def _argument_mounts(words):
    """Mounts in the arguments of podman, whichever way they are written."""
    found = []
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        option, equals, value = word.partition("=")
        value = value if equals else following
        how = f"PodmanArgs={word}"
        short = re.fullmatch(r"-[a-zA-Z]*?v=?(.*)", word)
        if short:
            found += _volume(how, short[1] or following, judged=False)
        elif option == "--volume":
            found += _volume(how, value, judged=False)
        elif option == "--mount":
            found += [(how, path, None) for path in _mount_sources(value)]
        elif option in ("--rootfs", "--volumes-from"):
            # The other container's mounts are not to be seen from here: it may have any.
            found.append((how, "/" if option == "--volumes-from" else _expanded(following.partition(":")[0]), None))
        elif option == "--opt":
            found += [(how, _expanded(path), None) for path in re.findall(r"device=([^,\s]+)", value)]
    return found


def _expanded(path):
    """A path as systemd would read it; one with a variable could lead anywhere, so it counts as the root."""
    if "$" in path:
        return "/"
    path = re.sub(r"%[a-zA-Z%]", lambda found: SPECIFIERS.get(found[0], found[0]), path)
    if path.startswith("."):
        return os.path.join(__utils__["quadlet_files.folder"](), path)  # noqa: PTH118 - text, not a file
    return path


def _inside(path, directory):
    """Whether a path leads to something below a directory, not to the directory itself."""
    return os.path.realpath(path).startswith(f"{os.path.realpath(directory)}/")


def _reaches(path, directory):
    """Whether who has ``path`` gets into ``directory``: it is that, above it, or something in it."""
    real, target = os.path.realpath(path), os.path.realpath(directory)
    return real == target or f"{target}/".startswith(f"{real.rstrip('/')}/") or real.startswith(f"{target}/")


def _mount_problems(how, source, options):
    if options is None:
        return [f"{how}: mount a socket directory with Volume={source}:{source}:ro, the one form that is understood"]
    if "ro" not in options:
        return [f"{how}: a socket directory is mounted read-only; write {source}:...:ro"]
    refused = [option for option in options if option not in MOUNT_OPTIONS]
    if refused:
        # z and Z relabel the host's directory for one container (and so away from the others), U gives it away.
        return [f"{how}: option {', '.join(refused)} would change the host's directory for everybody; leave it out"]
    return []


def _group_problems(lines):
    """A client group that is not asked for by its name would come past the checks and the facts."""
    gids = __utils__["client_groups.on_this_host"]()
    listed = __utils__["quadlet_text.values"](lines, "Container", "GroupAdd")
    return [
        f"GroupAdd={value} is the client group {group}: ask for it with socket_groups: [{group}]"
        for value in listed
        for group, gid in gids.items()
        if value in (group, str(gid))
    ]


def _identity_problems(lines, user, pod_lines):
    """Ways for the process in the container to be somebody else than the service's own user."""

    def values(key):
        return __utils__["quadlet_text.values"](lines, "Container", key)

    found = _user_problems(user)
    if [value.lower() for value in values("DropCapability")] != ["all"]:
        found.append("it must have DropCapability=all and nothing else there")
    if not __utils__["quadlet_text.is_true"](lines, "Container", "NoNewPrivileges"):
        found.append("it must have NoNewPrivileges=true")
    found += [f"{key}= is not allowed with a shared socket" for key in FORBIDDEN if values(key)]
    found += [
        f"its pod has {key}=, which is not allowed with a shared socket"
        for key in FORBIDDEN
        if __utils__["quadlet_text.values"](list(pod_lines), "Pod", key)
    ]
    found += [
        f"GroupAdd={value} is not allowed" for value in values("GroupAdd") if value in ("0", "root", "keep-groups")
    ]
    found += _argument_problems("PodmanArgs", __utils__["quadlet_text.words"](lines, "Container", "PodmanArgs"))
    found += _argument_problems(
        "its pod's PodmanArgs", __utils__["quadlet_text.words"](list(pod_lines), "Pod", "PodmanArgs")
    )
    return found


def _argument_problems(where, words):
    found = []
    for word in words:
        option = re.fullmatch(r"--([a-z-]+)(=.*)?", word, re.DOTALL)
        if not option or not ALLOWED_OPTION.fullmatch(option[1]):
            found.append(
                f"{where}={word} is not among the options that are known to be harmless "
                "(write each as --option=value, or use a Quadlet key)"
            )
    return found


def _user_problems(user):
    if not user:
        return ["it must run as the service's own user, not as the image's: say user: NAME in the state"]
    if user == "root":
        return ["it must not run as root"]
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        return []  # whoever renders the unit says so, or plans with it
    found = []
    if account.pw_uid == 0 or account.pw_gid == 0:
        found.append(f"user {user} has uid {account.pw_uid} and gid {account.pw_gid}, and 0 is root's")
    sharing = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid == account.pw_uid and entry.pw_name != user]
    if sharing:
        found.append(f"user {user} shares uid {account.pw_uid} with {', '.join(sharing)}: it must be the service's own")
    for about in __utils__["client_groups.declared"]().values():
        if account.pw_uid in _uids_of_daemon(about):
            found.append(f"user {user} owns {about['directory']}: to that database it would be the superuser")
    return found


def _uids_of_daemon(about):
    uids = set()
    with contextlib.suppress(KeyError):
        uids.add(pwd.getpwnam(about["user"]).pw_uid)
    with contextlib.suppress(FileNotFoundError):
        uids.add(Path(about["directory"]).stat().st_uid)
    return uids
