"""
Authentik's versions: one after the other, each with a dump before it, and back if the new one does not run. And what
else an administrator changes of it.
"""

import json

import pytest
from tree import load

PILLAR = "/etc/rick-infra/pillar/site.sls"
BUILD = "/srv/rick-infra/tests/doubles/authentik/build"


@pytest.fixture
def host(sso):
    """The machine with single sign-on; afterwards it has its settings again."""
    before = sso.sh(f"cat {PILLAR}") + "\n"

    def set_(version):
        assert "version: 2026.2.2" in before
        sso.write(PILLAR, before.replace("version: 2026.2.2", f"version: {version}"))

    sso.set = set_
    yield sso
    sso.write(PILLAR, before)
    sso.converge()


def version(host):
    return host.salt("authentik.version")


def dumps(host):
    return set(host.sh("find /var/lib/rick-infra/dumps/authentik -type f 2>/dev/null || true").split())


@pytest.mark.parametrize("sso", ["trixie"], indirect=True)
def test_a_new_version_comes_after_a_dump(host):
    host.run(BUILD, "2026.2.3")
    before, alice = dumps(host), host.salt("authentik.show", "user", "alice")
    host.set(version="2026.2.3")
    host.converge()
    assert version(host) == "2026.2.3"
    assert len(dumps(host) - before) == 1
    assert host.salt("authentik.show", "user", "alice") == alice
    assert host.apply().changed == set()


@pytest.mark.parametrize("sso", ["trixie"], indirect=True)
def test_a_version_that_does_not_run_is_taken_back(host):
    """Here because its image is not there; the run says so, and the old one goes on."""
    present = version(host)
    host.set(version="2026.2.9")
    done = host.apply()
    assert [name for name in done.failed if "authentik" in name]
    assert version(host) == present
    # What does not depend on it has converged.
    assert done.states["Service items is healthy"]["result"] is True


@pytest.mark.parametrize("sso", ["trixie"], indirect=True)
@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("2026.8.0", "cannot become 2026.8.0 at once"),
        ("2025.12.4", "Authentik does not go back"),
        ("newest", "is not a release"),
    ],
)
def test_what_the_database_cannot_follow_is_refused_before_anything_changes(host, wanted, told):
    host.set(version=wanted)
    done = host.apply(test=False)
    assert set(done.failed) >= {"The catalogue is valid"}
    assert told in done.failed["The catalogue is valid"]
    assert done.changed == set()


WHO = """
import sys, urllib.request, urllib.error
url, headers = "http://127.0.0.1:9000/api/v3/core/users/me/", {"Authorization": "Bearer " + sys.argv[1]}
try:
    print(urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.mark.parametrize("sso", ["trixie"], indirect=True)
def test_a_new_token_of_this_host_reaches_authentik(host):
    before = host.sh("cat /var/lib/rick-infra/secrets/authentik.api")
    host.salt("secret.renew", "authentik.api")
    after = host.sh("cat /var/lib/rick-infra/secrets/authentik.api")
    assert after != before
    host.converge()
    assert version(host) == "2026.2.2"
    assert host.apply().changed == set()
    assert [host.run("python3", "-c", WHO, token).stdout.strip() for token in (after, before)] == ["200", "403"]


ASK = """
import os, socket
connection = socket.create_connection(("127.0.0.1", int(os.environ["CACHE_PORT"])), 5)
stream = connection.makefile("rwb")
for line in (f"AUTH {os.environ['USER_NAME']} {os.environ['PASSWORD']}", "SET a 1", "GET a", "INFO server"):
    stream.write(line.encode() + b"\\n")
    stream.flush()
    print(stream.readline().decode().strip())
    if line == "GET a":
        print(stream.readline().decode().strip())
"""


@pytest.mark.parametrize("sso", ["trixie"], indirect=True)
def test_releases_that_know_a_cache_by_tcp_only_reach_it(host):
    """As an entry of its own, since the database does not go back to such a release."""
    settings = {**json.loads(json.dumps(host.salt("catalogue.infrastructure", "authentik"))), "version": "2025.8.4"}
    old = load("utils", "authentik_entry").entry(settings)
    entry = {
        "image": "localhost/authentik-double:2026.2.2",
        "valkey": old["valkey"],
        "containers": {
            "cache": old["containers"]["cache"],
            "web": {
                "entrypoint": ["python", "-m", "http.server", "8080", "--directory", "/tmp"],
                "env": {
                    "CACHE_PORT": old["env"]["AUTHENTIK_REDIS__PORT"],
                    "USER_NAME": old["env"]["AUTHENTIK_REDIS__USERNAME"],
                    "PASSWORD": old["env"]["AUTHENTIK_REDIS__PASSWORD"],
                },
            },
        },
    }
    host.declare("cached", entry)
    try:
        host.converge()
        said = host.run("podman", "exec", "cached-web", "python", "-c", ASK).stdout.split("\n")
        assert said[:4] == ["+OK", "+OK", "$1", "1"]
        assert said[4].startswith("$")
        # Nothing of it is reached from outside the pod.
        assert host.sh("podman port cached-infra") == ""
    finally:
        host.remove("cached")
