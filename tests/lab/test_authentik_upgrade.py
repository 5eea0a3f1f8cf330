"""
Authentik's versions: one after the other, each with a dump before it, and back if the new one does not run.
"""

import pytest

PILLAR = "/etc/rick-infra/pillar/site.sls"
BUILD = "/srv/rick-infra/tests/doubles/authentik/build"


@pytest.fixture
def host(sso):
    """The machine with single sign-on; afterwards it has its settings again."""
    before = sso.sh(f"cat {PILLAR}") + "\n"

    def set_(**settings):
        lines = "".join(f"    {key}: {value}\n" for key, value in settings.items())
        sso.write(PILLAR, before + lines)

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
