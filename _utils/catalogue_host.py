"""
What the catalogue has to know of a host: ports that services have, and names that are taken.

All of it is read from files, without a process.
"""

import contextlib
import grp
import os
import pwd
import re
import stat
from pathlib import Path

QUADLET_FOLDER = "/etc/containers/systemd"
GENERATOR_FOLDER = "/run/systemd/generator"
# systemd.unit(5), in the order in which they outrank each other.
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    GENERATOR_FOLDER,
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/run/systemd/generator.late",
)
SECRETS = "/var/lib/rick-infra/secrets"
HOMES = "/opt"
HOME_MODE = 0o750
LARGEST = 256 * 1024  # bytes of a unit that are looked at
TCP = ("/proc/net/tcp", "/proc/net/tcp6")
LISTENING = "0A"  # TCP_LISTEN, as proc_pid_net(5) shows it
IMAGE = re.compile(r"^\s*Image\s*=\s*(\S+)\s*$", re.MULTILINE)
PUBLISHED = re.compile(r"^\s*PublishPort\s*=\s*127\.0\.0\.1:(\d+):\d+\s*$", re.MULTILINE)
MADE = re.compile(r"\s--publish[ =]127\.0\.0\.1:(\d+):\d+(?=\s)")


def ports(names, folder=QUADLET_FOLDER, generated=GENERATOR_FOLDER):
    """
    Return the ports on loopback that services have now, ``{service: port}``, as their .pod files say.

    Where that file was lost, the unit that was made of it may still tell.

    names
        Names of the services.
    """
    found = {}
    for name in names:
        text = _read(Path(folder, f"{name}.pod"))
        # What an entry publishes by itself has its protocol in the file.
        published = (
            PUBLISHED.search(text)
            if text is not None
            else MADE.search(_read(Path(generated, f"{name}-pod.service")) or "")
        )
        if published:
            found[name] = int(published[1])
    return found


def image(container, folder=QUADLET_FOLDER):
    """
    Return the image that a container's file names, None without one.
    """
    found = IMAGE.search(_read(Path(folder, f"{container}.container")) or "")
    return found and found[1]


def listening(tables=TCP):
    """
    Return the TCP ports at which something listens on this host, whatever the address, sorted.
    """
    found = set()
    for table in tables:
        for line in (_read(Path(table)) or "").splitlines()[1:]:
            local, _, state = line.split()[1:4]
            if state == LISTENING:
                found.add(int(local.rpartition(":")[2], 16))
    return sorted(found)


def taken(units, unit_folders=UNIT_FOLDERS, quadlet_folder=QUADLET_FOLDER):
    """
    Return who and what has a name on this host already.

    ``{"users": {name: (uid, gecos)}, "groups": [names], "units": {unit: (path, text)}}``

    units
        Names of units that services would have. Only those that exist are in the answer.
    """
    return {
        "users": {user.pw_name: (user.pw_uid, user.pw_gecos) for user in pwd.getpwall()},
        "groups": [group.gr_name for group in grp.getgrall()],
        "units": _units(units, unit_folders, quadlet_folder),
    }


def secret_files(folder=SECRETS):
    """
    Return the names of the files of services' secrets, ``SERVICE.SECRET``.
    """
    return sorted(name for name in _names(folder) if "." in name and not name.startswith("."))


def homes(folder=HOMES):
    """
    Return the directories that are made for services as ``root:NAME 0750``, also where that group is gone, by name.
    """
    groups = {group.gr_gid: group.gr_name for group in grp.getgrall()}
    found = []
    for name in sorted(_names(folder)):
        with contextlib.suppress(OSError):
            status = Path(folder, name).lstat()
            made = stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and stat.S_IMODE(status.st_mode) == HOME_MODE
            if made and groups.get(status.st_gid, name) == name:
                found.append(name)
    return found


def _units(units, unit_folders, quadlet_folder):
    found = {}
    for folder in unit_folders:
        present = _names(folder)
        for unit in units:
            if unit in present and unit not in found:
                path = Path(folder, unit)
                found[unit] = (str(path), _read(path) or "")
    # A file that the generator has not been run for yet.
    declared = _names(quadlet_folder)
    for unit in units:
        file = _quadlet_file(unit)
        if file in declared and unit not in found:
            path = Path(quadlet_folder, file)
            found[unit] = (str(path), _read(path) or "")
    return found


def _quadlet_file(unit):
    stem, _, suffix = unit.rpartition(".")
    if suffix != "service":
        return None
    for kind in ("pod", "network"):
        if stem.endswith(f"-{kind}"):
            return f"{stem.removesuffix(f'-{kind}')}.{kind}"
    return f"{stem}.container"


def _names(folder):
    try:
        return {entry.name for entry in os.scandir(folder)}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _read(path):
    """The beginning of a file, None if it is not there or nobody else's business."""
    # A name that no file can have, one with a NUL, is a ValueError.
    with contextlib.suppress(OSError, ValueError), path.open("rb") as stream:
        return stream.read(LARGEST).decode("utf-8", errors="replace")
    return None
