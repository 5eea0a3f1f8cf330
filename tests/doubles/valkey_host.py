"""
A host on which the files of Valkey are real, below a folder, and its servers are doubles at their sockets.
"""

import grp
import os
import pwd

from doubles.valkey import Valkey
from dunders import functions
from tree import load

CONFIG = {"maxmemory": "0", "appendonly": "no", "databases": "16"}
ME, MINE = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
UTILS = ("valkey_acl", "valkey_archive", "valkey_places", "valkey_server", "valkey_settings", "valkey_instance_files")
UTILS = (*UTILS, "valkey_proof", "secret_files", "textfile", "run_as")


class Host:
    """Where things are on this host, and its servers, which can be started, stopped and restarted."""

    def __init__(self, monkeypatch, folder):
        self.folder, self.secrets = folder, folder / "secrets"
        self.running, self.instances, self.restarts = None, {}, 0
        places = load("utils", "valkey_places")
        for name in ("CONFIGURATION", "DATA", "RUN", "UNITS", "TMPFILES"):
            path = folder / name.lower()
            path.mkdir()
            monkeypatch.setattr(places, name, str(path))
        (folder / "run/valkey").mkdir()
        monkeypatch.setattr(places, "SECRETS", str(self.secrets))
        monkeypatch.setattr(places, "ACCOUNT", ME)
        monkeypatch.setattr(load("utils", "secret_files"), "DIRECTORY", str(self.secrets))
        monkeypatch.setattr(load("utils", "valkey_archive"), "FOLDER", str(folder / "archive"))
        place = places.place()
        self.acl_file, self.config_file = folder / "configuration/users.acl", folder / "configuration/valkey.conf"
        self.socket = folder / "run/valkey/valkey.sock"
        assert (str(self.acl_file), str(self.socket)) == (place["acl_file"], place["socket"])
        self.context = {}

    def prepare(self, monkeypatch, module, salt=None):
        """Give a module what Salt's loader would put into it."""
        monkeypatch.setattr(
            module, "__utils__", {**functions("utils", *UTILS), "units.act": self.restart}, raising=False
        )
        monkeypatch.setattr(module, "__context__", self.context, raising=False)
        monkeypatch.setattr(module, "__salt__", salt or {}, raising=False)

    def start(self):
        self.running = Valkey(str(self.socket), self.acl_file, CONFIG)
        return self.running

    def start_instance(self, name):
        place = load("utils", "valkey_places").place(name)
        (self.folder / f"run/valkey-{name}").mkdir(exist_ok=True)
        self.instances[name] = Valkey(place["socket"], place["acl_file"], CONFIG)
        return self.instances[name]

    def stop(self):
        for server in filter(None, [self.running, *self.instances.values()]):
            server.stop()
        self.running, self.instances = None, {}

    def restart(self, verb, units):
        assert (verb, units) == ("restart", ["valkey-server.service"])
        self.restarts += 1
        self.running.stop()
        self.start()

    def secret(self, name):
        return (self.secrets / name).read_text().strip()
