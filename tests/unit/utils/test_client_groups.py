import grp
from types import SimpleNamespace

import pytest
from tree import load

client_groups = load("utils", "client_groups")


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host whose groups are ``groups``, and the names that were looked up in ``asked``."""
    host = SimpleNamespace(groups={}, asked=[], file=tmp_path / "group")
    host.file.write_text("")

    def getgrnam(name):
        host.asked.append(name)
        return SimpleNamespace(gr_gid=host.groups[name])

    monkeypatch.setattr(grp, "getgrnam", getgrnam)
    monkeypatch.setattr(client_groups, "FILE", str(host.file))
    monkeypatch.setattr(client_groups, "_FOUND", {})
    return host


def test_a_group_that_does_not_exist_is_absent(host):
    host.groups = {"valkey-clients": 993}
    assert client_groups.on_this_host() == {"valkey-clients": 993}


def test_a_group_is_found_as_soon_as_it_is_made(host):
    assert client_groups.on_this_host() == {}
    host.groups = {"postgres-clients": 992, "valkey-clients": 993}
    host.file.write_text("postgres-clients:x:992:\nvalkey-clients:x:993:\n")
    assert client_groups.on_this_host() == host.groups


def test_what_did_not_change_is_looked_up_once(host):
    client_groups.on_this_host()
    client_groups.on_this_host().clear()  # what a caller does with the answer is the caller's
    assert len(host.asked) == len(client_groups.CLIENT_GROUPS)


def test_without_the_file_it_is_asked_each_time(host):
    host.file.unlink()
    client_groups.on_this_host()
    client_groups.on_this_host()
    assert len(host.asked) == 2 * len(client_groups.CLIENT_GROUPS)
