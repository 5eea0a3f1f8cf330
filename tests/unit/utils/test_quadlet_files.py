"""
Names of Quadlet files and of the units that they become.
"""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import SaltInvocationError
from tree import load

quadlet_files = load("utils", "quadlet_files")
quadlet_text = load("utils", "quadlet_text")


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Empty folders in place of the host's."""
    folders = {name: tmp_path / name for name in ("quadlet", "etc", "init.d", "generator")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setattr(quadlet_files, "FOLDER", str(folders["quadlet"]))
    monkeypatch.setattr(quadlet_files, "GENERATED", str(folders["generator"]))
    monkeypatch.setattr(quadlet_files, "UNIT_FOLDERS", (str(folders["etc"]),))
    return folders


def about(file, definition, digest=None):
    kind = file.rpartition(".")[2]
    return quadlet_files.about(file, quadlet_text.unit(kind, definition), digest)


def container(**keys):
    return {"Container": {"Image": "localhost/x:1", **keys}}


@pytest.mark.parametrize(
    "name", ["", "a/b", "../a", "a b", "-a", ".a", "a@b", "a\n", "ä", None, 3, "x" * 300, "notes.pod"]
)
def test_a_name_that_cannot_be_a_unit_is_refused(name):
    with pytest.raises(SaltInvocationError, match="unit name"):
        quadlet_files.file_name("container", name)


@pytest.mark.parametrize("name", ["pod", "volume", "image"])
def test_a_name_that_is_a_kind_is_a_name_like_any_other(name):
    assert quadlet_files.file_name("network", name) == f"{name}.network"


@given(st.text())
def test_a_name_never_leads_out_of_the_folder(name):
    try:
        file = quadlet_files.file_name("pod", name)
    except SaltInvocationError:
        return
    assert "/" not in file
    assert quadlet_files.split(file) == (name, "pod")


@pytest.mark.parametrize("file", ["notes", "notes.service", ".pod", "a/b.pod", "notes.pod ", 3, "a@b.container"])
def test_what_is_no_quadlet_file_is_refused(file):
    with pytest.raises(SaltInvocationError, match="not the name of a Quadlet file"):
        quadlet_files.split(file)


@pytest.mark.parametrize(
    ("file", "service", "resource"),
    [
        ("notes.container", "notes.service", "systemd-notes"),
        ("notes.pod", "notes-pod.service", "systemd-notes"),
        ("notes.volume", "notes-volume.service", "systemd-notes"),
        ("notes.network", "notes-network.service", "systemd-notes"),
        ("notes.image", "notes-image.service", "systemd-notes"),
    ],
)
def test_a_file_becomes_the_unit_that_quadlet_makes_of_it(file, service, resource):
    found = about(file, {file.rpartition(".")[2].capitalize(): {"GlobalArgs": "x"}})
    assert (found["service"], found["resource"]) == (service, resource)


def test_names_of_its_own_count():
    found = about("notes.container", container(ServiceName="other", ContainerName="third"))
    assert (found["service"], found["resource"]) == ("other.service", "third")
    assert about("notes.network", {"Network": {"NetworkName": "net"}})["resource"] == "net"


def test_what_a_container_uses_is_known():
    definition = container(
        Pod="notes.pod",
        Network="notes.network:ip=10.0.0.2",
        Volume=["data.volume:/data", "/srv/x.volume:/x"],
        Mount="type=volume,source=more.volume,destination=/more",
        Secret=["a,type=env,target=A", "b"],
        Pull="Never",
    )
    found = about("notes.container", definition, "d")
    assert found["uses"] == ["data.volume", "more.volume", "notes.network", "notes.pod"]
    assert found["secrets"] == ["a", "b"]
    assert (found["pod"], found["image"], found["pull"]) == ("notes.pod", "localhost/x:1", "never")
    assert found["digest"] == "d"


@pytest.mark.parametrize(("value", "starts"), [(None, True), ("true", True), ("no", False)])
def test_a_container_starts_with_its_pod_unless_it_says_otherwise(value, starts):
    keys = {} if value is None else {"StartWithPod": value}
    assert about("notes.container", container(**keys))["starts_with_pod"] is starts


def problems(file, definition, others=()):
    kind = file.rpartition(".")[2]
    return quadlet_files.name_problems(file, quadlet_text.unit(kind, definition), list(others))


def test_a_free_name_is_free(host):
    assert problems("notes.container", container()) == []


@pytest.mark.parametrize("name", ["caddy", "ssh", "postgresql", "valkey-server"])
def test_the_name_of_what_the_tree_may_yet_install_is_refused(host, name):
    (problem,) = problems(f"{name}.container", container())
    assert f"{name}.service" in problem


def test_the_name_of_an_installed_unit_is_refused_with_its_place(host):
    (host["etc"] / "wiki.service").write_text("")
    assert str(host["etc"] / "wiki.service") in problems("wiki.container", container())[0]
    assert problems("other.container", container(ServiceName="wiki"))
    assert problems("other.container", {**container(), "Install": {"Alias": "wiki.service"}})


def test_an_alias_of_an_installed_unit_counts_though_it_leads_nowhere(host):
    (host["etc"] / "wiki.service").symlink_to("/nowhere")
    assert problems("wiki.container", container())


def test_the_unit_of_another_file_is_refused(host):
    other = about("one.container", container(ServiceName="two"))
    assert "one.container" in problems("two.container", container(), [other])[0]


def test_the_unit_of_another_generator_is_refused(host):
    (host["generator"] / "wiki.service").write_text("[Unit]\nSourcePath=/etc/init.d/wiki\n")
    assert problems("wiki.container", container())


def test_the_unit_that_the_file_itself_became_is_no_obstacle(host):
    file = host["quadlet"] / "wiki.container"
    (host["generator"] / "wiki.service").write_text(f"[Unit]\nSourcePath={file}\n")
    assert problems("wiki.container", container()) == []


def test_a_service_name_leads_nowhere_else(host):
    assert problems("wiki.container", container(ServiceName="../x"))


def test_drop_ins_of_the_kind_come_before_those_of_the_file(host):
    for folder, name in (("wiki.container.d", "a.conf"), ("container.d", "b.conf"), ("wiki.container.d", "c.txt")):
        (host["quadlet"] / folder).mkdir(exist_ok=True)
        (host["quadlet"] / folder / name).write_text("")
    assert quadlet_files.drop_ins("wiki.container") == [
        str(host["quadlet"] / "container.d/b.conf"),
        str(host["quadlet"] / "wiki.container.d/a.conf"),
    ]


def test_other_files_and_folders_are_no_units(host):
    for name in ("a.container", "b.kube", ".a.container.x.new", "README"):
        (host["quadlet"] / name).write_text("")
    (host["quadlet"] / "c.pod").mkdir()
    assert quadlet_files.present() == ["a.container"]


def test_no_folder_is_no_file(host):
    host["quadlet"].rmdir()
    assert quadlet_files.present() == []


def test_the_generators_comment_is_left_out():
    assert quadlet_files.without_header("# Automatically generated by /usr/lib/x\n# \n[Unit]\n") == "[Unit]\n"


def test_a_file_that_is_younger_than_what_systemd_read_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(quadlet_files, "GENERATED", str(tmp_path / "generator"))
    files = [tmp_path / "old.pod", tmp_path / "new.pod", tmp_path / "none.pod"]
    files[0].touch()
    assert quadlet_files.unread(map(str, files)) == set()
    (tmp_path / "generator").mkdir()
    files[1].touch()
    for moment, path in enumerate([files[0], tmp_path / "generator", files[1]]):
        os.utime(path, (moment, moment))
    assert quadlet_files.unread(map(str, files)) == {str(files[1])}
