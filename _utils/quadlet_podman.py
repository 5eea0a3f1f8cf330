"""
What Podman has on this host: containers, networks, volumes, images, secrets.

Each question is one process for all of a kind, not one for each.

Images and secrets are read from Podman's own store, without a process: they may
change within a run, when an earlier state builds an image or renews a secret.
"""

import json
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

from salt.exceptions import CommandExecutionError

TIMEOUT = 60  # seconds
PULL_TIMEOUT = 1800  # seconds; images of a gigabyte over slow lines
ROUNDED = 1  # second by which a time that Podman prints may be too early
UNIT_LABEL = "PODMAN_SYSTEMD_UNIT"  # Quadlet gives it to everything that it starts
DIGEST_LABEL = "rick-infra.digest"
SERVICE_LABEL = "rick-infra.service"
# Hexadecimal, because JSON would replace what is not UTF-8.
VALUE_FORMAT = '{{printf "%x" .SecretData}} {{.Spec.Name}}'


def installed():
    """
    Return whether Podman is installed.
    """
    return shutil.which("podman") is not None


def version():
    """
    Return the version of Podman as a tuple of numbers, None if it is not installed.
    """
    if not installed():
        return None
    text = _podman("--version").split()[-1]
    return tuple(int(part) for part in text.partition("-")[0].split(".") if part.isdigit())


def containers():
    """
    Return the containers that systemd units started, ``{unit: facts}``.

    A pod stands for itself through its infra container, which has the pod's
    labels. The facts are ``container`` (name), ``infra``, ``state``,
    ``healthy`` (None if nobody checks it), ``pid``, ``image`` (id), ``digest``
    (of the definition that it was started with, None if it has none),
    ``owner`` (the service it belongs to, or None), ``created`` (seconds since
    1970, rather too late than too early), and ``pod`` (id, empty without one). ``starting`` says that its
    health is checked and not known yet.
    """
    found = {}
    for entry in _listed("ps", "--all"):
        labels = entry.get("Labels") or {}
        if UNIT_LABEL in labels:
            found[labels[UNIT_LABEL]] = {
                "container": entry["Names"][0],
                "infra": bool(entry.get("IsInfra")),
                "state": entry["State"],
                "healthy": _health(entry.get("Status") or ""),
                "pid": entry.get("Pid") or 0,
                "image": entry.get("ImageID"),
                "digest": labels.get(DIGEST_LABEL),
                "owner": labels.get(SERVICE_LABEL),
                "starting": "(starting)" in (entry.get("Status") or ""),
                "created": (entry.get("Created") or 0) + ROUNDED,
                "pod": entry.get("Pod") or "",
            }
    return found


def networks():
    """
    Return the networks, ``{name: digest of the definition or None}``.
    """
    return {entry["name"]: (entry.get("labels") or {}).get(DIGEST_LABEL) for entry in _listed("network", "ls")}


def network_owners():
    """
    Return whose networks are, ``{name: service or None}``.
    """
    return {entry["name"]: (entry.get("labels") or {}).get(SERVICE_LABEL) for entry in _listed("network", "ls")}


def volumes():
    """
    Return the volumes, ``{name: digest of the definition or None}``.
    """
    return {entry["Name"]: (entry.get("Labels") or {}).get(DIGEST_LABEL) for entry in _listed("volume", "ls")}


def images(places):
    """
    Return the local images by all their names, ``{name: id}``.

    places
        As from ``podman_store.places``.
    """
    found = {}
    for listing in _named("images.json", places):
        for image in _stored(listing) or []:
            found.update(dict.fromkeys([*(image.get("names") or []), image["id"]], image["id"]))
    return found


def image_id(name, images):
    """
    Return the id of a local image by its full name, None if there is no such name.

    images
        As returned by ``images``.
    """
    if ":" not in name.rpartition("/")[2] and f"{name}:latest" in images:
        return images[f"{name}:latest"]
    return images.get(name.removeprefix("sha256:"))


def has_image(name):
    """
    Return whether a container could start from a local image, also by a short name, by Podman's own word.
    """
    return _ask("image", "exists", name)


def pull(name, policy="missing", authfile=None):
    """
    Fetch an image, or find that the one that is here is the registry's. ``podman pull`` has no policies before 5.6.

    policy
        ``missing``, ``newer`` or ``always``, as of podman-run(1): with ``newer``, a registry that does not answer does
        not matter if the image is here.

    authfile
        Path of the credentials for the registry, containers-auth.json(5).

    Raises CommandExecutionError with Podman's own words.
    """
    credentials = [f"--authfile={authfile}"] if authfile else []
    try:
        _podman("image", "pull", "--quiet", *credentials, name, timeout=PULL_TIMEOUT)
    except CommandExecutionError:
        if policy != "newer" or not has_image(name):
            raise


def tag(identity, name):
    """
    Give an image that is here a name.

    Raises CommandExecutionError if it is not here.
    """
    _podman("image", "tag", identity, name)


def untag(names):
    """
    Take names away from images, which stay. Names that nobody has are none.
    """
    for name in names:
        _ask("image", "untag", name, name)


def remove_images(images):
    """
    Remove images that nothing needs, and return those that are gone. One that a container uses, or another is made
    from, stays.

    images
        ``{id: names}``.
    """
    return [identity for identity, names in images.items() if _ask("image", "rm", *(names or [identity]))]


def secret_values(names):
    """
    Return the values of secrets, ``{name: bytes}``. Never to be shown.
    """
    if not names:
        return {}
    said = _podman("secret", "inspect", "--showsecret", "--format", VALUE_FORMAT, "--", *names)
    return {name: bytes.fromhex(value) for value, _, name in (line.partition(" ") for line in said.splitlines())}


def secrets(places):
    """
    Return when each secret got its value, ``{name: seconds since 1970}``.

    places
        As from ``podman_store.places``.
    """
    return {
        entry["name"]: datetime.fromisoformat(entry.get("updatedAt") or entry["createdAt"]).timestamp()
        for listing in _named("secrets.json", places)
        for entry in ((_stored(listing) or {}).get("secrets") or {}).values()
    }


def remove_leftovers(containers, pods):
    """
    Remove containers by name and pods by id with all that is in them, running or not.
    """
    if pods:
        _podman("pod", "rm", "--force", "--ignore", *pods)
    if containers:
        _podman("rm", "--force", "--ignore", *containers)


def remove_networks(names):
    """
    Remove networks.

    Raises CommandExecutionError if a container still uses one.
    """
    if names:
        _podman("network", "rm", *names)


def _health(status):
    """``podman ps`` has health in its status only: ``Up 2 minutes (healthy)``."""
    if "(unhealthy)" in status:
        return False
    return True if "(healthy)" in status else None


def _named(name, places):
    if places is None:
        raise CommandExecutionError("where Podman keeps its images and secrets cannot be told: see storage.conf")
    return [place for place in places if Path(place).name == name]


def _text(path):
    """What a file holds, nothing if it is not there."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise CommandExecutionError(f"{path}: {error.strerror}") from error


def _stored(path):
    text = _text(path)
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise CommandExecutionError(f"{path}: {error}") from error


def _listed(*command):
    return (json.loads(_podman(*command, "--format", "json")) or []) if installed() else []


def _ask(*command):
    """Whether Podman answers yes, which is an exit code of 0; 1 is no."""
    return installed() and _run(command, TIMEOUT).returncode == 0


def _podman(*command, timeout=TIMEOUT):
    done = _run(command, timeout)
    if done.returncode != 0:
        raise CommandExecutionError(f"podman {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def _run(command, timeout):
    try:
        return subprocess.run(["podman", *command], capture_output=True, text=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"podman {' '.join(command)}: {error}") from error
