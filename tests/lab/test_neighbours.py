"""
One service turned against all others: what its pod can reach, in the strictest form and in the most permissive one.

The permissive one has what an entry can give: the image's root, every capability, a writable root, private sockets.
"""

import json

import pytest
from machine import LISTENER, eventually

ENTRY = {
    **LISTENER,
    "postgres": True,
    "valkey": {"isolation": "instance"},
    "secrets": {"own": {"mount": "/run/secrets/own"}},
    "volumes": {"data": "/data", "fixed": {"path": "/fixed", "read_only": True}},
}
# What other engines give to every container. Some of the rest, such as SYS_ADMIN, are the host itself.
CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"]
CAPABILITIES += ["SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"]
FORMS = {
    "strict": ENTRY,
    "permissive": {**ENTRY, "user": "image", "capabilities": CAPABILITIES, "read_only": False, "new_privileges": True},
}
ATTACK = r"""
import errno, json, os, socket, struct, sys

def outcome(attempt):
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    return "done"

def tcp(address, port):
    socket.create_connection((address, port), timeout=1).close()

def unix(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + path[1:] if path[0] == "@" else path)

def write(path):
    with open(path, "w") as file:
        file.write("x")

tried = {"tcp": tcp, "unix": unix, "read": lambda path: open(path, "rb").read(1), "list": os.listdir, "write": write}
def mknod(path):
    os.mknod(path, 0o60600, os.makedev(254, 0))
    open(path, "rb").read(1)

tried["mknod"] = mknod

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)

def raw(address, port):
    # Begin a connection by a packet of one's own making, to an address that the kernel would not send anywhere.
    routes = [line.split() for line in open("/proc/net/route").readlines()[1:]]
    gateway = next(socket.inet_ntoa(bytes.fromhex(words[2])[::-1]) for words in routes if words[1] == "00000000")
    with socket.create_connection((gateway, 53), timeout=1) as client:  # Podman's name server: now its bridge is known
        mine = socket.inet_aton(client.getsockname()[0])
    known = [line.split() for line in open("/proc/net/arp").readlines()[1:]]
    bridge = next(bytes.fromhex(words[3].replace(":", "")) for words in known if words[0] == gateway)
    ends = mine + socket.inet_aton(address)
    tcp = struct.pack("!HHIIHHHH", 40404, port, 1, 0, 0x5002, 64240, 0, 0)
    tcp = tcp[:16] + checksum(ends + struct.pack("!HH", 6, len(tcp)) + tcp) + tcp[18:]
    head = struct.pack("!HHIBBH", 0x4500, 40, 0, 64, 6, 0) + ends
    head = head[:10] + checksum(head) + head[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as wire:
        wire.settimeout(1)
        wire.sendto(head + tcp, ("eth0", 0x0800, 0, 0, bridge))
        while True:
            answer = wire.recv(2048)
            if answer[9] == 6 and answer[20:24] == tcp[2:4] + tcp[:2]:
                return

tried["raw"] = raw
tried["unlink"] = os.unlink
attempts = json.load(sys.stdin)
print(json.dumps([[kind, *words, outcome(lambda: tried[kind](*words))] for kind, *words in attempts]))
"""


@pytest.fixture(scope="module")
def host(main_machine):
    """Both forms of the attacker, and a victim with sockets, files and an abstract socket on the host."""
    for form, entry in FORMS.items():
        main_machine.declare(form, entry)
    main_machine.converge()
    main_machine.write("/opt/notes/secret", "x")
    yield main_machine
    main_machine.sh("rm /opt/notes/secret")
    main_machine.remove(*FORMS)


def attack(host, form, attempts):
    """What becomes of attempts within a container's process: the outcome of each, as ``{attempt: outcome}``."""
    command = ["podman", "exec", "-i", f"{form}-web", "/usr/bin/python3", "-c", ATTACK]
    done = host.run(*command, text=json.dumps(attempts))
    return {tuple(attempt): outcome for *attempt, outcome in json.loads(done.stdout)}


def addresses(host, pid):
    text = host.sh(f"nsenter -t {pid} -n ip -json -4 address")
    return [one["local"] for link in json.loads(text) for one in link["addr_info"] if link["ifname"] != "lo"]


def pid(host, container):
    return host.sh(f"podman inspect --format '{{{{.State.Pid}}}}' {container}")


@pytest.fixture(params=list(FORMS))
def form(request):
    return request.param


def test_no_neighbour_and_no_daemon_is_reached_over_the_network(host, form):
    own = addresses(host, pid(host, f"{form}-web"))
    neighbours = addresses(host, pid(host, "notes-web"))
    others = [one for one in FORMS if one != form]
    neighbours += [address for one in others for address in addresses(host, pid(host, f"{one}-web"))]
    interfaces = json.loads(host.sh("ip -json -4 address"))
    bridges = [one["local"] for link in interfaces for one in link["addr_info"] if link["ifname"] != "lo"]
    listening = json.loads(host.sh("salt-call --out=json --log-level=error catalogue.list"))["local"]
    ports = [one["port"] for name, one in listening.items() if one["port"] and name != form]
    attempts = [["tcp", address, 8080] for address in neighbours]
    # The database, the cache, Caddy's usual admin port, and what is published on the host's loopback.
    attempts += [["tcp", address, port] for address in bridges for port in (5432, 6379, 2019, *ports)]
    assert [attempt for attempt, outcome in attack(host, form, attempts).items() if outcome == "done"] == []
    # It can connect where something listens.
    assert set(attack(host, form, [["tcp", address, 8080] for address in ("127.0.0.1", *own)]).values()) == {"done"}


def test_what_listens_on_the_hosts_loopback_is_not_reached_by_packets_of_its_own_making(host, form):
    """Podman lets the kernel route such packets (route_localnet), and NET_RAW is all that sending them takes."""
    host.run("systemd-run", "--unit=on-loopback", "python3", "-m", "http.server", "9099", "--bind=127.0.0.1")
    attempt = ["raw", "127.0.0.1", 9099]
    try:
        eventually(lambda: host.http("/", port=9099) == 200, 30, "something listens on the loopback")
        outcome = {"strict": "EPERM", "permissive": "TimeoutError"}[form]
        assert attack(host, form, [attempt]) == {tuple(attempt): outcome}
        if form == "permissive":
            host.run("nft", "flush", "chain", "inet", "rick_infra", "loopback")
            assert attack(host, form, [attempt]) == {tuple(attempt): "done"}
    finally:
        host.run("systemctl", "stop", "on-loopback")
        host.converge()


def test_no_socket_but_its_own_is_reached(host, form):
    attempts = [
        *(["unix", f"/run/rick-infra/{one}/.s.PGSQL.5432"] for one in FORMS if one != form),
        *(["unix", f"/run/valkey-{one}/valkey.sock"] for one in FORMS if one != form),
        *(["unix", path] for path in ("/run/podman/podman.sock", "/run/caddy/admin.sock", "/run/systemd/private")),
        *(["unix", path] for path in ("/run/dbus/system_bus_socket", "/run/valkey/valkey.sock", "@on-the-host")),
    ]
    script = "import socket\ns = socket.socket(socket.AF_UNIX); s.bind('\\0on-the-host'); s.listen()\n"
    listener = host.popen("python3", "-c", f"{script}print('listening', flush=True)\nimport signal; signal.pause()")
    try:
        assert listener.stdout.readline() == b"listening\n"
        reached = [attempt for attempt, outcome in attack(host, form, attempts).items() if outcome == "done"]
        assert reached == []
        seen = host.run("python3", "-c", "import socket; socket.socket(socket.AF_UNIX).connect('\\0on-the-host')")
        assert seen.returncode == 0
    finally:
        listener.kill()
        listener.wait()
    own = {"strict": "/run/postgresql/.s.PGSQL.5432", "permissive": "/run/rick-infra/permissive/.s.PGSQL.5432"}
    assert set(attack(host, form, [["unix", own[form]]]).values()) == {"done"}


def test_no_file_of_the_host_or_of_a_neighbour_is_read_or_written(host, form):
    victim = pid(host, "notes-web")
    attempts = [
        *([kind, path] for kind in ("list", "read") for path in ("/etc/rick-infra", "/var/lib/rick-infra")),
        ["read", "/opt/notes/secret"],
        ["list", "/opt/notes"],
        # The host's numbers mean nothing in the pod; what else is there would be a neighbour's.
        *(["read", f"/proc/{victim}/{what}"] for what in ("environ", "root/etc/passwd", "mem")),
        ["read", "/proc/1/root/etc/rick-infra/services/notes.yaml"],
        *(
            ["write", path]
            for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper")
        ),
        ["read", "/dev/vda"],
        ["read", "/dev/mem"],
        ["mknod", "/data/disk"],
        ["write", "/fixed/x"],
        ["unlink", "/run/postgresql/.s.PGSQL.5432"],
        ["unlink", f"/run/rick-infra/{form}/.s.PGSQL.5432"],
        ["unlink", f"/run/valkey-{form}/valkey.sock"],
    ]
    done = [attempt for attempt, outcome in attack(host, form, attempts).items() if outcome == "done"]
    assert done == []
    own = [["write", "/data/x"], ["read", "/data/x"], ["read", "/run/secrets/own"], ["list", "/fixed"]]
    assert set(attack(host, form, own).values()) == {"done"}


@pytest.mark.parametrize("kind", ["net", "ipc", "mnt", "pid", "uts"])
def test_it_shares_no_namespace_with_the_host_or_a_neighbour(host, form, kind):
    processes = [pid(host, f"{form}-web"), pid(host, "notes-web"), "1"]
    assert len({host.sh(f"readlink /proc/{one}/ns/{kind}") for one in processes}) == len(processes)


def test_it_has_no_keyring_of_another(host, form):
    """The kernel's key store knows no namespaces: a session keyring of its own is what keeps it apart."""
    script = (
        "import ctypes, ctypes.util, json; c = ctypes.CDLL(None, use_errno=True);"
        "print(json.dumps(c.syscall(250, 0, -3, 0)), ctypes.get_errno())"
    )
    keyring = [
        host.run("podman", "exec", f"{name}-web", "/usr/bin/python3", "-c", script).stdout.split()[0]
        for name in (form, "notes")
    ]
    assert keyring[0] != keyring[1] or keyring[0] == "-1"


@pytest.mark.parametrize("data", ["archive", "delete"])
def test_what_a_service_leaves_behind_leads_root_nowhere(host, data):
    """Links in its directories, and a directory exchanged for one: neither a run nor the removal follows them."""
    host.declare("leaver", {**ENTRY, "valkey": None, "postgres": None})
    host.converge()
    host.sh("mkdir -p /srv/precious/inner; echo precious > /srv/precious/file; chmod -R go-rwx /srv/precious")
    before = host.sh("stat -c '%n %U:%G %a' /srv/precious /srv/precious/file /srv/precious/inner")
    plant = (
        "import os\n"
        "os.symlink('/srv/precious', '/data/link'); os.symlink('/srv/precious/file', '/data/file')\n"
        "os.symlink('../../../srv/precious', '/data/up')\n"
        "os.mkdir('/data/deep'); os.symlink('/srv/precious', '/data/deep/inner')\n"
    )
    host.run("podman", "exec", "leaver-web", "/usr/bin/python3", "-c", plant)
    # As somebody who escaped from the container, but is not root: the home is root's, so nothing in it is exchanged.
    exchange = ["setpriv", "--reuid=leaver", "--regid=leaver", "--init-groups", "sh", "-c"]
    assert host.run(*exchange, "mv /opt/leaver/data /opt/leaver/old", check=False).returncode != 0
    assert host.run(*exchange, "ln -s /srv/precious /opt/leaver/new", check=False).returncode != 0
    host.sh("chmod 0700 /opt/leaver/data")
    assert host.converge().changed == {"Service leaver has its user"}
    host.declare("leaver", {"state": "absent", "data": data})
    host.converge()
    host.sh("rm /etc/rick-infra/services/leaver.yaml")
    assert host.sh("stat -c '%n %U:%G %a' /srv/precious /srv/precious/file /srv/precious/inner") == before
    assert host.sh("cat /srv/precious/file") == "precious"
    assert host.run("test", "-e", "/opt/leaver", check=False).returncode != 0
    if data == "archive":
        names = host.sh("tar --list --verbose -f /var/lib/rick-infra/archive/leaver/*files.tar.*")
        assert "data/link -> /srv/precious" in names
        assert "data/link/" not in names


def test_a_directory_that_was_exchanged_for_a_link_is_refused_not_followed(host):
    """What only root could have done is not repaired blindly either."""
    host.sh("mkdir -p /srv/elsewhere; chmod 700 /srv/elsewhere; mv /opt/strict/data /opt/strict/aside")
    host.sh("ln -s /srv/elsewhere /opt/strict/data")
    try:
        failed = host.apply().failed
        assert "symbolic links are not followed" in failed["Service strict has its user"]
        assert host.stat("/srv/elsewhere") == "root:root 700"
    finally:
        host.sh("rm /opt/strict/data; mv /opt/strict/aside /opt/strict/data")
