"""
bin/demo: finding its machine, and saying what failed.
"""

import socket
import subprocess

import jinja2
import pytest
import yaml
from tree import TREE


@pytest.fixture
def demo(command):
    return command("demo")


def listing(monkeypatch, demo, text):
    done = subprocess.CompletedProcess([], 0, stdout=text, stderr="")
    monkeypatch.setattr(demo.subprocess, "run", lambda *_arguments, **_options: done)


def test_its_machine_is_found_among_others(demo, monkeypatch):
    rows = "NAME STATE SUITE ADDRESS\ndemo-2 up trixie 10.0.0.3\ndemo off trixie 10.0.0.2\n"
    listing(monkeypatch, demo, rows)
    assert demo.find() == ("off", "10.0.0.2")


def test_no_machine_is_none(demo, monkeypatch):
    listing(monkeypatch, demo, "NAME STATE SUITE ADDRESS\n")
    assert demo.find() is None


def test_a_machine_that_shows_another_tree_is_refused(demo, monkeypatch):
    monkeypatch.setattr(demo, "find", lambda: ("up", "10.0.0.2"))
    listing(monkeypatch, demo, "1:2\n")
    with pytest.raises(demo.Failure, match="--fresh"):
        demo.machine()


def test_a_service_that_does_not_answer_is_a_failure(demo):
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(demo.Failure, match="does not answer"):
            demo.answer(f"http://127.0.0.1:{bound.getsockname()[1]}/")


@pytest.mark.parametrize(("addresses", "listen"), [(["10.0.0.2"], "10.0.0.2"), ([], "127.0.0.1")])
def test_its_pillar_listens_where_the_lab_reaches_it_and_nowhere_else(demo, addresses, listen):
    functions = {"network.ip_addrs": lambda interface: addresses if interface == "host0" else []}
    text = jinja2.Template((TREE / "examples/demo/pillar/site.sls").read_text()).render(salt=functions)
    rick = yaml.safe_load(text)["rick"]
    assert rick["notes"] == {"listen": listen, "port": demo.PORT}
    assert rick["examples"] == ["notes"]
