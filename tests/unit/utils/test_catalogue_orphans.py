"""
What services have left behind, by whose it was.
"""

import pytest
from tree import load

orphans = load("utils", "catalogue_orphans")


def found(**what):
    nothing = {
        "accounts": {},
        "tenants": {},
        "elsewhere": {},
        "dumps": {},
        "valkey_instances": [],
        "private_sockets": [],
        "valkey_users": [],
        "sites": [],
        "units": {},
        "undeclared": {},
        "generations": {},
        "secrets": [],
        "directories": [],
    }
    return {**nothing, **what}


EVERYTHING = found(
    accounts={"old": {"service": "old"}, "notes": {"service": "notes"}},
    tenants={
        "old": {"roles": ["old"], "readonly_roles": ["reader"], "databases": ["old"], "locked": True},
        "notes": {"roles": ["notes"], "readonly_roles": [], "databases": ["notes"], "locked": False},
    },
    dumps={"old": [], "notes": ["/dumps/notes/1.dump"]},
    valkey_instances=[
        {"name": "old", "declared": True, "data": True},
        {"name": "notes", "declared": False, "data": False},
    ],
    private_sockets=[
        {"unit": "rick-private-old-postgresql", "name": "old"},
        {"unit": "rick-private-notes-valkey", "name": "notes"},
    ],
    valkey_users=[
        {"user": "old", "instance": None},
        {"user": "old", "instance": "old"},
        {"user": "notes", "instance": None},
    ],
    sites=["old", "notes"],
    units={"old.pod": "old", "old-web.container": "old", "old-clean.timer": "old", "notes.pod": "notes"},
    undeclared={"old": {"containers": [{"container": "old-web"}, {"container": "old-infra"}], "networks": ["old"]}},
    generations={
        "old": ["/var/lib/rick-infra/services/old", "localhost/rick-infra/old/old-web:healthy"],
        "notes": ["/var/lib/rick-infra/services/notes"],
    },
    secrets=["old.token", "old.token", "notes.valkey", "valkey-admin"],
    directories=["old", "notes"],
)
NOTES = {"notes": {"state": "present", "postgres": {"database": "notes"}, "valkey": None}}


def test_on_a_host_as_declared_nothing_is_left():
    assert orphans.of(EVERYTHING, ["notes", "old"], NOTES) == {}


def test_all_that_is_left_of_a_service_is_told_with_the_way_out():
    (service,) = orphans.of(EVERYTHING, ["notes"], NOTES).items()
    assert service == (
        "old",
        {
            "user": ["old"],
            "databases": ["old"],
            "roles": ["old", "reader"],
            "valkey_user": ["old"],
            "valkey_instance": ["old"],
            "valkey_data": ["old"],
            "dumps": ["old"],
            "private_sockets": ["rick-private-old-postgresql"],
            "site": ["old"],
            "directory": ["old"],
            "units": ["old.pod", "old-web.container", "old-clean.timer"],
            "containers": ["old-web", "old-infra"],
            "networks": ["old"],
            "generations": ["/var/lib/rick-infra/services/old", "localhost/rick-infra/old/old-web:healthy"],
            "secrets": ["old.token"],
            "way_out": "write /etc/rick-infra/services/old.yaml with state: absent and data: archive (or delete), "
            "apply the highstate, then remove the file",
        },
    )


@pytest.mark.parametrize("postgres", [None, {"database": "other"}])
def test_a_database_that_an_entry_no_longer_mentions_is_left(postgres):
    services = {"notes": {**NOTES["notes"], "postgres": postgres}}
    assert orphans.of(EVERYTHING, ["notes", "old"], services)["notes"]["databases"] == ["notes"]


def test_the_data_of_what_is_to_be_gone_is_no_orphan():
    assert orphans.of(EVERYTHING, ["notes", "old"], {"notes": {"state": "absent", "postgres": None}}) == {}


@pytest.mark.parametrize("valkey", [None, {"isolation": "prefix"}])
def test_the_data_of_a_valkey_that_a_service_no_longer_has_are_left_as_its_databases_are(valkey):
    kept = {**EVERYTHING, "valkey_instances": [{"name": "notes", "declared": False, "data": True}]}
    services = {"notes": {"state": "present", "postgres": None, "valkey": valkey}}
    left = orphans.of(kept, ["notes", "old"], services)["notes"]
    assert (left["databases"], left["valkey_data"]) == (["notes"], ["notes"])
    assert "dropdb" in left["way_out"]
    assert "/var/lib/valkey-notes" in left["way_out"]
    services["notes"]["valkey"] = {"isolation": "instance"}
    assert "valkey_data" not in orphans.of(kept, ["notes", "old"], services)["notes"]


def test_what_an_entry_had_once_is_left_and_what_it_names_gets_its_file_back():
    def about(container, unit, infra=False):
        return {"container": container, "unit": unit, "infra": infra}

    containers = [
        about("notes-infra", "notes-pod.service", infra=True),
        about("notes-web", "notes-web.service"),
        about("notes-old", "notes-old.service"),
    ]
    undeclared = {"notes": {"containers": containers, "networks": ["notes", "notes-old"]}}
    units = [{"name": "notes", "kind": "pod"}, {"name": "notes-web", "kind": "container"}]
    services = {"notes": {**NOTES["notes"], "units": units}}
    (left,) = orphans.of({**EVERYTHING, "undeclared": undeclared}, ["notes", "old"], services).values()
    assert (left["containers"], left["networks"]) == (["notes-old"], ["notes-old"])
    assert "podman rm --force NAME" in left["way_out"]
    services["notes"]["state"] = "absent"
    assert orphans.of({**EVERYTHING, "undeclared": undeclared}, ["notes", "old"], services) == {}


def test_what_is_left_at_a_server_elsewhere_is_told_with_its_name():
    there = {"databases": ["notes"], "roles": ["notes"], "readonly_roles": []}
    host = {**found(), "elsewhere": {"db": {"notes": there, "gone": there}}}
    notes = {"state": "present", "postgres": {"database": "notes"}, "valkey": None, "units": []}
    left = orphans.of(host, ["notes"], {"notes": notes})
    assert left["gone"]["databases"] == left["gone"]["roles"] == ["notes at db"]
    assert left["notes"]["databases"] == ["notes at db"]
    assert "dropdb" in left["notes"]["way_out"]
    notes["postgres"]["server"] = "db"
    assert "notes" not in orphans.of(host, ["notes"], {"notes": notes})
