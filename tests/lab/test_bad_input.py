"""
Mistakes in a unit: a clear error, nothing changed, and the pod that runs goes on.
"""

import pytest
from machine import LISTENER, NOTES, eventually

IMAGE = {"Image": "localhost/notes:1"}
VALKEY = {"user": "valkey", "group": "valkey-clients"}
SOCKET = "/run/valkey/valkey.sock"
DIRECTORY = "/run/valkey"

# What is asked for, and what the refusal must name.
BAD = [
    ("quadlet.container", {"name": "bad", "definition": {"Container": {**IMAGE, "Volum": "/a:/a"}}}, "Volume"),
    ("quadlet.container", {"name": "bad", "definition": {"Contaner": IMAGE}}, "Container"),
    ("quadlet.pod", {"name": "bad", "definition": {"Pod": {"Label": "a=b"}}}, "5.6"),
    ("quadlet.container", {"name": "a/b", "definition": {"Container": IMAGE}}, "a/b"),
    ("quadlet.container", {"name": "bad", "definition": {"Container": {"Pull": "never"}}}, "Image"),
    ("quadlet.container", {"name": "ssh", "definition": {"Container": IMAGE}}, "ssh"),
    ("quadlet.container", {"name": "valkey-server", "definition": {"Container": IMAGE}}, "valkey-server"),
    (
        "quadlet.container",
        {"name": "bad", "user": "notes", "socket_groups": ["no-such-group"], "definition": {"Container": IMAGE}},
        "no-such-group",
    ),
    ("unix_socket.socket", {"name": "run/valkey.sock", **VALKEY}, "absolute"),
    ("unix_socket.socket", {"name": "/tmp/link.sock", **VALKEY}, "/tmp/link.sock"),
    ("unix_socket.socket", {"name": "/tmp/plain.sock", **VALKEY}, "/tmp/plain.sock"),
    ("unix_socket.socket", {"name": SOCKET, **VALKEY, "mode": "0777"}, "0777"),
    ("unix_socket.directory", {"name": DIRECTORY, **VALKEY, "mode": "2770"}, "2770"),
    ("unix_socket.directory", {"name": DIRECTORY, **VALKEY, "mode": "2755"}, "2755"),
    ("unix_socket.directory", {"name": DIRECTORY, "user": "valkey", "group": "no-such-group"}, "no-such-group"),
]


@pytest.fixture(scope="module")
def machine(main_machine):
    main_machine.sh("ln -sf /run/valkey/valkey.sock /tmp/link.sock; touch /tmp/plain.sock")
    # An administrator's own service that a container named ssh would take the place of.
    main_machine.write("/etc/systemd/system/ssh.service", "[Service]\nExecStart=/usr/bin/sleep infinity\n")
    main_machine.run("systemctl", "daemon-reload")
    yield main_machine
    main_machine.sh("rm /etc/systemd/system/ssh.service /tmp/link.sock /tmp/plain.sock; systemctl daemon-reload")


@pytest.mark.parametrize(("function", "arguments", "says"), BAD)
def test_it_is_refused_and_nothing_is_changed(machine, function, arguments, says):
    snapshot = "ls -la --time-style=full-iso /etc/containers/systemd /run/valkey | md5sum"
    before, started = machine.sh(snapshot), machine.started_at("notes-web.service")
    result = machine.state(function, **arguments)
    assert result["result"] is False
    assert not result["changes"]
    assert says in result["comment"]
    assert machine.sh(snapshot) == before
    assert machine.started_at("notes-web.service") == started
    assert machine.http() == 200


def test_an_image_that_is_not_there_is_said_before_what_runs_is_stopped(machine):
    started = machine.started_at("notes-web.service")
    text = machine.sh("cat /etc/containers/systemd/notes-web.container")
    try:
        machine.sh("sed -i 's|^Image=.*|Image=localhost/no-such-image:1|' /etc/containers/systemd/notes-web.container")
        result = machine.state("quadlet.running", name="Notes runs", units=["notes-web.container"])
        assert result["result"] is False
        assert "localhost/no-such-image:1" in result["comment"]
        assert machine.started_at("notes-web.service") == started
        assert machine.http() == 200
    finally:
        machine.write("/etc/containers/systemd/notes-web.container", text + "\n")
        machine.converge()


def test_units_are_taken_away_without_a_trace(machine):
    forever = {"Entrypoint": "/usr/bin/python3", "Exec": '-c "import signal; signal.pause()"'}
    definition = {"Container": {"Image": "localhost/notes:1", "Pull": "never", **forever}}
    assert machine.state("quadlet.container", name="passing", definition=definition)["result"]
    assert machine.state("quadlet.running", name="passing runs", units=["passing.container"])["result"]
    assert machine.run("systemctl", "is-active", "passing.service").stdout.strip() == "active"
    result = machine.state("quadlet.absent", name="passing", units=["passing.container"])
    assert result["result"]
    assert result["changes"]
    assert machine.run("systemctl", "is-active", "passing.service", check=False).stdout.strip() == "inactive"
    assert machine.run("podman", "container", "exists", "passing", check=False).returncode == 1
    assert machine.run("test", "-e", "/etc/containers/systemd/passing.container", check=False).returncode == 1
    assert machine.state("quadlet.absent", name="passing", units=["passing.container"])["changes"] == {}


@pytest.fixture
def stranger(machine):
    """A process of the host that listens on 127.0.0.1:8095; entries are as before afterwards."""
    machine.run("systemd-run", "--unit=stranger", "python3", "-m", "http.server", "--bind", "127.0.0.1", "8095")
    eventually(lambda: machine.http("/", 8095), 20, "the stranger listens")
    yield
    machine.run("systemctl", "stop", "stranger.service")
    machine.run("rm", "/etc/rick-infra/services/wiki.yaml")
    machine.declare("notes", NOTES)


def check(machine):
    return machine.salt("catalogue.check", check=False)


def test_a_port_that_a_stranger_holds_is_told_and_what_a_pod_holds_is_not(machine, stranger):
    machine.declare("wiki", {**LISTENER, "host_port": 8095})
    said = check(machine)
    assert said.startswith("rick:services:wiki:host_port: port 8095/tcp of 127.0.0.1 is taken by python3 (process ")
    assert said.endswith("systemctl disable --now stranger.service")
    assert list(machine.apply().failed) == ["The catalogue is valid"]
    # An entry that has changed is judged anew, while its pod runs at its port.
    machine.declare("wiki", {**LISTENER, "host_port": 8097})
    machine.declare("notes", NOTES.replace("description: ", "description: Changed "))
    assert check(machine) == "2 services, no errors"
    # Another may take that port over in the same change.
    machine.declare("wiki", {**LISTENER, "host_port": 8080})
    machine.declare("notes", NOTES.replace("host_port: 8080", "host_port: 8096"))
    assert check(machine) == "2 services, no errors"
