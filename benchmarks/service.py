"""
The service with which the ways to the databases are measured: its user, its image, its doors, and how all of it goes.

A run that was killed leaves its traces; the user is made first and removed last, so that it tells of them.
"""

import contextlib
import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import host
from console import Failure, step

# No service of anybody's: what bears this name is deleted, its database too.
NAME = "rick-benchmark"
IMAGE = f"localhost/{NAME}:1"
PRIVATE = f"/run/rick-infra/{NAME}"
GROUPS = {"postgresql": "postgres-clients", "valkey": "valkey-clients"}
KEY = "key:000000000000"  # the one key that valkey-benchmark uses with -r 1
PASSWORD = Path(f"/var/lib/rick-infra/secrets/{NAME}.valkey")
VALKEY_PORT = 6379
VALKEY_BIND = "* -::*"  # Valkey's default
ACCESS = Path(f"/run/{NAME}.hba.conf")
OVERRIDE = """\
[Service]
ExecStart=
ExecStart=-/usr/bin/pg_ctlcluster --skip-systemctl-redirect -o "{options}" %i start
"""
SCALE = 10  # pgbench's unit: 100 000 rows, 15 MiB


def make(servers):
    """
    Make the service and open TCP for it.

    servers
        ``catalogue.infrastructure`` of ``postgresql`` and ``valkey``.

    Returns the address of the host on the network of the service's containers.
    """
    groups = list(GROUPS.values())
    host.state("user.present", NAME, system=True, createhome=False, groups=groups)
    host.state("postgresql.role_present", NAME)
    host.state("postgresql.database_present", NAME, owner=NAME)
    host.state("valkey_user.present", NAME, user={"prefix": KEY})
    for server, group in GROUPS.items():
        target, daemon = servers[server]["socket"], servers[server]["unit"]
        host.state("private_socket.present", NAME, target=target, user=NAME, group=group, daemon=daemon)
    make_image(servers["postgresql"]["version"])
    address = make_network()
    open_tcp(servers["postgresql"], address)
    with step("fill the database"):
        run(*as_user(), pgbench(servers["postgresql"]["version"]), "-i", "-q", "-s", str(SCALE), "-U", NAME,
            "-h", str(Path(servers["postgresql"]["socket"]).parent), NAME)  # fmt: skip
    return address


def is_there():
    """Return whether the service, or what is left of it, is on this host."""
    try:
        pwd.getpwnam(NAME)
    except KeyError:
        return False
    return True


def remove(servers):
    """Remove all that ``make`` makes, as far as it is there."""
    with contextlib.ExitStack() as last_first:  # each is tried, whatever became of the others
        last_first.callback(host.state, "user.absent", NAME)
        last_first.callback(host.state, "secret.absent", f"{NAME}.valkey")
        last_first.callback(host.state, "valkey_user.absent", NAME)
        last_first.callback(delete_key, servers["valkey"]["socket"])
        last_first.callback(host.state, "postgresql.role_absent", NAME)
        last_first.callback(host.state, "postgresql.database_absent", NAME, force=True)
        for server in GROUPS:
            last_first.callback(host.state, "private_socket.absent", NAME, target=servers[server]["socket"])
        last_first.callback(run, "podman", "image", "rm", "--force", "--ignore", IMAGE)
        last_first.callback(run, "podman", "network", "rm", "--force", NAME)
        last_first.callback(run, "podman", "rm", "--force", "--ignore", "--time=0", NAME)
        last_first.callback(close_tcp, servers["postgresql"])


def make_image(version):
    """Import an image of this machine's own clients and the libraries they load: no registry, no other versions."""
    programs = [pgbench(version), "/usr/bin/valkey-benchmark", "/usr/bin/sleep"]
    words = run("ldd", *programs).split()
    libraries = {word for word in words if word.startswith("/") and not word.endswith(":")}
    files = [file.lstrip("/") for file in [*programs, *sorted(libraries)]]
    # Files in place of links: /lib is a link to a directory that the image does not have.
    pack = ["tar", "--create", "--dereference", "--directory=/", *files]
    with step("make the image"), subprocess.Popen(pack, stdout=subprocess.PIPE) as archive:
        run("podman", "import", "--quiet", "-", IMAGE, stdin=archive.stdout)
    if archive.returncode != 0:
        raise Failure("the image could not be packed; what tar said is above")


def make_network():
    """Make a network as services have it, and return the host's address there."""
    run("podman", "network", "create", "--ignore", "--disable-dns", NAME)
    # The bridge, and with it the address to listen on, is there only while a container is on it.
    run("podman", "run", "--detach", "--replace", "--name", NAME, "--network", NAME, IMAGE, "sleep", "infinity")
    return run("podman", "network", "inspect", "--format", "{{(index .Subnets 0).Gateway}}", NAME).strip()


def open_tcp(postgresql, address):
    """Have both servers listen on the containers' network as well. No file that outlives a boot says so."""
    subnet = run("podman", "network", "inspect", "--format", "{{(index .Subnets 0).Subnet}}", NAME).strip()
    rules = Path(postgresql["config_directory"], "pg_hba.conf").read_text()
    override = override_of(postgresql)
    with step("open TCP"):
        ACCESS.write_text(f"host {NAME} {NAME} {subnet} trust\n{rules}")
        override.parent.mkdir(parents=True, exist_ok=True)
        override.write_text(OVERRIDE.format(options=f"-c listen_addresses={address} -c hba_file={ACCESS}"))
        restart(postgresql["unit"])
        host.salt("valkey.settings_apply", f'{{"bind": "{address}", "port": "{VALKEY_PORT}"}}')


def close_tcp(postgresql):
    """Have both servers listen on their sockets only."""
    override = override_of(postgresql)
    with step("close TCP"):
        host.salt("valkey.settings_apply", f'{{"port": "0", "bind": "{VALKEY_BIND}"}}')
        override.unlink(missing_ok=True)
        restart(postgresql["unit"])
        ACCESS.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not there, or not empty
            override.parent.rmdir()


def override_of(postgresql):
    return Path(f"/run/systemd/system/{postgresql['unit']}.d/90-{NAME}.conf")


def restart(unit):
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", unit)


def delete_key(valkey_socket):
    """Delete what valkey-benchmark wrote."""
    if PASSWORD.exists():
        # -e: without it an error would be an answer like any other.
        client = ["valkey-cli", "-e", "-s", valkey_socket, "--user", NAME, "DEL", KEY]
        run(*client, env={**os.environ, "REDISCLI_AUTH": PASSWORD.read_text().strip()})


def pgbench(version):
    return f"/usr/lib/postgresql/{version}/bin/pgbench"


def as_user():
    """The beginning of a command that runs on the host as the service's user, with the user's groups."""
    return ["runuser", "-u", NAME, "--"]


def contained(*options):
    """The beginning of a command that runs in a container, as the service's containers do, besides ``options``."""
    return ["podman", "run", "--rm", "--log-driver=none", "--security-opt=no-new-privileges", *options, IMAGE]


def ids():
    """The options by which a container is the service's user, and in the client groups."""
    user = pwd.getpwnam(NAME)
    groups = [f"--group-add={grp.getgrnam(group).gr_gid}" for group in GROUPS.values()]
    return [f"--user={user.pw_uid}:{user.pw_gid}", *groups, "--cap-drop=all"]


def run(*command, **options):
    """Run a command and return what it printed. Raises Failure with what it complained about."""
    options = {"stdin": subprocess.DEVNULL, **options}
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        sys.stderr.write(done.stderr or done.stdout)
        # Not all of it: a password is among the last words.
        raise Failure(f"{' '.join(command[:5])} … failed with exit code {done.returncode}; what it said is above")
    return done.stdout
