"""
The states of sockets through Salt's loader, with the rights of real users. Needs root.
"""

import os
import socket

import pytest
from tree import load

GROUP = "audio"
OWNER = {"user": "daemon", "group": GROUP}


@pytest.fixture
def boot_file():
    """A name in /etc/tmpfiles.d that is free, and free again afterwards."""
    path = f"{load('states', 'unix_socket').TMPFILES_FOLDER}/rick-functional-{os.getpid()}.conf"
    yield path
    if os.path.exists(path):  # noqa: PTH110
        os.unlink(path)  # noqa: PTH108


def test_a_directory_goes_through_its_whole_life(states, modules, open_folder, boot_file):
    name = f"{open_folder}/run"
    given = {"name": name, **OWNER, "tmpfiles": os.path.basename(boot_file)}  # noqa: PTH119
    plan = states.unix_socket.directory(**given, test=True)
    assert plan.result is None
    assert modules.unix_socket.stat(name)["type"] == "absent"

    change = states.unix_socket.directory(**given)
    assert change.result is True
    assert change.changes == plan.changes
    found = modules.unix_socket.stat(name)
    assert (found["user"], found["group"], found["mode"]) == ("daemon", GROUP, "2750")
    assert f"d {name} 2750 daemon {GROUP} - -" in open(boot_file).read().splitlines()  # noqa: PTH123, SIM115

    for test_mode in (True, False):
        again = states.unix_socket.directory(**given, test=test_mode)
        assert again.result is True
        assert again.changes == {}

    gone = states.unix_socket.directory_absent(name=name, tmpfiles=given["tmpfiles"])
    assert gone.result is True
    assert set(gone.changes) == {name, boot_file}
    assert modules.unix_socket.stat(name)["type"] == "absent"
    assert states.unix_socket.directory_absent(name=name, tmpfiles=given["tmpfiles"]).changes == {}


@pytest.mark.parametrize(
    ("key", "drift"),
    [
        ("user", {"user": "games"}),
        ("group", {"group": "video"}),
        ("mode", {"mode": "2770"}),
    ],
)
@pytest.mark.parametrize("kind", ["directory", "socket"])
def test_drift_of_each_kind_is_planned_and_repaired(states, modules, open_folder, kind, key, drift):
    name = f"{open_folder}/s"
    right = {**OWNER, "mode": "2750" if kind == "directory" else "0770"}
    if kind == "directory":
        modules.unix_socket.make_directory(name, **right)
        server = None
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(name)
        if drift == {"mode": "2770"}:
            drift = {"mode": "0777"}
    try:
        modules.unix_socket.own(name, **{**right, **drift})
        state = getattr(states.unix_socket, kind)
        plan = state(name=name, **right, test=True)
        assert plan.result is None
        assert list(plan.changes) == [key]
        assert modules.unix_socket.stat(name)[key] == drift[key]
        assert state(name=name, **right).changes == plan.changes
        assert modules.unix_socket.stat(name)[key] == right[key]
    finally:
        if server:
            server.close()


def test_a_mode_from_yaml_is_understood_as_salt_reads_it(states, modules, open_folder):
    # In an SLS both 2750 and "2750" are what an administrator writes.
    assert states.unix_socket.directory(name=f"{open_folder}/run", **OWNER, mode=2750).result is True
    assert modules.unix_socket.stat(f"{open_folder}/run")["mode"] == "2750"


def test_access_is_asserted_for_the_user_and_against_the_outsider(states, open_folder):
    states.unix_socket.directory(name=f"{open_folder}/run", **OWNER)
    claim = {"name": f"{open_folder}/run/s", "user": "games", "groups": [GROUP]}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(claim["name"])
        server.listen()
        states.unix_socket.socket(name=claim["name"], **OWNER)
        assert states.unix_socket.accessible(**claim).result is True

        # Each half of the claim, once with what makes it true taken away.
        assert "games does not get into" in states.unix_socket.accessible(**{**claim, "groups": []}).comment
        os.chmod(f"{open_folder}/run", 0o2755)  # noqa: PTH101, S103
        os.chmod(claim["name"], 0o777)  # noqa: PTH101, S103
        failed = states.unix_socket.accessible(**claim)
        assert failed.result is False
        assert "nobody is not refused" in failed.comment


def test_asserting_on_a_virgin_host_is_neither_a_failure_nor_a_plan(states, open_folder):
    claim = {"name": f"{open_folder}/run/s", "user": "no-such-user"}
    plan = states.unix_socket.accessible(**claim, test=True)
    assert plan.result is True
    assert "It would be asserted" in plan.comment
    assert states.unix_socket.accessible(**claim).result is False
