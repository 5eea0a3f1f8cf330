"""
What bin/bootstrap looks at before it changes anything: is this a host for it, and is it in use already?

Everything is read from files, so that nothing is started, asked or written.
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SUITES = ("trixie", "forky")
PODMAN = (5, 4)  # older ones lack keys of Quadlet that the tree uses
FIRST_USER_OBJECT = 16384  # PostgreSQL's FirstNormalObjectId: what has a lower number, initdb made
MIB = 1 << 20
COMMANDS = Path("usr/local/bin")


@dataclass(frozen=True)
class Finding:
    """Something that works on this host already: what it is, and what adoption would do to it."""

    what: str
    adoption: str


class Host:
    """The host as its files show it. ``root`` is for tests."""

    def __init__(self, root=Path("/")):
        self.root = root

    def path(self, name):
        return self.root / name

    @property
    def is_ours(self):
        """Whether bin/bootstrap has been allowed to work on this host before."""
        return self.path("etc/salt/minion.d/50-rick-infra.conf").exists()

    @property
    def is_our_master(self):
        """Whether bin/bootstrap --master has been at work on this host before."""
        return self.path("etc/salt/master.d/50-rick-infra.conf").exists()

    # --- problems: the host will not do -------------------------------------------------------------------------------

    def problems(self, salt, space_needed, commands=("salt-call",)):
        """
        Return why this host cannot be converged, a line each with the way out; empty if it can.

        ``salt`` is where ``commands`` in /usr/local/bin may lead to; ``space_needed`` maps directories to bytes.
        """
        found = []
        if os.geteuid() != 0:
            found.append("must run as root: sudo bin/bootstrap")
        if not self.path("run/systemd/system").is_dir():
            found.append(
                "this host was not booted by systemd, which runs every service: use sudo bin/demo, or a server"
            )
        release = self.release()
        if release.get("VERSION_CODENAME") not in SUITES:
            name = release.get("PRETTY_NAME", "an unknown release")
            found.append(f"this is {name}, needed is Debian 13 (trixie) or forky: use sudo bin/demo, or another host")
        elif version := self.podman_too_old():
            wanted = ".".join(map(str, PODMAN))
            found.append(
                f"Podman is {version}, needed is {wanted}: let apt offer the one of {release['VERSION_CODENAME']}"
            )
        found += self.missing_space(space_needed)
        for link in (self.path(COMMANDS / name) for name in commands):
            leads_to = str(link.readlink()) if link.is_symlink() else ""
            if (link.is_symlink() or link.exists()) and not leads_to.startswith(salt):
                name = link.relative_to(self.root)
                found.append(f"/{name} is not ours: move it away (what is at its place will lead to {salt})")
        return found

    def release(self):
        """Return what os-release says, by key."""
        for name in ("etc/os-release", "usr/lib/os-release"):
            if self.path(name).exists():
                lines = re.findall(r"^(\w+)=[\"']?(.*?)[\"']?$", self.path(name).read_text(), re.MULTILINE)
                return dict(lines)
        return {}

    def podman_too_old(self):
        """Return the version of the Podman that is installed or would be, if it is too old."""
        version = self.package("podman").get("Version")
        if not version:
            # Both releases have it, so without apt's lists the release is answer enough.
            if not any(self.path("var/lib/apt/lists").glob("*_Packages*")):
                return None
            policy = subprocess.run(["apt-cache", "policy", "podman"], capture_output=True, text=True, check=False)
            candidate = re.search(r"Candidate: (\S+)", policy.stdout)
            version = candidate[1] if candidate else "not to be had"
        number = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
        return None if number and tuple(map(int, number.groups())) >= PODMAN else version

    def missing_space(self, needed):
        """Return a line for each file system that has too little room for what is put on it."""
        devices = {}
        for directory, size in needed.items():
            exists = next(path for path in (directory, *directory.parents) if path.exists())
            devices.setdefault(exists.stat().st_dev, []).append((exists, directory, size))
        found = []
        for places in devices.values():
            free, size = shutil.disk_usage(places[0][0]).free, sum(size for _, _, size in places)
            if free < size:
                names = " and ".join(str(directory) for _, directory, _ in places)
                found.append(
                    f"{names}: {free // MIB} MiB free, {size // MIB} MiB needed: make room, or use a larger disk"
                )
        return found

    # --- findings: the host is in use ---------------------------------------------------------------------------------

    def findings(self, role=None):
        """
        Return what is in use already and would be changed.

        ``role`` is ``master``, ``minion``, or None for a host that applies the tree by itself.
        """
        if role == "master":
            return [] if self.is_our_master else self.salt_master()
        if self.is_ours:
            return []
        return [*self.postgresql(), *self.valkey(), *self.caddy(), *self.salt_minion(role)]

    def postgresql(self):
        """The clusters that hold anything their initdb did not put there."""
        clusters = {path.parent for path in self.path("var/lib/postgresql").glob("*/*/PG_VERSION")}
        for configuration in self.path("etc/postgresql").glob("*/*/postgresql.conf"):
            setting = re.search(r"^\s*data_directory\s*=?\s*'(.+?)'", configuration.read_text(), re.MULTILINE)
            if setting and (cluster := self.root / setting[1].lstrip("/")).is_dir():
                clusters.add(cluster)
        return [
            Finding(
                f"a PostgreSQL cluster with data: /{cluster.relative_to(self.root)}",
                "the data stay; the cluster named main gets our pg_hba.conf and settings: no TCP listener, and"
                " connections only through the socket, from a system user to the role of its name",
            )
            for cluster in sorted(clusters)
            if has_data(cluster)
        ]

    def valkey(self):
        changed = self.changed_configuration("valkey-server", "etc/valkey/valkey.conf")
        return [
            Finding(
                f"Valkey with a configuration of its own: /{path}",
                "the file is replaced: no TCP listener, users from our ACL file only; the data in its directory stay",
            )
            for path in changed
        ]

    def caddy(self):
        changed = self.changed_configuration("caddy", "etc/caddy/Caddyfile")
        by_api = [
            Finding(
                f"Caddy with a configuration from its admin API: /{link.relative_to(self.root)}",
                "caddy-api.service is stopped when ours starts, and what it serves is not served any more;"
                " disable it, or the two compete at boot",
            )
            for link in sorted(self.path("etc/systemd/system").glob("*.wants/*"))
            if link.name == "caddy-api.service"
        ]
        return by_api + [
            Finding(
                f"Caddy with a configuration of its own: /{path}",
                "the Caddyfile is replaced and kept as /etc/caddy/Caddyfile.before-rick-infra: what it serves is not"
                " served any more, until a service's entry does; sites in /etc/caddy/sites-enabled are, and Caddy's"
                " certificates stay; its admin API moves from TCP to /run/caddy/admin.sock",
            )
            for path in changed
        ]

    def salt_minion(self, role):
        # A key by itself means nothing: an enrollment that was refused leaves one, too.
        found = self.salt_daemon("minion", "etc/salt/pki/minion", "minion_master.pub")
        if role == "minion":
            adoption = (
                "its files and keys stay, but for its master's key; /etc/salt/minion.d/50-rick-infra.conf is added, by"
                " which its master is the one that you name, and our unit takes the place of its own"
            )
        else:
            adoption = (
                "its files and keys stay; /etc/salt/minion.d/50-rick-infra.conf is added, by which salt-call, and the"
                " minion's daemon once it is restarted, take states and pillar from this tree and not from a master"
            )
        return [Finding(f"a Salt minion: {', '.join(found)}", adoption)] if found else []

    def salt_master(self):
        found = self.salt_daemon("master", "etc/salt/pki/master", "minions/*")
        adoption = (
            "its files and keys stay, and the minions that it has accepted; /etc/salt/master.d/50-rick-infra.conf is"
            " added, by which they get states and pillar from this tree, and our unit takes the place of its own"
        )
        return [Finding(f"a Salt master: {', '.join(found)}", adoption)] if found else []

    def salt_daemon(self, name, keys, known):
        """Return what there is of a daemon of Salt, in words; ``known`` are its keys of others."""
        configuration = [self.path(f"etc/salt/{name}"), *sorted(self.path(f"etc/salt/{name}.d").glob("*.conf"))]
        found = [f"/{path.relative_to(self.root)}" for path in configuration if path.is_file() and path.stat().st_size]
        if any(self.path(keys).glob(known)):
            found.append(f"its keys in /{keys}")
        if "installed" in self.package(f"salt-{name}").get("Status", "").split():
            found.append(f"the package salt-{name}")
        return found

    def changed_configuration(self, package, main):
        """Return the configuration files in the folder of ``main`` that differ from what the package brought."""
        folder = Path(main).parent
        brought = dict(re.findall(r"^ /(\S+) ([0-9a-f]{32})", self.package(package).get("Conffiles", ""), re.MULTILINE))
        ours = {name: digest for name, digest in brought.items() if Path(name).parent == folder}
        files = [name for name in {main, *ours} if self.path(name).is_file()]
        return [name for name in sorted(files) if md5(self.path(name)) != ours.get(name)]

    def package(self, name):
        """Return what dpkg knows about a package, by field; empty if it never heard of it."""
        status = self.path("var/lib/dpkg/status")
        if not status.exists():
            return {}
        entry = re.search(rf"^Package: {re.escape(name)}\n(?:.+\n)*", status.read_text(), re.MULTILINE)
        fields = re.findall(r"^(\S+):(.*(?:\n .*)*)", entry[0], re.MULTILINE) if entry else []
        return {key: value.strip(" ") for key, value in fields}


def has_data(cluster):
    """Whether a PostgreSQL data directory holds a database or a table that is not initdb's."""
    entries = [*cluster.glob("base/*"), *cluster.glob("base/*/*")]
    numbers = [re.match(r"\d+", entry.name) for entry in entries]
    return any(number and int(number[0]) >= FIRST_USER_OBJECT for number in numbers)


def md5(path):
    """What dpkg compares configuration files by."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
