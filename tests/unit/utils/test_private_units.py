"""
The units of a private socket as text.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

private_units = load("utils", "private_units")

TARGET = "/run/postgresql/.s.PGSQL.5432"
ARGUMENTS = {"name": "notes", "target": TARGET, "user": "notes", "group": "postgres-clients"}


def files(**changed):
    texts = private_units.files(**{**ARGUMENTS, **changed})
    return {path.rpartition(".")[2]: text for path, text in texts.items()}


def test_the_socket_keeps_its_name_in_a_directory_of_the_service():
    at = private_units.places("notes", TARGET)
    assert at["path"] == "/run/rick-infra/notes/.s.PGSQL.5432"
    assert at["unit"] == "rick-private-notes-postgresql"


def test_two_targets_of_one_directory_are_told_apart_by_kind():
    at = private_units.places("notes", "/run/postgresql/.s.PGSQL.5433", kind="second")
    assert at["unit"] == "rick-private-notes-second"


name = st.from_regex(private_units.NAMES["name"], fullmatch=True)
kind = st.from_regex(private_units.NAMES["kind"], fullmatch=True)


@given(st.tuples(name, kind), st.tuples(name, kind))
def test_different_services_never_share_a_unit(first, second):
    units = [private_units.places(one, TARGET, kind=other)["unit"] for one, other in (first, second)]
    assert (units[0] == units[1]) == (first == second)


def test_the_proxy_is_the_service_s_user_in_the_client_group():
    lines = files(user="wiki")["service"].splitlines()
    assert "User=wiki" in lines
    assert "SupplementaryGroups=postgres-clients" in lines
    assert f"ExecStart={private_units.PROXY} --connections-max=256 {TARGET}" in lines


def test_a_restart_of_the_daemon_does_not_end_the_proxy():
    text = files(daemon="postgresql@17-main.service")["service"]
    assert "Wants=postgresql@17-main.service" in text.splitlines()
    assert "After=rick-private-notes-postgresql.socket postgresql@17-main.service" in text.splitlines()
    assert "Requires=rick-private-notes-postgresql.socket" in text.splitlines()


def test_without_a_daemon_nothing_is_wanted():
    assert "Wants=" not in files()["service"]


def test_only_root_gets_to_the_directory_on_the_host():
    assert "d /run/rick-infra 0700 root root - -" in files()["conf"].splitlines()


@pytest.mark.parametrize(
    "changed", [{"user": "wiki"}, {"group": "others"}, {"daemon": "a.service"}, {"connections_max": 9}]
)
def test_every_change_of_the_definition_changes_its_digest(changed):
    assert private_units.digest(files()["service"]) != private_units.digest(files(**changed)["service"])


def test_the_digest_of_the_text_is_what_its_process_carries():
    digest = private_units.digest(files()["service"])
    assert private_units.running_digest(f"A=b\0RICK_DEFINITION={digest}\0C=d\0".encode()) == digest
    assert private_units.running_digest(b"A=b\0") is None
    assert private_units.digest("[Service]\n") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "../etc"},
        {"name": "Notes"},
        {"name": "no/tes"},
        {"name": ""},
        {"name": 5},
        {"kind": "a-b"},
        {"user": "%i"},
        {"user": "a b"},
        {"user": "notes\nExecStartPre=/bin/sh"},
        {"group": "a\nb"},
        {"group": None},
        {"daemon": "postgresql"},
        {"daemon": ["a.service", "b c.service"]},
    ],
)
def test_a_name_that_would_mean_something_in_a_unit_is_refused(changed):
    with pytest.raises(SaltInvocationError, match="is not of the form"):
        files(**changed)


def test_root_is_refused_as_user():
    with pytest.raises(SaltInvocationError, match="root's rights"):
        files(user="root")


@pytest.mark.parametrize("number", [0, -1, "many", True, None, 1.5])
def test_a_limit_that_is_no_number_of_connections_is_refused(number):
    with pytest.raises(SaltInvocationError, match="connections_max"):
        files(connections_max=number)
