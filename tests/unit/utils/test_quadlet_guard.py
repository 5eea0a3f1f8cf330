"""
Who may have a shared socket, and every way past that.
"""

import grp
import pwd

import pytest
from tree import load

guard = load("utils", "quadlet_guard")
quadlet_text = load("utils", "quadlet_text")

ACCOUNTS = [
    pwd.struct_passwd(("root", "x", 0, 0, "", "/", "")),
    pwd.struct_passwd(("postgres", "x", 101, 104, "", "/", "")),
    pwd.struct_passwd(("notes", "x", 990, 990, "", "/", "")),
    pwd.struct_passwd(("toor", "x", 0, 0, "", "/", "")),
    pwd.struct_passwd(("gidless", "x", 991, 0, "", "/", "")),
    pwd.struct_passwd(("twin", "x", 992, 992, "", "/", "")),
    pwd.struct_passwd(("other-twin", "x", 992, 992, "", "/", "")),
    pwd.struct_passwd(("wiki", "x", 993, 993, "rick-infra service wiki", "/", "")),
    pwd.struct_passwd(("blog", "x", 994, 994, "rick-infra service blog,,,", "/", "")),
]
GIDS = {"postgres-clients": 4001, "valkey-clients": 4002}


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Directories in place of /run's, and the users above."""
    by_name = {account.pw_name: account for account in ACCOUNTS}
    monkeypatch.setattr(guard.pwd, "getpwnam", by_name.__getitem__)
    monkeypatch.setattr(guard.pwd, "getpwall", lambda: ACCOUNTS)
    monkeypatch.setattr(guard.pwd, "getpwuid", {account.pw_uid: account for account in ACCOUNTS}.__getitem__)
    groups = {account.pw_gid: grp.struct_group((account.pw_name, "x", account.pw_gid, [])) for account in ACCOUNTS}
    monkeypatch.setattr(guard.grp, "getgrgid", groups.__getitem__)
    monkeypatch.setattr(guard, "INSTANCES", f"{tmp_path}/run/valkey-")
    for name in ("postgresql", "valkey", "valkey-wiki", "valkey-blog", "private/wiki", "private/blog", "elsewhere"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to(tmp_path / "run")
    return tmp_path


@pytest.fixture
def check(host):
    """Check a unit. ``RUN`` in a value stands for the folder of the socket directories."""

    def run(definition, kind="container", user="notes", groups=(), pod=None, service=None):
        return guard.problems(
            unit(host, kind, definition),
            {f"{host}/run/postgresql": {"user": "postgres"}, f"{host}/run/valkey": {"user": "valkey"}},
            f"{host}/run/private",
            GIDS,
            user,
            list(groups),
            pod and unit(host, "pod", pod),
            service,
        )

    return run


def unit(host, kind, definition):
    def real(value):
        if isinstance(value, list):
            return [real(one) for one in value]
        return value.replace("RUN", f"{host}/run").replace("VAR", f"{host}/var") if isinstance(value, str) else value

    return quadlet_text.unit(
        kind, {section: {key: real(value) for key, value in keys.items()} for section, keys in definition.items()}
    )


def contained(**keys):
    """A container that may have a socket."""
    return {"Container": {"Image": "x", "DropCapability": "all", "NoNewPrivileges": True, **keys}}


MOUNT = "RUN/postgresql:/run/postgresql:ro"


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"Volume": MOUNT},
        {"Volume": ["RUN/postgresql:/run/postgresql:ro,nosuid", "RUN/valkey:/run/valkey:ro"]},
        {"Volume": [MOUNT, "data.volume:/data", "/srv/notes:/srv:Z", "/anonymous"]},
        {"Volume": MOUNT, "PodmanArgs": "--cpus=2 --memory=1g --label=a=b --init"},
        {"Volume": MOUNT, "GroupAdd": ["44"], "DropCapability": "ALL"},
        {"Volume": "RUN/private/wiki:/run/postgresql:ro"},
    ],
)
def test_a_contained_service_user_may(check, keys):
    assert check(contained(**keys), groups=["postgres-clients"]) == []


def test_a_container_without_sockets_may_do_as_it_likes(check):
    free = {
        "Container": {"Image": "x", "AddCapability": "ALL", "PodmanArgs": "--privileged", "User": "0", "UserNS": "auto"}
    }
    assert check(free, user=None) == []
    assert check({"Container": {"Image": "x", "Volume": ["RUN/elsewhere:/x:Z", "/run/lock:/y"]}}, user=None) == []


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        (None, "the service's own user"),
        ("root", "not run as root"),
        ("toor", "0 is root's"),
        ("gidless", "0 is root's"),
        ("twin", "shares uid 992 with other-twin"),
        ("postgres", "superuser"),
    ],
)
@pytest.mark.parametrize("asks", [{"groups": ["valkey-clients"]}, {}])
def test_whoever_is_not_the_services_own_user_is_refused(check, user, reason, asks):
    keys = {} if asks else {"Volume": MOUNT}
    (problem,) = check(contained(**keys), user=user, **asks)
    assert reason in problem
    assert "private_socket.present" in problem


def test_the_owner_of_the_directory_is_refused_whatever_its_name(check, host, monkeypatch):
    owner = pwd.struct_passwd(("notes", "x", (host / "run/postgresql").stat().st_uid, 990, "", "/", ""))
    monkeypatch.setattr(guard.pwd, "getpwnam", {"notes": owner}.__getitem__)
    monkeypatch.setattr(guard.pwd, "getpwall", lambda: [owner])
    assert "superuser" in check(contained(Volume=MOUNT))[0]


def test_a_user_that_is_made_in_the_same_run_is_not_judged(check):
    assert check(contained(Volume=MOUNT), user="tomorrow") == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"DropCapability": "CAP_NET_RAW"}, "DropCapability=all"),
        ({"DropCapability": ["all", ""]}, "DropCapability=all"),
        ({"NoNewPrivileges": False}, "NoNewPrivileges"),
        ({"AddCapability": "SETUID"}, "AddCapability"),
        ({"UserNS": "auto"}, "UserNS"),
        ({"UIDMap": "990:101:1"}, "UIDMap"),
        ({"GIDMap": "0:4001:1"}, "GIDMap"),
        ({"SubUIDMap": "x"}, "SubUIDMap"),
        ({"RemapUsers": "manual"}, "RemapUsers"),
        ({"GlobalArgs": "--root=/x"}, "GlobalArgs"),
        ({"ContainersConfModule": "/etc/x.conf"}, "ContainersConfModule"),
        ({"GroupAdd": "keep-groups"}, "keep-groups"),
        ({"GroupAdd": "0"}, "GroupAdd=0"),
        ({"Annotation": "run.oci.keep_original_groups=1"}, "run.oci."),
        ({"PodmanArgs": "--privileged"}, "--privileged"),
        ({"PodmanArgs": "--cap-add=SETUID"}, "--cap-add"),
        ({"PodmanArgs": "--user=101"}, "--user"),
        ({"PodmanArgs": "--user 101"}, "--user"),
        ({"PodmanArgs": "-u 101"}, "-u"),
        ({"PodmanArgs": "--group-add=0"}, "--group-add"),
        ({"PodmanArgs": "--userns=host"}, "--userns"),
        ({"PodmanArgs": "--security-opt=seccomp=unconfined"}, "--security-opt"),
        ({"PodmanArgs": "--pid=host"}, "--pid"),
        ({"PodmanArgs": "--init --ipc=host"}, "--ipc"),
        ({"PodmanArgs": "--annotation=run.oci.keep_original_groups=1"}, "--annotation"),
        ({"PodmanArgs": "--label a=b"}, "a=b"),
    ],
)
def test_every_way_to_become_somebody_else_is_refused(check, keys, reason):
    (problem,) = check(contained(Volume=MOUNT, **keys))
    assert reason in problem


@pytest.mark.parametrize("missing", ["DropCapability", "NoNewPrivileges"])
def test_protection_that_is_missing_is_not_taken_for_granted(check, missing):
    definition = contained(Volume=MOUNT)
    del definition["Container"][missing]
    assert missing in check(definition)[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"Volume": "RUN:/x:ro"},
        {"Volume": "/:/host:ro"},
        {"Volume": "RUN/postgresql/.s.PGSQL.5432:/s:ro"},
        {"Volume": "VAR/run/postgresql:/x:ro"},
        {"Volume": "RUN/elsewhere/../valkey/..:/x:ro"},
        {"Volume": "${WHERE}:/x:ro"},
        {"Mount": "type=bind,source=RUN/postgresql,destination=/x,ro=true"},
        {"Mount": "type=bind,src=RUN,target=/x"},
        {"Mount": "type=glob,src=RUN/post*,destination=/x"},
        {"Mount": "type=volume,source=v,volume-opt=device=RUN/valkey,destination=/x"},
        {"Rootfs": "/"},
        {"Rootfs": "RUN:O"},
        {"PodmanArgs": "-v RUN/valkey:/x:ro"},
        {"PodmanArgs": "-vRUN/valkey:/x:ro"},
        {"PodmanArgs": "-itv RUN/valkey:/x:ro"},
        {"PodmanArgs": "--volume=RUN/valkey:/x"},
        {"PodmanArgs": "--volume RUN/valkey:/x"},
        {"PodmanArgs": "--mount=type=bind,source=RUN/valkey,target=/x"},
        {"PodmanArgs": "--mount type=bind,source=RUN/valkey,target=/x"},
        {"PodmanArgs": "--volumes-from=systemd-notes"},
        {"PodmanArgs": "--volumes-from systemd-notes"},
        {"PodmanArgs": "--rootfs /"},
    ],
)
def test_a_socket_directory_comes_in_by_the_one_door_only(check, keys):
    problems = check(contained(**keys))
    assert any("opens" in problem and "private_socket.present" in problem for problem in problems)


@pytest.mark.parametrize(
    ("volume", "reason"),
    [
        ("RUN/postgresql:/x", "read-only"),
        ("RUN/postgresql:/x:rw", "read-only"),
        ("RUN/postgresql:/x:ro,z", "option z"),
        ("RUN/postgresql:/x:Z,ro", "option Z"),
        ("RUN/postgresql:/x:ro,U", "option U"),
        ("RUN/private/wiki:/x", "read-only"),
        ("RUN/private/wiki:/x:ro,U", "option U"),
        ("RUN/private:/x:ro", "opens"),
    ],
)
def test_a_mount_leaves_the_hosts_directory_as_it_is(check, volume, reason):
    assert any(reason in problem for problem in check(contained(Volume=volume)))


def test_specifiers_of_systemd_are_read_as_systemd_does(check, monkeypatch, host):
    monkeypatch.setitem(guard.SPECIFIERS, "%t", f"{host}/run")
    assert "read-only" in check(contained(Volume="%t/postgresql:/x"))[0]


@pytest.mark.parametrize("group", ["4001", "postgres-clients"])
def test_a_client_group_is_asked_for_by_its_name_only(check, group):
    (problem,) = check({"Container": {"Image": "x", "GroupAdd": group}}, user=None)
    assert "socket_groups: [postgres-clients]" in problem


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("pod", {"Pod": {"Volume": MOUNT}}),
        ("pod", {"Pod": {"PodmanArgs": "--volume=RUN/valkey:/x"}}),
        ("volume", {"Volume": {"Device": "RUN/postgresql", "Type": "none", "Options": "bind"}}),
        ("volume", {"Volume": {"PodmanArgs": "--opt=o=bind --opt=device=RUN/valkey"}}),
    ],
)
def test_neither_a_pod_nor_a_volume_brings_a_shared_socket(check, kind, definition):
    assert "opens" in check(definition, kind=kind)[0]


@pytest.mark.parametrize(
    "pod",
    [{"UserNS": "auto"}, {"UIDMap": "990:101:1"}, {"PodmanArgs": "--share=pid"}, {"PodmanArgs": "--userns=auto"}],
)
def test_the_pod_may_not_undo_the_protection(check, pod):
    assert "its pod" in check(contained(Volume=MOUNT), pod={"Pod": pod})[0]


def test_an_ordinary_pod_is_no_obstacle(check):
    pod = {"Pod": {"PodmanArgs": ["--exit-policy=continue", "--label=a=b"], "PublishPort": "80:80"}}
    assert check(contained(Volume=MOUNT), pod=pod) == []


def test_who_needs_protection_is_found(host):
    shared = [f"{host}/run/postgresql"]
    assert guard.needs_protection(unit(host, "container", contained()), shared, ["postgres-clients"])
    assert guard.needs_protection(unit(host, "container", contained(Volume=MOUNT)), shared, [])
    assert not guard.needs_protection(unit(host, "container", contained(Volume="/srv:/srv")), shared, [])


def test_what_a_container_waits_for_is_found(host):
    shared = [f"{host}/run/postgresql", f"{host}/run/valkey"]
    volumes = ["RUN/valkey:/run/valkey:ro", "RUN/private/wiki:/run/postgresql:ro"]
    found = guard.sockets(unit(host, "container", contained(Volume=volumes)), shared, f"{host}/run/private")
    assert found == ([f"{host}/run/valkey"], ["wiki"])


@pytest.mark.parametrize("place", ["RUN/private/wiki", "RUN/valkey-wiki", "VAR/run/valkey-wiki"])
@pytest.mark.parametrize("kind", ["container", "pod"])
def test_a_service_reaches_its_own_sockets_and_nobody_elses(check, place, kind):
    definition = {kind.capitalize(): {"Volume": f"{place}:/run/x:ro"}}
    assert check(definition, kind=kind, service="wiki") == []
    assert "opens the sockets of wiki, and the unit belongs to blog" in check(definition, kind=kind, service="blog")[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"Volume": "RUN/valkey-wiki/valkey.sock:/x:ro"},
        {"Volume": "RUN/elsewhere/../valkey-wiki:/x:ro"},
        {"Mount": "type=bind,source=RUN/valkey-wiki,target=/x"},
        {"PodmanArgs": "-v RUN/private/wiki:/x"},
        {"Volume": "RUN/private:/x:ro"},
        {"Volume": "RUN:/x:ro"},
    ],
)
def test_no_way_leads_to_another_services_sockets(check, keys):
    assert check({"Container": {"Image": "x", **keys}}, service="blog")


@pytest.mark.parametrize("volume", ["RUN/valkey-wiki:/x", "RUN/valkey-wiki:/x:ro,U"])
def test_a_valkey_of_its_own_is_mounted_as_carefully_as_a_shared_one(check, volume):
    assert check({"Container": {"Image": "x", "Volume": volume}}, service="wiki")


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ({"GroupAdd": "993"}, True),
        ({"Group": "993"}, True),
        ({"User": "993"}, True),
        ({"User": "993:0"}, True),
        ({"GroupAdd": "994"}, False),
        ({"User": "994"}, False),
        ({"User": "990"}, False),
        ({"User": "12345"}, False),
        # The image's own names, not the host's.
        ({"User": "wiki"}, False),
        ({"GroupAdd": "wiki"}, False),
    ],
)
def test_users_and_groups_of_other_services_are_refused(check, keys, refused):
    found = check({"Container": {"Image": "x", **keys}}, service="blog")
    assert any("belongs to service wiki" in problem for problem in found) is refused


def test_a_unit_of_no_service_is_not_judged_by_whose_it_is(check):
    assert check({"Container": {"Image": "x", "GroupAdd": "993", "Volume": "RUN/private/wiki:/x:ro"}}) == []
