"""
What is rendered for a private socket, taken to the tools that read it. Needs root.
"""

import os
import pwd
import shlex
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from tree import load

private_units = load("utils", "private_units")

USER = "games"
GROUP = "audio"
PATIENCE = 10  # seconds until what is waited for counts as not happening


@pytest.fixture
def files(open_folder):
    """The files of a private socket to a database in ``open_folder``."""
    return private_units.files("notes", f"{open_folder}/database/s", USER, GROUP, daemon="basic.target")


@pytest.fixture
def staged(files, tmp_path):
    """The same, written below ``tmp_path``."""
    paths = []
    for path, text in files.items():
        staged = tmp_path / Path(path).name
        staged.write_text(text)
        paths.append(staged)
    return {path.suffix: path for path in paths}


def test_systemd_finds_nothing_wrong_with_the_units(staged):
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(staged[".socket"]), str(staged[".service"])],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if "rick-private" in line]
    assert complaints == []


def test_booting_makes_the_directories(staged, tmp_path, modules):
    root = tmp_path / "root"
    for _ in range(2):  # the second private socket of a service names them again
        done = subprocess.run(
            ["systemd-tmpfiles", "--create", f"--root={root}", str(staged[".conf"])],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert modules.unix_socket.stat(f"{root}/run/rick-infra")["mode"] == "0700"
    assert modules.unix_socket.stat(f"{root}/run/rick-infra/notes")["mode"] == "0755"


@pytest.fixture
def database(modules, open_folder):
    """A daemon's socket, behind a directory that only the client group can enter."""
    modules.unix_socket.make_directory(f"{open_folder}/database", "daemon", GROUP, "2750")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{open_folder}/database/s")
        server.listen()
        server.settimeout(PATIENCE)
        modules.unix_socket.own(f"{open_folder}/database/s", "daemon", GROUP, "0770")
        yield server


def settings(text, key):
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.fixture
def proxy(files, database, modules, open_folder):
    """The unit's own command line under the unit's own user, socket-activated as systemd does it."""
    text = next(text for path, text in files.items() if path.endswith(".service"))
    (command,) = settings(text, "ExecStart")
    (user,) = settings(text, "User")
    (group,) = settings(text, "SupplementaryGroups")
    modules.unix_socket.make_directory(f"{open_folder}/private", "root", "root", "0755")
    path = Path(f"{open_folder}/private/s")
    ids = ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={group}", "--"]
    environment = [f"--setenv={value}" for value in settings(text, "Environment")]
    activated = subprocess.Popen(
        ["systemd-socket-activate", f"--listen={path}", *environment, *ids, *shlex.split(command)],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE
    while not path.is_socket() and time.monotonic() < deadline:
        os.sched_yield()
    path.chmod(0o666)
    yield path, activated
    activated.kill()
    activated.wait()


CALL = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'x'); s.recv(1)"


@pytest.mark.parametrize("uid", [0, 33, 65534])
def test_the_database_sees_the_service_s_user_whatever_uid_the_client_has(proxy, database, uid):
    path, _ = proxy
    client = subprocess.Popen(
        ["/usr/bin/python3", "-c", CALL, str(path)],
        user=uid,
        group=uid,
        extra_groups=[],
    )
    connection, _ = database.accept()
    with connection:
        assert connection.recv(1) == b"x"
        _, seen, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        connection.sendall(b"y")
    assert client.wait(PATIENCE) == 0
    assert seen == pwd.getpwnam(USER).pw_uid


def test_a_running_proxy_tells_which_definition_it_was_started_with(proxy, database, files):
    path, activated = proxy
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        database.accept()[0].close()
        environment = Path(f"/proc/{activated.pid}/environ").read_bytes()
    text = next(text for path, text in files.items() if path.endswith(".service"))
    assert private_units.running_digest(environment) == private_units.digest(text) is not None


def test_the_names_a_catalogue_needs_come_from_one_place(modules):
    target = "/run/postgresql/.s.PGSQL.5432"
    assert modules.private_socket.directory("notes") == "/run/rick-infra/notes"
    assert modules.private_socket.path("notes", target) == "/run/rick-infra/notes/.s.PGSQL.5432"
    assert modules.private_socket.units("notes", target)[0] == "rick-private-notes-postgresql.socket"
