"""
Certificates that an administrator brings: Caddy must be able to read them, nobody else the key, and they must be for
the site.
"""

import datetime
import grp
import hashlib
import os
import pwd
import stat
from pathlib import Path

from salt.exceptions import CommandExecutionError

ACCOUNT = "caddy"
ADVICE = "chown root:caddy, chmod 0640, in a directory that caddy may enter, such as /etc/caddy/certificates"


def fingerprint(path):
    """
    Return the SHA-256 of a certificate's file.

    Raises CommandExecutionError that names the file if it cannot be read.
    """
    return hashlib.sha256(_read(path)).hexdigest()


def problems(certificate, key):
    """
    Return what is wrong with the access to a certificate and its key, a list of sentences.

    certificate, key
        Absolute paths. Links are followed.
    """
    found = []
    for path in (certificate, key):
        try:
            status = Path(path).stat()
        except OSError as error:
            found.append(f"{path}: {error.strerror}")
            continue
        if not stat.S_ISREG(status.st_mode):
            found.append(f"{path}: is no file")
            continue
        if path == key and (exposure := _exposure(status)):
            found.append(f"{path}: {exposure}: {ADVICE}")
        if closed := _closed(path):
            found.append(f"{path}: the user {ACCOUNT} cannot read it, because of {closed}: {ADVICE}")
    return found


def check_domains(path, domains):
    """
    Raise CommandExecutionError if a certificate is not for these domains, or not valid today.

    Caddy would get another certificate from a public authority for a domain
    that none of its own certificates is for.
    """
    from cryptography import x509  # 50 ms that only a changed site should pay

    try:
        certificate = x509.load_pem_x509_certificate(_read(path))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        covered = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    except x509.ExtensionNotFound:
        covered = set()
    except ValueError as error:
        raise CommandExecutionError(f"{path}: is no certificate in PEM form: {error}") from error
    missing = [name for name in domains if not covered & {name, f"*.{name.partition('.')[2]}"}]
    if missing:
        for_whom = ", ".join(sorted(covered)) or "no domain"
        raise CommandExecutionError(f"{path}: is a certificate for {for_whom}, not for {', '.join(missing)}")
    today = datetime.datetime.now(datetime.UTC)
    # not_valid_after_utc is there since cryptography 42; Debian has 43.
    if certificate.not_valid_after_utc < today:
        raise CommandExecutionError(f"{path}: was valid until {certificate.not_valid_after_utc:%Y-%m-%d}")


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CommandExecutionError(f"{path}: {error.strerror}") from error


def _exposure(status):
    """Who else than root and Caddy can read a key."""
    if status.st_mode & 0o004:
        return "everybody can read this key"
    account = _account()
    ours = {0, *([account.pw_uid] if account else [])}
    if status.st_uid not in ours:
        return f"this key belongs to {_name(pwd.getpwuid, status.st_uid)}"
    groups = {0, *([account.pw_gid] if account else [])}
    # Without the package there is no group yet that could be the right one.
    if account and status.st_mode & 0o040 and status.st_gid not in groups:
        return f"the group {_name(grp.getgrgid, status.st_gid)} can read this key"
    return ""


def _closed(path):
    """What keeps Caddy's user from reading a file: the file itself or a directory above it."""
    account = _account()
    if account is None:
        return ""
    groups = {account.pw_gid, *os.getgrouplist(ACCOUNT, account.pw_gid)}
    real = Path(path).resolve()
    # Of a link both ways are walked: the one to the link, and the one to what it leads to.
    parents = [*reversed(Path(path).parents), *reversed(real.parents)]
    for place, bit in [*((parent, 0o1) for parent in parents), (real, 0o4)]:
        status = place.stat()
        if status.st_uid == account.pw_uid:
            allowed = status.st_mode >> 6
        elif status.st_gid in groups:
            allowed = status.st_mode >> 3
        else:
            allowed = status.st_mode
        if not allowed & bit:
            return f"{place} ({stat.S_IMODE(status.st_mode):04o})"
    return ""


def _account():
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def _name(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)
