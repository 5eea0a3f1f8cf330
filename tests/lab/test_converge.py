"""
A virgin host in one pass, and what a plan is worth.
"""

import re

import pytest
from machine import eventually

DATABASE_PORTS = {"5432", "6379"}


@pytest.fixture(params=["infrastructure", "service"])
def runs(request, main_machine):
    """The three runs on a virgin host with two services, and the three after the example service was asked for."""
    return getattr(main_machine, request.param)


def test_bootstrap_in_test_mode_writes_nothing_to_etc_and_shows_the_plan(prepared):
    assert not {path for path in prepared.written_to_etc if "rick" in path or "salt" in path}
    assert "Valkey is installed" in prepared.bootstrap_test.stdout


def test_the_plan_fails_nowhere(runs):
    assert runs.plan.failed == {}


def test_the_first_run_converges(runs):
    assert runs.first.failed == {}
    assert runs.first.done.returncode == 0


def test_the_first_run_changes_exactly_what_was_planned(runs):
    assert runs.first.changed == runs.plan.planned


def test_the_second_run_changes_nothing(runs):
    assert runs.second.failed == {}
    assert runs.second.changed == set()


def test_no_database_listened_on_tcp_at_any_moment(main_machine):
    assert not DATABASE_PORTS & main_machine.tcp_seen


def test_the_watch_for_tcp_would_have_seen_one(main_machine):
    listener = main_machine.popen(
        "python3", "-c", "import signal, socket; s = socket.create_server(('127.0.0.1', 5432)); signal.pause()"
    )
    watch = main_machine.popen("sh", "-c", "exec python3 /srv/rick-infra/tests/lab/watch_tcp.py > /run/tcp-seen")
    try:
        eventually(
            lambda: "5432" in main_machine.sh("cat /run/tcp-seen", check=False).split(), 20, "the watch sees the port"
        )
    finally:
        for process in (watch, listener):
            process.terminate()
            process.communicate()


def test_a_third_run_by_bootstrap_is_clean_and_ends_with_the_verification(main):
    done = main.run("/srv/rick-infra/bin/bootstrap")
    assert "0 failed" in done.stdout


@pytest.mark.parametrize(
    "command", [["state.highstate"], ["--local", "state.highstate"], ["state.apply", "infra.valkey"]]
)
def test_salt_call_works_as_an_administrator_expects(main, command):
    done = main.run("salt-call", *command)
    assert re.search(r"Failed:\s+0\n", done.stdout)


def test_the_verification_passes(main):
    assert {name: detail for name, (passed, detail) in main.verify().items() if not passed} == {}


def test_a_pillar_file_that_does_not_render_stops_the_run_before_anything_changes(main):
    main.write("/etc/rick-infra/pillar/site.sls", "rick: {{ nonsense( }}\n")
    try:
        done = main.run("salt-call", "state.highstate", check=False)
        assert done.returncode != 0
        assert "site" in done.stdout + done.stderr
        assert main.http() == 200
    finally:
        main.run("rm", "/etc/rick-infra/pillar/site.sls")


def test_a_misspelt_setting_names_its_place_and_what_was_meant(main):
    main.write("/etc/rick-infra/pillar/site.sls", "rick:\n  postgresql:\n    max_connection: 5\n")
    try:
        done = main.run("salt-call", "state.highstate", check=False)
        assert done.returncode != 0
        message = done.stdout + done.stderr
        assert "rick:postgresql" in message
        assert "max_connections" in message
    finally:
        main.run("rm", "/etc/rick-infra/pillar/site.sls")
