"""
Entries on their way through Salt's pillar, as a masterless minion compiles it.
"""

import string

import pytest
import yaml
from tree import TREE


def test_the_files_are_in_the_pillar_beside_the_ordinary_one(minion):
    host = minion(
        site="rick: {postgresql: {max_connections: 300}, services: {wiki: {image: 'wiki:1'}}}\n",
        services={"notes": "image: notes:1\nenv: {A: '{{ x }}', B: 1.10}\n"},
    )
    assert "_errors" not in host.pillar
    rick = host.pillar["rick"]
    assert rick["services"] == {
        "wiki": {"image": "wiki:1"},
        "notes": {"image": "notes:1", "env": {"A": "{{ x }}", "B": "1.10"}},
    }
    assert rick["services_errors"] == []
    assert rick["postgresql"]["max_connections"] == 300
    assert rick["valkey"]["appendonly"] is True


def test_an_entry_in_both_places_is_an_error_and_nothing_is_mixed(minion):
    host = minion(
        site="rick: {services: {notes: {image: 'other:1', uid: 2000}}}\n",
        services={"notes": "image: notes:1\nport: 80\n"},
    )
    (error,) = host.pillar["rick"]["services_errors"]
    assert "there is also a rick:services:notes in the pillar" in error
    assert host.pillar["rick"]["services"]["notes"] == {"image": "other:1", "uid": 2000}
    assert host.modules["catalogue.services"]() == []


@pytest.mark.parametrize("services", ["[]", "notes", "1"])
def test_services_that_are_no_mapping_do_not_vanish_behind_the_files(minion, services):
    host = minion(site=f"rick: {{services: {services}}}\n", services={"notes": "image: notes:1\n"})
    (problem,) = host.modules["catalogue.problems"]()
    assert "is not a mapping of entries by name" in problem


def test_a_file_that_cannot_be_read_does_not_stop_the_pillar(minion):
    host = minion(services={"bad": "image: [\n", "notes": "image: notes:1\n"})
    assert "_errors" not in host.pillar
    assert list(host.pillar["rick"]["services"]) == ["notes"]
    assert "bad.yaml:2: " in host.pillar["rick"]["services_errors"][0]


def test_the_minion_that_bootstrap_configures_reads_the_files():
    template = string.Template((TREE / "conf/minion.d/50-rick-infra.conf").read_text())
    configuration = yaml.safe_load(template.substitute(tree="/srv/rick-infra"))
    assert configuration["ext_pillar"] == [{"services": "/etc/rick-infra/services"}]
    assert (TREE / "salt/_pillar/services.py").samefile(TREE / "_pillar/services.py")


def test_without_the_external_pillar_the_catalogue_says_so(minion):
    host = minion(ext_pillar=[])
    (problem,) = host.modules["catalogue.problems"]()
    assert "were not read" in problem
