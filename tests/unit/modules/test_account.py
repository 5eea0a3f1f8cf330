"""
Accounts: made with what the system's own tools are told, and nobody else's touched.
"""

import os
from itertools import pairwise
from types import SimpleNamespace

import pytest
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

account = load("modules", "account")
database = load("utils", "account_database")
archive = load("utils", "account_archive")

OWN = (os.getuid(), os.getgid())


class Host:
    """A host's accounts and directories in the place of what the utils read; it notes what it was told to do."""

    def __init__(self):
        self.users = {"root": user(0, 0, "root", home="/root"), "caddy": user(997, 988, "Caddy web server")}
        self.groups = {"root": 0, "caddy": 988, "postgres-clients": 996, "valkey-clients": 995, "www-data": 33}
        self.directories = {}
        self.commands, self.owned, self.steps = [], [], []

    def add(self, name, uid=999, gid=990, **more):
        self.users[name] = user(uid, gid, f"rick-infra service {name}", service=name, home=f"/opt/{name}", **more)
        self.groups[name] = gid
        self.directories[f"/opt/{name}"] = (0, gid, "0750")

    def status(self, path, repaired=None):
        found = self.directories.get(path)
        return dict(zip(("uid", "gid", "mode"), found, strict=True)) if found else None

    def own(self, path, uid, gid, mode):
        self.owned.append((path, uid, gid, mode))
        self.directories[path] = (uid, gid, mode)

    def archive(self, path, service):
        self.steps.append(f"archive {path}")
        return __file__  # something that is there

    def run(self, *command):
        self.commands.append(command)
        self.steps.append(command[0])
        if command[0] == "useradd":
            self.add(command[-1])
        elif command[0] == "groupadd":
            self.groups[command[-1]] = 990


def user(uid, gid, comment, service=None, home="/nowhere", groups=(), shell="/usr/sbin/nologin", **more):
    found = {"uid": uid, "gid": gid, "comment": comment, "service": service, "home": home, "shell": shell}
    return {**found, "groups": sorted(groups), "password": False, "expires": None, **more}


@pytest.fixture
def host(monkeypatch):
    host = Host()
    utils = functions(
        "utils", "account_database", "account_directories", "account_archive", "archives", "client_groups"
    )
    utils |= {
        "account_database.stamp": lambda: "a stamp",
        "account_database.read": lambda: {"users": host.users, "groups": host.groups},
        "account_directories.status": host.status,
        "account_directories.own": host.own,
        "account_archive.refuse_mounts": lambda path: None,
        "account_archive.archive": host.archive,
        "account_archive.delete": lambda path: (host.steps.append(f"delete {path}"), host.directories.pop(path)),
    }
    monkeypatch.setattr(account, "__utils__", utils, raising=False)
    monkeypatch.setattr(account, "__context__", {}, raising=False)
    monkeypatch.setattr(account, "_run", host.run)
    monkeypatch.setattr(account, "_processes", lambda uid: [])
    monkeypatch.setattr(account.pwd, "getpwnam", unknown)
    monkeypatch.setattr(account.pwd, "getpwuid", unknown)
    return host


def unknown(_which):
    raise KeyError


GROUPS = ["valkey-clients", "postgres-clients"]
DATA = [{"path": "/opt/notes/data"}, {"path": "/opt/notes/web", "owner": 33, "group": "www-data", "mode": "2770"}]


def test_a_new_account_is_planned_completely(host):
    assert account.differences("notes", None, None, GROUPS, DATA) == {
        "user notes": {"old": None, "new": "made"},
        "groups": {"old": [], "new": ["postgres-clients", "valkey-clients"]},
        "/opt/notes": {"old": None, "new": "root:notes 0750"},
        "/opt/notes/data": {"old": None, "new": "notes:notes 0750"},
        "/opt/notes/web": {"old": None, "new": "33:www-data 2770"},
    }
    assert host.commands == []


def test_a_new_account_is_made_as_a_system_user_that_cannot_log_in(host):
    account.create("notes", None, None, GROUPS, DATA)
    (command,) = host.commands
    assert command[0] == "useradd"
    assert {"--system", "--user-group", "--no-create-home"} <= set(command)
    pairs = list(pairwise(command))
    for pair in [
        ("--shell", "/usr/sbin/nologin"),
        ("--home-dir", "/opt/notes"),
        ("--comment", "rick-infra service notes"),
        ("--groups", "postgres-clients,valkey-clients"),
    ]:
        assert pair in pairs
    assert "--uid" not in command
    assert host.owned == [
        ("/opt/notes", 0, 990, "0750"),
        ("/opt/notes/data", 999, 990, "0750"),
        ("/opt/notes/web", 33, 33, "2770"),
    ]


def test_a_fixed_uid_is_asked_for(host):
    assert account.differences("notes", 1500)["user notes"] == {"old": None, "new": "uid 1500"}
    account.create("notes", 1500)
    assert ("--uid", "1500") in pairwise(host.commands[0])


def test_an_account_as_declared_is_left_alone(host):
    host.add("notes", groups=GROUPS)
    host.directories |= {"/opt/notes/data": (999, 990, "0750"), "/opt/notes/web": (33, 33, "2770")}
    assert account.create("notes", None, None, GROUPS, DATA) == {}
    assert account.create("notes", 999, "/opt/notes", [*GROUPS, *GROUPS], DATA) == {}
    assert host.commands == host.owned == []


@pytest.mark.parametrize(
    ("drift", "key", "options"),
    [
        ({"groups": ["audio"]}, "groups", ("--groups", "postgres-clients,valkey-clients")),
        ({"groups": [*GROUPS, "audio"]}, "groups", ("--groups", "postgres-clients,valkey-clients")),
        ({"shell": "/bin/bash"}, "shell", ("--shell", "/usr/sbin/nologin")),
        ({"password": True}, "password", ("--lock",)),
        ({"expires": 1}, "locked", ("--expiredate", "")),
    ],
)
def test_drift_is_repaired_by_exactly_what_it_takes(host, drift, key, options):
    host.add("notes", **{"groups": GROUPS, **drift})
    assert list(account.differences("notes", groups=GROUPS)) == [key]
    account.create("notes", groups=GROUPS)
    assert host.commands == [("usermod", *options, "notes")]
    assert host.owned == []


def test_groups_no_longer_declared_are_taken_away(host):
    host.add("notes", groups=GROUPS)
    account.create("notes")
    assert host.commands == [("usermod", "--groups", "", "notes")]


@pytest.mark.parametrize("now", [(0, 0, "0750"), (0, 990, "0755"), (999, 990, "0750")])
def test_a_home_that_drifted_is_repaired(host, now):
    host.add("notes")
    host.directories["/opt/notes"] = now
    assert account.create("notes")["/opt/notes"]["new"] == "root:notes 0750"
    assert host.owned == [("/opt/notes", 0, 990, "0750")]


def test_a_group_that_a_killed_run_did_not_make_is_made_with_its_number(host):
    host.add("notes")
    del host.groups["notes"]
    assert account.create("notes")["group"] == {"old": "990", "new": "notes"}
    assert host.commands == [("groupadd", "--system", "--gid", "990", "notes"), ("usermod", "--gid", "notes", "notes")]


def test_a_missing_group_is_planned_but_cannot_be_done(host):
    del host.groups["valkey-clients"]
    assert "groups" in account.differences("notes", groups=GROUPS)
    with pytest.raises(CommandExecutionError, match=r"group valkey-clients does not exist: infra\.valkey creates it"):
        account.create("notes", groups=GROUPS)
    assert host.commands == []


@pytest.mark.parametrize("function", ["differences", "create"])
class TestRefusals:
    def refused(self, function, words, *arguments):
        with pytest.raises(CommandExecutionError, match=words):
            getattr(account, function)(*arguments)

    def test_a_user_that_is_not_the_service_s(self, host, function):
        self.refused(function, r"there is a user caddy \(Caddy web server\) that is not this service's", "caddy")
        host.users["notes"] = user(999, 990, "rick-infra service wiki", service="wiki")
        self.refused(function, "not this service's", "notes")
        assert host.commands == []

    def test_a_group_that_is_not_the_service_s(self, host, function):
        self.refused(function, "there is a group www-data that is not this service's", "www-data")

    def test_a_user_of_another_name_service(self, host, function, monkeypatch):
        monkeypatch.setattr(account.pwd, "getpwnam", lambda name: SimpleNamespace(pw_name=name))
        self.refused(function, "the name service has another user notes", "notes")

    @pytest.mark.parametrize("exists", [True, False])
    def test_a_uid_of_somebody_else(self, host, function, monkeypatch, exists):
        if exists:
            host.add("notes")
        monkeypatch.setattr(account.pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="wiki"))
        self.refused(function, "uid 1500 is that of wiki: choose another one", "notes", 1500)

    def test_another_uid_than_the_account_has(self, host, function):
        host.add("notes")
        self.refused(function, "its uid is 999, not 1500", "notes", 1500)

    def test_another_home_while_the_old_one_is_there(self, host, function):
        host.add("notes")
        self.refused(
            function,
            "its home is /opt/notes, not /srv/notes: stop the service and move it",
            "notes",
            None,
            "/srv/notes",
        )

    @pytest.mark.parametrize(
        ("filled", "mode", "words"), [(True, "0755", "not empty"), (True, "0750", None), (False, "0755", None)]
    )
    def test_a_home_with_somebody_else_s_files(self, host, function, monkeypatch, tmp_path, filled, mode, words):
        home = tmp_path / "notes"
        home.mkdir()
        if filled:
            (home / "file").touch()
        host.directories[str(home)] = (0, 0, mode)
        monkeypatch.setattr(account, "OTHERS", [])
        if words:
            self.refused(function, words, "notes", None, str(home))
        else:
            assert "user notes" in getattr(account, function)("notes", None, str(home))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("Notes",), "small letters"),
        (("-x",), "small letters"),
        (("a" * 32,), "at most 31"),
        (("a.b",), "small letters"),
        ((None,), "small letters"),
        (("notes", 0), "above 0"),
        (("notes", -1), "above 0"),
        (("notes", True), "above 0"),
        (("notes", "1500"), "above 0"),
        (("notes", 2**31), "above 0"),
        (("notes", None, "opt/notes"), "not an absolute path"),
        (("notes", None, "/opt/../etc"), "not an absolute path"),
        (("notes", None, "/srv"), "belongs to the system"),
        (("notes", None, "/usr/lib/notes"), "belongs to the system"),
        (("notes", None, "/var/lib/rick-infra/notes"), "belongs to the system"),
        (("notes", None, None, None, [{"path": "data"}]), "not an absolute path"),
        (("notes", None, None, None, [{"path": "/opt/notes/data", "mode": "u+w"}]), "not octal"),
        (("notes", None, None, None, [{"path": "/opt/notes/data", "mode": "0790"}]), "not octal"),
    ],
)
def test_arguments_that_cannot_be(host, arguments, words):
    for function in (account.differences, account.create):
        with pytest.raises(SaltInvocationError, match=words):
            function(*arguments)
    assert host.commands == []


def test_only_marked_accounts_are_listed(host):
    host.add("notes", groups=["postgres-clients"])
    host.add("wiki", uid=998, gid=989, expires=1)
    listed = account.list_()
    assert set(listed) == {"notes", "wiki"}
    assert [listed[name]["locked"] for name in ("notes", "wiki")] == [False, True]
    assert listed["notes"] == {
        "service": "notes",
        "uid": 999,
        "gid": 990,
        "home": "/opt/notes",
        "groups": ["postgres-clients"],
        "locked": False,
    }


@pytest.mark.parametrize("data", ["keep", "archive", "delete"])
def test_nothing_foreign_is_removed(host, data):
    host.users["notes"] = user(999, 990, "rick-infra service wiki", service="wiki")
    for name in ("caddy", "notes", "nobody-of-that-name"):
        assert account.remnants(name, None, data) == {}
        assert account.remove(name, None, data) == {}
    assert host.steps == []


def test_keep_locks_the_account_and_takes_its_groups(host):
    drift = {"groups": GROUPS, "shell": "/bin/sh"}
    host.add("notes", **drift)
    assert account.remove("notes") == {
        "locked": {"old": False, "new": True},
        "shell": {"old": "/bin/sh", "new": "/usr/sbin/nologin"},
        "groups": {"old": sorted(GROUPS), "new": []},
    }
    assert host.commands == [
        ("usermod", "--lock", "--expiredate", "1", "--shell", "/usr/sbin/nologin", "--groups", "", "notes")
    ]
    host.add("notes", expires=1)
    assert account.remove("notes") == {}


@pytest.mark.parametrize(
    ("data", "steps", "new"),
    [
        (
            "archive",
            ["archive /opt/notes", "delete /opt/notes", "userdel", "groupdel"],
            "in /var/lib/rick-infra/archive/notes",
        ),
        ("delete", ["delete /opt/notes", "userdel", "groupdel"], None),
    ],
)
@pytest.mark.parametrize("locked", [None, 1])
def test_an_account_goes_after_its_files(host, data, steps, new, locked):
    host.add("notes", expires=locked)
    planned = account.remnants("notes", None, data)
    assert planned == {
        "/opt/notes": {"old": "root:notes 0750", "new": new},
        "user notes": {"old": "uid 999", "new": None},
    }
    assert account.remove("notes", None, data) == planned
    assert host.steps == steps


def test_what_was_archived_before_anything_went_is_not_archived_again(host):
    host.add("notes")
    assert set(account.to_archive("notes")) == {"/opt/notes"}
    assert len(account.archive("notes")) == 1
    assert (account.to_archive("notes"), account.archive("notes")) == ({}, [__file__])
    assert "/opt/notes" in host.directories
    account.remove("notes", None, "archive")
    assert host.steps == ["archive /opt/notes", "delete /opt/notes", "userdel", "groupdel"]
    assert account.archive("wiki") == []


def test_a_run_killed_after_the_files_goes_on_with_the_account(host):
    host.add("notes")
    del host.directories["/opt/notes"]
    account.remove("notes", None, "archive")
    assert host.steps == ["userdel", "groupdel"]


@pytest.mark.parametrize("data", ["keep", "archive", "delete"])
def test_nothing_is_changed_while_processes_run(host, monkeypatch, data):
    host.add("notes", groups=GROUPS)
    monkeypatch.setattr(account, "_processes", lambda uid: ["4711 (web)"])
    assert account.remnants("notes", None, data), "a plan does not mind: an earlier state will have stopped them"
    with pytest.raises(CommandExecutionError, match=r"processes still run as notes: 4711 \(web\)"):
        account.remove("notes", None, data)
    with pytest.raises(CommandExecutionError, match="processes still run"):
        account.archive("notes")
    assert host.steps == []


@pytest.mark.parametrize("data", ["archive", "delete"])
@pytest.mark.parametrize("now", [(999, 990, "0750"), (0, 0, "0755"), (0, 33, "0750")])
def test_a_home_that_is_not_as_we_left_it_is_not_deleted(host, data, now):
    host.add("notes")
    host.directories["/opt/notes"] = now
    with pytest.raises(CommandExecutionError, match="nothing is removed"):
        account.remove("notes", None, data)
    with pytest.raises(CommandExecutionError, match="its home is /opt/notes, not /srv/notes"):
        account.remove("notes", "/srv/notes", data)
    assert host.steps == []


def test_an_archive_that_fails_leaves_everything(host, monkeypatch):
    def fail(_path, _service):
        raise CommandExecutionError("differ from the files")

    host.add("notes")
    monkeypatch.setitem(account.__utils__, "account_archive.archive", fail)
    with pytest.raises(CommandExecutionError, match="differ"):
        account.remove("notes", None, "archive")
    assert host.steps == []


def test_what_to_do_with_the_data_must_be_known(host):
    with pytest.raises(SaltInvocationError, match="one of keep, archive, delete"):
        account.remnants("notes", None, "purge")


def test_the_accounts_are_read_once_until_somebody_changes_them(host, monkeypatch):
    reads, stamp = [], [1]
    host.add("notes")
    monkeypatch.setitem(account.__utils__, "account_database.stamp", lambda: list(stamp))
    monkeypatch.setitem(
        account.__utils__,
        "account_database.read",
        lambda: reads.append(1) or {"users": host.users, "groups": host.groups},
    )
    for _ in range(3):
        account.differences("notes")
    assert len(reads) == 1
    stamp[0] = 2
    account.list_()
    assert len(reads) == 2


def test_one_s_own_processes_are_found():
    found = load("modules", "account")
    assert any(line.startswith(f"{os.getpid()} (") for line in found._processes(os.getuid()))
    assert found._processes(2**31 - 7) == []
