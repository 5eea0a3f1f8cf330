"""
An instance of Valkey for one service: its files are real, its server is a double at its socket, systemd is told.
"""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from doubles.valkey import Valkey
from doubles.valkey_host import ME, MINE, Host
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

valkey = load("modules", "valkey")
users = load("modules", "valkey_user")
instances = load("modules", "valkey_instance")
places = load("utils", "valkey_places")
acl = load("utils", "valkey_acl")

NAME = MINE  # the service's own group must exist
PLACE_KEYS = ("tmpfiles", "drop_in", "config_file", "data", "directory")


class Systemd:
    """What is known of the unit, and a server that runs while it does."""

    def __init__(self, host):
        self.host, self.asked, self.acted = host, [], []
        self.enabled, self.stale, self.started_with = False, False, None

    @property
    def active(self):
        return NAME in self.host.instances

    def status(self, units):
        self.asked.append(units)
        stale = self.stale or (self.active and self.started_with != Path(places.place(NAME)["drop_in"]).read_text())
        here = {"active": self.active, "enabled": self.enabled, "stale_process": self.active and stale}
        known = {"loaded": True, **here, "stale_unit": False}
        return {unit: dict(known) for unit in units}

    def apply(self, start, restart, enable):
        for verb, units in (("enable", enable), ("restart", restart), ("start", start)):
            if units:
                self.act(verb, units)

    def act(self, verb, units):
        if not units:
            return
        assert units == [places.place(NAME)["unit"]]
        self.acted.append(verb)
        if verb in ("stop", "restart") and self.active:
            self.host.instances.pop(NAME).stop()
        if verb in ("start", "restart"):
            settings = load("utils", "valkey_settings")
            text = Path(places.place(NAME)["config_file"]).read_text()
            self.host.start_instance(NAME).config.update(settings.parse(text))
            self.stale, self.started_with = False, Path(places.place(NAME)["drop_in"]).read_text()
        if verb in ("enable", "disable"):
            self.enabled = verb == "enable"

    def reload(self):
        self.acted.append("reload")


@pytest.fixture
def host(monkeypatch, tmp_path):
    host = Host(monkeypatch, tmp_path)
    host.systemd = Systemd(host)
    socket = load("modules", "unix_socket")
    monkeypatch.setattr(socket, "__utils__", functions("utils", "sockets", "client_groups"), raising=False)
    salt = {
        **functions("modules", "valkey", "unix_socket"),
        "daemon.status": host.systemd.status,
        "daemon.apply": host.systemd.apply,
    }
    for module in (valkey, users, instances):
        host.prepare(monkeypatch, module, salt)
        module.__utils__.update(
            {
                "units.act": host.systemd.act,
                "units.daemon_reload": host.systemd.reload,
                **functions("utils", "account_archive", "archives"),
            }
        )
    monkeypatch.setattr(instances, "__opts__", {}, raising=False)
    monkeypatch.setattr(load("utils", "account_archive"), "FOLDER", str(tmp_path / "archive"))
    yield host
    host.stop()


@pytest.fixture
def place(host):
    return places.place(NAME)


@pytest.fixture
def running(host):
    instances.apply(NAME, memory=64)
    host.systemd.acted.clear()
    return host.instances[NAME]


def mode(path):
    return f"{os.lstat(path).st_mode & 0o7777:04o}"


def test_a_new_instance_is_planned_in_full_and_made(host, place):
    plan = instances.differences(NAME)
    parts = {"administrator secret", "administrator file", place["unit"], f"{place['unit']} at boot"}
    assert set(plan) == {place[key] for key in PLACE_KEYS} | parts
    assert not list((host.folder / "configuration").iterdir())
    instances.apply(NAME)
    assert instances.differences(NAME) == {}
    assert host.systemd.acted == ["enable", "start"]
    assert (mode(place["directory"]), mode(place["data"])) == ("2750", "0700")
    assert (mode(place["socket"]), mode(place["config_file"])) == ("0770", "0640")
    assert Path(place["config_file"]).read_text().startswith(places.mark())
    assert "maxmemory 128mb" in Path(place["config_file"]).read_text()


def test_it_has_no_tcp_an_acl_file_of_its_own_and_its_own_directories(running, place):
    config = load("utils", "valkey_settings").parse(Path(place["config_file"]).read_text())
    assert (config["port"], config["unixsocket"], config["aclfile"]) == ("0", place["socket"], place["acl_file"])
    assert config["dir"] == place["data"]
    drop_in = Path(place["drop_in"]).read_text()
    assert "\nRuntimeDirectory=\n" in drop_in
    assert f"\nReadWritePaths=\nReadWritePaths={place['data']} {place['directory']}\n" in drop_in
    assert f"d {place['directory']} 2750 {ME} {NAME} - -\n" in Path(place["tmpfiles"]).read_text()


def test_an_unchanged_run_asks_systemd_once_for_all_instances(host, running, place):
    (host.folder / "configuration/valkey-other.conf").write_text(f"{places.mark()}\n")
    host.context.clear()
    host.systemd.asked.clear()
    for _ in range(3):
        assert instances.differences(NAME, memory=64) == {}
    assert host.systemd.asked == [sorted([place["unit"], "valkey-server@other.service"])]


@pytest.mark.parametrize(
    ("drift", "kinds", "acted"),
    [
        (lambda host, at: host.instances[NAME].config.update(maxmemory="1"), {"setting maxmemory"}, []),
        (lambda host, at: host.instances[NAME].config.update(port="6379"), {"setting port"}, []),
        (lambda host, at: Path(at["config_file"]).write_text(f"{places.mark()}\n"), {"config_file"}, []),
        (lambda host, at: Path(at["config_file"]).chmod(0o644), {"config_file"}, []),
        (lambda host, at: Path(at["directory"]).chmod(0o755), {"directory"}, []),
        (lambda host, at: Path(at["socket"]).chmod(0o777), {"socket"}, []),
        (lambda host, at: Path(at["data"]).chmod(0o755), {"data"}, []),
        (lambda host, at: Path(at["tmpfiles"]).unlink(), {"tmpfiles"}, []),
        (lambda host, at: host.systemd.act("stop", [at["unit"]]), {"unit"}, ["start"]),
        (lambda host, at: setattr(host.systemd, "enabled", False), {"boot"}, ["enable"]),
        (lambda host, at: setattr(host.systemd, "stale", True), {"unit"}, ["restart"]),
        (lambda host, at: Path(at["socket"]).unlink(), {"unit"}, ["restart"]),
        (lambda host, at: host.instances[NAME].users.update(stranger=["on"]), {"administrator loaded"}, []),
        (lambda host, at: Path(at["acl_file"]).chmod(0o666), {"administrator file"}, []),
        (
            lambda host, at: Path(at["secret_file"]).unlink(),
            {"administrator secret", "administrator file", "administrator server"},
            ["restart"],
        ),
    ],
)
def test_drift_is_seen_and_repaired_with_no_more_than_it_takes(host, running, place, drift, kinds, acted):
    drift(host, place)
    host.systemd.acted.clear()
    host.context.clear()  # another run
    boot = {"boot": f"{place['unit']} at boot"}
    found = instances.differences(NAME, memory=64)
    assert set(found) == {{**place, **boot}.get(kind, kind) for kind in kinds}
    instances.apply(NAME, memory=64)
    assert host.systemd.acted == acted
    assert instances.differences(NAME, memory=64) == {}


def test_more_memory_takes_no_restart(host, running):
    instances.apply(NAME, memory=96)
    assert running.config["maxmemory"] == "96mb"
    assert host.systemd.acted == []


def test_a_setting_that_is_no_longer_declared_changes_the_drop_in_and_so_asks_for_a_restart(host, running, place):
    instances.apply(NAME, memory=64, settings={"timeout": 300})
    assert host.systemd.acted == ["restart"]
    assert place["drop_in"] in instances.differences(NAME, memory=64)
    assert instances.differences(NAME, memory=64)[place["unit"]]["new"] == "restarted"


@pytest.mark.parametrize("settings", [{"dir": "/"}, {"port": 1}, {"requirepass": "x"}, {"maxmemory": "1gb"}])
def test_what_the_protection_rests_on_is_refused(host, settings):
    with pytest.raises(SaltInvocationError, match=next(iter(settings))):
        instances.differences(NAME, settings=settings)


@pytest.mark.parametrize("memory", [0, -1, True, "64", 1.5])
def test_memory_is_a_number_of_mebibytes(host, memory):
    with pytest.raises(SaltInvocationError, match="MiB"):
        instances.differences(NAME, memory=memory)


def test_a_value_of_two_lines_could_be_another_setting(host):
    with pytest.raises(SaltInvocationError, match="one line"):
        instances.differences(NAME, settings={"timeout": "1\nport 1"})


def test_an_instance_somebody_else_has_made_is_refused_and_never_removed(host, place):
    Path(place["config_file"]).write_text("port 6390\n")
    Path(place["data"]).mkdir()
    for function in (instances.differences, instances.apply):
        with pytest.raises(CommandExecutionError, match=r"was not made by valkey_instance\.present"):
            function(NAME)
    assert instances.remnants(NAME, "delete") == {}
    instances.remove(NAME, "delete")
    assert Path(place["data"]).is_dir()
    assert Path(place["config_file"]).exists()


def test_the_missing_group_of_the_service_is_a_plan_and_then_an_error(host):
    assert instances.differences("nogrp9")
    with pytest.raises(CommandExecutionError, match="nogrp9 does not exist"):
        instances.apply("nogrp9")


def test_the_missing_account_names_the_package(host, monkeypatch):
    monkeypatch.setattr(places, "ACCOUNT", "nosuch")
    assert instances.differences(NAME)
    with pytest.raises(CommandExecutionError, match="valkey-server makes it"):
        instances.apply(NAME)


def test_nothing_of_it_is_nothing_to_do_and_nothing_to_ask_systemd(host):
    assert instances.remnants(NAME) == {}
    assert host.systemd.asked == []


@pytest.mark.parametrize("data", ["keep", "delete"])
def test_it_goes_with_all_but_the_data_that_are_to_stay(host, running, place, data):
    users.apply(NAME, {"isolation": "instance"})
    Path(place["data"], "dump.rdb").write_text("x")
    plan = instances.remnants(NAME, data)
    assert (place["data"] in plan) == (data == "delete")
    assert instances.remove(NAME, data) is None
    assert host.systemd.acted == ["disable", "stop", "reload"]
    assert instances.remnants(NAME, data) == {}
    assert Path(place["data"]).exists() == (data == "keep")
    left = [path for path in host.folder.rglob(f"*{NAME}*") if "data" not in path.parts]
    assert left == [host.secrets / f"{NAME}.valkey"]  # the service's own, which whoever makes secrets removes
    assert instances.list_() == ([{"name": NAME, "declared": False, "data": True}] if data == "keep" else [])


def test_it_is_stopped_with_all_that_it_has_and_starts_again(host, running, place):
    plan = instances.running(NAME)
    assert set(plan) == {place["unit"], f"{place['unit']} at boot"}
    assert instances.stop(NAME) == plan
    assert host.systemd.acted == ["disable", "stop"]
    assert instances.running(NAME) == {}
    assert Path(place["config_file"]).exists()
    instances.apply(NAME, memory=64)
    assert set(instances.running(NAME)) == set(plan)


def test_what_is_not_there_or_not_ours_is_not_stopped(host, place):
    assert instances.running(NAME) == {}
    Path(place["config_file"]).write_text("port 0\n")
    assert instances.stop(NAME) == {}
    assert host.systemd.acted == []


def test_a_removal_that_was_killed_is_taken_up(host, running, place):
    host.systemd.act("stop", [place["unit"]])
    Path(place["acl_file"]).unlink()
    host.context.clear()
    assert place["config_file"] in instances.remnants(NAME)
    instances.remove(NAME)
    assert instances.remnants(NAME) == {}


@pytest.fixture
def reader(host, monkeypatch):
    """The server that reads the data as a proof: a script with a double behind it, which has as many keys as told."""
    reader = SimpleNamespace(keys=1, asked=[], broken=False)

    @contextlib.contextmanager
    def serving(data, owner):
        reader.asked.append((data, owner, host.systemd.active))
        if reader.broken:
            raise CommandExecutionError(f"{data}: valkey-server cannot read it: Wrong signature")
        double = Valkey(str(host.folder / "reader"), host.folder / "no-acl-file")
        double.users["default"] = ["on", f"#{acl.password_hash('')}", "~*", "+@all"]
        double.databases[0] = {str(number).encode(): (b"x", -1) for number in range(reader.keys)}
        try:
            yield str(host.folder / "reader")
        finally:
            double.stop()

    monkeypatch.setitem(instances.__utils__, "valkey_proof.serving", serving)
    return reader


def fill(place):
    data = Path(place["data"])
    (data / "dump.rdb").write_text("keys")
    (data / "appendonlydir").mkdir()
    (data / "appendonlydir/appendonly.aof.manifest").write_text("manifest")
    return {path.relative_to(data): path.read_text() for path in data.rglob("*") if path.is_file()}


def test_archived_data_are_read_by_a_server_and_come_back_for_the_next_instance(host, running, place, reader):
    before = fill(place)
    running.databases[0] = {b"a": (b"x", -1)}
    archive = instances.remove(NAME, "archive")
    assert reader.asked == [(place["data"], (os.getuid(), os.getgid()), False)]
    assert not Path(place["data"]).exists()
    assert mode(archive) == "0600"
    instances.restore(NAME, archive)
    data = Path(place["data"])
    assert {path.relative_to(data): path.read_text() for path in data.rglob("*") if path.is_file()} == before
    assert mode(data) == "0700"
    instances.apply(NAME, memory=64)
    with pytest.raises(CommandExecutionError, match="is there; remove"):
        instances.restore(NAME, archive)


def test_data_are_archived_once_and_stay_until_they_are_removed(host, running, place, reader):
    fill(place)
    running.databases[0] = {b"a": (b"x", -1)}
    unit = place["unit"]
    assert set(instances.to_archive(NAME)) == {place["data"], unit, f"{unit} at boot"}
    [archive] = instances.archive(NAME)
    assert (instances.to_archive(NAME), instances.archive(NAME)) == ({}, [archive])
    assert unit not in instances.remnants(NAME, "archive")
    assert Path(place["data"], "dump.rdb").exists()
    assert instances.remove(NAME, "archive") == archive
    assert instances.remnants(NAME, "archive") == {}
    assert len(list(Path(archive).parent.iterdir())) == 1


def test_a_plan_stops_an_instance_once(host, running, place, monkeypatch):
    fill(place)
    monkeypatch.setitem(instances.__opts__, "test", True)
    assert place["unit"] in instances.to_archive(NAME)
    assert place["unit"] not in instances.remnants(NAME, "archive")


def test_data_that_nobody_can_read_stay_and_the_error_tells_why(host, running, place, reader):
    fill(place)
    reader.broken = True
    with pytest.raises(CommandExecutionError, match=r"cannot read it: Wrong signature"):
        instances.remove(NAME, "archive")
    assert Path(place["data"], "dump.rdb").exists()
    assert place["data"] in instances.remnants(NAME, "archive")


def test_data_with_fewer_keys_than_the_server_had_stay(host, running, place, reader):
    fill(place)
    running.databases[0] = {b"a": (b"x", -1), b"b": (b"x", -1)}
    with pytest.raises(CommandExecutionError, match=r"holds \{0: 1\} keys by database, and the server had \{0: 2\}"):
        instances.remove(NAME, "archive")
    assert Path(place["data"], "dump.rdb").exists()


def test_data_that_were_kept_before_can_be_archived_without_an_instance(host, running, place, reader):
    fill(place)
    instances.remove(NAME, "keep")
    assert set(instances.remnants(NAME, "archive")) == {place["data"]}
    assert Path(instances.remove(NAME, "archive")).exists()
    assert instances.remnants(NAME, "archive") == {}


def test_what_is_no_archive_restores_nothing(host, place, tmp_path):
    (tmp_path / "x.tar.gz").write_text("garbage")
    for path in (tmp_path / "x.tar.gz", tmp_path / "nowhere"):
        with pytest.raises(CommandExecutionError, match="tar"):
            instances.restore(NAME, str(path))
    assert os.listdir(host.folder / "data") == []  # noqa: PTH208 - names are what is asked for


def test_unknown_ways_with_data_are_refused(host):
    with pytest.raises(SaltInvocationError, match="keep, archive or delete"):
        instances.remnants(NAME, "drop")
