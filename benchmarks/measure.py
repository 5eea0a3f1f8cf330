#!/usr/bin/env python3
"""
What benchmarks/services has done inside a machine: time a command, time a boot. The answer is one line of JSON.

  measure.py run [--page URL --text TEXT] -- COMMAND…    until it has ended, and until a page has that text
  measure.py boot FILE URL…                              until each page answers; the answer goes to FILE

Standard library only: it runs in lab machines as they are.
"""

import argparse
import contextlib
import http.client
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

INTERVAL = 0.05  # seconds between two requests for a page
PATIENCE = 300  # seconds for a page to have its text, or for all of them to answer after a boot
HTTP_TIMEOUT = 1  # seconds
# What a tool leaves on the host: files, and units that were started. What is not listed here no tool of these manages.
FILES = (
    *("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"),
    *("/etc/containers/**/*", "/etc/caddy/**/*", "/etc/postgresql/**/*", "/etc/valkey/**/*"),
    *("/etc/systemd/system/**/*", "/etc/tmpfiles.d/*", "/opt/svc*", "/opt/svc*/*", "/opt/svc*/.env"),
)
UNITS = ("svc*.service", "caddy.service", "postgresql@*.service", "valkey-server.service")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = arguments.add_subparsers(dest="action", required=True)
    action = actions.add_parser("run")
    action.add_argument("--page")
    action.add_argument("--text")
    action.add_argument("command", nargs="+")
    action = actions.add_parser("boot")
    action.add_argument("file", type=Path)
    action.add_argument("pages", nargs="+")
    options = arguments.parse_args()
    if options.action == "boot":
        answer = options.file.with_suffix(".new")
        answer.write_text(json.dumps(boot(options.pages)))
        answer.replace(options.file)  # whoever sees it, sees all of it
    else:
        print(json.dumps(run(options.command, options.page, options.text)))


def run(command, page, text):
    """
    Run a command and return what it took and what it did.

    ``wall`` and ``cpu`` are seconds, the latter of the command and its children: not what systemd, Podman or a server
    did on its behalf. ``served`` are the seconds until ``page`` had ``text`` in it, None if it never had. ``touched``
    lists files and units that are no longer what they were.
    """
    before, idle = host(), cpu()
    served = []
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as complaints:
        began = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints)
        watch = threading.Thread(target=until_served, args=(page, text, began, served), daemon=True)
        if page:
            watch.start()
        status = process.wait()
        wall = time.monotonic() - began
        used = cpu() - idle
        if page and status == 0:
            watch.join()
        output.seek(0)
        complaints.seek(0)
        return {
            "status": status,
            "wall": wall,
            "cpu": used,
            "served": served[0] if served else None,
            "touched": differing(before, host()),
            "output": output.read(),
            "complaints": complaints.read(),
        }


def until_served(page, text, began, served):
    """Ask for a page until it has a text, and append the seconds that took."""
    while time.monotonic() - began < PATIENCE:
        if text in (content(page) or ""):
            served.append(time.monotonic() - began)
            return
        time.sleep(INTERVAL)


def content(page):
    """Return what a page has if it answers with 200, or None."""
    place = urllib.parse.urlsplit(page)
    with contextlib.closing(http.client.HTTPConnection(place.netloc, timeout=HTTP_TIMEOUT)) as connection:
        try:
            connection.request("GET", place.path)
            answer = connection.getresponse()
            return answer.read().decode(errors="replace") if answer.status == http.HTTPStatus.OK else None
        except (OSError, http.client.HTTPException):
            return None


def host():
    """Return what a tool could have changed on this host: ``{file or unit: what identifies its present state}``."""
    return {path: state(path) for pattern in FILES for path in Path("/").glob(pattern.lstrip("/"))} | units()


def units():
    """Return of each unit that could be started again which time it was started."""
    show = ["systemctl", "show", "--property=Id,InvocationID", *UNITS]
    text = subprocess.run(show, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    blocks = (dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n"))
    return {block["Id"]: block["InvocationID"] for block in blocks}


def cpu():
    """Return the CPU seconds of all children that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def state(path):
    """Return what identifies a file's present content, owner and mode; a directory may be written to."""
    with contextlib.suppress(FileNotFoundError):  # a unit that has just ended
        status = path.lstat()
        return (status.st_mode, status.st_uid, status.st_gid, path.is_dir() or (status.st_mtime_ns, status.st_size))
    return None


def differing(before, after):
    """Return the names of the files and units that two looks at the host do not agree on."""
    return sorted(str(name) for name in {*before, *after} if before.get(name) != after.get(name))


def boot(pages):
    """Return the seconds from the start of PID 1 until each page answered, and the pages that never did."""
    booted = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    waiting, seconds = set(pages), []
    deadline = time.monotonic() + PATIENCE  # the boot may be long ago
    while waiting and time.monotonic() < deadline:
        for page in sorted(waiting):
            if content(page) is not None:
                waiting.discard(page)
                seconds.append(since(booted))
        time.sleep(INTERVAL)
    return {"seconds": seconds, "missing": sorted(waiting)}


def since(booted):
    # The same clock as that of /proc, which a container shares with its host.
    return time.clock_gettime(time.CLOCK_BOOTTIME) - booted


if __name__ == "__main__":
    sys.exit(main())
