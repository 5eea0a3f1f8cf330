"""
Generations of a service: kept, compared, put back, refused. Files are real, systemd and Podman answer from a script.
"""

import json

import pytest
from quadlet_host import CLEANUP, FILES, TIMERS, UNITS, changed, container, generation, install, pod
from salt.exceptions import CommandExecutionError, SaltInvocationError

TAG = "localhost/rick-infra/notes/notes-web:healthy"
VALUES = [{"name": "notes.web.URL", "parts": [{"text": "redis://"}, {"secret": "notes.valkey", "encode": "url"}]}]
OWN = [{"name": "notes.web.GREETING", "parts": [{"text": "hello "}, {"secret": "notes.token", "encode": None}]}]


@pytest.fixture
def host(tmp_path, monkeypatch, results):
    found = install(tmp_path, monkeypatch, results)
    found.folder_of_secrets = tmp_path / "secrets"
    found.folder_of_secrets.mkdir()
    return found


@pytest.fixture
def notes(host):
    """A service that runs, with a timer and secrets, and was healthy."""
    host.values = {"notes.token": b"old token", "notes.valkey": b"v", "notes.web.URL": b"redis://v", "wiki.token": b"w"}
    secret(host, "token", "old token\n")
    secret(host, "valkey", "v\n")
    pod.declare("notes", [*UNITS, CLEANUP], TIMERS)
    pod.start("notes", FILES)
    assert generation.keep("notes", VALUES)
    host.done.clear()
    return host


def secret(host, name, value):
    path = host.folder_of_secrets / f"notes.{name}"
    path.write_text(value)
    path.chmod(0o600)


def stored(file="healthy.json"):
    return json.loads((generation.Path(generation.FOLDER) / "notes" / file).read_text())


def change(host):
    """Another definition, image and secret; what a timer starts is gone, and a container more is there."""
    pod.declare("notes", [*changed(Exec="new"), container("notes-worker")])
    host.images["localhost/x:1"] = "new"
    host.values.update({"notes.token": b"new token"})
    secret(host, "token", "new token\n")
    pod.start("notes", FILES)
    host.done.clear()


def test_what_is_kept_again_is_not_written_again(notes):
    path = generation.Path(generation.FOLDER) / "notes/healthy.json"
    before = path.stat().st_mtime_ns
    notes.utils["quadlet_podman.secret_values"] = lambda _: pytest.fail("a heavy question in the unchanged case")
    assert not generation.keep("notes", VALUES)
    assert path.stat().st_mtime_ns == before


def test_only_root_can_read_a_generation(notes):
    folder = generation.Path(generation.FOLDER) / "notes"
    assert folder.stat().st_mode & 0o777 == folder.parent.stat().st_mode & 0o777 == 0o700
    assert (folder / "healthy.json").stat().st_mode & 0o777 == 0o600


def test_a_generation_has_the_services_own_secrets_and_no_passwords_of_databases(notes):
    assert set(stored()["secrets"]) == {"notes.token"}
    assert "redis://v" not in json.dumps(stored())
    assert "secrets" not in generation.show("notes")
    assert "b2xkIHRva2Vu" not in json.dumps(generation.show("notes"))


def test_the_healthy_image_gets_a_name_that_keeps_it_from_being_pruned(notes):
    assert notes.images[TAG] == "i"
    assert generation.images() == ["i"]
    assert generation.containers("notes")["notes-web"] == "i"


@pytest.mark.parametrize("what", ["definition", "timer", "image", "secret", "value", "nothing"])
def test_a_service_differs_from_its_generation_by_all_that_makes_it(notes, what):
    values = VALUES
    if what == "definition":
        pod.declare("notes", [*changed(Exec="new"), CLEANUP], TIMERS)
    elif what == "timer":
        pod.declare("notes", [*UNITS, CLEANUP], [{**TIMERS[0], "schedule": "hourly"}])
    elif what == "image":
        notes.images["localhost/x:1"] = "new"
    elif what == "secret":
        notes.values["notes.token"] = b"new"
    elif what == "value":
        values = OWN
    assert generation.differs("notes", values) is (what != "nothing")


def test_a_new_password_of_a_database_is_no_other_generation(notes):
    notes.values.update({"notes.valkey": b"new", "notes.web.URL": b"redis://new"})
    assert not generation.differs("notes", VALUES)


def test_the_site_is_kept_with_it_and_makes_no_other_generation_to_go_back_from(notes):
    assert generation.show("notes")["site"] is None
    site = {"domains": ["notes.example.test"], "upstream": "127.0.0.1:8080"}
    assert generation.keep("notes", VALUES, site=site)
    assert generation.show("notes")["site"] == site
    assert not generation.differs("notes", VALUES)
    assert not generation.keep("notes", VALUES, site=site)


def test_without_a_generation_nothing_differs_from_it(host):
    pod.declare("notes", UNITS)
    assert not generation.differs("notes")


def test_a_timer_that_came_with_the_refused_definition_goes_with_it(notes):
    later = {**TIMERS[0], "name": "notes-later"}
    pod.declare("notes", [*UNITS, CLEANUP, {**CLEANUP, "name": "notes-later"}], [*TIMERS, later])
    generation.restore("notes")
    assert generation.deviations("notes") == {}
    assert list(stored()["timers"]) == ["notes-cleanup.timer"]


class Ground:
    """An account, a database and a private socket that remember what they were told last."""

    def __init__(self, salt):
        self.told = {}
        for part, (differences, apply) in generation.GROUND.items():
            salt[differences] = lambda _name, part=part, **wanted: self.differences(part, wanted)
            salt[apply] = lambda _name, part=part, **wanted: self.told.update({part: wanted})

    def differences(self, part, wanted):
        return {} if self.told.get(part) == wanted else {"options": {"old": self.told.get(part), "new": wanted}}


GROUND = {
    "account": {"user": "notes", "uid": None, "home": "/opt/notes", "groups": [], "directories": []},
    "postgres": {"role": "notes", "auth": "scram"},
    "valkey": {"isolation": "instance", "memory": 64, "prefix": ""},
    "private_sockets": [{"target": "/run/postgresql/.s.PGSQL.5432", "user": "notes"}],
}


def test_what_a_service_stands_on_is_put_back_too(notes):
    ground = Ground(notes.salt)
    assert generation.keep("notes", VALUES, GROUND)
    assert not generation.differs("notes", VALUES, GROUND)
    other = {**GROUND, "postgres": {**GROUND["postgres"], "auth": "peer"}, "private_sockets": []}
    assert generation.differs("notes", VALUES, other)
    changes = generation.restore("notes")
    assert {thing for thing in changes if thing.endswith(": options")} == {
        f"{part}: options" for part in generation.GROUND
    }
    assert ground.told["database"]["tenant"]["auth"] == "scram"
    assert ground.told["Valkey of its own"] == {"memory": 64}
    assert generation.deviations("notes") == {}


def test_a_generation_is_put_back_as_a_whole(notes):
    before = {path.name: path.read_text() for path in notes.folder.iterdir()}
    change(notes)
    deviations = generation.deviations("notes")
    assert generation.restore("notes") == deviations
    assert {path.name: path.read_text() for path in notes.folder.iterdir()} == before
    assert notes.images["localhost/x:1"] == "i"
    assert notes.values["notes.token"] == b"old token"
    assert notes.values["wiki.token"] == b"w"
    assert "notes-worker.service" not in notes.containers
    assert generation.deviations("notes") == {}


def test_values_show_in_no_deviation(notes):
    change(notes)
    assert "token" in str(generation.deviations("notes"))
    assert "new token" not in str(generation.deviations("notes"))
    assert "old token" not in str(generation.deviations("notes"))


def test_composed_values_come_back_with_todays_passwords(notes):
    secret(notes, "valkey", "n/w\n")
    notes.values["notes.web.URL"] = b"redis://something else"
    generation.restore("notes")
    assert notes.values["notes.web.URL"] == b"redis://n%2Fw"


def test_composed_values_come_back_with_the_services_own_older_secrets(notes):
    notes.values["notes.web.GREETING"] = b"hello old token"
    generation.keep("notes", OWN)
    secret(notes, "token", "new token\n")
    notes.values.update({"notes.token": b"new token", "notes.web.GREETING": b"hello new token"})
    generation.restore("notes")
    assert notes.values["notes.web.GREETING"] == b"hello old token"


def test_nothing_is_put_back_if_an_image_is_gone(notes):
    change(notes)
    notes.images = {"localhost/x:1": "new", "new": "new"}
    text = notes.text("notes-web.container")
    with pytest.raises(CommandExecutionError, match=r"localhost/x:1 .*not on this host"):
        generation.restore("notes")
    assert notes.text("notes-web.container") == text


def test_without_a_generation_nothing_can_be_put_back(host):
    with pytest.raises(CommandExecutionError, match="no healthy generation"):
        generation.restore("notes")


def refuse(host):
    change(host)
    generation.refuse("notes", "d1", "it answers 500")
    generation.restore("notes")


def test_a_definition_that_was_refused_stays_refused(notes):
    refuse(notes)
    assert generation.refused("notes", "d1", [{"name": "notes.token"}]) == "it answers 500"


@pytest.mark.parametrize("what", ["definition", "image", "secret", "pillar", "memory"])
def test_it_is_tried_again_once_something_of_it_is_another(notes, what):
    refuse(notes)
    digest = "d1"
    if what == "definition":
        digest = "d2"
    elif what == "image":
        notes.images["localhost/x:1"] = "newest"
    elif what == "secret":
        secret(notes, "token", "newest token\n")
    elif what == "pillar":
        path = f"{notes.folder_of_secrets}/notes.token"
        notes.salt["secret.all_differences"] = lambda *_: {path: {"old": "another value", "new": "from pillar a:b"}}
    else:
        generation.remove("notes")
    assert generation.refused("notes", digest, [{"name": "notes.token"}]) is None


@pytest.mark.parametrize("image", ["i", "new"])
def test_neither_the_image_that_was_put_back_nor_the_refused_one_is_another(notes, image):
    refuse(notes)
    notes.images["localhost/x:1"] = image
    assert generation.refused("notes", "d1")


def test_what_was_refused_can_be_forgotten(notes):
    refuse(notes)
    assert generation.retry("notes")
    assert generation.refused("notes", "d1") is None
    assert not generation.retry("notes")


def test_a_service_that_was_never_refused_is_not(notes):
    assert generation.refused("notes", "d1") is None


@pytest.mark.parametrize("damage", ["", "{", "no", "[]", '{"files": {}}'])
def test_damaged_memory_is_none(notes, damage):
    (generation.Path(generation.FOLDER) / "notes/healthy.json").write_text(damage)
    assert not generation.differs("notes", VALUES)
    assert generation.keep("notes", VALUES)
    assert generation.deviations("notes") == {}


def test_what_is_gone_is_forgotten_and_its_images_lose_their_names(notes):
    there = generation.remnants("notes")
    assert generation.remove("notes") == there
    assert generation.remnants("notes") == []
    assert TAG not in notes.images
    assert notes.images["localhost/x:1"] == "i"


def test_generations_are_found_by_their_folders_and_by_the_names_of_images(notes):
    folder = generation.Path(generation.FOLDER)
    notes.images["localhost/rick-infra/gone/gone-web:healthy"] = "i"
    (folder / "old").mkdir()
    assert generation.list_() == {
        "gone": ["localhost/rick-infra/gone/gone-web:healthy"],
        "notes": [str(folder / "notes"), *(image for image in sorted(notes.images) if "/notes/" in image)],
        "old": [str(folder / "old")],
    }


def test_without_generations_none_is_found(host):
    assert generation.list_() == {}


def test_a_container_that_is_no_more_loses_its_image_name(notes):
    pod.declare("notes", UNITS)
    pod.start("notes", FILES, units=UNITS)
    generation.keep("notes")
    assert "localhost/rick-infra/notes/notes-cleanup:healthy" not in notes.images
    assert TAG in notes.images


@pytest.mark.parametrize("name", ["", "..", "a/b", None])
def test_what_is_no_name_reaches_no_file(host, name):
    with pytest.raises(SaltInvocationError):
        generation.show(name)


def test_neither_todays_secrets_nor_those_before_show_in_a_text(notes):
    notes.secrets = {"notes.token": 0, "wiki.token": 0}
    notes.values["notes.token"] = b"newer token"
    text = generation.without_secrets("notes", "old token, newer token, that of wiki: w")
    assert text == "**********, **********, that of wiki: w"
    assert generation.without_secrets("notes", "") == ""
