"""
Podman's own files, as Podman 5.4.2 writes them: what is read, and when Podman has to be asked instead.
"""

import json
import sqlite3

import pytest
from tree import load

store = load("utils", "podman_store")
LABELS = {
    "PODMAN_SYSTEMD_UNIT": "notes-web.service",
    "rick-infra.digest": "c1",
    "rick-infra.service": "notes",
}
TABLES = """
    CREATE TABLE DBConfig (SchemaVersion INTEGER);
    INSERT INTO DBConfig VALUES (1);
    CREATE TABLE ContainerConfig (ID TEXT, Name TEXT, PodID TEXT, JSON TEXT);
    CREATE TABLE ContainerState (ID TEXT, JSON TEXT);
    CREATE TABLE VolumeConfig (Name TEXT, JSON TEXT);
"""


class Podman:
    """A store with one container, and the process of that."""

    def __init__(self, root):
        self.root = root
        self.database = sqlite3.connect(root / "db.sql")
        self.database.executescript(TABLES)
        self.config = {
            "labels": LABELS,
            "rootfsImageID": "42a1",
            "createdTime": "2026-11-23T23:59:59.070245095Z",
            "healthcheck": {"Test": ["CMD-SHELL", "true"]},
            "pause": False,
        }
        self.state = {"state": 3, "pid": 30, "conmonPid": 29, "runDir": str(root / "run/ID/userdata")}
        (root / "run/ID/userdata").mkdir(parents=True)
        (root / "overlay-images").mkdir()
        (root / "secrets").mkdir()
        (root / "networks").mkdir()

    def write(self, identity="ID"):
        self.database.execute(
            "INSERT INTO ContainerConfig VALUES (?, ?, ?, ?)", (identity, "notes-web", "p", json.dumps(self.config))
        )
        # The real column is a blob.
        self.database.execute("INSERT INTO ContainerState VALUES (?, ?)", (identity, json.dumps(self.state).encode()))
        self.database.commit()

    def process(self, pid, parent, name="python3"):
        folder = self.root / "proc" / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "stat").write_text(f"{pid} ({name}) S {parent} 1 1 0")

    def health(self, status):
        (self.root / "run/ID/healthcheck.log").write_text(json.dumps({"Status": status, "FailingStreak": 0}))


@pytest.fixture
def podman(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "STORAGE_CONFS", (str(tmp_path / "storage.conf"),))
    monkeypatch.setattr(store, "GRAPH_ROOT", str(tmp_path))
    monkeypatch.setattr(store, "NETWORKS", str(tmp_path / "networks"))
    monkeypatch.setattr(store, "PROCESSES", str(tmp_path / "proc"))
    found = Podman(tmp_path)
    yield found
    found.database.close()


def test_a_container_is_known_as_podman_would_say(podman):
    podman.write()
    podman.process(30, 29)
    podman.health("healthy")
    assert store.containers() == {
        "notes-web.service": {
            "container": "notes-web",
            "infra": False,
            "state": "running",
            "healthy": True,
            "starting": False,
            "pid": 30,
            "image": "42a1",
            "digest": "c1",
            "owner": "notes",
            "created": 1795478399.070245,
            "pod": "p",
        }
    }


@pytest.mark.parametrize(
    ("status", "healthy", "starting"),
    [("healthy", True, False), ("unhealthy", False, False), ("starting", None, True), (None, None, True)],
)
def test_health_is_what_the_last_check_said(podman, status, healthy, starting):
    podman.write()
    podman.process(30, 29)
    if status:
        podman.health(status)
    found = store.containers()["notes-web.service"]
    assert (found["healthy"], found["starting"]) == (healthy, starting)


def test_without_a_check_nobody_says_anything_about_health(podman):
    podman.config["healthcheck"] = None
    podman.write()
    podman.process(30, 29)
    found = store.containers()["notes-web.service"]
    assert (found["healthy"], found["starting"]) == (None, False)


def test_a_container_whose_process_is_gone_does_not_run(podman):
    podman.write()
    found = store.containers()["notes-web.service"]
    assert (found["state"], found["pid"]) == ("exited", 0)


def test_another_process_of_the_same_number_is_not_the_container(podman):
    podman.write()
    podman.process(30, 1, name="evil) S 29 (")
    assert store.containers()["notes-web.service"]["state"] == "exited"


def test_containers_that_no_unit_started_are_left_out(podman):
    podman.config["labels"] = None
    podman.write()
    podman.config["labels"] = {"a": "b"}
    podman.write("ID2")
    assert store.containers() == {}


@pytest.mark.parametrize(
    "damage", ["schema", "tables", "no database", "not a database", "state", "time", "health", "storage.conf"]
)
def test_what_is_not_as_known_is_left_to_podman(podman, damage):
    if damage == "schema":
        podman.database.execute("UPDATE DBConfig SET SchemaVersion = 2")
    elif damage == "tables":
        podman.database.execute("DROP TABLE ContainerState")
    elif damage == "state":
        podman.state["state"] = 99
    elif damage == "time":
        podman.config["createdTime"] = "yesterday"
    podman.database.commit()
    if damage != "tables":
        podman.write()
    podman.process(30, 29)
    if damage == "health":
        (podman.root / "run/ID/healthcheck.log").write_text("")
    elif damage == "no database":
        (podman.root / "db.sql").unlink()
    elif damage == "not a database":
        (podman.root / "db.sql").write_text("x" * 5000)
    elif damage == "storage.conf":
        (podman.root / "storage.conf").write_text("[")
    assert store.containers() is None


def test_podman_is_asked_while_its_database_is_locked(podman, monkeypatch):
    monkeypatch.setattr(store, "LOCK_TIMEOUT", 0.05)
    podman.write()
    podman.database.execute("BEGIN EXCLUSIVE")
    assert store.containers() is None


def test_reading_needs_no_right_to_write(podman):
    podman.write()
    before = (podman.root / "db.sql").stat().st_mtime_ns
    store.containers()
    assert (podman.root / "db.sql").stat().st_mtime_ns == before


def test_volumes_are_known_with_their_digests(podman):
    podman.database.executemany(
        "INSERT INTO VolumeConfig VALUES (?, ?)",
        [("ours", json.dumps({"labels": {"rick-infra.digest": "v"}})), ("other", json.dumps({"labels": None}))],
    )
    podman.database.commit()
    assert store.volumes() == {"ours": "v", "other": None}


def test_networks_are_known_with_their_digests(podman):
    (podman.root / "networks/a.json").write_text(
        json.dumps({"name": "a", "labels": {"rick-infra.digest": "n", "rick-infra.service": "notes"}})
    )
    (podman.root / "networks/b.json").write_text(json.dumps({"name": "b"}))
    assert store.networks() == {"a": "n", "b": None}
    assert store.network_owners() == {"a": "notes", "b": None}
    (podman.root / "networks/b.json").write_text("")
    assert store.networks() is store.network_owners() is None


@pytest.mark.parametrize("file", ["overlay-images/images.json", "secrets/secrets.json"])
def test_the_stamp_is_another_after_images_or_secrets_have_changed(podman, file):
    before = store.stamp(store.places())
    (podman.root / file).write_text("[]")
    between = store.stamp(store.places())
    # Podman replaces these files.
    (podman.root / "new").write_text("[1]")
    (podman.root / "new").replace(podman.root / file)
    assert len({str(one) for one in (before, between, store.stamp(store.places()))}) == 3


def test_nobody_can_tell_without_knowing_where_the_store_is(podman):
    (podman.root / "storage.conf").write_text("[")
    assert store.places() is None
    assert store.stamp(None) is None
