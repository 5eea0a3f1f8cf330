"""
A lab machine as the tests see it: run a command inside, apply states, ask what is.
"""

import base64
import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
LAB = str(TREE / "bin" / "lab")
# The entry of the example service, at a port that the tests know.
NOTES = (TREE / "examples/services/notes.yaml").read_text() + "host_port: 8080\n"
# A service that does nothing but answer, for tests of what is around it.
LISTENER = {
    "image": "localhost/notes:1",
    "entrypoint": ["/usr/bin/python3", "-m", "http.server", "8080"],
    "stop_timeout": 1,
    "port": 8080,
    "health": {"path": "/", "timeout": 60},
}
REGISTRY = "/root/registry"  # where doubles/registry.py finds the image that it serves, on a machine
CREDENTIALS = {"registry_auth": "registry", "secrets": {"registry": {"file": "/root/auth.json"}}}
RUN_TIMEOUT = 1800  # seconds; a highstate on a virgin machine, with all its packages, takes about 60


def own(name):
    """The name of a machine that each of several test processes has for itself."""
    # As long as bin/lab allows, once a process has put its own name behind: also where there is one only.
    assert len(name) <= 8, f"{name}: 8 characters at most"
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return f"{name}-{worker}" if worker else name


def lab(*arguments, check=True, timeout=RUN_TIMEOUT, **options):
    """Run bin/lab; what it printed is part of a failure's message."""
    done = subprocess.run(
        [LAB, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        **options,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"bin/lab {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def eventually(condition, timeout, what):
    """Poll until ``condition()`` is true and return its value; fail with ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() > deadline  # before it is asked: that may take as long as the limit
        value = condition()
        if value:
            return value
        if late:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.2)


class Highstate:
    """The answer of a state run, by state id."""

    def __init__(self, done):
        self.done = done
        (answer,) = json.loads(done.stdout).values()
        assert isinstance(answer, dict), f"the run was refused: {answer}"
        self.states = {data["__id__"]: data for data in answer.values()}

    @property
    def changed(self):
        return {name for name, data in self.states.items() if data["changes"]}

    @property
    def planned(self):
        return {name for name, data in self.states.items() if data["result"] is None}

    @property
    def failed(self):
        return {name: data["comment"] for name, data in self.states.items() if data["result"] is False}


class Machine:
    def __init__(self, name):
        self.name = name

    def up(self, *options):
        lab("up", self.name, *options)
        return self

    def stop(self):
        lab("stop", self.name)

    def kill(self):
        lab("kill", self.name)

    def reboot(self):
        lab("reboot", self.name)

    def down(self):
        lab("down", self.name, check=False)

    def run(self, *command, check=True, text=None, timeout=RUN_TIMEOUT):
        """Run a command inside; ``text`` is its standard input."""
        done = subprocess.run(
            [LAB, "exec", self.name, "--", *command],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout,
            **({"input": text} if text is not None else {"stdin": subprocess.DEVNULL}),
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def sh(self, script, check=True, **options):
        """Run a shell script inside and return what it printed, without the last newline."""
        return self.run("sh", "-c", script, check=check, **options).stdout.rstrip("\n")

    def popen(self, *command):
        """Start a command inside and return at once."""
        return subprocess.Popen(
            [LAB, "exec", self.name, "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def write(self, path, text):
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "write", path, text=text)

    def declare(self, name, entry):
        """Put a service's entry where an administrator would; text as it is, anything else as YAML."""
        text = entry if isinstance(entry, str) else json.dumps(entry)
        self.write(f"/etc/rick-infra/services/{name}.yaml", text)

    def remove(self, *names):
        """Have services deleted with their data, and then their entries."""
        for name in names:
            self.declare(name, {"state": "absent", "data": "delete"})
        self.converge()
        self.run("rm", *(f"/etc/rick-infra/services/{name}.yaml" for name in names))

    def salt(self, function, *arguments, check=True):
        """Call an execution function and return its answer."""
        done = self.run("salt-call", "--out=json", "--log-level=error", function, *arguments, check=check)
        return json.loads(done.stdout)["local"]

    def state(self, function, **arguments):
        """Apply one state function by itself and return its result: ``state.single``."""
        words = [f"{key}={json.dumps(value)}" for key, value in arguments.items()]
        done = self.run("salt-call", "--out=json", "--log-level=error", "state.single", function, *words, check=False)
        answer = json.loads(done.stdout)["local"]
        assert isinstance(answer, dict), answer
        (result,) = answer.values()
        return result

    def apply(self, *sls, test=False):
        """Apply SLS files, or the highstate if none is named."""
        function = ["state.apply", *sls] if sls else ["state.highstate"]
        command = ["salt-call", "--out=json", "--log-level=error", *function]
        return Highstate(self.run(*command, *(["test=True"] if test else []), check=False))

    def converge(self):
        """Apply the highstate and insist on success."""
        done = self.apply()
        assert not done.failed, done.failed
        return done

    def verify(self):
        """The verification, ``{name: (passed, detail)}``."""
        done = self.run("salt-call", "--out=json", "--log-level=error", "verify.host", check=False)
        answer = json.loads(done.stdout)["local"]
        assert answer["passed"] == (done.returncode == 0), "the exit code must say whether a check failed"
        return {check["name"]: (check["passed"], check["detail"]) for check in answer["checks"]}

    def stat(self, path):
        """Owner, group and mode as ``user:group mode``."""
        return self.sh(f"stat -c '%U:%G %a' {path}")

    def main_pid(self, unit):
        return int(self.sh(f"systemctl show -P MainPID {unit}"))

    def started_at(self, unit):
        """When the unit's process was started (it tells a restart from none)."""
        return int(self.sh(f"systemctl show -P ExecMainStartTimestampMonotonic {unit}"))

    def invocations(self, *patterns):
        """Which start of each unit it is that runs, by unit; a restart gives it another id."""
        said = self.run("systemctl", "show", "--property=Id,InvocationID", *patterns).stdout
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in said.strip().split("\n\n")]
        return {block["Id"]: block["InvocationID"] for block in blocks if block}

    def psql(self, service, sql, check=True):
        """What a statement answers to the service's user, in the service's database."""
        return self.run(
            "runuser", "-u", service, "--", "psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql, check=check
        ).stdout.strip()

    def valkey(self, service, commands, socket="/run/valkey/valkey.sock"):
        """What Valkey answers to commands, one on each line, of the service's user."""
        login = f"VALKEYCLI_AUTH=$(cat /var/lib/rick-infra/secrets/{service}.valkey); export VALKEYCLI_AUTH"
        client = f"runuser -u {service} -- valkey-cli -s {socket} --user {service}"
        # Clients of other versions read their own name for it.
        return self.sh(f"{login}; export REDISCLI_AUTH=$VALKEYCLI_AUTH; {client}", text=commands)

    def page(self, port):
        """The text that a service answers with."""
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/', timeout=30).read().decode())"
        return self.run("python3", "-c", script).stdout

    def http(self, path="/health", port=8080):
        """The status code that the example service answers with; 0 if nobody does."""
        script = (
            "import sys, urllib.request, urllib.error\n"
            "try: print(urllib.request.urlopen(sys.argv[1], timeout=30).status)\n"
            "except urllib.error.HTTPError as error: print(error.code)\n"
            "except OSError: print(0)\n"
        )
        return int(self.run("python3", "-c", script, f"http://127.0.0.1:{port}{path}").stdout)

    def healthy(self, timeout=60):
        eventually(lambda: self.http() == 200, timeout, "the example service is healthy")


@contextlib.contextmanager
def machine(name, *options):
    """A machine for as long as somebody needs it; one that a broken-off run left goes first."""
    made = Machine(name)
    made.down()
    try:
        yield made.up(*options)
    finally:
        if not os.environ.get("RICK_KEEP"):
            made.down()


@contextlib.contextmanager
def registry(host):
    """
    Yield the name of a registry on a machine, which has one image and wants a password.

    The image is what lies in ``REGISTRY``; an entry with ``CREDENTIALS`` gets it.
    """
    place = "127.0.0.1:5000"
    auth = base64.b64encode(b"somebody:registry-password").decode()  # what doubles/registry.py takes
    insecure = "/etc/containers/registries.conf.d/99-test.conf"
    host.write(insecure, f'[[registry]]\nlocation = "{place}"\ninsecure = true\n')
    host.write("/root/auth.json", json.dumps({"auths": {place: {"auth": auth}}}))
    host.run("chmod", "600", "/root/auth.json")
    double = "/srv/rick-infra/tests/doubles/registry.py"
    host.run("systemd-run", "--unit=registry", "python3", double, place.rpartition(":")[2], REGISTRY)
    asked = ["python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 5000))"]
    eventually(lambda: host.run(*asked, check=False).returncode == 0, 30, "the registry listens")
    try:
        yield place
    finally:
        host.sh(f"systemctl stop registry; rm -r {REGISTRY} /root/auth.json {insecure}")
