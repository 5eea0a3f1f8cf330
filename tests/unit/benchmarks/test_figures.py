"""
Figures of the benchmarks: medians, ratios to the baseline, the slowest states, the table.
"""

import importlib.util

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree import TREE


def load():
    spec = importlib.util.spec_from_file_location("rick_benchmarks_figures", TREE / "benchmarks/figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


figures = load()


def test_ways_are_compared_by_their_medians_so_that_one_disturbed_round_does_not_count():
    found = figures.compare({"host": [100, 1, 102], "socket": [50, 50, 9000]}, "host")
    assert found["host"]["median"] == 100
    assert found["host"]["ratio"] == 1
    assert found["socket"]["ratio"] == 0.5


def test_what_was_measured_is_kept_beside_the_summary():
    found = figures.compare({"host": [3, 1]}, "host")["host"]
    assert (found["minimum"], found["maximum"], found["samples"]) == (1, 3, [3, 1])


def test_ways_stay_in_the_order_they_were_measured():
    assert list(figures.compare({"b": [1], "a": [2]}, "a")) == ["b", "a"]


rates = st.lists(st.floats(min_value=1, max_value=1e6), min_size=1, max_size=5)


@given(st.fixed_dictionaries({"host": rates, "socket": rates}))
def test_the_baseline_is_always_one_and_a_faster_way_above_it(samples):
    found = figures.compare(samples, "host")
    assert found["host"]["ratio"] == 1
    assert (found["socket"]["ratio"] > 1) == (found["socket"]["median"] > found["host"]["median"])


def test_the_slowest_states_come_first_by_the_median_of_all_runs():
    runs = [
        [{"__id__": "Steady", "__sls__": "a", "duration": 20}, {"__id__": "Once", "__sls__": "b", "duration": duration}]
        for duration in (1, 900, 2)
    ]
    assert figures.slowest(runs, 2) == [("Steady", "a", 20), ("Once", "b", 2)]


def test_no_more_states_are_listed_than_asked_for():
    runs = [[{"__id__": str(number), "duration": number} for number in range(20)]]
    assert len(figures.slowest(runs, 10)) == 10


def test_names_are_aligned_to_the_left_and_figures_to_the_right():
    assert figures.table(["", "rate"], [["host", "100"], ["TCP", "7"]]).splitlines() == [
        "      rate",
        "----------",
        "host   100",
        "TCP      7",
    ]


@pytest.mark.parametrize("rows", [[["a", "1"], ["b"]], [["a", "1", "2"]]])
def test_a_row_that_does_not_fit_the_headings_is_an_error(rows):
    with pytest.raises(ValueError, match="zip"):
        figures.table(["", "rate"], rows)


def test_a_table_in_markdown_has_names_to_the_left_and_figures_to_the_right():
    assert figures.markdown(["", "rate"], [["host", "100"]]) == "|  | rate |\n| --- | ---: |\n| host | 100 |"
