"""
Accounts through Salt's loader and the system's own tools, on account files of the test's own. Needs root.
"""

import shutil
import tarfile

import loaded
import pytest

TOOLS = ("useradd", "usermod", "userdel", "groupadd", "groupdel")
# Numbers that nobody has: the kernel knows only numbers, and the host's processes are looked through.
IDS = "SYS_UID_MIN 61200\nSYS_UID_MAX 61999\nSYS_GID_MIN 61200\nSYS_GID_MAX 61999\nUSERGROUPS_ENAB yes\n"
USERS = "root:x:0:0:root:/root:/bin/bash\ncaddy:x:61100:61100:Caddy web server:/var/lib/caddy:/usr/sbin/nologin\n"
GROUP = "root:x:0:\ncaddy:x:61100:\npostgres-clients:x:61101:\nvalkey-clients:x:61102:\n"
SHADOW = "root:*:20000:0:99999:7:::\ncaddy:!:20000::::::\n"


@pytest.fixture
def etc(open_folder):
    """Account files in which the tools may do as they do."""
    etc = open_folder / "root/etc"
    etc.mkdir(parents=True)
    for name, text in {"passwd": USERS, "group": GROUP, "shadow": SHADOW, "login.defs": IDS}.items():
        (etc / name).write_text(text)
    (etc / "gshadow").write_text("".join(f"{line.split(':')[0]}:!::\n" for line in GROUP.splitlines()))
    return etc


@pytest.fixture
def apply(loaders, modules, monkeypatch, etc, open_folder):
    programs = open_folder / "bin"
    programs.mkdir()
    for tool in TOOLS:
        (programs / tool).write_text(f'#!/bin/sh\nexec {shutil.which(tool)} --prefix {etc.parent} "$@"\n')
        (programs / tool).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setitem(loaded.of_util(modules, "account_database"), "FOLDER", str(etc))
    monkeypatch.setitem(loaded.of_util(modules, "account_archive"), "FOLDER", f"{open_folder}/archive")
    return loaded.states_over(loaders, modules)


@pytest.fixture
def given(open_folder):
    home = f"{open_folder}/opt/svc"
    return {
        "name": "svc-functional",
        "home": home,
        "groups": ["postgres-clients", "valkey-clients"],
        "directories": [{"path": f"{home}/data", "owner": "svc-functional"}, {"path": f"{home}/web", "owner": 61033}],
    }


def line(etc, file, name):
    found = [line for line in (etc / file).read_text().splitlines() if line.startswith(f"{name}:")]
    return found[0].split(":") if found else None


def members(etc, group):
    return line(etc, "group", group)[3]


def test_an_account_goes_through_its_whole_life(apply, etc, given, open_folder):
    name, home = given["name"], open_folder / "opt/svc"
    plan = apply("account.present", test=True, **given)
    assert plan["result"] is None
    assert line(etc, "passwd", name) is None
    assert not home.exists()

    done = apply("account.present", test=False, **given)
    assert done["result"] is True, done
    assert done["changes"] == plan["changes"]
    user = line(etc, "passwd", name)
    assert user[4:] == [f"rick-infra service {name}", str(home), "/usr/sbin/nologin"]
    assert line(etc, "shadow", name)[1].startswith("!")
    assert [members(etc, group) for group in given["groups"]] == [name, name]
    uid, gid = int(user[2]), int(user[3])
    assert line(etc, "group", name)[2] == str(gid)
    for path, owner, mode in ((home, 0, 0o750), (home / "data", uid, 0o750), (home / "web", 61033, 0o750)):
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (owner, gid, mode)
    for test in (True, False):
        assert apply("account.present", test=test, **given)["changes"] == {}

    (home / "data/file").write_text("precious")
    gone = {"name": name, "home": str(home)}
    for data, left in (("keep", True), ("archive", False)):
        plan = apply("account.absent", test=True, data=data, **gone)
        done = apply("account.absent", test=False, data=data, **gone)
        assert (plan["result"], done["result"]) == (None, True), done
        assert done["changes"] == plan["changes"]
        assert apply("account.absent", test=False, data=data, **gone)["changes"] == {}
        assert (home / "data/file").exists() is left
        assert members(etc, "postgres-clients") == ""
    assert line(etc, "passwd", name) is line(etc, "group", name) is line(etc, "shadow", name) is None
    (archive,) = (open_folder / "archive" / name).iterdir()
    if archive.suffix == ".gz":
        with tarfile.open(archive) as opened:
            assert opened.extractfile("./data/file").read() == b"precious"


def test_keep_is_undone_when_the_service_comes_back(apply, etc, given):
    apply("account.present", test=False, **given)
    uid = line(etc, "passwd", given["name"])[2]
    apply("account.absent", test=False, name=given["name"], home=given["home"])
    assert line(etc, "shadow", given["name"])[7] == "1"
    plan = apply("account.present", test=True, **given)
    done = apply("account.present", test=False, **given)
    assert set(done["changes"]) == set(plan["changes"]) == {"locked", "groups"}
    assert line(etc, "shadow", given["name"])[7] == ""
    assert line(etc, "passwd", given["name"])[2] == uid


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_group_that_is_missing_is_a_plan_and_then_an_error(apply, etc, given, test_mode):
    given["groups"] = ["no-such-group"]
    result = apply("account.present", test=test_mode, **given)
    assert result["result"] is (None if test_mode else False)
    assert line(etc, "passwd", given["name"]) is None


@pytest.mark.parametrize("test_mode", [True, False])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "caddy"}, "not this service's"),
        ({"name": "valkey-clients"}, "there is a group valkey-clients"),
        ({"uid": 1}, "uid 1 is that of daemon"),
        ({"uid": 0}, "above 0"),
        ({"home": "LINK"}, "symbolic links are not followed"),
    ],
)
def test_what_belongs_to_others_is_refused_in_both_modes(apply, etc, given, open_folder, test_mode, change, words):
    (open_folder / "opt").mkdir()
    (open_folder / "opt/link").symlink_to("/opt")
    if change.get("home"):
        change = {"home": f"{open_folder}/opt/link"}
    before = (etc / "passwd").read_text()
    result = apply("account.present", test=test_mode, **{**given, **change})
    assert result["result"] is False
    assert words in result["comment"]
    assert (etc / "passwd").read_text() == before


def test_drift_is_repaired(apply, etc, given, open_folder):
    apply("account.present", test=False, **given)
    home = open_folder / "opt/svc"
    home.chmod(0o777)
    (etc / "passwd").write_text((etc / "passwd").read_text().replace(f"{home}:/usr/sbin/nologin", f"{home}:/bin/sh"))
    (etc / "group").write_text((etc / "group").read_text().replace("61102:svc-functional", "61102:caddy"))
    plan = apply("account.present", test=True, **given)
    assert set(plan["changes"]) == {str(home), "shell", "groups"}
    assert apply("account.present", test=False, **given)["changes"] == plan["changes"]
    assert apply("account.present", test=True, **given)["changes"] == {}
    assert members(etc, "valkey-clients") == "caddy,svc-functional"
