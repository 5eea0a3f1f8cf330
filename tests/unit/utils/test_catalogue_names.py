"""
Names fit for everything that is called after a service, and nobody else's.
"""

import pytest
from tree import load

schema = load("utils", "catalogue_schema")
names = load("utils", "catalogue_names")


def claimed(name="notes", **data):
    entry, problems = schema.complete({"image": "a:1", **data})
    assert not problems
    return names.claims(name, entry)


@pytest.mark.parametrize("name", ["a", "notes", "my-app2", "a" * 31])
def test_a_plain_name_is_fit(name):
    assert names.problem(name) is None


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Notes", "lower-case letters"),
        ("1notes", "beginning with a letter"),
        ("no tes", "lower-case letters"),
        ("no_tes", "lower-case letters"),
        ("notes-", "not ending with a dash"),
        ("-notes", "beginning with a letter"),
        ("nötes", "lower-case letters"),
        ("notes\n", "lower-case letters"),
        ("", "lower-case letters"),
        (5, "lower-case letters"),
        ("a" * 32, "it has 32 characters"),
        ("root", "Debian has a user or group of that name"),
        ("mail", "Debian has a user or group of that name"),
        ("postgres", "PostgreSQL's own"),
        ("default", "Valkey's own"),
        ("caddy", "a part of the infrastructure"),
        ("postgres-clients", "a client group"),
        ("pg_read_all_data", "PostgreSQL keeps roles that begin so to itself"),
        ("systemd-x", "systemd's users and units begin so"),
        ("rick-private-notes", "the tree's own units begin so"),
    ],
)
def test_an_unfit_name_is_told_the_rule(name, rule):
    assert rule in names.problem(name)


def test_a_service_takes_the_names_of_its_pod_network_and_containers():
    assert [name for name, _ in claimed()] == [
        "notes",
        "notes-pod.service",
        "notes-network.service",
        "notes-web",
        "notes-web.service",
    ]


def test_each_name_is_told_where_it_comes_from():
    found = claimed(
        containers={"worker": {"registry_auth": "x"}},
        init={},
        timers={"clean": {"schedule": "daily"}},
        secrets={"x": True},
    )
    assert ["notes-worker.service", ["containers", "worker"]] in found
    assert ["notes-worker-image.service", ["containers", "worker"]] in found
    assert ["notes-init.service", ["init"]] in found
    assert ["notes-clean.timer", ["timers", "clean"]] in found


def test_what_is_to_be_gone_takes_no_names():
    assert claimed(state="absent") == []


def foreign(host, **about):
    services = {"notes": {"uid": None, "claims": claimed(), **about}}
    return names.foreign(services, {"users": {}, "groups": [], "units": {}, **host})


@pytest.mark.parametrize("gecos", ["rick-infra service notes", "rick-infra service notes,,,"])
def test_a_service_s_own_user_is_not_foreign(gecos):
    assert foreign({"users": {"notes": (999, gecos)}, "groups": ["notes"]}) == []


@pytest.mark.parametrize("gecos", ["", "Somebody", "rick-infra service notes2", "rick-infra service"])
def test_somebody_else_s_user_is_foreign(gecos):
    assert foreign({"users": {"notes": (1000, gecos)}, "groups": ["notes"]}) == [
        "rick:services:notes: user notes (uid 1000) exists on this host and is no service's; take another name"
    ]


def test_a_group_without_a_service_s_user_is_foreign():
    assert foreign({"groups": ["notes"]}) == [
        "rick:services:notes: group notes exists on this host and is no service's; take another name"
    ]


def test_a_uid_of_somebody_else_is_foreign():
    host = {"users": {"bob": (2000, ""), "notes": (2001, "rick-infra service notes")}}
    assert foreign(host, uid=2000) == ["rick:services:notes:uid: 2000 is the uid of user bob on this host"]
    assert foreign(host, uid=2001) == []


@pytest.mark.parametrize(
    "text",
    [
        "ExecStart=/usr/bin/podman run --label rick-infra.service=notes --name x",
        "[Pod]\nPodmanArgs=--label=rick-infra.service=notes\n",
        "[X-RickInfra]\nService=notes\n",
        "# Written by Salt (pod.declared) for service notes. Changes made here are undone by the next run.",
    ],
)
def test_a_service_s_own_units_are_not_foreign(text):
    assert foreign({"units": {"notes-web.service": ("/run/x", text)}}) == []


@pytest.mark.parametrize("text", ["", "[Service]\nExecStart=/bin/true\n", "--label rick-infra.service=notes-web"])
def test_somebody_else_s_unit_is_foreign_at_what_claims_it(text):
    assert foreign({"units": {"notes-web.service": ("/usr/lib/systemd/system/notes-web.service", text)}}) == [
        "rick:services:notes: unit notes-web.service exists on this host "
        "(/usr/lib/systemd/system/notes-web.service) and is not of this service"
    ]


@pytest.mark.parametrize(
    "name", ["host", "bridge", "private", "container", "ns", "pasta", "slirp4netns", "none", "default", "scram-clients"]
)
def test_what_podman_and_postgresql_refuse_is_no_name_of_a_service(name):
    assert names.problem(name).startswith("it is taken: ")
