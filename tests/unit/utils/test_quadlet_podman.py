"""
Podman's answers, recorded from Podman 5.4.2.
"""

import contextlib
import json

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

podman = load("utils", "quadlet_podman")

INFRA = {
    "Id": "895be880",
    "IsInfra": True,
    "Labels": {"PODMAN_SYSTEMD_UNIT": "notes-pod.service", "rick-infra.digest": "p1"},
    "Names": ["systemd-notes-infra"],
    "Pid": 6888,
    "Pod": "b3f287bd",
    "State": "running",
    "Status": "Up 12 seconds",
    "ImageID": "8ef13a73",
    "Created": 1795469031,
}
CONTAINER = {
    **INFRA,
    "IsInfra": False,
    "Labels": {"PODMAN_SYSTEMD_UNIT": "notes-web.service", "rick-infra.digest": "c1"},
    "Names": ["systemd-notes-web"],
    "Pid": 7058,
}
FOREIGN = {**CONTAINER, "Labels": None, "Names": ["by-hand"]}


@pytest.fixture
def answers(monkeypatch):
    """Answers by the first words of a command."""
    found = {}

    def run(command, timeout):
        for words, answer in found.items():
            if " ".join(command).startswith(words):
                return answer
        raise AssertionError(f"podman was asked {command}")

    monkeypatch.setattr(podman, "_run", run)
    monkeypatch.setattr(podman, "installed", lambda: True)
    return found


def answer(output="", code=0, error=""):
    text = output if isinstance(output, str) else json.dumps(output)
    return podman.subprocess.CompletedProcess([], code, text, error)


@pytest.fixture
def store(tmp_path):
    """Podman's own store, empty."""
    (tmp_path / "overlay-images").mkdir()
    (tmp_path / "secrets").mkdir()
    return tmp_path


def places(store):
    return [f"{store}/overlay-images/images.json", f"{store}/secrets/secrets.json"]


def test_containers_are_known_by_the_unit_that_started_them(answers):
    answers["ps --all"] = answer([INFRA, CONTAINER, FOREIGN])
    found = podman.containers()
    assert set(found) == {"notes-pod.service", "notes-web.service"}
    assert found["notes-pod.service"]["infra"]
    assert found["notes-web.service"]["digest"] == "c1"
    assert found["notes-web.service"]["pid"] == 7058


def test_a_time_in_whole_seconds_is_not_taken_for_too_early(answers):
    """A secret that got its value within that second would count as younger, at each run."""
    answers["ps --all"] = answer([CONTAINER])
    assert podman.containers()["notes-web.service"]["created"] >= CONTAINER["Created"] + 0.999


@pytest.mark.parametrize(
    ("status", "healthy"),
    [
        ("Up 2 minutes (healthy)", True),
        ("Up 2 minutes (unhealthy)", False),
        ("Up 1 second (starting)", None),
        ("Up", None),
    ],
)
def test_health_is_read_from_the_status(answers, status, healthy):
    answers["ps --all"] = answer([{**CONTAINER, "Status": status}])
    assert podman.containers()["notes-web.service"]["healthy"] is healthy


@pytest.mark.parametrize("nothing", ["null", "[]"])
def test_no_container_is_none(answers, nothing):
    answers["ps --all"] = answer(nothing)
    assert podman.containers() == {}


def test_networks_and_volumes_have_the_digest_of_their_definition_if_any(answers):
    label = {"rick-infra.digest": "n1", "rick-infra.service": "notes"}
    answers["network ls"] = answer([{"name": "podman"}, {"name": "systemd-notes", "labels": label}])
    answers["volume ls"] = answer([{"Name": "old", "Labels": None}, {"Name": "systemd-data", "Labels": label}])
    assert podman.networks() == {"podman": None, "systemd-notes": "n1"}
    assert podman.network_owners() == {"podman": None, "systemd-notes": "notes"}
    assert podman.volumes() == {"old": None, "systemd-data": "n1"}


@pytest.mark.parametrize(
    ("said", "version"), [("podman version 5.4.2", (5, 4, 2)), ("podman version 6.0.0-dev", (6, 0, 0))]
)
def test_the_version_is_a_tuple_of_numbers(answers, said, version):
    answers["--version"] = answer(said)
    assert podman.version() == version


def test_without_podman_there_is_nothing(monkeypatch, store):
    monkeypatch.setattr(podman, "installed", lambda: False)
    assert podman.version() is None
    assert podman.containers() == podman.networks() == podman.volumes() == {}
    assert not podman.has_image("localhost/x:1")


def test_an_error_is_podmans_own(answers):
    answers["network rm"] = answer(code=2, error="Error: network is being used")
    with pytest.raises(CommandExecutionError, match=r"podman network rm notes: Error: network is being used"):
        podman.remove_networks(["notes"])


def test_nothing_to_remove_asks_nobody(answers):
    podman.remove_networks([])
    podman.remove_leftovers([], [])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("localhost/notes:1", "id1"),
        ("docker.io/library/redis", "id2"),
        ("docker.io/library/redis:latest", "id2"),
        ("id1", "id1"),
        ("sha256:id1", "id1"),
        ("localhost/notes:2", None),
        ("host:5000/x", None),
    ],
)
def test_images_are_found_by_their_full_name(store, name, found):
    listing = [
        {"id": "id1", "names": ["localhost/notes:1"]},
        {"id": "id2", "names": ["docker.io/library/redis:latest"]},
        {"id": "id3", "names": None},
    ]
    (store / "overlay-images/images.json").write_text(json.dumps(listing))
    assert podman.image_id(name, podman.images(places(store))) == found


@pytest.mark.parametrize(
    ("policy", "here", "fails"), [("newer", True, False), ("newer", False, True), ("always", True, True)]
)
def test_a_registry_that_is_away_matters_unless_the_image_need_only_be_newer(answers, policy, here, fails):
    answers["image pull --quiet --authfile=/root/auth r.test/x:1"] = answer(code=125, error="no answer")
    answers["image exists"] = answer(code=0 if here else 1)
    with pytest.raises(CommandExecutionError, match="no answer") if fails else contextlib.nullcontext():
        podman.pull("r.test/x:1", policy, "/root/auth")


def test_a_short_name_is_left_to_podman(store, answers):
    answers["image exists redis"] = answer()
    answers["image exists nothing"] = answer(code=1)
    assert podman.has_image("redis")
    assert not podman.has_image("nothing")


@pytest.mark.parametrize("function", ["images", "secrets"])
def test_a_store_that_cannot_be_found_is_not_an_empty_one(function):
    with pytest.raises(CommandExecutionError, match=r"storage\.conf"):
        getattr(podman, function)(None)


def test_secrets_tell_when_they_got_their_value(store):
    entry = {
        "name": "key",
        "id": "1",
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "1970-01-01T00:01:00.259496031Z",
    }
    (store / "secrets/secrets.json").write_text(json.dumps({"secrets": {"1": entry}}))
    assert int(podman.secrets(places(store))["key"]) == 60


def test_an_empty_store_has_neither_images_nor_secrets(store):
    assert podman.images(places(store)) == podman.secrets(places(store)) == {}


@pytest.mark.parametrize(
    ("file", "function"), [("overlay-images/images.json", "images"), ("secrets/secrets.json", "secrets")]
)
def test_a_broken_store_is_an_error_that_names_the_file(store, file, function):
    (store / file).write_text("{")
    with pytest.raises(CommandExecutionError, match=file):
        getattr(podman, function)(places(store))


def test_values_of_secrets_survive_what_is_no_text(answers):
    answers["secret inspect --showsecret"] = answer(f"{b'a b'.hex()} notes.token\n{bytes([255, 10]).hex()} notes.key\n")
    assert podman.secret_values(["notes.token", "notes.key"]) == {"notes.token": b"a b", "notes.key": bytes([255, 10])}
    assert podman.secret_values([]) == {}


def test_an_image_that_something_needs_stays(answers):
    answers["image rm a:1 a:2"] = answer()
    answers["image rm id2"] = answer(code=2, error="image is in use by a container")
    assert podman.remove_images({"id1": ["a:1", "a:2"], "id2": []}) == ["id1"]


def test_an_image_gets_and_loses_a_name(answers):
    answers["image tag id1 a:healthy"] = answer()
    answers["image untag a:healthy a:healthy"] = answer()
    podman.tag("id1", "a:healthy")
    podman.untag(["a:healthy"])


def test_the_service_and_an_unknown_health_are_facts(answers):
    labels = {**CONTAINER["Labels"], "rick-infra.service": "notes"}
    answers["ps --all"] = answer([{**CONTAINER, "Labels": labels, "Status": "Up 1 second (starting)"}])
    found = podman.containers()["notes-web.service"]
    assert (found["owner"], found["starting"]) == ("notes", True)
