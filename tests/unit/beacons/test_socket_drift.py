"""
The beacon: a drift is told, and then nothing for a while, whatever drifts.
"""

import pytest
import yaml
from jinja2 import Template
from tree import TREE, load

beacon = load("beacons", "socket_drift")
PATHS = {"/run/valkey": "mode is 2755, not 2750"}
CONFIG = [{"interval": 60}, {"again": 600}]


@pytest.fixture
def minion(monkeypatch):
    class Minion:
        drift: dict[str, str] | None = None
        now = 1000.0
        looked = 0

        def look(self):
            self.looked += 1
            return self.drift or {}

    made = Minion()
    monkeypatch.setattr(beacon, "LAST", {})
    monkeypatch.setattr(beacon.time, "monotonic", lambda: made.now)
    monkeypatch.setattr(beacon, "__salt__", {"barrier.drift": made.look}, raising=False)
    return made


def test_sockets_as_they_must_be_are_no_event(minion):
    assert beacon.beacon(CONFIG) == []


def test_a_drift_is_told_once_and_again_only_after_the_time(minion):
    minion.drift = PATHS
    assert beacon.beacon(CONFIG) == [{"tag": "drift", "paths": PATHS}]
    for minion.now in (1001, 1300, 1599):
        assert beacon.beacon(CONFIG) == []
    minion.now = 1600
    assert beacon.beacon(CONFIG) == [{"tag": "drift", "paths": PATHS}]


def test_one_that_comes_and_goes_is_told_no_oftener(minion):
    told = 0
    for minion.now in range(1000, 4000, 60):
        minion.drift = {} if minion.drift else PATHS
        told += len(beacon.beacon(CONFIG))
    assert told <= 3000 // 600 + 1


def test_nobody_looks_while_nothing_would_be_told(minion):
    minion.drift = PATHS
    beacon.beacon(CONFIG)
    minion.now = 1300
    beacon.beacon(CONFIG)
    assert minion.looked == 1


@pytest.mark.parametrize(
    "config, valid",
    [(CONFIG, True), ([], True), ([{"again": 0}], False), ([{"again": "ten"}], False), ([{"again": True}], False),
     ({"again": 60}, False), (["again"], False)],
)  # fmt: skip
def test_its_configuration_is_checked(config, valid):
    assert beacon.validate(config)[0] is valid


@pytest.mark.parametrize("identity", ["cell1", "*", "cell1]\n    - tgt_type: glob", '"', "{{ 7 * 7 }}"])
def test_the_reactor_takes_the_id_for_an_id_whatever_it_is(identity):
    text = (TREE / "salt/reactor/socket_drift.sls").read_text()
    reaction = yaml.safe_load(Template(text.replace("| json", "| tojson")).render(data={"id": identity}))
    (arguments,) = (call["local.state.apply"] for call in reaction.values())
    options = {key: value for one in arguments for key, value in one.items()}
    assert options["tgt"] == [identity]
    assert options["tgt_type"] == "list"
