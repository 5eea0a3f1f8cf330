"""
A fleet on a bad day: a host that is off, one that dies at work, a master that is restarted, a cable that is cut.
"""

import re
import subprocess
import time

import pytest
from machine import TREE, eventually

HELLO = "https://hello.example.test/"
# Two answers of ten seconds each that do not come, and what Salt itself takes; several times that on a busy host.
GIVEN_UP = 180  # seconds
# A minion tries again within 20 seconds, its kernel as long after the cut as that has lasted.
SETTLED = 120  # seconds
# A run that comes to it waits there until ``go``: the page that tells of its health is a file on the host.
HELD = {"image": "localhost/hello:1", "port": 8080, "volumes": {"www": "/srv/www"}}
PATIENCE = 300  # seconds
# In brackets, so that grep does not find itself.
KILL = "kill -KILL $(grep -lsa 'bin/salt-run state[.]orchestrate' /proc/[0-9]*/cmdline | cut -d/ -f3)"


@pytest.fixture(scope="module")
def with_held(fleet):
    """The fleet, with a service more; as it was at the end."""
    yield fleet
    fleet.write("services/hello.yaml", (TREE / "examples/services/hello.yaml").read_text() + "cells: [cell1, cell2]\n")
    fleet.declare("held", "cell2", state="absent", data="delete")
    fleet.deploy()
    fleet.master.run("rm", "/etc/rick-infra/services/held.yaml")


@pytest.fixture
def broken(with_held):
    """What a test that failed has left off is not the next one's trouble."""
    yield with_held
    for host, machine in with_held.hosts.items():
        if machine.run("true", check=False).returncode != 0:
            machine.up()
            answers(with_held, host)


def greet(fleet, text):
    """Declare hello with another text, on both cells."""
    entry = {"image": "localhost/hello:1", "port": 8080, "health": "/", "site": "hello.example.test"}
    fleet.declare("hello", ["cell1", "cell2"], **entry, env={"GREETING": text})


def says(fleet, host, text):
    """Whether hello says this, asked at cell1, or by the edge, behind which cell2 is."""
    answer = fleet.ask(host, HELLO)
    return answer is not None and answer.status == 200 and text in answer.text


def hold(fleet, stage):
    """Declare a version of ``held`` with which a run does not go on."""
    health = {"path": f"/{stage}", "timeout": PATIENCE}
    fleet.declare("held", "cell2", **HELD, health=health, env={"STAGE": stage})


def is_held(fleet, process, stage):
    """Wait until cell2 is in the middle of its services: it has started that version, and waits for its health."""
    look = "{{.State.Running}} {{.Config.Env}}"

    def waits():
        assert process.poll() is None, process.communicate()
        said = fleet.hosts["cell2"].run("podman", "container", "inspect", "-f", look, "held-web", check=False).stdout
        return said.startswith("true ") and f"STAGE={stage}" in said

    eventually(waits, PATIENCE, f"cell2 has started held, {stage}")


def go(fleet, stage):
    """Let a run that waits go on."""
    fleet.hosts["cell2"].run("touch", f"/opt/held/www/{stage}")


def over(process):
    """How a roll-out ended, ``(exit code, what it printed)``; it must end by itself."""
    try:
        said, told = process.communicate(timeout=GIVEN_UP)
    except subprocess.TimeoutExpired:
        process.terminate()
        pytest.fail(f"still at work after {GIVEN_UP} s: {process.communicate()}")
    return process.returncode, said.decode() + told.decode()


def answers(fleet, host, seconds=SETTLED):
    eventually(lambda: fleet.salt(host, "test.ping", timeout=5) is True, seconds, f"{host} answers its master")


def status(fleet):
    """What ``fleet.status`` says, ``(exit code, {id: about})``."""
    done = fleet.master.run("salt-run", "--out=json", "--log-level=error", "fleet.status", check=False)
    return done.returncode, fleet.answer(done)["hosts"]


def is_free(fleet):
    """Nobody has the lock of a roll-out."""
    done = fleet.master.run("salt-run", "--out=json", "--log-level=error", "rollout.current")
    return fleet.answer(done) is None


def pods(fleet, *hosts):
    """Which start of each pod it is that runs."""
    return {host: fleet.hosts[host].invocations("*-pod.service", "*-web.service", "caddy.service") for host in hosts}


def test_a_host_that_is_off_is_named_and_nothing_is_touched_until_it_is_left_out(broken):
    greet(broken, "one")
    broken.deploy()
    assert says(broken, "cell1", "one")
    assert says(broken, "edge1", "one")
    greet(broken, "two")
    before = pods(broken, "cell1", "edge1")
    broken.hosts["cell2"].stop()
    refused = broken.orchestrate("deploy")
    assert refused.returncode != 0
    said = refused.stdout + refused.stderr
    assert "cell2: switched off, or out of reach. Nothing was changed anywhere." in said
    way_out = re.search(r"pillar='(\{.*?\})'", said)[1]
    assert way_out == '{"without": ["cell2"]}'
    code, hosts = status(broken)
    assert code != 0
    assert {host: about["up"] for host, about in hosts.items()} == {"cell1": True, "cell2": False, "edge1": True}
    assert says(broken, "cell1", "one")
    assert pods(broken, "cell1", "edge1") == before

    done = broken.deploy(without=["cell2"])
    assert says(broken, "cell1", "two")
    assert "cell2" not in done.stdout
    broken.hosts["cell2"].up()
    # It was left as it was, and comes back by itself.
    eventually(lambda: says(broken, "edge1", "one"), SETTLED, "cell2 answers visitors as before")
    answers(broken, "cell2")
    assert says(broken, "edge1", "one")


def test_a_cell_that_dies_at_work_is_given_up_nobody_else_begins_and_the_next_roll_out_goes_on(broken):
    hold(broken, "lost")
    greet(broken, "three")
    before, page = pods(broken, "cell1"), broken.ask("cell1", HELLO).text
    process = broken.begin("deploy", canary="cell2")
    is_held(broken, process, "lost")
    broken.hosts["cell2"].kill()
    killed = time.monotonic()
    code, said = over(process)
    assert time.monotonic() - killed < GIVEN_UP
    assert code != 0
    assert "cell2, services: did not answer." in said
    assert re.search(r"^\s*cell2 .*NO ANSWER", said, re.MULTILINE)
    assert re.search(r"^\s*cell1 .*not started", said, re.MULTILINE)
    assert is_free(broken)
    assert broken.ask("cell1", HELLO).text == page
    assert pods(broken, "cell1") == before

    broken.hosts["cell2"].up()
    answers(broken, "cell2")
    go(broken, "lost")
    broken.deploy()
    assert says(broken, "cell1", "three")
    assert says(broken, "edge1", "three")
    assert broken.salt("cell2", "verify.service", "held")["passed"] is True
    assert status(broken)[0] == 0


@pytest.mark.parametrize(
    ("stage", "blow"),
    [
        ("restarted", "systemctl restart salt-master"),
        ("killed", KILL),
    ],
    ids=["restarted", "killed"],
)
def test_what_is_cut_short_on_the_master_ends_on_the_hosts_and_keeps_nobody_from_the_next_roll_out(broken, stage, blow):
    hold(broken, stage)
    greet(broken, stage)
    process = broken.begin("deploy", canary="cell2")
    is_held(broken, process, stage)
    broken.master.sh(blow)
    go(broken, stage)
    over(process)
    assert is_free(broken)
    # Its run is its own: it goes on without anybody who waits for it.
    eventually(lambda: says(broken, "edge1", stage), SETTLED, "cell2 has the new version")
    for host in broken.hosts:
        answers(broken, host)
    broken.deploy()
    assert says(broken, "cell1", stage)
    assert broken.salt("cell2", "verify.service", "held")["passed"] is True


def test_a_cell_that_its_master_cannot_reach_goes_on_for_its_visitors_and_is_back_by_itself(broken):
    cell = broken.hosts["cell2"]
    before, minion = pods(broken, "cell2"), cell.main_pid("salt-minion")
    master = broken.address(broken.master)
    page = broken.ask("edge1", HELLO).text
    cell.run(
        *("nft", "--file", "-"),
        text=f"table ip cut {{\n"
        f"  chain in {{ type filter hook input priority -300; ip saddr {master} drop; }}\n"
        f"  chain out {{ type filter hook output priority -300; ip daddr {master} drop; }}\n"
        "}\n",
    )
    try:
        code, hosts = status(broken)
        assert code != 0
        assert [host for host, about in hosts.items() if not about["up"]] == ["cell2"]
        assert broken.ask("edge1", HELLO).text == page
        assert pods(broken, "cell2") == before
    finally:
        cell.run("nft", "delete", "table", "ip", "cut")
    answers(broken, "cell2")
    assert cell.main_pid("salt-minion") == minion
    greet(broken, "healed")
    broken.deploy()
    assert says(broken, "edge1", "healed")
    assert status(broken)[0] == 0
