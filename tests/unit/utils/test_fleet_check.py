"""
What is wrong with a fleet as a whole: each thing has a sentence that begins with its file and says the way out.
"""

import pytest
from tree import load

check = load("utils", "fleet_check")
fleet_file = load("utils", "fleet_file")
plan = load("utils", "rollout_plan")
errors = load("utils", "catalogue_errors")
view = load("utils", "fleet_view")

TOOLS = {
    "suggestion": errors.suggestion,
    "needs_of": plan.needs_of,
    "circle": plan.circle,
    "site_of": view.site_of,
}
TOPOLOGY = {"cells": ["cell*"], "edges": {"edge*": ["cell*"]}, "sso": "cell1", "addresses": {}}


def problems(entries=None, topology=None, hosts=("cell1", "cell2", "edge1"), wrong=None, domain="auth.example.test",
             without=(), judged=None, by_ssh=()):  # fmt: skip
    entries = {name: {"cells": "cell*", **entry} for name, entry in (entries or {}).items()}
    fleet = {
        "topology": {**TOPOLOGY, **(topology or {})},
        "hosts": list(hosts),
        "by_ssh": set(by_ssh),
        "entries": entries,
        "domain": domain,
        "roles": fleet_file.roles,
        "runs_on": fleet_file.runs_on,
    }
    judged = {name: (judged or {}).get(name, []) for name in entries}
    return check.problems(fleet, wrong or {}, judged, "/etc/rick-infra", without, TOOLS)


def test_a_fleet_that_is_fine_has_no_problem():
    entries = {"notes": {"site": "notes.example.test", "auth": "oauth2"}, "board": {"needs": ["notes"]}}
    assert problems(entries) == []


def test_files_that_cannot_be_used_are_told_line_by_line():
    assert problems(wrong={"/x.yaml": "/x.yaml: no\n/x.yaml: neither"}) == ["/x.yaml: no", "/x.yaml: neither"]


def test_what_an_entry_says_wrong_by_itself_is_told_with_its_file():
    judged = {"notes": [(("health", "path"), "no port"), ((), "unknown key 'prot'")]}
    assert problems({"notes": {}}, judged=judged) == [
        "/etc/rick-infra/services/notes.yaml: health:path: no port",
        "/etc/rick-infra/services/notes.yaml: unknown key 'prot'",
    ]


@pytest.mark.parametrize(
    "entries, told",
    [
        (
            {"a": {"cells": ["cell1", "sell2"]}},
            "a.yaml: cells: 'sell2' matches no cell that is let in (there are: cell1, ",
        ),
        ({"a": {"cells": "edge1"}}, "a.yaml: cells: 'edge1' matches no cell that is let in"),
        ({"a": {"needs": "nots"}, "notes": {}}, "a.yaml: needs: there is no service 'nots' in the fleet (did you mean"),
        ({"a": {"needs": ["a"]}, "b": {}}, "a.yaml: needs: a service cannot need itself; take a out"),
        (
            {"a": {"needs": "b"}, "b": {"state": "stopped"}},
            "a.yaml: needs: b is stopped; stop this one, too, or do not",
        ),
        (
            {"a": {"site": "x.example.test"}, "b": {"site": {"domains": ["X.example.test"]}}},
            "b.yaml: site: x.example.test is service a's already; give one of them another domain",
        ),
        ({"a": {"site": "auth.example.test"}}, "a.yaml: site: auth.example.test is Authentik's already"),
    ],
)
def test_what_is_wrong_between_entries_is_told_with_file_and_way_out(entries, told):
    found = problems(entries)
    assert found[0].startswith(f"/etc/rick-infra/services/{told}")


def test_services_on_two_hosts_that_need_each_other_could_never_be_started():
    entries = {"a": {"cells": "cell1", "needs": "b"}, "b": {"cells": "cell2", "needs": ["a"]}}
    assert problems(entries) == [
        "/etc/rick-infra/services/a.yaml: needs: a -> b -> a: none of them could be first; take one need out"
    ]


def test_what_is_to_be_gone_is_in_nobodys_way():
    entries = {"a": {"site": "x.example.test", "state": "absent", "auth": "oauth2"}, "b": {"site": "x.example.test"}}
    assert problems(entries) == []


@pytest.mark.parametrize(
    "topology, domain, told",
    [
        ({"sso": None}, None, "auth: no host runs Authentik; name a cell that does, in /etc/rick-infra/fleet.yaml"),
        ({}, None, "auth: Authentik on cell1 has no domain where users log in; in /etc/rick-infra/hosts/cell1.yaml"),
    ],
)
def test_a_login_needs_somebody_who_lets_users_in(topology, domain, told):
    (sentence,) = problems({"a": {"auth": {"pattern": "oauth2"}}}, topology, domain=domain)
    assert sentence.startswith(f"/etc/rick-infra/services/a.yaml: {told}")


def test_a_host_without_a_role_is_told_unless_it_is_left_out():
    hosts = ("cell1", "edge1", "stranger")
    (sentence,) = problems(hosts=hosts)
    assert sentence.startswith("/etc/rick-infra/fleet.yaml: no pattern matches stranger, so it has no role;")
    assert problems(hosts=hosts, without=["stranger"]) == []


@pytest.mark.parametrize(
    "topology, told",
    [
        ({"cells": ["cell*", "web*"]}, "cells: 'web*' matches no host that is let in"),
        ({"edges": {"edge*": ["cell*"], "door*": ["cell*"]}}, "edges: 'door*' matches no host that is let in"),
        ({"edges": {"edge*": ["cell7"]}}, "edges:edge*: 'cell7' matches no cell that is let in"),
        ({"sso": "cell9"}, "sso: cell9 is not let in, so nobody can log in anywhere; bin/enroll cell9"),
        ({"addresses": {"cel2": "192.0.2.2"}}, "addresses: cel2 is no host that is let in; correct it, or take it out"),
        ({"cells": ["*"]}, "edge1 is a cell and an edge; an edge has Caddy alone: take it out of one of them"),
    ],
)
def test_patterns_of_the_fleet_that_match_nobody_are_told(topology, told):
    (sentence,) = problems(topology=topology)
    assert sentence.startswith(f"/etc/rick-infra/fleet.yaml: {told}")


def test_a_cell_that_salt_ssh_reaches_is_one_although_the_master_has_no_key_of_it():
    entries = {"a": {"cells": "box"}}
    topology = {"cells": ["cell*", "box"]}
    assert len(problems(entries, topology)) == 2
    assert problems(entries, topology, by_ssh=["box"]) == []
