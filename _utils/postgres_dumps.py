"""
Dumps of databases: files, the programs that write and read them, and what proves that one holds all it should.

A dump's code is its owner's, not ours. Checks of tables and defaults of
columns run while it is restored, so it is never restored by a superuser.
"""

import contextlib
import datetime
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

DUMPS = "/var/lib/rick-infra/dumps"
ARCHIVE = "/var/lib/rick-infra/archive"
KEPT = 3  # dumps a service
SOCKET_DIRECTORY = "/run/postgresql"
ACCOUNT = "postgres"
RESTORER = "rick-infra-restore"  # the role that dumps are restored by, while one is
SCRATCH = "rick-infra-scratch-"  # what the names of databases for a trial begin with
TIMEOUT = 6 * 3600  # seconds; only so that a program that hangs does not do so for ever
UNFINISHED = ".unfinished"

# What a row looks like as text must not depend on settings, which a database may bring along.
SETTINGS = {
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "row_security": "on",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
}

# Tables of extensions are the extensions' business, and a materialized view may well be older than what it shows.
TABLES = """
SELECT n.nspname::text AS schema, c.relname::text AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""
OBJECTS = """
WITH schemas AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
SELECT 'relations of kind ' || relkind::text AS what, count(*)::text AS value FROM pg_class
WHERE relnamespace IN (SELECT oid FROM schemas) GROUP BY relkind
UNION ALL SELECT 'functions', count(*)::text FROM pg_proc WHERE pronamespace IN (SELECT oid FROM schemas)
UNION ALL SELECT 'types', count(*)::text FROM pg_type WHERE typnamespace IN (SELECT oid FROM schemas)
UNION ALL SELECT 'constraints', count(*)::text FROM pg_constraint WHERE connamespace IN (SELECT oid FROM schemas)
UNION ALL SELECT 'triggers', count(*)::text FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'policies', count(*)::text FROM pg_policy
UNION ALL SELECT 'extensions', coalesce(string_agg(extname, ', ' ORDER BY extname), '') FROM pg_extension
UNION ALL SELECT 'sequence ' || schemaname || '.' || sequencename, coalesce(last_value::text, 'unused')
FROM pg_sequences WHERE schemaname !~ '^pg_'
"""
LARGE_OBJECTS = """
SELECT 'large objects' AS what, count(*) || ' pages, sum ' ||
    coalesce(sum(hashtextextended(concat_ws(' ', loid, pageno, encode(data, 'hex')) COLLATE "C", 0)::numeric), 0)
    AS value
FROM pg_largeobject
"""
# Only a superuser may read their pages. For others each has to fit into memory.
WHOLE_LARGE_OBJECTS = """
SELECT 'large objects' AS what, count(*) || ', sum ' ||
    coalesce(sum(hashtextextended(concat_ws(' ', oid, encode(lo_get(oid), 'hex')) COLLATE "C", 0)::numeric), 0) AS value
FROM pg_largeobject_metadata
"""
# record_out() and not a cast to text: a cast from the table's type could be its owner's, run with our rights.
CONTENT = """
SELECT count(*) AS rows, coalesce(sum(pg_catalog.hashtextextended(
    pg_catalog.record_out(ROW(a.*))::text COLLATE "C", 0)::numeric), 0)::text AS checksum
FROM ONLY {}.{} AS a
"""


def places():
    """
    Return ``(folder of dumps, folder of archives, number of dumps kept)``.
    """
    return DUMPS, ARCHIVE, KEPT


@contextlib.contextmanager
def new(folder, name):
    """
    Give the block a path, below ``folder``/``name``, to write a dump to; under its final name it appears only after it.

    Yields ``(path for now, final path)``. What killed runs have left unfinished is removed, and so is this one if the
    block fails. The folders are root's, 0700.

    Raises CommandExecutionError if the disk does not let us.
    """
    target = Path(folder) / name
    try:
        for place in (*reversed(target.parents), target):
            if not place.is_dir():
                place.mkdir(mode=0o700)
        for stale in target.glob(f"*{UNFINISHED}"):
            stale.unlink()
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        descriptor, staged = tempfile.mkstemp(dir=target, prefix=f".{stamp}.", suffix=UNFINISHED)  # mode 0600
        os.close(descriptor)
        try:
            final = target / f"{stamp}.dump"
            yield staged, str(final)
            with Path(staged).open("rb") as stream:
                os.fsync(stream.fileno())
            Path(staged).rename(final)
        finally:
            Path(staged).unlink(missing_ok=True)
    except OSError as error:
        raise CommandExecutionError(f"{target}: {error.strerror or error}") from error


def prune(folder, name, kept):
    """
    Remove all but the newest dumps below ``folder``/``name``.
    """
    for old in sorted((Path(folder) / name).glob("*.dump"))[:-kept]:
        old.unlink()


def present(folder):
    """
    Return the dumps below a folder, ``{service: [files, oldest first]}``.
    """
    places = sorted(place for place in Path(folder).glob("*") if place.is_dir())
    return {place.name: [str(file) for file in sorted(place.glob("*.dump"))] for place in places}


def remove(folder, name):
    """
    Delete the dumps below ``folder``/``name``, unfinished ones too.

    Raises CommandExecutionError if the disk does not let us.
    """
    try:
        shutil.rmtree(Path(folder) / name)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CommandExecutionError(f"{error.filename}: {error.strerror}") from error


def write(programs, database, path, snapshot, server=None):
    """
    Dump a database into a file, as it is in an exported snapshot.

    programs
        Folder of the client programs.

    server
        Another host's: ``({"host", "port", "authority", "user"}, password)``.

    Raises CommandExecutionError with pg_dump's words.
    """
    command = [f"{programs}/pg_dump", "--format=custom", f"--snapshot={snapshot}"]
    login, account = {"PGUSER": "postgres"}, ACCOUNT
    if server:
        place, password = server
        # Root's environment only root can read. It is the administrator's password, which is not for whoever is
        # ACCOUNT: the host's own server is.
        login, account = {**_elsewhere(place), "PGUSER": place["user"], "PGPASSWORD": password}, "root"
    with Path(path).open("wb") as stream:
        _run(command, {**login, "PGDATABASE": database}, account, stdout=stream)


def contents(programs, path):
    """
    Return the lines of a dump's table of contents, which only a dump that can be read has.

    Raises CommandExecutionError with pg_restore's words.
    """
    with Path(path).open("rb") as stream:
        return _run([f"{programs}/pg_restore", "--list"], {}, stdin=stream).splitlines()


def selected(lines, there):
    """
    Return the lines of a table of contents without what is there already, for which it may take a superuser.

    there
        ``{"SCHEMA": names, "EXTENSION": names}``.
    """
    left_out = {f"{kind} - {name} " for kind, names in there.items() for name in names}
    left_out |= {f"COMMENT - EXTENSION {name} " for name in there["EXTENSION"]}
    form = re.compile(r"\d+; \d+ \d+ (.*)")
    # Each line ends with the owner, which some things do not have: then there is a blank.
    return [line for line in lines if not ((found := form.match(line)) and found[1].startswith(tuple(left_out)))]


def read(programs, path, database, role, password, owner, lines, place=None):
    """
    Restore a dump into an empty database in one transaction.

    role, password
        Who logs in.

    owner
        The role that gets everything; ``role`` is a member of it.

    lines
        What to restore: lines of the table of contents.

    place
        Another host's server: ``{"host", "port", "authority"}``.

    Raises CommandExecutionError with the words of pg_restore and the server.
    """
    account = pwd.getpwnam(ACCOUNT)
    with tempfile.NamedTemporaryFile("w", suffix=".list") as listing, Path(path).open("rb") as stream:
        listing.write("\n".join(lines) + "\n")
        listing.flush()
        os.fchown(listing.fileno(), account.pw_uid, account.pw_gid)
        command = [f"{programs}/pg_restore", f"--dbname={database}", f"--role={owner}", f"--use-list={listing.name}"]
        command += ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
        _run(command, {**(_elsewhere(place) if place else {}), "PGUSER": role, "PGPASSWORD": password}, stdin=stream)


def fingerprint(connection, run, compose):
    """
    Return what a database holds, ``{what: count or checksum}``, equal for databases with the same content.

    connection
        A superuser's, or of one who has the rights of its owner.

    run, compose
        ``postgresql_server.run`` and ``postgresql_server.statement``.
    """
    for setting, value in SETTINGS.items():
        # A server that is older or younger lacks some of them.
        run(connection, f"SELECT set_config(name, '{value}', false) FROM pg_settings WHERE lower(name) = '{setting}'")  # noqa: S608
    [may] = run(connection, "SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT') AS read")
    objects = [*run(connection, OBJECTS), *run(connection, LARGE_OBJECTS if may["read"] else WHOLE_LARGE_OBJECTS)]
    found = {row["what"]: row["value"] for row in objects}
    for table in run(connection, TABLES):
        [row] = run(connection, compose(CONTENT, table["schema"], table["name"]))
        found[f"table {table['schema']}.{table['name']}"] = f"{row['rows']} rows, checksum {row['checksum']}"
    return found


def scratch(database):
    """
    Return the name of the database that a dump of ``database`` is restored into for a trial.
    """
    return f"{SCRATCH}{hashlib.sha256(database.encode()).hexdigest()[:16]}"


def is_scratch(database):
    """
    Return whether a database is one that a dump is restored into for a trial, by its name.
    """
    return database.startswith(SCRATCH)


def restorer(host=None):
    """
    Return the role that dumps are restored by. It is there only meanwhile.

    host
        Whose it is, on a server elsewhere that others use, too.
    """
    return f"{RESTORER}-{hashlib.sha256(host.encode()).hexdigest()[:8]}" if host else RESTORER


def is_restorer(role):
    """
    Return whether a role is one that dumps are restored by, by its name.
    """
    return role == RESTORER or role.startswith(f"{RESTORER}-")


def _elsewhere(place):
    """How libpq reaches another host's server, as ``postgresql_server.connect`` does."""
    return {
        "PGHOST": place["host"],
        "PGPORT": str(place["port"]),
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": place["authority"],
        "PGGSSENCMODE": "disable",
    }


def _run(command, environment, account=ACCOUNT, **streams):
    """Run a client program as a user and return what it prints, unless that goes to a file."""
    streams = {"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL, **streams}
    user = pwd.getpwnam(account)
    what = Path(command[0]).name
    try:
        done = subprocess.run(
            [*command, "--no-password"],
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PGHOST": SOCKET_DIRECTORY, **environment},
            cwd="/",
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            timeout=TIMEOUT,
            check=False,
            **streams,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"{what}: {error}") from error
    if done.returncode != 0:
        raise CommandExecutionError(f"{what}: {done.stderr.decode(errors='replace').strip()}")
    return (done.stdout or b"").decode(errors="replace")
