"""
A service's files: put into an archive that is proven, or deleted.

The archive is an ordinary tar file, with numeric owners, access lists and
extended attributes. It counts only once it has been read back and found equal
to the files: path by path, with kind, owner, mode, size and SHA-256.
"""

import hashlib
import os
import re
import shutil
import stat
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path

from salt.exceptions import CommandExecutionError

FOLDER = "/var/lib/rick-infra/archive"
MOUNTS = "/proc/self/mountinfo"
TAR = ["tar", "--create", "--file=-", "--format=posix", "--numeric-owner", "--one-file-system"]
TAR += ["--acls", "--xattrs", "--xattrs-include=*"]
COMPRESSORS = {"zst": "zstd", "gz": "gzip"}  # ending and program; the first one that is installed
CHUNK = 1 << 20  # bytes
SHOWN = 5  # paths in an error


def folder(service):
    """
    Return the directory of a service's archives.
    """
    return f"{FOLDER}/{service}"


def refuse_mounts(path):
    """
    Raise CommandExecutionError if something is mounted on a directory or below it.
    """
    inside = []
    for line in Path(MOUNTS).read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        # Spaces and the like are octal there: proc_pid_mountinfo(5).
        place = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[4])
        if place == path or place.startswith(f"{path}/"):
            inside.append(place)
    if inside:
        raise CommandExecutionError(f"{', '.join(inside)}: something is mounted there: unmount it first")


def delete(path):
    """
    Delete a directory with all that is in it. Symbolic links are deleted, not followed.

    Raises CommandExecutionError if something is mounted below, or cannot be deleted.
    """
    refuse_mounts(path)
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise CommandExecutionError(f"{error.filename}: {error.strerror}") from error


def archive(path, service, what="files"):
    """
    Put a directory into a new archive of a service, prove it, and return the archive's path.

    Sockets are left out: there is nothing in them. ``what`` is in the archive's name.

    Raises CommandExecutionError if something is mounted below, if a file
    changes meanwhile, or if the archive does not equal the files; nothing is
    left of the archive then.
    """
    refuse_mounts(path)
    ending, program = next((ending, program) for ending, program in COMPRESSORS.items() if shutil.which(program))
    target = Path(folder(service))
    staged = target / f".{what}.part"  # always the same name: what a killed run left is overwritten
    final = target / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{what}.tar.{ending}"
    try:
        for place in reversed((target, *target.parents)):
            if not place.is_dir():
                place.mkdir(mode=0o700)
        staged.unlink(missing_ok=True)
        try:
            _write(path, staged, program)
            _prove(path, staged, program)
            os.link(staged, final)
            _sync(target)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise CommandExecutionError(f"archive of {path}: {error.filename or target}: {error.strerror}") from error
    return str(final)


def _write(path, staged, program):
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        # No time limit: nobody knows how much there is.
        done = subprocess.run(
            [*TAR, f"--use-compress-program={program}", f"--directory={path}", "."],
            stdout=stream,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.fsync(descriptor)
    if done.returncode != 0:
        raise CommandExecutionError(f"archive of {path}: tar: {done.stderr.decode(errors='replace').strip()}")


def _prove(path, staged, program):
    archived = _contents(path, staged, program)
    present = _tree(path)
    different = sorted(name for name in archived.keys() | present.keys() if archived.get(name) != present.get(name))
    if different:
        shown = ", ".join(map(repr, different[:SHOWN]))
        raise CommandExecutionError(
            f"archive of {path}: {len(different)} paths in it differ from the files ({shown}): nothing was removed"
        )


def _contents(path, staged, program):
    """What is in an archive, ``{path below the directory: facts}``."""
    found: dict = {}
    with (
        staged.open("rb") as source,
        subprocess.Popen([program, "-dc"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|", encoding="utf-8", errors="surrogateescape") as stream:
                for member in stream:
                    name = _relative(member.name)
                    found[name] = found[_relative(member.linkname)] if member.islnk() else _member(stream, member)
            process.communicate()
        except (tarfile.TarError, KeyError) as error:
            process.kill()
            raise CommandExecutionError(f"archive of {path}: it cannot be read back: {error}") from error
    if process.returncode != 0:
        raise CommandExecutionError(f"archive of {path}: it cannot be read back: {program} failed")
    return found


def _relative(name):
    return name.removeprefix("./").rstrip("/") or "."


def _member(stream, member):
    common = (member.uid, member.gid, member.mode)
    if member.isfile():
        return ("file", *common, member.size, _sha256(stream.extractfile(member)))
    if member.isdir():
        return ("directory", *common)
    if member.issym():
        return ("link", member.uid, member.gid, member.linkname)
    return ("special", *common, member.type in (tarfile.CHRTYPE, tarfile.BLKTYPE), member.devmajor, member.devminor)


def _tree(path):
    """What a directory has now, as ``_contents`` tells it."""
    found = {}
    for folder_path, folders, files, descriptor in os.fwalk(path, follow_symlinks=False, onerror=_raise):
        below = os.path.relpath(folder_path, path)
        found[below] = _facts("", os.fstat(descriptor), descriptor)
        for name in [*files, *folders]:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode) and not stat.S_ISSOCK(status.st_mode):
                found[os.path.normpath(f"{below}/{name}")] = _facts(name, status, descriptor)
    return found


def _facts(name, status, folder_descriptor):
    common = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    if stat.S_ISREG(status.st_mode):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder_descriptor)
        with os.fdopen(descriptor, "rb") as stream:
            return ("file", *common, status.st_size, _sha256(stream))
    if stat.S_ISDIR(status.st_mode):
        return ("directory", *common)
    if stat.S_ISLNK(status.st_mode):
        return ("link", status.st_uid, status.st_gid, os.readlink(name, dir_fd=folder_descriptor))
    device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
    numbers = (os.major(status.st_rdev), os.minor(status.st_rdev)) if device else (0, 0)
    return ("special", *common, device, *numbers)


def _sha256(stream):
    digest = hashlib.sha256()
    while chunk := stream.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _raise(error):
    raise error


def _sync(directory):
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
