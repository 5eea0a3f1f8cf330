"""
From the pillar to resolved services: what is kept, what is asked anew, and what is wrong.
"""

import json
import sys

import pytest
import yaml
from dunders import functions
from tree import TREE, load

entries = load("modules", "catalogue_entries")

DEFAULTS = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]
UTILS = [path.stem for path in (TREE / "_utils").glob("catalogue_*.py")] + ["service_units"]


class Host:
    """A host with some entries, as one run sees it; ``again`` is the next run."""

    def __init__(self, patch, tmp_path):
        self.patch = patch
        self.file = tmp_path / "state/catalogue.json"
        self.taken = {"users": {}, "groups": [], "units": {}}
        self.ports = {}
        self.judged = 0
        self.opts = {"test": False}
        self.rick = json.loads(json.dumps({**DEFAULTS, "services": {}, "services_errors": []}))
        patch.setattr(load("utils", "catalogue_cache"), "FILE", str(self.file))
        utils = functions("utils", *UTILS)
        complete = utils["catalogue_schema.complete"]

        def counted(data):
            self.judged += 1
            return complete(data)

        utils["catalogue_schema.complete"] = counted
        utils["catalogue_host.taken"] = lambda units: self.taken
        utils["catalogue_host.ports"] = lambda names: {name: self.ports[name] for name in names if name in self.ports}
        for name, value in {
            "__utils__": utils,
            "__grains__": {"oscodename": "trixie", "mem_total": 3900},
            "__opts__": self.opts,
        }.items():
            patch.setattr(entries, name, value, raising=False)
        self.again()

    def again(self, services=None, **rick):
        if services is not None:
            self.rick = {**self.rick, "services": services}
        self.rick = {**self.rick, **rick}
        self.patch.setattr(entries, "__pillar__", {"rick": self.rick}, raising=False)
        self.patch.setattr(entries, "__context__", {}, raising=False)
        self.judged = 0
        return self


@pytest.fixture
def host(monkeypatch, tmp_path):
    return Host(monkeypatch, tmp_path)


APP = {"image": "app:1", "port": 80}


def test_without_entries_there_is_nothing_and_nothing_wrong(host):
    assert entries.problems() == []
    assert entries.known()["services"] == {}


def test_services_are_complete(host):
    host.again({"a": APP, "b": {**APP, "needs": "a", "timers": {"x": {"schedule": "daily"}}}})
    assert entries.problems() == []
    known = entries.known()
    assert known["order"] == ["a", "b"]
    b = known["services"]["b"]
    assert b["files"] == ["b.network", "b.pod", "b-web.container"]
    assert [one["name"] for one in b["timers"]] == ["b-x"]
    assert len(b["digest"]) == 64
    json.dumps(known)


def test_within_a_run_the_work_is_done_once(host):
    host.again({"a": APP})
    assert entries.known() is entries.known()
    assert host.judged == 1


def test_the_next_run_reads_what_was_kept(host):
    host.again({"a": APP})
    before = entries.known()
    host.again()
    assert json.dumps(entries.known()) == json.dumps(before)
    assert host.judged == 0


def test_what_is_kept_is_read_without_the_library_that_validates(host, monkeypatch):
    host.again({"a": APP})
    entries.known()
    host.again()
    utils = {name: one for name, one in entries.__utils__.items() if not name.startswith("catalogue_schema.")}
    monkeypatch.setattr(entries, "__utils__", utils)
    assert entries.known()["order"] == ["a"]


def test_once_the_services_run_what_was_kept_still_holds(host):
    host.again({"a": APP, "b": APP})
    before = entries.known()["services"]
    host.ports = {name: service["port"] for name, service in before.items()}
    host.again()
    assert {name: one["port"] for name, one in entries.known()["services"].items()} == host.ports
    assert host.judged == 0


def test_a_port_that_a_service_has_stays(host):
    host.ports = {"a": 23456}
    host.again({"a": APP})
    assert entries.known()["services"]["a"]["port"] == 23456


@pytest.mark.parametrize(
    "change",
    [
        {"services": {"a": {**APP, "image": "app:2"}}},
        {"services": {"a": APP, "b": APP}},
        {"postgresql": {**DEFAULTS["postgresql"], "max_connections": 300}},
        {"services_errors": ["/etc/rick-infra/services/x.yaml:1: no"]},
    ],
)
def test_a_change_is_noticed(host, change):
    host.again({"a": APP})
    entries.known()
    host.again(**change)
    entries.known()
    assert host.judged


@pytest.mark.parametrize("damage", ["", "{", '{"keys": 1}', None])
def test_a_lost_or_damaged_file_is_made_anew(host, damage):
    host.again({"a": APP})
    before = entries.known()
    host.file.unlink()
    if damage is not None:
        host.file.write_text(damage)
    host.again()
    assert json.dumps(entries.known()) == json.dumps(before)
    assert host.judged == 1
    host.again()
    entries.known()
    assert host.judged == 0


def test_test_mode_leaves_no_file(host):
    host.opts["test"] = True
    host.again({"a": APP})
    entries.known()
    assert not host.file.exists()


def test_what_is_wrong_is_kept_as_well(host):
    for _ in range(2):
        host.again({"a": {"image": "a"}})
        assert len(entries.problems()) == 1
        assert entries.known()["services"] == {}
    assert host.judged == 0


def test_all_that_is_wrong_is_told_at_once_and_sorted(host):
    host.again(
        {
            "a": {"image": "a", "hots_port": 1},
            "b": {**APP, "uid": 2000, "env": {"X": "{secret.nonesuch}"}},
            "c": {**APP, "uid": 2000, "needs": "d"},
            "Bad": APP,
        },
        services_errors=["/etc/rick-infra/services/x.yaml:1: holds nothing"],
        only=["z"],
        valkey={**DEFAULTS["valkey"], "maxmemory": "lots"},
    )
    found = entries.problems()
    assert found == sorted(found)
    assert [text.partition(": ")[0] for text in found] == [
        "/etc/rick-infra/services/x.yaml:1",
        "rick:only",
        "rick:services:Bad",
        "rick:services:a",
        "rick:services:a:image",
        "rick:services:c:needs",
        "rick:services:c:uid",
        "rick:valkey:maxmemory",
    ]
    # What the environment means depends on the infrastructure.
    host.again(valkey=DEFAULTS["valkey"])
    assert any(
        text.startswith("rick:services:b:env:X: web: {secret.nonesuch} stands for") for text in entries.problems()
    )


def test_who_needs_a_service_whose_file_cannot_be_read_is_not_blamed(host):
    host.again({"a": {**APP, "needs": "x"}}, services_errors=["/etc/rick-infra/services/x.yaml:1: holds nothing"])
    assert entries.problems() == ["/etc/rick-infra/services/x.yaml:1: holds nothing"]


def test_a_name_that_is_taken_on_the_host_is_told_although_the_entry_has_not_changed(host):
    host.again({"a": APP})
    assert entries.problems() == []
    host.taken = {**host.taken, "users": {"a": (1000, "Alice")}}
    host.again()
    assert entries.problems() == [
        "rick:services:a: user a (uid 1000) exists on this host and is no service's; take another name"
    ]
    assert host.judged == 0


@pytest.mark.parametrize("only", ["a", ["a"], [], None])
def test_some_of_the_services_can_be_asked_for(host, only):
    host.again({"a": APP}, only=only)
    assert entries.problems() == []


@pytest.mark.parametrize("only", ["nonesuch", ["a", "nonesuch"], [5], {"a": 1}, 5])
def test_asking_for_what_is_not_there_is_an_error(host, only):
    host.again({"a": APP}, only=only)
    (problem,) = entries.problems()
    assert problem.startswith("rick:only: ")


def test_without_the_external_pillar_no_service_disappears_in_silence(host, monkeypatch):
    rick = {key: value for key, value in host.rick.items() if key not in ("services", "services_errors")}
    monkeypatch.setattr(entries, "__pillar__", {"rick": rick})
    (problem,) = entries.problems()
    assert "ext_pillar: [services: /etc/rick-infra/services]" in problem


@pytest.mark.parametrize("rick", [None, [], "x", 5, {"services": []}, {"services": "a", "services_errors": "x"}])
def test_a_pillar_of_another_shape_is_a_problem_and_no_exception(host, monkeypatch, rick):
    monkeypatch.setattr(entries, "__pillar__", {"rick": rick})
    assert entries.problems()
    assert entries.known()["services"] == {}


@pytest.mark.parametrize(
    "change", [{"description": "other"}, {"rollback": False}, {"data": "delete"}, {"needs": ["b"]}]
)
def test_what_does_not_change_what_runs_is_no_other_definition(host, change):
    host.again({"a": APP, "b": APP})
    before = entries.known()["services"]["a"]["digest"]
    host.again({"b": APP, "a": {**dict(reversed(APP.items())), **change}})
    assert entries.known()["services"]["a"]["digest"] == before


@pytest.mark.parametrize(
    "change", [{"image": "app:2"}, {"env": {"A": "1"}}, {"site": "a.example"}, {"host_port": 9000}]
)
def test_another_definition_has_another_digest(host, change):
    host.again({"a": APP})
    before = entries.known()["services"]["a"]["digest"]
    host.again({"a": {**APP, **change}})
    assert entries.known()["services"]["a"]["digest"] != before


def test_pydantic_is_what_the_schema_imports_and_nothing_else_does():
    importing = [
        path.name
        for path in (TREE / "_utils").glob("*.py")
        if "import pydantic" in path.read_text() or "from pydantic" in path.read_text()
    ]
    assert importing == ["catalogue_schema.py"]
    assert "pydantic" in sys.modules
