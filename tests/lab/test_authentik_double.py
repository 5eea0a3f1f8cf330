"""
The image of the test double of Authentik: server and worker as the two containers of a pod, over PostgreSQL.
"""

import http.client
import json
import urllib.parse

import pytest
from machine import eventually, machine, own

IMAGE = "localhost/authentik-double"
PACKAGES = ("postgresql", "catatonit", "nftables", "aardvark-dns")
USER = "authentik"  # of the host, and PostgreSQL's role
TOKEN, PASSWORD = "key-of-the-first-start", "password-of-the-first-start"  # of a double
READY = "import sys, urllib.request as r; r.urlopen(f'http://127.0.0.1:{sys.argv[1]}/-/health/ready/', timeout=5)"
LOGIN = "/if/flow/default-authentication-flow/"
COMMON = {
    "AUTHENTIK_POSTGRESQL__HOST": "/run/postgresql",
    "AUTHENTIK_POSTGRESQL__USER": USER,
    "AUTHENTIK_POSTGRESQL__NAME": USER,
    "AUTHENTIK_POSTGRESQL__PASSWORD": "",
    "AUTHENTIK_SECRET_KEY": "secret",
    "TMPDIR": "/tmp",
}
WORKER = {
    "AUTHENTIK_LISTEN__HTTP": "0.0.0.0:9001",
    "AUTHENTIK_LISTEN__METRICS": "0.0.0.0:9301",
    "AUTHENTIK_BOOTSTRAP_PASSWORD": PASSWORD,
    "AUTHENTIK_BOOTSTRAP_TOKEN": TOKEN,
    "NAME_OF_A_GROUP": "from-the-environment",
}
BLUEPRINT = """\
version: 1
entries:
  - model: authentik_core.group
    identifiers: {name: !Env NAME_OF_A_GROUP}
    attrs: {attributes: {note: NOTE}}
"""


class Pod:
    """The pod on a machine, and what a client of its port sees."""

    def __init__(self, made):
        self.machine = made
        self.address = made.sh("hostname -I").split()[0]

    def start(self, version="2026.2.2", **server):
        """Make the pod anew."""
        self.machine.run("podman", "pod", "rm", "--force", "--time=5", "--ignore", "authentik")
        self.machine.run("podman", "pod", "create", "--name=authentik", "--publish=9000:9000")
        self._run("server", f"{IMAGE}:{version}", server)
        self._run("worker", f"{IMAGE}:{version}", WORKER)
        self.ready()

    def _run(self, command, image, environment):
        ids = self.machine.sh(f"id -u {USER}; id -g {USER}").split()
        volumes = [f"--volume=/srv/authentik/{name}:/{name}" for name in ("data", "certs", "templates")]
        volumes.append("--volume=/srv/authentik/blueprints:/blueprints/custom:ro")
        volumes.append("--volume=/run/postgresql:/run/postgresql:ro")
        told = [f"--env={name}={value}" for name, value in {**COMMON, **environment}.items()]
        hardened = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
        place = ("--pod=authentik", f"--name=authentik-{command}", f"--user={':'.join(ids)}")
        self.machine.run("podman", "run", "--detach", *place, *hardened, *volumes, *told, image, command)

    def is_ready(self, command, port):
        """What the health command of a container says."""
        words = ("podman", "exec", f"authentik-{command}", "python", "-c", READY, str(port))
        return self.machine.run(*words, check=False).returncode == 0

    def ready(self):
        for command, port in (("server", 9000), ("worker", 9001)):
            eventually(lambda command=command, port=port: self.is_ready(command, port), 30, f"{command} is ready")
        eventually(lambda: self.ask("GET", LOGIN)[0] == 200, 30, "the flows are there")

    def ask(self, method, path, data=None, **headers):
        """Status, headers and text of an answer."""
        connection = http.client.HTTPConnection(self.address, 9000, timeout=10)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        found = answer.status, dict(answer.getheaders()), answer.read().decode()
        connection.close()
        return found

    def api(self, path, body=None, key=TOKEN):
        """What the API answers, with status 200 or 201."""
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        status, _, text = self.ask(method, f"/api/v3/{path}", data, **headers)
        assert status in (200, 201), (status, text)
        return json.loads(text)

    def group(self, name):
        """A group, None if there is none of that name."""
        return next(iter(self.api(f"core/groups/?name={name}")["results"]), None)

    def log_in(self, password):
        """The cookie of a browser whose user is akadmin if the password is right."""
        form = urllib.parse.urlencode({"uid_field": "akadmin", "password": password})
        _, headers, _ = self.ask("POST", LOGIN, form, Content_Type="application/x-www-form-urlencoded")
        return headers["Set-Cookie"].partition(";")[0]

    def is_in(self, cookie):
        return self.ask("GET", "/if/user/", Cookie=cookie)[0] == 200


@pytest.fixture(scope="module")
def pod():
    with machine(own("t-ak")) as made:
        made.run("/srv/rick-infra/tests/doubles/authentik/build", "2026.2.2", "2026.2.3")
        made.again = made.run("/srv/rick-infra/tests/doubles/authentik/build", "2026.2.2", "2026.2.3").stdout
        install = "DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install"
        made.sh(f"{install} {' '.join(PACKAGES)}")
        # A machine of the lab may have no controller for it.
        made.write("/etc/containers/containers.conf.d/lab.conf", "[containers]\npids_limit = 0\n")
        made.sh(f"useradd --system --no-create-home {USER}")
        made.sh(f"cd / && runuser -u postgres -- createuser {USER}; runuser -u postgres -- createdb -O {USER} {USER}")
        made.sh(f"mkdir -p /srv/authentik/blueprints && cd /srv/authentik && install -d -o {USER} data certs templates")
        found = Pod(made)
        found.start()
        yield found


def test_a_second_build_has_nothing_to_do(pod):
    assert "up to date" in pod.machine.again


def test_it_says_what_it_is(pod):
    for command in ("server", "worker"):
        assert "THIS IS A TEST DOUBLE" in pod.machine.run("podman", "logs", f"authentik-{command}").stderr
    status, headers, text = pod.ask("GET", LOGIN)
    assert (status, "X-Test-Double" in headers, "THIS IS A TEST DOUBLE" in text) == (200, True, True)
    said = pod.machine.run("podman", "image", "inspect", "--format={{.Labels}}", f"{IMAGE}:2026.2.2").stdout
    assert "TEST DOUBLE" in said


def test_it_answers_as_the_original_did_with_the_libraries_of_debian(pod):
    script = (
        "import sys; sys.path.insert(0, '/tests/unit/doubles'); sys.path.insert(0, '/tests')\n"
        "import replay, json, werkzeug.test as w, doubles.authentik.server as s\n"
        "def send(method, path, headers, data):\n"
        "    a = w.Client(app, use_cookies=False).open(path, method=method, headers=headers, data=data)\n"
        "    found = {name.lower(): value for name, value in a.headers.items()}\n"
        "    body = json.loads(a.text) if a.text and a.mimetype == 'application/json' else None\n"
        "    return replay.Answer(a.status_code, found, a.text, body, a.headers.getlist('Set-Cookie'))\n"
        "for path in replay.scenarios():\n"
        "    app = s.create_app('key')\n"
        "    replay.Replay(send, 'key', app.authentik.restart, app.authentik.wait).run(json.loads(path.read_text()))\n"
        "    print(path.stem)\n"
    )
    words = ("--rm", "--volume=/srv/rick-infra/tests:/tests:ro", "--entrypoint=python", f"{IMAGE}:2026.2.2")
    done = pod.machine.run("podman", "run", *words, "-c", script)
    assert len(done.stdout.split()) == 21


def test_the_first_start_makes_the_administrator_and_a_later_one_leaves_it(pod):
    cookie = pod.log_in(PASSWORD)
    assert pod.is_in(cookie)
    assert not pod.is_in(pod.log_in("another"))
    pod.machine.run("podman", "restart", "--time=5", "authentik-worker")
    pod.ready()
    assert [user["username"] for user in pod.api("core/users/?username=akadmin")["results"]] == ["akadmin"]
    assert pod.is_in(cookie)


def test_what_it_knows_survives_the_pod_and_a_newer_version(pod):
    pod.api("core/groups/", {"name": "lasting"})
    cookie = pod.log_in(PASSWORD)
    pod.start("2026.2.3")
    assert pod.api("admin/version/")["version_current"] == "2026.2.3"
    assert pod.group("lasting")
    assert pod.is_in(cookie)


def test_a_dump_brings_back_what_was_there(pod):
    run = f"runuser -u {USER} --"
    pod.api("core/groups/", {"name": "dumped"})
    pod.machine.sh(f"cd / && {run} pg_dump --clean --if-exists {USER} > /root/dump")
    group = pod.group("dumped")["pk"]
    assert pod.ask("DELETE", f"/api/v3/core/groups/{group}/", Authorization=f"Bearer {TOKEN}")[0] == 204
    assert pod.group("dumped") is None
    pod.machine.sh(f"cd / && {run} psql -qv ON_ERROR_STOP=1 {USER} < /root/dump")
    assert pod.group("dumped")["pk"] == group


def test_the_worker_applies_a_blueprint_and_applies_it_again_when_it_changes(pod):
    for note in ("first", "second"):
        pod.machine.write("/srv/authentik/blueprints/groups.yaml", BLUEPRINT.replace("NOTE", note))
        eventually(
            lambda note=note: (pod.group("from-the-environment") or {}).get("attributes") == {"note": note},
            15,
            f"the {note} blueprint is applied",
        )


def test_it_comes_back_when_postgresql_does(pod):
    pod.machine.run("systemctl", "stop", "postgresql@17-main")
    eventually(lambda: not pod.is_ready("server", 9000), 15, "the server says that it is not ready")
    assert not pod.is_ready("worker", 9001)
    assert pod.ask("GET", "/-/health/live/")[0] == 200
    pod.machine.run("systemctl", "start", "postgresql@17-main")
    pod.ready()


def test_the_outpost_believes_a_host_only_from_a_proxy_that_is_trusted(pod):
    slugs = ("default-provider-authorization-implicit-consent", "default-provider-invalidation-flow")
    flows = [pod.api(f"flows/instances/?slug={slug}")["results"][0]["pk"] for slug in slugs]
    provider = {"name": "wiki", "mode": "forward_single", "external_host": "https://wiki.example.test"}
    provider |= dict(zip(("authorization_flow", "invalidation_flow"), flows, strict=True))
    made = pod.api("providers/proxy/", provider)["pk"]
    pod.api("core/applications/", {"name": "wiki", "slug": "wiki", "provider": made})
    outpost = pod.api("outposts/instances/")["results"][0]["pk"]
    body = json.dumps({"providers": [made]})
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert pod.ask("PATCH", f"/api/v3/outposts/instances/{outpost}/", body, **headers)[0] == 200
    asked = {"X-Forwarded-Host": "wiki.example.test", "X-Forwarded-Proto": "https", "X-Forwarded-Uri": "/"}
    place = "/outpost.goauthentik.io/auth/caddy"
    assert pod.ask("GET", place, **asked)[0] == 302
    assert pod.ask("GET", place, **{**asked, "X-Forwarded-Host": "unknown.example.test"})[0] == 404
    pod.start(AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS="192.0.2.1/32,198.51.100.0/24")
    assert pod.ask("GET", place, **asked)[0] == 404


def test_it_ends_when_it_is_told_to(pod):
    # One that did not would be killed after ten seconds, and end with 137.
    pod.machine.run("podman", "stop", "--time=10", "authentik-server", "authentik-worker")
    codes = pod.machine.run("podman", "inspect", "--format={{.State.ExitCode}}", "authentik-server", "authentik-worker")
    assert codes.stdout.split() == ["0", "0"]
