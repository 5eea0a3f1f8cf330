"""
How the commands in bin speak, and how they install what they lack.
"""

import re
import threading

import pytest


@pytest.fixture
def console(command):
    return command("console.py")


class Apt:
    """apt-get, as far as its exit code and words go."""

    def __init__(self, failing=None, words=""):
        self.failing, self.words, self.calls = failing, words, []

    def run(self, command, env, **_options):
        self.calls.append((command, env))
        code = 100 if self.failing in command else 0
        return type("Done", (), {"returncode": code, "stderr": self.words, "stdout": ""})


@pytest.fixture
def apt(console, monkeypatch):
    def use(**behaviour):
        apt = Apt(**behaviour)
        monkeypatch.setattr(console.subprocess, "run", apt.run)
        monkeypatch.setattr(console.shutil, "which", lambda command: f"/usr/bin/{command}")
        return apt

    return use


def test_what_is_quick_says_nothing(console, capsys):
    with console.step("a quick thing"):
        pass
    assert capsys.readouterr().out == ""


def test_what_takes_long_says_what_and_how_long(console, monkeypatch, capsys):
    announced = threading.Event()

    def say(text):
        print(text)
        announced.set()

    monkeypatch.setattr(console, "PATIENCE", 0)
    monkeypatch.setattr(console, "say", say)
    with console.step("a slow thing"):
        assert announced.wait(10)
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\[ *\d+\.\d s\] a slow thing …", first)
    assert re.fullmatch(r"\[ *\d+\.\d s\] a slow thing: done in \d+\.\d s", last)


def test_what_fails_is_not_called_done(console, monkeypatch, capsys):
    announced = threading.Event()
    monkeypatch.setattr(console, "PATIENCE", 0)
    monkeypatch.setattr(console, "say", lambda text: (print(text), announced.set()))

    def fail():
        with console.step("a slow thing"):
            assert announced.wait(10)
            raise console.Failure("it broke")

    with pytest.raises(console.Failure, match="it broke"):
        fail()
    assert "done" not in capsys.readouterr().out


def test_no_timer_outlives_its_step(console):
    with console.step("a quick thing"):
        timers = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    for timer in timers:
        timer.join(10)
        assert not timer.is_alive()


def test_nothing_missing_installs_nothing(console, apt, capsys):
    used = apt()
    console.apt_install([])
    assert used.calls == []
    assert capsys.readouterr().out == ""


def test_what_is_missing_is_named_and_installed(console, apt, monkeypatch, capsys):
    monkeypatch.setenv("https_proxy", "http://proxy.example.org:3128")
    used = apt()
    console.apt_install(["nftables", "iproute2"])
    assert capsys.readouterr().out == "installing with apt: nftables iproute2\n"
    (update, environment), (install, _) = used.calls
    assert (update[0], update[-1]) == ("apt-get", "update")
    assert install[0] == "apt-get"
    assert install[-5:] == ["install", "--yes", "--no-install-recommends", "nftables", "iproute2"]
    assert environment["DEBIAN_FRONTEND"] == "noninteractive"
    assert environment["https_proxy"] == "http://proxy.example.org:3128", "the way out stays known to apt"


@pytest.mark.parametrize("failing", ["update", "install"])
def test_apt_s_last_words_are_the_error(console, apt, failing, capsys):
    apt(failing=failing, words="W: something\nE: Unable to fetch\n")
    with pytest.raises(console.Failure, match=f"^apt-get {failing} failed: E: Unable to fetch$"):
        console.apt_install(["nftables"])
    assert "W: something" in capsys.readouterr().err


def test_an_apt_without_words_is_an_error_all_the_same(console, apt):
    apt(failing="install")
    with pytest.raises(console.Failure, match=r"^apt-get install failed: no message$"):
        console.apt_install(["nftables"])


def test_a_host_without_apt_is_told_what_it_needs(console, monkeypatch):
    monkeypatch.setattr(console.shutil, "which", lambda command: None)
    with pytest.raises(console.Failure, match=r"^needs nftables, and there is no apt-get .* use a Debian-family host$"):
        console.apt_install(["nftables"])
