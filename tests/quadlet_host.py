"""
A host without systemd and Podman, for the modules of Quadlet and pods: files are real, the rest answers from a script.
"""

import copy
import os
import pwd
from pathlib import Path

from salt.exceptions import CommandExecutionError
from tree import load

quadlet = load("modules", "quadlet")
live = load("modules", "quadlet_live")
pod = load("modules", "pod")
health = load("modules", "pod_health")
generation = load("modules", "generation")
MODULES = {"quadlet": quadlet, "quadlet_live": live, "pod": pod, "pod_health": health, "generation": generation}
files = load("utils", "quadlet_files")
timers = load("utils", "pod_timers")

QUADLET = ("text", "keys", "files", "guard", "ids", "defaults", "plan", "generator", "podman", "roles")
SUFFIXES = {".pod": "-pod", ".network": "-network", ".volume": "-volume", ".image": "-image", ".container": ""}
GONE = {
    "LoadState": "not-found",
    "ActiveState": "inactive",
    "SubState": "dead",
    "SourcePath": "",
    "Result": "success",
    "Job": "",
}


PAST = "2020-01-01"  # a schedule that is over

# A service: network, pod and container, and what a timer starts.
FILES = ["notes.network", "notes.pod", "notes-web.container"]
TIMERS = [{"name": "notes-cleanup", "schedule": "daily", "persistent": True}]


def container(name, exec_="serve", **sections):
    """Return a container of the service, as for pod.declared."""
    definition = {"Container": {"Pod": "notes.pod", "Image": "localhost/x:1", "Exec": exec_}, **sections}
    return {"kind": "container", "name": name, "definition": definition, "user": "notes", "socket_groups": []}


NETWORK = {"Network": {"Options": "isolate=true"}}
UNITS = [
    {"kind": "network", "name": "notes", "definition": NETWORK},
    {"kind": "pod", "name": "notes", "definition": {"Pod": {"Network": "notes.network"}}},
    container("notes-web"),
]
INIT = container("notes-init", "migrate", Service={"Type": "oneshot"})
CLEANUP = container("notes-cleanup", "clean", Service={"Type": "oneshot"})
CLEANUP["definition"]["Container"]["StartWithPod"] = False


def changed(**keys):
    """Return UNITS with other keys in the container."""
    units = copy.deepcopy(UNITS)
    units[2]["definition"]["Container"].update(keys)
    return units


class Host:
    """A host without systemd and Podman: what they would say, and what they were told."""

    def __init__(self, folder, generated):
        self.folder, self.generated = folder, generated
        self.systemd = {}
        self.containers, self.networks, self.volumes = {}, {}, {}
        self.images = {"localhost/x:1": "i"}
        self.secrets = {}
        self.podman = self.obedient = True
        self.version = (5, 4, 2)
        self.refused = {}
        self.done = []
        self.asked = []
        self.unwaited = []
        self.journal = ""
        self.answer = None
        self.network_owners = {}
        self.values = {}
        self.calendar = []
        self.dumps = []

    def text(self, file):
        path = self.folder / file
        return path.read_text() if path.exists() else None

    def service(self, file):
        stem, _, kind = file.rpartition(".")
        return f"{stem}{SUFFIXES[f'.{kind}']}.service"

    def owner(self, service, text):
        kind = "pod" if service.endswith("-pod.service") else "container"
        return load("utils", "quadlet_text").parse(kind, text.replace("[X-", "["), "").service()

    def pull(self, *arguments):
        self.done.append(("pull", *arguments))

    def tag(self, identity, name):
        self.images[name] = identity

    def untag(self, names):
        for name in names:
            self.images.pop(name, None)

    def store(self, name, value):
        """What podman secret create does."""
        self.values[name] = value
        self.secrets[name] = 500

    def known_secrets(self):
        digest = load("utils", "podman_secrets").digest
        return {name: {"id": name, "digest": digest(value)} for name, value in self.values.items()}

    def not_events(self, events):
        self.calendar += events
        return {event: "no" for event in events if event == "never"}

    def dump(self, name, database, server=None):
        self.dumps.append((name, database, list(self.done)))
        return f"/dumps/{name}"

    def reload(self):
        """What systemd and the generator do: every file becomes a unit, and what has no file is forgotten."""
        self.done.append("reload")
        os.utime(self.generated)  # as when it is filled anew
        present = {self.service(path.name): path for path in self.folder.iterdir() if path.suffix in SUFFIXES}
        for service, path in present.items():
            own = path.suffix[1:].capitalize()
            text = path.read_text().replace(f"[{own}]", f"[X-{own}]")
            (self.generated / service).write_text(f"{text}\n[Unit]\nSourcePath={path}\n")
            state = self.systemd.setdefault(service, dict(GONE))
            state.update(LoadState="loaded", SourcePath=str(path))
        folder = Path(timers.FOLDER)
        for path in folder.glob("*.timer"):
            state = self.systemd.setdefault(path.name, dict(GONE))
            state.update(LoadState="loaded")
            present[path.name] = path
        for service in set(self.systemd) - set(present):
            del self.systemd[service]
            (self.generated / service).unlink(missing_ok=True)

    def show(self, services, _properties):
        return {service: dict(self.systemd.get(service, GONE)) for service in services}

    def glance(self, services):
        self.asked.append("systemd")
        return self.show(services, None)

    def act(self, verb, services, wait=True):
        services = list(services)
        if not services:
            return
        self.done.append((verb, *services))
        if not wait:
            self.unwaited += services
        if not self.obedient:
            raise CommandExecutionError(f"{services[0]} failed")
        for service in services:
            if verb == "stop":
                self.systemd[service].update(ActiveState="inactive", SubState="dead")
                self.containers.pop(service, None)
            elif verb in ("start", "restart"):
                self.run(service)

    def run(self, service):
        self.systemd[service].update(ActiveState="active", SubState="running")
        if service.endswith(".timer"):
            return
        text = (self.generated / service).read_text()
        digest = load("utils", "quadlet_text").carried_digest(text)
        name = f"systemd-{service.removesuffix('.service').removesuffix('-network').removesuffix('-volume')}"
        if "\nType=oneshot\n" in text:
            self.systemd[service].update(SubState="exited")
        elif service.endswith("-network.service"):
            self.networks.setdefault(name, digest)
        elif service.endswith("-volume.service"):
            self.volumes.setdefault(name, digest)
        else:
            self.containers[service] = {
                "container": name,
                "infra": service.endswith("-pod.service"),
                "state": "running",
                "healthy": None,
                "starting": False,
                "owner": self.owner(service, text),
                "pid": 42,
                "image": "i",
                "digest": digest,
                "created": 1000,
                "pod": "p",
            }

    def generate(self, _folder, changes):
        """The errors that a change brings and the units it makes."""
        errors = [f'converting "{file}": {why}' for file, why in self.refused.items() if file in changes]
        return errors, {self.service(file): text for file, text in changes.items() if text is not None}

    def remove_networks(self, names):
        for name in names:
            self.done.append(("rm network", name))
            del self.networks[name]
            self.network_owners.pop(name, None)

    def ask(self, what):
        self.asked.append(what)
        return dict(getattr(self, what))


def install(tmp_path, monkeypatch, results):
    """Return a host on which the modules of MODULES work."""
    folder, generated, systemd = tmp_path / "systemd", tmp_path / "generator", tmp_path / "etc"
    for made in (folder, generated, systemd):
        made.mkdir()
    found = Host(folder, generated)
    monkeypatch.setattr(files, "FOLDER", str(folder))
    monkeypatch.setattr(files, "GENERATED", str(generated))
    monkeypatch.setattr(files, "UNIT_FOLDERS", ())
    monkeypatch.setattr(timers, "FOLDER", str(systemd))
    monkeypatch.setattr(timers, "STAMPS", str(tmp_path / "stamps"))
    monkeypatch.setattr(timers, "OTHER_FOLDERS", (str(tmp_path / "usr"),))
    monkeypatch.setattr(generation, "FOLDER", str(tmp_path / "var/services"))
    (tmp_path / "var").mkdir()
    utils = dict(results)
    others = "textfile client_groups private_units podman_store pod_timers pod_causes"
    others += " podman_secrets secret_files secret_values"
    for name in (*(f"quadlet_{name}" for name in QUADLET), *others.split()):
        module = load("utils", name)
        utils.update({f"{name}.{function}": value for function, value in vars(module).items() if callable(value)})
    monkeypatch.setattr(load("utils", "secret_files"), "DIRECTORY", str(tmp_path / "secrets"))
    utils.update(
        {
            "units.show": found.show,
            "units.glance": found.glance,
            "units.act": found.act,
            "units.daemon_reload": found.reload,
            "units.journal": lambda *_: found.journal,
            "units.not_calendar": found.not_events,
            "units.upcoming": lambda events: any(event != PAST for event in events),
            "client_groups.on_this_host": lambda: {"postgres-clients": 4001},
            "http_answer.wrong": lambda _: found.answer,
            "podman_secrets.create": found.store,
            "podman_secrets.read": found.known_secrets,
            # Without Podman's own files every question goes to Podman itself.
            "podman_store.places": lambda: None,
            "podman_store.containers": lambda: None,
            "podman_store.networks": lambda: None,
            "podman_store.network_owners": lambda: None,
            "podman_store.volumes": lambda: None,
            "quadlet_generator.installed": lambda: found.podman,
            "quadlet_generator.new_errors": found.generate,
            "quadlet_generator.run": lambda *_: {"errors": ["the generator's words"], "units": {}},
            "quadlet_podman.version": lambda: found.version if found.podman else None,
            "quadlet_podman.containers": lambda: found.ask("containers"),
            "quadlet_podman.networks": lambda: found.ask("networks"),
            "quadlet_podman.network_owners": lambda: dict(found.network_owners),
            "quadlet_podman.volumes": lambda: found.ask("volumes"),
            "quadlet_podman.images": lambda _: {**found.images, **{one: one for one in found.images.values()}},
            "quadlet_podman.secrets": lambda _: found.secrets,
            "quadlet_podman.has_image": lambda name: name in found.images,
            "quadlet_podman.pull": found.pull,
            "quadlet_podman.remove_networks": found.remove_networks,
            "quadlet_podman.remove_leftovers": lambda names, pods: found.done.append(("rm", names, pods)),
            "quadlet_podman.remove_images": lambda images: list(images),
            "quadlet_podman.tag": found.tag,
            "quadlet_podman.untag": found.untag,
            "quadlet_podman.secret_values": lambda names: {name: found.values[name] for name in names},
        }
    )
    salt = {
        f"{module}.{name}": value
        for module, loaded in MODULES.items()
        for name, value in vars(loaded).items()
        if callable(value)
    }
    salt["secret.pending"] = list
    salt["secret.path"] = lambda name: f"{tmp_path}/secrets/{name}"
    salt["secret.all_differences"] = lambda *_: {}
    salt["postgres_dump.dump"] = found.dump
    context = {}
    options = {"test": False}
    for module in MODULES.values():
        monkeypatch.setattr(module, "__salt__", salt, raising=False)
        monkeypatch.setattr(module, "__utils__", utils, raising=False)
        monkeypatch.setattr(module, "__context__", context, raising=False)
        monkeypatch.setattr(module, "__opts__", options, raising=False)
    facts = {"rick_infra": {"client_groups": {"postgres-clients": 4001}}}
    monkeypatch.setattr(quadlet, "__grains__", facts, raising=False)
    account = pwd.struct_passwd(("notes", "x", 990, 990, "rick-infra service notes", "/", ""))
    monkeypatch.setattr(pwd, "getpwnam", {"notes": account}.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", {990: account}.__getitem__)
    monkeypatch.setattr(pwd, "getpwall", lambda: [account])
    found.context, found.salt, found.utils, found.options = context, salt, utils, options
    return found
