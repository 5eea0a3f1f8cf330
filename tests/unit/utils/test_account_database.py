"""
The host's accounts from its three files.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

account_database = load("utils", "account_database")

USERS = """root:x:0:0:root:/root:/bin/bash
notes:x:999:990:rick-infra service notes,,,:/opt/notes:/usr/sbin/nologin
wiki:x:998:989:rick-infra service wiki:/opt/wiki:/usr/sbin/nologin
caddy:x:997:988:Caddy web server:/var/lib/caddy:/usr/sbin/nologin
+::::::
half:x
"""
GROUP = """root:x:0:
notes:x:990:
wiki:x:989:
postgres-clients:x:996:notes,wiki
valkey-clients:x:995:notes
"""
SHADOW = """root:*:20000:0:99999:7:::
notes:!:20000::::::
wiki:!!$y$hash:20000:::::1:
caddy:$y$hash:20000::::::
"""


@pytest.fixture
def etc(tmp_path, monkeypatch):
    for name, text in {"passwd": USERS, "group": GROUP, "shadow": SHADOW}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(account_database, "FOLDER", str(tmp_path))
    return tmp_path


def test_an_account_is_known_with_its_groups_and_its_locks(etc):
    found = account_database.read()
    assert found["groups"] == {"root": 0, "notes": 990, "wiki": 989, "postgres-clients": 996, "valkey-clients": 995}
    assert set(found["users"]) == {"root", "notes", "wiki", "caddy"}
    assert found["users"]["notes"] == {
        "uid": 999,
        "gid": 990,
        "comment": "rick-infra service notes",
        "home": "/opt/notes",
        "shell": "/usr/sbin/nologin",
        "service": "notes",
        "groups": ["postgres-clients", "valkey-clients"],
        "password": False,
        "expires": None,
    }
    assert found["users"]["wiki"]["expires"] == 1
    assert found["users"]["wiki"]["password"] is False
    assert found["users"]["caddy"]["password"] is True
    assert found["users"]["caddy"]["service"] is None


def test_the_mark_is_read_as_it_is_written():
    assert account_database.mark("notes").removeprefix(account_database.MARK) == "notes"


@pytest.mark.parametrize("file", ["passwd", "group", "shadow"])
def test_a_change_of_any_file_shows(etc, file):
    before = account_database.stamp()
    assert account_database.stamp() == before
    with (etc / file).open("a") as stream:
        stream.write("x:y:1:1:::\n")
    assert account_database.stamp() != before


@pytest.mark.parametrize("file", ["passwd", "group", "shadow"])
def test_a_missing_file_is_named(etc, file):
    (etc / file).unlink()
    for function in (account_database.read, account_database.stamp):
        with pytest.raises(CommandExecutionError, match=file):
            function()
