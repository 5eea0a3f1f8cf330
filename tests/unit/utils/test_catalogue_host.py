"""
What the catalogue reads on a host: ports that are in use by services, units, what is left in folders.
"""

import os
import socket

import pytest
from tree import load

schema = load("utils", "catalogue_schema")
resolve = load("utils", "catalogue_resolve")
service_units = load("utils", "service_units")
host = load("utils", "catalogue_host")


def test_the_port_of_a_service_is_what_its_pod_publishes(tmp_path):
    entry, _ = schema.complete(
        {
            "image": "a:1",
            "port": 8080,
            "publish": [{"port": 1, "host_port": 21000}, {"port": 2, "host_port": 53, "protocol": "udp"}],
        }
    )
    facts = {"postgresql": {"unit": "p"}, "valkey": {"unit": "v", "socket": "/s/v"}, "ports": {"notes": 20007}}
    service = resolve.resolve({"notes": entry}, facts)[0]["notes"]
    pod = service_units.units(entry, service)[1]["definition"]["Pod"]
    lines = [f"PublishPort={port}" for port in pod["PublishPort"]]
    for order in (lines, lines[::-1]):
        (tmp_path / "notes.pod").write_text("\n".join(["[Pod]", *order]))
        assert host.ports(["notes", "wiki"], tmp_path) == {"notes": 20007}


@pytest.mark.parametrize(
    "text", ["", "[Pod]\n", "[Pod]\nPublishPort=127.0.0.1:21000:1/tcp\n", "PublishPort=0.0.0.0:80:80"]
)
def test_without_such_a_line_no_port_is_known(tmp_path, text):
    (tmp_path / "notes.pod").write_text(text)
    assert host.ports(["notes"], tmp_path) == {}


def test_users_and_groups_are_those_of_the_system():
    found = host.taken([])
    assert found["users"]["root"][0] == 0
    assert "root" in found["groups"]


def test_units_are_found_where_systemd_looks_and_where_quadlet_does(tmp_path):
    folders = [tmp_path / name for name in ("etc", "generator", "lib", "missing")]
    quadlet = tmp_path / "quadlet"
    for folder in (*folders[:3], quadlet):
        folder.mkdir()
    (folders[0] / "notes-web.service").write_text("first")
    (folders[2] / "notes-web.service").write_text("second")
    (folders[1] / "notes-pod.service").write_text("generated")
    (quadlet / "notes-pod.pod").write_text("another")
    (quadlet / "wiki.pod").write_text("not generated yet")
    (quadlet / "wiki-web.container").write_text("not generated yet")
    (folders[2] / "masked.service").symlink_to(os.devnull)
    units = [
        "notes-web.service",
        "notes-pod.service",
        "wiki-pod.service",
        "wiki-web.service",
        "masked.service",
        "x.timer",
    ]
    found = host.taken(units, folders, quadlet)["units"]
    assert found == {
        "notes-web.service": (f"{folders[0]}/notes-web.service", "first"),
        "notes-pod.service": (f"{folders[1]}/notes-pod.service", "generated"),
        "wiki-pod.service": (f"{quadlet}/wiki.pod", "not generated yet"),
        "wiki-web.service": (f"{quadlet}/wiki-web.container", "not generated yet"),
        "masked.service": (f"{folders[2]}/masked.service", ""),
    }


def test_secrets_of_services_are_told_by_the_dot(tmp_path):
    for name in ("notes.token", "valkey-admin", ".hidden", ".notes.token.new"):
        (tmp_path / name).write_text("x")
    assert host.secret_files(tmp_path) == ["notes.token"]


def test_homes_are_directories_of_the_service_s_group_that_only_it_enters(tmp_path):
    (tmp_path / "rick-infra").mkdir(mode=0o755)
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("/nonexistent")
    assert host.homes(tmp_path) == []


def test_a_name_that_no_file_can_have_has_no_port(tmp_path):
    assert host.ports(["a\0b"], tmp_path) == {}


def test_a_port_whose_file_was_lost_is_known_from_what_was_made_of_it(tmp_path):
    made = tmp_path / "generator"
    made.mkdir()
    command = "ExecStartPre=podman pod create --publish 127.0.0.1:20007:8080 --publish 0.0.0.0:53:53/udp notes"
    (made / "notes-pod.service").write_text(f"[Service]\n{command}\n")
    assert host.ports(["notes"], tmp_path, made) == {"notes": 20007}
    (tmp_path / "notes.pod").write_text("[Pod]\n")
    assert host.ports(["notes"], tmp_path, made) == {}


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_who_listens_is_seen(family, address):
    with socket.socket(family) as server:
        server.bind((address, 0))
        port = server.getsockname()[1]
        assert port not in host.listening()
        server.listen()
        assert port in host.listening()
    assert port not in host.listening()
