"""
What Podman has, read from its own files: without a process, and without waiting for its locks.

``podman ps`` takes 80 ms for forty containers, and waits for each one that is
just being started or stopped: seconds, in a run that starts many. The same
facts are in Podman's database, which takes 2 ms.

Every function returns None where the files are not as known here (another
Podman, another database), and never half an answer. Podman itself is asked
then (``quadlet_podman``), and also before anything is done because something
seems to be gone.
"""

import json
import os
import sqlite3
import tomllib
from datetime import datetime
from pathlib import Path

STORAGE_CONFS = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")  # the first one there counts
GRAPH_ROOT = "/var/lib/containers/storage"  # containers-storage.conf(5)
NETWORKS = "/etc/containers/networks"  # network_config_dir in containers.conf(5)
PROCESSES = "/proc"
LOCK_TIMEOUT = 2  # seconds; Podman's own transactions take milliseconds
SCHEMA = 1  # of libpod's database, Podman 4.8 to 5.8
UNIT_LABEL = "PODMAN_SYSTEMD_UNIT"
DIGEST_LABEL = "rick-infra.digest"
SERVICE_LABEL = "rick-infra.service"

# libpod/define/containerstate.go
STATES = ("unknown", "configured", "created", "running", "stopped", "paused", "exited", "removing", "stopping")

CONTAINERS = """
    SELECT c.ID, c.Name, c.PodID,
           json_extract(c.JSON, '$.labels', '$.rootfsImageID', '$.createdTime', '$.healthcheck', '$.pause'),
           json_extract(s.JSON, '$.state', '$.pid', '$.conmonPid', '$.runDir')
    FROM ContainerConfig c JOIN ContainerState s ON c.ID = s.ID
"""
VOLUMES = "SELECT Name, json_extract(JSON, '$.labels') FROM VolumeConfig"


def containers():
    """
    Return the containers that systemd units started, as ``quadlet_podman.containers`` does, or None.
    """
    rows = _rows(CONTAINERS)
    if rows is None:
        return None
    found = {}
    try:
        for name, pod, config, state in ((row[1], row[2], json.loads(row[3]), json.loads(row[4])) for row in rows):
            labels, image, created, check, infra = config
            if labels and UNIT_LABEL in labels:
                number, pid, monitor, directory = state
                alive = _alive(pid, monitor)
                health = _health(directory) if check and check.get("Test") and alive else None
                found[labels[UNIT_LABEL]] = {
                    "container": name,
                    "infra": bool(infra),
                    "state": _state(number, alive),
                    "healthy": {"healthy": True, "unhealthy": False}.get(health or ""),
                    "starting": health == "starting",
                    "pid": pid if alive else 0,
                    "image": image,
                    "digest": labels.get(DIGEST_LABEL),
                    "owner": labels.get(SERVICE_LABEL),
                    "created": datetime.fromisoformat(created).timestamp(),
                    "pod": pod or "",
                }
    except (ValueError, TypeError, AttributeError, LookupError):
        return None
    return found


def volumes():
    """
    Return the volumes, ``{name: digest of the definition or None}``, or None.
    """
    rows = _rows(VOLUMES)
    if rows is None:
        return None
    try:
        return {name: (json.loads(labels) if labels else {}).get(DIGEST_LABEL) for name, labels in rows}
    except (ValueError, TypeError, AttributeError):
        return None


def networks():
    """
    Return the networks that somebody made, ``{name: digest of the definition or None}``, or None.
    """
    return _networks(DIGEST_LABEL)


def network_owners():
    """
    Return whose networks that somebody made are, ``{name: service or None}``, or None.
    """
    return _networks(SERVICE_LABEL)


def places():
    """
    Return the files in which Podman keeps its images and secrets, there or not.
    """
    root = _graph_root()
    if root is None:
        return None
    folders = root.glob("*-images") if root.is_dir() else []
    return [*(f"{folder}/images.json" for folder in sorted(folders)), f"{root}/secrets/secrets.json"]


def stamp(paths):
    """
    Return what is another value after one of some files has changed, None for None.
    """
    if paths is None:
        return None
    marks: list = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - asked often, and Path takes three times as long
        except FileNotFoundError:
            marks.append(None)
            continue
        marks.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return marks


def _networks(label):
    found = {}
    try:
        for path in Path(NETWORKS).glob("*.json"):
            network = json.loads(path.read_bytes())
            found[network["name"]] = (network.get("labels") or {}).get(label)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found


def _rows(query):
    root = _graph_root()
    if root is None or not (root / "db.sql").exists():
        return None
    try:
        database = sqlite3.connect(f"file:{root}/db.sql?mode=ro", uri=True, timeout=LOCK_TIMEOUT)
        try:
            if database.execute("SELECT SchemaVersion FROM DBConfig").fetchall() != [(SCHEMA,)]:
                return None
            return database.execute(query).fetchall()
        finally:
            database.close()
    except sqlite3.Error:  # locked, left half written by a power cut, or with other tables: Podman knows what to do
        return None


def _graph_root():
    try:
        for path in map(Path, STORAGE_CONFS):
            if path.exists():
                storage = tomllib.loads(path.read_text(encoding="utf-8")).get("storage", {})
                return Path(storage.get("graphroot") or GRAPH_ROOT)
    except (OSError, ValueError):
        return None
    return Path(GRAPH_ROOT)


def _state(number, alive):
    """The database learns of a death a moment later, and of one by power cut only when Podman runs again."""
    name = STATES[number]
    return name if alive or name not in ("running", "paused", "stopping") else "exited"


def _alive(pid, monitor):
    """Whether the container's process runs: its parent is the monitor, so another process of that number is not it."""
    if not pid or not monitor:
        return False
    try:
        stat = (Path(PROCESSES) / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[1] == str(monitor)


def _health(directory):
    """What the last check said; before the first one, nothing is written."""
    try:
        log = json.loads((Path(directory).parent / "healthcheck.log").read_bytes())
    except FileNotFoundError:
        return "starting"
    return log["Status"]
