"""
The facts: what makes them wrong, and what each wrong one is answered with.
"""

import grp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree import load

facts = load("modules", "facts")
client_groups = load("utils", "client_groups")

PG, VK = "postgres-clients", "valkey-clients"
GRAINS = {
    "rick_infra": {"client_groups": {PG: 101, VK: 102}},
    "postgresql_client_group_gid": 101,
    "valkey_client_group_gid": 102,
}


@pytest.fixture
def host(monkeypatch):
    """Set the groups that exist and the grains that are published."""

    def set_host(groups, grains=None):
        entries = [grp.struct_group((name, "x", gid, [])) for name, gid in groups.items()]
        monkeypatch.setattr(facts.grp, "getgrall", lambda: entries)
        here = {name: groups[name] for name in client_groups.CLIENT_GROUPS if name in groups}
        utils = {"client_groups.declared": client_groups.declared, "client_groups.on_this_host": lambda: here}
        monkeypatch.setattr(facts, "__utils__", utils, raising=False)
        monkeypatch.setattr(facts, "__grains__", GRAINS if grains is None else grains, raising=False)

    return set_host


def test_facts_that_are_true_have_no_problem(host):
    host({"root": 0, PG: 101, VK: 102})
    assert facts.problems() == []
    assert facts.stale() is False
    assert facts.published() == {PG: 101, VK: 102}


def test_a_virgin_host_names_each_fact_and_what_publishes_it(host):
    host({"root": 0}, {})
    assert facts.published() == {}
    assert facts.stale() is True
    assert facts.problems() == [
        "fact postgresql_client_group_gid (grain rick_infra:client_groups:postgres-clients) is missing: "
        "the group does not exist; apply infra.postgresql: salt-call state.apply infra.postgresql",
        "fact valkey_client_group_gid (grain rick_infra:client_groups:valkey-clients) is missing: "
        "the group does not exist; apply infra.valkey: salt-call state.apply infra.valkey",
    ]


def test_a_fact_that_is_not_published_though_the_group_exists(host):
    host({PG: 101, VK: 102}, {"rick_infra": {"client_groups": {PG: 101}}, "postgresql_client_group_gid": 101})
    assert facts.stale() is True
    (problem,) = facts.problems()
    assert "fact valkey_client_group_gid" in problem
    assert "is missing although the group exists" in problem
    assert "salt-call saltutil.refresh_grains" in problem


def test_a_fact_that_is_wrong_says_both_numbers(host):
    host({PG: 101, VK: 999})
    assert facts.stale() is True
    (problem,) = facts.problems()
    assert "fact valkey_client_group_gid" in problem
    assert "says 102, the system says 999" in problem
    assert "apply infra.valkey" in problem


@pytest.mark.parametrize("flat", [{}, {"valkey_client_group_gid": 7}, {"valkey_client_group_gid": "102"}])
def test_a_flat_grain_that_differs_is_a_problem(host, flat):
    grains = {key: value for key, value in GRAINS.items() if key != "valkey_client_group_gid"}
    host({PG: 101, VK: 102}, {**grains, **flat})
    (problem,) = facts.problems()
    assert problem.startswith(f"grain valkey_client_group_gid says {flat.get('valkey_client_group_gid')}, not 102")


def test_a_gid_that_another_group_shares_opens_the_socket_to_both(host):
    host({PG: 101, VK: 102, "users": 102, "games": 102})
    (problem,) = facts.problems()
    assert problem.endswith("gid 102 also belongs to users, games; give valkey-clients its own")


def test_client_groups_that_share_a_gid_are_both_named(host):
    grains = {
        "rick_infra": {"client_groups": {PG: 101, VK: 101}},
        "postgresql_client_group_gid": 101,
        "valkey_client_group_gid": 101,
    }
    host({PG: 101, VK: 101}, grains)
    assert [problem.partition("also belongs to ")[2].partition(";")[0] for problem in facts.problems()] == [VK, PG]


def test_a_group_that_the_system_finds_but_does_not_list_is_no_crash(host, monkeypatch):
    host({PG: 101, VK: 102})
    monkeypatch.setattr(facts.grp, "getgrall", list)
    assert facts.problems() == []


gids = st.dictionaries(st.sampled_from([PG, VK]), st.integers(0, 3))


@given(groups=gids, published=gids)
def test_facts_without_a_problem_are_never_stale_and_equal_the_system(groups, published):
    flat = {client_groups.CLIENT_GROUPS[name]["fact"]: gid for name, gid in published.items()}
    entries = [grp.struct_group((name, "x", gid, [])) for name, gid in {"root": 0, **groups}.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(facts.grp, "getgrall", lambda: entries)
        utils = {"client_groups.declared": client_groups.declared, "client_groups.on_this_host": lambda: groups}
        patch.setattr(facts, "__utils__", utils, raising=False)
        patch.setattr(facts, "__grains__", {"rick_infra": {"client_groups": published}, **flat}, raising=False)
        sound = published == groups and set(groups) == {PG, VK} and len({0, *groups.values()}) == 3
        assert (facts.problems() == []) is sound
        if sound:
            assert facts.stale() is False
