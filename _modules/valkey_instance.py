"""
A Valkey of its own for one service: Debian's template unit ``valkey-server@NAME``, on a socket only.

The socket is ``/run/valkey-NAME/valkey.sock`` in a directory that belongs to
the service's own group; data are in ``/var/lib/valkey-NAME``, users in
``/etc/valkey/users-NAME.acl``, the log is in the journal.

.. code-block:: bash

    salt-call valkey_instance.list
    salt-call valkey.info memory instance=notes
    journalctl -u valkey-server@notes
"""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

CONTEXT = "valkey_instance.units"  # what systemd said of all instances' units, asked once in a run
STOPPED = "valkey_instance.stopped"  # those that an earlier state of a plan would stop
CONFIG_MODE = 0o640
DATA_MODE = 0o700
DIRECTORY_MODE = "2750"
SOCKET_MODE = "0770"


def list_():
    """
    Return the instances of this host, and what is left of former ones.

    A list of ``{"name", "declared", "data"}``: whether its configuration is
    there, and whether it has data, which those whose entry said ``data: keep`` leave.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.list
    """
    declared, data = __utils__["valkey_places.instances"](), __utils__["valkey_places.kept_data"]()
    return [{"name": name, "declared": name in declared, "data": name in data} for name in sorted({*declared, *data})]


def differences(name, memory=None, settings=None):
    """
    Return what would have to change for an instance to be as declared, ``{}`` if nothing.

    name, memory, settings
        As in the state ``valkey_instance.present``.

    The keys of the result are paths of files and directories, the unit,
    ``UNIT at boot``, ``administrator PART`` and ``setting NAME``.

    Raises SaltInvocationError for settings that cannot be, and
    CommandExecutionError if there is such an instance that the tree has not made.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.differences notes
    """
    place, wanted = _wanted(name, memory, settings)
    changes = {}
    for path, text in _texts(place, wanted).items():
        difference = __utils__["textfile.diff"](path, text)
        if difference:
            changes[path] = {"diff": difference}
    for path, right in _ownership(place).items():
        found = __salt__["unix_socket.stat"](path)
        if path in changes or (path == place["socket"] and found["type"] == "absent"):
            continue  # the daemon makes its socket, and is started if that is not there
        old = {key: found.get(key) for key in right if found.get(key) != right[key]}
        if old:
            changes[path] = {"old": old, "new": {key: right[key] for key in old}}
    administrator = __salt__["valkey.administrator_differences"](name)
    changes.update({f"administrator {part}": change for part, change in administrator.items()})
    changes.update(_unit_differences(place, changes))
    if not changes:
        running = __salt__["valkey.settings_differences"](wanted, name)
        changes.update({f"setting {setting}": change for setting, change in running.items()})
    return changes


def apply(name, memory=None, settings=None):
    """
    Make an instance be as declared, and start it. It is restarted only if something asks for that.

    Arguments as in the state ``valkey_instance.present``.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.apply notes memory=64
    """
    place, wanted = _wanted(name, memory, settings)
    texts = _texts(place, wanted)
    owner = _account(place)
    try:
        Path(place["data"]).mkdir(mode=DATA_MODE, exist_ok=True)
        os.chown(place["data"], *owner, follow_symlinks=False)
        Path(place["data"]).chmod(DATA_MODE, follow_symlinks=False)
        __salt__["unix_socket.make_directory"](place["directory"], place["account"], name, DIRECTORY_MODE)
        for path in (place["tmpfiles"], place["drop_in"]):
            if __utils__["textfile.diff"](path, texts[path]):
                __utils__["textfile.write"](path, texts[path])
        config = place["config_file"]
        __utils__["secret_files.write"](config, texts[config], mode=CONFIG_MODE, owner=owner)
    except OSError as error:
        raise CommandExecutionError(f"{place['title']}: {error.filename or ''}: {error.strerror}") from error
    if __salt__["valkey.administrator_differences"](name):
        __salt__["valkey.administrator_apply"](name)
    __context__.pop(CONTEXT, None)
    status = _status(place)
    deaf = not __salt__["valkey.server"](name)["answers"]
    __salt__["daemon.apply"](
        start=[] if status["active"] else [place["unit"]],
        restart=[place["unit"]] if status["active"] and (status["stale_process"] or deaf) else [],
        enable=[] if status["enabled"] else [place["unit"]],
    )
    __context__.pop(CONTEXT, None)
    __salt__["valkey.reachable"](name)
    changed = __salt__["valkey.settings_differences"](wanted, name)
    __salt__["valkey.settings_apply"]({setting: change["new"] for setting, change in changed.items()}, name)
    __salt__["unix_socket.own"](place["socket"], place["account"], name, SOCKET_MODE)
    return True


def running(name):
    """
    Return what of an instance runs or would at boot, ``{thing: {"old", "new"}}``; ``{}`` for one that is not ours.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.running notes
    """
    place = __utils__["valkey_places.place"](name)
    config = place["config_file"]
    if not Path(config).exists() or not __utils__["valkey_places.is_ours"](config):
        return {}
    return _running(place)


def stop(name):
    """
    Stop an instance, now and at boot. Its files and data stay. Returns what ``valkey_instance.running`` does.

    Raises CommandExecutionError if it does not stop.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.stop notes
    """
    changes = running(name)
    _stop(__utils__["valkey_places.place"](name), changes)
    return changes


def remnants(name, data="keep"):
    """
    Return what is left of an instance and has to go, ``{}`` if nothing.

    name, data
        As in the state ``valkey_instance.absent``.

    An instance that somebody else has made is nothing of ours, and neither are its data.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.remnants notes data=archive
    """
    if data not in ("keep", "archive", "delete"):
        raise SaltInvocationError(f"valkey instance {name}: data {data!r} is not keep, archive or delete")
    place = __utils__["valkey_places.place"](name)
    config = place["config_file"]
    if Path(config).exists() and not __utils__["valkey_places.is_ours"](config):
        return {}
    present = [path for path in _files(place) if os.path.lexists(path)]
    changes = _running(place) if present and name not in __context__.get(STOPPED, ()) else {}
    changes.update({path: {"old": "present", "new": None} for path in present})
    if data != "keep" and Path(place["data"]).is_dir():
        new = f"archived below {__utils__['account_archive.folder'](name)}" if data == "archive" else None
        changes[place["data"]] = {"old": "present", "new": new}
    return changes


def to_archive(name):
    """
    Return what would change for an instance's data to be archived, ``{}`` if there are none or this run has done that.

    ``{thing: {"old", "new"}}``: its data, and that it is stopped before.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.to_archive notes
    """
    place = __utils__["valkey_places.place"](name)
    left = remnants(name, "archive")
    if place["data"] not in left or __utils__["archives.made"](__context__, name, "valkey"):
        return {}
    if __opts__.get("test"):
        __context__.setdefault(STOPPED, set()).add(name)
    return {thing: change for thing, change in left.items() if thing not in _files(place)}


def archive(name):
    """
    Archive an instance's data, prove it, and return the paths of archives: one, or none without data. It is stopped.

    What this run has archived already is not archived again. The server writes
    all of its data when it is stopped. Another one reads them, and must find as
    many keys; the archive is then read back. The data stay.

    Raises CommandExecutionError if that fails.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.archive notes
    """
    done = __utils__["archives.made"](__context__, name, "valkey")
    if done:
        return [done]
    place = __utils__["valkey_places.place"](name)
    left = remnants(name, "archive")
    if place["data"] not in left:
        return []
    before = None
    if __salt__["valkey.server"](name)["administrator"]:
        before = __utils__["valkey_proof.counts"](__salt__["valkey.info"]("keyspace", name))
    _stop(place, left)
    _prove(place, before)
    file = __utils__["account_archive.archive"](place["data"], name, "valkey")
    return [__utils__["archives.note"](__context__, name, "valkey", file)]


def remove(name, data="keep"):
    """
    Remove an instance, and its data unless they are to be kept. Returns the path of the archive, None without one.

    Arguments as in the state ``valkey_instance.absent``. The configuration goes last, so that a run that is killed is
    taken up.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.remove notes data=archive
    """
    left = remnants(name, data)
    if not left:  # so it may be somebody else's
        return None
    place = __utils__["valkey_places.place"](name)
    files = archive(name) if data == "archive" else []
    _stop(place, left)
    if place["data"] in left:
        __utils__["account_archive.delete"](place["data"])
    try:
        for path in map(Path, _files(place)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise CommandExecutionError(f"{place['title']}: {error.filename}: {error.strerror}") from error
    __utils__["units.daemon_reload"]()
    __context__.pop(CONTEXT, None)
    return files[0] if files else None


def restore(name, file):
    """
    Put the data of an archive back for an instance that is not there; the next run that declares it starts with them.

    name
        The service.

    file
        Absolute path of the archive, as ``valkey_instance.absent`` named it.

    Raises CommandExecutionError if the service has such data or an instance already.

    CLI Example:

    .. code-block:: bash

        salt-call valkey_instance.restore notes /var/lib/rick-infra/archive/notes/20260101T120000Z-valkey.tar.zst
    """
    place = __utils__["valkey_places.place"](name)
    for path in (place["config_file"], place["data"]):
        if os.path.lexists(path):
            raise CommandExecutionError(f"{place['title']}: {path} is there; remove the instance and its data first")
    staged = f"{place['data']}.unfinished"
    try:
        Path(staged).mkdir(mode=DATA_MODE)
        _extract(file, staged, f"{place['title']}: {file}")
        Path(staged).rename(place["data"])
    except OSError as error:
        raise CommandExecutionError(f"{place['title']}: {staged}: {error.strerror}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return True


def _wanted(name, memory, settings):
    place = __utils__["valkey_places.place"](name)
    config = place["config_file"]
    if Path(config).exists() and not __utils__["valkey_places.is_ours"](config):
        raise CommandExecutionError(
            f"{place['title']}: {config} was not made by valkey_instance.present: look at it, stop {place['unit']} and "
            "move it away"
        )
    further = __utils__["valkey_settings.plain"](settings or {})
    return place, __utils__["valkey_instance_files.settings"](place, memory, further)


def _texts(place, wanted):
    return __utils__["valkey_instance_files.texts"](place, wanted, __utils__["valkey_places.mark"]())


def _ownership(place):
    """Who owns what is not the tree's alone, as ``unix_socket.stat`` tells it."""
    account, service = place["account"], place["instance"]
    daemons = {"user": account, "group": account}
    clients = {"user": account, "group": service}
    return {
        place["data"]: {"type": "directory", **daemons, "mode": f"{DATA_MODE:04o}"},
        place["directory"]: {"type": "directory", **clients, "mode": DIRECTORY_MODE},
        place["config_file"]: {"type": "file", **daemons, "mode": f"{CONFIG_MODE:04o}"},
        place["socket"]: {"type": "socket", **clients, "mode": SOCKET_MODE},
    }


def _unit_differences(place, planned):
    unit, status, changes = place["unit"], _status(place), {}
    if not status["active"]:
        changes[unit] = {"old": "not running", "new": "running"}
    elif status["stale_process"] or place["drop_in"] in planned:
        changes[unit] = {"old": "running with an older configuration of the unit", "new": "restarted"}
    elif not __salt__["valkey.server"](place["instance"])["answers"]:
        changes[unit] = {"old": f"running, but not listening on {place['socket']}", "new": "restarted"}
    elif status["stale_unit"]:
        changes[unit] = {"old": "not read by systemd since it changed", "new": "read"}
    if not status["enabled"]:
        changes[f"{unit} at boot"] = {"old": "not started", "new": "started"}
    return changes


def _status(place):
    """How the unit stands; asked once a run, for the units of all instances together."""
    known = __context__.setdefault(CONTEXT, {})
    if place["unit"] not in known:
        names = {place["instance"], *__utils__["valkey_places.instances"]()}
        units = [__utils__["valkey_places.place"](name)["unit"] for name in sorted(names)]
        known.update(__salt__["daemon.status"](units))
    return known[place["unit"]]


def _running(place):
    changes: dict = {}
    status = _status(place)
    if status["active"]:
        changes[place["unit"]] = {"old": "running", "new": "stopped"}
    if status["loaded"] and status["enabled"]:
        changes[f"{place['unit']} at boot"] = {"old": "started", "new": "not started"}
    return changes


def _stop(place, changes):
    """Stop the unit, now and at boot, as far as ``_running`` has found it."""
    unit = place["unit"]
    __utils__["units.act"]("disable", [unit] if f"{unit} at boot" in changes else [])
    __utils__["units.act"]("stop", [unit] if unit in changes else [])
    __context__.pop(CONTEXT, None)


def _files(place):
    """What an instance has besides its data, in the order in which it goes."""
    drop_ins = str(Path(place["drop_in"]).parent)
    return [
        place["directory"],
        place["tmpfiles"],
        place["acl_file"],
        place["secret_file"],
        drop_ins,
        place["config_file"],
    ]


def _account(place):
    try:
        account = pwd.getpwnam(place["account"])
    except KeyError as error:
        raise CommandExecutionError(
            f"there is no user {place['account']}: the package valkey-server makes it"
        ) from error
    return account.pw_uid, account.pw_gid


def _prove(place, before):
    """Raise CommandExecutionError unless a server can read the data, with as many keys as there were."""
    with __utils__["valkey_proof.serving"](place["data"], _account(place)) as socket:
        client = __utils__["valkey_server.client"](socket, "default", "")  # which takes any password there
        found = dict(line.partition(":")[::2] for line in client.ask("INFO", "keyspace").splitlines())
        client.close()
    now = __utils__["valkey_proof.counts"](found)
    if before is not None and now != before:
        raise CommandExecutionError(
            f"{place['title']}: {place['data']} holds {now} keys by database, and the server had {before}: nothing was "
            "deleted; was it written to meanwhile?"
        )


def _extract(archive, folder, what):
    command = ["tar", "--extract", f"--file={archive}", "--numeric-owner", "--same-owner", "--preserve-permissions"]
    try:
        done = subprocess.run(
            [*command, f"--directory={folder}"], capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise CommandExecutionError(f"{what}: tar: {error.strerror}") from error
    if done.returncode != 0:
        raise CommandExecutionError(f"{what}: tar: {' '.join(done.stderr.split())}")
