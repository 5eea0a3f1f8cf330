"""
Each refusal that verify.access and verify.service state, with its protection taken away: it must fail, a run mends it.
"""

import json

import pytest
from machine import LISTENER

WEB = "/etc/containers/systemd/notes-web.container"
HBA = "/etc/postgresql/17/main/pg_hba.conf"
SITE = "/etc/caddy/sites-enabled/notes.caddy"
OTHER = {**LISTENER, "postgres": True, "valkey": True}
OWN = {**OTHER, "postgres": False, "valkey": {"isolation": "instance"}}
NOTHING = {"entrypoint": ["/usr/bin/python3", "-c", ""]}
# One of everything else that has a check of its own. A capability takes private sockets.
EVERY = {
    **LISTENER,
    "postgres": True,
    "capabilities": ["CHOWN"],
    "init": NOTHING,
    "timers": {"tick": {**NOTHING, "schedule": "daily"}, "past": {**NOTHING, "schedule": "daily"}},
    "publish": [
        {"port": 8080, "host_port": 8093, "address": "0.0.0.0"},  # noqa: S104 - on purpose
        {"port": 5353, "host_port": 8094, "protocol": "udp"},
    ],
}
IDLE = {**OTHER, "image": "registry.example.test/idle:1", "state": "stopped"}
SERVICES = {"other": OTHER, "own": OWN, "every": EVERY, "idle": IDLE}
PSQL = "setpriv --reuid=postgres --regid=postgres --init-groups psql --quiet --command"
VALKEY = (
    "export REDISCLI_AUTH=$(cat /var/lib/rick-infra/secrets/valkey-administrator); VALKEYCLI_AUTH=$REDISCLI_AUTH"
    " valkey-cli -e -s /run/valkey/valkey.sock --user rick-infra"
)
MADE_ANEW = "systemctl daemon-reload && systemctl restart notes-web.service"

# What is done to the machine, the check that must notice, and what of it the next run says that it has mended.
AT_DATABASES = [
    (f"{PSQL} 'GRANT CONNECT ON DATABASE idle TO PUBLIC'", "other is refused at every other database", "Service idle"),
    (f"{PSQL} 'GRANT CONNECT ON DATABASE notes TO PUBLIC'", "other is refused at every other database", "database"),
    (
        f"sed -i '1i local all postgres peer map=bad' {HBA}"
        f" && printf 'bad other postgres\\nbad postgres postgres\\n' >> {HBA[:-11]}pg_ident.conf"
        " && systemctl reload postgresql@17-main",
        "other is refused at every other database",
        "PostgreSQL believes the kernel and nobody else",
    ),
]
AT_KEYS = [
    (f"{VALKEY} ACL SETUSER other '~idle:*'", "other is refused at every other's keys", "Valkey user"),
    (f"{VALKEY} ACL SETUSER other '~*'", "other is refused at every other's keys", "Valkey user"),
    (f"{VALKEY} ACL SETUSER other +scan", "other is refused at every other's keys", "Valkey user"),
    (
        "chmod 2755 /run/valkey-own; chmod 0777 /run/valkey-own/valkey.sock",
        "other is refused at every other's keys",
        "Valkey of its own",
    ),
]
AT_PRIVATE_SOCKETS = [
    ("chmod 0755 /run/rick-infra", "other is refused at every other's private sockets", "private sockets"),
]
POD = "/etc/containers/systemd/every.pod"
PAST = "/etc/systemd/system/every-past.timer"
# All at once: what is done to a service, and which of its checks must notice.
TO_ONE = {
    "own": [
        ("chmod 2755 /run/valkey-own", "/run/valkey-own belongs to its clients"),
        (
            "chmod 0777 /run/valkey-own/valkey.sock",
            "/run/valkey-own/valkey.sock belongs to its clients",
            "an outsider is refused at /run/valkey-own/valkey.sock",
        ),
    ],
    "every": [
        (
            "chmod 0755 /run/rick-infra",
            "/run/rick-infra is root's",
            "an outsider is refused at /run/rick-infra/every/.s.PGSQL.5432",
        ),
        (
            f"sed -i '/^PublishPort=.*809[34]/d' {POD} && systemctl daemon-reload && systemctl restart every-pod",
            "every is reached past Caddy at 0.0.0.0:8093/tcp",
            "every is reached past Caddy at 127.0.0.1:8094/udp",
        ),
        ("systemctl stop every-init", "every-init.service has succeeded"),
        ("systemctl stop every-tick.timer", "every-tick.timer has a next time"),
        (
            f"sed -i s/^OnCalendar=.*/OnCalendar=2020-01-01/ {PAST} && systemctl daemon-reload"
            " && systemctl restart every-past.timer",
            "every-past.timer has a next time",
        ),
    ],
}
IN_CONTAINERS = [
    f"sed -i 's/^DropCapability=all/AddCapability=NET_RAW/' {WEB}",
    f"sed -i 's/^NoNewPrivileges=true/NoNewPrivileges=false/' {WEB}",
    f"sed -i 's/^User=.*/User=33/' {WEB}",
    f"sed -i 's/^GroupAdd=.*/&\\nGroupAdd=4/' {WEB}",
]


@pytest.fixture(scope="module")
def host(main_machine):
    """Further services: one shares Valkey with notes, one has its own, one has everything else, one is stopped."""
    for name, entry in SERVICES.items():
        main_machine.declare(name, entry)
    main_machine.converge()
    assert failing(main_machine, "verify.access") == []
    yield main_machine
    main_machine.remove(*SERVICES)


def failing(host, function, *arguments):
    """The checks that fail now."""
    done = host.run("salt-call", "--out=json", "--log-level=error", function, *arguments, check=False)
    answer = json.loads(done.stdout)["local"]
    assert answer["passed"] == (done.returncode == 0)
    return [check["name"] for check in answer["checks"] if not check["passed"]]


@pytest.mark.parametrize(("damage", "check", "mended"), [*AT_DATABASES, *AT_KEYS, *AT_PRIVATE_SOCKETS])
def test_a_refusal_fails_without_its_protection_and_a_run_puts_it_back(host, damage, check, mended):
    host.sh(damage)
    assert any(name.startswith(check) for name in failing(host, "verify.access"))
    assert any(mended in name for name in host.converge().changed)
    assert failing(host, "verify.access") == []


@pytest.mark.parametrize(
    ("damage", "mend"),
    [
        # The rules that drop what goes from one bridge to another.
        (
            "for one in 1 2 3; do nft flush chain inet netavark NETAVARK-ISOLATION-$one; done",
            "podman network reload --all",
        ),
        ("podman network connect notes other-infra", "podman network disconnect notes other-infra"),
    ],
)
def test_a_way_from_pod_to_pod_is_noticed(host, damage, mend):
    host.sh(damage)
    try:
        assert "other's pod is refused at every other pod" in failing(host, "verify.access")
    finally:
        host.sh(mend)
    assert failing(host, "verify.access") == []


def test_a_container_that_may_do_more_is_noticed_and_a_run_takes_it_back(host):
    for damage in IN_CONTAINERS:
        kept = host.sh(f"cat {WEB}")
        host.sh(f"{damage} && {MADE_ANEW}")
        assert "notes-web's process has the ids of notes" in failing(host, "verify.service", "notes"), damage
        host.write(WEB, f"{kept}\n")
    host.sh(f"{IN_CONTAINERS[0]} && {MADE_ANEW}")
    changed = host.converge().changed
    assert {"Service notes has its pod", "Service notes is started"} <= changed
    assert failing(host, "verify.service", "notes") == []


def test_a_site_without_tls_is_noticed_and_a_run_puts_it_back(host):
    domain = host.salt("catalogue.list")["notes"]["domains"][0]
    host.sh(f"sed -i -e 's/^{domain} {{/http:\\/\\/&/' -e '/^\\ttls /d' {SITE} && systemctl reload caddy")
    assert f"https://{domain} is notes's site" in failing(host, "verify.service", "notes")
    assert "Service notes has its site" in host.converge().changed
    assert failing(host, "verify.service", "notes") == []


@pytest.mark.parametrize("name", TO_ONE)
def test_a_check_of_a_service_fails_without_what_it_proves_and_a_run_puts_it_back(host, name):
    assert failing(host, "verify.service", name) == []
    for damage, *_ in TO_ONE[name]:
        host.sh(damage)
    assert {check for _, *checks in TO_ONE[name] for check in checks} <= set(failing(host, "verify.service", name))
    host.converge()
    assert failing(host, "verify.service", name) == []


@pytest.mark.parametrize("unit", ["valkey-server@own.service", "rick-private-every-postgresql.socket"])
def test_what_a_service_has_for_itself_must_run(host, unit):
    host.sh(f"systemctl stop {unit}")
    name = "own" if "own" in unit else "every"
    assert any(check.startswith(f"{unit} is active") for check in failing(host, "verify.service", name))
    host.converge()
    assert failing(host, "verify.service", name) == []


def test_a_stopped_instances_door_has_to_be_shut(host):
    host.declare("own", {**OWN, "state": "stopped"})
    host.converge()
    try:
        assert failing(host, "verify.access") == []
        host.sh("mkdir -p /run/valkey-own; chmod 2755 /run/valkey-own; rm -f /run/valkey-own/valkey.sock")
        bind = "import os, socket; socket.socket(socket.AF_UNIX).bind('valkey.sock'); os.chmod('valkey.sock', 0o777)"
        host.sh(f'cd /run/valkey-own && python3 -c "{bind}"')
        assert "other is refused at every other's keys" in failing(host, "verify.access")
    finally:
        host.declare("own", OWN)
        host.converge()
