"""
What benchmarks/services found, as tables and as a plot; and that the document has what its file of figures has.
"""

import itertools
import json
import xml.etree.ElementTree as ET

import pytest
from tree import TREE

DOCUMENTS = TREE / "docs/benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report(benchmark_file):
    return benchmark_file("report.py")


def samples(*seconds):
    return [{"wall": each, "cpu": each / 2} for each in seconds]


@pytest.fixture
def result(report):
    """Two numbers of services; the second ended before Ansible had its turn."""
    kinds = report.kinds([state("Service svc01 has its pod", 20), state("Caddy runs", 5)])
    first = {
        "unchanged": {"test.ping": samples(0.5), "rick-infra": samples(1, 9, 1), "ansible": samples(20)},
        "changed": {"rick-infra": [{"wall": 3, "cpu": 1, "served": 2}]},
        "boot": {"tree": [boot(1, 2), boot(1, 4), boot(1, 3)], "peers": [boot(5, 6), {"seconds": [5], "missing": 1}]},
        "profile": report.profile([kinds]),
    }
    second = {"unchanged": {"test.ping": samples(0.5), "rick-infra": samples(2)}, "changed": {}, "boot": {}}
    conditions = {"date": "2026-01-02", "processors": 2, "load": 0.1, "versions": ["salt-call 1"]}
    return {"rounds": 3, "conditions": conditions, "runs": {"1": first, "11": second}}


def boot(*seconds):
    return {"seconds": list(seconds), "missing": 0}


def state(name, milliseconds):
    return {"__id__": name, "duration": milliseconds}


def rows(text, title):
    """The cells of the table that follows a title."""
    table = text.partition(title)[2].split("\n\n")[1]
    return {
        cells[0]: cells[1:]
        for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.split("\n"))
    }


def test_a_run_with_nothing_to_do_is_compared_with_ours_by_the_medians(report, result):
    found = rows(report.tables(result), "A run with nothing to do")
    assert found["**rick-infra**"] == ["1.00 (1.0)", "2.00 (1.0)", "100"]
    assert found["Ansible"] == ["20.00 (20.0)", "-", "-"]


def test_what_was_not_measured_is_left_open(report, result):
    del result["runs"]["11"]["unchanged"]["rick-infra"]
    found = rows(report.tables(result), "A run with nothing to do")
    assert found["`salt-call test.ping`"] == ["0.50 (0.5)", "0.50", "0"]
    assert found["**rick-infra**"] == ["1.00 (1.0)", "-", "-"]


def test_a_boot_in_which_not_every_pod_answered_counts_as_such_and_in_no_median(report, result):
    table = report.tables(result).partition("Seconds from boot")[2]
    assert "| **rick-infra** | 1 | 1.00 | 3.00 | 3 of 3 |" in table
    assert "| the peers' services | 1 | 5.00 | 6.00 | 1 of 2 |" in table


def test_states_of_several_services_are_one_kind(report):
    states = [state("Service svc01 has its pod", 3), state("Service svc22 has its pod", 4), state("Caddy runs", 5)]
    found = report.profile([report.kinds(states)])
    assert found["slowest"] == [
        {"states": "Service NAME has its pod", "count": 2, "milliseconds": 7},
        {"states": "Caddy runs", "count": 1, "milliseconds": 5},
    ]
    assert (found["states"], found["seconds"]) == (3, 0.012)


def test_the_plot_has_a_point_for_each_median_and_a_label_for_each_tool(report, result):
    plot = ET.fromstring(report.plot(result))  # noqa: S314 - made here
    assert len(plot.findall(f"{SVG}circle")) == 5
    words = " ".join(text.text for text in plot.findall(f"{SVG}text"))
    assert all(label in words for label in ("salt-call test.ping, 0.5 s", "rick-infra, 2 s", "Ansible, 20 s"))


def test_a_slower_run_is_higher_and_more_services_are_further_to_the_right(report, result):
    plot = ET.fromstring(report.plot(result))  # noqa: S314 - made here
    points = [(float(circle.get("cx")), float(circle.get("cy"))) for circle in plot.findall(f"{SVG}circle")]
    (ping, _), (ours, ours_later), (ansible,) = points[:2], points[2:4], points[4:]
    assert ansible[1] < ours[1] < ping[1]
    assert ours_later[0] > ours[0]
    assert ours_later[1] < ours[1]


def test_one_number_of_services_is_enough_for_a_plot(report, result):
    del result["runs"]["11"]
    assert len(ET.fromstring(report.plot(result)).findall(f"{SVG}circle")) == 3  # noqa: S314 - made here


def test_labels_do_not_cover_each_other(report):
    placed = report.apart({"a": 100, "b": 101, "c": 300, "d": 99})
    heights = sorted(placed.values())
    assert min(after - before for before, after in itertools.pairwise(heights)) >= report.LINE
    assert placed["c"] == 300


def test_only_what_is_between_the_marks_is_made_anew(report, result):
    text = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.document(text, result)
    assert once.startswith(f"before\n{report.BEGIN}\n")
    assert once.endswith(f"{report.END}\nafter\n")
    assert "old" not in once
    assert report.document(once, result) == once


def test_the_document_and_the_plot_are_those_of_the_kept_figures(report):
    kept = json.loads((DOCUMENTS / report.FIGURES).read_text())
    again = "sudo benchmarks/services --read docs/benchmarks/services.json --write"
    page = (DOCUMENTS / report.DOCUMENT).read_text()
    assert report.document(page, kept) == page, again
    assert report.plot(kept) == (DOCUMENTS / report.PLOT).read_text(), again
