"""
Caddy's files below ``/etc/caddy``: read as a whole, and tried as a whole on a copy before one of them is changed.
"""

import hashlib
import json
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

DIRECTORY = Path("/etc/caddy")
MAIN = "Caddyfile"
SNIPPETS = "snippets"
SITES = "sites-enabled"
# Certificates of this host and of others in a fleet, which the configuration names by their paths.
CERTIFICATES = ("identity/certificate.pem", "fleet/*.pem")
STAGING = "/run"
CADDY = "/usr/bin/caddy"
ACCOUNT = "caddy"
TIMEOUT = 60  # seconds for what takes 40 ms


def site(name):
    """
    Return the name of a service's site below ``/etc/caddy``.
    """
    return f"{SITES}/{name}.caddy"


def path(name):
    """
    Return the path of a file by its name below ``/etc/caddy``.
    """
    return str(DIRECTORY / name)


def preliminary():
    """
    Return the least of a Caddyfile that takes in the sites, for trying one before ours is there.
    """
    return f"(access-log) {{\n}}\n(without-identity) {{\n}}\nimport {SNIPPETS}/*.caddy\nimport {SITES}/*.caddy\n"


def md5(text):
    """
    Return what dpkg compares a configuration file by.
    """
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def read_all():
    """
    Return the texts of all files that make the configuration, ``{name below /etc/caddy: text}``.

    Raises CommandExecutionError that names the file which cannot be read.
    """
    found = [DIRECTORY / MAIN]
    found += [file for folder in (SNIPPETS, SITES) for file in sorted((DIRECTORY / folder).glob("*.caddy"))]
    texts = {}
    for file in found:
        try:
            texts[str(file.relative_to(DIRECTORY))] = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise CommandExecutionError(f"{file}: {error}") from error
    return texts


def fingerprint(texts):
    """
    Return a digest of files' texts, and of the Caddy that would read them.
    """
    try:
        status = Path(CADDY).stat()
        program = [status.st_ino, status.st_size, status.st_mtime_ns]
    except FileNotFoundError:
        program = []
    return hashlib.sha256(json.dumps([program, texts], sort_keys=True).encode()).hexdigest()


def certificates():
    """
    Return digests of the certificates by which hosts of a fleet know each other, ``{name below /etc/caddy: SHA-256}``.

    Caddy reads them with a configuration, and later never again: another one in the same file is none to it.
    """
    found = sorted(path for pattern in CERTIFICATES for path in DIRECTORY.glob(pattern))
    return {str(path.relative_to(DIRECTORY)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def digest(configuration):
    """
    Return a digest of a configuration in Caddy's JSON, the same for every order of its keys.
    """
    return hashlib.sha256(json.dumps(json.loads(configuration), sort_keys=True).encode()).hexdigest()


def can_adapt():
    """
    Return whether the package is installed: its program is there, and its user.
    """
    return os.access(CADDY, os.X_OK) and _account() is not None


def adapt(texts, validate):
    """
    Return the configuration that files make, as Caddy's JSON. None of the host's files is changed.

    texts
        ``{name below /etc/caddy: text}``, all of them.

    validate
        Whether to go as far as starting it: certificates are read, modules set
        up. That makes the local authority if there is none yet.

    Runs as the user ``caddy``: as root, it would make another authority in
    root's home. Raises CommandExecutionError with Caddy's words, in which the
    files have their real names.
    """
    account = _account()
    if account is None:
        raise CommandExecutionError(f"there is no user {ACCOUNT}: install the package caddy first")
    staged = Path(tempfile.mkdtemp(prefix="rick-infra-caddy-", dir=STAGING))
    try:
        _stage(staged, texts)
        command = [CADDY, "adapt", "--config", str(staged / MAIN), "--adapter", "caddyfile"]
        command += ["--validate"] if validate else []
        as_whom = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            cwd=staged,
            env={"HOME": account.pw_dir, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            **as_whom,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"{CADDY} adapt: {error}") from error
    finally:
        shutil.rmtree(staged)
    if done.returncode != 0:
        raise CommandExecutionError(_words(done.stderr, staged, texts))
    return done.stdout


def _stage(staged, texts):
    """A copy of /etc/caddy with these texts; whatever else is there is linked to."""
    staged.chmod(0o755)
    for folder in (SNIPPETS, SITES):
        (staged / folder).mkdir(mode=0o755)
    if DIRECTORY.is_dir():
        for entry in DIRECTORY.iterdir():
            if entry.name not in (MAIN, SNIPPETS, SITES):
                (staged / entry.name).symlink_to(entry)
    for name, text in texts.items():
        (staged / name).write_text(text, encoding="utf-8")
        (staged / name).chmod(0o644)


def _account():
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def _words(stderr, staged, texts):
    """Caddy's last words, without its log and without the name of the copy, with the line that they are about."""
    _, found, words = stderr.rpartition("Error: ")
    words = (words if found else stderr).strip().replace(str(staged), str(DIRECTORY))
    # Releases differ in how much of their memory they print here.
    words = re.sub(r": &caddyhttp\..*\(only", " (only", words, flags=re.DOTALL)
    words = re.sub(r" import chain \[.*\]", "", words)
    place = re.search(rf"{re.escape(str(DIRECTORY))}/(\S+?):(\d+)", words)
    lines = texts.get(place[1], "").splitlines() if place else []
    line = lines[int(place[2]) - 1].strip() if place and int(place[2]) <= len(lines) else ""
    # Of a route, Caddy names the line of the closing brace.
    return f"{words} ({line})" if line.strip("{} ") else words
