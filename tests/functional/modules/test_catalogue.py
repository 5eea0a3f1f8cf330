"""
The shipped pillar and a site's own, compiled by Salt and read by the catalogue.
"""

import pytest
from salt.exceptions import CommandExecutionError


def test_without_a_site_s_own_file_the_defaults_hold(minion):
    host = minion()
    assert "_errors" not in host.pillar
    assert host.modules["catalogue.infrastructure"]("podman") == {
        "unqualified_search_registries": [],
        "remove_rootless": [],
    }
    assert host.modules["catalogue.infrastructure"]("postgresql") == {
        "version": "17",
        "unit": "postgresql@17-main.service",
        "config_directory": "/etc/postgresql/17/main",
        "socket": "/run/postgresql/.s.PGSQL.5432",
        "settings": {
            "max_connections": "200",
            "shared_buffers": "'960MB'",
            "effective_cache_size": "'1920MB'",
            "work_mem": "'4MB'",
            "maintenance_work_mem": "'240MB'",
        },
        "decided": [
            *("listen_addresses", "unix_socket_directories", "unix_socket_permissions"),
            *("max_connections", "shared_buffers", "effective_cache_size", "work_mem", "maintenance_work_mem"),
        ],
    }
    assert host.modules["catalogue.infrastructure"]("valkey")["settings"] == {
        "maxmemory": "480mb",
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
    }
    assert host.modules["catalogue.services"]() == []


def test_a_site_says_only_what_differs(minion):
    host = minion(
        site="""\
rick:
  postgresql:
    max_connections: 300
    settings:
      log_min_duration_statement: 500
  examples: [notes]
"""
    )
    settings = host.modules["catalogue.infrastructure"]("postgresql")["settings"]
    assert settings["max_connections"] == "300"
    assert settings["log_min_duration_statement"] == "500"
    assert settings["shared_buffers"] == "'960MB'"
    (service,) = host.modules["catalogue.services"]()
    assert service["health_url"] == "http://127.0.0.1:8080/health"


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("rick: {valkey: {appendonli: yes}}", "rick:valkey: unknown setting 'appendonli' (did you mean 'appendonly'?)"),
        ("rick: {valky: {}}", "rick: unknown setting 'valky' (did you mean 'valkey'?)"),
        ("rick: {valkey: {maxmemory: 1gb}}", "rick:valkey:maxmemory: '1gb' is not int or null"),
        ("rick: {valkey: off}", "rick:valkey: False is not a mapping of settings"),
    ],
)
def test_a_mistake_stops_the_run_before_it_begins(minion, site, message):
    host = minion(site=f"{site}\n")
    with pytest.raises(CommandExecutionError) as raised:
        host.modules["catalogue.infrastructure"]("valkey")
    assert str(raised.value) == message
    (error,) = host.modules["state.apply"]("infra.valkey", test=True)
    assert message in error
    assert host.context["retcode"] != 0


@pytest.mark.parametrize("site", ["rick: {valkey: {\n", "{{ nonesuch() }}\n", "rick: [\n"])
@pytest.mark.parametrize("what", ["infra.podman", None])
def test_a_site_file_that_does_not_render_stops_the_run(minion, site, what):
    host = minion(site=site)
    assert host.pillar["_errors"]
    assert host.pillar["rick"]["valkey"], "the defaults alone would be applied, were it not for the error"
    answer = host.modules["state.apply"](*filter(None, [what]), test=True)
    assert isinstance(answer, list)
    assert "Pillar failed to render" in answer[0]
    assert host.context["retcode"] != 0


def test_an_unsupported_release_is_refused(minion):
    with pytest.raises(CommandExecutionError, match="Debian release 'bookworm' is not supported"):
        minion(release="bookworm").modules["catalogue.infrastructure"]("postgresql")
