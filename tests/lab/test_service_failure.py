"""
Changes that fail: what ran comes back, the failed one is not tried again, and a first failure is left for a look.
"""

import re

import pytest
from machine import eventually

ENTRY = {"image": "localhost/hello:1", "port": 8080, "health": {"path": "/", "timeout": 60}, "env": {"GREETING": "one"}}
QUICK = {"path": "/", "timeout": 10}
SHOP = {
    **ENTRY,
    "host_port": 8092,
    "site": "shop.example.test",
    "postgres": True,
    "volumes": {"data": "/data"},
    "secrets": {"session": True},
    "env": {"GREETING": "one", "SESSION": "{secret.session}"},
}
# It works as soon as somebody puts a file into its volume: what a migration that was forgotten looks like.
CHANGED_SHOP = {
    **SHOP,
    "image": "localhost/hello:next",
    "health": {"path": "/", "timeout": 20},
    "site": {"domains": ["shop.example.test", "new.example.test"]},
    "env": {"GREETING": "two", "SESSION": "{secret.session}"},
    "entrypoint": ["sh", "-c", "test -e /data/ready && exec sh /etc/hello/serve"],
}
SICK = {**ENTRY, "site": "sick.example.test"}
CORRECTED = {**ENTRY, "env": {"GREETING": "three"}}
SECRET = {"secrets": {"session": True}, "env": {"GREETING": "one", "SESSION": "{secret.session}"}}
# What it stands on is another after the change, and the change is a program that fails.
GROUND = {
    **ENTRY,
    "image": "localhost/notes:1",
    "health": {"path": "/health", "timeout": 90},
    "host_port": 8094,
    "site": "ground.example.test",
    "postgres": {"connection_limit": 5},
    "valkey": True,
    "env": {
        "DATABASE_URL": "{postgres.url}",
        "VALKEY_SOCKET": "{valkey.socket}",
        "VALKEY_USER": "{valkey.user}",
        "VALKEY_PASSWORD": "{valkey.password}",
        "VALKEY_PREFIX": "ground:",
    },
}
CHANGED_GROUND = {
    **GROUND,
    "health": {"path": "/health", "timeout": 5},
    "host_port": 8095,
    "postgres": {"auth": "scram", "connection_limit": 7},
    "valkey": {"isolation": "instance"},
    "volumes": {"data": "/data"},
    "entrypoint": ["/bin/false"],
}
# None of them has ever run: they are left as they are, and the run says what is likely.
SOON = {"path": "/", "timeout": 8}
SERVE = "exec sh /etc/hello/serve"
UNFIT = {
    "writes": ({"entrypoint": ["sh", "-c", f"echo x > /var/state && {SERVE}"]}, "list the path in tmpfs"),
    "chowns": (
        {"user": "image", "entrypoint": ["sh", "-c", f"chown 33 /tmp && {SERVE}"]},
        "capabilities: [CHOWN, SETUID, SETGID]",
    ),
    "strange": (
        {
            "volumes": {"data": {"path": "/data", "owner": 33}},
            "entrypoint": ["sh", "-c", f"echo x > /data/x && {SERVE}"],
        },
        "volumes for what it writes, with owner: UID",
    ),
    "unready": ({"init": {"entrypoint": ["false"]}}, "init: {command: ...}"),
}
BEFORE = {"shop": SHOP, "missing": {**ENTRY, **SECRET, "host_port": 8093}, "sick": SICK, "stays": ENTRY, "well": ENTRY}
BEFORE |= {"ground": GROUND, "renumbered": ENTRY}
AFTER = {
    "shop": CHANGED_SHOP,
    "missing": {**BEFORE["missing"], "image": "localhost/hello:none"},
    "sick": {**SICK, "health": {"command": ["false"], "interval": 1, "retries": 1, "timeout": 10}},
    "stays": {**ENTRY, "health": QUICK, "entrypoint": ["false"], "rollback": False},
    "well": {**ENTRY, "env": {"GREETING": "two"}},
    "first": {**ENTRY, "health": QUICK, "entrypoint": ["/no/such/program"]},
    "ground": CHANGED_GROUND,
    "renumbered": {**ENTRY, "uid": 2001},
    **{name: {**ENTRY, "health": SOON, **keys} for name, (keys, _) in UNFIT.items()},
}
NEXT_IMAGE = 'printf "FROM localhost/hello:1\\nLABEL version=next\\n" | podman build -q -t localhost/hello:next -f - .'
CONTAINERS = [f"{name}-web.service" for name in AFTER]
HEALTHY = "Service {} is healthy"


def variable(host, container, name):
    """What a running container has in its environment."""
    return host.sh(f"podman exec {container} sh -c 'echo \"${name}\"'")


def image(host, container):
    return host.sh(f"podman inspect --format '{{{{.Image}}}}' {container}")


@pytest.fixture(scope="module")
def host(main_machine):
    main_machine.run("/srv/rick-infra/examples/build", "hello")
    main_machine.sh(NEXT_IMAGE)
    for name, entry in BEFORE.items():
        main_machine.declare(name, entry)
    main_machine.converge()
    assert main_machine.http("/health", 8094) == 200
    main_machine.psql("shop", "create table orders (id int); insert into orders values (7)")
    yield main_machine
    main_machine.remove(*AFTER)
    main_machine.sh("podman untag localhost/hello:next")


@pytest.fixture(scope="module")
def old(host):
    return {
        "session": variable(host, "shop-web", "SESSION"),
        "session of missing": variable(host, "missing-web", "SESSION"),
        "image": image(host, "shop-web"),
        "started": host.invocations(*CONTAINERS),
    }


@pytest.fixture(scope="module")
def failed(host, old):
    """The run in which all of them fail but one."""
    for name in ("shop", "missing"):
        host.run("salt-call", "secret.renew", f"{name}.session")
    for name, entry in AFTER.items():
        host.declare(name, entry)
    return host.apply()


def test_each_failure_is_its_own_and_the_others_converge(host, failed):
    services = {state.split()[1] for state in failed.failed}
    assert services == set(AFTER) - {"well"}
    assert variable(host, "well-web", "GREETING") == "two"


def test_an_image_that_cannot_be_had_stops_nothing(host, old, failed):
    assert "localhost/hello:none" in failed.failed["Service missing has its pod"]
    assert host.invocations("missing-web.service") == {"missing-web.service": old["started"]["missing-web.service"]}
    assert host.http("/", 8093) == 200


def test_a_run_that_fails_before_the_start_leaves_what_ran_for_the_next_start(host, old, failed):
    assert any(
        change.startswith("podman secret ") for change in failed.states["Service missing stays as it was"]["changes"]
    )
    host.sh("systemctl restart missing-pod.service")
    eventually(lambda: host.http("/", 8093) == 200, 60, "missing answers")
    assert variable(host, "missing-web", "SESSION") == old["session of missing"]


def test_image_units_environment_secrets_and_site_come_back(host, old, failed):
    assert "rolled back to the last healthy one" in failed.failed[HEALTHY.format("shop")]
    assert "one" in host.page(8092)
    assert image(host, "shop-web") == old["image"]
    assert variable(host, "shop-web", "SESSION") == old["session"]
    assert "test -e /data/ready" not in host.sh("cat /etc/containers/systemd/shop-web.container")
    assert "new.example.test" not in host.sh("cat /etc/caddy/sites-enabled/shop.caddy")


def test_a_dump_is_made_before_another_image_meets_the_database(host, failed):
    [dump] = host.sh("ls -d /var/lib/rick-infra/dumps/shop/*").split()
    assert dump in str(failed.states["Service shop is started"])
    assert "orders" in host.sh(f"pg_restore --list {dump}")


def test_a_failing_health_command_is_taken_back_with_the_likely_cause(host, failed):
    said = failed.failed[HEALTHY.format("sick")]
    assert "rolled back" in said
    assert "likely: its health command fails" in said
    assert host.run("systemctl", "is-active", "sick-web.service").stdout.strip() == "active"


def test_without_rollback_what_fails_is_left_for_a_look(host, failed):
    assert "rolled back" not in failed.failed[HEALTHY.format("stays")]
    assert '["false"]' in host.sh("cat /etc/containers/systemd/stays-web.container")


def test_a_first_failure_is_left_for_a_look_with_the_cause_and_the_journal(host, failed):
    said = failed.failed[HEALTHY.format("first")]
    assert "likely: the program that it is told to run is not in the image; in its entry: command, entrypoint" in said
    assert "executable file `/no/such/program` not found" in said.partition("last lines of the journal:")[2]
    assert "/no/such/program" in host.sh("cat /etc/containers/systemd/first-web.container")


def test_what_a_service_stands_on_comes_back_and_so_does_its_port(host, old, failed):
    assert "rolled back to the last healthy one" in failed.failed[HEALTHY.format("ground")]
    assert host.http("/health", 8094) == 200
    assert host.http("/health", 8095) == 0
    assert "127.0.0.1:8094" in host.sh("cat /etc/caddy/sites-enabled/ground.caddy")
    # Without a password again, and with its keys in the shared Valkey.
    assert host.psql("ground", "select rolconnlimit from pg_roles where rolname = 'ground'") == "5"
    assert "ground" in {one["user"] for one in host.salt("valkey_user.list") if one["instance"] is None}
    assert "valkey-clients" in host.sh("id --name --groups ground").split()


def test_another_uid_is_refused_and_what_runs_runs_on(host, old, failed):
    assert "its uid is" in failed.failed["Service renumbered has its user"]
    unit = "renumbered-web.service"
    assert host.invocations(unit) == {unit: old["started"][unit]}


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_suit_the_defaults_is_told_its_likely_cause(failed, name):
    said = failed.failed[HEALTHY.format(name)]
    assert UNFIT[name][1] in said.partition("last lines of the journal:")[0]


def test_a_failed_init_container_keeps_the_others_waiting(host, failed):
    # Between two attempts it is on its way down.
    assert re.search(r"unready-init\.service: (de)?activating", failed.failed[HEALTHY.format("unready")])
    checks = {one["name"]: one["passed"] for one in host.salt("verify.service", "unready", check=False)["checks"]}
    assert checks["unready-init.service has succeeded"] is False
    assert host.run("podman", "container", "exists", "unready-web", check=False).returncode == 1


def test_what_was_taken_back_is_not_tried_again_until_somebody_says_so(host, failed):
    # What has never been healthy fails each time anew, which only takes time here.
    for name in ("stays", "first", *UNFIT):
        host.declare(name, CORRECTED)
    kept = ("shop-*.service", "sick-*.service", "missing-*.service", "well-*.service")
    before = host.invocations(*kept)
    again = host.apply()
    for name in ("shop", "sick", "ground"):
        assert "is not tried again until it changes" in again.failed[f"Service {name} is as declared"]
    assert host.invocations(*kept) == before
    # What was missing is there now, and the entry is the same.
    host.sh("touch /opt/shop/data/ready")
    assert host.salt("generation.retry", "shop") is True
    done = host.apply()
    assert not {state for state in done.failed if state.startswith("Service shop ")}
    assert "two" in host.page(8092)
    assert host.psql("shop", "select id from orders") == "7"


SITE = "/etc/caddy/sites-enabled/sick.caddy"


def of_sick(states):
    return {state for state in states if state.startswith("Service sick ")}


@pytest.mark.parametrize("damage", [f"sed -i 's/127.0.0.1:[0-9]*/127.0.0.1:9/' {SITE}", f"rm {SITE}"])
def test_the_site_of_what_runs_is_put_right_although_the_entry_is_refused(host, failed, damage):
    right = host.sh(f"cat {SITE}")
    host.sh(damage)
    plan, run = host.apply(test=True), host.apply()
    assert of_sick(plan.planned) == of_sick(run.changed) == {"Service sick keeps its site"}
    assert host.sh(f"cat {SITE}") == right
    checks = {check["name"]: check["passed"] for check in host.salt("verify.service", "sick", check=False)["checks"]}
    assert checks["https://sick.example.test is sick's site"]
    assert of_sick(host.apply().changed) == set()


def test_corrected_entries_converge(host, failed):
    for name in ("missing", "sick", "renumbered"):
        host.declare(name, {**BEFORE[name], "env": {"GREETING": "three"}})
    host.declare("ground", {**CHANGED_GROUND, "health": GROUND["health"], "entrypoint": None})
    host.converge()
    assert host.apply().changed == set()
