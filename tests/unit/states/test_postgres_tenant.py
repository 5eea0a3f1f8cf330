"""
A service's PostgreSQL in both modes: planned, made, and nothing to do the second time.
"""

import pytest
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

state = load("states", "postgres_tenant")

NEW = {"role": {"old": None, "new": "notes"}}
GONE = {"archive of notes": {"old": None, "new": "/a"}, "database notes": {"old": "present", "new": None}}


class Host:
    def __init__(self):
        self.accepting, self.clusters, self.visitors = True, [], []
        self.there, self.done, self.error, self.deaf = False, [], None, False

    def functions(self):
        return {
            "postgresql.server": lambda: {"accepting": self.accepting, "version": "17.6"},
            "postgresql.clusters": lambda: self.clusters,
            "postgres_tenant.places": lambda: [None],
            "postgres_tenant.differences": lambda name, tenant: {} if self.there else dict(NEW),
            "postgres_tenant.removal_differences": self.removal_differences,
            "postgres_tenant.refuse_visitors": self.refuse_visitors,
            "postgres_tenant.archive": self.archive,
            **{
                f"postgres_tenant.{name}": self._acting(name, there)
                for name, there in (("apply", True), ("lock", None), ("drop", False))
            },
        }

    def refuse_visitors(self, name, place):
        if self.visitors:
            raise CommandExecutionError(f"{self.visitors[0]} is connected")

    def archive(self, name, archive, place):
        self.done.append("archive")
        return ["/a/notes/1.dump", "/a/notes/2.dump"]

    def removal_differences(self, name, data, archive, place):
        if data == "keep":
            return {} if "lock" in self.done else {"role": {"old": {"login": True}, "new": {"login": False}}}
        return (
            {key: value for key, value in GONE.items() if "archive" not in key or data == "archive"}
            if self.there
            else {}
        )

    def _acting(self, name, there):
        def act(*arguments, **options):
            if self.error:
                raise self.error
            self.done.append(name)
            if there is not None and not self.deaf:
                self.there = there

        return act


@pytest.fixture
def host():
    return Host()


@pytest.fixture
def apply(monkeypatch, results):
    def apply(function, host, test, **options):
        monkeypatch.setattr(state, "__salt__", host.functions(), raising=False)
        monkeypatch.setattr(state, "__utils__", results, raising=False)
        monkeypatch.setattr(state, "__opts__", {"test": test}, raising=False)
        result = getattr(state, function)("notes", **options)
        assert result["name"] == "notes"
        return result

    return apply


@pytest.mark.parametrize(
    ("function", "data", "calls"),
    [
        ("present", None, ["apply"]),
        ("absent", "keep", ["lock"]),
        ("absent", "archive", ["lock", "archive", "drop"]),
        ("absent", "delete", ["lock", "drop"]),
    ],
)
def test_what_is_planned_is_done_and_not_done_again(apply, host, function, data, calls):
    options = {"data": data} if data else {}
    host.there = function == "absent"
    plan = apply(function, host, test=True, **options)
    assert (plan["result"], host.done) == (None, [])
    done = apply(function, host, test=False, **options)
    assert done["result"] is True, done["comment"]
    assert done["changes"] == plan["changes"] != {}
    assert host.done == calls
    for test in (True, False):
        again = apply(function, host, test=test, **options)
        assert (again["result"], again["changes"], host.done) == (True, {}, calls)


def test_the_archive_of_each_database_is_named(apply, host):
    host.there = True
    comment = apply("absent", host, test=False, data="archive")["comment"]
    assert "archived: /a/notes/1.dump, /a/notes/2.dump" in comment


def test_nothing_is_archived_or_dropped_while_somebody_else_is_connected(apply, host):
    host.there, host.visitors = True, ["admin"]
    result = apply("absent", host, test=False, data="archive")
    assert result["result"] is False
    assert "admin is connected" in result["comment"]
    assert host.done == ["lock"]


def test_an_archive_that_fails_leaves_everything(apply, host, monkeypatch):
    host.there = True
    failing = {
        **host.functions(),
        "postgres_tenant.archive": lambda *_: (_ for _ in ()).throw(CommandExecutionError("x")),
    }
    monkeypatch.setattr(host, "functions", lambda: failing)
    assert apply("absent", host, test=False, data="archive")["result"] is False
    assert host.done == ["lock"]


@pytest.mark.parametrize("function", ["present", "absent"])
def test_without_a_server_a_run_fails(apply, host, function):
    host.accepting = False
    result = apply(function, host, test=False)
    assert result["result"] is False
    assert "must come before" in result["comment"]


def test_a_virgin_host_is_planned_for_and_a_stopped_server_is_not_guessed_about(apply, host):
    host.accepting = False
    assert apply("present", host, test=True)["result"] is None
    host.clusters = ["/var/lib/postgresql/17/main"]
    result = apply("present", host, test=True)
    assert (result["result"], result["changes"]) == (True, {})
    assert "down" in result["comment"]


@pytest.mark.parametrize("error", [CommandExecutionError("disk full"), SaltInvocationError("no name")])
def test_errors_are_the_comment(apply, host, error):
    host.error = error
    result = apply("present", host, test=False)
    assert (result["result"], result["comment"]) == (False, f"service notes: {error}")


def test_a_change_that_had_no_effect_is_a_failure(apply, host):
    host.deaf = True
    result = apply("present", host, test=False)
    assert result["result"] is False
    assert "still different: role" in result["comment"]
