"""
What rootless Podman left: found, removed for the user that is named, and nothing of anybody else's.
"""

import pwd
from types import SimpleNamespace

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

rootless = load("modules", "rootless")
textfile = load("utils", "textfile")


@pytest.fixture
def host(monkeypatch, tmp_path):
    """A host in tmp_path with users old and other, and root."""
    linger = tmp_path / "linger"
    linger.mkdir()
    subuid, subgid = tmp_path / "subuid", tmp_path / "subgid"
    homes = tmp_path / "home"
    accounts = {
        name: pwd.struct_passwd((name, "x", uid, uid, "", str(home), "/bin/sh"))
        for name, uid, home in (
            ("root", 0, tmp_path / "root"),
            ("daemon", 1, "/"),
            ("old", 1000, homes / "old"),
            ("older", 1001, homes / "older"),
        )
    }
    for account in accounts.values():
        if account.pw_dir.startswith(str(tmp_path)):
            rootless.Path(account.pw_dir).mkdir(parents=True)

    def getpwnam(name):
        return accounts[name]

    state = SimpleNamespace(active="inactive", calls=[], linger=linger, homes=homes, subuid=subuid, subgid=subgid)
    utils = {
        "units.show": lambda units, properties: {unit: {"ActiveState": state.active} for unit in units},
        "units.act": lambda verb, units: state.calls.append((verb, *units)),
        "textfile.write": textfile.write,
    }
    monkeypatch.setattr(rootless, "__utils__", utils, raising=False)
    monkeypatch.setattr(rootless, "LINGER", linger)
    monkeypatch.setattr(rootless, "SUBORDINATE_IDS", (subuid, subgid))
    monkeypatch.setattr(rootless.pwd, "getpwall", lambda: list(accounts.values()))
    monkeypatch.setattr(rootless.pwd, "getpwnam", getpwnam)
    return state


def used(home):
    """Give a home what rootless Podman leaves in it."""
    for path in (rootless.USER_UNITS, rootless.STORAGE):
        (home / path).mkdir(parents=True)
    (home / rootless.USER_UNITS / "web.container").write_text("[Container]\n")
    volume = home / rootless.STORAGE / "storage/volumes/data"
    volume.mkdir(parents=True)
    (volume / "file").write_text("x")


def test_a_host_that_never_ran_it_has_nothing_left(host):
    host.subuid.write_text("old:100000:65536\n")
    assert rootless.leftovers() == {}


def test_everything_that_is_left_is_listed(host):
    (host.linger / "old").touch()
    host.subuid.write_text("old:100000:65536\nolder:200000:65536\n")
    host.subgid.write_text("old:100000:65536\n")
    used(host.homes / "old")
    home = host.homes / "old"
    assert rootless.leftovers() == {
        "old": [
            f"lingers: its user manager starts at boot ({host.linger}/old)",
            f"has Quadlet files: {home}/.config/containers/systemd",
            f"has container storage: {home}/.local/share/containers",
            f"has a range in {host.subuid}",
            f"has a range in {host.subgid}",
        ]
    }


def test_root_is_not_rootless(host, tmp_path):
    (host.linger / "root").touch()
    used(tmp_path / "root")
    assert rootless.leftovers() == {}


def test_all_of_one_user_is_removed_and_nothing_of_another(host):
    for name in ("old", "older"):
        (host.linger / name).touch()
        used(host.homes / name)
    (host.homes / "old/.config/other").write_text("kept")
    for path in (host.subuid, host.subgid):
        path.write_text("old:100000:65536\nolder:200000:65536\nold:400000:65536\n")
    before = rootless.leftovers()["older"]
    rootless.remove("old")
    assert rootless.leftovers() == {"older": before}
    assert host.subuid.read_text() == host.subgid.read_text() == "older:200000:65536\n"
    assert (host.homes / "old/.config/other").read_text() == "kept"


@pytest.mark.parametrize(("state", "calls"), [("active", [("stop", "user@1000.service")]), ("inactive", [])])
def test_the_user_s_manager_is_stopped_if_it_runs(host, state, calls):
    host.active = state
    rootless.remove("old")
    assert host.calls == calls


def test_removing_twice_is_harmless(host):
    used(host.homes / "old")
    rootless.remove("old")
    rootless.remove("old")
    assert rootless.leftovers() == {}


def test_a_user_that_does_not_exist_is_refused(host):
    with pytest.raises(CommandExecutionError, match="rootless: there is no user 'nobody-such'"):
        rootless.remove("nobody-such")


def test_root_s_containers_are_never_removed(host, tmp_path):
    (host.linger / "root").touch()
    used(tmp_path / "root")
    with pytest.raises(CommandExecutionError, match="root's containers are not rootless"):
        rootless.remove("root")
    assert (host.linger / "root").exists()
    assert (tmp_path / "root" / rootless.STORAGE / "storage/volumes/data/file").exists()


@pytest.mark.parametrize("link", [".local", ".local/share", ".local/share/containers"])
def test_a_link_in_a_home_is_named_and_not_followed(host, tmp_path, link):
    victim = tmp_path / "victim"
    deep = victim / str(rootless.Path(rootless.STORAGE).relative_to(link))
    deep.mkdir(parents=True)
    (deep / "precious").write_text("x")
    (host.homes / "old" / link).parent.mkdir(parents=True, exist_ok=True)
    (host.homes / "old" / link).symlink_to(victim)
    with pytest.raises(CommandExecutionError, match=r"old/\.local/share/containers was not removed.*links are not fol"):
        rootless.remove("old")
    assert (deep / "precious").exists()
    assert "old" in rootless.leftovers(), "what was not removed is still reported"


def test_a_link_inside_the_storage_goes_and_what_it_points_to_stays(host, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("x")
    used(host.homes / "old")
    (host.homes / "old" / rootless.STORAGE / "link").symlink_to(victim)
    rootless.remove("old")
    assert (victim / "precious").exists()
    assert rootless.leftovers() == {}


def test_homes_that_lie_behind_a_link_of_the_host_are_cleaned(host, tmp_path):
    used(host.homes / "old")
    host.homes.rename(tmp_path / "disk")
    host.homes.symlink_to(tmp_path / "disk")
    rootless.remove("old")
    assert not (tmp_path / "disk/old" / rootless.STORAGE).exists()


def test_a_link_that_leads_to_no_containers_is_nobody_s_business(host, tmp_path):
    (tmp_path / "dotfiles").mkdir()
    (host.homes / "old/.config").symlink_to(tmp_path / "dotfiles")
    (host.linger / "old").touch()
    rootless.remove("old")
    assert rootless.leftovers() == {}


def test_ranges_that_cannot_be_written_completely_are_kept(host, monkeypatch):
    host.subuid.write_text("old:100000:65536\nolder:200000:65536\n")

    def full_disk(*_arguments, **_options):
        raise CommandExecutionError("/etc/subuid: No space left on device")

    monkeypatch.setitem(rootless.__utils__, "textfile.write", full_disk)
    with pytest.raises(CommandExecutionError):
        rootless.remove("old")
    assert "older:200000:65536" in host.subuid.read_text()
