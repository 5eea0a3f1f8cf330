"""
bin/demo --fleet: a master, two cells and an edge, from four bare machines to a login over all of them.

Standard library only, as all of bin.
"""

import ssl
import subprocess
import threading
import time

from browse import HTTPS
from console import STARTED, Failure, say
from demo_machine import INSIDE, TREE, Machine, chapter
from demo_sites import BOARD, DIARY, DOMAINS, ENTRIES, ITEMS, PASSWORDS, PILLAR, SITE, SSO, people, visits

FLEET = TREE / "examples/demo/fleet.yaml"
MASTER, EDGE = "master", "edge1"
# Which cell runs what. Users log in on the first one.
CELLS = {"cell1": ("notes", "queue"), "cell2": ("board", "diary", "hello", "items")}
HOSTS = (*CELLS, EDGE)
# The folders of examples/build that make the images of each cell.
IMAGES = {"cell1": ("notes", "queue"), "cell2": ("forward-auth-app", "oidc-app", "hello", "api-service")}
WAY_OUT = "sudo bin/demo --fleet --fresh"


def show(pillar, double, fresh):
    """Show a fleet; ``pillar`` are the site's settings, ``double`` whether Authentik is a test double."""
    machines = {name: Machine(name, WAY_OUT) for name in (MASTER, *HOSTS)}
    master, sso = machines[MASTER], machines[next(iter(CELLS))]
    if fresh:
        chapter("delete the machines")
        for machine in machines.values():
            machine.delete()
    chapter("four bare Debian machines")
    addresses = {name: machine.up() for name, machine in machines.items()}
    chapter("a master: bin/bootstrap --master")
    master.inside(str(INSIDE / "bin/bootstrap"), "--master")
    chapter("its hosts, each with a token that works once: bin/enroll, and bin/bootstrap --minion on each")
    enroll(machines, addresses[MASTER])
    chapter("what this fleet wants: which host is what, and one file for each service")
    declare(master, pillar)
    chapter("the images, on the cells that run them")
    build(machines, sso, double)
    chapter("roll out: salt-run state.orchestrate orch.deploy")
    master.inside("salt-run", "state.orchestrate", "orch.deploy")
    chapter("two people: alice may use what asks for a login, bob nothing of it")
    people(sso)
    chapter("the sites, as a browser on this host sees them at the edge")
    authority = machines[EDGE].root_certificate()
    visits(addresses[EDGE], ssl.create_default_context(cafile=str(authority)), sso)
    chapter("nothing is left to do: salt '*' state.highstate")
    master.inside("salt", "--state-output=changes", "--timeout=60", "*", "state.highstate")
    say(farewell(addresses[EDGE], authority))


def enroll(machines, address):
    """Let in the hosts that the master does not know yet, and bring the others up to date."""
    known = machines[MASTER].run(str(INSIDE / "bin/enroll"), "--list", stdout=subprocess.PIPE).stdout.splitlines()
    accepted = {line.split()[0] for line in known if line.split()[1] == "accepted"}
    new = [name for name in HOSTS if name not in accepted]
    at_once([lambda name=name: join(machines[name], address) for name in HOSTS if name in accepted])
    if not new:
        return
    command = machines[MASTER].command(str(INSIDE / "bin/enroll"), "--address", address, *new)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as desk:
        try:
            tokens = {}
            while len(tokens) < len(new):
                line = desk.stdout.readline()
                if not line:
                    raise Failure("bin/enroll has ended; what it said is above")
                say(line.rstrip().replace(line.split()[1], "TOKEN") if line.startswith("  echo ") else line.rstrip())
                if line.startswith("  echo "):
                    words = line.split()
                    tokens[words[words.index("--id") + 1]] = words[1]
            at_once([lambda name=name: join(machines[name], address, tokens[name]) for name in new])
        except BaseException:
            desk.terminate()
            raise
        for line in desk.stdout:
            say(line.rstrip())
    if desk.returncode != 0:
        raise Failure("not all hosts are enrolled; what bin/enroll said is above")


def join(machine, address, token=None):
    """Make a machine a minion. The token goes where the list of processes does not show it; a minion needs none."""
    options = ["--minion", address, "--id", machine.name, *(["--token", "-"] if token else [])]
    machine.inside(str(INSIDE / "bin/bootstrap"), *options, text=f"{token or ''}\n")


def at_once(tasks):
    """Do several things side by side, and raise the first failure of them."""
    failures = []

    def attempt(task):
        try:
            task()
        except (Failure, OSError, subprocess.SubprocessError) as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def declare(master, pillar):
    """Write what the administrator of a fleet writes."""
    master.inside("mkdir", "--parents", f"{SITE}/pillar", f"{SITE}/services")
    master.write(f"{SITE}/pillar/{PILLAR.name}", pillar)
    master.write(f"{SITE}/fleet.yaml", FLEET.read_text())
    say(f"{SITE}/fleet.yaml\n" + "\n".join(f"    {line}" for line in FLEET.read_text().splitlines()))
    for cell, services in CELLS.items():
        for name in services:
            master.write(f"{SITE}/services/{name}.yaml", f"{(ENTRIES / f'{name}.yaml').read_text()}cells: {cell}\n")
            say(f"{SITE}/services/{name}.yaml, with cells: {cell}")


def build(machines, sso, double):
    """Make the images where they are needed, on both cells at once."""

    def images(cell):
        machines[cell].inside(str(INSIDE / "examples/build"), *IMAGES[cell])
        if machines[cell] is sso and double:
            say("a TEST DOUBLE of Authentik, which guards nothing (the real one: --authentik-image)")
            sso.inside(str(INSIDE / "tests/doubles/authentik/build"))

    at_once([lambda cell=cell: images(cell) for cell in CELLS])


def farewell(address, authority):
    """Return what to tell the user at the end."""
    sites = "\n".join(
        f"  curl --resolve {domain}:{HTTPS}:{address} --cacert {authority} https://{domain}/" for domain in DOMAINS
    )
    return f"""
The fleet is up, after {time.monotonic() - STARTED:.0f} s. All sites are at the edge

{sites}

or with a browser: add this line to /etc/hosts, and {authority}
to the authorities that the browser trusts (or accept its warning).

  {address}  {" ".join([*DOMAINS, BOARD, DIARY, ITEMS, SSO])}

https://{BOARD}/ and https://{DIARY}/ run on cell2, and users log in on cell1. alice has the password
{PASSWORDS["alice"]}, bob, who is let in nowhere, {PASSWORDS["bob"]}.

Go on with
  sudo bin/lab exec {MASTER} -- salt-run fleet.status                        hosts, roles, services
  sudo bin/lab exec {MASTER} -- salt '*' verify.host                         each door of each host tried now
  sudo bin/lab exec {MASTER} -- salt-run state.orchestrate orch.deploy       the whole roll-out again
  sudo bin/lab exec {MASTER} -- salt-run state.orchestrate orch.drain pillar='{{"cell": "cell2"}}'
  sudo bin/lab kill cell2                                               and see what the roll-out says then
  for name in {" ".join((MASTER, *HOSTS))}; do sudo bin/lab down $name; done"""
