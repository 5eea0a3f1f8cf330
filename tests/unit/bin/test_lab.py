"""
bin/lab before it touches anything: what it is asked, what it refuses, what it decides.
"""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree import TREE

LAB = TREE / "bin/lab"


@pytest.fixture
def lab(command, monkeypatch, tmp_path):
    """bin/lab with an empty cache of its own, run by a user that counts as root."""
    module = command("lab")
    monkeypatch.delenv("RICK_LAB_NETWORK", raising=False)
    monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(module, "MACHINES", tmp_path / "cache/machines")
    monkeypatch.setattr(module, "RUNTIME", tmp_path / "run")
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    # A test that got as far as changing the host would be wrong.
    monkeypatch.setattr(module, "apt_install", lambda packages: None)
    monkeypatch.setattr(module, "run", lambda *arguments, **_options: pytest.fail(f"ran {arguments}"))
    return module


@pytest.fixture
def call(lab, monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lab", *arguments])
        lab.main()

    return call


@pytest.fixture
def machine(lab):
    """Make a machine that is off, as far as its record goes."""

    def make(name, suite="trixie", address="10.213.78.10"):
        directory = lab.MACHINES / name
        directory.mkdir(parents=True)
        (directory / "machine.json").write_text(json.dumps({"suite": suite, "address": address}))

    return make


# --- as a command ----------------------------------------------------------------------------------------------------


def lab_process(*arguments, prefix=(), **environment):
    command = [*prefix, sys.executable, str(LAB), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "120", **environment}
    )


@pytest.mark.parametrize("action", ["up", "exec", "copy", "reboot", "stop", "kill", "down", "list"])
def test_every_command_has_help(action):
    done = lab_process(action, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: lab {action}")


def test_the_help_lists_the_commands():
    done = lab_process("--help")
    assert done.returncode == 0
    for action in ("up", "exec", "copy", "reboot", "kill", "down", "list"):
        assert f"\n    {action} " in done.stdout


@pytest.mark.parametrize(
    "arguments", [(), ("fly",), ("up",), ("up", "a", "--suite", "sid"), ("copy", "a", "b"), ("list", "a")]
)
def test_what_it_does_not_understand_ends_with_usage(arguments):
    done = lab_process(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: lab")
    assert done.stdout == ""


def test_an_error_is_one_line_on_standard_error(tmp_path):
    # Whoever runs this: root hears that there is no such machine, others that they are not root.
    done = lab_process("down", "nosuch", RICK_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("lab: ")


def test_it_works_through_a_link_from_elsewhere(tmp_path):
    (tmp_path / "lab").symlink_to(LAB)
    done = subprocess.run([sys.executable, str(tmp_path / "lab"), "--help"], capture_output=True, check=False)
    assert done.returncode == 0


# --- who and what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("up", "a"), ("exec", "a", "--", "true"), ("down", "a"), ("list",)])
def test_only_root_may(lab, call, monkeypatch, arguments):
    monkeypatch.setattr(lab.os, "geteuid", lambda: 1000)
    with pytest.raises(lab.Failure, match=r"must run as root \(sudo bin/lab …\)"):
        call(*arguments)


BAD_NAMES = ["", "A", "1a", "-a", "a_b", "a.b", "../a", "a/b", "a b", "a\n", "a" * 13, "ä"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("action", ["up", "exec", "copy", "reboot", "stop", "kill", "down"])
def test_a_bad_name_is_refused_by_every_command(lab, call, action, name, tmp_path):
    further = {"exec": ["--", "true"], "copy": [str(tmp_path), "/root"]}.get(action, [])
    # "--" may not stand in front of a name that begins with a dash, since exec takes all the rest.
    if name.startswith("-"):
        with pytest.raises(SystemExit):
            call(action, name, *further)
        return
    with pytest.raises(lab.Failure) as raised:
        call(action, name, *further)
    assert str(raised.value) == (f"machine name {name!r}: use 1 to 12 of a-z, 0-9 and -, beginning with a letter")
    assert not lab.CACHE.exists()


@given(st.from_regex(r"[a-z][a-z0-9-]{0,11}", fullmatch=True))
def test_a_good_name_fits_a_network_link(name):
    assert len(f"vb-{name}") <= 15


def test_a_machine_to_copy_must_have_a_good_name_too(lab, call):
    with pytest.raises(lab.Failure, match="machine name 'B'"):
        call("up", "a", "--like", "B")


@pytest.mark.parametrize("action", ["exec", "reboot", "stop", "kill", "down"])
def test_an_unknown_machine_is_named_with_those_there_are(lab, call, machine, action):
    machine("one")
    machine("two")
    further = ["--", "true"] if action == "exec" else []
    with pytest.raises(lab.Failure, match=r"^no machine named three \(there are: one, two\)$"):
        call(action, "three", *further)


def test_without_any_machine_there_are_none(lab, call):
    with pytest.raises(lab.Failure, match=r"^no machine named three \(there are: none\)$"):
        call("down", "three")


@pytest.mark.parametrize("action", ["exec", "reboot", "stop", "kill"])
def test_a_machine_that_is_off_says_how_to_start_it(lab, call, machine, action):
    machine("one")
    further = ["--", "true"] if action == "exec" else []
    with pytest.raises(lab.Failure, match=r"^machine one is not up \(start it: bin/lab up one\)$"):
        call(action, "one", *further)


def test_a_machine_that_is_up_is_not_started_again(lab, call, machine):
    machine("one")
    lab.RUNTIME.mkdir()
    ours = {"pid": os.getpid(), "started": lab.started(os.getpid())}
    (lab.RUNTIME / "one.json").write_text(json.dumps(ours))
    with pytest.raises(lab.Failure, match=r"^machine one is already up \(10\.213\.78\.10\)$"):
        call("up", "one")


def test_a_process_that_took_over_the_pid_is_not_the_machine(lab, machine):
    machine("one")
    lab.RUNTIME.mkdir()
    (lab.RUNTIME / "one.json").write_text(json.dumps({"pid": os.getpid(), "started": "1"}))
    assert lab.Machine("one").nspawn() is None


@pytest.mark.parametrize("option", [("--suite", "forky"), ("--like", "two")])
def test_a_disk_that_exists_is_not_made_anew(lab, call, machine, option):
    machine("one")
    machine("two")
    with pytest.raises(lab.Failure, match="machine one has a disk already; delete it first: bin/lab down one"):
        call("up", "one", *option)


def test_a_machine_that_does_not_exist_cannot_be_copied(lab, call):
    with pytest.raises(lab.Failure, match="no machine named two"):
        call("up", "one", "--like", "two")


def test_a_full_disk_is_said_before_anything_is_made(lab, call, monkeypatch):
    monkeypatch.setattr(lab.shutil, "disk_usage", lambda path: SimpleNamespace(free=5 << 20))
    with pytest.raises(lab.Failure, match=r"has 5 MiB free, 3072 are needed \(set RICK_CACHE\)"):
        call("up", "one")
    assert not lab.MACHINES.exists()


def test_exec_wants_a_command(lab, call):
    for arguments in (("exec", "one"), ("exec", "one", "--")):
        with pytest.raises(lab.Failure, match="no command given: bin/lab exec NAME -- COMMAND…"):
            call(*arguments)


@pytest.mark.parametrize(
    ("passed", "run"),
    [
        (["--", "ls", "-l"], ["ls", "-l"]),
        (["ls", "-l"], ["ls", "-l"]),
        (["--", "sh", "-c", "a --b", "--", "c"], ["sh", "-c", "a --b", "--", "c"]),
    ],
)
def test_exec_passes_a_command_on_as_it_is(lab, call, monkeypatch, passed, run):
    monkeypatch.setattr(lab.Machine, "leader", lambda machine: 4711)
    ran = []
    monkeypatch.setattr(lab.os, "execvp", lambda file, arguments: ran.append(arguments))
    call("exec", "one", *passed)
    (arguments,) = ran
    assert arguments[:3] == ["nsenter", "--target", "4711"]
    assert arguments[-len(run) :] == run


def test_what_is_to_be_copied_must_exist(lab, call, tmp_path):
    with pytest.raises(lab.Failure, match=r"nosuch does not exist$"):
        call("copy", "one", str(tmp_path / "nosuch"), "/root")


def test_the_list_has_a_line_for_each_machine(lab, call, machine, capsys):
    machine("one")
    machine("a-longer-one", "forky", "10.213.78.11")
    call("list")
    assert capsys.readouterr().out.splitlines() == [
        "NAME          STATE  SUITE    ADDRESS",
        "a-longer-one  off    forky    10.213.78.11",
        "one           off    trixie   10.213.78.10",
    ]


def test_the_list_of_nothing_is_its_head(call, capsys):
    call("list")
    assert capsys.readouterr().out == "NAME          STATE  SUITE    ADDRESS\n"


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "RICK_LAB_NETWORK: '' does not appear to be an IPv4 or IPv6 network"),
        ("nonsense", "RICK_LAB_NETWORK: 'nonsense' does not appear to be an IPv4 or IPv6 network"),
        ("10.0.0.1/24", "RICK_LAB_NETWORK: 10.0.0.1/24 has host bits set"),
        ("10.0.0.0/16", "RICK_LAB_NETWORK: 10.0.0.0/16 is not an IPv4 /24"),
        ("10.0.0.0", "RICK_LAB_NETWORK: 10.0.0.0/32 is not an IPv4 /24"),
        ("fd00::/64", "RICK_LAB_NETWORK: fd00::/64 is not an IPv4 /24"),
    ],
)
def test_a_bad_network_is_refused(lab, monkeypatch, value, message):
    monkeypatch.setenv("RICK_LAB_NETWORK", value)
    with pytest.raises(lab.Failure) as raised:
        lab.network()
    assert str(raised.value) == message


@pytest.mark.parametrize("value", [None, "192.168.7.0/24"])
def test_a_network_has_a_gateway_and_an_address_for_each_machine(lab, machine, monkeypatch, value):
    if value:
        monkeypatch.setenv("RICK_LAB_NETWORK", value)
    prefix = (value or "10.213.78.0/24").removesuffix("0/24")
    assert lab.gateway() == f"{prefix}1"
    assert lab.free_address() == f"{prefix}10"
    machine("one", address=f"{prefix}10")
    assert lab.free_address() == f"{prefix}11"


def test_a_full_network_is_said(lab, machine):
    for number in range(10, 255):
        machine(f"m{number}", address=f"10.213.78.{number}")
    with pytest.raises(lab.Failure, match=r"no free address in 10\.213\.78\.0/24"):
        lab.free_address()


@pytest.fixture
def resolvers(lab, monkeypatch, tmp_path):
    """Set what the host's two resolv.conf files say; None: there is no such file."""
    paths = (tmp_path / "first", tmp_path / "second")
    monkeypatch.setattr(lab, "RESOLV_CONFS", paths)

    def write(*texts):
        for path, text in zip(paths, texts, strict=False):
            if text is not None:
                path.write_text(text)

    return write


LOOPBACK = "nameserver 127.0.0.53\noptions edns0\n"
REAL = "search example.org\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (REAL, None, REAL),
        (REAL, "nameserver 192.0.2.9\n", REAL),
        (LOOPBACK, REAL, REAL),
        (None, REAL, REAL),
        ("nameserver 127.0.0.1\nnameserver ::1\nnameserver 192.0.2.1\n", None, "nameserver 192.0.2.1\n"),
        ("nameserver\t192.0.2.1\n", None, "nameserver\t192.0.2.1\n"),
        ("nameserver \nnameserver 192.0.2.1\n", None, "nameserver \nnameserver 192.0.2.1\n"),
        ("# nameserver 127.0.0.1\nnameserver ::1f\n", None, "# nameserver 127.0.0.1\nnameserver ::1f\n"),
    ],
)
def test_name_servers_are_those_a_machine_can_reach(lab, resolvers, first, second, expected):
    resolvers(first, second)
    assert lab.name_servers() == expected


@pytest.mark.parametrize(("first", "second"), [(LOOPBACK, None), (None, None), ("", ""), (LOOPBACK, LOOPBACK)])
def test_a_host_whose_name_server_no_machine_reaches_is_told_so(lab, resolvers, first, second):
    resolvers(first, second)
    with pytest.raises(lab.Failure, match="listens on this host's loopback only"):
        lab.name_servers()


# --- what it must not destroy ----------------------------------------------------------------------------------------


def test_a_directory_with_a_mount_below_it_is_not_deleted(lab):
    with pytest.raises(lab.Failure, match="is still mounted; unmount it before /proc can be deleted"):
        lab.remove_tree(lab.Path("/proc"))


def test_a_directory_is_deleted_and_one_that_is_gone_is_no_error(lab, tmp_path):
    directory = tmp_path / "a/b"
    directory.mkdir(parents=True)
    lab.remove_tree(tmp_path / "a")
    lab.remove_tree(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_empty_cgroup_goes_with_its_children(lab, tmp_path):
    (tmp_path / "machine/payload/deep").mkdir(parents=True)
    assert lab.remove_cgroup(tmp_path / "machine") is True
    assert lab.remove_cgroup(tmp_path / "machine") is True


def test_a_command_s_last_words_are_the_error(command):
    lab = command("lab")
    shell = shutil.which("sh")
    with pytest.raises(lab.Failure, match=rf"^{shell}: second$"):
        lab.run(shell, "-c", "echo first >&2; echo second >&2; exit 3")
    with pytest.raises(lab.Failure, match=rf"^{shell}: exit code 3$"):
        lab.run(shell, "-c", "exit 3")
    assert lab.run(shell, "-c", "echo out") == "out\n"
