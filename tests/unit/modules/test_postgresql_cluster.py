"""
A cluster that an installation which was cut off has left, in folders of a test.
"""

from types import SimpleNamespace

import pytest
from tree import load

cluster = load("modules", "postgresql_cluster")


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONFIGURATION", tmp_path / "etc")
    monkeypatch.setattr(cluster, "DATA", tmp_path / "lib")
    return SimpleNamespace(configuration=tmp_path / "etc/17/main", data=tmp_path / "lib/17/main")


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_on_a_virgin_host_there_is_none(host):
    assert cluster.put_aside("17") == {}
    host.data.mkdir(parents=True)
    assert cluster.put_aside("17") == {}


def test_what_is_half_made_is_moved_aside_and_not_deleted(host):
    """initdb was killed: there is a version, and no database."""
    write(host.data, "PG_VERSION", "base/1/112", "postgresql.conf")
    assert cluster.half_made("17") == {str(host.data): {"old": "half made", "new": None}}
    assert host.data.exists()
    assert cluster.put_aside("17") == {str(host.data): {"old": "half made", "new": None}}
    [aside] = host.data.parent.glob("main.half-made-*")
    assert (aside / "base/1/112").read_text() == "base/1/112"
    assert not host.data.exists()
    assert cluster.half_made("17") == {}


def test_a_configuration_that_is_not_finished_is_not_in_the_way(host):
    write(host.data, "PG_VERSION")
    write(host.configuration, "postgresql.conf", "conf.d/ours.conf")
    cluster.put_aside("17")
    assert not (host.configuration / "postgresql.conf").exists()
    assert (host.configuration / "conf.d/ours.conf").exists()


def test_a_finished_one_that_has_not_started_yet_is_left_alone(host):
    write(host.data, "PG_VERSION")
    write(host.configuration, "postgresql.conf", "environment")
    assert cluster.put_aside("17") == {}
    assert (host.data / "PG_VERSION").exists()


@pytest.mark.parametrize("mark", ["postmaster.opts", "backup_label", "backup_manifest"])
def test_one_that_has_run_or_is_a_copy_is_left_alone(host, mark):
    write(host.data, "PG_VERSION", mark)
    assert cluster.put_aside("17") == {}
    assert (host.data / mark).exists()
