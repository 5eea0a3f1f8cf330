"""
What bin/bootstrap makes of a host before it changes anything.
"""

import hashlib
from pathlib import Path

import pytest

TRIXIE = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_CODENAME=trixie\nID=debian\n'
FORKY = 'PRETTY_NAME="Debian GNU/Linux forky/sid"\nVERSION_CODENAME=forky\nID=debian\n'
BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
SALT = "/opt/rick-infra"


def write(root, name, text=""):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def package(name, version="1", status="install ok installed", conffiles=None):
    lines = [f"Package: {name}", f"Status: {status}", f"Version: {version}"]
    if conffiles:
        lines += ["Conffiles:", *(f" {path} {digest}" for path, digest in conffiles.items())]
    return "\n".join([*lines, "Description: something", " in several lines", ""]) + "\n"


def md5(text):
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@pytest.fixture
def preflight(command, monkeypatch):
    module = command("preflight.py")
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    return module


@pytest.fixture
def server(tmp_path):
    """A bare Debian 13 server."""
    write(tmp_path, "etc/os-release", TRIXIE)
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    write(tmp_path, "var/lib/dpkg/status", package("base-files"))
    return tmp_path


def problems(preflight, root, needed=None):
    return preflight.Host(root).problems(SALT, needed or {})


def findings(preflight, root):
    return [finding.what for finding in preflight.Host(root).findings()]


def test_a_bare_server_will_do_and_is_not_in_use(preflight, server):
    assert problems(preflight, server) == []
    assert findings(preflight, server) == []


def test_what_our_own_states_made_of_a_host_is_not_somebody_elses(preflight, server):
    write(server, "etc/salt/minion", "master: salt")
    assert findings(preflight, server)
    write(server, "etc/salt/minion.d/50-rick-infra.conf", "id: web1")
    assert findings(preflight, server) == []


def test_a_salt_master_of_somebody_else_is_in_use_for_a_master_only(preflight, server):
    write(server, "etc/salt/master", "interface: 0.0.0.0")
    write(server, "var/lib/dpkg/status", package("salt-master"))
    host = preflight.Host(server)
    (found,) = host.findings("master")
    for expected in ("/etc/salt/master", "the package salt-master"):
        assert expected in found.what
    assert host.findings("minion") == host.findings() == []
    write(server, "etc/salt/master.d/50-rick-infra.conf", "auto_accept: False")
    assert host.findings("master") == []


def test_a_minion_of_another_master_is_in_use_also_for_ours(preflight, server):
    write(server, "etc/salt/pki/minion/minion_master.pub", "a key")
    (found,) = preflight.Host(server).findings("minion")
    assert "its keys in /etc/salt/pki/minion" in found.what
    assert "its master is the one that you name" in found.adoption


def test_a_key_that_knows_no_master_is_not_in_use(preflight, server):
    write(server, "etc/salt/pki/minion/minion.pem", "a key, of an enrollment that was refused")
    assert findings(preflight, server) == []


def test_services_of_the_host_do_not_matter_to_a_master(preflight, server):
    write(server, "var/lib/postgresql/17/main/PG_VERSION", "17")
    write(server, "var/lib/postgresql/17/main/base/5/16385")
    assert preflight.Host(server).findings("minion")
    assert preflight.Host(server).findings("master") == []


def test_somebody_elses_salt_is_a_problem_where_ours_would_be(preflight, server):
    write(server, "usr/local/bin/salt-key", "#!/bin/sh")
    assert problems(preflight, server) == []
    (problem,) = preflight.Host(server).problems(SALT, {}, ("salt-call", "salt-key"))
    assert "/usr/local/bin/salt-key is not ours" in problem


def test_the_next_release_will_do(preflight, server):
    write(server, "etc/os-release", FORKY)
    assert problems(preflight, server) == []


def test_everything_that_is_wrong_is_said_at_once_each_with_a_way_out(preflight, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    write(tmp_path, "etc/os-release", BOOKWORM)
    write(tmp_path, "usr/local/bin/salt-call", "#!/bin/sh")
    found = problems(preflight, tmp_path, {Path("/var"): 1 << 60})
    for expected in ("sudo bin/bootstrap", "systemd", "bookworm", "MiB free", "/usr/local/bin/salt-call"):
        assert any(expected in problem for problem in found), expected
    assert len(found) == 5
    assert all("\n" not in problem for problem in found)


def test_a_host_without_a_name_is_an_unknown_release(preflight, server):
    (server / "etc/os-release").unlink()
    (problem,) = problems(preflight, server)
    assert "an unknown release" in problem


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("5.4.2+ds1-2+b2", True),
        ("5.10.0-1", True),
        ("6.0-1", True),
        ("1:5.4-1", True),
        ("4.9.3+ds1", False),
        ("5.3-9", False),
    ],
)
def test_an_installed_podman_must_be_recent_enough(preflight, server, version, fits):
    write(server, "var/lib/dpkg/status", package("podman", version))
    assert bool(problems(preflight, server)) != fits


@pytest.mark.parametrize("target", ["/opt/rick-infra/salt/bin/salt-call", "/opt/rick-infra/salt-0123/bin/salt-call"])
def test_our_own_link_to_salt_call_is_no_problem(preflight, server, target):
    (server / "usr/local/bin/salt-call").symlink_to(target)
    assert problems(preflight, server) == []


def test_somebody_elses_link_to_salt_call_is_one(preflight, server):
    (server / "usr/local/bin/salt-call").symlink_to("/opt/saltstack/salt/salt-call")
    (problem,) = problems(preflight, server)
    assert "move it away" in problem


def test_needs_on_the_same_disk_add_up(preflight, server, monkeypatch):
    usage = preflight.shutil.disk_usage("/")._replace(free=150 << 20)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _path: usage)
    one, two = server / "one", server / "two/not-there-yet"
    assert problems(preflight, server, {one: 100 << 20}) == []
    (problem,) = problems(preflight, server, {one: 100 << 20, two: 100 << 20})
    assert "200 MiB needed" in problem
    assert str(one) in problem
    assert str(two) in problem


# --- findings --------------------------------------------------------------------------------------------------------


def cluster(root, name, *objects):
    write(root, f"{name}/PG_VERSION", "17\n")
    for path in ("base/1/13483", "base/4/13483", "base/5/13483", "base/5/2619_fsm", "base/pgsql_tmp", *objects):
        write(root, f"{name}/{path}")


def test_a_cluster_as_the_package_makes_it_is_not_in_use(preflight, server):
    cluster(server, "var/lib/postgresql/17/main")
    assert findings(preflight, server) == []


@pytest.mark.parametrize("made_by_a_user", ["base/16384/1259", "base/5/16385", "base/5/16385_vm"], ids=str)
def test_a_cluster_with_a_database_or_table_is(preflight, server, made_by_a_user):
    cluster(server, "var/lib/postgresql/17/main", made_by_a_user)
    assert findings(preflight, server) == ["a PostgreSQL cluster with data: /var/lib/postgresql/17/main"]


def test_a_cluster_elsewhere_is_found_by_its_configuration(preflight, server):
    cluster(server, "srv/database", "base/16384/1259")
    write(server, "etc/postgresql/17/big/postgresql.conf", "port = 5433\ndata_directory = '/srv/database'  # moved\n")
    assert findings(preflight, server) == ["a PostgreSQL cluster with data: /srv/database"]


@pytest.mark.parametrize(
    ("name", "path"), [("valkey-server", "/etc/valkey/valkey.conf"), ("caddy", "/etc/caddy/Caddyfile")]
)
@pytest.mark.parametrize(("text", "changed"), [("as packaged", False), ("edited", True)])
def test_a_configuration_that_differs_from_the_packages_is_found(preflight, server, name, path, text, changed):
    write(server, "var/lib/dpkg/status", package("before") + package(name, conffiles={path: md5("as packaged")}))
    write(server, path.lstrip("/"), text)
    assert [what for what in findings(preflight, server) if path in what] == findings(preflight, server)
    assert bool(findings(preflight, server)) == changed


def test_a_configuration_without_a_package_is_found(preflight, server):
    write(server, "etc/caddy/Caddyfile", "example.test\n")
    assert findings(preflight, server) == ["Caddy with a configuration of its own: /etc/caddy/Caddyfile"]


def test_a_caddy_that_is_configured_by_its_api_is_found(preflight, server):
    link = server / "etc/systemd/system/multi-user.target.wants/caddy-api.service"
    link.parent.mkdir(parents=True)
    link.symlink_to("/usr/lib/systemd/system/caddy-api.service")
    (finding,) = preflight.Host(server).findings()
    assert finding.what.endswith(": /etc/systemd/system/multi-user.target.wants/caddy-api.service")
    assert "disable it" in finding.adoption


def test_adoption_keeps_somebody_elses_caddyfile_where_it_says(preflight, server):
    write(server, "etc/caddy/Caddyfile", "example.test\n")
    (finding,) = preflight.Host(server).findings()
    assert "/etc/caddy/Caddyfile.before-rick-infra" in finding.adoption


def test_all_traces_of_a_salt_minion_are_one_finding(preflight, server):
    write(server, "etc/salt/minion", "master: salt.example.test\n")
    write(server, "etc/salt/minion.d/10-site.conf", "grains: {}\n")
    write(server, "etc/salt/pki/minion/minion_master.pub", "")
    write(server, "var/lib/dpkg/status", package("salt-minion"))
    (what,) = findings(preflight, server)
    for trace in (
        "/etc/salt/minion,",
        "/etc/salt/minion.d/10-site.conf",
        "/etc/salt/pki/minion",
        "package salt-minion",
    ):
        assert trace in what


def test_what_salt_call_leaves_behind_by_itself_is_no_minion(preflight, server):
    write(server, "etc/salt/minion_id", "web1")
    write(server, "etc/salt/minion", "")
    (server / "etc/salt/pki/minion").mkdir(parents=True)
    assert findings(preflight, server) == []


def test_every_finding_says_what_adoption_would_do(preflight, server):
    cluster(server, "var/lib/postgresql/17/main", "base/16384/1259")
    for name in ("etc/valkey/valkey.conf", "etc/caddy/Caddyfile", "etc/salt/minion"):
        write(server, name, "own")
    found = preflight.Host(server).findings()
    assert len(found) == 4
    assert all(finding.adoption for finding in found)


def test_a_host_is_ours_once_it_has_our_minion_configuration(preflight, server):
    assert not preflight.Host(server).is_ours
    write(server, "etc/salt/minion.d/50-rick-infra.conf")
    assert preflight.Host(server).is_ours
