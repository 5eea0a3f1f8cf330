"""
What the pillar may say about the infrastructure, and what each mistake is answered with.
"""

import json

import pytest
import yaml
from salt.exceptions import CommandExecutionError
from tree import TREE, load

infrastructure = load("utils", "catalogue_infrastructure")

DEFAULTS = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
COMPONENTS = ("podman", "postgresql", "valkey", "caddy")


class Host:
    """A Debian 13 host of 4 GiB, with what a site says over the defaults, as Salt merges it."""

    def __init__(self):
        self.grains = {"oscodename": "trixie", "mem_total": 3900}
        self.pillar = {"rick": json.loads(json.dumps(DEFAULTS))}

    def says(self, **sections):
        merged = json.loads(json.dumps(DEFAULTS))
        for section, settings in sections.items():
            if isinstance(settings, dict) and isinstance(merged.get(section), dict):
                merged[section].update(settings)
            else:
                merged[section] = settings
        self.pillar = {"rick": merged}

    def settings(self, component):
        return infrastructure.settings(component, self.pillar, self.grains)


@pytest.fixture
def host():
    return Host()


def complaint(function, *arguments):
    with pytest.raises(CommandExecutionError) as raised:
        function(*arguments)
    return str(raised.value)


# --- the defaults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_shipped_defaults_are_valid(host, component):
    assert host.settings(component)


def test_every_setting_has_a_default_in_the_pillar():
    assert {name: set(settings) for name, settings in infrastructure.SETTINGS.items()} == {
        name: set(DEFAULTS[name]) for name in infrastructure.SETTINGS
    }
    assert set(DEFAULTS) == set(infrastructure.SETTINGS)


def test_podman_has_what_the_pillar_says(host):
    host.says(
        podman={"unqualified_search_registries": ["registry.example.org:5000/mirror"], "remove_rootless": ["old.user"]}
    )
    assert host.settings("podman") == {
        "unqualified_search_registries": ["registry.example.org:5000/mirror"],
        "remove_rootless": ["old.user"],
    }


@pytest.mark.parametrize(("codename", "version"), [("trixie", "17"), ("forky", "18")])
def test_postgresql_is_the_release_s_own(host, codename, version):
    host.grains["oscodename"] = codename
    postgresql = host.settings("postgresql")
    assert postgresql["version"] == version
    assert postgresql["unit"] == f"postgresql@{version}-main.service"
    assert postgresql["config_directory"] == f"/etc/postgresql/{version}/main"


def test_another_release_is_refused(host):
    host.grains["oscodename"] = "bookworm"
    assert complaint(host.settings, "postgresql") == ("Debian release 'bookworm' is not supported: trixie or forky is")


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pillar_data", [{}, {"rick": None}, {"rick": ["postgresql"]}, {"rick": {"services": {}}}])
def test_a_pillar_without_rick_says_where_to_look(host, pillar_data):
    host.pillar = pillar_data
    message = complaint(host.settings, "valkey")
    assert "the pillar has no rick" in message
    assert "/etc/rick-infra/pillar/site.sls" in message


def test_an_unknown_component_is_refused(host):
    assert (
        complaint(host.settings, "mysql")
        == "no infrastructure named 'mysql': podman, postgresql, valkey, caddy or authentik"
    )


def test_a_misspelt_key_gets_a_suggestion(host):
    host.says(valkey={"appendonli": True})
    assert complaint(host.settings, "valkey") == (
        "rick:valkey: unknown setting 'appendonli' (did you mean 'appendonly'?)"
    )


def test_a_key_like_no_other_gets_the_list_of_keys(host):
    host.says(podman={"zzz": 1})
    assert complaint(host.settings, "podman") == (
        "rick:podman: unknown setting 'zzz' (known: unqualified_search_registries, remove_rootless)"
    )


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_misspelt_section_is_no_silent_default(host, component):
    host.says(valky={"maxmemory": 64})
    assert complaint(host.settings, component) == "rick: unknown setting 'valky' (did you mean 'valkey'?)"


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
def test_a_value_of_the_wrong_kind_is_named_with_its_place(host, section, key, value, message):
    host.says(**{section: {key: value}})
    assert complaint(host.settings, section) == message


@pytest.mark.parametrize("section", COMPONENTS)
@pytest.mark.parametrize("value", [None, [], "text", 7])
def test_a_section_that_is_no_mapping_is_refused(host, section, value):
    host.says(**{section: value})
    assert complaint(host.settings, section) == f"rick:{section}: {value!r} is not a mapping of settings"


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
def test_what_protects_the_socket_is_not_for_settings(host, section, key):
    host.says(**{section: {"settings": {key: "x"}}})
    assert complaint(host.settings, section) == (
        f"rick:{section}:settings: {key} is decided by the tree, because the socket's protection rests on it"
    )


@pytest.mark.parametrize(("section", "key"), [("valkey", "masterauth"), ("postgresql", "primary_conninfo")])
def test_a_secret_is_not_for_settings(host, section, key):
    host.says(**{section: {"settings": {key: "hunter2hunter2"}}})
    message = complaint(host.settings, section)
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
def test_a_setting_with_a_place_of_its_own_is_sent_there(host, section, key, place):
    host.says(**{section: {"settings": {key: 1}}})
    assert complaint(host.settings, section) == (f"rick:{section}:settings: {key} has a place of its own, {place}")


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
def test_what_the_configuration_cannot_hold_is_no_name_of_a_setting(host, section, key):
    host.pillar["rick"][section]["settings"] = {key: "x"}
    assert complaint(host.settings, section) == (f"rick:{section}:settings: {key!r} is not the name of a setting")


@pytest.mark.parametrize("section", ["postgresql", "valkey"])
@pytest.mark.parametrize(
    "value", ["a\nport 6379", "a\rb", "a\x00b", "a\u2028b", [1], {"a": 1}, None, float("nan"), float("inf")]
)
def test_a_value_that_is_not_one_line_is_refused(host, section, value):
    host.pillar["rick"][section]["settings"] = {"timeout": value}
    assert complaint(host.settings, section) == (
        f"rick:{section}:settings:timeout: {value!r} is not one line of text, a number, true or false"
    )


def test_all_mistakes_are_reported_at_once(host):
    host.says(
        valky={},
        valkey={"maxmemory": "1g", "appendfsync": "never", "apendonly": True, "settings": {"port": 1, "timeout": None}},
    )
    lines = complaint(host.settings, "valkey").splitlines()
    assert len(lines) == 6
    assert {line.split(": ")[0] for line in lines} == {
        "rick",
        "rick:valkey",
        "rick:valkey:maxmemory",
        "rick:valkey:appendfsync",
        "rick:valkey:settings",
        "rick:valkey:settings:timeout",
    }


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
    host, mem_total, shared_buffers, effective_cache_size, work_mem, maintenance_work_mem, maxmemory
):
    host.grains["mem_total"] = mem_total
    settings = host.settings("postgresql")["settings"]
    assert settings["shared_buffers"] == f"'{shared_buffers}MB'"
    assert settings["effective_cache_size"] == f"'{effective_cache_size}MB'"
    assert settings["work_mem"] == f"'{work_mem}MB'"
    assert settings["maintenance_work_mem"] == f"'{maintenance_work_mem}MB'"
    assert host.settings("valkey")["settings"]["maxmemory"] == f"{maxmemory}mb"


@pytest.mark.parametrize("mem_total", range(3904, 3967, 7))
def test_a_few_mebibytes_more_or_less_at_boot_change_nothing(host, mem_total):
    host.grains["mem_total"] = 3904
    expected = [host.settings(component) for component in COMPONENTS]
    host.grains["mem_total"] = mem_total
    assert [host.settings(component) for component in COMPONENTS] == expected


def test_a_figure_in_the_pillar_beats_the_derived_one(host):
    host.says(postgresql={"shared_buffers": 300, "work_mem": 5}, valkey={"maxmemory": 99})
    settings = host.settings("postgresql")["settings"]
    assert (settings["shared_buffers"], settings["work_mem"]) == ("'300MB'", "'5MB'")
    assert host.settings("valkey")["settings"]["maxmemory"] == "99mb"


# --- what becomes of a value -----------------------------------------------------------------------------------------


def test_further_settings_are_added(host):
    host.says(
        postgresql={"settings": {"log_min_duration_statement": 500, "jit": False, "pg_trgm.limit": 0.3}},
        valkey={"settings": {"Maxmemory_Samples": 7, "activerehashing": False, "save": ""}},
    )
    postgresql = host.settings("postgresql")["settings"]
    assert postgresql["log_min_duration_statement"] == "500"
    assert postgresql["jit"] == "off"
    assert postgresql["pg_trgm.limit"] == "'0.3'"
    valkey = host.settings("valkey")["settings"]
    assert valkey["maxmemory-samples"] == "7"
    assert valkey["activerehashing"] == "no"
    assert valkey["save"] == ""


DATABASE_SERVER = {"user": "rick", "password": {"file": "/etc/rick-infra/db.key"}}


def test_a_server_elsewhere_is_completed(host):
    host.says(postgresql={"servers": {"db.example.org": DATABASE_SERVER}})
    assert host.settings("postgresql")["servers"]["db.example.org"] == {
        **DATABASE_SERVER,
        "port": 5432,
        "database": "postgres",
        "authority": "/etc/ssl/certs/ca-certificates.crt",
    }


@pytest.mark.parametrize(
    ("name", "about", "told"),
    [
        ("db", {"user": "rick"}, "db:password: missing; say {file: /path}"),
        ("db", {"password": {"pillar": "db"}}, "db:user: missing; say which role"),
        ("db", {**DATABASE_SERVER, "prot": 1}, "db: unknown 'prot' (did you mean 'port'?)"),
        ("db", {**DATABASE_SERVER, "port": "5432"}, "db:port: '5432' is not a number"),
        ("db", {**DATABASE_SERVER, "port": 70000}, "db:port: 70000 is not a port"),
        ("db", {**DATABASE_SERVER, "authority": "ca.crt"}, "db:authority: 'ca.crt' is not the absolute path"),
        ("db", {**DATABASE_SERVER, "password": {"file": "db.key"}}, "db:password: file: 'db.key' is not an absolute"),
        ("DB:1", DATABASE_SERVER, "DB:1: 'DB:1' is not the name of a host"),
    ],
)
def test_a_mistake_about_a_server_elsewhere_is_told_with_its_place(host, name, about, told):
    host.says(postgresql={"servers": {name: about}})
    assert f"rick:postgresql:servers:{told}" in complaint(host.settings, "postgresql")


@pytest.mark.parametrize("about", ["hunter2hunter2", {**DATABASE_SERVER, "password": "hunter2hunter2"}])
def test_a_password_written_among_the_settings_is_refused_and_not_shown(host, about):
    host.says(postgresql={"servers": {"db": about}})
    message = complaint(host.settings, "postgresql")
    assert message.startswith("rick:postgresql:servers:db")
    assert "hunter2" not in message
