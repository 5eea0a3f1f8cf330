"""
All data of a service, archived before any of it is dropped: each kind by its own module, none left if one fails.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

data = load("modules", "service_data")


@pytest.fixture
def host(monkeypatch, tmp_path):
    """What the modules of the kinds would do; ``broken`` is one that cannot prove its archive."""
    calls, broken = [], set()

    def archive(kind):
        def call(name, **arguments):
            calls.append((kind, arguments))
            if kind in broken:
                raise CommandExecutionError(f"{kind}: cannot be proved")
            (tmp_path / kind).touch()
            return [str(tmp_path / kind)]

        return call

    salt = {f"{kind}.archive": archive(kind) for kind in data.KINDS}
    salt |= {f"{kind}.to_archive": lambda name, kind=kind, **_: {kind: {"old": None}} for kind in data.KINDS}
    salt["postgres_tenant.places"] = lambda: [None]
    monkeypatch.setattr(data, "__salt__", salt, raising=False)
    return salt, calls, broken


def test_all_kinds_are_archived_and_the_account_knows_its_home(host, tmp_path):
    _, calls, _ = host
    assert set(data.to_archive("notes", "/srv/notes")) == set(data.KINDS)
    assert data.archive("notes", "/srv/notes") == [str(tmp_path / kind) for kind in data.KINDS]
    assert [arguments for kind, arguments in calls if kind == "account"] == [{"home": "/srv/notes"}]


@pytest.mark.parametrize("kind", data.KINDS)
def test_if_one_cannot_be_proved_no_archive_is_left(host, tmp_path, kind):
    _, _, broken = host
    broken.add(kind)
    with pytest.raises(CommandExecutionError, match="cannot be proved"):
        data.archive("notes")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_say_what_there_is_must_come_before(host):
    salt, _, _ = host
    salt["valkey.reachable"] = lambda: True
    for accepting in (True, False):
        salt["postgresql.server"] = lambda accepting=accepting: {"accepting": accepting}
        if accepting:
            data.require_servers()
        else:
            with pytest.raises(CommandExecutionError, match="must come before"):
                data.require_servers()
