"""
A highstate killed with SIGKILL, at several points: the next run finishes the work, and nothing is left half-done.
"""

import pytest
from machine import eventually

RUN = ("salt-call", "--log-level=quiet", "state.highstate")
# In brackets, so that a shell which looks for it is not found as well.
KILLED = "[s]alt-call|[a]pt-get|[d]pkg|[p]ostinst|[p]g_createcluster|[i]nitdb|bin/[p]ostgres --"


@pytest.fixture(scope="module")
def virgin(copy_of_prepared):
    return copy_of_prepared("t-killed")


def kill_run(target):
    """
    End the Salt process and all it started, scripts of packages among them, as a power cut would, but leave the
    machine up.

    More than once: what is forked at that moment is missed, and goes on.
    """
    kill = f"pkill -KILL -f '{KILLED}'; ! pgrep -f '{KILLED}'"
    eventually(lambda: target.run("sh", "-c", kill, check=False).returncode == 0, 30, "the run is dead")


@pytest.mark.parametrize(
    "moment",
    [
        # inside apt: packages unpacked, none configured
        "pgrep -x dpkg >/dev/null && test -e /usr/bin/podman",
        "test -e /usr/lib/postgresql/17/bin/postgres && pgrep -x dpkg >/dev/null",
        # inside a package's own script: half a cluster
        "test -e /var/lib/postgresql/17/main/base && pgrep -x initdb >/dev/null",
        # the daemon is configured, not yet started
        "test -e /etc/valkey/users.acl",
    ],
)
def test_a_run_killed_on_a_virgin_host_is_finished_by_the_next(virgin, moment):
    virgin.run("apt-get", "-q", "update")
    process = virgin.popen(*RUN)
    # By the machine itself, or the moment is over: some last a second. What it runs comes by standard input, or it
    # would be found and killed as well.
    look = f"looks=0; until {moment}; do looks=$((looks + 1)); test $looks -lt 6000 || exit 1; sleep 0.05; done"
    script = f"{look}; pkill -KILL -f '{KILLED}'; exit 0"
    assert virgin.run("sh", "-s", text=script, check=False).returncode == 0, f"there was no moment when {moment}"
    kill_run(virgin)
    process.wait()


def test_the_run_after_all_of_them_converges_and_leaves_nothing_behind(virgin):
    virgin.converge()
    assert virgin.sh("ls -d /var/lib/postgresql/17/main.half-made-*")
    assert virgin.apply().changed == set()
    assert {name: detail for name, (passed, detail) in virgin.verify().items() if not passed} == {}
    assert virgin.run("test", "-e", "/usr/sbin/policy-rc.d", check=False).returncode != 0
    assert virgin.sh("dpkg --audit") == ""


def test_a_run_killed_between_writing_a_unit_and_restarting_it(main):
    """Made exact: the file is what the next version declares, and nobody told systemd."""
    before = main.started_at("notes-web.service")
    main.sh("sed -i 's/^StopTimeout=.*/StopTimeout=47/' /etc/containers/systemd/notes-web.container")
    main.sh("systemctl daemon-reload && systemctl restart notes-web.service")
    restarted = main.started_at("notes-web.service")
    assert restarted > before
    # The state that writes the file runs, the state that restarts does not: what a SIGKILL in between leaves.
    done = main.run("salt-call", "--out=json", "state.sls_id", "Service notes has its pod", "services", check=False)
    assert done.returncode == 0, done.stdout
    assert main.started_at("notes-web.service") == restarted
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {"Service notes is started"}
    assert main.started_at("notes-web.service") > restarted


def test_a_run_killed_between_a_drop_in_and_the_restart_of_its_daemon(main):
    before = main.started_at("valkey-server.service")
    main.sh("echo '# changed' >> /etc/systemd/system/valkey-server.service.d/50-rick-infra.conf")
    main.run("salt-call", "state.sls_id", "Valkey leaves its socket directory alone", "infra.valkey")
    assert main.started_at("valkey-server.service") == before
    plan, run = main.apply(test=True), main.converge()
    assert plan.planned == run.changed == {"Valkey runs"}
    assert main.started_at("valkey-server.service") > before
