"""
Valkey's settings: what is the same in valkey.conf and in CONFIG GET.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

settings = load("utils", "valkey_settings")


@pytest.mark.parametrize(
    ("given_value", "running"),
    [
        ("64mb", "67108864"),
        ("1k", "1000"),
        ("1GB", "1073741824"),
        ("yes", "yes"),
        ("Yes", "yes"),
        ('""', ""),
        ("''", ""),
        ("3600 1  300 100", "3600 1 300 100"),
        ("normal 0 0 0 replica 256mb 64mb 60", "normal 0 0 0 replica 268435456 67108864 60"),
    ],
)
def test_one_value_in_two_spellings_is_equal(given_value, running):
    assert settings.equal(given_value, running)


@pytest.mark.parametrize(("given_value", "running"), [("64mb", "64"), ("yes", "no"), ("", "1"), ("1 2", "12")])
def test_different_values_are_not(given_value, running):
    assert not settings.equal(given_value, running)


@given(st.integers(min_value=0, max_value=2**40))
def test_a_size_is_equal_to_its_bytes(number):
    assert settings.equal(f"{number}mb", str(number * 1024**2))


def test_values_become_text_and_names_valkeys():
    assert settings.plain({"APPENDONLY": True, "databases": 16, "maxmemory_policy": "noeviction", "save": [60, 1]}) == {
        "appendonly": "yes",
        "databases": "16",
        "maxmemory-policy": "noeviction",
        "save": "60 1",
    }


@pytest.mark.parametrize("wrong", [["maxmemory"], "maxmemory", None, {"requirepass": "x"}, {"primaryauth": "x"}])
def test_what_is_no_mapping_or_would_show_a_secret_is_refused(wrong):
    with pytest.raises(SaltInvocationError):
        settings.plain(wrong)


def test_a_file_is_read_as_valkey_reads_it():
    assert settings.parse('# comment\n\nPort 0\nbind ""\nsave\ndatabases 16\ndatabases 17\n') == {
        "port": "0",
        "bind": '""',
        "save": "",
        "databases": "17",
    }


def test_only_what_a_running_server_cannot_change_needs_a_restart():
    assert settings.needs_restart("unixsocketperm")
    assert not settings.needs_restart("maxmemory")
