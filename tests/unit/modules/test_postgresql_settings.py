"""
Configuration files against the server that runs, from the answers PostgreSQL 17 gave in these situations.
"""

import os
import subprocess
import time

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

settings = load("modules", "postgresql_settings")


class Server:
    """The views of one server; its files are real."""

    def __init__(self, folder):
        self.etc, self.data = folder / "etc", folder / "data"
        (self.etc / "conf.d").mkdir(parents=True)
        self.data.mkdir()
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "conf.d/50-rick-infra.conf"):
            (self.etc / name).write_text("")
        self.programs = folder
        self.loaded = time.time() + 3600  # as if it had read them after the test began
        self.file_errors, self.access_errors, self.pending, self.sources = [], [], [], []
        self.reloads, self.deaf = 0, False

    def query(self, sql):
        if "pg_conf_load_time" in sql:
            return [
                {
                    "config_file": str(self.etc / "postgresql.conf"),
                    "hba_file": str(self.etc / "pg_hba.conf"),
                    "ident_file": str(self.etc / "pg_ident.conf"),
                    "data_directory": str(self.data),
                    "loaded": self.loaded,
                    "programs": str(self.programs),
                }
            ]
        if "pg_reload_conf" in sql:
            self.reloads += 1
            self.loaded += 0 if self.deaf else 1
            return [{"pg_reload_conf": True}]
        if "pending_restart" in sql:
            return [{"name": name} for name in self.pending]
        if "pg_hba_file_rules" in sql:
            return self.access_errors
        return self.file_errors if "error" in sql else [{"file": str(path)} for path in self.sources]


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = Server(tmp_path)
    server.acts = []
    functions = {"postgresql.query": server.query, "postgresql.forget_connections": lambda: True}
    monkeypatch.setattr(settings, "__salt__", functions, raising=False)
    act = {"units.act": lambda verb, units: server.acts.append((verb, units))}
    monkeypatch.setattr(settings, "__utils__", act, raising=False)
    return server


def error(**columns):
    return {
        "file": "/etc/postgresql/17/main/conf.d/x.conf",
        "line": 1,
        "name": None,
        "error": "syntax error",
        **columns,
    }


def test_a_server_that_has_read_everything_has_nothing_to_do(server):
    status = settings.status()
    assert (status["errors"], status["unread"], status["pending_restart"]) == ([], [], [])
    assert str(server.etc) in status["places"]


@pytest.mark.parametrize(
    "change",
    [
        lambda server: (server.etc / "conf.d/50-rick-infra.conf").write_text("work_mem = '8MB'"),
        lambda server: (server.etc / "conf.d/50-rick-infra.conf").unlink(),
        lambda server: (server.etc / "pg_hba.conf").write_text("local all all peer"),
        lambda server: (server.data / "postgresql.auto.conf").write_text("work_mem = '8MB'"),
        lambda server: os.utime(server.etc / "postgresql.conf", (0, 0)),  # a restored backup has old times
    ],
)
def test_a_file_that_changed_since_it_was_read_is_seen(server, change):
    server.loaded = time.time()
    while time.time() <= server.loaded + 0.02:  # a file's times come from a clock that ticks every few milliseconds
        pass
    change(server)
    assert settings.status()["unread"]


def test_a_file_from_the_future_is_not_read_again_and_again(server, monkeypatch):
    server.loaded = time.time() - 7200
    monkeypatch.setattr(settings.time, "time", lambda: server.loaded + 1)
    assert settings.status()["unread"] == []


def test_an_included_file_elsewhere_counts(server, tmp_path):
    elsewhere = tmp_path / "elsewhere.conf"
    elsewhere.write_text("")
    server.sources = [elsewhere]
    server.loaded = time.time() - 10
    assert str(elsewhere) in settings.status()["unread"]


def test_a_changed_setting_that_needs_a_restart_is_no_mistake(server):
    server.file_errors = [error(name="max_connections", error="setting could not be applied")]
    server.pending = ["max_connections"]
    status = settings.status()
    assert (status["errors"], status["pending_restart"]) == ([], ["max_connections"])
    assert settings.pending_restart() == ["max_connections"]


def test_a_setting_taken_out_of_the_files_is_no_mistake(server):
    text = 'parameter "listen_addresses" cannot be changed without restarting the server'
    server.file_errors = [error(file=None, line=None, error=text)]
    server.pending = ["listen_addresses"]
    assert settings.status()["errors"] == []


def test_a_wrong_value_is_one(server):
    server.file_errors = [error(name="max_connections", error="setting could not be applied")]
    [told] = settings.status()["errors"]
    assert told == "/etc/postgresql/17/main/conf.d/x.conf:1: max_connections: setting could not be applied"


def test_all_mistakes_are_told_with_file_and_line(server):
    server.file_errors = [error()]
    server.access_errors = [{"file": "/etc/pg_hba.conf", "line": 4, "error": "end-of-line before role specification"}]
    assert settings.status()["errors"] == [
        "/etc/postgresql/17/main/conf.d/x.conf:1: syntax error",
        "/etc/pg_hba.conf:4: end-of-line before role specification",
    ]


def test_a_reload_waits_until_the_server_has_read(server):
    assert settings.reload() is True
    assert server.reloads == 1


def test_a_reload_that_does_not_happen_is_an_error_that_points_to_the_log(server, monkeypatch):
    server.deaf = True
    monkeypatch.setattr(settings, "RELOAD_TIMEOUT", 0.05)
    with pytest.raises(CommandExecutionError, match="/var/log/postgresql"):
        settings.reload()


@pytest.mark.parametrize("refusals", [0, 2, 10_000])
def test_rules_are_read_anew_through_systemd_until_salt_is_let_in(server, monkeypatch, refusals):
    left = [refusals]

    def ask():
        left[0] -= 1
        if left[0] >= 0:
            raise CommandExecutionError("no pg_hba.conf entry")
        return {"accepting": True}

    monkeypatch.setitem(settings.__salt__, "postgresql.server", ask)
    monkeypatch.setattr(settings, "RELOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(settings, "POLL_INTERVAL", 0.001)
    if refusals > 100:
        with pytest.raises(CommandExecutionError, match=r"pg_hba\.conf"):
            settings.reread("postgresql@17-main.service")
    else:
        assert settings.reread("postgresql@17-main.service") is True
    assert server.acts == [("reload", ["postgresql@17-main.service"])]


@pytest.mark.parametrize("unit", [None, "postgresql@17-main.service"])
def test_a_restart_is_preceded_by_the_programs_own_check(server, monkeypatch, unit):
    commands = []

    def run(command, **_options):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(settings.subprocess, "run", run)
    monkeypatch.setattr(settings, "_unit", lambda config_file: "postgresql@17-main.service")
    settings.restart(unit)
    assert commands[0][1:4] == ["-C", "data_directory", "-c"]
    assert server.acts == [("restart", ["postgresql@17-main.service"])]


def test_a_server_that_could_not_start_again_is_not_stopped(server):
    (server.programs / "postgres").write_text(
        '#!/bin/sh\necho "FATAL: configuration file contains errors" >&2\nexit 1\n'
    )
    (server.programs / "postgres").chmod(0o755)
    with pytest.raises(CommandExecutionError, match="goes on as it is: FATAL"):
        settings.restart("postgresql@17-main.service")
    assert server.acts == []


def test_the_unit_follows_from_debians_places():
    assert settings._unit("/etc/postgresql/18/main/postgresql.conf") == "postgresql@18-main.service"
    with pytest.raises(CommandExecutionError, match="give the unit by name"):
        settings._unit("/srv/postgresql.conf")
