"""
Podman's own Quadlet generator, run dry over a copy of the whole folder: the authority on what files mean.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from salt.exceptions import CommandExecutionError

GENERATORS = ("/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet")
# Where the generator looks besides /etc (podman-systemd.unit(5)).
OTHER_FOLDERS = ("/run/containers/systemd", "/usr/share/containers/systemd")
TIMEOUT = 60  # seconds; a hundred files take one tenth of one


def installed():
    """
    Return whether this host has the generator: Podman is installed.
    """
    return _generator() is not None


def run(folder, changes):
    """
    Return what the generator would make of the folder after some changes.

    folder
        The folder of the files. It need not exist.

    changes
        ``{file: text}``, or None for a file that is removed.

    Returns ``{"units": {service: text}, "errors": [...]}``. Errors are the
    generator's own, with paths as they will be.

    Raises CommandExecutionError if the generator is missing or does not run.
    """
    generator = _generator()
    if generator is None:
        raise CommandExecutionError(
            "Podman is not installed: its generator checks every Quadlet file; apply infra.podman first"
        )
    with tempfile.TemporaryDirectory(prefix="rick-quadlet-") as staged:
        _stage(folder, Path(staged), changes)
        places = ":".join([staged, *(other for other in OTHER_FOLDERS if os.path.isdir(other))])  # noqa: PTH112
        try:
            done = subprocess.run(
                [generator, "-dryrun"],
                env={"PATH": os.environ.get("PATH", os.defpath), "QUADLET_UNIT_DIRS": places},
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CommandExecutionError(f"{generator}: {error}") from error
        stdout, stderr = (text.replace(staged, folder) for text in (done.stdout, done.stderr))
    return {"units": _units(stdout), "errors": _errors(stderr) if done.returncode else []}


def new_errors(folder, changes):
    """
    Return the errors that some changes bring, those that were there before left out, and the units that would be.

    The errors are a list of text; the units ``{service: text}``.

    folder, changes
        As for ``run``.
    """
    after = run(folder, changes)
    if not after["errors"]:
        return [], after["units"]
    before = run(folder, {})["errors"]
    new = [error for error in after["errors"] if error not in before]
    # A file that cannot be read at all makes the generator drop the whole folder, ours with it.
    fatal = [error for error in after["errors"] if "error loading" in error]
    own = [error for error in after["errors"] if any(f'"{file}"' in error for file, text in changes.items() if text)]
    return list(dict.fromkeys([*new, *fatal, *own])), after["units"]


def _generator():
    return next((path for path in GENERATORS if os.access(path, os.X_OK)), None)


def _stage(folder, staged, changes):
    if os.path.isdir(folder):  # noqa: PTH112
        shutil.copytree(folder, staged, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
    for file, text in changes.items():
        if text is None:
            (staged / file).unlink(missing_ok=True)
        else:
            (staged / file).write_text(text, encoding="utf-8")


def _units(stdout):
    """The generator prints each unit behind a line with its name."""
    parts = re.split(r"^---(\S+\.service)---\n", stdout, flags=re.MULTILINE)
    return {Path(name).name: f"{text.strip()}\n" for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def _errors(stderr):
    """Its messages without what it loads and warns of. Of several errors, only the first has a prefix."""
    errors = []
    for line in stderr.splitlines():
        said = re.sub(r"^quadlet-generator\[\d+\]: ", "", line).strip()
        if said and not said.startswith(("Loading source", "Warning:", "No files parsed", "Starting quadlet")):
            errors.append(said)
    return errors
