"""
Where each Valkey of this host has its things: the shared one, and the instances of single services.

An instance is Debian's template unit ``valkey-server@NAME.service``, which reads ``/etc/valkey/valkey-NAME.conf``.
"""

import re
from pathlib import Path

from salt.exceptions import SaltInvocationError

CONFIGURATION = "/etc/valkey"
DATA = "/var/lib"
RUN = "/run"
SECRETS = "/var/lib/rick-infra/secrets"
UNITS = "/etc/systemd/system"
TMPFILES = "/etc/tmpfiles.d"
ACCOUNT = "valkey"  # the daemons' user
MARK = "# Managed by Salt (valkey_instance.present)"

# What can be part of a path, of a unit's name without escapes, and the name of a user of the system.
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")


def place(instance=None):
    """
    Return the paths and names of one Valkey.

    instance
        Name of the service that has it for itself. None: the shared one.

    The keys are ``instance``, ``title`` (for messages), ``socket``, ``directory`` (of the socket), ``acl_file``,
    ``config_file``, ``unit``, ``data``, ``secret_file`` (the administrator's password), ``account`` (the daemon's
    user) and, of an instance, ``drop_in`` and ``tmpfiles``.

    Raises SaltInvocationError if that cannot be the name of an instance.
    """
    if instance is None:
        return {
            "instance": None,
            "title": "valkey",
            "socket": f"{RUN}/valkey/valkey.sock",
            "directory": f"{RUN}/valkey",
            "acl_file": f"{CONFIGURATION}/users.acl",
            "config_file": f"{CONFIGURATION}/valkey.conf",
            "unit": "valkey-server.service",
            "data": f"{DATA}/valkey",
            "secret_file": f"{SECRETS}/valkey-administrator",
            "account": ACCOUNT,
        }
    if not isinstance(instance, str) or not _NAME.fullmatch(instance):
        raise SaltInvocationError(
            f"valkey instance {instance!r}: a name is a lower-case letter, then up to 30 letters, digits, _ or -"
        )
    unit = f"valkey-server@{instance}.service"
    return {
        "instance": instance,
        "title": f"valkey instance {instance}",
        "socket": f"{RUN}/valkey-{instance}/valkey.sock",
        "directory": f"{RUN}/valkey-{instance}",
        "acl_file": f"{CONFIGURATION}/users-{instance}.acl",
        "config_file": f"{CONFIGURATION}/valkey-{instance}.conf",
        "unit": unit,
        "data": f"{DATA}/valkey-{instance}",
        # Another one than the shared server's: a server is told its administrator's password at each login.
        "secret_file": f"{SECRETS}/valkey-administrator@{instance}",
        "account": ACCOUNT,
        "drop_in": f"{UNITS}/{unit}.d/50-rick-infra.conf",
        # With the @, or the instance "server" would take the file of the shared one's directory.
        "tmpfiles": f"{TMPFILES}/valkey-server@{instance}.conf",
    }


def instances():
    """
    Return the names of the instances that ``valkey_instance.present`` has made on this host, sorted.
    """
    found = []
    for path in sorted(Path(CONFIGURATION).glob("valkey-*.conf")):
        if is_ours(str(path)):
            found.append(path.name.removeprefix("valkey-").removesuffix(".conf"))
    return found


def mark():
    """
    Return the first line of the configuration of each instance that ``valkey_instance.present`` has made.
    """
    return MARK


def is_ours(config_file):
    """
    Return whether an instance's configuration file is there and was written by ``valkey_instance.present``.
    """
    try:
        with Path(config_file).open(encoding="utf-8", errors="replace") as stream:
            return stream.readline().startswith(MARK)
    except FileNotFoundError:
        return False


def kept_data():
    """
    Return the names for which data of an instance are on this host, sorted; the instance itself may be gone.

    Those of an instance that somebody else has made are not ours.
    """
    found = [path.name.removeprefix("valkey-") for path in Path(DATA).glob("valkey-*") if path.is_dir()]
    return sorted(name for name in found if _NAME.fullmatch(name) and not _is_foreign(place(name)["config_file"]))


def _is_foreign(config_file):
    return Path(config_file).exists() and not is_ours(config_file)
