"""
Where the things of each Valkey are: no two of them share one, and what is not the tree's is told apart.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

places = load("utils", "valkey_places")

NAMES = st.from_regex(r"[a-z_][a-z0-9_-]{0,30}", fullmatch=True)
SHARED = {"title", "account", "instance"}


@given(one=NAMES, other=NAMES | st.none())
def test_no_two_servers_share_a_path_or_a_unit(one, other):
    here, there = places.place(one), places.place(other)
    if one != other:
        assert not {here[key] for key in here.keys() - SHARED} & {there[key] for key in there.keys() - SHARED}


def test_the_instance_called_server_does_not_take_the_shared_ones_files():
    assert places.place("server")["tmpfiles"] != "/etc/tmpfiles.d/valkey-server.conf"
    assert places.place("server")["config_file"] != places.place()["config_file"]


@pytest.mark.parametrize("name", ["", "A", "a.b", "a b", "a/b", "..", "a@b", "9a", "a" * 32, 7, ["a"], "a\n"])
def test_what_would_be_another_path_or_unit_is_refused(name):
    with pytest.raises(SaltInvocationError, match="valkey instance"):
        places.place(name)


def test_only_what_bears_our_mark_is_an_instance_of_ours(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "CONFIGURATION", str(tmp_path))
    (tmp_path / "valkey.conf").write_text(places.mark())
    (tmp_path / "valkey-notes.conf").write_text(f"{places.mark()}\nport 0\n")
    (tmp_path / "valkey-hand.conf").write_text("port 0\n")
    (tmp_path / "valkey-odd.conf").write_bytes(b"\xff\xfe")
    assert places.instances() == ["notes"]
    assert not places.is_ours(str(tmp_path / "valkey-none.conf"))


def test_data_that_were_kept_are_found(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "DATA", str(tmp_path))
    for name in ("valkey", "valkey-notes", "postgresql"):
        (tmp_path / name).mkdir()
    (tmp_path / "valkey-file").write_text("")
    for name in ("valkey-notes.unfinished", "valkey-hand"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(places, "CONFIGURATION", str(tmp_path))
    (tmp_path / "valkey-hand.conf").write_text("port 0\n")  # somebody else's, and so are its data
    assert places.kept_data() == ["notes"]
