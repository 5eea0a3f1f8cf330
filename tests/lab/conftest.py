"""
Machines that the lab tests share, made once and taken down at the end.

``prepared`` has Salt's environment and nothing else of ours: the start for
every machine that a test wants to itself. ``main`` is converged from nothing,
in two steps, and what its runs answered is kept; tests that take something
away on it put it back with ``main.converge()``.

``RICK_KEEP=1`` leaves the machines up for a look.
"""

import concurrent.futures
import contextlib
import fcntl
import string
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab_fleet import HOSTS, Fleet
from machine import CREDENTIALS, NOTES, REGISTRY, TREE, Highstate, eventually, lab, machine, own, registry
from xdist.scheduler import LoadFileScheduling

# One of everything that a service can have.
PARKED = {
    "image": "registry.example.test/parked:1",
    "state": "stopped",
    "port": 8080,
    "postgres": {"extensions": ["citext"], "readonly_roles": ["parked_reports"]},
    "valkey": True,
    "secrets": {"key": True},
    "volumes": {"data": "/data"},
    "site": "parked.example.test",
    "env": {"DATABASE_URL": "{postgres.url}", "CACHE_URL": "{valkey.url}", "SECRET_KEY": "{secret.key}"},
    "timers": {"cleanup": {"schedule": "daily", "command": ["true"]}},
}
# One that runs, of an image that is there before Podman is.
PROGRAM = "/usr/bin/sleep"
THERE = {
    "command": [PROGRAM, "infinity"],
    "stop_signal": "SIGKILL",
    "port": 8080,
    "postgres": True,
    "valkey": {"isolation": "instance"},
    "volumes": {"data": "/data"},
    "site": "there.example.test",
    "env": {"DATABASE_URL": "{postgres.url}", "CACHE_URL": "{valkey.url}"},
    "init": {"command": [PROGRAM, "0"], "user": "image"},
    "timers": {"cleanup": {"schedule": "daily", "command": [PROGRAM, "0"]}},
    **CREDENTIALS,
}
# The files whose tests have the fixture sso.
WITH_SSO = ("test_login", "test_browser", "test_authentik_upgrade")
# The files whose tests have the fixture fleet.
WITH_FLEET = "test_fleet"
MINION_CONFIG = "/etc/salt/minion.d/50-rick-infra.conf"


def configure(target):
    """Make ``salt-call`` on a machine use the tree, as bin/bootstrap does, but converge nothing."""
    template = (TREE / "conf/minion.d/50-rick-infra.conf").read_text()
    target.write(MINION_CONFIG, string.Template(template).substitute(tree="/srv/rick-infra"))
    target.run("ln", "-sf", "/opt/rick-infra/salt/bin/salt-call", "/usr/local/bin/salt-call")


class TogetherWhereAMachineIsShared(LoadFileScheduling):
    """
    A file in one process (--dist=loadfile), and all that use the same ``sso`` or ``fleet``, since making one takes
    minutes.
    """

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        if "/lab/" not in file:
            return file
        if Path(file).name.startswith(WITH_FLEET):
            return WITH_FLEET
        if not Path(file).name.startswith(WITH_SSO):
            return file
        return "sso-forky" if "[forky" in nodeid else "sso-trixie"


def pytest_xdist_make_scheduler(config, log):
    return TogetherWhereAMachineIsShared(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_terminal_summary(terminalreporter):
    """Say where the screenshots are: a test process beside others has no terminal."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    noted = {pair for report in reports for pair in getattr(report, "user_properties", ())}
    for folder in sorted(value for name, value in noted if name == "artefacts"):
        terminalreporter.write_line(f"screenshots: {folder}")


@pytest.fixture(scope="session", autouse=True)
def the_host_is_left_as_it_was():
    """The last machine takes the bridge and the way out along."""
    yield
    runtime = Path("/run/rick-lab")
    runtime.mkdir(mode=0o700, exist_ok=True)
    with (runtime / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # bin/lab's own: no machine is half gone now
        # Machines may still be up: another test process's, or somebody's own. Then it is not for us to judge.
        if not list(runtime.glob("*.json")):
            assert not Path("/sys/class/net/rick-lab").exists()
            tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
            assert "rick_lab" not in tables
            assert "rick-lab" not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture(scope="session")
def prepared():
    """A machine that is off: Salt's environment on its disk, made by ``bin/bootstrap --test``, and no more of ours."""
    with machine(own("t-prep")) as made:
        before = made.sh("find /etc -newer /etc/machine-id -type f | sort")
        made.bootstrap_test = made.run("/srv/rick-infra/bin/bootstrap", "--test")
        made.written_to_etc = set(made.sh("find /etc -newer /etc/machine-id -type f | sort").split()) - set(
            before.split()
        )
        made.stop()
        yield made


@pytest.fixture(scope="session")
def copy_of_prepared(prepared):
    """A function that starts a copy of ``prepared`` under a name of its own."""
    with contextlib.ExitStack() as stack:

        def start(name):
            made = stack.enter_context(machine(name, "--like", prepared.name))
            configure(made)
            return made

        yield start


@pytest.fixture(scope="session")
def sso_of():
    """A function that returns the machine with single sign-on of a release; it is made once."""
    made = {}
    with contextlib.ExitStack() as stack:

        def one(suite):
            if suite not in made:
                made[suite] = stack.enter_context(machine(own(f"t-sso-{suite[0]}"), "--suite", suite))
                made[suite].suite = suite
                configure_sso(made[suite])
            return made[suite]

        yield one


@pytest.fixture(scope="session", params=["trixie", "forky"])
def sso(request, sso_of):
    """
    A machine with single sign-on (its double) and the three examples of a login. alice may use them all, bob none.

    Both releases, since their Caddys differ in what they do with headers. pytest sets a fixture with parameters up
    anew whenever another one comes, so the machines are somebody else's.
    """
    return sso_of(request.param)


def configure_sso(made):
    made.run("/srv/rick-infra/tests/doubles/authentik/build")
    made.run("/srv/rick-infra/examples/build", "forward-auth-app", "oidc-app", "api-service")
    made.write("/etc/rick-infra/pillar/site.sls", (TREE / "tests/lab/sso.sls").read_text())
    for name in ("board", "diary", "items"):
        made.declare(name, (TREE / f"examples/services/{name}.yaml").read_text())
    made.bootstrap = made.run("/srv/rick-infra/bin/bootstrap", check=False)
    assert made.bootstrap.returncode == 0, made.bootstrap.stdout + made.bootstrap.stderr
    made.write("/opt/authentik/blueprints/people.yaml", (TREE / "examples/demo/people.yaml").read_text())
    eventually(
        lambda: {"alice", "bob"} <= {made.salt("authentik.show", "user", name) and name for name in ("alice", "bob")},
        60,
        "the worker has made the people",
    )
    groups = ["board_users", "board_admins", "diary_users", "items_users"]
    assert made.state("authentik.user_present", name="alice", groups=groups)["result"] is True
    made.authority = made.salt("caddy.root_certificate")
    made.address = next(line.split()[-1] for line in lab("list").stdout.splitlines() if line.split()[0] == made.name)


@dataclass
class Runs:
    """A plan, the run after it and the run after that."""

    plan: Highstate
    first: Highstate
    second: Highstate


def three_runs(target):
    return Runs(plan=target.apply(test=True), first=target.apply(), second=target.apply())


@pytest.fixture(scope="session")
def main_machine(copy_of_prepared):
    """The shared machine: a virgin host made into infrastructure, then given the example service."""
    made = copy_of_prepared(own("t-main"))
    # Services as well, since their plan needs what is only planned: one that is stopped, and one that runs.
    made.declare("parked", PARKED)
    made.run("python3", "/srv/rick-infra/tests/lab/tiny_image.py", REGISTRY, PROGRAM)
    watch = made.popen("/usr/bin/python3", "/srv/rick-infra/tests/lab/watch_tcp.py")
    with registry(made) as place:
        made.declare("there", {"image": f"{place}/there:1", **THERE})
        made.infrastructure = three_runs(made)
    watch.terminate()
    made.tcp_seen = set(watch.communicate()[0].decode().split())
    made.remove("parked", "there")
    made.image_build = made.run("/srv/rick-infra/examples/build", "notes")
    made.declare("notes", NOTES)
    made.service = three_runs(made)
    return made


@pytest.fixture
def main(main_machine):
    """The shared machine for a test that changes something there: converged and healthy again afterwards."""
    yield main_machine
    main_machine.converge()
    main_machine.healthy()


@pytest.fixture(scope="session")
def fleet():
    """
    A fleet that is rolled out: board behind a login and the edge on cell2, hello on both cells, notes on cell1.

    alice may use board, bob nothing. A test that changes something puts it back, and rolls out again.
    """
    with contextlib.ExitStack() as stack:
        made = Fleet(lambda name, suite: stack.enter_context(machine(name, "--suite", suite)))
        made.add(HOSTS)
        with concurrent.futures.ThreadPoolExecutor() as together:
            builds = {"cell1": ("hello", "notes"), "cell2": ("hello", "forward-auth-app")}
            built = [
                together.submit(made.hosts[host].run, "/srv/rick-infra/examples/build", *images)
                for host, images in builds.items()
            ]
            for one in built:
                one.result()
        made.hosts["cell1"].run("/srv/rick-infra/tests/doubles/authentik/build")
        made.write("pillar/site.sls", (TREE / "tests/lab/sso.sls").read_text())
        made.write("services/board.yaml", (TREE / "examples/services/board.yaml").read_text() + "cells: cell2\n")
        made.write(
            "services/hello.yaml", (TREE / "examples/services/hello.yaml").read_text() + "cells: [cell1, cell2]\n"
        )
        made.write("services/notes.yaml", (TREE / "examples/services/notes.yaml").read_text() + "cells: cell1\n")
        made.first = made.deploy()
        made.first_record = made.last()
        made.first_moments = {cell: made.moments(cell) for cell in ("cell1", "cell2")}
        made.first_shown = float(made.hosts["edge1"].sh("stat -c %.6Y /etc/caddy/sites-enabled/board.caddy"))
        yield made
