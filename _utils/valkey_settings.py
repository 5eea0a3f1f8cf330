"""
Values of Valkey's settings: as valkey.conf may write them and as CONFIG GET repeats them.
"""

import re

from salt.exceptions import SaltInvocationError

# What CONFIG SET answers "can't set immutable config" or "can't set protected config" to (8.1 and 9.1).
RESTART_ONLY = frozenset(
    {
        "aclfile",
        "always-show-logo",
        "aof-rewrite-cpulist",
        "appenddirname",
        "appendfilename",
        "bgsave-cpulist",
        "bio-cpulist",
        "cluster-config-file",
        "cluster-databases",
        "cluster-enabled",
        "cluster-port",
        "daemonize",
        "databases",
        "dbfilename",
        "dir",
        "disable-thp",
        "enable-debug-command",
        "enable-module-command",
        "enable-protected-configs",
        "hash-seed",
        "io-threads",
        "logfile",
        "mptcp",
        "pidfile",
        "rdbchecksum",
        "rdma-completion-vector",
        "rdma-rx-size",
        "repl-mptcp",
        "replicaof",
        "server-cpulist",
        "set-proc-title",
        "slaveof",
        "socket-mark-id",
        "supervised",
        "syslog-enabled",
        "syslog-facility",
        "syslog-ident",
        "tcp-backlog",
        "unixsocket",
        "unixsocketgroup",
        "unixsocketperm",
    }
)
# They would show in changes, and the ACL file takes their place.
SECRETS = frozenset({"requirepass", "masterauth", "primaryauth", "masteruser", "primaryuser", "tls-key-file-pass"})

_SIZE = re.compile(r"(\d+)(k|kb|m|mb|g|gb|b)", re.IGNORECASE)
_FACTORS = {"b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3, "gb": 1024**3}  # valkey.conf


def plain(settings):
    """
    Return settings as text: names in lower case with hyphens, true and false as yes and no, lists joined by spaces.

    Raises SaltInvocationError for a mapping that is none, and for settings that hold secrets.
    """
    if not isinstance(settings, dict):
        raise SaltInvocationError(f"valkey settings: a mapping of settings to values, not {settings!r}")
    texts = {str(setting).lower().replace("_", "-"): _text(value) for setting, value in settings.items()}
    refused = sorted(SECRETS & texts.keys())
    if refused:
        raise SaltInvocationError(f"valkey settings: {', '.join(refused)} would be shown; users belong to the ACL file")
    return texts


def parse(text):
    """
    Return the settings in the text of a valkey.conf, ``{setting: value}``; of one that is there twice the last.
    """
    words = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {line[0].lower(): line[1].strip() if len(line) > 1 else "" for line in words}


def equal(given, running):
    """
    Return whether a value given in words of valkey.conf is the one the server reports.
    """
    return _words(given) == _words(running)


def needs_restart(setting):
    """
    Return whether a running server cannot change a setting.
    """
    return setting in RESTART_ONLY


def _text(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(_text(one) for one in value)
    return str(value)


def _words(value):
    return [_number(word) for word in value.replace('"', "").replace("'", "").split()]


def _number(word):
    size = _SIZE.fullmatch(word)
    if size:
        return str(int(size[1]) * _FACTORS[size[2].lower()])
    return word.lower() if word.lower() in ("yes", "no") else word
