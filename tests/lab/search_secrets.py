#!/usr/bin/python3
"""
Look for values in every place of a machine where others than root might read them. Runs inside the machine, as root.

    search_secrets.py watch FILE              until killed: the arguments and environments of all processes, to FILE
    search_secrets.py find SINCE SERVICE FILE  values come in by standard input, as a list in JSON

``find`` prints ``[[place, number of the value]]``. SINCE (seconds since 1970) is from before the values were made, so
only what was written after it can hold them. The values are never arguments: those are the first place to look at.
"""

import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

INTERVAL = 0.03  # seconds; between two looks at the process list
# What journald keeps is looked at as a journal, entry by entry. The rest is the kernel's.
LEFT_OUT = ("/proc", "/sys", "/dev", "/var/log/journal", "/run/log/journal")


def watch(path):
    """Write down what the process list shows, each thing once."""
    root = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    seen = set()
    with Path(path).open("ab", buffering=0) as file:
        while True:
            for pid in filter(str.isdigit, os.listdir(root)):  # noqa: PTH208 - thousands of times a second
                for name in ("cmdline", "environ"):
                    try:
                        owner = Path(f"/proc/{pid}").stat().st_uid
                        what = (name, owner, Path(f"/proc/{pid}/{name}").read_bytes())
                    except (FileNotFoundError, ProcessLookupError, PermissionError):
                        continue
                    # Only who is root reads an environment of root's; everybody else's is its own to read.
                    if (name == "cmdline" or owner) and what not in seen:
                        seen.add(what)
                        file.write(f"{json.dumps([name, owner, what[2].decode(errors='replace')])}\n".encode())
            time.sleep(INTERVAL)


def find(since, service, watched, values):
    """Return where each value can be read."""
    found = []
    for place, text in (*_processes(service, watched), *_podman(), *_systemd(), *_journal(service), *_logs()):
        found += [[place, number] for number, value in enumerate(values) if value in text]
    return found + _files(since, service, values)


def _processes(service, watched):
    own = pwd.getpwnam(service).pw_uid
    for line in Path(watched).read_text().splitlines():
        name, owner, text = json.loads(line)
        if name == "cmdline" or owner != own:
            yield f"{name} of a process of uid {owner}: {text[:60]!r}", text


def _output(*command):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=True).stdout


def _podman():
    for kind, listing in (
        ("container", ("ps", "--all", "--format={{.ID}}")),
        ("pod", ("pod", "ls", "--format={{.Id}}")),
        ("secret", ("secret", "ls", "--format={{.Name}}")),
        ("network", ("network", "ls", "--format={{.Name}}")),
        ("image", ("images", "--quiet")),
    ):
        names = _output("podman", *listing).split()
        yield f"podman {kind} inspect", _output("podman", kind, "inspect", *names)


def _systemd():
    listing = ("list-units", "--type=service,socket,timer", "--all", "--output=json")
    names = [unit["unit"] for unit in json.loads(_output("systemctl", *listing)) if unit["load"] == "loaded"]
    yield "systemctl show", _output("systemctl", "show", "--all", *names)
    yield "systemctl cat", _output("systemctl", "cat", *names)


def _journal(service):
    """All of the journal but what the service's own programs wrote."""
    others = []
    for line in _output("journalctl", "--all", "--output=json").splitlines():
        entry = json.loads(line)
        own = str(entry.get("CONTAINER_NAME", entry.get("_SYSTEMD_UNIT"))).startswith(f"{service}-")
        if not own or entry.get("_COMM") not in ("conmon", None):
            others.append(json.dumps(entry, ensure_ascii=False))
    yield "the journal", "\n".join(others)


def _logs():
    for folder in ("/var/log/salt", "/var/log/rick-infra"):
        for file in Path(folder).iterdir():
            yield str(file), file.read_text(errors="replace")


def _files(since, service, values):
    """Files that anybody but root and the service may read: tried by a process that is in every group."""
    account = pwd.getpwnam(service)
    groups = [int(line.split(":")[2]) for line in Path("/etc/group").read_text().splitlines()]
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setgroups([gid for gid in groups if gid not in (0, account.pw_gid)])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        with os.fdopen(writing, "w") as stream:
            json.dump(list(_readable(since, [value.encode() for value in values])), stream)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        return json.load(stream)


def _readable(since, values):
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in LEFT_OUT]  # noqa: PTH118
        for name in files:
            path = os.path.join(folder, name)  # noqa: PTH118
            try:
                status = os.lstat(path)
                if status.st_ctime < since or not os.path.isfile(path) or os.path.islink(path):  # noqa: PTH113,PTH114
                    continue
                content = Path(path).read_bytes()
            except OSError:  # it may not be read, is gone by now, or is the kernel's and no file
                continue
            yield from ([path, number] for number, value in enumerate(values) if value in content)


if __name__ == "__main__":
    if sys.argv[1] == "watch":
        watch(sys.argv[2])
    print(json.dumps(find(float(sys.argv[2]), sys.argv[3], sys.argv[4], json.load(sys.stdin))))
