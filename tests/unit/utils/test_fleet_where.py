"""
Which host an entry runs on, by patterns: the same for one entry and for many, and what a shell would say.
"""

import fnmatch

from hypothesis import given
from hypothesis import strategies as st
from tree import load

fleet_file = load("utils", "fleet_file")

HOSTS = st.sampled_from(["cell1", "cell2", "cell10", "edge1", "cell-a", "cell.b", "c"])
PATTERNS = st.sampled_from(["cell1", "cell*", "cell?", "cell[12]", "cell[!1]", "edge1", "*", "c", "nobody", "CELL1"])
LISTS = st.lists(PATTERNS, min_size=1, max_size=3)


def matches(host, patterns):
    return any(fnmatch.fnmatchcase(host, pattern) for pattern in patterns)


@given(st.frozensets(HOSTS), LISTS, st.dictionaries(st.sampled_from("abc"), LISTS))
def test_an_entry_runs_on_the_cells_that_its_patterns_match(hosts, cells, wanted):
    entries = {name: {"cells": patterns} for name, patterns in wanted.items()}
    expected = {
        name: sorted(host for host in hosts if matches(host, cells) and matches(host, patterns))
        for name, patterns in wanted.items()
    }
    topology = {"cells": cells}
    assert fleet_file.where(entries, topology, hosts) == expected
    assert {name: fleet_file.runs_on(entry, topology, hosts) for name, entry in entries.items()} == expected


@given(st.frozensets(HOSTS), LISTS, st.dictionaries(PATTERNS, LISTS, max_size=3))
def test_an_edge_and_the_cells_behind_it_agree_on_that(hosts, cells, edges):
    topology = {"cells": cells, "edges": edges}
    pairs = {(edge, cell) for edge in hosts for cell in fleet_file.cells_behind(topology, hosts, edge)}
    expected = {
        (edge, cell)
        for edge in hosts
        for cell in hosts
        if matches(cell, cells)
        and any(matches(edge, [pattern]) and matches(cell, behind) for pattern, behind in edges.items())
    }
    assert pairs == expected
    assert {(edge, cell) for cell in hosts for edge in fleet_file.edges_of(topology, hosts, cell)} == expected


def test_entries_whose_cells_cannot_be_used_are_named_and_run_nowhere():
    entries = {"a": {"cells": "cell1"}, "b": {}, "c": {"cells": ["cell 1"]}}
    wrong = fleet_file.misplaced(entries)
    assert sorted(wrong) == ["b", "c"]
    assert "required in a fleet" in wrong["b"][0]
    assert "'cell 1' is no pattern" in wrong["c"][0]
    assert fleet_file.where(entries, {"cells": ["*"]}, frozenset({"cell1"})) == {"a": ["cell1"], "b": [], "c": []}
