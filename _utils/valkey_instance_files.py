"""
The files of a Valkey instance: its configuration, what its unit adds to Debian's template, its directory at boot.
"""

from salt.exceptions import SaltInvocationError

EMPTY = '""'  # as valkey.conf writes it
MEMORY = 128  # MiB, unless the entry says otherwise
# What is not in valkey.conf has Valkey's own default. As for the shared server: every write is kept, nothing evicted.
DEFAULTS = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
# What the protection of the socket, the users and the files rests on.
RESERVED = (
    "aclfile",
    "bind",
    "daemonize",
    "dir",
    "enable-debug-command",
    "enable-module-command",
    "enable-protected-configs",
    "include",
    "logfile",
    "maxmemory",
    "pidfile",
    "port",
    "requirepass",
    "supervised",
    "tls-port",
    "unixsocket",
    "unixsocketgroup",
    "unixsocketperm",
    "user",
)

DROP_IN = """\
# Managed by Salt (valkey_instance.present).
# The template's RuntimeDirectory= makes systemd delete and recreate the directory at each restart: containers that
# mount it would be left with a deleted one. tmpfiles.d makes it instead, once a boot, and it stays.
# Of all that the daemons' common user owns, this process may write its own data only, and see no other's.
[Service]
RuntimeDirectory=
ReadWritePaths=
ReadWritePaths={data} {directory}
TemporaryFileSystem=/var/lib:ro
BindPaths={data}
# A setting that is no longer declared has its default after a restart, so a change of this line asks for one:
# {names}
"""

TMPFILES = """\
# Managed by Salt (valkey_instance.present).
d {directory} 2750 {account} {group} - -
"""


def settings(place, memory=None, further=None):
    """
    Return all settings of an instance, ``{setting: value}``, as text.

    place
        As from ``valkey_places.place``.

    memory
        MiB. Default: 128.

    further
        ``{setting: value}`` as in valkey.conf, as text (``valkey_settings.plain``).

    Raises SaltInvocationError for a memory that is none and for settings that are decided here.
    """
    memory = MEMORY if memory is None else memory
    if isinstance(memory, bool) or not isinstance(memory, int) or memory < 1:
        raise SaltInvocationError(f"{place['title']}: memory {memory!r} is not a number of MiB above 0")
    further = further or {}
    refused = sorted(set(RESERVED) & further.keys())
    if refused:
        raise SaltInvocationError(
            f"{place['title']}: {', '.join(refused)} is decided by the tree (memory has a place of its own)"
        )
    unfit = sorted(setting for setting, value in further.items() if not value.isprintable())
    if unfit:
        raise SaltInvocationError(f"{place['title']}: {', '.join(unfit)}: a value is one line of text")
    return {
        "port": "0",
        "unixsocket": place["socket"],
        "unixsocketperm": "770",
        "aclfile": place["acl_file"],
        "pidfile": f"{place['directory']}/valkey-server.pid",
        "logfile": "",
        "dir": place["data"],
        "hide-user-data-from-log": "yes",
        "maxmemory": f"{memory}mb",
        **DEFAULTS,
        **further,
    }


def texts(place, wanted, mark):
    """
    Return the text of each file of an instance, ``{path: text}``, the configuration last.

    wanted
        As from ``settings``.

    mark
        The first line of the configuration, by which it is known as ours.
    """
    values = {**place, "group": place["instance"], "names": " ".join(sorted(wanted))}
    lines = [mark, "# The log is in the journal. The unit's command line adds --supervised systemd --daemonize no."]
    lines += [f"{setting} {value or EMPTY}" for setting, value in wanted.items()]
    return {
        place["tmpfiles"]: TMPFILES.format(**values),
        place["drop_in"]: DROP_IN.format(**values),
        place["config_file"]: "\n".join([*lines, ""]),
    }
