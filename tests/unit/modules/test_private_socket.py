"""
Private sockets: what differs is found, and only that is acted upon.

systemd's answers are given here; files, sockets and processes are real.
"""

import grp
import os
import pwd
import socket
import subprocess
from pathlib import Path

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

private_socket = load("modules", "private_socket")
private_units = load("utils", "private_units")
unix_socket = load("modules", "unix_socket")

USER = "nobody"
GROUP = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
UNIT = "rick-private-notes-database"


class Systemd:
    """Answers for systemd, and does with sockets what it would do."""

    def __init__(self, folder):
        self.folder = folder
        self.said = {}
        self.asked = 0
        self.acts = []
        self.servers = {}

    def show(self, units, properties):
        self.asked += 1
        unknown = {"LoadState": "not-found", "ActiveState": "inactive", "NeedDaemonReload": "no", "MainPID": "0"}
        return {unit: {**unknown, **self.said.get(unit, {})} for unit in units}

    def daemon_reload(self):
        self.acts.append(("daemon-reload", []))
        for state in self.said.values():
            state["NeedDaemonReload"] = "no"

    def act(self, verb, units):
        if not units:
            return
        self.acts.append((verb, units))
        for unit in units:
            state = self.said.setdefault(unit, {"LoadState": "loaded"})
            state["ActiveState"] = "inactive" if verb in ("stop", "reset-failed") else "active"
            if verb == "restart" and unit.endswith(".socket"):
                self.listen(self.folder / "run/notes/s")

    def listen(self, path):
        path.unlink(missing_ok=True)
        self.servers[path] = socket.socket(socket.AF_UNIX)
        self.servers[path].bind(str(path))
        self.servers[path].listen()
        path.chmod(0o666)

    def close(self):
        for server in self.servers.values():
            server.close()


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host of its own below ``tmp_path``, where whoever runs the test is root."""
    systemd = Systemd(tmp_path)
    for name, place in {"ROOT": "run", "UNIT_FOLDER": "units", "TMPFILES_FOLDER": "tmpfiles.d"}.items():
        monkeypatch.setattr(private_units, name, f"{tmp_path}/{place}")
    (tmp_path / "units").mkdir()
    utils = functions("utils", "sockets", "sock_diag", "private_units", "textfile", "client_groups")
    utils |= {"units.show": systemd.show, "units.daemon_reload": systemd.daemon_reload, "units.act": systemd.act}
    me, mine = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name

    def stat(path):
        found = unix_socket.stat(path)
        return found if found["type"] == "absent" else {**found, "user": "root", "group": "root"}

    def make_directory(path, user, group, mode):
        assert (user, group) == ("root", "root")
        return unix_socket.make_directory(path, me, mine, mode)

    monkeypatch.setattr(unix_socket, "__utils__", utils, raising=False)
    monkeypatch.setattr(private_socket, "__utils__", utils, raising=False)
    monkeypatch.setattr(private_socket, "__context__", {}, raising=False)
    salt = {"unix_socket.stat": stat, "unix_socket.make_directory": make_directory}
    monkeypatch.setattr(private_socket, "__salt__", salt, raising=False)
    # In the place of pid 1: the test listens itself.
    monkeypatch.setattr(
        private_socket, "_systemd_listens", lambda path: bool(unix_socket.listeners(path)), raising=True
    )
    yield systemd
    systemd.close()


@pytest.fixture
def arguments(tmp_path):
    return {"name": "notes", "target": f"{tmp_path}/database/s", "user": USER, "group": GROUP}


@pytest.fixture
def created(host, arguments):
    private_socket.create(**arguments)
    host.acts.clear()
    return arguments


def test_what_is_made_is_as_declared_and_was_announced(host, arguments):
    announced = private_socket.differences(**arguments)
    assert private_socket.create(**arguments) == announced
    assert private_socket.differences(**arguments) == {}
    assert host.acts == [("daemon-reload", []), ("restart", [f"{UNIT}.socket"])]


def test_looking_changes_nothing(host, arguments, tmp_path):
    private_socket.differences(**arguments)
    assert [entry.name for entry in tmp_path.iterdir()] == ["units"]
    assert host.acts == []


def test_what_is_as_declared_is_not_touched(host, created):
    assert private_socket.create(**created) == {}
    assert host.acts == []


def test_the_directories_let_only_the_mount_in(host, created, tmp_path):
    assert unix_socket.stat(f"{tmp_path}/run")["mode"] == "0700"
    assert unix_socket.stat(f"{tmp_path}/run/notes")["mode"] == "0755"


def drift_unit(host, tmp_path):
    (tmp_path / f"units/{UNIT}.service").write_text("[Service]\n")


def drift_link(host, tmp_path):
    (tmp_path / f"units/sockets.target.wants/{UNIT}.socket").unlink()


def drift_reload(host, tmp_path):
    host.said[f"{UNIT}.service"] = {"LoadState": "loaded", "NeedDaemonReload": "yes"}


def drift_boot(host, tmp_path):
    (tmp_path / f"tmpfiles.d/{UNIT}.conf").unlink()


def drift_outer(host, tmp_path):
    (tmp_path / "run").chmod(0o755)


def drift_inner(host, tmp_path):
    (tmp_path / "run/notes").chmod(0o700)


def drift_mode(host, tmp_path):
    (tmp_path / "run/notes/s").chmod(0o600)


def drift_gone(host, tmp_path):
    (tmp_path / "run/notes/s").unlink()


def drift_replaced(host, tmp_path):
    (tmp_path / "run/notes/s").rename(tmp_path / "old")
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(f"{tmp_path}/run/notes/s")
    (tmp_path / "run/notes/s").chmod(0o666)


def drift_stopped(host, tmp_path):
    host.said[f"{UNIT}.socket"]["ActiveState"] = "inactive"


def drift_failed(host, tmp_path):
    host.said[f"{UNIT}.service"] = {"LoadState": "loaded", "ActiveState": "failed"}


RELOAD = ("daemon-reload", [])
RESTART_SOCKET = ("restart", [f"{UNIT}.socket"])


@pytest.mark.parametrize(
    ("drift", "acts"),
    [
        (drift_unit, [RELOAD]),
        (drift_link, [RELOAD]),
        (drift_reload, [RELOAD]),
        (drift_boot, []),
        (drift_outer, []),
        (drift_inner, []),
        (drift_mode, [RESTART_SOCKET]),
        (drift_gone, [RESTART_SOCKET]),
        (drift_replaced, [RESTART_SOCKET]),
        (drift_stopped, [RESTART_SOCKET]),
        (drift_failed, [("reset-failed", [f"{UNIT}.service"]), ("restart", [f"{UNIT}.service"])]),
    ],
)
def test_what_has_drifted_is_repaired_and_nothing_else_is_touched(host, created, tmp_path, drift, acts):
    drift(host, tmp_path)
    private_socket.__context__.clear()  # another run
    inner = (tmp_path / "run/notes").stat().st_ino
    assert len(private_socket.create(**created)) == 1
    assert host.acts == acts
    assert private_socket.differences(**created) == {}
    assert (tmp_path / "run/notes").stat().st_ino == inner  # what a container has mounted


@pytest.fixture
def proxy(host, created):
    """Run a process as the proxy, started with a digest."""
    started = []

    def start(digest):
        process = subprocess.Popen(
            ["sleep", "60"],
            env={"PATH": os.environ["PATH"], "RICK_DEFINITION": digest},
        )
        started.append(process)
        host.said[f"{UNIT}.service"] = {"LoadState": "loaded", "ActiveState": "active", "MainPID": str(process.pid)}
        private_socket.__context__.clear()

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def definition(created, tmp_path):
    return private_units.digest((tmp_path / f"units/{UNIT}.service").read_text())


def answer_ids(monkeypatch, uid, gid):
    monkeypatch.setattr(private_socket, "_ids", lambda *_: (uid, gid))


def test_a_proxy_that_runs_as_declared_is_left_alone(proxy, created, definition, monkeypatch):
    answer_ids(monkeypatch, os.geteuid(), os.getegid())
    proxy(definition)
    assert private_socket.differences(**created) == {}


def test_a_proxy_of_an_older_definition_is_restarted(host, proxy, created, monkeypatch):
    proxy("0123456789abcdef")
    changes = private_socket.differences(**created)
    assert changes == {f"{UNIT}.service": {"old": "started with an older definition", "new": "restarted"}}
    private_socket.create(**created)
    assert host.acts == [("restart", [f"{UNIT}.service"])]


def test_a_proxy_with_another_uid_than_the_user_has_now_is_restarted(proxy, created, definition, monkeypatch):
    answer_ids(monkeypatch, 12345, 12345)
    proxy(definition)
    assert f"{USER} is 12345" in private_socket.differences(**created)[f"{UNIT}.service"]["old"]


def test_a_proxy_without_the_gid_the_group_has_now_is_restarted(proxy, created, definition, monkeypatch):
    answer_ids(monkeypatch, os.geteuid(), 12345)
    proxy(definition)
    assert "runs without gid 12345" in private_socket.differences(**created)[f"{UNIT}.service"]["old"]


def test_a_proxy_that_has_just_ended_is_no_difference(host, created):
    host.said[f"{UNIT}.service"] = {"ActiveState": "active", "MainPID": "999999999"}
    private_socket.__context__.clear()
    assert private_socket.differences(**created) == {}


@pytest.mark.parametrize("missing", [{"user": "no-such-user"}, {"group": "no-such-group"}])
def test_a_missing_user_or_group_is_a_plan_to_look_at_and_an_error_to_make(host, arguments, tmp_path, missing):
    arguments |= missing
    assert private_socket.differences(**arguments)
    with pytest.raises(CommandExecutionError, match=r"private socket of notes: .* no-such-.* does not exist"):
        private_socket.create(**arguments)
    assert [entry.name for entry in tmp_path.iterdir()] == ["units"]
    assert host.acts == []


def test_the_daemon_s_own_user_is_refused(host, arguments, tmp_path, monkeypatch):
    (tmp_path / "database").mkdir()
    owned = {"type": "directory", "user": USER, "group": GROUP, "mode": "2750"}
    stat = private_socket.__salt__["unix_socket.stat"]
    database = f"{tmp_path}/database"
    monkeypatch.setitem(
        private_socket.__salt__, "unix_socket.stat", lambda path: owned if path == database else stat(path)
    )
    with pytest.raises(SaltInvocationError, match="the rights of the daemon itself"):
        private_socket.differences(**arguments)


@pytest.mark.parametrize("target", ["run/s", "/run/../s", "/run/a b", None])
def test_a_target_that_is_no_plain_absolute_path_is_refused(host, arguments, target):
    with pytest.raises(SaltInvocationError, match="path"):
        private_socket.differences(**{**arguments, "target": target})


def test_systemd_is_asked_once_for_all_private_sockets(host, created, arguments, tmp_path):
    private_socket.create(**{**arguments, "name": "wiki"})
    private_socket.__context__.clear()
    host.asked = 0
    private_socket.differences(**arguments)
    private_socket.differences(**{**arguments, "name": "wiki"})
    assert host.asked == 1


def test_the_list_tells_what_is_declared(host, created, arguments, tmp_path):
    assert private_socket.list_() == [
        {
            "unit": UNIT,
            "name": "notes",
            "kind": "database",
            "path": f"{tmp_path}/run/notes/s",
            "target": arguments["target"],
            "user": USER,
            "group": GROUP,
        }
    ]


def test_a_damaged_unit_file_is_listed_for_what_it_still_tells(host, created, tmp_path):
    (tmp_path / f"units/{UNIT}.service").write_text("[Service]\nUser=notes\n")
    (found,) = private_socket.list_()
    assert (found["unit"], found["user"], found["target"], found["path"]) == (UNIT, "notes", None, None)


def test_names_are_the_same_everywhere(host, created, arguments, tmp_path):
    at = private_socket.path("notes", arguments["target"])
    assert at == f"{private_socket.directory('notes')}/s" == private_socket.list_()[0]["path"]
    assert private_socket.units("notes", arguments["target"]) == [f"{UNIT}.socket", f"{UNIT}.service"]


def test_what_is_removed_was_announced_and_nothing_is_left(host, created, tmp_path):
    announced = private_socket.remnants("notes", created["target"])
    assert private_socket.remove("notes", created["target"]) == announced
    assert private_socket.remnants("notes", created["target"]) == {}
    assert not [entry for entry in tmp_path.rglob("*") if not entry.is_dir()]
    assert not (tmp_path / "run").exists()


def test_units_are_stopped_before_their_files_go(host, created, tmp_path, monkeypatch):
    def act(verb, units):
        if verb == "stop":
            assert (tmp_path / f"units/{UNIT}.socket").exists()
            assert units == [f"{UNIT}.socket"]
            host.act(verb, units)

    monkeypatch.setitem(private_socket.__utils__, "units.act", act)
    private_socket.remove("notes", created["target"])
    assert ("stop", [f"{UNIT}.socket"]) in host.acts


def test_another_private_socket_of_the_service_keeps_its_directory(host, created, tmp_path):
    (tmp_path / "run/notes/other").touch()
    assert f"{tmp_path}/run/notes" not in private_socket.remnants("notes", created["target"])
    private_socket.remove("notes", created["target"])
    assert [entry.name for entry in Path(f"{tmp_path}/run/notes").iterdir()] == ["other"]


def test_removing_what_is_not_there_changes_nothing(host, arguments):
    assert private_socket.remove("notes", arguments["target"]) == {}
    assert host.acts == []


def test_a_removal_that_was_killed_half_way_is_finished(host, created, tmp_path):
    (tmp_path / f"units/{UNIT}.service").unlink()
    (tmp_path / f"units/sockets.target.wants/{UNIT}.socket").unlink()
    private_socket.__context__.clear()
    assert private_socket.remove("notes", created["target"])
    assert private_socket.remnants("notes", created["target"]) == {}
