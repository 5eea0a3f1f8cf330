"""
bin/bootstrap on hosts that are not what it expects: it says so, and changes nothing.
"""

import pytest

BOOTSTRAP = "/srv/rick-infra/bin/bootstrap"
STATE = "find /etc /opt /usr/local /var/lib/dpkg -newer /root/before -not -path '/etc/machine-id' | sort"


@pytest.fixture(scope="module")
def used(copy_of_prepared):
    """A host with a database, a cache and a Salt minion of somebody else."""
    made = copy_of_prepared("t-used")
    made.sh("rm /etc/salt/minion.d/50-rick-infra.conf /usr/local/bin/salt-call")
    made.sh("apt-get -q update; DEBIAN_FRONTEND=noninteractive apt-get install -q -y postgresql valkey-server")
    made.sh("echo 'maxmemory 10mb' >> /etc/valkey/valkey.conf; systemctl restart valkey-server")
    made.sh("runuser -u postgres -- createdb precious")
    made.sh("echo 'master: salt.example.test' > /etc/salt/minion")
    made.sh("touch /root/before; sleep 0.05")
    return made


def test_a_used_host_is_left_alone_and_everything_found_is_named(used):
    done = used.run(BOOTSTRAP, check=False)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    for found in ("/var/lib/postgresql/17/main", "/etc/valkey/valkey.conf", "/etc/salt/minion", "--adopt"):
        assert found in said
    assert used.sh(STATE) == ""
    assert used.sh("valkey-cli config get maxmemory | tail -1") == "10485760"


def test_adopt_takes_the_host_over_and_keeps_its_data(used):
    done = used.run(BOOTSTRAP, "--adopt", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert used.sh("cat /etc/salt/minion") == "master: salt.example.test"
    assert used.sh("runuser -u postgres -- psql -Atc 'select 1' precious") == "1"
    assert {name: detail for name, (passed, detail) in used.verify().items() if not passed} == {}
    assert used.apply().changed == set()


def test_without_root_it_says_so(used):
    done = used.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", BOOTSTRAP, check=False)
    assert done.returncode != 0
    assert "root" in done.stderr


def test_rootless_leftovers_are_reported_and_removed_on_request(used):
    used.sh("id old 2>/dev/null || useradd --create-home old")
    used.sh("mkdir -p /var/lib/systemd/linger ~old/.config/containers/systemd; touch /var/lib/systemd/linger/old")
    used.sh("touch ~old/.config/containers/systemd/app.container")
    used.sh("grep -q ^old: /etc/subuid || echo old:100000:65536 >> /etc/subuid")
    assert "old" in used.salt("rootless.leftovers")
    assert "lingers" in used.run(BOOTSTRAP).stdout
    used.write("/etc/rick-infra/pillar/site.sls", "rick:\n  podman:\n    remove_rootless: [old]\n")
    assert used.converge().changed == {"Rootless Podman is gone"}
    assert used.salt("rootless.leftovers") == {}
    assert "old:" not in used.sh("cat /etc/subuid")
    assert used.apply().changed == set()
