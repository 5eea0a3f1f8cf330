"""
The firewall between pods and other hosts: whether the kernel has the rules that are declared.

Anybody may replace the rules of a host, ``nft flush ruleset`` takes those of
everybody. What counts is what the kernel has now, not that a unit once loaded it.
"""

import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError

UNIT = "rick-infra-pod-firewall.service"
FLUSHES = "nftables.service"  # a drop-in of it has ours loaded again
RULES = "/etc/rick-infra/pod-firewall.nft"
TABLE = "table inet rick_infra"
PODMAN_TABLE = "table inet netavark"
INTERFACES = Path("/sys/class/net")
TIMEOUT = 30  # seconds; nft answers in some ms


def problems(rules=RULES):
    """
    Return what is wrong with the firewall between pods and other hosts, a list of sentences; empty if it stands.

    rules
        The file that says how it must be, with one table. While a network of Podman is up, Podman's own rules, which
        part pods from each other and lead published ports to them, must be there, too.

    Raises CommandExecutionError if nft cannot be run.

    CLI Example:

    .. code-block:: bash

        salt-call pod_firewall.problems
    """
    try:
        declared = Path(rules).read_text()
    except FileNotFoundError:
        return [f"{rules} is missing"]
    tables = _nft("list", "tables").splitlines()
    wrong = []
    if TABLE not in tables:
        wrong.append(f"nft has no {TABLE}: pods answer every host that has a route to them")
    # A file that declares the table in the form in which it is listed ends with the listing.
    elif not declared.endswith(_nft("--stateless", "list", *TABLE.split())):
        wrong.append(f"nft list {TABLE} shows other rules than {rules}")
    if PODMAN_TABLE not in tables and any(INTERFACES.glob("podman*")):
        wrong.append(f"nft has no {PODMAN_TABLE}: published ports lead nowhere")
    units = __salt__["daemon.status"]([UNIT, FLUSHES])
    if not units[UNIT]["enabled"]:
        wrong.append(f"{UNIT} does not start at boot")
    wrong += [f"{unit} changed since systemd read it" for unit, about in units.items() if about["stale_unit"]]
    return wrong


def load():
    """
    Load the rules now and at each boot, and let Podman load its own again.

    Raises CommandExecutionError with systemd's words if that fails.

    CLI Example:

    .. code-block:: bash

        salt-call pod_firewall.load
    """
    __utils__["units.daemon_reload"]()
    __utils__["units.act"]("enable", [UNIT])
    # One that is not active is started.
    __utils__["units.act"]("reload-or-restart", [UNIT])


def _nft(*words):
    try:
        done = subprocess.run(["/usr/sbin/nft", *words], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"nft cannot be run: {error}") from error
    if done.returncode:
        raise CommandExecutionError(f"nft {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
