"""
Secrets of services: made on this host, kept in root-only files, delivered to containers as Podman secrets.

A secret's value is in two places: ``/var/lib/rick-infra/secrets/NAME`` (root,
0600) and Podman's own store (root, 0700). No function here returns one.
"""

import hashlib
import hmac
import json
import re
import shutil
import subprocess

from salt.exceptions import CommandExecutionError, SaltInvocationError

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,252}")  # podman-secret-create(1)
_CACHE = "rick_podman_secrets"
_TIMEOUT = 60  # seconds


def path(name):
    """
    Return the file that holds the secret, for states that take a ``secret_file``.

    CLI Example:

    .. code-block:: bash

        salt-call secret.path valkey-notes
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SaltInvocationError(f"secret {name!r}: use letters, digits and _.-, beginning with a letter or digit")
    return f"{__utils__['secret_files.directory']()}/{name}"


def exists(name):
    """
    Return True if the host has the secret's file.

    CLI Example:

    .. code-block:: bash

        salt-call secret.exists valkey-notes
    """
    return __utils__["secret_files.read"](path(name)) is not None


def delivered(name):
    """
    Return True if Podman has the secret with the value that the file has.

    CLI Example:

    .. code-block:: bash

        salt-call secret.delivered valkey-notes
    """
    value = __utils__["secret_files.read"](path(name))
    known = _podman_digests().get(name)
    return value is not None and known is not None and hmac.compare_digest(known, _digest(value))


def make(name):
    """
    Make the secret if there is none yet: 256 random bits. True if it was made.

    CLI Example:

    .. code-block:: bash

        salt-call secret.make valkey-notes
    """
    if exists(name):
        return False
    __utils__["secret_files.create"](path(name))
    return True


def deliver(name):
    """
    Give Podman the secret's present value. Containers see it at their next start.

    CLI Example:

    .. code-block:: bash

        salt-call secret.deliver valkey-notes
    """
    value = __utils__["secret_files.read"](path(name))
    if value is None:
        raise CommandExecutionError(f"secret {name}: there is no {path(name)} (make it: salt-call secret.make {name})")
    __context__.pop(_CACHE, None)
    # Through standard input: the process list shows arguments to everybody.
    _podman("secret", "create", "--replace", name, "-", value=value)


def remove(name):
    """
    Remove the secret from Podman and from the host, as far as it is there.

    CLI Example:

    .. code-block:: bash

        salt-call secret.remove valkey-notes
    """
    if name in _podman_digests():
        __context__.pop(_CACHE, None)
        _podman("secret", "rm", name)
    __utils__["secret_files.remove"](path(name))


def in_podman(name):
    """
    Return True if Podman has a secret of this name, whatever its value.

    CLI Example:

    .. code-block:: bash

        salt-call secret.in_podman valkey-notes
    """
    return name in _podman_digests()


def _podman_digests():
    """Every secret that Podman has, ``{name: SHA-256}``; asked once a run."""
    if _CACHE not in __context__:
        digests = {}
        if shutil.which("podman"):
            names = _podman("secret", "ls", "--format", "{{.Name}}").splitlines()
            if names:
                entries = json.loads(_podman("secret", "inspect", "--showsecret", "--", *names))
                digests = {entry["Spec"]["Name"]: _digest(entry["SecretData"]) for entry in entries}
        __context__[_CACHE] = digests
    return __context__[_CACHE]


def _digest(value):
    return hashlib.sha256(value.encode()).hexdigest()


def _podman(*arguments, value=None):
    command = ["podman", *arguments]
    try:
        done = subprocess.run(command, input=value, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"podman {' '.join(arguments[:2])}: {error}") from error
    if done.returncode != 0:
        raise CommandExecutionError(f"podman {' '.join(arguments[:2])}: {done.stderr.strip()}")
    return done.stdout
