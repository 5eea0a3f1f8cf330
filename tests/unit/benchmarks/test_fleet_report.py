"""
What benchmarks/fleet found, as tables and as plots; and that the document has what its file of figures has.
"""

import json
import xml.etree.ElementTree as ET

import pytest
from tree import TREE

DOCUMENTS = TREE / "docs/benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def report(benchmark_file):
    return benchmark_file("fleet_report.py")


def files(cell, first):
    again = {"salt": [50.0], "cell": [cell, 999.0, cell], "sso": [90.0], "edge": [100.0]}
    return {"first": first, "again": again, "bytes": {"cell": 2048, "sso": 4096, "edge": 1024}}


def asked(master):
    return [{"seconds": 2.0, "master": master, "minions": 8.0, "bytes": 10}]


@pytest.fixture
def result():
    one = {"ping": asked(0.02), "show": asked(0.2), "memory": {"master": 450.0, "descriptors": 70, "minions": [80.0]}}
    ten = {"ping": asked(0.1), "memory": {"master": 460.0, "descriptors": 90, "minions": [80.0, 70.0, 60.0]}}
    conditions = {"date": "2026-01-02", "processors": 2, "load": 0.1, "version": "salt-master 1"}
    return {
        "rounds": 3,
        "conditions": conditions,
        "minions": {"1": one, "10": ten},
        "files": {"10": files(60.0, 70.0), "1000": files(120.0, 700.0)},
    }


def rows(text, title):
    """The cells of the table that follows a title."""
    table = text.partition(title)[2].split("\n\n")[1]
    return {
        cells[0]: cells[1:]
        for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().split("\n"))
    }


def test_the_pillar_of_a_host_is_shown_by_the_medians_and_the_first_one_apart(report, result):
    found = rows(report.tables(result), "Milliseconds of CPU that the pillar")
    assert found["a cell"] == ["60", "120"]
    assert found["a worker's first one, of a cell"] == ["70", "700"]


def test_the_master_s_time_is_shown_for_each_host_and_what_was_not_measured_is_left_open(report, result):
    found = rows(report.tables(result), "Milliseconds of the master's CPU for each host")
    assert found["`test.ping`"] == ["20", "10"]
    assert found["`state.show_highstate`"] == ["200", "-"]


def test_memory_is_that_of_the_whole_master_and_of_one_minion(report, result):
    found = rows(report.tables(result), "Memory in MiB")
    assert found["the master, all its processes"] == ["450", "460"]
    assert found["a minion, median"] == ["80", "70"]


def words_of(plot):
    return " ".join(text.text for text in ET.fromstring(plot).findall(f"{SVG}text"))  # noqa: S314 - made here


def test_the_plot_of_pillars_has_a_line_for_each_kind_of_host(report, result):
    words = words_of(report.plots(result)["fleet.svg"])
    for label in (
        "Salt alone, 50 ms",
        "a cell, 120 ms",
        "Authentik's cell, 90 ms",
        "an edge, 100 ms",
        "the first, 700 ms",
    ):
        assert label in words


def test_the_plot_of_minions_has_a_line_for_what_was_asked_and_none_for_what_was_not(report, result):
    words = words_of(report.plots(result)["fleet-minions.svg"])
    assert "test.ping, 2 s" in words
    assert "show_highstate, 2 s" in words
    assert "catalogue check" not in words


def test_only_what_was_measured_is_drawn(report, result):
    assert list(report.plots({**result, "files": {}})) == ["fleet-minions.svg"]
    assert list(report.plots({**result, "minions": {}})) == ["fleet.svg"]


def test_the_document_and_the_plots_are_those_of_the_kept_figures(report):
    kept = json.loads((DOCUMENTS / report.FIGURES).read_text())
    again = "sudo benchmarks/fleet --read docs/benchmarks/fleet.json --write"
    page = (DOCUMENTS / report.DOCUMENT).read_text()
    assert report.document(page, kept) == page, again
    for name, plot in report.plots(kept).items():
        assert plot == (DOCUMENTS / name).read_text(), again
