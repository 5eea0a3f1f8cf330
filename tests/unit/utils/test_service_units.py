"""
The units of a service: least privilege unless the entry says otherwise, and command lines that arrive unchanged.
"""

import pytest
from tree import load

schema = load("utils", "catalogue_schema")
catalogue = load("utils", "catalogue_resolve")
service_units = load("utils", "service_units")
text = load("utils", "quadlet_text")

HOST = {
    "postgresql": {
        "unit": "postgresql@17-main.service",
        "servers": {"db.example.org": {"port": 5432, "authority": "/etc/ssl/db.crt"}},
    },
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
    "ports": {"notes": 20001},
}


def units(*others, **data):
    """The units of the service notes; of others, the catalogue has a name and their containers."""
    entry, problems = schema.complete({"image": "localhost/app:1", **data})
    assert not problems
    entries = {name: schema.complete({"image": "localhost/app:1", **about})[0] for name, about in others}
    services, problems = catalogue.resolve({"notes": entry, **entries}, HOST)
    assert not problems
    return {f"{one['name']}.{one['kind']}": one for one in service_units.units(entry, services["notes"])}


def web(**data):
    return units(**data)["notes-web.container"]["definition"]["Container"]


def test_a_service_has_a_network_of_its_own_and_a_port_on_loopback():
    made = units(port=8080)
    assert list(made) == ["notes.network", "notes.pod", "notes-web.container"]
    assert made["notes.network"]["definition"]["Network"]["Options"] == "isolate=strict"
    assert made["notes.pod"]["definition"]["Pod"]["PublishPort"] == ["127.0.0.1:20001:8080"]


def test_least_privilege_is_the_default():
    container = web()
    assert (container["ReadOnly"], container["NoNewPrivileges"], container["DropCapability"]) == (True, True, "all")
    assert container["Tmpfs"] == ["/tmp"]
    assert "AddCapability" not in container
    assert units()["notes-web.container"]["user"] == "notes"


def test_a_database_elsewhere_is_known_by_one_file_and_nothing_leads_to_that_of_the_host():
    made = units(postgres={"host": "db.example.org"})["notes-web.container"]
    assert made["definition"]["Container"]["Volume"] == ["/etc/ssl/db.crt:/etc/rick-infra/postgres-ca.crt:ro"]
    assert made["socket_groups"] == []


def test_each_default_has_a_switch():
    container = web(read_only=False, new_privileges=True, capabilities=["CAP_CHOWN"], tmpfs=[], user=33)
    assert (container["ReadOnly"], container["NoNewPrivileges"]) == (False, False)
    assert (container["AddCapability"], container["User"]) == (["CHOWN"], "33")
    assert "Tmpfs" not in container


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", '"plain"'),
        ("two words", '"two words"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("a\nb", '"a\\nb"'),
        ("a\r\u2028b", '"a\\U0000000d\\U00002028b"'),
    ],
)
def test_a_command_arrives_as_it_is_written(word, written):
    assert web(command=[word])["Exec"] == written


def test_paths_in_the_container_arrive_as_they_are_written():
    container = web(tmpfs=["/a b", "/c{d}"], secrets={"x": {"mount": "/a b"}})
    assert container["Tmpfs"] == ["/a b", "/c{d}"]
    assert container["Secret"] == ['"notes.x,type=mount,target=/a b,mode=0444"']


def test_the_sockets_are_read_only():
    assert web(postgres=True, valkey=True)["Volume"] == [
        "/run/postgresql:/run/postgresql:ro",
        "/run/valkey:/run/valkey:ro",
    ]
    assert web(postgres=True, user="image")["Volume"] == ["/run/rick-infra/notes:/run/rick-infra/notes:ro"]


def test_only_the_group_way_asks_for_groups():
    assert units(postgres=True)["notes-web.container"]["socket_groups"] == ["postgres-clients"]
    assert units(postgres=True, user="image")["notes-web.container"]["socket_groups"] == []
    assert units()["notes-web.container"]["socket_groups"] == []


def test_directories_and_secrets_reach_the_containers():
    container = web(
        volumes={"files": "/data"},
        secrets={"token": {"mount": "/run/token"}},
        env={"A": "{secret.token}"},
        binds=[{"source": "/srv/media", "path": "/media"}],
        allow_binds=True,
    )
    assert container["Volume"] == ["/opt/notes/files:/data", "/srv/media:/media:ro"]
    assert container["Secret"] == [
        "notes.token,type=mount,target=/run/token,mode=0444",
        "notes.web.A,type=env,target=A",
    ]


def test_a_health_command_needs_no_shell_and_makes_the_unit_wait():
    container = web(health={"command": ["/check", "it's 100%"]})
    assert container["HealthCmd"] == container["HealthStartupCmd"] == '["/check", "it\'s 100%%"]'
    assert container["Notify"] == "healthy"


def test_containers_share_what_is_said_at_the_top():
    made = units(
        env={"A": "1"},
        resources={"memory": "64M"},
        containers={
            "web": {"command": "serve"},
            "worker": {"command": "work", "env": {"B": "2"}, "image": "localhost/w:2"},
        },
    )
    worker = made["notes-worker.container"]["definition"]["Container"]
    assert worker["Environment"] == ["A=1", "B=2"]
    assert worker["Image"] == "localhost/w:2"
    assert worker["PodmanArgs"] == ["--memory=64M"]


def test_an_image_behind_a_login_is_fetched_with_the_services_credentials():
    container = web(
        image="registry.example.org/app:1",
        registry_auth="registry",
        secrets={"registry": {"file": "/root/auth"}},
        pull="newer",
        resources={"memory": "64M"},
    )
    assert (container["Image"], container["Pull"]) == ("registry.example.org/app:1", "newer")
    assert container["PodmanArgs"] == ["--memory=64M", "--authfile=/var/lib/rick-infra/secrets/notes.registry"]


def test_a_container_has_its_whole_stop_timeout():
    """systemd's own would be 90 s, and it kills Podman then."""
    service = units(stop_timeout="10min")["notes-web.container"]["definition"]["Service"]
    assert service["TimeoutStopSec"] > 600


def test_what_a_service_needs_starts_before_it_at_boot_too():
    wiki = ("wiki", {"containers": {"web": {}, "worker": {}}})
    assert units(wiki, needs="wiki")["notes.pod"]["definition"]["Unit"] == {
        "After": ["wiki-web.service", "wiki-worker.service"]
    }


def test_that_order_is_no_reason_to_restart():
    wiki = ("wiki", {})
    with_order, without = (
        text.unit("pod", units(wiki, **needs)["notes.pod"]["definition"]) for needs in ({"needs": "wiki"}, {})
    )
    assert with_order.text() != without.text()
    assert with_order.digest() == without.digest()


def test_init_and_timers_run_once():
    made = units(init={"command": "migrate"}, timers={"clean": {"schedule": "daily", "command": "clean"}})
    assert made["notes-init.container"]["definition"]["Service"]["Type"] == "oneshot"
    clean = made["notes-clean.container"]["definition"]
    assert clean["Service"]["Type"] == "oneshot"
    assert clean["Container"]["StartWithPod"] is False


def test_a_service_that_is_to_be_gone_has_no_units():
    entry, _ = schema.complete({"state": "absent"})
    services, _ = catalogue.resolve({"notes": entry}, HOST)
    assert service_units.units(entry, services["notes"]) == []
