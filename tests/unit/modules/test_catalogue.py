"""
What the pillar may say, and what each mistake is answered with.
"""

import json

import pytest
import yaml
from salt.exceptions import CommandExecutionError
from tree import TREE, load

catalogue = load("modules", "catalogue")

DEFAULTS = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
COMPONENTS = ("podman", "postgresql", "valkey")


@pytest.fixture(autouse=True)
def host(monkeypatch):
    """A Debian 13 host of 4 GiB."""
    grains = {"oscodename": "trixie", "mem_total": 3900}
    monkeypatch.setattr(catalogue, "__grains__", grains, raising=False)
    return grains


@pytest.fixture
def pillar(monkeypatch):
    """Set what a site says over the defaults, as Salt merges it."""

    def set_pillar(**sections):
        merged = json.loads(json.dumps(DEFAULTS))
        for section, settings in sections.items():
            if isinstance(settings, dict) and isinstance(merged.get(section), dict):
                merged[section].update(settings)
            else:
                merged[section] = settings
        monkeypatch.setattr(catalogue, "__pillar__", {"rick": merged}, raising=False)

    set_pillar()
    return set_pillar


def complaint(function, *arguments):
    with pytest.raises(CommandExecutionError) as raised:
        function(*arguments)
    return str(raised.value)


# --- the defaults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_shipped_defaults_are_valid(pillar, component):
    assert catalogue.infrastructure(component)


def test_every_setting_has_a_default_in_the_pillar():
    assert {name: set(settings) for name, settings in catalogue.SETTINGS.items()} == {
        name: set(DEFAULTS[name]) for name in catalogue.SETTINGS
    }
    assert set(DEFAULTS) == {*catalogue.SETTINGS, "examples"}


def test_the_defaults_ask_for_no_example(pillar):
    assert catalogue.examples() == []
    assert catalogue.services() == []


def test_podman_has_what_the_pillar_says(pillar):
    pillar(
        podman={"unqualified_search_registries": ["registry.example.org:5000/mirror"], "remove_rootless": ["old.user"]}
    )
    assert catalogue.infrastructure("podman") == {
        "unqualified_search_registries": ["registry.example.org:5000/mirror"],
        "remove_rootless": ["old.user"],
    }


@pytest.mark.parametrize(("codename", "version"), [("trixie", "17"), ("forky", "18")])
def test_postgresql_is_the_release_s_own(pillar, host, codename, version):
    host["oscodename"] = codename
    postgresql = catalogue.infrastructure("postgresql")
    assert postgresql["version"] == version
    assert postgresql["unit"] == f"postgresql@{version}-main.service"
    assert postgresql["config_directory"] == f"/etc/postgresql/{version}/main"


def test_another_release_is_refused(pillar, host):
    host["oscodename"] = "bookworm"
    assert complaint(catalogue.infrastructure, "postgresql") == (
        "Debian release 'bookworm' is not supported: trixie or forky is"
    )


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pillar_data", [{}, {"rick": None}, {"rick": ["postgresql"]}])
def test_a_pillar_without_rick_says_where_to_look(monkeypatch, pillar_data):
    monkeypatch.setattr(catalogue, "__pillar__", pillar_data, raising=False)
    message = complaint(catalogue.infrastructure, "valkey")
    assert "the pillar has no rick" in message
    assert "/etc/rick-infra/pillar/site.sls" in message


def test_an_unknown_component_is_refused(pillar):
    assert (
        complaint(catalogue.infrastructure, "mysql") == "no infrastructure named 'mysql': podman, postgresql or valkey"
    )


def test_a_misspelt_key_gets_a_suggestion(pillar):
    pillar(valkey={"appendonli": True})
    assert complaint(catalogue.infrastructure, "valkey") == (
        "rick:valkey: unknown setting 'appendonli' (did you mean 'appendonly'?)"
    )


def test_a_key_like_no_other_gets_the_list_of_keys(pillar):
    pillar(podman={"zzz": 1})
    assert complaint(catalogue.infrastructure, "podman") == (
        "rick:podman: unknown setting 'zzz' (known: unqualified_search_registries, remove_rootless)"
    )


@pytest.mark.parametrize("function", [catalogue.examples, catalogue.notes, lambda: catalogue.infrastructure("podman")])
def test_a_misspelt_section_is_no_silent_default(pillar, function):
    pillar(valky={"maxmemory": 64})
    assert complaint(function) == "rick: unknown setting 'valky' (did you mean 'valkey'?)"


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("postgresql", "max_connections", "200", "rick:postgresql:max_connections: '200' is not int"),
        ("postgresql", "max_connections", True, "rick:postgresql:max_connections: True is not int"),
        ("postgresql", "max_connections", None, "rick:postgresql:max_connections: None is not int"),
        ("postgresql", "max_connections", 0, "rick:postgresql:max_connections: 0 is not above zero"),
        ("postgresql", "shared_buffers", "1GB", "rick:postgresql:shared_buffers: '1GB' is not int or null"),
        ("postgresql", "shared_buffers", False, "rick:postgresql:shared_buffers: False is not int or null"),
        ("postgresql", "work_mem", -4, "rick:postgresql:work_mem: -4 is not above zero"),
        ("postgresql", "settings", [], "rick:postgresql:settings: [] is not dict"),
        ("valkey", "appendonly", "yes", "rick:valkey:appendonly: 'yes' is not bool"),
        ("valkey", "appendonly", 1, "rick:valkey:appendonly: 1 is not bool"),
        (
            "valkey",
            "appendfsync",
            "sometimes",
            "rick:valkey:appendfsync: 'sometimes' is not one of always, everysec, no",
        ),
        ("podman", "remove_rootless", "olduser", "rick:podman:remove_rootless: 'olduser' is not list"),
        ("podman", "remove_rootless", ["a b"], "rick:podman:remove_rootless: 'a b' is not the name of a user"),
        (
            "podman",
            "unqualified_search_registries",
            [1],
            "rick:podman:unqualified_search_registries: 1 is not a registry, such as registry.example.org:5000",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_with_its_place(pillar, section, key, value, message):
    pillar(**{section: {key: value}})
    assert complaint(catalogue.infrastructure, section) == message


@pytest.mark.parametrize("section", COMPONENTS)
@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_a_section_that_is_no_mapping_is_refused(pillar, section, value):
    pillar(**{section: value})
    assert complaint(catalogue.infrastructure, section) == f"rick:{section}: {value!r} is not a mapping of settings"


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("postgresql", "listen_addresses"),
        ("postgresql", "Listen_Addresses"),
        ("postgresql", "include"),
        ("postgresql", "include_if_exists"),
        ("valkey", "port"),
        ("valkey", "PORT"),
        ("valkey", "enable_debug_command"),
        ("valkey", "aclfile"),
    ],
)
def test_what_protects_the_socket_is_not_for_settings(pillar, section, key):
    pillar(**{section: {"settings": {key: "x"}}})
    assert complaint(catalogue.infrastructure, section) == (
        f"rick:{section}:settings: {key} is decided by the tree, because the socket's protection rests on it"
    )


@pytest.mark.parametrize(("section", "key"), [("valkey", "masterauth"), ("postgresql", "primary_conninfo")])
def test_a_secret_is_not_for_settings(pillar, section, key):
    pillar(**{section: {"settings": {key: "hunter2hunter2"}}})
    message = complaint(catalogue.infrastructure, section)
    assert message == f"rick:{section}:settings: {key} is not accepted, because it would show a secret"
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("section", "key", "place"),
    [
        ("postgresql", "max_connections", "rick:postgresql:max_connections"),
        ("postgresql", "Shared_Buffers", "rick:postgresql:shared_buffers"),
        ("valkey", "maxmemory-policy", "rick:valkey:maxmemory_policy"),
    ],
)
def test_a_setting_with_a_place_of_its_own_is_sent_there(pillar, section, key, place):
    pillar(**{section: {"settings": {key: 1}}})
    assert complaint(catalogue.infrastructure, section) == (
        f"rick:{section}:settings: {key} has a place of its own, {place}"
    )


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("postgresql", "log-statement"),
        ("postgresql", "a b"),
        ("postgresql", "a = 1\nb"),
        ("postgresql", "größe"),
        ("postgresql", ""),
        ("postgresql", 1),
        ("valkey", "timeout 0\nport"),
        ("valkey", 1),
        ("valkey", True),
    ],
)
def test_what_the_configuration_cannot_hold_is_no_name_of_a_setting(pillar, section, key):
    pillar()
    catalogue.__pillar__["rick"][section]["settings"] = {key: "x"}
    assert complaint(catalogue.infrastructure, section) == (
        f"rick:{section}:settings: {key!r} is not the name of a setting"
    )


@pytest.mark.parametrize("section", ["postgresql", "valkey"])
@pytest.mark.parametrize(
    "value", ["a\nport 6379", "a\rb", "a\x00b", "a\u2028b", [1], {"a": 1}, None, float("nan"), float("inf")]
)
def test_a_value_that_is_not_one_line_is_refused(pillar, section, value):
    pillar()
    catalogue.__pillar__["rick"][section]["settings"] = {"timeout": value}
    assert complaint(catalogue.infrastructure, section) == (
        f"rick:{section}:settings:timeout: {value!r} is not one line of text, a number, true or false"
    )


def test_all_mistakes_are_reported_at_once(pillar):
    pillar(
        valky={},
        valkey={"maxmemory": "1g", "appendfsync": "never", "apendonly": True, "settings": {"port": 1, "timeout": None}},
    )
    lines = complaint(catalogue.infrastructure, "valkey").splitlines()
    assert len(lines) == 6
    assert {line.split(": ")[0] for line in lines} == {
        "rick",
        "rick:valkey",
        "rick:valkey:maxmemory",
        "rick:valkey:appendfsync",
        "rick:valkey:settings",
        "rick:valkey:settings:timeout",
    }


# --- examples and services -------------------------------------------------------------------------------------------


def test_examples_that_are_no_list_are_refused(pillar):
    pillar(examples="notes")
    assert complaint(catalogue.examples) == "rick:examples: 'notes' is not a list; for example [notes]"


def test_every_unknown_example_is_named(pillar):
    pillar(examples=["note", {"a": 1}])
    assert complaint(catalogue.examples).splitlines() == [
        "rick:examples: no example named 'note' (did you mean 'notes'?)",
        "rick:examples: no example named {'a': 1} (known: notes)",
    ]


def test_an_example_named_twice_runs_once(pillar):
    pillar(examples=["notes", "notes"])
    assert catalogue.examples() == ["notes"]
    assert len(catalogue.services()) == 1


@pytest.mark.parametrize("listen", ["localhost", "", "127.0.0.1:80", "10.0.0.0/8", "fe80::1%eth0", "::1%\nx"])
def test_a_bad_listen_address_is_named(pillar, listen):
    pillar(notes={"listen": listen})
    assert complaint(catalogue.notes) == f"rick:notes:listen: {listen!r} is not an IP address"


def test_a_bad_address_and_a_bad_port_are_reported_together(pillar):
    pillar(notes={"listen": "here", "port": 65536})
    assert complaint(catalogue.notes).splitlines() == [
        "rick:notes:listen: 'here' is not an IP address",
        "rick:notes:port: 65536 is not a port (1 to 65535)",
    ]


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080/health"),
        ("0.0.0.0", "http://127.0.0.1:8080/health"),  # noqa: S104 - what an administrator may say
        ("::", "http://[::1]:8080/health"),
        ("fd00::5", "http://[fd00::5]:8080/health"),
        ("192.0.2.7", "http://192.0.2.7:8080/health"),
    ],
)
def test_health_is_asked_where_the_service_listens(pillar, listen, url):
    pillar(examples=["notes"], notes={"listen": listen})
    (service,) = catalogue.services()
    assert service["health_url"] == url
    assert {"name", "user", "containers", "groups", "database", "valkey_user", "secret"} < set(service)


# --- figures derived from the host -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mem_total", "shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem", "maxmemory"),
    [
        (1, 128, 128, 4, 64, 64),
        (480, 128, 224, 4, 64, 64),
        (3900, 960, 1920, 4, 240, 480),
        (64_000, 8192, 32_000, 64, 1024, 8000),
        (4_000_000, 8192, 2_000_000, 64, 1024, 500_000),
    ],
)
def test_memory_figures_follow_the_host(
    pillar, host, mem_total, shared_buffers, effective_cache_size, work_mem, maintenance_work_mem, maxmemory
):
    host["mem_total"] = mem_total
    settings = catalogue.infrastructure("postgresql")["settings"]
    assert settings["shared_buffers"] == f"'{shared_buffers}MB'"
    assert settings["effective_cache_size"] == f"'{effective_cache_size}MB'"
    assert settings["work_mem"] == f"'{work_mem}MB'"
    assert settings["maintenance_work_mem"] == f"'{maintenance_work_mem}MB'"
    assert catalogue.infrastructure("valkey")["settings"]["maxmemory"] == f"{maxmemory}mb"


@pytest.mark.parametrize("mem_total", range(3904, 3967, 7))
def test_a_few_mebibytes_more_or_less_at_boot_change_nothing(pillar, host, mem_total):
    host["mem_total"] = 3904
    expected = [catalogue.infrastructure(component) for component in COMPONENTS]
    host["mem_total"] = mem_total
    assert [catalogue.infrastructure(component) for component in COMPONENTS] == expected


def test_a_figure_in_the_pillar_beats_the_derived_one(pillar):
    pillar(postgresql={"shared_buffers": 300, "work_mem": 5}, valkey={"maxmemory": 99})
    settings = catalogue.infrastructure("postgresql")["settings"]
    assert (settings["shared_buffers"], settings["work_mem"]) == ("'300MB'", "'5MB'")
    assert catalogue.infrastructure("valkey")["settings"]["maxmemory"] == "99mb"


# --- what becomes of a value -----------------------------------------------------------------------------------------


def test_further_settings_are_added(pillar):
    pillar(
        postgresql={"settings": {"log_min_duration_statement": 500, "jit": False, "pg_trgm.limit": 0.3}},
        valkey={"settings": {"Maxmemory_Samples": 7, "activerehashing": False, "save": ""}},
    )
    postgresql = catalogue.infrastructure("postgresql")["settings"]
    assert postgresql["log_min_duration_statement"] == "500"
    assert postgresql["jit"] == "off"
    assert postgresql["pg_trgm.limit"] == "'0.3'"
    valkey = catalogue.infrastructure("valkey")["settings"]
    assert valkey["maxmemory-samples"] == "7"
    assert valkey["activerehashing"] == "no"
    assert valkey["save"] == ""
