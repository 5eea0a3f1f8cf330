"""
A service goes: what becomes of its data is what its entry says, and no other service is touched.
"""

import pytest

ENTRY = {
    "image": "localhost/hello:1",
    "port": 8080,
    "health": {"path": "/", "timeout": 60},
    "secrets": {"own": True},
    "volumes": {"data": "/data"},
    "postgres": True,
    "valkey": True,
}
OWN = {**ENTRY, "postgres": None, "valkey": {"isolation": "instance"}}
# Each service by its data policy; those with a Valkey of their own are named so.
POLICIES = {
    "kept": "keep", "archived": "archive", "deleted": "delete",
    "kept-own": "keep", "archived-own": "archive", "deleted-own": "delete",
    "unproven": "archive",
}  # fmt: skip
GOING = [name for name in POLICIES if name != "unproven"]
OTHERS = ("notes-*.service", "valkey-server.service", "postgresql@*", "unproven-*.service")
ARCHIVE = "/var/lib/rick-infra/archive"
WRITE = "create table t (word text); insert into t values ('precious')"
READ = "select word from t"


def entry(name):
    return {**(OWN if name.endswith("-own") else ENTRY), "site": f"{name}.example.test"}


def cache(name):
    return f"/run/valkey-{name}/valkey.sock" if name.endswith("-own") else "/run/valkey/valkey.sock"


def absent(host, *names):
    for name in names:
        host.declare(name, {"state": "absent", "data": POLICIES[name]})


def there(host, path):
    return host.run("test", "-e", path, check=False).returncode == 0


@pytest.fixture(scope="module")
def host(main_machine):
    """The shared machine with all of these services, and data in each."""
    host = main_machine
    host.run("/srv/rick-infra/examples/build", "hello")
    for name in POLICIES:
        host.declare(name, {**entry(name), "state": "present"})
    host.converge()
    for name in POLICIES:
        host.sh(f"echo precious > /opt/{name}/data/word; chown {name}: /opt/{name}/data/word")
        assert host.valkey(name, f"SET {name}:word precious", cache(name)) == "OK"
        if not name.endswith("-own"):
            host.psql(name, WRITE)
    # What only a superuser can make cannot be restored by anybody else, so an archive of it proves nothing.
    host.sh('runuser -u postgres -- psql -q unproven -c "create function f() returns int language internal'
            " as 'pg_backend_pid'\"")  # fmt: skip
    yield host
    host.remove(*POLICIES)
    host.sh(f"rm -rf {ARCHIVE}")


@pytest.fixture(scope="module")
def removed(host):
    """The plan and the run that remove all but the one that cannot be proved, and which others ran before."""
    before = host.invocations(*OTHERS)
    absent(host, *GOING)
    return host.apply(test=True), host.apply(), before


def test_a_removal_does_what_was_planned_and_no_other_service_is_touched(host, removed):
    plan, run, before = removed
    assert plan.failed == run.failed == {}
    assert plan.planned == run.changed
    assert host.invocations(*OTHERS) == before


def test_the_next_run_changes_nothing_and_no_orphan_is_left(host, removed):
    again = host.apply()
    assert (again.changed, again.failed) == (set(), {})
    assert host.salt("catalogue.orphans") == {}


@pytest.mark.parametrize(("name", "kinds"), [("archived", 3), ("archived-own", 2)])
def test_each_kind_of_data_is_archived_once(host, removed, name, kinds):
    assert len(host.sh(f"ls -A {ARCHIVE}/{name}").split()) == kinds


def test_certificates_stay_in_caddys_store_until_somebody_deletes_them(host, removed):
    certificates = "/var/lib/caddy/.local/share/caddy/certificates"
    assert host.sh(f"ls {certificates}/*/deleted.example.test/") != ""
    host.sh(f"rm -r {certificates}/*/deleted.example.test")
    assert host.apply().changed == set()


@pytest.mark.parametrize("name", GOING)
def test_pod_site_and_secrets_are_gone(host, removed, name):
    assert host.sh(f"ls /etc/containers/systemd | grep -E '^{name}([.]|-web)' || true") == ""
    assert host.sh(f"podman ps -aq --filter label=rick-infra.service={name}") == ""
    assert host.run("podman", "network", "exists", name, check=False).returncode == 1
    assert not there(host, f"/etc/caddy/sites-enabled/{name}.caddy")
    assert host.sh(f"podman secret ls --format '{{{{.Name}}}}' | grep '^{name}[.]' || true") == ""
    assert host.sh(f"ls /var/lib/rick-infra/secrets | grep '^{name}[.]' || true") == ""


@pytest.mark.parametrize("name", [name for name in GOING if POLICIES[name] != "keep"])
def test_user_files_database_and_keys_are_gone_unless_they_are_kept(host, removed, name):
    assert host.run("id", name, check=False).returncode != 0
    assert not there(host, f"/opt/{name}")
    assert not there(host, f"/var/lib/valkey-{name}")
    left = host.salt("postgresql.inventory")
    assert name not in left["roles"]
    assert name not in left["databases"]


def test_what_is_kept_is_locked(host, removed):
    assert host.psql("kept", READ, check=False) == ""
    assert host.salt("postgresql.query", "select rolcanlogin from pg_roles where rolname = 'kept'") == [
        {"rolcanlogin": False}
    ]
    assert host.sh("passwd --status kept | cut -d' ' -f2") == "L"
    assert host.sh("cat /opt/kept/data/word") == "precious"
    assert {one["user"] for one in host.salt("valkey_user.list")}.isdisjoint(POLICIES.keys() - {"unproven"})


def test_an_archive_that_cannot_be_proved_drops_nothing(host, removed):
    absent(host, "unproven")
    done = host.apply()
    assert set(done.failed) >= {"Service unproven has its data archived", "Service unproven has no database"}
    # What failed is undone by nobody: the data are where they were, for the administrator to decide.
    assert host.sh(f"runuser -u postgres -- psql -qAt unproven -c '{READ}'") == "precious"
    assert host.sh("cat /opt/unproven/data/word") == "precious"
    assert [one["user"] for one in host.salt("valkey_user.list") if one["user"] == "unproven"] == ["unproven"]
    assert host.salt("valkey_user.to_archive", "unproven").keys() == {"keys"}
    assert not there(host, f"{ARCHIVE}/unproven") or host.sh(f"ls -A {ARCHIVE}/unproven") == ""
    assert {state.split()[1] for state in done.failed} == {"unproven"}
    host.declare("unproven", {"state": "absent", "data": "delete"})


def test_what_was_kept_is_there_again_and_an_archive_goes_into_a_fresh_service(host, removed):
    [instance] = host.sh(f"ls {ARCHIVE}/archived-own/*-valkey.tar*").split()
    host.run("salt-call", "valkey_instance.restore", "archived-own", instance)
    names = ("kept", "kept-own", "archived", "archived-own")
    for name in names:
        host.declare(name, entry(name))
    host.converge()
    assert host.psql("kept", READ) == host.sh("cat /opt/kept/data/word") == "precious"
    for name in ("kept", "kept-own", "archived-own"):
        assert host.valkey(name, f"GET {name}:word", cache(name)).strip('"') == "precious"
    # The archived one begins empty; its data come back by hand.
    assert host.psql("archived", "select count(*) from pg_tables where schemaname = 'public'") == "0"
    [dump] = host.sh(f"ls {ARCHIVE}/archived/*.dump").split()
    [keys] = host.sh(f"ls {ARCHIVE}/archived/*-valkey.keys").split()
    [files] = host.sh(f"ls {ARCHIVE}/archived/*.tar* | grep -v valkey").split()
    host.run("salt-call", "postgres_dump.restore", "archived", dump)
    host.run("salt-call", "valkey_user.restore", "archived", keys)
    assert host.psql("archived", READ) == "precious"
    assert host.valkey("archived", "GET archived:word").strip('"') == "precious"
    assert host.sh(f"tar -xOf {files} --wildcards '*data/word'") == "precious"
    assert host.apply().changed == set()


def test_what_podman_has_of_a_service_without_files_and_entry_is_found_and_goes(host):
    marks = "--label rick-infra.service=lost --label PODMAN_SYSTEMD_UNIT=lost-web.service"
    host.sh("podman network create --label rick-infra.service=lost lost")
    host.sh(f"podman run --detach --name lost-web --network lost {marks} --entrypoint sleep localhost/hello:1 infinity")
    host.sh("podman tag localhost/hello:1 localhost/rick-infra/lost/lost-web:healthy")
    host.sh("mkdir /var/lib/rick-infra/services/lost")
    left = host.salt("catalogue.orphans")["lost"]
    assert (left["containers"], left["networks"]) == (["lost-web"], ["lost"])
    assert left["generations"] == ["/var/lib/rick-infra/services/lost", "localhost/rick-infra/lost/lost-web:healthy"]
    host.remove("lost")
    assert host.salt("catalogue.orphans") == {}
    assert host.sh("podman ps --all --quiet --filter name=lost-web; podman network ls --quiet --filter name=lost") == ""
