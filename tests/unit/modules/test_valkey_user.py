"""
Services' users of Valkey, and what becomes of their keys: files are real, servers are doubles at their sockets.
"""

import json
import time
from pathlib import Path

import pytest
from doubles.valkey_host import ME, Host
from dunders import functions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

valkey = load("modules", "valkey")
users = load("modules", "valkey_user")
archive = load("utils", "valkey_archive")

PREFIX_RULES = "~notes:* resetchannels &notes:*"


@pytest.fixture
def host(monkeypatch, tmp_path):
    host = Host(monkeypatch, tmp_path)
    for module in (valkey, users):
        host.prepare(monkeypatch, module)
    users.__utils__.update(functions("utils", "archives"))
    yield host
    host.stop()


@pytest.fixture
def server(host):
    valkey.administrator_apply()
    return host.start()


@pytest.fixture
def instance(host, server):
    """An instance of the service shop, as far as users are concerned."""
    valkey.administrator_apply("shop")
    places = load("utils", "valkey_places")
    Path(places.place("shop")["config_file"]).write_text(f"{places.mark()}\n")
    return host.start_instance("shop")


def line_of(host, name):
    return next(line for line in host.acl_file.read_text().splitlines() if line.startswith(f"user {name} "))


def fill(server, **keys):
    for name, value in keys.items():
        server.databases[0][name.replace("__", ":").encode()] = (value, -1)


def test_a_user_is_in_the_file_and_in_the_server_and_its_secret_is_made(host, server):
    assert set(users.differences("notes")) == {"line"}
    users.apply("notes")
    assert users.differences("notes") == {}
    assert server.accepts("notes", host.secret("notes.valkey"))
    assert PREFIX_RULES in line_of(host, "notes")
    host.restart("restart", ["valkey-server.service"])
    assert users.differences("notes") == {}


def test_the_file_is_put_into_force_by_acl_load_and_no_trial_is_left(host, server):
    users.apply("notes")
    done = [words[:3] for words in server.commands if words[0] == "ACL" and words[1] != "LIST"]
    assert done == [["ACL", "SETUSER", "rick-infra-trial"], ["ACL", "DELUSER", "rick-infra-trial"], ["ACL", "LOAD"]]
    assert set(server.users) == {"default", "notes", "rick-infra"}
    assert "trial" not in host.acl_file.read_text()


def test_a_secret_that_is_there_is_used(host, server):
    load("utils", "secret_files").put(str(host.secrets / "notes.cache"), "a-password-of-the-service\n")
    users.apply("notes", {"secret": "notes.cache"})
    assert server.accepts("notes", "a-password-of-the-service")
    assert not (host.secrets / "notes.valkey").exists()


def test_other_users_lines_and_connections_are_kept(host, server):
    users.apply("wiki")
    before = host.acl_file.read_text().splitlines()
    client = load("utils", "valkey_server").client(str(host.socket), "wiki", host.secret("wiki.valkey"))
    assert client.ask("PING") == "PONG"
    users.apply("notes")
    assert set(before) < set(host.acl_file.read_text().splitlines())
    assert client.ask("PING") == "PONG"
    assert client.connections == 1
    client.close()


def test_nothing_that_is_told_shows_a_secret_or_its_hash(host, server):
    told = [users.differences("notes"), users.apply("notes"), users.differences("notes", {"prefix": "x:"})]
    server.users["notes"][1] = "#" + "0" * 64
    host.context.clear()
    told += [users.differences("notes"), users.list_(), users.remnants("notes"), valkey.users()]
    for name in ("notes.valkey", "valkey-administrator"):
        assert host.secret(name) not in repr(told)
        assert load("utils", "valkey_acl").password_hash(host.secret(name)) not in repr(told)


@pytest.mark.parametrize(
    ("drift", "kinds"),
    [
        (lambda host: host.running.users.pop("notes"), {"loaded"}),
        (lambda host: host.running.users["notes"].append("+keys"), {"loaded"}),
        (lambda host: host.running.users["notes"].__setitem__(1, "#" + "0" * 64), {"loaded"}),
        (lambda host: host.acl_file.write_text(host.acl_file.read_text().replace("~notes:*", "~*")), {"line"}),
        (lambda host: host.acl_file.unlink(), {"line"}),
        (lambda host: (host.secrets / "notes.valkey").write_text("another-secret-of-the-service"), {"password"}),
        (lambda host: (host.secrets / "notes.valkey").unlink(), {"password"}),
    ],
)
def test_drift_of_file_server_and_secret_is_seen_and_repaired(host, server, drift, kinds):
    users.apply("notes")
    drift(host)
    host.context.clear()  # another run
    assert set(users.differences("notes")) == kinds
    valkey.administrator_apply()  # whose state comes before, and repairs a lost file
    users.apply("notes")
    assert users.differences("notes") == {}
    assert server.accepts("notes", host.secret("notes.valkey"))
    assert host.restarts == 0


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"commands": ["+nonsense"]}, "Unknown command"),
        ({"commands": ["+substr"]}, r"write them as it does: .*\+getrange"),
    ],
)
def test_a_rule_the_server_refuses_or_rewrites_changes_nothing(host, server, user, words):
    server.rewrites["+substr"] = "+getrange"
    before = host.acl_file.read_text()
    with pytest.raises(CommandExecutionError, match=words):
        users.apply("notes", user)
    assert host.acl_file.read_text() == before
    assert set(server.users) == {"default", "rick-infra"}
    assert not (host.secrets / "notes.valkey").exists()


def test_without_a_server_the_file_decides_and_nothing_can_be_changed(host, server):
    users.apply("notes")
    host.stop()
    assert users.differences("notes") == {}
    assert set(users.differences("wiki")) == {"line"}
    with pytest.raises(CommandExecutionError, match="nobody listens"):
        users.apply("wiki")
    assert "wiki" not in host.acl_file.read_text()


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"perfix": "x:"}, "unknown perfix"),
        ({"isolation": "none"}, "isolation 'none'"),
        ({"user": "other"}, "called as its service"),
        ({"secret": "valkey-administrator"}, "its own secret"),
        ({"secret": "../x"}, "its own secret"),
        ({"prefix": "two words"}, "prefix"),
        ({"commands": "+scan"}, "a list"),
        ({"commands": ["nopass"]}, "nopass"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(host, server, user, words):
    for function in (users.differences, users.apply):
        with pytest.raises(SaltInvocationError, match=words):
            function("notes", user)
    assert not (host.secrets / "notes.valkey").exists()


def test_all_that_the_catalogue_says_of_a_services_valkey_is_taken(server):
    resolved = {"user": "notes", "isolation": "prefix", "prefix": "notes:", "commands": [], "secret": "notes.valkey"}
    resolved |= {"unit": "valkey-server.service", "directory": "/run/valkey", "socket": "/run/valkey/valkey.sock"}
    users.apply("notes", {**resolved, "group": "valkey-clients", "memory": None, "database": 0})
    assert users.differences("notes", resolved) == {}


@pytest.mark.parametrize("prefix", ["no", "notes:", "notes:old:"])
def test_a_prefix_that_covers_anothers_keys_or_the_other_way_round_is_refused(server, prefix):
    users.apply("notes")
    with pytest.raises(CommandExecutionError, match="could be those of notes"):
        users.differences("wiki", {"prefix": prefix})


def test_a_user_of_an_instance_has_all_of_its_keys_and_is_nowhere_else(host, server, instance):
    users.apply("shop")
    assert set(users.differences("shop", {"isolation": "instance"})) == {"line", "shared"}
    users.apply("shop", {"isolation": "instance"})
    assert users.differences("shop", {"isolation": "instance"}) == {}
    assert instance.accepts("shop", host.secret("shop.valkey"))
    assert {"~*", "&*"} <= set(instance.users["shop"])
    assert "shop" not in server.users
    assert "shop" not in host.acl_file.read_text()


def test_the_users_of_all_servers_are_listed_with_where_they_are(server, instance):
    users.apply("notes", {"prefix": "n-"})
    users.apply("shop", {"isolation": "instance"})
    server.users["stranger"] = ["on", "nopass"]
    server.disconnect(lambda session: True)  # what follows asks anew
    known = {"instance": None, "file": True, "server": True}
    assert users.list_() == [
        {"user": "notes", "prefix": "n-", **known},
        {"user": "stranger", "instance": None, "prefix": None, "file": False, "server": True},
        {"user": "shop", "prefix": None, **known, "instance": "shop"},
    ]


def test_a_virgin_host_has_no_users(host):
    assert users.list_() == []
    assert users.remnants("notes", "archive", prefix="") == {}


@pytest.mark.parametrize("name", ["default", "rick-infra", "rick-infra-trial"])
def test_the_users_of_the_tree_belong_to_nobody_else(server, name):
    for function in (users.remnants, users.remove, users.apply):
        with pytest.raises(SaltInvocationError, match="administrator_present"):
            function(name)


def test_a_user_goes_from_file_and_server_and_leaves_its_keys_and_secret(host, server):
    users.apply("notes")
    fill(server, notes__a=b"1")
    assert set(users.remnants("notes")) == {"user"}
    assert users.remove("notes") is None
    assert users.remnants("notes") == {}
    assert "notes" not in server.users
    assert server.keys == {"notes:a": "1"}
    assert (host.secrets / "notes.valkey").exists()


def test_a_user_that_only_the_server_has_goes_too(server):
    server.users["notes"] = ["on", "nopass"]
    assert users.remnants("notes")["user"]["old"] == "in the server"
    users.remove("notes")
    assert "notes" not in server.users


def test_deleted_are_the_keys_of_the_prefix_in_all_databases_and_no_others(server):
    users.apply("notes", {"prefix": "n*[x]?:"})
    server.databases[0] = {b"n*[x]?:\x00\xff": (b"1", -1), b"nab[x]?:": (b"2", -1), b"nxx?:": (b"3", -1)}
    server.databases[5] = {b"n*[x]?:a": (b"4", -1), b"wiki:a": (b"5", -1)}
    assert set(users.remnants("notes", "delete")) == {"user", "keys"}
    users.remove("notes", "delete")
    assert server.databases == {0: {b"nab[x]?:": (b"2", -1), b"nxx?:": (b"3", -1)}, 5: {b"wiki:a": (b"5", -1)}}
    assert users.remnants("notes", "delete", "n*[x]?:") == {}


def test_a_user_is_shut_out_before_its_keys_go(host, server, monkeypatch):
    users.apply("notes")
    fill(server, notes__a=b"1")
    client = load("utils", "valkey_server").client(str(host.socket), "notes", host.secret("notes.valkey"))
    client.ask("PING")
    seen = []
    monkeypatch.setitem(
        users.__utils__, "valkey_archive.delete", lambda *_: seen.append(line_of(host, "notes").split()[2])
    )
    users.remove("notes", "delete")
    assert seen == ["off"]
    with pytest.raises(CommandExecutionError):
        client.ask("PING")


def test_a_run_killed_after_the_keys_knows_the_prefix_from_the_line_that_is_off(host, server, monkeypatch):
    users.apply("notes", {"prefix": "n-"})
    server.databases[0] = {b"n-1": (b"1", -1)}
    monkeypatch.setitem(users.__utils__, "valkey_archive.delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        users.remove("notes", "delete")
    monkeypatch.setitem(users.__utils__, "valkey_archive.delete", archive.delete)
    host.context.clear()
    assert set(users.remnants("notes", "delete")) == {"user", "keys"}
    users.remove("notes", "delete")
    assert (server.databases[0], users.remnants("notes", "delete", "n-")) == ({}, {})


def test_keys_that_could_be_anothers_are_not_deleted(server):
    users.apply("wiki", {"prefix": "notes:wiki:"})
    fill(server, notes__wiki__a=b"1")
    with pytest.raises(CommandExecutionError, match="could be those of wiki"):
        users.remnants("notes", "delete")


def test_an_empty_prefix_of_an_instance_deletes_nothing_that_all_share(server):
    fill(server, anything=b"1")
    assert users.remnants("shop", "delete", prefix="") == {}


def test_unknown_ways_with_data_are_refused(server):
    with pytest.raises(SaltInvocationError, match="keep, archive or delete"):
        users.remnants("notes", "drop")


def test_of_keys_nothing_is_said_while_the_server_is_down(host, server):
    users.apply("notes")
    fill(server, notes__a=b"1")
    host.stop()
    assert set(users.remnants("notes", "delete")) == {"user"}
    with pytest.raises(CommandExecutionError, match="nobody listens"):
        users.remove("notes", "delete")
    assert line_of(host, "notes")


def archived(server, name="notes"):
    users.apply(name)
    return users.remove(name, "archive")


def test_archived_keys_come_back_with_values_databases_and_times(host, server):
    future = int(time.time() * 1000) + 60_000
    server.databases[0] = {b"notes:a": (b"1", -1), b"notes:\x00\xff": (b"\xfe\x00", future), b"wiki:a": (b"2", -1)}
    server.databases[3] = {b"notes:b": (b"3" * 5000, -1)}
    before = {number: dict(keys) for number, keys in server.databases.items()}
    path = archived(server)
    assert server.databases == {0: {b"wiki:a": (b"2", -1)}, 3: {}}
    assert users.restore("notes", path) == 3
    assert server.databases == before


def test_keys_are_archived_once_and_stay_until_they_are_removed(host, server):
    users.apply("notes")
    fill(server, notes__a=b"1")
    assert set(users.to_archive("notes")) == {"keys"}
    [path] = users.archive("notes")
    assert (users.to_archive("notes"), users.archive("notes")) == ({}, [path])
    assert line_of(host, "notes").split()[2] == "off"
    assert server.databases[0]
    assert users.remove("notes", "archive") == path
    assert (server.databases[0], len(list(Path(path).parent.iterdir()))) == ({}, 1)
    assert users.archive("wiki") == []


def test_an_archive_is_roots_alone(host, server):
    fill(server, notes__a=b"1")
    path = Path(archived(server))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent == host.folder / "archive/notes"
    assert list(path.parent.iterdir()) == [path]


def test_without_keys_there_is_no_archive(host, server):
    assert archived(server) is None
    assert not (host.folder / "archive").exists()


def test_an_archive_that_cannot_be_restored_deletes_nothing_and_is_not_kept(host, server, monkeypatch):
    fill(server, notes__a=b"1", notes__b=b"2")
    users.apply("notes")
    monkeypatch.setattr(archive.secrets, "token_hex", lambda: "scratch")
    server.damaged.add(b"notes:rick-infra:scratch")
    with pytest.raises(CommandExecutionError, match="RESTORE"):
        users.remove("notes", "archive")
    assert set(server.keys) == {"notes:a", "notes:b"}
    assert list((host.folder / "archive/notes").iterdir()) == []
    assert set(users.remnants("notes", "archive")) == {"user", "keys"}


def test_keys_that_exist_already_are_not_overwritten(server):
    fill(server, notes__a=b"1", notes__b=b"2")
    path = archived(server)
    fill(server, notes__b=b"newer")
    with pytest.raises(CommandExecutionError, match=r"exist already \(notes:b\): nothing was restored"):
        users.restore("notes", path)
    assert server.keys == {"notes:b": "newer"}


def test_a_restore_that_fails_half_way_leaves_nothing(server):
    fill(server, notes__a=b"1", notes__b=b"2")
    path = archived(server)
    server.damaged.add(b"notes:b")
    with pytest.raises(CommandExecutionError, match="RESTORE"):
        users.restore("notes", path)
    assert server.keys == {}


def test_what_has_expired_since_is_left_out(server):
    server.databases[0] = {b"notes:a": (b"1", int(time.time() * 1000) + 60_000), b"notes:b": (b"2", -1)}
    path = archived(server)
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    for line in lines[1:-1]:
        line["expires"] = line["expires"] and 1
    rewrite(path, lines)
    assert users.restore("notes", path) == 1
    assert server.keys == {"notes:b": "2"}


def rewrite(path, lines):
    digest = archive.hashlib.sha256()
    texts = [json.dumps(line) + "\n" for line in lines[:-1]]
    for text in texts:
        digest.update(text.encode())
    tail = json.dumps({"keys": len(texts) - 1, "sha256": digest.hexdigest()}) + "\n"
    Path(path).write_text("".join([*texts, tail]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "not all of it|damaged"),
        (lambda text: text.replace('"size": 1', '"size": 2'), "damaged"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "damaged|not"),
        (lambda text: "", "not an archive"),
        (lambda text: "[]\n[]\n", "not an archive"),
        (lambda text: "\x00\xff", "not an archive"),
        (lambda text: text.replace("valkey keys 1", "valkey keys 2"), "not an archive"),
    ],
)
def test_an_archive_that_is_not_whole_restores_nothing(server, change, words):
    fill(server, notes__a=b"1", notes__b=b"2")
    path = Path(archived(server))
    path.write_text(change(path.read_text()))
    with pytest.raises(CommandExecutionError, match=words):
        users.restore("notes", str(path))
    assert server.keys == {}


def test_an_archive_of_another_service_is_refused(server):
    fill(server, notes__a=b"1")
    path = archived(server)
    with pytest.raises(CommandExecutionError, match="keys of notes, not of wiki"):
        users.restore("wiki", path)
    with pytest.raises(CommandExecutionError, match="No such file"):
        users.restore("notes", "/nowhere/x.keys")


def test_keys_can_move_to_an_instance(server, instance):
    fill(server, shop__a=b"1")
    path = archived(server, "shop")
    assert users.restore("shop", path, instance="shop") == 1
    assert (server.keys, instance.keys) == ({}, {"shop:a": "1"})


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.dictionaries(st.binary(max_size=12), st.binary(max_size=40), min_size=1, max_size=130),
    prefix=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=6),
)
def test_any_keys_under_any_prefix_survive_archive_and_restore(host, server, keys, prefix):
    host.context.pop("archives.made", None)  # each example is a run of its own
    mine = {prefix.encode() + key: (value, -1) for key, value in keys.items()}
    others = {b"\x00" + prefix.encode(): (b"x", -1)}
    server.databases = {0: {**mine, **others}}
    users.apply("notes", {"prefix": prefix})
    path = users.remove("notes", "archive")
    assert server.databases[0] == others
    assert users.restore("notes", path) == len(mine)
    assert server.databases[0] == {**mine, **others}


def test_readable_names_the_keys_that_the_rules_let_through(host, server):
    users.apply(ME)
    path = str(host.secrets / f"{ME}.valkey")
    assert users.readable(ME, path, [f"{ME}:x", "wiki:x"]) == [f"{ME}:x"]
    server.users[ME].append("~wiki:*")
    assert users.readable(ME, path, ["wiki:x"]) == ["wiki:x"]
    assert not users.lists_keys(ME, path)
    server.users[ME].append("+scan")
    assert users.lists_keys(ME, path)
    (host.secrets / f"{ME}.valkey").write_text("not-the-password-at-all")
    with pytest.raises(CommandExecutionError, match="WRONGPASS"):
        users.readable(ME, path, ["wiki:x"])
    with pytest.raises(CommandExecutionError, match="no secret file"):
        users.readable(ME, "/nowhere/x", ["wiki:x"])
