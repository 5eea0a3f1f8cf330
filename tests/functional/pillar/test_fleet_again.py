"""
What a master's worker remembers from one pillar to the next is what is so now.
"""

import time

import pytest
import salt.key

FILES = {
    "fleet.yaml": "cells: ['cell*']\nedges: {'edge*': ['cell*']}\n",
    "services/notes.yaml": "image: localhost/notes:1\ncells: cell1\nsite: notes.example.test\n",
}


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Later: what was changed a moment ago is not remembered."""
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 10**11)


@pytest.fixture
def listed(monkeypatch):
    """The times that Salt was asked for the accepted keys."""
    asked, real = [], salt.key.Key.list_status
    monkeypatch.setattr(salt.key.Key, "list_status", lambda self, match: asked.append(match) or real(self, match))
    return asked


def edges(host):
    return sorted(host.pillar["rick"]["fleet"]["edges"])


def test_keys_are_listed_again_only_after_one_came_or_went(fleet, listed, tmp_path):
    fleet("cell1", FILES)
    before = len(listed)
    assert edges(fleet("cell2", FILES)) == ["edge1"]
    # The fixture writes the keys anew, as the same files: nothing came or went.
    assert len(listed) == before
    fleet.hosts.append("edge2")
    assert edges(fleet("cell1", FILES)) == ["edge1", "edge2"]
    fleet.hosts.remove("edge1")
    (tmp_path / "pki/minions/edge1").unlink()
    assert edges(fleet("cell1", FILES)) == ["edge2"]
    assert len(listed) == before + 2


def test_an_entry_that_has_changed_reaches_its_host_with_the_next_pillar(fleet):
    assert fleet("cell1", FILES).pillar["rick"]["services"]["notes"]["image"] == "localhost/notes:1"
    newer = {**FILES, "services/notes.yaml": FILES["services/notes.yaml"].replace("notes:1", "notes:2")}
    assert fleet("cell1", newer).pillar["rick"]["services"]["notes"]["image"] == "localhost/notes:2"


def test_an_entry_that_moves_to_another_cell_leaves_the_first_one(fleet):
    assert set(fleet("cell1", FILES).pillar["rick"]["services"]) == {"notes"}
    moved = {**FILES, "services/notes.yaml": FILES["services/notes.yaml"].replace("cell1", "cell2")}
    assert fleet("cell1", moved).pillar["rick"]["services"] == {}
    assert set(fleet("cell2", moved).pillar["rick"]["services"]) == {"notes"}
