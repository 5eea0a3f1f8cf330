"""
Secrets of every kind in one service, and then all that a run, a failure and an administrator's questions leave behind.

No value may be found anywhere but with root and with the service itself.
"""

import base64
import contextlib
import json
import secrets
import urllib.parse

import pytest
from machine import eventually

NAME = "vault"
SEARCH = "/srv/rick-infra/tests/lab/search_secrets.py"
WATCHED = "/root/watched"
PILLAR = "/etc/rick-infra/pillar/site.sls"
# Serves, or tells everybody what it knows and falls over.
SERVE = "import http.server as h; h.HTTPServer(('', 8080), h.SimpleHTTPRequestHandler).serve_forever()"
TELL = (
    "import os, sys; print(*os.environ.values(), open('/run/licence').read(), sep='\\n', flush=True);"
    " print({name: value for name, value in os.environ.items() if 'PASSWORD' in name}, file=sys.stderr, flush=True);"
    " sys.exit(1)"
)
GENERATED = ("session", "token", "postgres", "valkey")
ENTRY = {
    "image": "localhost/notes:1",
    "entrypoint": ["/usr/bin/python3", "-c", SERVE],
    "stop_timeout": 1,
    "port": 8080,
    "host_port": 8091,
    "health": {"path": "/", "timeout": 60},
    "site": "vault.example.test",
    "postgres": {"auth": "scram"},
    "valkey": True,
    "secrets": {
        "session": True,
        "token": {"length": 64, "alphabet": "hex"},
        "mail": {"pillar": "planted:mail"},
        "licence": {"file": "/root/planted-licence", "mount": "/run/licence"},
        "registry": {"file": "/root/planted-registry"},
    },
    "env": {
        "DATABASE_URL": "{postgres.url}",
        "DATABASE_PASSWORD": "{postgres.password}",
        "CACHE_URL": "{valkey.url}",
        "REDIS_URL": "{valkey.redis_url}",
        "SESSION": "{secret.session}",
        "BROKER": "amqp://vault:{secret.mail:url}@queue.example.test",
        "MIXED": "token={secret.token}; mail={secret.mail}",
    },
    # Fetched with credentials, and never started.
    "timers": {"yearly": {"schedule": "yearly", "command": "{}"}},
}
QUESTIONS = (
    ("catalogue.show", NAME, "--out=yaml"),
    ("catalogue.logs", NAME, "lines=200"),
    ("catalogue.orphans", "--out=json"),
    ("generation.show", NAME, "--out=json"),
    ("pillar.items",),
    ("verify.service", NAME),
    ("state.show_highstate", "--out=yaml"),
)


class Planted:
    """The values, and what was printed while they were there."""

    def __init__(self, host):
        self.host = host
        self.values = {}
        self.printed = {}

    def plant(self, generation):
        """Write values that can be recognised, whatever is done to what stands around them."""
        self._plant(f"mail {generation}", PILLAR, 'planted:\n  mail: "{} $HOME %n \\" ü"\n')
        self._plant(f"licence {generation}", "/root/planted-licence", "first line\n{}\n")
        auth = json.dumps({"auths": {"registry.example.test": {"auth": "{}"}}})
        self._plant(f"registry {generation}", "/root/planted-registry", auth, base64.b64encode(b"somebody:{}").decode())

    def _plant(self, what, file, text, wrapped=None):
        value = f"Planted{secrets.token_hex(12)}"
        self.values[what] = value
        if wrapped:
            value = base64.b64encode(f"somebody:{value}".encode()).decode()
            self.values[f"{what} in base64"] = value
        self.host.write(file, text.replace("{}", value) if wrapped else text.format(value))
        self.host.sh(f"chown root:root {file}; chmod 600 {file}")

    def read_generated(self, generation):
        folder = "/var/lib/rick-infra/secrets"
        for name in GENERATED:
            self.values[f"{name} {generation}"] = self.host.sh(f"cat {folder}/{NAME}.{name}")

    def call(self, title, *words):
        """Call Salt as loudly as it can be, and keep what it says."""
        done = self.host.run("salt-call", "--log-level=all", *words, check=False)
        self.printed[title] = done.stdout + done.stderr
        return done

    def shown(self, texts):
        """Which values are in some texts, as they are or in what a URL or JSON makes of them."""
        return sorted({(title, what) for title, text in texts.items() for what, value in self.forms() if value in text})

    def forms(self):
        for what, value in self.values.items():
            yield what, value
            yield f"{what} in base64", base64.b64encode(value.encode()).decode().rstrip("=")
            if urllib.parse.quote(value, safe="") != value:
                yield f"{what} in a URL", urllib.parse.quote(value, safe="")

    def found(self):
        """Where on the machine others could read a value."""
        forms = list(self.forms())
        words = ["python3", SEARCH, "find", str(self.since), NAME, WATCHED]
        done = self.host.run(*words, text=json.dumps([value for _, value in forms]))
        return sorted({(place, forms[number][0]) for place, number in json.loads(done.stdout)})


@contextlib.contextmanager
def watching(host):
    """Everything that the process list shows meanwhile is written down."""
    size = host.sh(f"stat --format=%s {WATCHED}")
    watch = host.popen("python3", SEARCH, "watch", WATCHED)
    try:
        # What runs before it looks, it does not see.
        eventually(lambda: host.sh(f"stat --format=%s {WATCHED}") != size, 30, "the watch looks")
        yield
        assert watch.poll() is None, watch.stderr.read().decode()
    finally:
        host.sh(f"kill $(pgrep -f '^python3 {SEARCH} watch')", check=False)
        watch.communicate()


@pytest.fixture(scope="module")
def planted(main_machine):
    """A service added, changed, broken and taken back, by runs that say all they can."""
    host = main_machine
    before = host.sh(f"cat {PILLAR} 2>/dev/null || true")
    made = Planted(host)
    made.since = float(host.sh("date +%s"))
    host.sh(f"umask 077; : > {WATCHED}")
    made.plant(1)
    host.declare(NAME, ENTRY)
    with watching(host):
        made.call("plan", "--out=json", "state.highstate", "test=True")
        made.call("add", "--out=highstate", "--state-output=full", "--state-verbose=true", "state.highstate")
        assert host.http("/", 8091) == 200, made.printed["add"][-3000:]
        made.read_generated(1)
        made.plant(2)
        host.salt("secret.renew", f"{NAME}.session")
        made.read_generated(2)
        made.call("change", "--out=nested", "state.apply", "services")
        assert host.http("/", 8091) == 200
        host.declare(NAME, {**ENTRY, "entrypoint": ["/usr/bin/python3", "-c", TELL]})
        made.broken = made.call("break", "--out=json", "state.highstate").stdout
        done = host.run("/srv/rick-infra/bin/bootstrap", check=False)
        made.printed["bin/bootstrap"] = done.stdout + done.stderr
        for words in QUESTIONS:
            made.call(" ".join(words), *words)
    yield made
    host.sh(f"rm /root/planted-* {WATCHED} {PILLAR}")
    if before:
        host.write(PILLAR, before)
    host.remove(NAME)


def test_nothing_that_is_printed_shows_a_secret(planted):
    assert planted.shown(planted.printed) == []


def test_a_service_that_tells_its_secrets_and_falls_is_taken_back_and_quoted_without_them(planted):
    answer = json.loads(planted.broken)["local"]
    (comment,) = (one["comment"] for one in answer.values() if one["__id__"] == f"Service {NAME} is healthy")
    assert "rolled back to the last healthy one" in comment
    assert "DATABASE_PASSWORD" in comment
    assert "**********" in comment
    journal = planted.host.sh(f"journalctl --all -u {NAME}-web.service")
    assert planted.values["session 2"] in journal, "the service has told nothing"


def test_nobody_but_root_and_the_service_can_read_a_secret(planted):
    assert planted.found() == []


def seen_in_command_line(host, value):
    lines = host.sh(f"cat {WATCHED}").splitlines()
    return any(line.startswith('["cmdline", 0, ') and value in line for line in lines)


def test_the_search_finds_what_is_not_hidden(planted):
    """In each place that is searched, with the service's password."""
    host, value = planted.host, planted.values["postgres 2"]
    with watching(host):
        process = host.popen("python3", "-c", "import signal; signal.pause()", value)
        # The service's own environment has the value, too, and is seen before.
        eventually(lambda: seen_in_command_line(host, value), 30, "the watch sees the process")
        host.write("/etc/planted", value)
        host.sh("chmod 640 /etc/planted; chgrp systemd-journal /etc/planted")
        unit = f"[Service]\nExecStart=sleep infinity\nEnvironment=A={value}\n"
        host.write("/run/systemd/system/planted.service", unit)
        host.sh("systemctl daemon-reload; systemctl start planted.service")
        host.run("systemd-cat", text=value)
        host.write("/var/log/rick-infra/planted", value)
        host.sh("podman network create --label planted=$(cat /etc/planted) planted")
    try:
        places = {place.partition(":")[0] for place, _ in planted.found()}
        assert places >= {
            *("cmdline of a process of uid 0", "/etc/planted", "systemctl show", "systemctl cat", "the journal"),
            *("/var/log/rick-infra/planted", "podman network inspect"),
        }
        assert planted.shown({"printed": f"password={value}"}) != []
    finally:
        process.kill()
        process.wait()
        host.sh("systemctl stop planted.service; rm /run/systemd/system/planted.service /etc/planted")
        host.sh("systemctl daemon-reload; rm /var/log/rick-infra/planted; podman network rm planted")
