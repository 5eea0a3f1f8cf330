"""
The order of a roll-out: what services need is there before them, everybody has a turn, and one host is first.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree import load

plan = load("utils", "rollout_plan")

HOSTS = [f"cell{number}" for number in range(1, 6)]
NAMES = ["a", "b", "c", "d", "e", "f"]


@st.composite
def fleets(draw):
    """Services on some cells each, that need services before them in the alphabet: never in a circle."""
    cells = {name: sorted(draw(st.sets(st.sampled_from(HOSTS), max_size=4))) for name in NAMES}
    needs = {
        name: sorted(draw(st.sets(st.sampled_from(NAMES[:number])))) for number, name in enumerate(NAMES) if number
    }
    return needs, cells


def test_without_needs_over_hosts_there_is_one_wave():
    cells = {"notes": ["cell1", "cell2"], "board": ["cell1", "cell2", "cell3"]}
    assert plan.waves({"notes": ["board"]}, cells) == {"board": 1, "notes": 1}


def test_a_service_waits_for_the_wave_of_what_one_of_its_cells_does_not_run():
    cells = {"notes": ["cell1", "cell2"], "board": ["cell1"], "wiki": ["cell2"]}
    assert plan.waves({"notes": ["board"], "wiki": ["notes"]}, cells) == {"board": 1, "notes": 2, "wiki": 2}


@given(fleets())
def test_what_is_needed_elsewhere_comes_in_an_earlier_wave_and_on_the_same_host_not_later(fleet):
    needs, cells = fleet
    numbers = plan.waves(needs, cells)
    assert set(numbers) == set(cells)
    for name, wanted in needs.items():
        for one in wanted:
            if set(cells[name]) <= set(cells[one]):
                assert numbers[one] <= numbers[name]
            else:
                assert numbers[one] < numbers[name]


@given(fleets())
def test_each_host_runs_each_of_its_services_once_and_last_of_all_its_whole_state(fleet):
    needs, cells = fleet
    steps = plan.steps(HOSTS, plan.waves(needs, cells), cells)
    for host in HOSTS:
        turns = [step[host] for step in steps if host in step]
        assert turns[-1] is None
        named = [name for turn in turns[:-1] for name in turn]
        assert len(named) == len(set(named))
        assert set(named) <= {name for name in NAMES if host in cells[name]}


@given(fleets())
def test_a_roll_out_of_some_services_runs_exactly_these_and_nothing_whole(fleet):
    needs, cells = fleet
    numbers = plan.waves(needs, cells)
    steps = plan.steps(HOSTS, numbers, cells, whole=False)
    for host in HOSTS:
        named = [name for step in steps for name in step.get(host, [])]
        assert sorted(named) == [name for name in NAMES if host in cells[name]]


@given(fleets())
def test_no_host_runs_a_service_before_the_wave_of_one_that_it_needs_elsewhere(fleet):
    needs, cells = fleet
    numbers = plan.waves(needs, cells)
    steps = plan.steps(HOSTS, numbers, cells)
    done: set[tuple[str, str]] = set()
    for step in steps:
        for host, names in step.items():
            own = [name for name in NAMES if host in cells[name]] if names is None else names
            for name in own:
                elsewhere = [
                    (one, cell) for one in needs.get(name, []) for cell in cells[one] if host not in cells[one]
                ]
                assert set(elsewhere) <= done
        for host, names in step.items():
            done |= {(name, host) for name in (NAMES if names is None else names) if host in cells[name]}


def test_a_host_without_services_has_its_turn_in_the_first_wave():
    assert plan.steps(["cell1", "cell2"], {"notes": 1}, {"notes": ["cell1"]}) == [{"cell1": None, "cell2": None}]


@given(
    st.sets(st.sampled_from(HOSTS), min_size=1),
    st.one_of(st.none(), st.sampled_from([*HOSTS, "elsewhere"])),
    st.one_of(st.integers(1, 9), st.integers(1, 100).map("{}%".format)),
)
def test_batches_hold_every_host_once_and_begin_with_one_host_alone(hosts, canary, size):
    batches = plan.batches(hosts, canary, size)
    assert sorted(host for batch in batches for host in batch) == sorted(hosts)
    assert batches[0] == [canary if canary in hosts else min(hosts)]
    limit = size if isinstance(size, int) else max(1, len(hosts) * int(size[:-1]) // 100)
    assert all(0 < len(batch) <= limit for batch in batches[1:])


@pytest.mark.parametrize("count, batch", [(2, 1), (4, 1), (8, 2), (100, 25)])
def test_a_batch_is_a_quarter_of_the_hosts_unless_said_otherwise(count, batch):
    assert len(plan.batches([f"cell{number:03}" for number in range(count)])[1]) == batch


def test_nobody_is_no_batch():
    assert plan.batches([]) == []


@pytest.mark.parametrize(
    "needs, around",
    [
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, ["a", "b", "c"]),
        ({"a": ["b"], "b": ["c"], "c": ["b"]}, ["b", "c"]),
        ({"a": ["a"]}, ["a"]),
        ({"a": ["b", "c"], "b": ["c"], "c": []}, []),
        ({"a": ["nowhere"]}, []),
    ],
)
def test_services_that_need_each_other_in_a_circle_are_found(needs, around):
    assert plan.circle(needs) == around


@pytest.mark.parametrize(
    "said, needs", [("b", ["b"]), (["b", "c"], ["b", "c"]), (None, []), ({"b": 1}, []), ([1, "b"], ["b"])]
)
def test_needs_are_read_as_far_as_they_can_be(said, needs):
    assert plan.needs_of({"needs": said}) == needs
