"""
A master and minions of a fleet on this host: real daemons with the configuration that bin/bootstrap writes, but for
places, ports and the release that the minions say this host has. Each sees the host read-only, with a /var/lib of its
own above the host's.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import environment
import host
from console import Failure
from files import render

from fleet import KEY_BITS

ADDRESS = "127.0.0.1"
SITE = "/etc/rick-infra"  # in the configuration; here it is elsewhere
TO_END = 60  # seconds for a daemon to end before it is killed
INTERVAL = 0.2  # seconds between two looks at what is waited for
TICKS = os.sysconf("SC_CLK_TCK")
# If the host has no memory left, a daemon has to go, and not the measurement with all its figures.
# The first argument is the daemon's folder, with what lies above /var/lib; the second one that of the whole fleet.
ALONE = """\
echo 1000 > /proc/self/oom_score_adj
mount -t overlay overlay -o lowerdir=/var/lib,upperdir="$1/upper",workdir="$1/work" /var/lib
mount --bind "$2" "$2"
mount -o remount,bind,ro /
shift 2
exec "$@"
"""
KEYS = """\
import sys
import salt.crypt
import salt.utils.crypt
salt.crypt.write_keys(sys.argv[1], sys.argv[2], int(sys.argv[3]), "root")
print(salt.utils.crypt.pem_finger(f"{sys.argv[1]}/{sys.argv[2]}.pub", sum_type="sha256"))
"""


class Fleet:
    """
    A master, and the minions that were started so far.

    folder
        A new folder for all that they write. Its path is short, since paths of sockets are.

    python
        The interpreter of an environment with Salt.
    """

    def __init__(self, folder, python):
        self.folder, self.python = folder, python
        self.publish_port, self.answer_port = free_ports(2)
        self.site = folder / "site"
        self.site.mkdir(mode=0o700)
        self.master, self.minions, self.finger = None, {}, None

    def configure_master(self):
        """Write the master's configuration and keys."""
        template = environment.CONF / "master.d/50-rick-infra.conf"
        # Lists of two files of a configuration would be joined, so the site's folder is exchanged in the text.
        text = render(template, tree=host.TREE).replace(SITE, str(self.site))
        own = {"interface": ADDRESS, "publish_port": self.publish_port, "ret_port": self.answer_port}
        self._configure("m", "master", text, own)
        self.finger = self._keys(self.folder / "m/pki/master", "master")
        self._keys(self.folder / "key", "minion")

    def configure_minion(self, identity, like=None):
        """
        Write a minion's configuration, and let it in. All have the same key: to make one takes a second.

        like
            The id of another one, whose modules it has already.
        """
        template = environment.CONF / "fleet-minion.d/50-rick-infra.conf"
        text = render(template, id=identity, master=ADDRESS, master_finger=self.finger)
        # The catalogue refuses releases that were not tried.
        own = {"master_port": self.answer_port, "grains": {"oscodename": "trixie"}}
        place = self._configure(identity, "minion", text, own)
        pki, accepted = place / "pki/minion", self.folder / "m/pki/master/minions"
        for folder in (pki, accepted):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("minion.pem", "minion.pub"):
            shutil.copy(self.folder / "key" / name, pki / name)
        shutil.copy(self.folder / "key/minion.pub", accepted / identity)
        if like:
            shutil.copytree(self.folder / like / "cache", place / "cache", ignore=shutil.ignore_patterns("proc"))

    def start_master(self):
        """Start the master; ``wait_for_master`` says when it answers."""
        self.master = self._start("m", "salt-master")

    def stop_master(self):
        """End the master alone."""
        end(self.master)
        self.master = None

    def start_minion(self, identity):
        """Start a minion that was configured."""
        self.minions[identity] = self._start(identity, "salt-minion")

    def stop(self):
        """End all daemons."""
        for process in [*self.minions.values(), *([self.master] if self.master else [])]:
            process.terminate()
        for process in [*self.minions.values(), *([self.master] if self.master else [])]:
            end(process)

    def wait_for_master(self, patience):
        """Return as soon as the master takes a job. Raises Failure if it does not within ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while not self._takes_jobs():
            if self.master.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "m/output").read_text(errors="replace")[-2000:]
                raise Failure(f"the master does not answer; it said last:\n{said}")
            time.sleep(INTERVAL)

    def wait_for_answers(self, ids, patience):
        """Return as soon as all of some minions have answered once. Raises Failure."""
        from salt.exceptions import SaltException

        waiting, deadline = set(ids), time.monotonic() + patience
        while waiting:
            # A master that many log in to at once takes no jobs for a while.
            with contextlib.suppress(SaltException):
                answers = self._client().cmd(sorted(waiting), "test.ping", tgt_type="list", timeout=5)
                waiting -= {one for one, answer in answers.items() if answer is True}
            if waiting and time.monotonic() > deadline:
                raise Failure(f"no answer from {len(waiting)} minions, {min(waiting)} among them")

    def ask(self, ids, function, patience, keywords=None, batch=None):
        """
        Have minions call a function; return what that took, and their answers.

        ``{"seconds", "master", "minions"}``: until the last one has answered, and CPU seconds of the master and of all
        minions together. Raises Failure if one does not answer within ``patience`` seconds.
        """
        client = self._client()
        used = self.master_cpu(), self.minions_cpu()
        began = time.monotonic()
        if batch:
            parts = client.cmd_batch(ids, function, kwarg=keywords, tgt_type="list", batch=batch, timeout=patience)
            answers = {one: answer for part in parts for one, answer in part.items()}
        else:
            answers = client.cmd(ids, function, kwarg=keywords, tgt_type="list", timeout=patience)
        seconds = time.monotonic() - began
        if len(answers) != len(ids):
            raise Failure(f"{function}: {len(answers)} of {len(ids)} minions answered")
        took = {
            "seconds": seconds,
            "master": self.master_cpu() - used[0],
            "minions": self.minions_cpu() - used[1],
            "bytes": len(json.dumps(answers, default=str)) // len(ids),
        }
        return took, answers

    def master_cpu(self):
        """Return the CPU seconds of the master's processes so far."""
        return cpu([self.master.pid, *descendants(parents(), self.master.pid)])

    def minions_cpu(self):
        """Return the CPU seconds of all minions so far."""
        known = parents()
        return sum(cpu([one.pid, *descendants(known, one.pid)]) for one in self.minions.values())

    def memory(self):
        """Return MiB of the master and of each minion, and the most files that a process of the master has open."""
        known = parents()
        family = [self.master.pid, *descendants(known, self.master.pid)]
        return {
            "master": memory(family),
            "processes": len(family),
            "descriptors": max(descriptors(pid) for pid in family),
            "minions": [memory([one.pid, *descendants(known, one.pid)]) for one in self.minions.values()],
        }

    def _client(self):
        import salt.client  # the command starts without it

        # The key by which the master knows a client is made when it starts.
        return salt.client.LocalClient(str(self.folder / "m/etc/master"))

    def _takes_jobs(self):
        from salt.exceptions import SaltException

        try:
            socket.create_connection((ADDRESS, self.answer_port), timeout=1).close()
            with contextlib.redirect_stderr(io.StringIO()):  # it tells people that it asks nobody
                self._client().cmd(["nobody"], "test.ping", tgt_type="list", timeout=1)
        except (OSError, SaltException):
            return False
        return True

    def _configure(self, name, role, text, own):
        place = self.folder / name
        drop_in = place / "etc" / f"{role}.d"
        for part in (drop_in, place / "upper", place / "work"):
            part.mkdir(mode=0o700, parents=True)
        places = {"root_dir": str(place), "pki_dir": f"pki/{role}", "cachedir": "cache", "sock_dir": "run"}
        places |= {"log_file": "log", "pidfile": "pid", "extension_modules": f"{place}/cache/extmods"}
        (place / "etc" / role).write_text(f"default_include: {role}.d/*.conf\n")
        (drop_in / "50-rick-infra.conf").write_text(text)
        (drop_in / "60-benchmark.conf").write_text(json.dumps(places | own))
        return place

    def _keys(self, folder, name):
        folder.mkdir(mode=0o700, parents=True)
        return run(self.python, "-c", KEYS, folder, name, KEY_BITS).strip()

    def _start(self, name, program):
        place = self.folder / name
        apart = ("unshare", "--mount", "--propagation=private", "sh", "-e", "-c", ALONE, "sh", place, self.folder)
        daemon = (self.python, self.python.parent / program, "-c", place / "etc")
        # The tree is read-only for them, and a server has its bytecode.
        settings = environment.clean_environment() | {"PYTHONPYCACHEPREFIX": str(self.folder / "bytecode")}
        settings.pop("PYTHONDONTWRITEBYTECODE", None)
        with (place / "output").open("ab") as output:
            return subprocess.Popen(
                [str(word) for word in (*apart, *daemon)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=settings,
                start_new_session=True,
            )


def run(*command):
    """Return what a command prints. Raises Failure with its complaints if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{words[1]} failed: {done.stderr[-2000:] or done.stdout[-2000:]}")
    return done.stdout


def free_ports(count):
    """Return ports of the loopback address that nobody listens on."""
    with contextlib.ExitStack() as close:
        found = [close.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind((ADDRESS, 0))
        return [one.getsockname()[1] for one in found]


def end(process):
    """End a daemon and, if it does not end by itself, its processes by their ids."""
    family = {process.pid, *descendants(parents(), process.pid)}
    process.terminate()
    deadline = time.monotonic() + TO_END
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(INTERVAL)
    for pid in family & parents().keys():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def parents():
    """Return the parent of each process, ``{pid: ppid}``; also of those that have ended and were not collected yet."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                found[int(folder.name)] = int(stat(folder.name)[1])
    return found


def descendants(known, pid):
    """Return the ids of a process' children, their children and so on, of what ``parents`` returned."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        children = [child for child, parent in known.items() if parent == one]
        found += children
        waiting += children
    return found


def stat(pid):
    """Return the fields of a process' state, from the one that says whether it runs."""
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()


def cpu(family):
    """Return the CPU seconds that processes have used so far, with those of their children that have ended."""
    total = 0
    for pid in family:
        with contextlib.suppress(OSError):
            total += sum(int(field) for field in stat(pid)[11:15])
    return total / TICKS


def memory(family):
    """Return the MiB that processes take; what they share with others is counted to each in part (PSS)."""
    total = 0
    for pid in family:
        with contextlib.suppress(OSError):
            rollup = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def descriptors(pid):
    """Return how many file descriptors a process has open."""
    with contextlib.suppress(OSError):
        return sum(1 for _ in (Path("/proc") / str(pid) / "fd").iterdir())
    return 0
