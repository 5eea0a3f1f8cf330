"""
What may be said to a roll-out: slips are refused with a sentence, and it is clear who takes part.
"""

import pytest
from tree import load

options = load("utils", "rollout_options")

FLEET = {
    "cells": ["cell1", "cell2", "cell3"],
    "edges": {"edge1": ["cell1", "cell2"], "edge2": ["cell3"]},
    "sso": "cell1",
    "domain": True,
    "drained": [],
    "without_role": ["stranger"],
    "services": {"notes": ["cell2", "cell3"], "board": ["cell3"]},
    "needs": {},
}


def asked(kind, **said):
    read, wrong = options.read(kind, said, ())
    assert wrong == []
    return options.targets(kind, read, FLEET)


def test_a_deployment_is_of_everybody():
    assert asked("deploy") == ({"cells": ["cell1", "cell2", "cell3"], "edges": ["edge1", "edge2"]}, [])


def test_who_is_left_out_takes_no_part():
    targets, wrong = asked("deploy", without=["cell3", "edge2", "stranger"])
    assert (targets, wrong) == ({"cells": ["cell1", "cell2"], "edges": ["edge1"]}, [])


def test_some_services_are_of_their_cells_and_of_the_one_where_users_log_in():
    targets, _ = asked("deploy", only="board")
    assert targets == {"cells": ["cell1", "cell3"], "edges": ["edge1", "edge2"]}


def test_an_upgrade_is_of_the_cells_of_one_service():
    assert asked("upgrade", service="notes")[0] == {"cells": ["cell2", "cell3"], "edges": []}


def test_a_drain_is_of_a_cell_and_the_edges_before_it():
    assert asked("drain", cell="cell2") == ({"cells": ["cell2"], "edges": ["edge1"]}, [])


def test_a_cell_that_is_dead_is_drained_on_its_edges():
    assert asked("drain", cell="cell2", without="cell2") == ({"cells": [], "edges": ["edge1"]}, [])


@pytest.mark.parametrize(
    "kind, said, told",
    [
        ("upgrade", {}, 'orch.upgrade needs to know which service: pillar=\'{"service": "notes"}\''),
        ("drain", {}, 'orch.drain needs to know which cell: pillar=\'{"cell": "cell2"}\''),
        ("deploy", {"canry": "cell1"}, "canry: orch.deploy has no such option (did you mean 'canary'?)"),
        ("deploy", {"service": "notes"}, "service: orch.deploy has no such option (there are: batch, canary, only, w"),
        ("drain", {"cell": "cell2", "batch": 2}, "batch: orch.drain has no such option (there are: cell, without)"),
        ("deploy", {"batch": 0}, "batch: 0 is neither"),
        ("deploy", {"batch": "200%"}, "batch: '200%' is neither"),
        ("deploy", {"batch": True}, "batch: True is neither"),
        ("deploy", {"only": {"notes": 1}}, "only: {'notes': 1} is not a list of names"),
        ("deploy", {"canary": ["cell1"]}, "canary: ['cell1'] is not a name"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind, said, told):
    (sentence,) = options.read(kind, said, ("rick",))[1]
    assert sentence.startswith(told)


def test_the_pillar_of_the_site_is_no_option():
    said = {"timezone": "UTC", "users": [], "services": {}}
    assert options.read("deploy", said, said)[1] == []


@pytest.mark.parametrize(
    "kind, said, told",
    [
        ("upgrade", {"service": "note"}, "there is no service 'note' in the fleet (did you mean 'notes'?)"),
        ("deploy", {"only": ["x"]}, "there is no service 'x' in the fleet (there are: board, notes)"),
        ("deploy", {"without": ["cell9"]}, "without: cell9 is no host of this fleet (salt-run fleet.status)"),
        ("deploy", {"canary": "edge1"}, "canary: edge1 is none of the cells that take part (there are: cell1, cell2"),
        ("upgrade", {"service": "notes", "canary": "cell1"}, "canary: cell1 is none of the cells that take part"),
        ("drain", {"cell": "cell1"}, "cell: cell1 runs Authentik"),
        ("drain", {"cell": "edge1"}, "cell: edge1 is no cell"),
        ("drain", {"cell": "stranger"}, "cell: stranger is no cell"),
        ("drain", {"cell": "cell9"}, "cell: cell9 is no host of this fleet"),
        ("upgrade", {"service": "board", "without": ["cell3"]}, "orch.upgrade: no host takes part"),
    ],
)
def test_what_this_fleet_cannot_do_is_refused(kind, said, told):
    (sentence,) = asked(kind, **said)[1]
    assert sentence.startswith(told)
