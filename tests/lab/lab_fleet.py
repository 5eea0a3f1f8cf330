"""
A fleet of lab machines: a master, two cells and an edge, of both releases of Debian.

The ids of the hosts are not the names of their machines, so that several test processes can each have a fleet.
"""

import concurrent.futures
import datetime
import json
import re
import subprocess

from machine import LAB, TREE, eventually, lab, own
from salt.exceptions import CommandExecutionError
from visitor import Visitor

BOOTSTRAP = "/srv/rick-infra/bin/bootstrap"
ENROLL = "/srv/rick-infra/bin/enroll"
ORCHESTRATE_TIMEOUT = 1800  # seconds
COMMAND = re.compile(r"echo (\S+) \| sudo bin/bootstrap (.* --id (\S+) .*)")
# cell2 is of the next release, and behind the edge; users log in on cell1, which shows its sites itself.
FLEET = "cells: ['cell*']\nedges: {'edge*': [cell2]}\nsso: cell1\n"
HOSTS = {"cell1": "trixie", "cell2": "forky", "edge1": "trixie"}
PEOPLE = TREE / "examples/demo/people.yaml"
UNITS = ("*-pod.service", "postgresql@*-main.service", "valkey-server.service", "caddy.service")
TIMES = {"ExecMainStartTimestamp": "begun", "ActiveEnterTimestamp": "up"}


class Fleet:
    """The master's machine, and those of its hosts by their ids."""

    def __init__(self, start):
        self.start, self.hosts, self.authorities = start, {}, {}
        self.master = start(own("t-fl-m"), "trixie")
        self.master.run(BOOTSTRAP, "--master")
        self.write("fleet.yaml", FLEET)

    def address(self, machine):
        return next(line.split()[-1] for line in lab("list").stdout.splitlines() if line.split()[0] == machine.name)

    def write(self, name, text):
        """Write a file of the site, on the master."""
        self.master.write(f"/etc/rick-infra/{name}", text)

    def declare(self, name, cells, **entry):
        """Write an entry; JSON is YAML."""
        self.write(f"services/{name}.yaml", json.dumps({**entry, "cells": cells}))

    def add(self, suites):
        """Bring hosts in, each with a token, all at once."""
        names = {host: own(f"t-fl-{host[0]}{host[-1]}") for host in suites}
        with concurrent.futures.ThreadPoolExecutor() as together:
            made = dict(
                zip(suites, together.map(lambda host: self.start(names[host], suites[host]), suites), strict=True)
            )
        self.hosts.update(made)
        self.enroll(*suites)

    def enroll(self, *ids, replace=False):
        """Let hosts in with tokens, as an administrator does."""
        command = [ENROLL, "--address", self.address(self.master), *(["--replace"] if replace else []), *ids]
        process = subprocess.Popen(
            [LAB, "exec", self.master.name, "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        try:
            said = ""
            while not said.endswith("Ctrl-C makes the tokens void\n"):
                line = process.stdout.readline()
                assert line, f"bin/enroll ended: {said}"
                said += line
            commands = {host: (token, words.split()) for token, words, host in COMMAND.findall(said)}
            assert set(commands) == set(ids)

            def join(host):
                token, words = commands[host]
                self.hosts[host].run(BOOTSTRAP, *words, text=f"{token}\n")

            with concurrent.futures.ThreadPoolExecutor() as together:
                list(together.map(join, ids))
            assert process.wait(60) == 0
        finally:
            process.terminate()
            process.communicate()
        for host in ids:
            eventually(lambda host=host: self.salt(host, "test.ping", timeout=5) is True, 120, f"{host} answers")

    def salt(self, host, function, *arguments, timeout=60):
        """What a host answers to its master, None if it does not."""
        done = self.master.run(
            *("salt", "--out=json", "--static", "--log-level=error", f"--timeout={timeout}", host),
            *(function, *arguments),
            check=False,
        )
        return json.loads(done.stdout or "{}").get(host)

    def orchestrate(self, name, **pillar):
        """A roll-out: its exit code, and what it printed."""
        return self.master.run(*self.command(name, **pillar), check=False, timeout=ORCHESTRATE_TIMEOUT)

    def command(self, name, **pillar):
        words = ["salt-run", "state.orchestrate", f"orch.{name}"]
        return [*words, f"pillar={json.dumps(pillar)}"] if pillar else words

    def begin(self, name, **pillar):
        """Start a roll-out and return at once."""
        return self.master.popen(*self.command(name, **pillar))

    def deploy(self, **pillar):
        """Roll out, and insist on success."""
        done = self.orchestrate("deploy", **pillar)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def last(self):
        """The record of the last roll-out."""
        record = self.master.sh("ls -t /var/lib/rick-infra/rollouts/*.json | head -n 1")
        return json.loads(self.master.sh(f"cat {record}"))

    def highstate(self, host):
        """States of a highstate by their ids, asked for by the master."""
        states = self.salt(host, "state.highstate", "queue=100", timeout=300)
        assert isinstance(states, dict), states
        return {one["__id__"]: one for one in states.values()}

    def moments(self, cell):
        """When its pods and its infrastructure were started and were up, ``{unit: {"begun", "up"}}``, since 1970."""
        asked = ["systemctl", "show", "--timestamp=us+utc", "--property=Id", *(f"--property={one}" for one in TIMES)]
        found = {}
        for block in self.hosts[cell].run(*asked, *UNITS).stdout.strip().split("\n\n"):
            told = dict(line.split("=", 1) for line in block.splitlines())
            found[told["Id"]] = {
                name: datetime.datetime.strptime(told[key], "%a %Y-%m-%d %H:%M:%S.%f %Z")
                .replace(tzinfo=datetime.UTC)
                .timestamp()
                for key, name in TIMES.items()
            }
        return found

    def ask(self, host, url):
        """What a page answers to somebody who asks one of the hosts for it; None if nobody does."""
        if host not in self.authorities:
            self.authorities[host] = self.hosts[host].salt("caddy.root_certificate")
        machine = self.hosts[host]
        try:
            return Visitor([self.authorities[host]], (self.address(machine), 443), 30).ask(url)
        except CommandExecutionError:
            return None

    def answer(self, done):
        """What a runner returned, with ``--out=json``."""
        return json.loads(done.stdout)


class Everywhere(Visitor):
    """Somebody who asks for each site where it is shown: those in ``shown`` at the edge, all others at cell1."""

    def __init__(self, fleet, shown=("board.example.test",)):
        self.fleet, self.shown = fleet, shown
        self.places = {host: (fleet.address(fleet.hosts[host]), 443) for host in ("cell1", "edge1")}
        trusted = [fleet.hosts[host].salt("caddy.root_certificate") for host in self.places]
        super().__init__(trusted, self.places["edge1"], 30)

    def ask(self, url, **options):
        self._address = self.places["edge1" if url.split("/")[2] in self.shown else "cell1"]
        return super().ask(url, **options)
