"""
Locales: which ones a host has, and how it gets another.
"""

import subprocess
import types

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

locales = load("utils", "postgresql_locales")


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host with the sources of two locales and none made; ``host.called`` is what localedef was given."""
    host = types.SimpleNamespace(called=[], returncode=0)
    monkeypatch.setattr(locales, "LOCALES", tmp_path / "made")
    monkeypatch.setattr(locales, "SOURCES", tmp_path / "sources")
    for folder in ("made", "sources"):
        (tmp_path / folder).mkdir()
    for source in ("en_US", "sr_RS@latin"):
        (tmp_path / "sources" / source).touch()

    def run(command, **options):
        host.called.append(command)
        if not host.returncode:
            locales.Path(command[-1]).mkdir()
        return subprocess.CompletedProcess(command, host.returncode, "", "cannot write")

    monkeypatch.setattr(subprocess, "run", run)
    return host


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "C.utf8"])
def test_the_locales_of_libc_are_there(host, locale):
    assert locales.missing(locale) is False


@pytest.mark.parametrize("locale", ["en_US.UTF-8", "en_US.utf8", "sr_RS.UTF-8@latin"])
def test_another_is_missing_until_it_is_made(host, locale):
    assert locales.missing(locale) is True
    locales.generate(locale)
    assert locales.missing(locale) is False


def test_the_archive_is_left_alone_so_that_a_running_server_sees_the_locale(host):
    locales.generate("en_US.UTF-8")
    [command] = host.called
    assert "--no-archive" in command
    assert command[-1].endswith("/en_US.utf8")


@pytest.mark.parametrize(
    "locale", ["en_US", "en_US.ISO-8859-1", "../en_US.UTF-8", "", None, "en_US.UTF-8/..", "english"]
)
def test_what_is_no_locale_in_utf8_is_refused(host, locale):
    with pytest.raises(SaltInvocationError, match=r"en_US\.UTF-8"):
        locales.missing(locale)


def test_an_unknown_language_is_told_with_the_place_to_look(host):
    with pytest.raises(CommandExecutionError, match=r"no .*/sources/xx_XX; ls "):
        locales.generate("xx_XX.UTF-8")


def test_what_localedef_says_comes_through(host):
    host.returncode = 1
    with pytest.raises(CommandExecutionError, match="cannot write"):
        locales.generate("en_US.UTF-8")
