"""
Each refusal that verify.access and verify.service state, with its protection taken away: it must fail, a run mends it.
"""

import json

import pytest
from machine import LISTENER, NOTES

WEB = "/etc/containers/systemd/notes-web.container"
HBA = "/etc/postgresql/17/main/pg_hba.conf"
SITE = "/etc/caddy/sites-enabled/notes.caddy"
OTHER = {**LISTENER, "postgres": True, "valkey": True}
OWN = {**OTHER, "postgres": False, "valkey": {"isolation": "instance"}}
PSQL = "setpriv --reuid=postgres --regid=postgres --init-groups psql --quiet --command"
VALKEY = (
    "export REDISCLI_AUTH=$(cat /var/lib/rick-infra/secrets/valkey-administrator); VALKEYCLI_AUTH=$REDISCLI_AUTH"
    " valkey-cli -e -s /run/valkey/valkey.sock --user rick-infra"
)
MADE_ANEW = "systemctl daemon-reload && systemctl restart notes-web.service"

# What is done to the machine, the check that must notice, and what of it the next run says that it has mended.
AT_DATABASES = [
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
    (f"{VALKEY} ACL SETUSER other '~*'", "other is refused at every other's keys", "Valkey user"),
    (f"{VALKEY} ACL SETUSER other +scan", "other is refused at every other's keys", "Valkey user"),
    (
        "chmod 2755 /run/valkey-own; chmod 0777 /run/valkey-own/valkey.sock",
        "other is refused at every other's keys",
        "Valkey of its own",
    ),
]
IN_CONTAINERS = [
    f"sed -i 's/^DropCapability=all/AddCapability=NET_RAW/' {WEB}",
    f"sed -i 's/^NoNewPrivileges=true/NoNewPrivileges=false/' {WEB}",
    f"sed -i 's/^User=.*/User=33/' {WEB}",
    f"sed -i 's/^GroupAdd=.*/&\\nGroupAdd=4/' {WEB}",
]


@pytest.fixture(scope="module")
def host(main_machine):
    """Two further services: one that shares Valkey with notes, and one that has its own."""
    main_machine.declare("other", OTHER)
    main_machine.declare("own", OWN)
    main_machine.converge()
    assert failing(main_machine, "verify.access") == []
    yield main_machine
    main_machine.remove("other", "own")


def failing(host, function, *arguments):
    """The checks that fail now."""
    done = host.run("salt-call", "--out=json", "--log-level=error", function, *arguments, check=False)
    answer = json.loads(done.stdout)["local"]
    assert answer["passed"] == (done.returncode == 0)
    return [check["name"] for check in answer["checks"] if not check["passed"]]


@pytest.mark.parametrize(("damage", "check", "mended"), [*AT_DATABASES, *AT_KEYS])
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


def test_a_port_that_the_world_reaches_is_shown(host):
    """Not as a failure, since the entry says so."""
    host.declare("notes", f"{NOTES}publish: [{{port: 8080, host_port: 8093, address: 0.0.0.0}}]\n")
    host.converge()
    try:
        checks = host.salt("verify.service", "notes")["checks"]
        assert [one["detail"] for one in checks if "past Caddy" in one["name"]] == ["0.0.0.0:8093/tcp"]
    finally:
        host.declare("notes", NOTES)
        host.converge()
