"""
The host that a benchmark measures: this one, or a lab machine in which the benchmark is started anew.

Standard library only: this runs on a host that has nothing but Debian's python3.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from console import Failure, step

TREE = Path(__file__).resolve().parent.parent
LAB = TREE / "bin/lab"
INSIDE = Path("/srv/rick-infra")  # where a lab machine shows the tree
MACHINE = "bench"


def add_arguments(parser):
    """Add the options that say which host is measured."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--machine", metavar="NAME", help="a converged lab machine that is up, instead of one of its own"
    )
    where.add_argument("--here", action="store_true", help="this host itself, which must be converged")
    where.add_argument("--suite", default="trixie", help="Debian release of the machine that is made (default: trixie)")


def in_a_machine(script, arguments, options):
    """
    Run a benchmark inside a lab machine with ``--here``, and return its exit code.

    script
        Path of the benchmark in this tree.

    arguments
        What it is given besides ``--here``.

    options
        As parsed: ``machine``, a converged one that is up; without, one of ``suite`` is made and deleted afterwards.

    Raises Failure if there is no such machine, or none can be made.
    """
    command = [str(INSIDE / script.relative_to(TREE)), "--here", *arguments]
    if options.machine:
        check_tree(options.machine)
        return inside(options.machine, *command)
    # With a suite, bin/lab refuses to take a machine that somebody else made.
    lab("up", MACHINE, f"--suite={options.suite}")
    try:
        if inside(MACHINE, str(INSIDE / "bin/bootstrap"), stdout=sys.stderr) != 0:
            raise Failure(f"bin/bootstrap failed in the machine {MACHINE}; what it said is above")
        return inside(MACHINE, *command)
    finally:
        lab("down", MACHINE)


def check_tree(machine):
    """Refuse a machine that shows another tree: what is measured would not be this one."""
    own = TREE.stat()
    if output(machine, "stat", "--format=%d:%i", INSIDE).strip() != f"{own.st_dev}:{own.st_ino}":
        raise Failure(f"the machine {machine} is not one that shows {TREE} (sudo bin/lab list)")


def is_up(machine):
    """Return whether there is a lab machine of that name that is up."""
    listing = subprocess.run([str(LAB), "list"], capture_output=True, text=True, check=True).stdout
    return [machine, "up"] in [line.split()[:2] for line in listing.splitlines()]


def lab(*arguments):
    """Run bin/lab, which says itself what it does and what goes wrong."""
    # Standard output is for results alone.
    done = subprocess.run([str(LAB), *arguments], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise Failure(f"bin/lab {arguments[0]} ended with exit code {done.returncode}; what it said is above")


def inside(machine, *command, stdout=None):
    """Run a command in a machine and return its exit code; its streams are ours."""
    whole = [str(LAB), "exec", machine, "--", *command]
    return subprocess.run(whole, stdin=subprocess.DEVNULL, stdout=stdout, check=False).returncode


def output(machine, *command, given=None):
    """
    Run a command in a machine and return what it prints. It reads the text ``given``, if there is any.

    Raises Failure if it fails; what it complained about has been shown.
    """
    whole = [str(LAB), "exec", machine, "--", *map(str, command)]
    source = {"input": given} if given is not None else {"stdin": subprocess.DEVNULL}
    done = subprocess.run(whole, stdout=subprocess.PIPE, text=True, check=False, **source)
    if done.returncode != 0:
        raise Failure(f"{command[0]} failed in the machine {machine}; what it said is above")
    return done.stdout


def end_in_order():
    """Have the signals that end a process raise, so that what was begun is undone."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


def check_user():
    """Refuse to start without the rights that are needed, before anything was done."""
    if os.geteuid() != 0:
        raise Failure("must run as root, with sudo")


def salt(function, *arguments):
    """
    Call an execution function on this host and return its answer, whatever it says about success.

    Raises Failure if the host has no Salt, or Salt does not answer.
    """
    if not shutil.which("salt-call"):
        raise Failure("this host is not converged (no salt-call): sudo bin/bootstrap")
    done = subprocess.run(
        ["salt-call", "--out=json", "--log-level=error", function, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout.lstrip().startswith("{"):
        raise Failure(f"salt-call {function}: {(done.stderr or done.stdout).strip() or 'no answer'}")
    return json.loads(done.stdout)["local"]


def state(function, name, **arguments):
    """
    Apply one state function by itself.

    Raises Failure with the state's comment if it failed.
    """
    words = [f"{key}={json.dumps(value)}" for key, value in arguments.items()]
    with step(f"{function} {name}"):
        answer = salt("state.single", function, f"name={name}", *words)
    if not isinstance(answer, dict):
        raise Failure(f"{function} {name}: {answer}")
    for result in answer.values():
        if result["result"] is not True:
            raise Failure(f"{function} {name}: {result['comment']}")
