"""
Locales for PostgreSQL's databases: whether the host has one, and how it gets it.

Each goes into a folder of its own below /usr/lib/locale. ``locale-gen`` would
put it into glibc's archive, which a running server does not look into again,
so that all services would have to bear a restart; and it takes out of the
archive whatever /etc/locale.gen does not name.
"""

import re
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

PACKAGE = "locales"
LOCALES = Path("/usr/lib/locale")
SOURCES = Path("/usr/share/i18n/locales")
BUILT_IN = ("C", "POSIX", "C.UTF-8", "C.utf8")  # of libc-bin, which every Debian has
TIMEOUT = 120  # seconds; one takes about two
_NAME = re.compile(r"([a-z]{2,3}_[A-Z]{2})\.(?:UTF-8|utf8)(@[a-z]+)?")


def missing(locale):
    """
    Return whether the host lacks a locale.

    Raises SaltInvocationError for what is not a locale in UTF-8, such as ``de_DE`` alone.
    """
    return locale not in BUILT_IN and not (LOCALES / _folder(locale)).is_dir()


def package():
    """
    Return the name of the Debian package with the sources of all locales.
    """
    return PACKAGE


def generate(locale):
    """
    Make a locale from its source, for all programs of the host, those that run already included.

    Raises CommandExecutionError if there is no such source, or localedef complains.
    """
    source = _source(locale)
    if not (SOURCES / source).is_file():
        raise CommandExecutionError(f"locale {locale}: there is no {SOURCES / source}; ls {SOURCES} shows all")
    command = ["localedef", "--no-archive", "-i", source, "-f", "UTF-8", str(LOCALES / _folder(locale))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"locale {locale}: localedef: {error}") from error
    if done.returncode != 0:
        raise CommandExecutionError(f"locale {locale}: localedef: {done.stderr.strip()}")


def _parts(locale):
    form = _NAME.fullmatch(locale) if isinstance(locale, str) else None
    if not form:
        raise SaltInvocationError(f"locale {locale!r}: give one in UTF-8, such as C.UTF-8 or en_US.UTF-8")
    return form[1], form[2] or ""


def _source(locale):
    return "".join(_parts(locale))


def _folder(locale):
    base, variant = _parts(locale)
    return f"{base}.utf8{variant}"  # as glibc spells it


def refuse_another(database, present, encoding, locale):
    """
    Raise CommandExecutionError if a database has another encoding or locale than declared, since neither can change.

    present
        What ``postgresql.database`` says of it.
    """
    found = {"encoding": present["encoding"], "locale": present["locale"], "ctype": present["ctype"]}
    wanted = {"encoding": encoding, "locale": locale, "ctype": locale}
    wrong = [key for key in wanted if _spelt_alike(found[key]) != _spelt_alike(wanted[key])]
    if wrong:
        told = ", ".join(f"{key} is {found[key]}, not {wanted[key]}" for key in wrong)
        raise CommandExecutionError(
            f"database {database}: {told}; that cannot be changed. Either declare what it has, or dump it (pg_dump), "
            "drop it, let this state create it and restore the dump"
        )


def _spelt_alike(word):
    """glibc knows C.UTF-8 and C.utf8 as one locale, PostgreSQL UTF8 and UTF-8 as one encoding."""
    return word.lower().replace("-", "")
