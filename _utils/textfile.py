"""
Small text files that the tree owns: compared as a diff, replaced at once.
"""

import difflib
import os
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError


def read(path):
    """
    Return the text of ``path``, or None if nothing is there.

    Raises CommandExecutionError if it is something other than a readable text file.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CommandExecutionError(f"{path}: {error}") from error


def diff(path, text):
    """
    Return a unified diff between what ``path`` holds and ``text``, empty if they are equal.

    A missing file is diffed against nothing.
    """
    present = read(path)
    return "" if present == text else diff_of(path, present, text)


def diff_of(path, present, text):
    """
    Return a unified diff between two different texts, the one that ``path`` holds (None for no file) and another.
    """
    lines = difflib.unified_diff(
        (present or "").splitlines(), text.splitlines(), fromfile=path, tofile=path, lineterm=""
    )
    return "\n".join(lines) or f"{path}: differs in line ends"


def write(path, text, mode=0o644):
    """
    Put ``text`` into ``path`` at once: a reader, or a killed run, finds the old or the new text, never a half.

    mode
        Permissions as a number. The file belongs to whoever runs this.

    Raises CommandExecutionError if it cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # A name that ends in neither .conf nor .service: what reads the folder must not take it for one.
        descriptor, staged = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            Path(staged).replace(target)
        finally:
            Path(staged).unlink(missing_ok=True)
    except OSError as error:
        raise CommandExecutionError(f"{path}: {error.strerror}") from error
