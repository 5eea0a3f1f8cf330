"""
PostgreSQL's configuration files against the running server: what it has not read, what needs a restart, what is wrong.

All of it is asked of the server as it is now, so it does not matter which run
wrote the files.
"""

import re
import subprocess
import time
from pathlib import Path

from salt.exceptions import CommandExecutionError

RELOAD_TIMEOUT = 10  # seconds; the server acts on the signal at once
CHECK_TIMEOUT = 30  # seconds; for reading the configuration files once
POLL_INTERVAL = 0.01  # seconds
SETTING = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?")

PLACES = """
SELECT current_setting('config_file') AS config_file, current_setting('hba_file') AS hba_file,
       current_setting('ident_file') AS ident_file, current_setting('data_directory') AS data_directory,
       extract(epoch FROM pg_conf_load_time())::float8 AS loaded,
       (SELECT setting FROM pg_config WHERE name = 'BINDIR') AS programs
"""
# Reading pg_file_settings makes the session compare the files with what runs and note which settings would need a
# restart, which pg_settings then tells. So this comes first, and the two are not one statement.
FILE_ERRORS = """
SELECT sourcefile AS file, sourceline AS line, name, error FROM pg_file_settings WHERE error IS NOT NULL
"""
PENDING = "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name"
ACCESS_ERRORS = """
SELECT file_name AS file, line_number AS line, error FROM pg_hba_file_rules WHERE error IS NOT NULL
UNION ALL
SELECT file_name, line_number, error FROM pg_ident_file_mappings WHERE error IS NOT NULL
"""


def status():
    """
    Return how the files stand to the running server.

    ``{"errors": ["FILE:LINE: what is wrong", ...], "unread": [files that
    changed since the server read them], "pending_restart": [settings], "places":
    [directories and files the configuration is in]}``.

    Raises CommandExecutionError if the server does not answer.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_settings.status
    """
    # An older connection has read the files at a time of its own, the server's is what a new one is born with.
    __salt__["postgresql.forget_connections"]()
    places = _places()
    rows = _ask(FILE_ERRORS)
    pending = [row["name"] for row in _ask(PENDING)]
    errors = [_told(row) for row in rows if _is_error(row, pending)]
    errors += [_told(row) for row in _ask(ACCESS_ERRORS)]
    kept = [
        Path(places["config_file"]).parent,
        Path(places["hba_file"]),
        Path(places["ident_file"]),
        Path(places["data_directory"]) / "postgresql.auto.conf",
        *(Path(row["file"]) for row in _ask("SELECT DISTINCT sourcefile AS file FROM pg_file_settings") if row["file"]),
    ]
    return {
        "errors": errors,
        "unread": _newer(kept, places["loaded"]),
        "pending_restart": pending,
        "places": sorted({str(path) for path in kept}),
    }


def overridden(names):
    """
    Return those of the settings that ``ALTER SYSTEM`` has set: ``postgresql.auto.conf`` outranks every other file.

    names
        List of settings.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_settings.overridden '[listen_addresses]'
    """
    rows = _ask("SELECT DISTINCT name FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf'")
    return sorted({row["name"] for row in rows} & set(names))


def reset(names):
    """
    Undo ``ALTER SYSTEM`` for some settings: ``ALTER SYSTEM RESET``. The server takes it over when it is reloaded.

    names
        List of settings.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_settings.reset '[max_connections]'
    """
    for name in names:
        if not SETTING.fullmatch(name):
            raise CommandExecutionError(f"{name!r} is not the name of a PostgreSQL setting")
        _ask(f"ALTER SYSTEM RESET {name}")
    return True


def pending_restart():
    """
    Return the names of the settings whose value in the files the running server can only take over by a restart.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_settings.pending_restart
    """
    return status()["pending_restart"]


def reload():
    """
    Have the server read its files, and wait until it has.

    Raises CommandExecutionError if it has not after 10 seconds.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_settings.reload
    """
    before = _places()["loaded"]
    _ask("SELECT pg_reload_conf()")
    deadline = time.monotonic() + RELOAD_TIMEOUT
    while True:
        __salt__["postgresql.forget_connections"]()
        if _places()["loaded"] > before:
            return True
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"PostgreSQL did not read its files within {RELOAD_TIMEOUT} s; its log in /var/log/postgresql says why"
            )
        time.sleep(POLL_INTERVAL)


def reread(unit):
    """
    Have systemd tell the server to read its files, where its present access rules let nobody in to say so.

    unit
        The server's unit, for example ``postgresql@17-main.service``.

    Raises CommandExecutionError with the server's words if Salt is not let in within 10 seconds.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_settings.reread postgresql@17-main.service
    """
    __utils__["units.act"]("reload", [unit])
    deadline = time.monotonic() + RELOAD_TIMEOUT
    while True:
        try:
            __salt__["postgresql.server"]()
        except CommandExecutionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_INTERVAL)  # until the server has got round to it, see the deadline
        else:
            return True


def restart(unit=None):
    """
    Restart the server, after its own program has found that it could start with the files.

    unit
        Default: the unit of the cluster, from the place of its configuration (``/etc/postgresql/17/main``).

    Raises CommandExecutionError with the program's words; then the running server has not been touched.

    CLI Example:

    .. code-block:: bash

        salt-call postgresql_settings.restart
    """
    places = _places()
    # With -C the program reads the files as at a start and prints one setting, also when it is root who asks.
    command = [f"{places['programs']}/postgres", "-C", "data_directory", "-c", f"config_file={places['config_file']}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_TIMEOUT, check=False)
    if done.returncode != 0:
        raise CommandExecutionError(
            f"PostgreSQL would not start with its files, so it goes on as it is: {done.stderr.strip()}"
        )
    __salt__["postgresql.forget_connections"]()
    __utils__["units.act"]("restart", [unit or _unit(places["config_file"])])
    return True


def _unit(config_file):
    """Debian keeps /etc/postgresql/VERSION/CLUSTER/postgresql.conf for postgresql@VERSION-CLUSTER.service."""
    parts = Path(config_file).parts
    if parts[:3] != ("/", "etc", "postgresql") or len(parts) != 6:
        raise CommandExecutionError(f"PostgreSQL's {config_file} is not where Debian puts it: give the unit by name")
    return f"postgresql@{parts[3]}-{parts[4]}.service"


def _places():
    return _ask(PLACES)[0]


def _ask(sql):
    return __salt__["postgresql.query"](sql)


def _is_error(row, pending):
    """
    Whether a row of pg_file_settings is a mistake, or only says that its setting needs a restart.

    A setting that was taken out of the files has a row without a file. For one that was changed the server says
    "could not be applied", as it does for a wrong value, but notes it as pending only if the value is right.
    """
    return row["file"] is not None and (row["name"] is None or row["name"] not in pending)


def _told(row):
    name = f"{row['name']}: " if row.get("name") else ""
    return f"{row['file']}:{row['line']}: {name}{row['error']}"


def _newer(paths, loaded):
    """
    Those of the files, and of what is below the directories, that changed after ``loaded``, seconds since the epoch.

    The time of the last status change moves with the contents too, and unlike the time of the last modification cannot
    be set back by a restored backup. Times in the future (a clock set back) cannot be compared.
    """
    candidates = {inner for path in paths if path.is_dir() for inner in (path, *path.rglob("*"))}
    candidates |= {path for path in paths if path.is_file()}
    now = time.time()
    return sorted(str(path) for path in candidates if loaded < path.stat().st_ctime <= now)
