"""
The life of a service, by its entry alone: added, changed, taken back, stopped, removed.
"""

import pytest
from machine import CREDENTIALS, REGISTRY, registry

ENTRY = {
    "image": "localhost/hello:1",
    "port": 8080,
    "host_port": 8090,
    "health": {"path": "/", "timeout": 60},
    "site": "wiki.example.test",
    "env": {"GREETING": 'hostile: "$HOME" %n {braces} ü'},
}
NOTES = "notes-web.service"


@pytest.fixture(scope="module")
def host(main_machine):
    """The shared machine with the image that the service is made of; afterwards nothing of the service is left."""
    main_machine.run("/srv/rick-infra/examples/build", "hello")
    yield main_machine
    main_machine.remove("wiki")
    assert main_machine.apply().changed == set()


# Every field that reaches a unit, and one unit of each kind. Nothing of it is started.
EVERYTHING = {
    "image": "registry.example.test/app:1",
    "registry_auth": "registry",
    "pull": "newer",
    "env": {"PLAIN": "1", "QUOTED": 'a "b" $c %d', "KEY": "{secret.key}"},
    "user": "service",
    "health": {"path": "/", "timeout": "1min"},
    "resources": {"memory": "64M", "cpus": 0.5, "pids": 50},
    "tmpfs": ["/tmp", "/var/cache/app"],
    "read_only": True,
    "new_privileges": False,
    "stop_signal": "SIGINT",
    "stop_timeout": "5min",
    "start_timeout": "10min",
    "needs": ["notes"],
    "containers": {
        "web": {"command": ["serve", "100%", "$HOME", 'say "x"'], "entrypoint": ["/bin/run"]},
        "worker": {
            "image": "localhost/hello:1",
            "user": 33,
            "capabilities": ["CHOWN"],
            "sockets": "private",
            "health": {"command": ["check", "it's"], "interval": "5s", "command_timeout": "2s", "retries": 2},
        },
    },
    "init": {"command": ["migrate"]},
    "timers": {"clean": {"schedule": "daily", "command": ["clean"], "persistent": False}},
    "shm_size": "64M",
    "port": 8080,
    "publish": [{"port": 53, "host_port": 5353, "address": "127.0.0.2", "protocol": "udp"}],
    "postgres": True,
    "valkey": True,
    "secrets": {"registry": True, "key": {"mount": "/run/key"}},
    "volumes": {"data": "/data", "shared": {"path": "/shared", "read_only": True}},
    "binds": [{"source": "/srv", "path": "/media"}],
    "allow_binds": True,
}


def test_a_service_is_added_by_its_entry_alone_and_no_other_is_touched(host):
    before = host.started_at(NOTES)
    host.declare("wiki", ENTRY)
    plan, run = host.apply(test=True), host.converge()
    assert plan.failed == {}
    assert plan.planned == run.changed
    assert host.apply().changed == set()
    assert host.started_at(NOTES) == before
    assert all(passed for passed, _ in host.verify().values())


def test_every_service_reaches_its_own_and_nothing_else(host):
    answer = host.salt("verify.access")
    assert answer["passed"], answer


def test_a_changed_site_restarts_nothing(host):
    before = host.started_at("wiki-web.service"), host.started_at(NOTES)
    host.declare("wiki", {**ENTRY, "site": {"domains": ["wiki.example.test", "other.example.test"]}})
    assert host.converge().changed == {"Service wiki has its site"}
    host.declare("wiki", ENTRY)
    host.converge()
    assert (host.started_at("wiki-web.service"), host.started_at(NOTES)) == before


def test_a_change_that_does_not_become_healthy_is_taken_back_and_not_tried_again(host):
    before = host.started_at(NOTES)
    host.declare("wiki", {**ENTRY, "health": {"path": "/", "timeout": 15}, "entrypoint": ["/bin/false"]})
    done = host.apply()
    assert "rolled back to the last healthy one" in done.failed["Service wiki is healthy"]
    assert "hostile" in host.page(ENTRY["host_port"])
    again = host.apply()
    assert set(again.failed) == {"Service wiki is as declared"}
    assert again.changed == set()
    host.declare("wiki", ENTRY)
    assert host.converge().changed == set()
    assert host.started_at(NOTES) == before


def test_a_mistake_in_an_entry_stops_the_services_and_not_the_infrastructure(host):
    host.declare("wiki", {**ENTRY, "postgres": {"databse": "x"}})
    try:
        done = host.apply()
        assert set(done.failed) == {"The catalogue is valid"}
        assert "did you mean 'database'?" in done.failed["The catalogue is valid"]
        assert "hostile" in host.page(ENTRY["host_port"])
    finally:
        host.declare("wiki", ENTRY)


def test_a_stopped_service_runs_nothing_and_comes_back(host):
    host.declare("wiki", {**ENTRY, "state": "stopped"})
    host.converge()
    assert host.apply().changed == set()
    assert host.run("systemctl", "is-active", "wiki-web.service", "wiki-pod.service", check=False).stdout.split() == [
        "inactive",
        "inactive",
    ]
    host.declare("wiki", ENTRY)
    host.converge()
    assert "hostile" in host.page(ENTRY["host_port"])


def test_the_real_generator_accepts_every_kind_of_unit_that_an_entry_can_make(host):
    host.declare("everything", EVERYTHING)
    try:
        plan = host.apply(test=True)
        assert plan.failed == {}
        planned = plan.states["Service everything has its pod"]["changes"]
        units = {thing.rpartition(".")[0] for thing in planned if thing.endswith(".service")}
        names = ("network", "pod", "web", "worker", "init", "clean")
        assert units == {f"everything-{name}" for name in names}
    finally:
        host.run("rm", "/etc/rick-infra/services/everything.yaml")


def test_a_run_for_one_service_leaves_all_others_alone(host):
    others = ("notes-*.service", "valkey-server.service", "postgresql@*", "caddy.service")
    before = host.invocations(*others)
    host.declare("wiki", {**ENTRY, "env": {"GREETING": "only me"}})
    host.declare("aside", {**ENTRY, "host_port": 8091, "site": "aside.example.test"})
    try:
        only = 'pillar={"rick": {"only": ["wiki"]}}'
        plan, run = host.apply("services", only, test=True), host.apply("services", only)
        assert run.failed == {}
        # The former greeting had to be delivered as a secret, which goes.
        changed = {"Service wiki has its pod", "Service wiki is started", "Service wiki has nothing else"}
        assert plan.planned == run.changed == changed
        assert "only me" in host.page(ENTRY["host_port"])
        assert host.run("id", "aside", check=False).returncode != 0
        assert host.invocations(*others) == before
    finally:
        host.run("rm", "/etc/rick-infra/services/aside.yaml")
        host.declare("wiki", ENTRY)


def test_images_that_nobody_uses_are_removed_when_somebody_says_so(host):
    # An administrator's containers keep the images that other tests want.
    before = host.sh("podman images --quiet --no-trunc | sort -u")
    for identity in before.split():
        host.run("podman", "create", "--label=keep", identity, "true")
    host.sh('printf "FROM localhost/hello:1\\nLABEL unused=1\\n" | podman build -q -t localhost/unused:1 -f - .')
    assert host.salt("pod.prune_images") == ["localhost/unused:1"]
    left = host.sh("podman images --quiet --no-trunc | sort -u")
    host.sh("podman rm $(podman ps --all --quiet --filter label=keep)")
    assert left == before
    assert host.apply().failed == {}


@pytest.fixture
def hello_in_a_registry(host):
    """The name of an image that is in a registry, and in no other place by that name."""
    host.run("podman", "push", "--quiet", "--format=v2s2", "localhost/hello:1", f"dir:{REGISTRY}")
    with registry(host) as place:
        yield f"{place}/example/hello:1"
        host.remove("closed")


def test_an_image_behind_a_password_is_fetched_with_the_services_credentials(host, hello_in_a_registry):
    assert host.run("podman", "pull", "--quiet", hello_in_a_registry, check=False).returncode != 0
    host.declare(
        "closed",
        {
            "image": hello_in_a_registry,
            **CREDENTIALS,
            "port": 8080,
            "health": "/",
        },
    )
    host.converge()
    assert hello_in_a_registry in host.run("podman", "ps", "--format={{.Image}}").stdout.split()
