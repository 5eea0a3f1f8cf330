"""
A server that reads what a Valkey has stored, as a proof: a script stands in for the program.
"""

import os
import stat
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

proof = load("utils", "valkey_proof")

ME = (os.getuid(), os.getgid())


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Sets what the program does."""

    def be(script):
        path = tmp_path / "server"
        path.write_text(f'#!/bin/sh\necho $$ > {tmp_path}/pid\necho "$@" > {tmp_path}/arguments\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setattr(proof, "SERVER", str(path))

    return be


def gone(tmp_path):
    return not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_the_socket_is_given_once_the_data_are_read_and_the_server_goes_with_the_block(program, tmp_path):
    program("echo reading\necho 'Ready to accept connections unix'\nexec sleep 600")
    with proof.serving(str(tmp_path), ME) as socket:
        folder = Path(socket).parent
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert not gone(tmp_path)
    assert gone(tmp_path)
    assert not folder.exists()


def test_a_server_that_gives_up_is_quoted(program, tmp_path):
    program("echo 'Wrong signature trying to load DB from file'\nexit 1")
    with (
        pytest.raises(CommandExecutionError, match="cannot read it: Wrong signature"),
        proof.serving(str(tmp_path), ME),
    ):
        pass


def test_a_server_that_hangs_is_ended(program, tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "TIMEOUT", 0.2)
    program("echo loading\nexec sleep 600")
    with pytest.raises(CommandExecutionError, match="cannot read it: loading"), proof.serving(str(tmp_path), ME):
        pass
    assert gone(tmp_path)


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(proof, "SERVER", "/nowhere/valkey-server")
    with pytest.raises(CommandExecutionError, match="/nowhere/valkey-server"), proof.serving(str(tmp_path), ME):
        pass


@pytest.mark.parametrize(
    ("files", "options"),
    [
        (["dump.rdb"], "--dbfilename dump.rdb"),
        (
            ["dump.rdb", "log/all.aof.manifest", "log/all.aof.1.base.rdb"],
            "--appendonly yes --appenddirname log --appendfilename all.aof --dbfilename dump.rdb",
        ),
    ],
)
def test_it_reads_the_files_that_are_there_and_opens_no_port(program, tmp_path, files, options):
    for name in files:
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text("")
    program("echo 'Ready to accept connections unix'\nexec sleep 600")
    with proof.serving(str(tmp_path / "data"), ME):
        arguments = (tmp_path / "arguments").read_text()
    assert arguments.startswith("--port 0 ")
    assert options in arguments


def test_keys_that_may_expire_meanwhile_are_not_counted():
    keyspace = {"# Keyspace": "", "db0": "keys=3,expires=1,avg_ttl=5", "db7": "keys=2,expires=2,avg_ttl=1,x=0"}
    assert proof.counts(keyspace) == {0: 2}
    assert proof.counts({}) == {}
