"""
A master and a host that comes into its fleet: with a token, with a fingerprint, and again after it was rebuilt.
"""

import contextlib
import json
import re
import secrets
import subprocess

import pytest
from machine import LAB, eventually, lab, own

BOOTSTRAP = "/srv/rick-infra/bin/bootstrap"
ENROLL = "/srv/rick-infra/bin/enroll"
# This fleet declares nothing: what its hosts are, other tests say.
FLEET = "cells: ['web*']\nedges: {}\n"
COMMAND = re.compile(r"echo (\S+) \| sudo bin/(bootstrap .*)")
FINGERPRINT = re.compile(r"(?:[0-9a-f]{2}:){31}[0-9a-f]{2}")
SEARCH = "/srv/rick-infra/tests/lab/search_secrets.py"
WATCHED = "/root/watched"
SETTLED = 120  # seconds; a minion tries again within 20 by its configuration


@pytest.fixture(scope="module")
def master(copy_of_prepared):
    made = copy_of_prepared(own("t-enr-m"))
    made.sh("rm /etc/salt/minion.d/50-rick-infra.conf /usr/local/bin/salt-call")
    made.write("/etc/rick-infra/fleet.yaml", FLEET)
    made.bootstrap = made.run(BOOTSTRAP, "--master").stdout
    made.address = next(line.split()[-1] for line in lab("list").stdout.splitlines() if line.split()[0] == made.name)
    return made


@pytest.fixture(scope="module")
def web(copy_of_prepared):
    made = copy_of_prepared(own("t-fweb"))
    made.sh("rm /etc/salt/minion.d/50-rick-infra.conf /usr/local/bin/salt-call")
    return made


@contextlib.contextmanager
def enrolling(master, *arguments):
    """bin/enroll while it waits: yield the token and the command that it has printed."""
    process = subprocess.Popen(
        [LAB, "exec", master.name, "--", ENROLL, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    said = ""
    try:
        while not said.endswith("Ctrl-C makes the tokens void\n"):
            line = process.stdout.readline()
            assert line, f"bin/enroll ended: {said}"
            said += line
        process.token, command = COMMAND.search(said).groups()
        process.command = command.split()
        yield process
    finally:
        process.terminate()
        process.communicate()


def use(host, process, token=None):
    """Type on a host what bin/enroll has printed."""
    name, *arguments = process.command
    return host.run(f"/srv/rick-infra/bin/{name}", *arguments, text=f"{token or process.token}\n", check=False)


@contextlib.contextmanager
def watching(*hosts):
    """Everything that their process lists show meanwhile is written down."""
    watches = [host.popen("python3", SEARCH, "watch", WATCHED) for host in hosts]
    try:
        # What runs before they look, they do not see.
        for host in hosts:
            eventually(lambda host=host: host.sh(f"cat {WATCHED}", check=False), 30, "the watch looks")
        yield
    finally:
        for watch in watches:
            watch.terminate()
            watch.communicate()


def salt(master, *words, timeout=60):
    """What web1 answers to a command, or None."""
    done = master.run("salt", "--out=json", "--static", f"--timeout={timeout}", "web1", *words, check=False)
    return json.loads(done.stdout or "{}").get("web1")


def is_there(master):
    eventually(lambda: salt(master, "test.ping", timeout=5) is True, SETTLED, "web1 answers its master")


def rebuild(host):
    """As a disk that was written anew: no key, no configuration, no daemon."""
    host.sh(
        "systemctl disable --now --quiet salt-minion; rm -rf /etc/salt /var/cache/salt /var/log/salt"
        " /etc/systemd/system/salt-minion.service; systemctl daemon-reload"
    )


def test_a_master_says_by_what_it_is_known_and_a_second_run_changes_nothing(master):
    finger = FINGERPRINT.search(master.bootstrap)[0]
    started = master.started_at("salt-master")
    again = master.run(BOOTSTRAP, "--master").stdout
    assert finger in again
    assert "started" not in again
    assert "written" not in again
    assert master.started_at("salt-master") == started
    assert master.stat("/etc/rick-infra") == "root:root 700"
    assert master.sh("systemctl is-enabled salt-master") == "enabled"
    listening = {line.split()[3] for line in master.sh("ss -Hltn").splitlines()}
    assert listening == {"0.0.0.0:4505", "0.0.0.0:4506"}


def test_a_plan_changes_nothing_on_a_host(master, web):
    web.sh("touch /root/before; sleep 0.05")
    said = web.run(BOOTSTRAP, "--minion", master.address, "--id", "web1", "--token", "-", "--test").stdout
    assert "would write /etc/salt/minion.d/50-rick-infra.conf" in said
    assert web.sh("find /etc /opt /usr/local /root -newer /root/before") == ""


def test_a_wrong_token_is_refused_the_right_one_works_and_only_once(master, web):
    with watching(master, web), enrolling(master, "web1") as process:
        refused = use(web, process, token=secrets.token_urlsafe(32))
        assert refused.returncode != 0
        assert "the token was not accepted" in refused.stderr
        assert "web1" not in master.run("salt-key", "--list=all").stdout
        assert not web.sh("ls /etc/salt/minion.d 2>/dev/null", check=False)
        enrolled = use(web, process)
        assert enrolled.returncode == 0, enrolled.stdout + enrolled.stderr
        assert "this host is web1" in enrolled.stdout
        assert process.wait(timeout=60) == 0
        again = use(web, process)
        assert again.returncode != 0
        assert "does bin/enroll wait there" in again.stderr
    is_there(master)
    for host, command in ((master, ENROLL), (web, BOOTSTRAP)):
        shown = host.sh(f"cat {WATCHED}")
        assert command in shown
        assert process.token not in shown
        assert process.token not in host.sh("journalctl --no-pager; cat /var/log/salt/* 2>/dev/null", check=False)
    assert "web1 is enrolled" in master.sh("journalctl -t rick-infra-enroll --no-pager")


def test_the_modules_of_the_tree_come_from_the_master(master):
    synced = salt(master, "saltutil.sync_all")
    for kind, name in (
        ("modules", "unix_socket"),
        ("states", "pod"),
        ("utils", "results"),
        ("grains", "client_groups"),
    ):
        assert f"{kind}.{name}" in synced[kind]
    assert salt(master, "unix_socket.stat", "/run")["type"] == "directory"


def test_a_minion_that_is_one_changes_nothing_when_it_is_told_again(master, web):
    started = web.started_at("salt-minion")
    said = web.run(BOOTSTRAP, "--minion", master.address).stdout
    assert said == f"this host is web1, a minion of {master.address}\n"
    assert web.started_at("salt-minion") == started
    alone = web.run(BOOTSTRAP, check=False)
    assert alone.returncode != 0
    assert f"a minion of {master.address}" in alone.stderr


def test_both_find_each_other_again_after_the_master_was_rebooted(master, web):
    started = web.started_at("salt-minion")
    master.reboot()
    is_there(master)
    assert web.started_at("salt-minion") == started


def test_a_host_that_was_rebuilt_comes_back_only_as_a_replacement(master, web):
    rebuild(web)
    refused = master.run(ENROLL, "web1", "--wait", "5", check=False)
    assert refused.returncode != 0
    assert "--replace" in refused.stderr
    with enrolling(master, "--replace", "web1") as process:
        enrolled = use(web, process)
        assert enrolled.returncode == 0, enrolled.stdout + enrolled.stderr
    is_there(master)


def test_with_fingerprints_each_side_takes_only_the_key_that_was_meant(master, web):
    rebuild(web)
    assert "web1 is forgotten" in master.run(ENROLL, "--remove", "web1").stdout
    known_by, another = FINGERPRINT.search(master.bootstrap)[0], ":".join(["ab"] * 32)
    bootstrap = (BOOTSTRAP, "--minion", master.address, "--id", "web1", "--master-fingerprint")
    own_finger = FINGERPRINT.search(web.run(*bootstrap, another).stdout)[0]
    assert own_finger == web.salt("key.finger", "--local")
    refused = master.run(ENROLL, "web1", "--fingerprint", another, "--wait", "120", check=False)
    assert refused.returncode != 0
    assert own_finger in refused.stderr
    assert another in refused.stderr
    master.run(ENROLL, "web1", "--fingerprint", own_finger)
    assert master.run(ENROLL, "--list").stdout.split() == ["web1", "accepted", own_finger]
    eventually(
        lambda: "not match the authenticating" in web.sh("journalctl -u salt-minion --no-pager"),
        SETTLED,
        "the host has seen that its master has another key than it was told",
    )
    told = web.run(*bootstrap, another, check=False)
    assert told.returncode != 0
    assert "has another key" in told.stderr
    web.run(*bootstrap, known_by)
    is_there(master)
