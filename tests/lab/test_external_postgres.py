"""
A service whose database is on another host: made, used, healed and removed there, by TLS with a certificate that is
checked, and not at all where the check fails.
"""

import json

import pytest
import yaml
from authority import Authority
from machine import NOTES, own
from outside import ADDRESS, ADMINISTRATOR, AUTHORITY_FILE, HOST, PASSWORD, PORT, Outside

DATABASE = "Service notes has its database"
ENTRY = {**yaml.safe_load(NOTES), "postgres": {"host": HOST, "readonly_roles": ["reports"], "extensions": ["pg_trgm"]}}
LOGIN = f"PGPASSWORD=$(cat /var/lib/rick-infra/secrets/notes.postgres) psql -qAt -h {HOST} -p {PORT} -U notes"


@pytest.fixture(scope="module")
def host(copy_of_prepared):
    """A machine with the example service, whose database is made at a server that is not the tree's."""
    made = copy_of_prepared(own("t-ext"))
    made.converge()
    made.run("/srv/rick-infra/examples/build", "notes")
    made.outside = Outside(made, Authority())
    made.outside.settings()
    made.declare("notes", ENTRY)
    made.plan, made.first, made.second = made.apply(test=True), made.apply(), made.apply()
    return made


@pytest.fixture
def outside(host):
    """The server, for a test that changes something there: put right afterwards."""
    server = host.outside
    yield server
    server.show(*server.authority.issue(HOST))
    server.trust(server.authority)
    server.settings()
    host.declare("notes", ENTRY)
    host.converge()
    host.healthy()


def test_it_is_planned_made_and_left_alone(host):
    assert host.plan.failed == host.first.failed == host.second.failed == {}
    assert DATABASE in host.plan.planned & host.first.changed
    assert host.first.states[DATABASE]["changes"].keys() == host.plan.states[DATABASE]["changes"].keys()
    assert host.second.changed == set()
    host.healthy()
    asked = "SELECT count(*) FROM pg_stat_activity a JOIN pg_stat_ssl USING (pid) WHERE usename = 'notes' AND NOT ssl"
    assert host.outside.sql(asked) == "0"
    assert host.outside.sql("SELECT count(*) > 0 FROM pg_tables WHERE tableowner = 'notes'", "notes") == "t"


def test_nothing_leads_to_the_hosts_own_database(host):
    assert "postgres-clients" not in host.sh("id -Gn notes").split()
    unit = host.sh("cat /etc/containers/systemd/notes-web.container")
    assert "/run/postgresql" not in unit
    assert f"{AUTHORITY_FILE}:/etc/rick-infra/postgres-ca.crt:ro" in unit
    assert host.salt("postgres_tenant.list") == {}


def test_no_password_is_shown(host):
    own_password = host.sh("cat /var/lib/rick-infra/secrets/notes.postgres")
    shown = [
        *(done.done.stdout + done.done.stderr for done in (host.plan, host.first, host.second)),
        json.dumps([host.salt("pillar.items"), host.salt("catalogue.show", "notes")]),
        host.sh("podman inspect notes-web; journalctl --no-pager; cat /var/log/postgresql/*outside*"),
    ]
    for password in (own_password, PASSWORD):
        assert not any(password in text for text in shown)


def test_the_verification_proves_it(host):
    checks = {one["name"]: one for one in host.salt("verify.service", "notes")["checks"]}
    proved = [name for name, one in checks.items() if HOST in name and one["passed"]]
    assert len(proved) == 3, checks
    assert all(one["passed"] for one in checks.values()), checks
    assert host.salt("verify.access")["passed"]
    assert host.verify()["notes: no other role may enter its database at db.example.test"][0]
    assert "TLSv1.3" in next(one["detail"] for name, one in checks.items() if "certificate is verified" in name)


def test_another_role_is_not_let_in_to_the_database_and_an_open_door_is_found(host, outside):
    outside.sql("CREATE ROLE wiki LOGIN PASSWORD 'of-another-service'")
    knock = f"PGPASSWORD=of-another-service psql -h {HOST} -p {PORT} -U wiki -d notes -c 'SELECT 1'"
    assert "permission denied for database" in host.run("sh", "-c", knock, check=False).stderr
    outside.sql("GRANT CONNECT ON DATABASE notes TO wiki")
    failed = [one for one in host.salt("verify.service", "notes", check=False)["checks"] if not one["passed"]]
    assert [one["detail"] for one in failed] == ["open to wiki"]
    host.converge()
    assert "permission denied for database" in host.run("sh", "-c", knock, check=False).stderr
    outside.sql("DROP ROLE wiki")


def test_without_tls_nobody_is_let_in(host):
    said = host.run("sh", "-c", f"{LOGIN} -d 'dbname=notes sslmode=disable' -c 'SELECT 1'", check=False)
    assert "no encryption" in said.stderr


def test_drift_is_planned_and_healed(host, outside):
    outside.sql("ALTER ROLE notes PASSWORD 'somebody changed it' CONNECTION LIMIT 3 CREATEDB")
    outside.sql("GRANT CONNECT ON DATABASE notes TO PUBLIC")
    outside.sql("DROP EXTENSION pg_trgm; REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM reports", "notes")
    plan = host.apply(test=True).states[DATABASE]
    assert plan["changes"].keys() == {"role", "database", "password", "extensions", "reports reads"}
    done = host.converge()
    assert done.states[DATABASE]["changes"].keys() == plan["changes"].keys()
    assert host.sh(f"{LOGIN} -d 'dbname=notes sslmode=verify-full sslrootcert={AUTHORITY_FILE}' -c 'SELECT 1'") == "1"
    assert host.apply().changed == set()


@pytest.mark.parametrize("test_mode", [True, False])
@pytest.mark.parametrize(
    "what", ["stranger", "expired", "other name", "no certificates", "nobody", "rights", "password"]
)
def test_what_cannot_be_trusted_or_reached_changes_nothing_and_is_told(host, outside, what, test_mode):
    server, running = outside, host.invocations("notes-web.service")
    if what == "stranger":
        server.trust(Authority("somebody else"))
        told = f"nobody in {AUTHORITY_FILE} vouches for its certificate"
    elif what == "expired":
        server.show(*server.authority.issue(HOST, days=-1))
        told = "certificate has expired"
    elif what == "other name":
        server.show(*server.authority.issue("other.example.test"))
        told = "its certificate is for another name"
    elif what == "no certificates":
        host.write(AUTHORITY_FILE, "nothing of that kind")
        told = "no certificates (PEM)"
    elif what == "nobody":
        server.settings(port=1)
        told = "is not reached: Connection refused"
    elif what == "rights":
        server.sql(f"ALTER ROLE {ADMINISTRATOR} NOCREATEDB")
        told = "may not make roles and databases"
    else:
        server.sql(f"ALTER ROLE {ADMINISTRATOR} PASSWORD 'another'")
        told = f"see rick:postgresql:servers:{HOST}:user and rick:postgresql:servers:{HOST}:password"
    done = host.apply(test=test_mode)
    server.sql(f"ALTER ROLE {ADMINISTRATOR} CREATEDB PASSWORD '{PASSWORD}'")
    assert list(done.failed)[:1] == [DATABASE]
    comment = done.failed[DATABASE]
    assert comment.startswith(f"service notes: PostgreSQL at {HOST}:")
    assert told in comment
    assert host.invocations("notes-web.service") == running


def test_a_server_that_the_settings_do_not_have_is_told_before_anything_changes(host, outside):
    host.declare("notes", {**ENTRY, "postgres": {"host": "db.example.tst"}})
    said = host.run("salt-call", "catalogue.check", check=False)
    assert said.returncode != 0
    assert f"did you mean '{HOST}'?" in said.stdout
    assert "rick:services:notes:postgres:host" in said.stdout


def test_a_dump_comes_back(host, outside):
    outside.sql("CREATE TABLE public.kept AS SELECT 'before' AS said; ALTER TABLE public.kept OWNER TO notes", "notes")
    dump = host.salt("postgres_dump.dump", "notes", f"server={HOST}")
    outside.sql("UPDATE public.kept SET said = 'after'", "notes")
    host.run("systemctl", "stop", "notes-pod")
    host.salt("postgres_dump.restore", "notes", dump, f"server={HOST}")
    assert outside.sql("SELECT said FROM public.kept", "notes") == "before"
    host.converge()
    assert outside.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'rick-infra%'") == ""


def test_a_service_that_comes_home_leaves_a_locked_role(host, outside):
    host.declare("notes", {**ENTRY, "postgres": True})
    assert host.converge().failed == {}
    assert host.http() == 200
    assert outside.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'notes'") == "f"
    assert host.salt("catalogue.orphans")["notes"]["databases"] == [f"notes at {HOST}"]
    assert host.apply().changed == set()


def test_it_is_archived_and_gone(host):
    server = host.outside
    server.sql("SET ROLE notes; SELECT lo_from_bytea(0, 'large')", "notes")
    host.declare("notes", {"state": "absent", "data": "archive"})
    plan = host.apply(test=True)
    assert f"database notes at {HOST}" in plan.states["Service notes has no database"]["changes"]
    done = host.converge()
    assert host.sh("ls /var/lib/rick-infra/archive/notes/*.dump").count(".dump") == 2, done.states
    assert server.sql("SELECT count(*) FROM pg_roles WHERE rolname IN ('notes', 'reports')") == "0"
    assert server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE '%notes%' OR datname LIKE 'rick%'") == "0"
    assert host.apply().changed == set()
    assert ADDRESS not in host.sh("ss -Htn state established || true")
