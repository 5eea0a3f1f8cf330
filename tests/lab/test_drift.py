"""
What somebody changed by hand is what it was after the next run, and the plan says so first.
"""

import pytest
from machine import eventually

SOCKETS = {
    "/run/postgresql": ("postgres:postgres-clients 2750", "PostgreSQL's socket directory admits its clients"),
    "/run/valkey": ("valkey:valkey-clients 2750", "Valkey's socket directory admits its clients"),
    "/run/postgresql/.s.PGSQL.5432": ("postgres:postgres-clients 770", "PostgreSQL's socket admits its clients"),
    "/run/valkey/valkey.sock": ("valkey:valkey-clients 770", "Valkey's socket admits its clients"),
}


@pytest.mark.parametrize("damage", ["chown nobody", "chgrp nogroup", "chmod 0777", "chmod 0"])
def test_owner_group_and_mode_of_directories_and_sockets_are_repaired(main, damage):
    main.sh(f"{damage} {' '.join(sorted(SOCKETS, reverse=True))}")  # what lies in a directory before the directory
    assert not {wanted for wanted, _ in SOCKETS.values()} & {main.stat(path) for path in SOCKETS}
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {state for _, state in SOCKETS.values()}
    assert {path: main.stat(path) for path in SOCKETS} == {path: wanted for path, (wanted, _) in SOCKETS.items()}


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        ("rm /run/valkey/valkey.sock", "Valkey runs"),
        ("rm /run/postgresql/.s.PGSQL.5432", "PostgreSQL runs"),
        ("mv /run/valkey/valkey.sock /run/valkey/elsewhere.sock", "Valkey runs"),
    ],
)
def test_a_socket_that_is_gone_comes_back(main, damage, state):
    main.sh(damage)
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {state}
    main.sh("rm -f /run/valkey/elsewhere.sock")


def test_a_daemon_started_with_another_configuration_is_brought_back(main):
    main.sh("sed -i 's/^port 0/port 6379/; /^unixsocket/d' /etc/valkey/valkey.conf")
    main.run("systemctl", "restart", "valkey-server.service")
    assert main.apply(test=True).failed == {}
    assert {"Valkey's configuration", "Valkey runs"} <= main.converge().changed
    assert main.verify()["Valkey has no TCP listener"][0]


def test_a_daemon_that_was_stopped_runs_again(main):
    main.run("systemctl", "stop", "valkey-server.service")
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {"Valkey runs"}


def test_what_alter_system_set_is_reset(main):
    """postgresql.auto.conf outranks every file of ours; a listener on TCP is what it could open."""
    main.sh('runuser -u postgres -- psql -qc "alter system set max_connections = 17"')
    main.sh("runuser -u postgres -- psql -qc \"alter system set listen_addresses = 'localhost'\"")
    main.run("systemctl", "restart", "postgresql@17-main.service")
    assert not main.verify()["PostgreSQL has no TCP listener"][0]
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {"PostgreSQL runs with its settings"}
    assert main.salt("postgresql.query", "show max_connections") == [{"max_connections": "200"}]
    assert main.verify()["PostgreSQL has no TCP listener"][0]


def test_access_rules_that_keep_even_salt_out_are_put_right(main):
    main.sh("echo 'local all all reject' > /etc/postgresql/17/main/pg_hba.conf; systemctl reload postgresql@17-main")
    eventually(lambda: main.http() != 200, 30, "the example service notices")
    run = main.converge()
    assert {"PostgreSQL believes the kernel and nobody else", "PostgreSQL runs with its settings"} <= run.changed
    main.healthy()


def test_a_user_that_only_the_running_valkey_has_is_gone_after_the_next_run(main):
    """The ACL file is the only source of users. A line in it that no state declares stays: it is an administrator's."""
    administrator = "valkey-cli -s /run/valkey/valkey.sock --user rick-infra"
    intruder = "valkey-cli -s /run/valkey/valkey.sock --user intruder --pass x ping 2>&1"
    main.sh(
        "export REDISCLI_AUTH=$(cat /var/lib/rick-infra/secrets/valkey-administrator);"
        f"export VALKEYCLI_AUTH=$REDISCLI_AUTH; {administrator} ACL SETUSER intruder on nopass '~*' '+@all'"
    )
    assert "PONG" in main.sh(intruder)
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {"Valkey's users come from its ACL file"}
    assert "PONG" not in main.sh(intruder, check=False)


def test_a_lost_administrator_secret_is_made_anew(main):
    main.sh("rm /var/lib/rick-infra/secrets/valkey-administrator")
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed != set()
    assert main.apply().changed == set()


def test_a_lost_service_secret_is_renewed_and_its_consumer_restarted(main):
    before = main.started_at("notes-web.service")
    main.sh("rm /var/lib/rick-infra/secrets/notes.valkey")
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed
    assert main.started_at("notes-web.service") > before
    main.healthy()


def test_a_unit_edited_by_hand_is_written_back_and_only_its_container_restarted(main):
    postgres = main.started_at("postgresql@17-main.service")
    main.sh("sed -i 's/^ReadOnly=.*/ReadOnly=false/' /etc/containers/systemd/notes-web.container")
    main.sh("systemctl daemon-reload && systemctl restart notes-web.service")
    before = main.started_at("notes-web.service")
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {"Service notes has its pod", "Service notes is started"}
    assert main.started_at("notes-web.service") > before
    assert main.started_at("postgresql@17-main.service") == postgres


def test_a_new_gid_of_a_client_group_re_renders_and_restarts_the_consumers_only(main):
    before = main.started_at("notes-web.service")
    other = main.started_at("postgresql@17-main.service")
    old = int(main.sh("getent group valkey-clients | cut -d: -f3"))
    main.sh(f"groupmod -g {old + 5000} valkey-clients")
    run = main.converge()
    assert "Service notes has its pod" in run.changed
    assert main.started_at("notes-web.service") > before
    assert main.started_at("postgresql@17-main.service") == other
    assert main.salt("grains.get", "valkey_client_group_gid") == old + 5000
    assert f"GroupAdd={old + 5000}" in main.sh("cat /etc/containers/systemd/notes-web.container")
    main.healthy()
    assert main.apply().changed == set()


def test_a_gid_that_two_groups_share_stops_every_application(main):
    gid = main.sh("getent group valkey-clients | cut -d: -f3")
    main.sh(f"groupadd -o -g {gid} impostors")
    try:
        done = main.apply()
        assert "impostors" in done.failed["The facts are valid"]
        assert "valkey_client_group_gid" in done.failed["The facts are valid"]
        assert done.states["Service notes is started"]["result"] is False
        assert main.http() == 200, "what ran goes on"
    finally:
        main.sh("groupdel impostors")


def test_files_that_were_removed_come_back(main):
    main.sh("rm /etc/tmpfiles.d/valkey-server.conf /etc/tmpfiles.d/postgresql-common.conf")
    main.sh("rm /etc/systemd/system/valkey-server.service.d/50-rick-infra.conf")
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed
    main.sh("systemctl restart valkey-server.service")
    eventually(lambda: main.run("test", "-S", "/run/valkey/valkey.sock", check=False).returncode == 0, 30, "the socket")
    assert main.stat("/run/valkey") == "valkey:valkey-clients 2750"
