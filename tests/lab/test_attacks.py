"""
Attempts to get in, or to be somebody else. Each is shown to work where the protection is missing.
"""

import json

import pytest
from machine import eventually

CONNECT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
    print("allowed")
except PermissionError:
    print("refused")
"""
WHO = """
import psycopg, sys
try:
    with psycopg.connect(f"host=/run/postgresql dbname=notes user={sys.argv[1]} connect_timeout=30") as connection:
        print(connection.execute("select current_user, usesuper from pg_user where usename = current_user").fetchone())
except psycopg.OperationalError as error:
    print("refused:", error)
"""
REACH = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)
    print("reached")
except OSError:
    print("not reached")
"""
# A container by hand that listens.
OPEN = ["--entrypoint=python3", "localhost/notes:1", "-m", "http.server", "8080"]
SOCKETS = ("/run/postgresql/.s.PGSQL.5432", "/run/valkey/valkey.sock")
# What every container that goes to the shared sockets has.
SAFE = {
    "Image": "localhost/notes:1",
    "Pull": "never",
    "Network": "none",
    "Volume": ["/run/postgresql:/run/postgresql:ro", "/run/valkey:/run/valkey:ro"],
}


@pytest.fixture
def main(main_machine):
    """The shared machine without a run after each test: these try to change it, and clean up where they succeed."""
    return main_machine


def in_container(main, script, *arguments, options=()):
    """What a Python script prints in a container started by hand, with the socket directories mounted."""
    command = ["podman", "run", "--rm", "--network=none", "--entrypoint=python3", *options]
    command += [f"--volume={directory}:{directory}:ro" for directory in ("/run/postgresql", "/run/valkey")]
    return main.run(*command, "localhost/notes:1", "-c", script, *arguments).stdout.strip()


def ids(main, user):
    uid, gid = main.sh(f"id -u {user}; id -g {user}").split()
    return [f"--user={uid}:{gid}", "--cap-drop=all", "--security-opt=no-new-privileges"]


def group(main, name):
    return f"--group-add={main.sh(f'getent group {name} | cut -d: -f3')}"


@pytest.mark.parametrize("socket", SOCKETS)
def test_a_container_without_the_group_is_refused(main, socket):
    assert in_container(main, CONNECT, socket, options=ids(main, "notes")) == "refused"


@pytest.mark.parametrize(("socket", "name"), [*zip(SOCKETS, ("postgres-clients", "valkey-clients"), strict=True)])
def test_a_container_with_the_group_gets_in(main, socket, name):
    assert in_container(main, CONNECT, socket, options=[*ids(main, "notes"), group(main, name)]) == "allowed"


@pytest.mark.parametrize(("socket", "name"), [*zip(SOCKETS, ("valkey-clients", "postgres-clients"), strict=True)])
def test_the_group_of_one_database_does_not_open_the_other(main, socket, name):
    assert in_container(main, CONNECT, socket, options=[*ids(main, "notes"), group(main, name)]) == "refused"


@pytest.mark.parametrize("socket", SOCKETS)
def test_an_outsider_on_the_host_is_refused(main, socket):
    script = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "python3", "-c", CONNECT, socket]
    assert main.run(*script).stdout.strip() == "refused"
    assert main.salt("unix_socket.probe", socket, "nobody", "nogroup", "[]")["outcome"] == "refused"


def test_a_service_is_its_own_role_and_no_other(main):
    options = [*ids(main, "notes"), group(main, "postgres-clients")]
    assert in_container(main, WHO, "notes", options=options) == "('notes', False)"
    assert in_container(main, WHO, "postgres", options=options).startswith("refused")


def test_root_on_the_host_is_not_the_superuser(main):
    assert "refused" in main.run("/opt/rick-infra/salt/bin/python", "-c", WHO, "postgres").stdout


def test_the_attack_with_the_superusers_uid_works_where_nothing_forbids_it(main):
    """Why a container with any other uid than its service's is refused: this one is the superuser."""
    options = [*ids(main, "postgres"), group(main, "postgres-clients")]
    assert in_container(main, WHO, "postgres", options=options) == "('postgres', True)"


@pytest.mark.parametrize(
    ("arguments", "definition", "says"),
    [
        ({"user": "postgres"}, {}, "postgres"),
        ({"user": "root"}, {}, "root"),
        ({}, {"User": "101"}, "user"),
        ({}, {}, "user"),
        ({"user": "notes"}, {"AddCapability": "CAP_SETUID"}, "AddCapability"),
        ({"user": "notes"}, {"DropCapability": "CAP_NET_RAW"}, "DropCapability"),
        ({"user": "notes"}, {"NoNewPrivileges": "false"}, "NoNewPrivileges"),
        ({"user": "notes"}, {"PodmanArgs": "--privileged"}, "--privileged"),
        ({"user": "notes"}, {"PodmanArgs": "--user=0"}, "--user"),
        ({"user": "notes"}, {"Volume": "/run/postgresql:/run/postgresql"}, "ro"),
        ({"user": "notes"}, {"Volume": "/run:/host/run:ro"}, "/run"),
    ],
)
@pytest.mark.parametrize("test_mode", [True, False])
def test_a_container_that_could_be_somebody_else_is_refused_with_the_reason(
    main, arguments, definition, says, test_mode
):
    result = main.state(
        "quadlet.container",
        name="attacker",
        socket_groups=["postgres-clients"],
        definition={"Container": {**SAFE, **definition}},
        test=test_mode,
        **arguments,
    )
    assert result["result"] is False
    assert says in result["comment"]
    assert main.run("test", "-e", "/etc/containers/systemd/attacker.container", check=False).returncode != 0


def test_a_mount_of_a_shared_socket_directory_needs_the_same_without_asking_for_groups(main):
    definition = {"Container": {**SAFE, "User": "0"}}
    result = main.state("quadlet.container", name="attacker", definition=definition)
    assert result["result"] is False
    assert "private_socket" in result["comment"]


@pytest.mark.parametrize(("mode", "outcome"), [("2750", "refused"), ("2770", "replaced")])
def test_a_member_cannot_replace_a_socket_and_collect_what_clients_send(main, mode, outcome):
    """With 2770, the original's mode, it can."""
    script = (
        "import os, socket\n"
        "try:\n"
        "    os.unlink('/run/valkey/valkey.sock')\n"
        "    s = socket.socket(socket.AF_UNIX); s.bind('/run/valkey/valkey.sock'); s.listen()\n"
        "    print('replaced')\n"
        "except PermissionError:\n"
        "    print('refused')\n"
    )
    main.sh(f"chmod {mode} /run/valkey")
    try:
        member = ["setpriv", "--reuid=notes", "--regid=notes", "--init-groups", "python3", "-c", script]
        assert main.run(*member).stdout.strip() == outcome
    finally:
        main.run("systemctl", "restart", "valkey-server.service")
        main.sh("chmod 2750 /run/valkey")


@pytest.mark.parametrize("network", ["q-neighbour", "podman"])
def test_a_neighbour_cannot_reach_the_pods_address(main, network):
    """Each service has an isolated network, also from Podman's default one: forged headers need a way in first."""
    main.sh("podman network exists q-neighbour || podman network create --opt isolate=true q-neighbour")
    try:
        command = ["podman", "run", "--rm", f"--network={network}", "--entrypoint=python3", "localhost/notes:1"]
        assert main.run(*command, "-c", REACH, pod_address(main), "8080").stdout.strip() == "not reached"
        inside = ["podman", "exec", "notes-web", "python3", "-c", REACH, "127.0.0.1", "8080"]
        assert main.run(*inside).stdout.strip() == "reached"
    finally:
        main.sh("podman network rm q-neighbour")


@pytest.fixture(scope="module")
def elsewhere(main_machine):
    """Another host of the network, which knows a way to this one's pods. What it can reach is told by its function."""
    main = main_machine
    main.sh(
        "ip netns add elsewhere; ip link add cable type veth peer name eth0 netns elsewhere;"
        " ip address add 192.0.2.1/24 dev cable; ip link set cable up;"
        " ip -n elsewhere address add 192.0.2.2/24 dev eth0; ip -n elsewhere link set eth0 up;"
        " ip -n elsewhere route add default via 192.0.2.1"
    )
    command = ["ip", "netns", "exec", "elsewhere", "python3", "-c", REACH]
    yield lambda address, port: main.run(*command, address, str(port)).stdout.strip()
    main.sh("ip link delete cable; ip netns delete elsewhere")


def pod_address(main):
    return main.sh(
        "podman inspect $(podman pod inspect notes --format '{{.InfraContainerID}}')"
        " --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'"
    )


def test_another_host_cannot_reach_a_pods_address(main, elsewhere):
    """Whoever could would be let in under any name: at a pod nobody asks who somebody is, that is done by Caddy."""
    assert elsewhere("192.0.2.1", 443) == "reached"
    assert elsewhere(pod_address(main), 8080) == "not reached"
    main.run("nft", "delete", "table", "inet", "rick_infra")
    assert elsewhere(pod_address(main), 8080) == "reached"
    passed, detail = main.verify()["pods answer other hosts by published ports only"]
    assert not passed
    assert "nft has no table inet rick_infra" in detail
    main.converge()
    assert elsewhere(pod_address(main), 8080) == "not reached"


def test_another_host_reaches_what_is_published_to_it(main, elsewhere):
    main.run("podman", "run", "--detach", "--name=open", "--publish=9099:8080", "--network=podman", *OPEN)
    try:
        eventually(lambda: elsewhere("192.0.2.1", 9099) == "reached", 30, "the published port answers")
        address = main.run("podman", "inspect", "--format={{.NetworkSettings.IPAddress}}", "open").stdout.strip()
        assert elsewhere(address, 8080) == "not reached"
    finally:
        main.run("podman", "rm", "--force", "--time=0", "open")


@pytest.mark.parametrize(
    "flush", ["nft flush ruleset", "nft flush table inet rick_infra", "nft delete table inet netavark"]
)
def test_rules_that_somebody_flushed_are_back_after_the_next_run(main, elsewhere, flush):
    main.sh(flush)
    plan, run = main.apply(test=True), main.apply()
    assert plan.planned == run.changed == {"Pods answer other hosts by published ports only"}
    main.healthy()
    assert elsewhere(pod_address(main), 8080) == "not reached"


@pytest.mark.parametrize("verb", ["start", "reload", "restart", "stop"])
def test_debians_firewall_leaves_pods_closed_to_other_hosts_and_open_to_caddy(main, elsewhere, verb):
    """Its unit flushes everybody's rules."""
    main.sh("nft add table inet marker")
    main.run("systemctl", verb, "nftables.service")
    assert main.run("nft", "list", "table", "inet", "marker", check=False).returncode != 0
    eventually(lambda: main.salt("pod_firewall.problems") == [], 30, "the rules are back")
    main.healthy()
    assert elsewhere(pod_address(main), 8080) == "not reached"
    assert main.apply().changed == set()


def test_the_valkey_password_is_nowhere_to_be_read(main):
    secret = main.sh("cat /var/lib/rick-infra/secrets/notes.valkey")
    assert main.stat("/var/lib/rick-infra/secrets/notes.valkey") == "root:root 600"
    assert main.stat("/var/lib/rick-infra") == "root:root 700"
    public = [
        "podman inspect notes-web",
        "systemctl show notes-web.service notes-pod.service",
        "cat /etc/containers/systemd/*.* /run/systemd/generator/*.service",
        "journalctl --no-pager",
        "cat /etc/valkey/users.acl /etc/valkey/valkey.conf",
        "cat /var/log/valkey/*",
        "cat /var/log/salt/* 2>/dev/null || true",
        "ps axww -o args 2>/dev/null || cat /proc/[0-9]*/cmdline",
    ]
    for command in public:
        assert secret not in main.sh(command), command


def test_no_password_appears_in_what_a_run_prints(main):
    main.sh("rm /var/lib/rick-infra/secrets/notes.valkey /var/lib/rick-infra/secrets/valkey-administrator")
    done = main.run("salt-call", "--log-level=debug", "state.highstate", check=False)
    assert done.returncode == 0
    for name in ("notes.valkey", "valkey-administrator"):
        assert main.sh(f"cat /var/lib/rick-infra/secrets/{name}") not in done.stdout + done.stderr


# --- the other way: a private socket ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wiki(main_machine):
    """A service whose image starts as root and changes its uid by itself, behind private sockets."""
    main = main_machine
    main.write("/root/states/wiki.sls", WIKI)
    # One more root for the file server of this machine: the tree's own states stay where they are.
    main.write("/etc/salt/minion.d/60-test.conf", "file_roots: {base: [/srv/rick-infra/salt, /root/states]}\n")
    done = main.run("salt-call", "--out=json", "--log-level=error", "state.apply", "wiki", check=False)
    answer = json.loads(done.stdout)["local"]
    assert isinstance(answer, dict), answer
    assert {name: data["comment"] for name, data in answer.items() if not data["result"]} == {}
    yield main
    for function, arguments in WIKI_GOES.items():
        result = main.state(function, **{"name": "wiki", **arguments})
        assert result["result"] is True, f"{function}: {result['comment']}"
    main.sh("rm /etc/salt/minion.d/60-test.conf /root/states/wiki.sls")
    assert main.salt("catalogue.orphans") == {}


WIKI_GOES = {
    "quadlet.absent": {"units": ["wiki.container"]},
    "private_socket.all_absent": {},
    "valkey_user.absent": {"data": "delete"},
    "secret.absent": {"name": "wiki.valkey"},
    "postgresql.database_absent": {},
    "postgresql.role_absent": {},
    "user.absent": {},
}

WIKI = """
wiki:
  user.present:
    - system: True
    - usergroup: True
    - createhome: False
    - optional_groups: [postgres-clients, valkey-clients]

Wiki has a role:
  postgresql.role_present:
    - name: wiki

Wiki has a database:
  postgresql.database_present:
    - name: wiki
    - owner: wiki

Wiki has a password:
  secret.present:
    - name: wiki.valkey

Wiki has its part of Valkey:
  valkey_user.present:
    - name: wiki

Wiki has a private socket to PostgreSQL:
  private_socket.present:
    - name: wiki
    - target: /run/postgresql/.s.PGSQL.5432
    - user: wiki
    - group: postgres-clients
    - daemon: postgresql.service

Wiki has a private socket to Valkey:
  private_socket.present:
    - name: wiki
    - target: /run/valkey/valkey.sock
    - user: wiki
    - group: valkey-clients
    - daemon: valkey-server.service

Wiki has a container:
  quadlet.container:
    - name: wiki
    - definition:
        Container:
          ContainerName: wiki
          Image: localhost/notes-root:1
          Pull: never
          PublishPort: "127.0.0.1:8081:8080"
          Environment:
            - DATABASE_URL=postgresql://wiki@/wiki?host=/sockets
            - VALKEY_SOCKET=/sockets/valkey.sock
            - VALKEY_USER=wiki
            - "VALKEY_PREFIX=wiki:"
          Secret: wiki.valkey,type=env,target=VALKEY_PASSWORD
          Volume: /run/rick-infra/wiki:/sockets:ro

Wiki runs:
  quadlet.running:
    - units: [wiki.container]
"""


def test_an_image_that_starts_as_root_and_drops_its_privileges_works_behind_a_private_socket(wiki):
    eventually(lambda: wiki.http(port=8081) == 200, 60, "the service answers")
    pid = wiki.sh("podman inspect --format '{{.State.Pid}}' wiki")
    assert wiki.sh(f"awk '/^Uid/ {{print $2}}' /proc/{pid}/status") == "33"


def test_behind_a_private_socket_any_uid_is_the_service_and_nobody_else(wiki):
    script = WHO.replace("host=/run/postgresql", "host=/sockets").replace("dbname=notes", "dbname=wiki")
    for uid in ("0", "33", wiki.sh("id -u postgres")):
        command = ["podman", "run", "--rm", "--network=none", f"--user={uid}", "--entrypoint=python3"]
        command += ["--volume=/run/rick-infra/wiki:/sockets:ro", "localhost/notes:1", "-c", script]
        assert wiki.run(*command, "wiki").stdout.strip() == "('wiki', False)"
        assert wiki.run(*command, "postgres").stdout.startswith("refused")


@pytest.mark.parametrize("user", ["nobody", "notes"])
def test_nobody_on_the_host_gets_to_a_private_socket(wiki, user):
    for name in (".s.PGSQL.5432", "valkey.sock"):
        script = ["setpriv", f"--reuid={user}", f"--regid={wiki.sh(f'id -g {user}')}", "--init-groups", "python3", "-c"]
        assert wiki.run(*script, CONNECT, f"/run/rick-infra/wiki/{name}").stdout.strip() == "refused"


@pytest.mark.parametrize(
    "event",
    [
        "systemctl restart postgresql@17-main.service",
        "systemctl restart valkey-server.service",
        "systemctl kill -s KILL rick-private-wiki-postgresql.service",
        "systemctl restart rick-private-wiki-postgresql.socket",
    ],
)
def test_a_private_socket_works_on_after_what_happens_behind_it(wiki, event):
    eventually(lambda: wiki.http(port=8081) == 200, 60, "the service answers")
    started = wiki.started_at("wiki.service")
    wiki.sh(event)
    eventually(lambda: wiki.http(port=8081) == 200, 60, f"the service answers after {event}")
    assert wiki.started_at("wiki.service") == started
