"""
Dumps' files and tables of contents. That a dump holds what it should is proven in the lab, by PostgreSQL.
"""

import os
import pwd
import stat
import subprocess
import types
from pathlib import Path

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

dumps = load("utils", "postgres_dumps")

CONTENTS = """\
;
; Archive created at 2025-01-01 00:00:00 UTC
;
6; 2615 16400 SCHEMA - app notes
7; 2615 16401 SCHEMA - apple notes
2; 3079 16389 EXTENSION - pg_trgm\u0020
3428; 0 0 COMMENT - EXTENSION pg_trgm\u0020
3; 3079 16390 EXTENSION - pg_trgm_more\u0020
220; 1259 16402 TABLE public a notes
""".splitlines()


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_dump_appears_when_it_is_complete_and_only_for_root(tmp_path):
    with dumps.new(tmp_path / "made", "notes") as (staged, final):
        Path(staged).write_text("dump")
        assert mode(staged) == 0o600
        assert not Path(final).exists()
    assert Path(final).read_text() == "dump"
    assert (mode(final), mode(tmp_path / "made"), mode(tmp_path / "made/notes")) == (0o600, 0o700, 0o700)
    assert names(tmp_path / "made/notes") == [Path(final).name]


def test_a_dump_that_failed_leaves_nothing(tmp_path):
    with pytest.raises(CommandExecutionError, match="disk"), dumps.new(tmp_path, "notes"):
        raise CommandExecutionError("disk full")
    assert names(tmp_path / "notes") == []


def test_what_a_killed_run_left_is_removed(tmp_path):
    (tmp_path / "notes").mkdir()
    for name in (".20250101T000000.000000Z.x.unfinished", "20250101T000000.000000Z.dump"):
        (tmp_path / "notes" / name).touch()
    with dumps.new(tmp_path, "notes") as (_, final):
        pass
    assert names(tmp_path / "notes") == ["20250101T000000.000000Z.dump", Path(final).name]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CommandExecutionError, match="file/notes: "), dumps.new(tmp_path / "file", "notes"):
        pass


def test_the_newest_dumps_are_kept(tmp_path):
    (tmp_path / "notes").mkdir()
    for day in range(1, 6):
        (tmp_path / "notes" / f"2025010{day}T000000.000000Z.dump").touch()
    dumps.prune(tmp_path, "notes", 3)
    assert [name[7] for name in names(tmp_path / "notes")] == ["3", "4", "5"]


def test_what_is_there_already_is_not_restored_and_all_else_is():
    lines = dumps.selected(CONTENTS, {"SCHEMA": ["app"], "EXTENSION": ["pg_trgm"]})
    assert [line for line in lines if not line.startswith(";")] == [
        "7; 2615 16401 SCHEMA - apple notes",
        "3; 3079 16390 EXTENSION - pg_trgm_more ",
        "220; 1259 16402 TABLE public a notes",
    ]
    assert dumps.selected(CONTENTS, {"SCHEMA": [], "EXTENSION": []}) == CONTENTS


def test_the_trial_database_is_the_same_for_a_name_and_fits():
    trials = {dumps.scratch(name) for name in ("notes", "notes", "n" * 63, "wiki")}
    assert len(trials) == 3
    assert all(len(f"{name}-old") <= 63 for name in trials)


@pytest.fixture
def called(monkeypatch):
    """Take down how programs are called, in place of the user postgres, whom this host may not have."""
    called = types.SimpleNamespace(returncode=0, commands=[], options=[])

    def run(command, **options):
        called.commands.append(command)
        called.options.append(options)
        if "stdout" in options and options["stdout"] != subprocess.PIPE:
            options["stdout"].write(b"dump")
        return subprocess.CompletedProcess(command, called.returncode, b"; a list\n", b"pg_dump: error: no room")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: types.SimpleNamespace(pw_uid=101, pw_gid=103))
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    return called


def test_a_dump_is_written_by_the_user_postgres_into_a_file_of_ours(called, tmp_path):
    dumps.write("/usr/lib/postgresql/17/bin", "notes", tmp_path / "x", "0001-1")
    [options] = called.options
    assert (options["user"], options["group"], options["extra_groups"]) == (101, 103, [])
    assert options["env"]["PGHOST"] == "/run/postgresql"
    assert called.commands[0][0] == "/usr/lib/postgresql/17/bin/pg_dump"
    assert (tmp_path / "x").read_bytes() == b"dump"


def test_no_password_is_an_argument_and_no_superuser_restores(called, tmp_path):
    (tmp_path / "x").touch()
    dumps.read("/bin", tmp_path / "x", "fresh", "restorer", "planted-password", "notes", CONTENTS)
    [command], [options] = called.commands, called.options
    assert "planted-password" not in " ".join(command)
    assert options["env"]["PGUSER"] == "restorer"
    assert {"--role=notes", "--no-owner", "--exit-on-error", "--single-transaction"} <= set(command)


def test_what_the_program_says_comes_through(called, tmp_path):
    called.returncode = 1
    with pytest.raises(CommandExecutionError, match="pg_dump: pg_dump: error: no room"):
        dumps.write("/bin", "notes", tmp_path / "x", "0001-1")


def test_a_fingerprint_asks_with_settings_of_its_own_and_quotes_every_name():
    sent = []

    def run(connection, statement):
        sent.append(statement)
        if "has_table_privilege" in statement:
            return [{"read": False}]
        if statement == dumps.WHOLE_LARGE_OBJECTS:
            return [{"what": "large objects", "value": "0"}]
        if statement == dumps.OBJECTS:
            return [{"what": "functions", "value": "1"}]
        if statement == dumps.TABLES:
            return [{"schema": "public", "name": "a"}]
        return [{"rows": 2, "checksum": "7"}]

    found = dumps.fingerprint(None, run, lambda text, *names: (text, *names))
    assert found == {"functions": "1", "large objects": "0", "table public.a": "2 rows, checksum 7"}
    assert sent[-1] == (dumps.CONTENT, "public", "a")
    assert any("'datestyle'" in one for one in sent if isinstance(one, str))
