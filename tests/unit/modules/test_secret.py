"""
Secrets: made once or brought from elsewhere, delivered through a pipe, and never shown.
"""

from pathlib import Path

import pytest
from dunders import functions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

secret = load("modules", "secret")
secret_files = load("utils", "secret_files")
podman_secrets = load("utils", "podman_secrets")

NAME = "notes-valkey"


class Podman:
    """Podman's secret store in the place of what ``podman_secrets`` does with the host."""

    def __init__(self):
        self.store = {}
        self.looks = 0
        self.created = []
        self.error = None

    def read(self):
        self.looks += 1
        self.refuse()
        return {name: {"digest": podman_secrets.digest(value)} for name, value in self.store.items()}

    def create(self, name, value):
        self.refuse()
        assert isinstance(value, bytes)
        self.created.append(name)
        self.store[name] = value

    def remove(self, names):
        self.refuse()
        for name in names:
            del self.store[name]

    def refuse(self):
        if self.error:
            raise CommandExecutionError(f"podman secret: {self.error}")


@pytest.fixture
def podman(monkeypatch, tmp_path):
    podman = Podman()
    monkeypatch.setattr(secret_files, "DIRECTORY", str(tmp_path / "secrets"))
    utils = functions("utils", "secret_files", "secret_values", "podman_secrets")
    utils |= {f"podman_secrets.{name}": getattr(podman, name) for name in ("read", "create", "remove")}
    monkeypatch.setattr(secret, "__utils__", utils, raising=False)
    monkeypatch.setattr(secret, "__context__", {}, raising=False)
    monkeypatch.setattr(secret, "__pillar__", {}, raising=False)
    monkeypatch.setattr(secret, "__salt__", {}, raising=False)
    return podman


def value():
    return Path(secret.path(NAME)).read_text().strip()


@pytest.mark.parametrize("name", ["", ".hidden", "-x", "../etc/shadow", "a/b", "a b", "a\n", "a" * 254, None, 7])
def test_what_is_no_name_is_refused(podman, name):
    with pytest.raises(SaltInvocationError, match="use letters, digits and"):
        secret.path(name)


def test_the_path_is_in_the_tree_s_own_directory(podman, tmp_path):
    assert secret.path(NAME) == f"{tmp_path}/secrets/{NAME}"


def test_a_secret_is_made_once(podman):
    assert secret.exists(NAME) is False
    assert secret.make(NAME) is True
    first = value()
    assert secret.exists(NAME) is True
    assert secret.make(NAME) is False
    assert value() == first
    assert len(first) >= 43, "256 bits"
    assert Path(secret.path(NAME)).stat().st_mode & 0o777 == 0o600


def test_what_is_delivered_is_the_file_s_value(podman):
    secret.make(NAME)
    assert secret.delivered(NAME) is False
    secret.deliver(NAME)
    assert podman.store == {NAME: value().encode()}
    assert secret.delivered(NAME) is True
    assert secret.in_podman(NAME) is True


@pytest.mark.parametrize("podman_has", [None, b"another value, longer than sixteen"])
def test_a_secret_that_podman_lost_or_has_otherwise_is_not_delivered(podman, podman_has):
    secret.make(NAME)
    if podman_has:
        podman.store[NAME] = podman_has
    assert secret.delivered(NAME) is False


def test_a_deleted_file_is_a_new_secret(podman):
    secret.make(NAME)
    secret.deliver(NAME)
    before = value()
    Path(secret.path(NAME)).unlink()
    assert secret.exists(NAME) is False
    assert secret.delivered(NAME) is False
    secret.make(NAME)
    assert value() != before
    assert secret.delivered(NAME) is False


def test_delivering_what_does_not_exist_says_how_to_make_it(podman):
    with pytest.raises(CommandExecutionError, match=r"make it: salt-call secret\.make notes-valkey"):
        secret.deliver(NAME)
    assert podman.created == []


def test_removing_takes_both_away_and_works_twice(podman):
    secret.make(NAME)
    secret.deliver(NAME)
    for _ in range(2):
        secret.remove(NAME)
        assert podman.store == {}
        assert secret.exists(NAME) is False
        assert secret.in_podman(NAME) is False


def test_podman_is_asked_once_a_run(podman):
    podman.store = {"a": b"x" * 20, "b": b"y" * 20}
    for name in ("a", "b", "c"):
        secret.make(name)
        secret.delivered(name)
        secret.in_podman(name)
    assert podman.looks == 1


def test_no_answer_shows_a_value(podman):
    podman.store["another"] = b"its value is nobody's business"
    answers = [secret.exists(NAME), secret.make(NAME), secret.delivered(NAME), secret.deliver(NAME)]
    shown = value()
    answers += [secret.delivered(NAME), secret.in_podman(NAME), secret.make(NAME), secret.path(NAME)]
    kept = secret.__context__
    answers.append(secret.remove(NAME))
    everything = repr((answers, kept))
    assert shown not in everything
    assert "nobody's business" not in everything


@pytest.mark.parametrize("function", [secret.delivered, secret.in_podman, secret.deliver, secret.remove])
def test_podman_s_failure_is_told_without_the_value(podman, function):
    secret.make(NAME)
    podman.error = "no such driver"
    with pytest.raises(CommandExecutionError, match="podman secret: no such driver") as raised:
        function(NAME)
    assert value() not in str(raised.value)


def test_a_file_that_others_can_read_is_no_secret(podman):
    secret.make(NAME)
    Path(secret.path(NAME)).chmod(0o644)
    with pytest.raises(CommandExecutionError, match="let others read it"):
        secret.exists(NAME)


GENERATED = {"name": "notes.token", "generate": {"length": 20, "alphabet": "hex"}}
FROM_PILLAR = {"name": "notes.smtp", "pillar": "smtp:password"}
THING = "podman secret notes.token"
HOSTILE = ["x", " a b ", "line\nline\n", "\"quo'tes`", "$HOME %n {{x}} \\", "Grüße π 🗝", "\r\n", "x" * 4096, "\0"]


def file(name):
    return Path(secret.path(name))


def converge(declared, service="notes"):
    """Plan, do, and see that nothing is left; the changes."""
    planned = secret.all_differences(service, declared)
    done = secret.all_apply(service, declared)
    assert done == planned
    assert secret.all_differences(service, declared) == {}
    return done


def test_a_generated_secret_is_made_once_and_delivered(podman):
    changes = converge([GENERATED])
    assert changes == {
        str(file("notes.token")): {"old": None, "new": "generated"},
        THING: {"old": None, "new": "delivered"},
    }
    first = file("notes.token").read_bytes()
    assert len(first) == 20
    assert set(first) <= set(b"0123456789abcdef")
    assert podman.store == {"notes.token": first}
    assert file("notes.token").stat().st_mode & 0o777 == 0o600
    assert file("notes.token").parent.stat().st_mode & 0o777 == 0o700
    assert secret.all_apply("notes", [{**GENERATED, "generate": {"length": 99}}]) == {}
    assert file("notes.token").read_bytes() == first


@pytest.mark.parametrize("source", ["pillar", "file"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(data=st.data())
def test_any_value_from_elsewhere_arrives_unchanged(podman, tmp_path, monkeypatch, source, data):
    text = data.draw(st.sampled_from(HOSTILE) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    if source == "pillar":
        declared = [FROM_PILLAR]
        monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": text}})
    else:
        declared = [{"name": "notes.smtp", "file": f"{tmp_path}/key"}]
        secret_files.put(f"{tmp_path}/key", text)
    secret.all_apply("notes", declared)
    assert file("notes.smtp").read_bytes() == text.encode()
    assert podman.store == {"notes.smtp": text.encode()}
    assert secret.all_differences("notes", declared) == {}


def test_a_file_need_not_be_text(podman, tmp_path):
    secret_files.put(f"{tmp_path}/key", b"\xff\xfe\0")
    converge([{"name": "notes.key", "file": f"{tmp_path}/key"}])
    assert podman.store == {"notes.key": b"\xff\xfe\0"}


def test_what_changes_at_its_source_changes_here_and_nothing_else_does(podman, monkeypatch):
    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "old"}})
    converge([GENERATED, FROM_PILLAR])
    podman.created.clear()
    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "new"}})
    assert converge([GENERATED, FROM_PILLAR]) == {
        str(file("notes.smtp")): {"old": "another value", "new": "from pillar smtp:password"},
        "podman secret notes.smtp": {"old": "another value", "new": "delivered"},
    }
    assert podman.created == ["notes.smtp"]


@pytest.mark.parametrize("podman_has", [None, b"another"])
def test_what_podman_lost_is_delivered_again(podman, podman_has):
    converge([GENERATED])
    before = file("notes.token").read_bytes()
    del podman.store["notes.token"]
    if podman_has:
        podman.store["notes.token"] = podman_has
    secret.__context__.clear()
    assert list(converge([GENERATED])) == [THING]
    assert podman.store == {"notes.token": before}


def test_a_newline_at_the_end_of_a_generated_secret_is_taken_off(podman):
    # As daemons read it: what an administrator writes with echo must be the same for the database and its client.
    secret_files.put(secret.path("notes.token"), "correct-horse-battery\n")
    assert converge([GENERATED])[secret.path("notes.token")] == {"old": "another value", "new": "without its newline"}
    assert file("notes.token").read_bytes() == podman.store["notes.token"] == b"correct-horse-battery"


def test_declared_no_more_is_removed_and_nobody_else_s_is(podman):
    secret.make("valkey-notes")
    secret.make("valkey-administrator")
    for service in ("notes", "notes-2", "note"):
        converge([{"name": f"{service}.a", "generate": {}}, {"name": f"{service}.b", "generate": {}}], service)
    podman.store["notes.web.URL"] = b"composed"
    (file("notes.a").parent / ".notes.a.x1y2").write_text("a killed run's")
    secret.__context__.clear()
    left = [{"name": "notes.b", "generate": {}}]
    values = [{"name": "notes.web.URL", "parts": [{"text": "composed"}]}]
    assert converge(left) == {}
    gone = secret.undeclared("notes", left, values)
    assert set(gone) == {
        "podman secret notes.a",
        secret.path("notes.a"),
        f"{file('notes.a').parent}/.notes.a.x1y2",
    }
    assert secret.remove_undeclared("notes", left, values) == gone
    assert secret.undeclared("notes", left, values) == {}
    assert sorted(podman.store) == ["note.a", "note.b", "notes-2.a", "notes-2.b", "notes.b", "notes.web.URL"]
    assert secret_files.names() == [
        "note.a", "note.b", "notes-2.a", "notes-2.b", "notes.b", "valkey-administrator", "valkey-notes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pillar", "words"),
    [
        ({}, r"the pillar has no smtp:password: set it, for example in /etc/rick-infra"),
        ({"smtp": "x"}, "the pillar has no smtp:password"),
        ({"_errors": ["x"]}, "and the pillar has errors"),
        ({"smtp": {"password": ""}}, "empty"),
        ({"smtp": {"password": 123}}, "is int, not text: put it in quotes"),
        ({"smtp": {"password": True}}, "is bool"),
        ({"smtp": {"password": ["a"]}}, "is list"),
        ({"smtp": {"password": "\ud800"}}, "half a character"),
        ({"smtp": {"password": "x" * 512_000}}, "512000 bytes, of which Podman takes 511999"),
    ],
)
def test_what_the_pillar_does_not_give_is_told_with_service_secret_and_path(podman, monkeypatch, pillar, words):
    monkeypatch.setattr(secret, "__pillar__", pillar)
    for function in (secret.all_differences, secret.all_apply):
        with pytest.raises(CommandExecutionError, match=f"service notes: secret smtp: .*{words}") as raised:
            function("notes", [FROM_PILLAR])
        assert "smtp:password" in str(raised.value)
    assert podman.store == {}


def test_every_missing_secret_is_named_at_once(podman, tmp_path):
    secret_files.put(secret.path("notes.empty"), "")
    declared = [
        FROM_PILLAR,
        {"name": "notes.key", "file": f"{tmp_path}/none"},
        {"name": "notes.empty", "generate": {}},
        GENERATED,
    ]
    with pytest.raises(CommandExecutionError) as raised:
        secret.all_apply("notes", declared)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["secret smtp", "secret key", "secret empty"]
    assert f"there is no file {tmp_path}/none" in lines[1]
    assert "delete it, and a new one is made" in lines[2]
    assert podman.store == {}
    assert not file("notes.token").exists(), "nothing is done before all is known"


def test_a_file_that_others_can_read_is_refused_as_a_source(podman, tmp_path):
    secret_files.put(f"{tmp_path}/key", "planted")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(
        CommandExecutionError, match=r"secret key: .*0640 let others read it; give it to root"
    ) as raised:
        secret.all_differences("notes", [{"name": "notes.key", "file": f"{tmp_path}/key"}])
    assert "planted" not in str(raised.value)
    assert "delete" not in str(raised.value)


def test_an_sdb_address_in_the_pillar_is_looked_up(podman, monkeypatch):
    asked = []
    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "sdb://vault/smtp"}})
    monkeypatch.setattr(
        secret, "__salt__", {"sdb.get": lambda uri, strict: asked.append((uri, strict)) or "from the vault"}
    )
    converge([FROM_PILLAR])
    assert podman.store == {"notes.smtp": b"from the vault"}
    assert set(asked) == {("sdb://vault/smtp", True)}


@pytest.mark.parametrize("answer", [None, SaltInvocationError("SDB profile vault wasnt found"), KeyError("vault.get")])
def test_an_sdb_address_without_a_value_is_an_error(podman, monkeypatch, answer):
    def get(_uri, strict):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "sdb://vault/smtp"}})
    monkeypatch.setattr(secret, "__salt__", {"sdb.get": get})
    with pytest.raises(CommandExecutionError, match=r"service notes: secret smtp: pillar smtp:password: .*sdb://"):
        secret.all_differences("notes", [FROM_PILLAR])


URL = {
    "name": "notes.web.URL",
    "parts": [{"text": "redis://notes:"}, {"secret": "notes.token", "encode": "url"}, {"text": "@host"}],
}
PLAIN = {"name": "notes.web.PLAIN", "parts": [{"text": "100 % $HOME\n"}]}


def test_values_are_composed_and_delivered_once(podman, monkeypatch):
    monkeypatch.setattr(secret, "__pillar__", {"a": "p/w:ü"})
    converge([{"name": "notes.token", "pillar": "a"}])
    assert secret.values_differences("notes", [URL, PLAIN]).keys() == {
        "podman secret notes.web.URL",
        "podman secret notes.web.PLAIN",
    }
    secret.values_apply("notes", [URL, PLAIN])
    assert podman.store["notes.web.URL"] == b"redis://notes:p%2Fw%3A%C3%BC@host"
    assert podman.store["notes.web.PLAIN"] == b"100 % $HOME\n"
    podman.created.clear()
    secret.__context__.clear()
    assert secret.values_apply("notes", [PLAIN, URL]) == {}
    assert podman.created == [], "its consumers would restart"


def test_only_the_value_that_changed_is_delivered(podman):
    converge([GENERATED])
    secret.values_apply("notes", [URL, PLAIN])
    podman.created.clear()
    secret_files.put(secret.path("notes.token"), "another")
    assert list(secret.values_apply("notes", [URL, PLAIN])) == ["podman secret notes.web.URL"]
    assert podman.created == ["notes.web.URL"]


def test_values_declared_no_more_are_removed_and_secrets_are_not(podman):
    converge([GENERATED])
    converge([{"name": "notes-2.token", "generate": {}}], "notes-2")
    secret.values_apply("notes", [URL, PLAIN])
    secret.values_apply("notes-2", [{"name": "notes-2.web.X", "parts": [{"text": "x"}]}])
    assert secret.values_apply("notes", [PLAIN]) == {}
    gone = secret.remove_undeclared("notes", [GENERATED], [PLAIN])
    assert gone == {"podman secret notes.web.URL": {"old": "there", "new": None}}
    assert sorted(podman.store) == ["notes-2.token", "notes-2.web.X", "notes.token", "notes.web.PLAIN"]


@pytest.mark.parametrize(
    ("text", "words"), [("", "empty"), ("a\0b", "NUL"), ("x" * 512_000, "512000 bytes, of which Podman takes 511999")]
)
def test_a_value_podman_does_not_take_is_told_by_its_name(podman, text, words):
    for function in (secret.values_differences, secret.values_apply):
        with pytest.raises(CommandExecutionError, match=rf"service notes: value notes\.web\.X: .*{words}"):
            function("notes", [{"name": "notes.web.X", "parts": [{"text": text}]}])


def test_a_value_of_a_missing_secret_is_planned_but_cannot_be_done(podman):
    assert secret.values_differences("notes", [URL]) == {
        "podman secret notes.web.URL": {"old": None, "new": "delivered"}
    }
    with pytest.raises(CommandExecutionError, match=r"notes\.web\.URL needs is not in .*secret.all_present makes it"):
        secret.values_apply("notes", [URL])


def test_a_plan_for_values_knows_what_the_run_will_have_done_to_the_secrets(podman, monkeypatch):
    declared = [GENERATED, FROM_PILLAR]
    values = [
        {"name": "notes.web.TOKEN", "parts": [{"secret": "notes.token"}]},
        {"name": "notes.web.SMTP", "parts": [{"secret": "notes.smtp"}]},
    ]
    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "old"}})
    converge(declared)
    secret.values_apply("notes", values)
    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "new"}})
    for context in ({}, {"fresh": True}):  # one run plans, the next one does
        secret.__context__.clear()
        secret.__context__.update(context)
        secret.all_differences("notes", declared)
        planned = secret.values_differences("notes", values)
        assert list(planned) == ["podman secret notes.web.SMTP"]
    secret.all_apply("notes", declared)
    assert secret.values_apply("notes", values) == planned
    assert podman.store["notes.web.SMTP"] == b"new"


def test_a_lost_file_of_a_pillar_s_secret_renews_no_value(podman, monkeypatch):
    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "same"}})
    values = [{"name": "notes.web.SMTP", "parts": [{"secret": "notes.smtp"}]}]
    converge([FROM_PILLAR])
    secret.values_apply("notes", values)
    file("notes.smtp").unlink()
    assert list(secret.all_differences("notes", [FROM_PILLAR])) == [secret.path("notes.smtp")]
    assert secret.values_differences("notes", values) == {}


def test_what_is_pending_is_known_until_it_is_done(podman):
    assert secret.pending() == []
    secret.all_differences("notes", [GENERATED])
    secret.values_differences("notes", [URL])
    assert secret.pending() == ["notes.token", "notes.web.URL"]
    secret.all_apply("notes", [GENERATED])
    assert secret.pending() == ["notes.web.URL"]
    secret.values_apply("notes", [URL])
    assert secret.pending() == []


def test_podman_is_looked_at_once_for_all_services(podman):
    for service in ("a", "b", "c"):
        secret.all_differences(service, [{"name": f"{service}.x", "generate": {}}])
        secret.values_differences(service, [])
    assert podman.looks == 1


@pytest.mark.parametrize("keep_files", [False, True])
def test_a_service_s_secrets_go_and_nobody_else_s(podman, keep_files):
    for service in ("notes", "notes-2"):
        converge([{"name": f"{service}.token", "generate": {}}], service)
    secret.values_apply("notes", [PLAIN])
    planned = secret.all_remnants("notes", keep_files)
    assert secret.all_remove("notes", keep_files) == planned
    assert set(planned) == {"podman secret notes.token", "podman secret notes.web.PLAIN"} | (
        set() if keep_files else {secret.path("notes.token")}
    )
    assert secret.all_remnants("notes", keep_files) == {}
    assert list(podman.store) == ["notes-2.token"]
    assert secret_files.names() == ["notes-2.token"] + (["notes.token"] if keep_files else [])


def catalogue(*secrets):
    services = {"wiki": [], "notes": list(secrets)}

    def part(name, key):
        if name not in services:
            raise CommandExecutionError(f"there is no service {name!r} in the catalogue")
        return {"secrets": services[name]}[key]

    return {"catalogue.part": part}


def test_renewing_makes_another_value_at_once_and_keeps_no_copy(podman, monkeypatch):
    monkeypatch.setattr(secret, "__salt__", catalogue(GENERATED))
    converge([GENERATED])
    before = file("notes.token").read_bytes()
    assert "the next run delivers it" in secret.renew("notes.token")
    after = file("notes.token").read_bytes()
    assert after != before
    assert len(after) == 20
    assert secret_files.names() == ["notes.token"]
    assert list(converge([GENERATED])) == [THING]
    assert podman.store == {"notes.token": after}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("notes.smtp", "comes from pillar smtp:password: change it there"),
        ("notes.other", "service notes has notes.token, notes.smtp"),
        ("wiki.token", "service wiki has no secrets"),
        ("nobody.token", "there is no service 'nobody'"),
        ("valkey-notes", "there is no service 'valkey-notes'"),
        (None, "there is no service 'None'"),
    ],
)
def test_what_is_not_generated_for_a_service_cannot_be_renewed(podman, monkeypatch, name, words):
    monkeypatch.setattr(secret, "__salt__", catalogue(GENERATED, FROM_PILLAR))
    with pytest.raises(CommandExecutionError, match=words):
        secret.renew(name)


def test_what_is_wrong_in_the_catalogue_is_told_and_nothing_renewed(podman, monkeypatch):
    def wrong(name, key):
        raise CommandExecutionError("rick:services:notes: unknown key 'imge'")

    converge([GENERATED])
    before = file("notes.token").read_bytes()
    monkeypatch.setattr(secret, "__salt__", {"catalogue.part": wrong})
    with pytest.raises(CommandExecutionError, match="unknown key 'imge'"):
        secret.renew("notes.token")
    assert file("notes.token").read_bytes() == before


def test_no_answer_and_no_memory_of_the_run_shows_a_value(podman, monkeypatch, tmp_path):
    monkeypatch.setattr(secret, "__pillar__", {"smtp": {"password": "PLANTED-1"}})
    secret_files.put(f"{tmp_path}/key", "PLANTED-2")
    declared = [GENERATED, FROM_PILLAR, {"name": "notes.key", "file": f"{tmp_path}/key"}]
    answers = [
        secret.all_differences("notes", declared),
        secret.values_differences("notes", [URL]),
        repr(secret.__context__),
        secret.all_apply("notes", declared),
        secret.values_apply("notes", [URL]),
        secret.pending(),
        repr(secret.__context__),
    ]
    shown = file("notes.token").read_text()
    secret_files.put(secret.path("notes.smtp"), "PLANTED-3")
    answers += [secret.all_differences("notes", declared), secret.all_remove("notes"), repr(secret.__context__)]
    assert "PLANTED" not in repr(answers)
    assert shown not in repr(answers)
