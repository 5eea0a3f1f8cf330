"""
The facts barrier in both modes.
"""

import pytest
from tree import load

facts = load("states", "facts")
client_groups = load("utils", "client_groups")

PG, VK = "postgres-clients", "valkey-clients"
TRUE = {PG: 101, VK: 102}


@pytest.fixture
def barrier(monkeypatch, results):
    """Apply a state on a host with the given facts and groups."""

    def apply(function, test, published, system, problems=()):
        stale = published != system or set(published) != {PG, VK}
        functions = {
            "facts.published": lambda: dict(published),
            "facts.stale": lambda: stale,
            "facts.problems": lambda: list(problems),
        }
        utils = {
            **results,
            "client_groups.declared": client_groups.declared,
            "client_groups.on_this_host": lambda: dict(system),
        }
        monkeypatch.setattr(facts, "__salt__", functions, raising=False)
        monkeypatch.setattr(facts, "__utils__", utils, raising=False)
        monkeypatch.setattr(facts, "__opts__", {"test": test}, raising=False)
        return getattr(facts, function)("title")

    return apply


@pytest.mark.parametrize("test_mode", [True, False])
def test_facts_that_are_true_are_unchanged(barrier, test_mode):
    result = barrier("published", test_mode, TRUE, TRUE)
    assert (result["result"], result["changes"]) == (True, {})


@pytest.mark.parametrize("test_mode", [True, False])
@pytest.mark.parametrize("published", [{}, {PG: 101}, {PG: 101, VK: 5}])
def test_facts_that_lag_behind_are_published(barrier, test_mode, published):
    result = barrier("published", test_mode, published, TRUE)
    assert result["result"] is (None if test_mode else True)
    assert result["changes"] == {
        group: {"old": published.get(group), "new": gid} for group, gid in TRUE.items() if published.get(group) != gid
    }


def test_on_a_virgin_host_the_plan_counts_on_groups_that_the_run_makes(barrier):
    planned = barrier("published", True, {}, {})
    assert planned["result"] is None
    done = barrier("published", False, {}, TRUE)
    assert set(planned["changes"]) == set(done["changes"]) == {PG, VK}


@pytest.mark.parametrize("test_mode", [True, False])
def test_valid_facts_pass(barrier, test_mode):
    result = barrier("valid", test_mode, TRUE, TRUE)
    assert (result["result"], result["changes"]) == (True, {})


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_shared_gid_fails_in_both_modes(barrier, test_mode):
    result = barrier("valid", test_mode, TRUE, TRUE, ["gid 102 also belongs to users"])
    assert (result["result"], result["comment"]) == (False, "gid 102 also belongs to users")


def test_a_missing_fact_stops_the_run(barrier):
    result = barrier("valid", False, {}, {}, ["fact a is missing", "fact b is missing"])
    assert (result["result"], result["comment"]) == (False, "fact a is missing\nfact b is missing")


@pytest.mark.parametrize("system", [{}, TRUE])
def test_in_test_mode_a_fact_that_the_run_publishes_is_no_failure(barrier, system):
    result = barrier("valid", True, {}, system, ["fact a is missing"])
    assert (result["result"], result["changes"]) == (True, {})
