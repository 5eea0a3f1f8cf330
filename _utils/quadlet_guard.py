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
import grp
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
    r"add-host|authfile|cpu-(period|quota|shares)|cpus|cpuset-(cpus|mems)|dns(-option|-search)?|env|exit-policy|expose"
    r"|health-[a-z-]+|hostname|http-proxy|init|label|log-(driver|opt)|memory(-reservation|-swap|-swappiness)?"
    r"|network-alias|no-host(name|s)|oom-score-adj|pids-limit|publish|pull|read-only(-tmpfs)?|retry(-delay)?|secret"
    r"|shm-size|stop-(signal|timeout)|timeout|tz|ulimit|umask"
)
FOLDER = "/etc/containers/systemd"  # what a relative path starts from
INSTANCES = "/run/valkey-"  # and the name of the service whose own Valkey listens in that directory
MARK = "rick-infra service "  # in the GECOS of a service's user, before its name
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


def problems(unit, shared, private, gids, user=None, groups=(), pod=None, service=None):
    """
    Return why a unit may not have what it asks for, one sentence each with the way out; empty if it may.

    unit
        A pod, container or volume as from ``quadlet_text``, with its drop-ins. Others reach no socket.

    shared
        The shared socket directories, ``{path: {"user": the daemon's, ...}}``.

    private
        The directory that holds the directories of all private sockets.

    gids
        The client groups' gids on this host, ``{group: gid}``.

    user
        The host's user that the state was given, by name. It may be missing
        on a host where an earlier state makes it.

    groups
        Client groups that the state was given.

    pod
        The unit of the pod that a container is in, with its drop-ins.

    service
        The service that the unit belongs to, by name: other services' sockets and groups are refused. None: it
        belongs to none, and nobody knows which ones are others'.
    """
    found = _others_identities(unit, service) if service else []
    protected = [f"socket group {group}" for group in groups]
    for how, source, options in _mounts(unit):
        owner = _owner_of_sockets(source, private)
        if service and owner not in (None, service):
            found.append(f"{how} opens the sockets of {owner or 'all services'}, and the unit belongs to {service}")
        elif owner and not _inside(source, private):
            found += _mount_problems(how, source, options)
        elif _inside(source, private):
            found += _mount_problems(how, source, options)
            continue
        reached = [directory for directory in (*shared, private) if _reaches(source, directory)]
        if reached and _is_form(unit, source, options, shared):
            found += _mount_problems(how, source, options)
            protected.append(how)
        elif reached:
            example = next(iter(shared))
            found.append(
                f"{how} opens {', '.join(reached)}: mount a socket directory itself, in the container that needs it, "
                f"with Volume={example}:{example}:ro; {WAY_OUT}"
            )
    if unit.kind == "container":
        found += _group_problems(unit, gids)
        if protected:
            reasons = [*_user_problems(user, shared), *_identity_problems(unit, pod)]
            asks = " and ".join(dict.fromkeys(protected))
            found += [f"{asks}: {'; '.join(reasons)}; {WAY_OUT}"] if reasons else []
    return found


def needs_protection(unit, shared, groups):
    """
    Return whether a container asks for a client group or mounts a shared socket directory.
    """
    return bool(groups) or any(_reaches(source, directory) for _, source, _ in _mounts(unit) for directory in shared)


def sockets(unit, shared, private):
    """
    Return which sockets' directories a container mounts: ``(shared directories, names of private ones)``.
    """
    sources = [source for _, source, _ in _mounts(unit)]
    reached = [directory for directory in shared if any(_reaches(source, directory) for source in sources)]
    inner = [
        os.path.relpath(os.path.realpath(path), os.path.realpath(private)) for path in sources if _inside(path, private)
    ]
    return reached, [path.split("/")[0] for path in inner]


def _owner_of_sockets(source, private):
    """The service whose own sockets are behind a path, empty for several services', None for nobody's."""
    real = os.path.realpath(source)
    if _inside(source, private):
        return os.path.relpath(real, os.path.realpath(private)).split("/")[0]
    if real.startswith(INSTANCES):
        return real.removeprefix(INSTANCES).split("/")[0]
    return None


def _others_identities(unit, service):
    """Users and groups of other services that a container would have. A name means one of the image's own."""
    found = []
    for key, known in (("User", _service_of_user), ("Group", _service_of_group), ("GroupAdd", _service_of_group)):
        for value in unit.values(unit.own, key):
            owner = known(value.partition(":")[0])
            if owner not in (None, service):
                found.append(f"{key}={value} belongs to service {owner}, and the unit to {service}")
    return found


def _service_of_user(uid):
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        return _service_of(pwd.getpwuid(int(uid)))
    return None


def _service_of_group(gid):
    """The service whose own group this is: it has the name of the service's user."""
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        return _service_of(pwd.getpwnam(grp.getgrgid(int(gid)).gr_name))
    return None


def _service_of(account):
    return account.pw_gecos.removeprefix(MARK).split(",")[0] if account.pw_gecos.startswith(MARK) else None


def _is_form(unit, source, options, shared):
    """Whether a container mounts a shared socket directory in the one way that is judged: itself, by Volume=."""
    return unit.kind == "container" and options is not None and os.path.normpath(source) in shared


def _mounts(unit):
    """
    What of the host a unit brings into a container: ``(how, path, options)``.

    Options are None where the mount is not written as ``Volume=``.
    """
    found = []
    for value in unit.values(unit.own, "Volume"):
        found += _volume(f"Volume={value}", value, judged=True)
    for value in unit.words(unit.own, "Mount"):
        found += [(f"Mount={value}", path, None) for path in _mount_sources(value)]
    for key in ("Rootfs", "Device"):
        for value in unit.values(unit.own, key):
            found.append((f"{key}={value}", _expanded(value.partition(":")[0]), None))
    found += _argument_mounts(unit.words(unit.own, "PodmanArgs"))
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
    return os.path.normpath(f"{FOLDER}/{path}") if path.startswith(".") else path


def _inside(path, directory):
    """Whether a path leads to something below a directory, not to the directory itself."""
    return os.path.realpath(path).startswith(f"{os.path.realpath(directory)}/")


def _reaches(path, directory):
    """Whether who has ``path`` gets into ``directory``: it is that, above it, or something in it."""
    real, target = os.path.realpath(path), os.path.realpath(directory)
    return real == target or f"{target}/".startswith(f"{real.rstrip('/')}/") or real.startswith(f"{target}/")


def _mount_problems(how, source, options):
    if options is None:
        return [f"{how}: mount a socket directory with Volume={source}:{source}:ro, the one form that is judged"]
    if "ro" not in options:
        return [f"{how}: a socket directory is mounted read-only; write {source}:...:ro"]
    refused = [option for option in options if option not in MOUNT_OPTIONS]
    if refused:
        # z and Z relabel the host's directory for one container (and so away from the others), U gives it away.
        return [f"{how}: option {', '.join(refused)} would change the host's directory for everybody; leave it out"]
    return []


def _group_problems(unit, gids):
    """A client group that is not asked for by its name would come past the checks and the facts."""
    return [
        f"GroupAdd={value} is the client group {group}: ask for it with socket_groups: [{group}]"
        for value in unit.values("Container", "GroupAdd")
        for group, gid in gids.items()
        if value in (group, str(gid))
    ]


def _identity_problems(unit, pod):
    """Ways for the process in the container to be somebody else than the service's own user."""

    def values(key):
        return unit.values("Container", key)

    found = []
    if [value.lower() for value in values("DropCapability")] != ["all"]:
        found.append("it must have DropCapability=all and nothing else there")
    if not unit.is_true("Container", "NoNewPrivileges"):
        found.append("it must have NoNewPrivileges=true")
    found += [f"{key}= is not allowed with a shared socket" for key in FORBIDDEN if values(key)]
    found += [
        f"GroupAdd={group} is not allowed" for group in values("GroupAdd") if group in ("0", "root", "keep-groups")
    ]
    # To crun these are orders, such as to keep the groups of whoever starts the container.
    found += [f"Annotation={value} is not allowed" for value in values("Annotation") if "run.oci." in value]
    found += _argument_problems("PodmanArgs", unit.words("Container", "PodmanArgs"))
    if pod:
        found += [
            f"its pod has {key}=, not allowed with a shared socket" for key in FORBIDDEN if pod.values("Pod", key)
        ]
        found += _argument_problems("its pod's PodmanArgs", pod.words("Pod", "PodmanArgs"))
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


def _user_problems(user, shared):
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
    for directory, about in shared.items():
        if account.pw_uid in _uids_of_daemon(directory, about["user"]):
            found.append(f"user {user} owns {directory}: to that database it would be the superuser")
    return found


def _uids_of_daemon(directory, user):
    uids = set()
    with contextlib.suppress(KeyError):
        uids.add(pwd.getpwnam(user).pw_uid)
    with contextlib.suppress(FileNotFoundError):
        uids.add(Path(directory).stat().st_uid)
    return uids
