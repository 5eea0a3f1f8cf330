"""
A host that the master reaches by ssh: it has no minion, and of Salt nothing but what salt-ssh brings.
"""

import json

import pytest
from machine import TREE, Highstate, lab, machine, own

ENTRY = {
    "image": "localhost/hello:1",
    "cells": "cell9",
    "port": 8080,
    "host_port": 8090,
    "health": "/",
    "site": "hello.example.test",
    "postgres": True,
    "valkey": True,
    "secrets": {"greeting": {"pillar": "secrets:hello:greeting"}},
    "env": {"GREETING": "{secret.greeting}"},
}
GREETING = 'from "the master\'s" pillar: $HOME %n ü'
KEY = "/etc/salt/pki/master/ssh/salt-ssh.rsa"
INSTALL = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet", "--no-install-recommends")
HELLO = "/etc/rick-infra/services/hello.yaml"


class Fleet:
    """The master and its one host."""

    def __init__(self, master, target):
        self.master, self.target = master, target

    def salt(self, *words, check=True):
        return self.master.run("salt-ssh", "--out=json", "cell9", *words, check=check)

    def ask(self, *words):
        return json.loads(self.salt(*words).stdout)["cell9"]

    def apply(self):
        return Highstate(self.salt("state.highstate", check=False))


@pytest.fixture(scope="module")
def fleet(copy_of_prepared):
    with machine(own("t-ssht")) as target:
        # What the guide says that a host needs.
        target.run("apt-get", "update", "--quiet")
        target.run(*INSTALL, "openssh-server", "python3", "python3-cffi-backend")
        # And what an image is made with.
        target.run(*INSTALL, "podman")
        build = target.popen("/srv/rick-infra/examples/build", "hello")
        address = next(line.split()[-1] for line in lab("list").stdout.splitlines() if line.split()[0] == target.name)

        master = copy_of_prepared(own("t-sshm"))
        master.run("apt-get", "update", "--quiet")
        master.run(*INSTALL, "openssh-client")
        master.run("/srv/rick-infra/bin/bootstrap", "--master")
        master.write("/etc/salt/roster", (TREE / "conf/roster.example").read_text().replace("192.0.2.19", address))
        master.run("install", "--directory", "--mode=0700", KEY.rpartition("/")[0], "/root/.ssh")
        master.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
        target.run("install", "--directory", "--mode=0700", "/root/.ssh")
        target.write("/root/.ssh/authorized_keys", master.sh(f"cat {KEY}.pub"))

        made = Fleet(master, target)
        made.unknown = made.salt("test.ping", check=False)
        known = f"{address} {target.sh('cat /etc/ssh/ssh_host_ed25519_key.pub')}\n"
        master.write("/root/.ssh/known_hosts", known)

        master.write("/etc/rick-infra/fleet.yaml", "cells: ['cell*']\n")
        master.write(HELLO, json.dumps(ENTRY))
        master.write("/etc/rick-infra/secrets/hello.yaml", json.dumps({"greeting": GREETING}))
        said = build.communicate()
        assert build.returncode == 0, said
        made.first, made.second = made.apply(), made.apply()
        yield made


def test_a_host_whose_key_is_not_known_is_not_spoken_to(fleet):
    assert fleet.unknown.returncode != 0
    assert "The host key needs to be accepted" in fleet.unknown.stdout


def test_a_virgin_host_converges_at_once_and_then_nothing_changes(fleet):
    assert fleet.first.failed == fleet.second.failed == {}
    assert "Service hello has its database" in fleet.first.changed
    assert fleet.second.changed == set()
    # Nothing of Salt has been installed.
    assert fleet.target.sh("command -v salt-call salt-minion; ls -d /opt/rick-infra /etc/salt", check=False) == ""


def test_the_service_has_what_the_masters_pillar_says(fleet):
    assert GREETING in fleet.target.page(8090).replace("&quot;", '"').replace("&#x27;", "'")
    assert fleet.ask("catalogue.psql", "hello", "SELECT current_user AS who") == [{"who": "hello"}]


def test_functions_are_the_hosts_own_called_with_its_pillar(fleet):
    assert fleet.ask("fleet.roles") == ["cell"]
    assert fleet.ask("catalogue.check") == "1 service, no errors"
    assert fleet.ask("catalogue.exec", "hello", '["printf", "%s %s", "a b", "$HOME"]') == "a b $HOME"


def test_the_verification_passes_and_is_the_table(fleet):
    table = fleet.master.run("salt-ssh", "cell9", "verify.host").stdout
    assert "ok    https://hello.example.test is hello's site" in table
    assert table.endswith(" 0 failed\n")


def test_the_exit_code_says_that_a_function_has_found_something_wrong(fleet):
    fleet.master.write(HELLO, json.dumps({**ENTRY, "databse": True}))
    try:
        done = fleet.salt("catalogue.check", check=False)
        assert done.returncode != 0
        assert "did you mean" in done.stdout
    finally:
        fleet.master.write(HELLO, json.dumps(ENTRY))


def test_what_is_left_on_the_host_is_for_root_and_goes_when_told(fleet):
    fleet.ask("fleet.roles")
    folder = fleet.target.sh("ls -d /var/tmp/.root_*_salt")
    assert fleet.target.stat(folder) == "root:root 700"
    assert fleet.target.stat(f"{folder}/pillar.json") == "root:root 600"
    fleet.master.run("salt-ssh", "--wipe", "cell9", "fleet.roles")
    assert fleet.target.sh(f"ls -d {folder}", check=False) == ""
