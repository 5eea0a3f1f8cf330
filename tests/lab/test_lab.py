"""
bin/lab itself: its interface, and that nothing of a machine stays behind.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from machine import LAB, TREE, Machine, eventually, lab, machine

NAME = "t-lab"


@pytest.fixture(scope="module")
def one():
    made = Machine(NAME)
    made.down()
    yield made.up()
    made.down()


def test_a_machine_is_bare(one):
    assert one.run("systemctl", "is-system-running").stdout.strip() == "running"
    for program in ("podman", "psql", "valkey-server", "salt-call"):
        assert one.run("sh", "-c", f"command -v {program}", check=False).returncode != 0


def test_exec_passes_the_exit_code_and_both_directions(one):
    assert one.run("sh", "-c", "exit 7", check=False).returncode == 7
    assert one.run("cat", text="hello").stdout == "hello"


def test_a_command_ends_with_the_exec_that_started_it(one):
    process = one.popen("sleep", "4711")
    # By its name: what is to become it has its arguments before.
    eventually(lambda: "sleep" in one.sh("cat /proc/[0-9]*/comm", check=False).split(), 60, "the command runs")
    process.terminate()
    process.wait(timeout=60)
    eventually(lambda: "4711" not in one.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"), 60, "the command is gone")


def test_the_tree_is_there_and_read_only(one):
    assert "pyproject.toml" in one.sh("ls /srv/rick-infra").split()
    assert one.run("touch", "/srv/rick-infra/x", check=False).returncode != 0


def test_the_package_registries_are_reached(one):
    one.run("apt-get", "-q", "update")


def test_copy_follows_the_rules_of_cp(one, tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("content")
    lab("copy", NAME, str(tmp_path / "tree/file"), "/tmp/")
    lab("copy", NAME, str(tmp_path / "tree"), "/root/copied")
    assert one.sh("cat /tmp/file /root/copied/file") == "contentcontent"


def test_two_machines_have_addresses_of_their_own_and_reach_each_other(one):
    other = Machine("t-lab2")
    other.down()
    try:
        other.up()
        addresses = [
            machine.sh("hostname -I || ip -4 -o address show host0 | awk '{print $4}'") for machine in (one, other)
        ]
        first, second = (address.split()[0].split("/")[0] for address in addresses)
        assert first != second
        server = one.popen("python3", "-c", "import socket; print(socket.create_server(('', 999)).accept()[1][0])")
        reach = "import socket, sys, time\nend = time.monotonic() + 20\n"
        reach += "while time.monotonic() < end:\n try: socket.create_connection((sys.argv[1], 999)); break\n"
        reach += " except ConnectionRefusedError: time.sleep(0.1)\n"
        other.run("python3", "-c", reach, first)
        assert server.communicate(timeout=30)[0].decode().strip() == second
    finally:
        other.down()


def test_the_disk_survives_a_power_cut_and_a_reboot(one):
    one.sh("echo kept > /root/kept; sync")
    one.kill()
    assert one.run("true", check=False).returncode != 0
    one.up()
    assert one.sh("cat /root/kept") == "kept"
    one.reboot()
    assert one.sh("cat /root/kept") == "kept"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["up", NAME], "already up"),
        (["exec", "t-nothing", "--", "true"], "no machine named t-nothing"),
        (["down", "t-nothing"], "no machine named t-nothing"),
        (["up", "No_Such"], "machine name"),
        (["copy", NAME, "/no/such/file", "/tmp/"], "/no/such/file does not exist"),
        (["up", "t-lab3", "--like", NAME], "is up; stop it"),
    ],
)
def test_a_mistake_is_one_clear_line(one, arguments, says):
    done = lab(*arguments, check=False)
    assert done.returncode != 0
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_disk_space_it_says_so(one, tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
    try:
        done = subprocess.run(
            [LAB, "up", "t-lab4"], env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "RICK_CACHE": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert "MiB free" in done.stderr
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_nothing_of_a_machine_stays_behind():
    made = Machine("t-gone")
    made.down()
    made.up()
    made.popen("sleep", "1000")
    made.down()
    assert not Path("/sys/class/net/vb-t-gone").exists()
    assert "t-gone" not in Path("/proc/self/mountinfo").read_text()
    # Not by glob(), which fails if a folder goes while it looks: other machines come and go.
    assert "t-gone" not in {Path(folder).name for folder, _, _ in os.walk("/sys/fs/cgroup")}
    assert not list(Path("/run/rick-lab").glob("t-gone*"))
    left = [path for path in Path("/proc").glob("[0-9]*/root") if _leads_to(path, "t-gone")]
    assert not left


def _leads_to(path, name):
    try:
        return f"/{name}/" in str(path.readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def test_it_works_on_a_host_that_systemd_has_booted_and_leaves_nothing_there(tmp_path):
    """A machine is such a host, of another release than this one perhaps; it gets a machine of its own."""
    script = """
        set -eu
        export RICK_LAB_NETWORK=10.213.79.0/24
        lab=/root/tree/bin/lab
        $lab up inner
        $lab kill inner
        $lab up inner
        test "$($lab exec inner -- systemctl is-system-running)" = running
        $lab down inner
        test ! -e /sys/class/net/rick-lab
        test -z "$(nft list tables)"
        test ! -e /sys/fs/cgroup/rick-lab
        ! grep inner /proc/self/mountinfo
        test "$(systemctl is-system-running)" = running
    """
    shutil.copytree(TREE / "bin", tmp_path / "tree/bin", ignore=shutil.ignore_patterns("__pycache__"))
    with machine("t-host") as host:
        lab("copy", host.name, str(tmp_path / "tree"), "/root/")
        host.sh(script)
