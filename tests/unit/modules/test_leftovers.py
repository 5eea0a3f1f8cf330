"""
What a service does not declare any more: found kind by kind, and taken away without its data.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

leftovers = load("modules", "leftovers")

KINDS = {
    "private_socket.remnants": "private_socket.remove",
    "postgres_tenant.removal_differences": "postgres_tenant.lock",
    "valkey_user.remnants": "valkey_user.remove",
    "valkey_instance.remnants": "valkey_instance.remove",
    "secret.undeclared": "secret.remove_undeclared",
}
SOCKET = {"target": "/run/valkey/valkey.sock", "user": "notes", "group": "valkey-clients"}


def service(postgres=None, valkey=None, sockets=()):
    return {"postgres": postgres, "valkey": valkey, "private_sockets": list(sockets), "secrets": [], "values": []}


class Host:
    """A host on which one thing of each kind is left."""

    def __init__(self):
        self.there = set(KINDS)
        self.calls = []

    def function(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            if name in KINDS:
                return {name: {"old": "there", "new": None}} if name in self.there else {}
            self.there -= {differences for differences, take_away in KINDS.items() if take_away == name}
            return {}

        return call


@pytest.fixture
def host(monkeypatch):
    host = Host()
    salt = {name: host.function(name) for pair in KINDS.items() for name in pair}

    def undeclared(_name, targets):
        targets_left = [SOCKET["target"]] if "private_socket.remnants" in host.there else []
        return [{"target": target, "kind": "valkey"} for target in targets_left if target not in targets]

    salt["private_socket.undeclared"] = undeclared
    salt["postgresql.servers"] = list
    monkeypatch.setattr(leftovers, "__salt__", salt, raising=False)
    return host


@pytest.mark.parametrize(
    ("declared", "kept"),
    [
        (service(), set()),
        (service(postgres={"database": "notes"}), {"postgres_tenant.removal_differences"}),
        (service(valkey={"isolation": "prefix"}), {"valkey_user.remnants"}),
        (service(valkey={"isolation": "instance"}), {"valkey_user.remnants", "valkey_instance.remnants"}),
        (service(sockets=[SOCKET]), {"private_socket.remnants"}),
    ],
)
def test_what_is_declared_stays_and_all_else_goes(host, declared, kept):
    planned = leftovers.of("notes", declared)
    assert set(planned) == set(KINDS) - kept
    assert host.there == set(KINDS)
    assert leftovers.remove("notes", declared) == planned
    assert host.there == kept
    assert leftovers.of("notes", declared) == {}


def test_no_data_go(host):
    leftovers.remove("notes", service())
    given = [value for _, arguments, options in host.calls for value in [*arguments, *options.values()]]
    assert "delete" not in given
    assert not any(name in ("postgres_tenant.drop", "account.remove") for name, _, _ in host.calls)


def test_what_is_not_there_is_not_taken_away(host):
    host.there = {"secret.undeclared"}
    leftovers.remove("notes", service())
    assert [name for name, _, _ in host.calls if name in KINDS.values()] == ["secret.remove_undeclared"]


@pytest.mark.parametrize(
    ("postgres", "places"),
    [
        (None, [{}, {"server": "a"}, {"server": "b"}]),
        ({"database": "notes"}, [{"server": "a"}, {"server": "b"}]),
        ({"database": "notes", "server": "a"}, [{}, {"server": "b"}]),
    ],
)
def test_a_database_is_left_wherever_the_entry_does_not_say(host, postgres, places):
    leftovers.__salt__.update({"postgresql.servers": lambda: ["a", "b"], "postgresql.server": lambda server: {}})
    leftovers.of("notes", service(postgres=postgres))
    assert [options for name, _, options in host.calls if name == "postgres_tenant.removal_differences"] == places


def test_a_server_that_no_service_needs_may_be_down(host):
    def down(server):
        raise CommandExecutionError(f"{server} is not reached")

    leftovers.__salt__.update({"postgresql.servers": lambda: ["a"], "postgresql.server": down})
    assert "postgres_tenant.removal_differences" not in leftovers.of("notes", service(postgres={"database": "notes"}))
