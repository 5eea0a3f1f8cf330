"""
What is deployed to be measured: the same to our tree and to the peers, and a change is one of one service.
"""

import json
from pathlib import Path

import pytest
import yaml
from tree import TREE, load

HOST = {
    "postgresql": {"unit": "postgresql@17-main.service", "socket": "/run/postgresql/.s.PGSQL.5432"},
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
    "ports": {},
}


@pytest.fixture(scope="module")
def workload(benchmark_file):
    return benchmark_file("workload.py")


def peers(workload, count, **greetings):
    (text,) = workload.files("peers", count, greetings).values()
    return json.loads(text)["services"]


def test_our_entries_are_valid_all_together(workload):
    given = {path.stem: yaml.safe_load(text) for path, text in workload.files("tree", workload.MOST, {}).items()}
    completed = {name: load("utils", "catalogue_schema").complete(entry) for name, entry in given.items()}
    assert {name: problems for name, (_, problems) in completed.items() if problems} == {}
    entries = {name: entry for name, (entry, _) in completed.items()}
    _, problems = load("utils", "catalogue_resolve").resolve(entries, HOST)
    assert problems == []
    defaults = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]["postgresql"]
    checks = load("utils", "catalogue_checks")
    assert checks.problems(entries, list(entries), defaults["max_connections"], {}) == []


def test_both_sides_have_the_same_services_at_the_same_ports_with_the_same_image(workload):
    ours = {path.stem: yaml.safe_load(text) for path, text in workload.files("tree", 12, {}).items()}
    theirs = {service["name"]: service for service in peers(workload, 12)}
    assert ours.keys() == theirs.keys()
    for name, entry in ours.items():
        assert (entry["image"], entry["host_port"]) == (theirs[name]["image"], theirs[name]["port"])
        assert entry["site"] == theirs[name]["domain"]
        assert entry["env"]["GREETING"] == theirs[name]["greeting"]


def test_fewer_services_are_the_first_ones_of_more(workload):
    assert peers(workload, 10) == peers(workload, 50)[:10]
    assert workload.files("tree", 10, {}).items() <= workload.files("tree", 50, {}).items()


@pytest.mark.parametrize("side", ["tree", "peers"])
def test_a_greeting_changes_one_value_of_one_service(workload, side):
    before, after = (workload.files(side, 3, greetings) for greetings in ({}, {"svc02": "Hi"}))
    changed = [path for path in before if before[path] != after[path]]
    assert len(changed) == 1
    assert before[changed[0]].replace('"Hello"', '"Hi"').count('"Hi"') >= after[changed[0]].count('"Hi"') == 1


def test_no_two_services_of_the_peers_share_a_password(workload):
    secrets = [service[key] for service in peers(workload, 50) for key in ("db_password", "secret_key")]
    assert len(set(secrets)) == len(secrets)


def test_the_peers_find_the_list_where_it_is_written(workload):
    places = ["benchmarks/peers/salt/conf/minion", "benchmarks/peers/pyinfra/deploy.py"]
    assert str(workload.PEERS) in (TREE / places[1]).read_text()
    assert str(Path(workload.PEERS).parent) in yaml.safe_load((TREE / places[0]).read_text())["pillar_roots"]["base"]
