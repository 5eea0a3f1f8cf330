"""
Daemons come and go; the sockets keep their owners, and a running pod finds its way back without being restarted.
"""

import pytest
from machine import eventually

DAEMONS = {
    "postgresql": (
        "postgresql@17-main.service",
        "/run/postgresql",
        "/run/postgresql/.s.PGSQL.5432",
        "postgres:postgres-clients",
    ),
    "valkey": ("valkey-server.service", "/run/valkey", "/run/valkey/valkey.sock", "valkey:valkey-clients"),
}
POD = "notes-web.service"


@pytest.fixture(params=sorted(DAEMONS))
def daemon(request):
    return DAEMONS[request.param]


def restart(main, unit):
    main.run("systemctl", "restart", unit)


def crash(main, unit):
    before = main.main_pid(unit)
    main.run("kill", "-KILL", str(before))
    eventually(lambda: main.main_pid(unit) not in (0, before), 30, f"{unit} is started again by systemd")
    # The former socket is still there, so it does not tell that this one listens.
    eventually(lambda: main.run("systemctl", "is-active", unit, check=False).returncode == 0, 60, f"{unit} is ready")


def reinstall(main, unit):
    package = "postgresql-17" if "postgresql" in unit else "valkey-server"
    main.sh(f"DEBIAN_FRONTEND=noninteractive apt-get install -q -y --reinstall {package}")
    main.run("systemctl", "is-active", unit)


@pytest.mark.parametrize("event", [restart, crash, reinstall])
def test_the_socket_keeps_its_owner_and_the_running_pod_its_way(main, daemon, event):
    unit, directory, socket, owner = daemon
    pod = main.started_at(POD)
    event(main, unit)
    eventually(lambda: main.run("test", "-S", socket, check=False).returncode == 0, 30, f"{socket} is back")
    assert main.stat(directory) == f"{owner} 2750"
    assert main.stat(socket) == f"{owner} 770"
    main.healthy()
    assert main.started_at(POD) == pod
    assert main.apply().changed == set()


def test_what_a_service_wrote_in_a_transaction_survives_a_restart_of_valkey(main):
    """Valkey replays EXEC of its append-only file as its user ``default``, which therefore is off and may do all."""
    assert main.valkey("notes", "MULTI\nSET notes:kept written\nEXEC\n").splitlines()[-1] == "OK"
    main.run("systemctl", "restart", "valkey-server.service")
    eventually(lambda: main.run("test", "-S", "/run/valkey/valkey.sock", check=False).returncode == 0, 30, "the socket")
    assert main.valkey("notes", "GET notes:kept") == "written"
    assert main.valkey("notes", "DEL notes:kept") == "1"


@pytest.mark.parametrize("how", ["reboot", "power cut"])
def test_after_a_boot_all_is_as_it_was_without_salt(main, how):
    if how == "reboot":
        main.reboot()
    else:
        main.kill()
        main.up()
    main.healthy(timeout=90)
    for unit, directory, socket, owner in DAEMONS.values():
        assert main.run("systemctl", "is-active", unit).stdout.strip() == "active"
        assert main.stat(directory) == f"{owner} 2750"
        assert main.stat(socket) == f"{owner} 770"
    assert main.apply().changed == set()


def test_a_pod_started_while_the_databases_are_down_recovers_with_them(main):
    units = [unit for unit, *_ in DAEMONS.values()]
    main.run("systemctl", "stop", POD, *units)
    main.run("systemctl", "start", "--no-block", POD)
    eventually(lambda: main.http() == 503, 60, "the pod runs and says that its databases are away")
    main.run("systemctl", "start", *units)
    main.healthy()


def test_a_database_that_restarts_does_not_take_the_pod_along(main):
    pod = main.started_at(POD)
    main.run("systemctl", "stop", "postgresql@17-main.service")
    assert main.run("systemctl", "is-active", POD).stdout.strip() == "active"
    main.run("systemctl", "start", "postgresql@17-main.service")
    assert main.started_at(POD) == pod


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_service_that_is_killed_or_ends_comes_back_by_itself(main, signal):
    before = payload(main)
    main.run("kill", f"-{signal}", str(before))
    eventually(lambda: payload(main) not in (None, before), 60, "the container runs again")
    main.healthy()


def test_a_dead_container_behind_an_active_pod_unit_is_noticed_and_repaired(main):
    main.run("systemctl", "stop", POD)
    assert main.http() == 0
    verification = main.verify()
    assert not verification[f"{POD} is active in /system.slice"][0]
    plan = main.apply(test=True)
    run = main.apply()
    assert "Service notes is started" in run.changed
    assert plan.planned == run.changed
    main.healthy()


def payload(main):
    """The host's pid of the application's process, or None."""
    pid = main.sh("podman inspect --format '{{.State.Pid}}' notes-web 2>/dev/null || true")
    return int(pid) if pid and pid != "0" else None
