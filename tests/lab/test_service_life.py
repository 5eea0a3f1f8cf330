"""
Services of every kind, run for real: what they ask for they get, also after a reboot and with the host's memory lost.
"""

import pytest
from machine import eventually

HELLO = {"image": "localhost/hello:1", "port": 8080, "health": {"path": "/", "timeout": 90}}
# Its health asks PostgreSQL and Valkey both, so a healthy one has reached them.
NOTES = {
    "image": "localhost/notes:1",
    "port": 8080,
    "health": {"path": "/health", "timeout": 90},
    "postgres": True,
    "valkey": True,
    "env": {
        "DATABASE_URL": "{postgres.url}",
        "VALKEY_SOCKET": "{valkey.socket}",
        "VALKEY_USER": "{valkey.user}",
        "VALKEY_PASSWORD": "{valkey.password}",
        "VALKEY_PREFIX": "x:",
    },
}
PREFIXED = {**NOTES, "env": {**NOTES["env"], "VALKEY_PREFIX": "{valkey.prefix}"}}
LOGIN_URL = "postgresql://{postgres.user}:{postgres.password}@/{postgres.database}?host={postgres.socket}"
SERVICES = {
    "own-cache": {**NOTES, "valkey": {"isolation": "instance"}},
    "password": {**PREFIXED, "postgres": {"auth": "scram"}, "env": {**PREFIXED["env"], "DATABASE_URL": LOGIN_URL}},
    "as-root": {**PREFIXED, "image": "localhost/notes-root:1", "user": "image", "capabilities": ["SETUID", "SETGID"]},
    "as-uid": {**PREFIXED, "user": 33, "postgres": {"locale": "en_US.UTF-8"}},
    # What serves finds what init left; a second server in the pod is published by itself; a timer writes along.
    "several": {
        **HELLO,
        "volumes": {"data": "/data"},
        "publish": [{"port": 9090, "host_port": 9090, "address": "0.0.0.0"}],  # noqa: S104 - on purpose
        "init": {"entrypoint": ["sh", "-c", "sleep 2; echo made by init > /data/made"]},
        "containers": {
            "web": {"entrypoint": ["sh", "-c", "grep init /data/made && exec sh /etc/hello/serve"]},
            "other": {"env": {"PORT": "9090"}},
        },
        "timers": {"tick": {"entrypoint": ["sh", "-c", "echo tick >> /data/ticks"], "schedule": "*:*:0/2"}},
    },
    # Comes first by its name, and starts last.
    "after-it": {**HELLO, "needs": ["several"]},
    "stopped": {**HELLO, "state": "stopped", "timers": {"tick": {"entrypoint": ["true"], "schedule": "*:*:0/2"}}},
}
RUNNING = sorted(set(SERVICES) - {"stopped"})


@pytest.fixture(scope="module")
def host(main_machine):
    main_machine.run("/srv/rick-infra/examples/build", "hello", "notes")
    for name, entry in SERVICES.items():
        main_machine.declare(name, entry)
    main_machine.added = main_machine.apply(test=True), main_machine.apply()
    yield main_machine
    main_machine.remove(*SERVICES)


def failing(host):
    return {name: detail for name, (passed, detail) in host.verify().items() if not passed}


def uid(host, container):
    pid = host.sh(f"podman inspect --format '{{{{.State.Pid}}}}' {container}")
    return host.sh(f"awk '/^Uid/ {{print $2}}' /proc/{pid}/status")


def test_services_of_every_kind_are_added_as_planned(host):
    plan, run = host.added
    assert plan.failed == run.failed == {}
    assert plan.planned == run.changed
    assert host.apply().changed == set()


def test_all_of_them_pass_the_verification(host):
    assert failing(host) == {}


@pytest.mark.parametrize(("name", "expected"), [("as-root", "33"), ("as-uid", "33")])
def test_a_container_with_a_uid_of_its_own_gets_private_sockets(host, name, expected):
    assert uid(host, f"{name}-web") == expected
    assert host.run("systemctl", "is-active", f"rick-private-{name}-postgresql.socket").stdout.strip() == "active"
    assert "GroupAdd" not in host.sh(f"cat /etc/containers/systemd/{name}-web.container")


def test_a_role_with_a_password_is_not_let_in_without_it(host):
    assert host.psql("own-cache", "select 1") == "1"
    refused = host.run("runuser", "-u", "password", "--", "psql", "-w", "-c", "select 1", check=False)
    assert "no password supplied" in refused.stderr


def test_an_instance_is_a_process_with_the_services_keys_only(host):
    assert host.sh("systemctl is-active valkey-server@own-cache.service") == "active"
    assert "PONG" in host.valkey("own-cache", "PING", "/run/valkey-own-cache/valkey.sock")
    assert "own-cache" not in {one["user"] for one in host.salt("valkey_user.list") if one["instance"] is None}


def test_init_is_over_before_the_containers_start(host):
    assert host.sh("cat /opt/several/data/made") == "made by init"
    ended = int(host.sh("systemctl show -P ExecMainExitTimestampMonotonic several-init.service"))
    assert ended < min(host.started_at("several-web.service"), host.started_at("several-other.service"))


def test_a_service_starts_after_the_one_that_it_needs(host):
    assert host.started_at("after-it-web.service") > host.started_at("several-web.service")


def test_a_timer_runs_its_container_by_the_clock(host):
    ticks = "cat /opt/several/data/ticks 2>/dev/null | wc -l"
    before = int(host.sh(ticks))
    eventually(lambda: int(host.sh(ticks)) >= before + 3, 60, "the timer has written three times")


def test_a_published_port_is_reached_past_caddy_and_reported(host):
    address = host.sh("hostname -I").split()[0]
    script = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=5).status)"
    assert host.run("python3", "-c", script, f"http://{address}:9090/").stdout.strip() == "200"
    assert any("9090" in f"{name} {detail}" for name, (_, detail) in host.verify().items())


def test_a_database_sorts_by_the_locale_of_its_entry(host):
    assert host.psql("as-uid", "select datcollate from pg_database where datname = current_database()") == "en_US.UTF-8"
    ordered = "select string_agg(word, '' order by word) from unnest(array['a', 'B', 'c']) word"
    assert host.psql("as-uid", ordered) == "aBc"
    assert host.psql("own-cache", ordered) == "Bac"


def test_an_administrator_runs_a_command_in_a_container_of_a_service(host):
    made = host.salt("catalogue.exec", "several", "[cat, /data/made]", "container=web")
    assert made == "made by init"
    for words in (["[cat, /data/made]"], ["[cat, /data/made]", "container=init"], ["[false]", "container=web"]):
        refused = host.run("salt-call", "catalogue.exec", "several", *words, check=False)
        assert refused.returncode != 0
        assert "made by init" not in refused.stdout


@pytest.mark.parametrize("name", ["own-cache", "password"])
def test_an_administrator_asks_a_services_database_as_the_service(host, name):
    assert host.salt("catalogue.psql", name) == [{"current_user": name, "current_database": name}]
    refused = host.run("salt-call", "catalogue.psql", name, "select rolpassword from pg_authid", check=False)
    assert refused.returncode != 0
    assert "permission denied" in refused.stderr + refused.stdout


def nothing_of_stopped_runs(host):
    active = "systemctl list-units --all --no-legend --plain --state=active,activating 'stopped-*' | cut -d' ' -f1"
    return host.sh(active) == "" and host.sh("podman ps -q --filter label=rick-infra.service=stopped") == ""


def test_after_a_reboot_what_was_stopped_stays_so_and_the_rest_is_there(host):
    assert nothing_of_stopped_runs(host)
    host.reboot()
    listed = host.salt("catalogue.list")
    for name in RUNNING:
        path, port = SERVICES[name]["health"]["path"], listed[name]["port"]
        eventually(lambda path=path, port=port: host.http(path, port) == 200, 120, f"{name} answers")
    assert nothing_of_stopped_runs(host)
    run = host.apply()
    assert (run.failed, run.changed) == ({}, set())


def test_a_stopped_service_starts_again(host):
    host.declare("stopped", {**SERVICES["stopped"], "state": "present"})
    plan, run = host.apply(test=True), host.converge()
    assert plan.planned == run.changed
    assert host.http("/", host.salt("catalogue.list")["stopped"]["port"]) == 200
    assert host.run("systemctl", "is-active", "stopped-tick.timer").stdout.strip() == "active"


def test_with_all_that_the_tree_remembers_deleted_the_next_run_converges(host):
    host.sh("rm -rf /var/lib/rick-infra")
    host.converge()
    assert host.apply().changed == set()
    assert failing(host) == {}
