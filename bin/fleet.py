"""
Salt's daemons on this host: the master of a fleet, or a minion of one. What bin/bootstrap --master and --minion do.

Debian has no Salt, so the units are ours too. A daemon is restarted if what it was started from is older than what lies
there now, whoever changed it, and also if an earlier run was ended in between.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import enrollment
import environment
from console import Failure, say, step
from files import differs, leads_to, make_site, point, render, write

TREE = Path(__file__).resolve().parent.parent
SALT = Path("/opt/rick-infra/salt")  # a link to the environment in use, exchanged once the next one is whole
COMMANDS = Path("/usr/local/bin")
MASTER = Path("/etc/salt/master.d/50-rick-infra.conf")
MASTER_PKI = Path("/etc/salt/pki/master")
MINION = Path("/etc/salt/minion.d/50-rick-infra.conf")
MINION_PKI = Path("/etc/salt/pki/minion")
MINION_MODULES = Path("/var/cache/salt/minion/extmods")
UNITS = Path("/etc/systemd/system")
SITE = Path("/etc/rick-infra")
MASTER_COMMANDS = ("salt", "salt-call", "salt-key", "salt-run", "salt-ssh")
MINION_COMMANDS = ("salt-call",)
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
SETTING = re.compile(r"^(id|master|master_finger): '((?:[^']|'')*)'$", re.MULTILINE)
# 128 bits of strength (NIST SP 800-57). Each job in which the host asks its master proves the key anew: 0.13 s
# of its processor; 4096 bits take 0.33 s (docs/benchmarks/fleet.md).
KEY_BITS = 3072
ANSWER = 90  # seconds for the master to answer a minion that is new
# What Salt says of a master_finger that is not the master's. It compares only once the master has accepted this host.
ANOTHER_KEY = "Does not match the authenticating master's key"

MAKE_KEY = """\
import sys
import salt.crypt
salt.crypt.write_keys(sys.argv[1], "minion", int(sys.argv[2]), "root")
"""
READ_CONFIGURATION = """\
import json
import salt.config
options = salt.config.minion_config("/etc/salt/minion")
print(json.dumps({name: options.get(name) for name in ("id", "master", "master_finger", "file_client")}))
"""


def master_address(text):
    """Return a master's address as Salt can use it, for argparse."""
    if ":" in text:
        raise argparse.ArgumentTypeError(
            f"{text!r}: a name or an IPv4 address; the master listens on IPv4, at 4505 and 4506"
        )
    if not HOST_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither the name nor the IPv4 address of a master")
    return text


def master_of_this_host():
    """Return ``id``, ``master`` and ``master_finger`` of this host's configuration; empty if it has no master."""
    text = MINION.read_text() if MINION.exists() else ""
    found = {name: value.replace("''", "'") for name, value in SETTING.findall(text)}
    return found if set(found) == {"id", "master", "master_finger"} else {}


# --- the master -------------------------------------------------------------------------------------------------------


def master_files():
    """Return what a master's files hold, by path."""
    return {
        MASTER: render(environment.CONF / "master.d" / MASTER.name, tree=TREE),
        UNITS / "salt-master.service": (environment.CONF / "systemd/salt-master.service").read_text(),
    }


def make_master():
    """Make this host the master of a fleet, and say how its hosts come to it."""
    make_site(SITE)
    keep_key()
    install(master_files(), MASTER_COMMANDS)
    run_daemon("salt-master", MASTER)
    say(f"this host is a master; its key has the fingerprint\n  {enrollment.fingerprint(master_key())}")
    if MINION.exists() and not master_of_this_host():
        say(
            "It applies the tree by itself, as before, with the same /etc/rick-infra. To have the master do that:\n"
            "  sudo bin/bootstrap --minion localhost"
        )
    say("Next, for each host that belongs to it:\n  sudo bin/enroll ID")


def keep_key():
    """Give a key that an earlier master made under its host's name the name that it has with our configuration."""
    for name, mode in (("master.pem", 0o400), ("master.pub", 0o644)):
        path = MASTER_PKI / name
        if path.is_symlink():
            new = path.with_name(f".{name}.new")
            new.touch(mode=mode)
            new.write_text(path.read_text())
            new.replace(path)


def master_key():
    """Return the public key of the master on this host."""
    return (MASTER_PKI / "master.pub").read_text()


# --- a minion ---------------------------------------------------------------------------------------------------------


def minion_files(identity, master, finger):
    """Return what a minion's files hold, by path."""
    template = environment.CONF / "fleet-minion.d" / MINION.name
    return {
        MINION: render(template, id=identity, master=master, master_finger=finger),
        UNITS / "salt-minion.service": (environment.CONF / "systemd/salt-minion.service").read_text(),
    }


def check_minion(options):
    """Raise Failure if the master cannot be known, before anything is changed."""
    present = master_of_this_host()
    if present and present["master"] != options.minion and not options.adopt:
        raise Failure(
            f"nothing was changed, because this host is a minion of {present['master']} already.\n"
            f"If {options.minion} is to be its master from now on: the same with --adopt"
        )
    if options.token or options.master_fingerprint or is_this_host(options.minion):
        return
    if present.get("master") != options.minion or options.id not in (None, present["id"]):
        raise Failure(
            f"nothing was changed, because nothing tells that {options.minion} is the right master.\n"
            "On the master, sudo bin/enroll ID prints a command with a token. Without one, the fingerprint that\n"
            "sudo bin/bootstrap --master has printed there will do: --master-fingerprint FP"
        )


def make_minion(options, token):
    """Make this host a minion of ``options.minion``. ``token`` is what bin/enroll made for it, or None."""
    before = MINION.read_text() if MINION.exists() else ""
    present = master_of_this_host()
    identity = options.id or present.get("id") or default_identity()
    key, is_new = minion_key()
    if token:
        with step(f"ask {options.minion} to enroll {identity}"):
            pinned = ask(options, identity, key, token)
        finger = enrollment.fingerprint(pinned)
        say(f"{options.minion} has proved that it is the master, and accepted the key of {identity}")
    elif options.master_fingerprint:
        finger = options.master_fingerprint
    elif is_this_host(options.minion):
        finger = enrollment.fingerprint(master_key())
    else:
        finger = present["master_finger"]
    forget_other_master(finger)
    install(minion_files(identity, options.minion, finger), MINION_COMMANDS)
    check_effective({"id": identity, "master": options.minion, "master_finger": finger, "file_client": "remote"})
    if before and not present:
        say_what_became_of_entries(options.minion)
    run_daemon("salt-minion", MINION, restart=bool(token) or is_new)
    if token:
        log_in(options.minion)
    elif is_new or present.get("master_finger") != finger or call_master().returncode != 0:
        say(
            f"this host is {identity}, and asks {options.minion} to be let in. On the master:\n"
            f"  sudo bin/enroll {identity} --fingerprint {enrollment.fingerprint(key)}"
        )
        return
    say(f"this host is {identity}, a minion of {options.minion}")


def plan_minion(options):
    """Say what would be installed, as far as it is known before this host and its master have met."""
    present = master_of_this_host()
    finger = options.master_fingerprint or present.get("master_finger", "")
    identity = options.id or present.get("id", "")
    plan(minion_files(identity, options.minion, finger), MINION_COMMANDS, "salt-minion")


def is_this_host(address):
    """Return whether the master at ``address`` is on this host, so that root can see its key."""
    if not (MASTER.exists() and (MASTER_PKI / "master.pub").exists()):
        return False
    try:
        (found,) = {entry[4][0] for entry in socket.getaddrinfo(address, None, socket.AF_INET)}
    except (OSError, ValueError):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((found, 0))  # only what is an address of this host can be bound to
        except OSError:
            return False
    return True


def default_identity():
    """Return the id that Salt would take by itself: configured, remembered, or the host's name."""
    found = effective()["id"]
    if not enrollment.ID.fullmatch(found) or found == "localhost":
        raise Failure(f"this host's name, {found!r}, cannot be its id: say another one, --id ID ({enrollment.ID_RULE})")
    return found


def effective():
    """Return what Salt makes of all configuration files of the minion together."""
    done = run(SALT / "bin/python", "-c", READ_CONFIGURATION)
    return json.loads(done.stdout)


def check_effective(wanted):
    """Raise Failure if another file of the minion's configuration says something else than ours."""
    found = effective()
    others = [f"{name}: {found[name]!r} instead of {value!r}" for name, value in wanted.items() if found[name] != value]
    if others:
        raise Failure(
            f"another file in {MINION.parent}, read after {MINION.name}, has its own\n  "
            + "\n  ".join(others)
            + "\ntake these lines out there, and run this again"
        )


def minion_key():
    """Return this host's public key, and whether it was made now. It is there before Salt would make one."""
    public, private = MINION_PKI / "minion.pub", MINION_PKI / "minion.pem"
    if public.exists() and private.exists():
        return public.read_text(), False
    MINION_PKI.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=MINION_PKI) as folder, step("make this host's key"):
        run(SALT / "bin/python", "-c", MAKE_KEY, folder, str(KEY_BITS))
        # The public one last: without it, both are made again.
        for path in (private, public):
            (Path(folder) / path.name).replace(path)
    return public.read_text(), True


def ask(options, identity, key, token):
    """Return the key of the master that has accepted ours."""
    try:
        return enrollment.join((options.minion, options.port), identity, key, token)
    except enrollment.Refused as refusal:
        raise Failure(f"{options.minion}: {refusal}") from refusal
    except OSError as error:
        raise Failure(
            f"{options.minion} does not answer on port {options.port} ({error}): does bin/enroll wait there, and does"
            " no firewall keep this host away?"
        ) from error


def read_token(source):
    """Return the token from a file, or from standard input if ``source`` is ``-``."""
    if source != "-" and not Path(source).is_file():
        raise Failure(
            "--token takes a file, or - for standard input, not the token itself: arguments are shown to all users of a"
            " host. echo TOKEN | sudo bin/bootstrap --minion MASTER --id ID --token -"
        )
    token = (sys.stdin.readline() if source == "-" else Path(source).read_text()).strip()
    if not enrollment.TOKEN.fullmatch(token):
        raise Failure("what came by --token is no token: those of bin/enroll have 43 characters")
    return token


def forget_other_master(finger):
    """Take away the key of another master, or Salt would stay with it."""
    known = MINION_PKI / "minion_master.pub"
    if known.exists() and enrollment.fingerprint(known.read_text()) != finger:
        known.unlink()


def say_what_became_of_entries(master):
    """Say what the change from a host by itself to one of a fleet means for what was declared here."""
    if is_this_host(master):
        say(
            "This host has applied the tree by itself; from now on its master does, with the same /etc/rick-infra.\n"
            "Each service there needs its cells now, and fleet.yaml says that this host is one."
        )
        return
    say(
        f"This host has applied the tree by itself; from now on {master} says what it must be. Its own services and\n"
        "settings in /etc/rick-infra are kept, but read no more: the master has its own. What runs here runs on until\n"
        f"the first highstate. Before that, copy /etc/rick-infra/services to {master}, and give each service its cells."
    )


def log_in(master):
    """Raise Failure unless Salt itself reaches the master."""
    with step(f"log in to {master}"):
        done = call_master()
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Failure(
            f"{master} has accepted this host, but it cannot log in: {last}\n"
            "Does a firewall keep it from the ports 4505 and 4506? See also: journalctl -u salt-minion"
        )


def leave():
    """Make an end of being a minion but for the configuration: as long as that is there, this can be done again."""
    with step("leave the fleet"):
        run("systemctl", "disable", "--now", "--quiet", "salt-minion.service")
        (MINION_PKI / "minion_master.pub").unlink(missing_ok=True)
        # The master's copies of the tree's modules, which would stay what they are.
        if MINION_MODULES.exists():
            shutil.rmtree(MINION_MODULES)


def call_master():
    """Have Salt itself log in to the master. Raises Failure if that is another one than this host has been told."""
    command = [SALT / "bin/salt-call", "--log-level=error", "test.ping"]
    try:
        done = run(*command, check=False, timeout=ANSWER)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {ANSWER} s")
    if ANOTHER_KEY in done.stderr:
        present = master_of_this_host()
        raise Failure(
            f"{present['master']} has another key than the one with the fingerprint\n  {present['master_finger']}\n"
            "Compare it with what sudo bin/bootstrap --master prints there; then the same as here, with\n"
            "--master-fingerprint and that one"
        )
    return done


# --- both -------------------------------------------------------------------------------------------------------------


def plan(files, commands, unit):
    """Say what an installation would change, and change nothing."""
    for path, text in files.items():
        if differs(path, text):
            say(f"would {'replace' if path.exists() else 'write'} {path}")
    for name in commands:
        if not leads_to(COMMANDS / name, SALT / "bin" / name):
            say(f"would link {COMMANDS / name}")
    state = show(unit)
    if (state["UnitFileState"], state["ActiveState"]) != ("enabled", "active"):
        say(f"would enable and start {unit}.service")


def install(files, commands):
    for path, text in files.items():
        if write(path, text):
            say(f"written: {path}")
    for name in commands:
        if not leads_to(COMMANDS / name, SALT / "bin" / name):
            point(COMMANDS / name, SALT / "bin" / name)


def run_daemon(unit, configuration, restart=False):
    """Make sure that a daemon runs, now and after a boot, from the environment, unit and configuration of now."""
    state = show(unit)
    if state["NeedDaemonReload"] == "yes":
        run("systemctl", "daemon-reload")
    if state["UnitFileState"] != "enabled":
        run("systemctl", "enable", "--quiet", f"{unit}.service")
    if state["ActiveState"] == "active" and not restart and not is_outdated(unit, configuration, state):
        return
    with step(f"start {unit}.service"):
        done = run("systemctl", "restart", f"{unit}.service", check=False)
    if done.returncode != 0:
        raise Failure(f"{unit}.service did not start: journalctl -u {unit}")
    say(f"{'restarted' if state['ActiveState'] == 'active' else 'started'}: {unit}.service")


def refresh():
    """Restart those of our daemons that run from another environment than the present one."""
    for unit, configuration in (("salt-master", MASTER), ("salt-minion", MINION)):
        if (UNITS / f"{unit}.service").exists() and show(unit)["ActiveState"] == "active":
            run_daemon(unit, configuration)


def show(unit):
    """Return what systemd knows of a unit."""
    names = "UnitFileState,ActiveState,NeedDaemonReload,ExecMainStartTimestampMonotonic"
    lines = run("systemctl", "show", f"--property={names}", f"{unit}.service").stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def is_outdated(unit, configuration, state):
    """Return whether a daemon was started before the last change of anything that it was started from."""
    # Salt keeps its own memory, _schedule.conf, among the configuration.
    settings = configuration.parent.glob("[!_]*.conf")
    sources = [SALT, UNITS / f"{unit}.service", *settings, *UNITS.glob(f"{unit}.service.d/*.conf")]
    changed = max(path.lstat().st_mtime for path in sources)
    age = time.monotonic() - int(state["ExecMainStartTimestampMonotonic"]) / 1e6
    return changed > time.time() - age


def run(*command, check=True, timeout=None):
    """Run a command; what it said is shown if it fails and must not."""
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env=environment.clean_environment(),
    )
    if check and done.returncode != 0:
        sys.stderr.write(done.stderr or done.stdout)
        raise Failure(f"{' '.join(str(word) for word in command[:2])} … failed; what it said is above")
    return done
