"""
A master with a fleet, whose hosts are scripted: what each answers to a job is for the test to say.
"""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import loaded
import pytest
import salt.client
import salt.loader
import salt.utils.event
from scripted_hosts import Hosts

FILES = {
    "fleet.yaml": "cells: ['cell*']\nedges: {'edge*': ['cell*']}\nsso: cell1\n",
    "hosts/cell1.yaml": "authentik: {domain: auth.example.test}\n",
    "services/notes.yaml": "image: localhost/notes:1\nport: 8080\ncells: ['cell*']\nsite: notes.example.test\n",
    "services/board.yaml": "image: localhost/board:1\nport: 8080\ncells: cell2\nneeds: store\nauth: forward_auth\n"
    "site: board.example.test\n",
    "services/store.yaml": "image: localhost/store:1\nport: 8080\ncells: cell3\n",
    "secrets/notes.yaml": "mail: hunter2-of-notes\n",
}


@pytest.fixture
def master(fleet, monkeypatch, tmp_path):
    """
    A function that returns ``run`` (a runner's function by its name), ``hosts``, ``events``, ``states`` and ``opts``.

    ``files`` are those of the site; None takes one out.
    """
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    pillars = salt.loader.pillars

    def moved(*arguments, **options):
        loader = pillars(*arguments, **options)
        there = loader["fleet"].func.__globals__
        monkeypatch.setitem(there, "KEY", str(fleet.key))
        monkeypatch.setitem(there, "DRAINED", str(fleet.drained))
        return loader

    def start(accepted=("cell1", "cell2", "cell3", "edge1"), **files):
        fleet.hosts[:] = accepted
        texts = {**FILES, **{name.replace("__", "/") + ".yaml": text for name, text in files.items()}}
        opts = fleet("master", {name: text for name, text in texts.items() if text is not None}).opts
        opts["pillar"] = {}
        # What the fixture has left there for another test.
        for path in (Path(opts["pki_dir"]) / "minions").iterdir():
            if path.name not in accepted:
                path.unlink()
        hosts, events = Hosts(), []
        bus = SimpleNamespace(fire_event=lambda data, tag: events.append((tag, data)))
        monkeypatch.setattr(salt.loader, "pillars", moved)
        monkeypatch.setattr(salt.client, "get_local_client", lambda **_options: contextlib.nullcontext(hosts))
        monkeypatch.setattr(salt.utils.event, "get_event", lambda *_a, **_o: contextlib.nullcontext(bus))
        utils = salt.loader.utils(opts)
        monkeypatch.setitem(utils["rollout_record.load"].func.__globals__, "FOLDER", str(tmp_path / "rollouts"))
        context: dict = {}
        runners = salt.loader.runner(opts, utils=utils, context=context)
        own = loaded.of_runner(runners, "rollout")
        monkeypatch.setitem(own, "LOCK", str(tmp_path / "rollouts/lock"))
        monkeypatch.setitem(own, "DRAINED", str(fleet.drained))
        monkeypatch.setitem(own, "PATIENCE", 0.01)
        return SimpleNamespace(
            run=lambda name, *arguments, **keywords: runners[name](*arguments, **keywords),
            hosts=hosts,
            events=events,
            opts=opts,
            context=context,
            drained=fleet.drained,
        )

    return start
