"""
States in Salt's own loader, in test mode on this very host: planned, and nothing touched.
"""

import pytest


@pytest.fixture
def planned(minion):
    host = minion()

    def single(function, **arguments):
        (result,) = host.modules["state.single"](function, test=True, **arguments).values()
        return result

    return single


def test_packages_that_are_there_and_one_that_is_not(planned):
    result = planned("debian_packages.installed", name="title", pkgs=["dpkg"])
    assert (result["result"], result["changes"]) == (True, {})
    result = planned("debian_packages.installed", name="title", pkgs=["dpkg", "no-such-package"])
    assert result["result"] is None
    assert result["changes"] == {"no-such-package": {"old": "", "new": "installed"}}


def test_a_secret_that_nobody_made(planned):
    result = planned("secret.present", name="no-such-secret")
    assert result["result"] is None
    assert set(result["changes"]) == {"file", "podman"}
    result = planned("secret.present", name="../no-such-secret")
    assert result["result"] is False
    result = planned("secret.absent", name="no-such-secret")
    assert (result["result"], result["changes"]) == (True, {})


def test_rootless_podman_of_a_user_that_never_had_it(planned):
    result = planned("rootless.absent", name="title", users=["no-such-user"])
    assert (result["result"], result["changes"]) == (True, {})


def test_a_daemon_is_planned_or_the_lack_of_systemd_is_said(planned):
    result = planned("daemon.running", name="title", units=["no-such.service"])
    assert result["result"] is (None if result["changes"] else False)
    assert "no-such.service" in result["comment"] or "systemctl" in result["comment"]
