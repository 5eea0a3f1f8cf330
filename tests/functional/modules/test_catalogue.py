"""
The shipped pillar, a site's own and the files of services, compiled by Salt and read by the catalogue.
"""

import json
import sys

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
        "servers": {},
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
"""
    )
    settings = host.modules["catalogue.infrastructure"]("postgresql")["settings"]
    assert settings["max_connections"] == "300"
    assert settings["log_min_duration_statement"] == "500"
    assert settings["shared_buffers"] == "'960MB'"


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


# --- services --------------------------------------------------------------------------------------------------------

SERVICES = {
    "wiki": "image: wiki:1\nport: 80\nneeds: notes\nsite: wiki.example\n",
    "notes": "image: notes:1\nport: 8080\npostgres: true\nvalkey: true\n",
    "old": "state: absent\ndata: delete\n",
}


def names(services):
    return [service["name"] for service in services]


def test_services_are_resolved_in_the_order_of_their_needs(minion):
    host = minion(services=SERVICES)
    assert host.modules["catalogue.check"]() == "3 services, no errors"
    services = host.modules["catalogue.services"]()
    assert names(services) == ["notes", "old", "wiki"]
    json.dumps(services)
    notes = services[0]
    assert notes["site"] is None
    assert notes["postgres"]["database"] == "notes"
    assert notes["refused"] is None
    assert host.modules["catalogue.part"]("notes", "valkey", "prefix") == "notes:"
    assert list(host.modules["catalogue.list"]()) == ["notes", "old", "wiki"]
    assert host.modules["catalogue.impact"]("notes")["ordered_after"] == ["wiki"]
    assert "retcode" not in host.context


def test_the_next_run_does_not_validate_what_has_not_changed(minion, tmp_path):
    first = minion(services=SERVICES).modules["catalogue.services"]()
    assert (tmp_path / "state/catalogue.json").stat().st_mode & 0o777 == 0o600
    host = minion(services=dict(reversed(SERVICES.items())))
    loaded = [name for name in sys.modules if name.endswith("utils.catalogue_schema")]
    for name in loaded:
        sys.modules.pop(name)
    assert host.modules["catalogue.services"]() == first
    assert not [name for name in sys.modules if name.endswith("utils.catalogue_schema")]


@pytest.mark.parametrize("damage", [None, "", "{"])
def test_what_is_remembered_may_be_lost(minion, tmp_path, damage):
    first = minion(services=SERVICES).modules["catalogue.services"]()
    (tmp_path / "state/catalogue.json").unlink()
    if damage is not None:
        (tmp_path / "state/catalogue.json").write_text(damage)
    assert minion(services=SERVICES).modules["catalogue.services"]() == first


def test_every_error_is_told_at_once_and_stops_all_services(minion):
    host = minion(
        services={
            **SERVICES,
            "typo": "image: a:1\npostgres: {databse: x}\nport: '80'\n",
            "clash": "image: a:1\nport: 1\nsite: wiki.example\nneeds: nonesuch\n",
            "broken": "image: [\n",
            "root": "image: a:1\n",
        }
    )
    lines = host.modules["catalogue.check"]().splitlines()
    assert host.context["retcode"] == 1
    assert [line.partition(": ")[0].rpartition("/")[2] for line in lines] == [
        "broken.yaml:2",
        "rick:services:clash:needs",
        "rick:services:root",
        "rick:services:typo:port",
        "rick:services:typo:postgres",
        "rick:services:wiki:site:domains:0",
    ]
    assert host.modules["catalogue.services"]() == []
    with pytest.raises(CommandExecutionError, match="clash:needs"):
        host.modules["catalogue.show"]("notes")


@pytest.mark.parametrize("test", [True, False])
def test_the_state_fails_with_every_error_or_changes_nothing(minion, test):
    for services, result in ((SERVICES, True), ({"notes": "image: a\nfoo: 1\n"}, False)):
        host = minion(services=services)
        (answer,) = host.modules["state.single"]("catalogue.valid", "The catalogue is valid", test=test).values()
        assert (answer["result"], answer["changes"]) == (result, {})
        assert len(answer["comment"].splitlines()) == (1 if result else 2)


def test_a_wrong_catalogue_leaves_the_infrastructure_alone(minion):
    host = minion(services={"notes": "image: a\n"})
    assert host.modules["catalogue.infrastructure"]("postgresql")["version"] == "17"


@pytest.mark.parametrize("only", [["wiki"], "wiki"])
def test_one_run_can_be_about_some_services(minion, only):
    host = minion(services=SERVICES)
    high = host.modules["state.show_sls"]("services", pillar={"rick": {"only": only}})
    assert isinstance(high, dict), high
    told = " ".join(high)
    assert "Service wiki has its pod" in told
    assert "Service notes" not in told
    assert "Service old" not in told


def test_asking_for_a_service_that_is_not_there_fails_the_run(minion):
    host = minion(services=SERVICES, site="rick: {only: [wikki]}\n")
    assert host.modules["catalogue.problems"]() == ["rick:only: there is no service 'wikki' (did you mean 'wiki'?)"]
    assert host.modules["catalogue.services"]() == []


def test_a_bind_of_a_sockets_directory_is_refused_and_another_is_not(minion):
    bind = "image: localhost/x:1\nallow_binds: true\nbinds: [{{source: {}, path: /x}}]\n"
    host = minion(services={"open": bind.format("/run"), "fine": bind.format("/srv")})
    problems = host.modules["catalogue.problems"]()
    assert problems
    assert all(problem.startswith("rick:services:open:binds") for problem in problems)
