"""
A server on a Unix socket that speaks as much of Valkey's protocol and of its ACL as our modules use.

Fidelity: ACL LIST has the words of 8.1 (``sanitize-payload`` in each line), a
refused login and an unknown rule have its messages. What rules mean is not
imitated except for key prefixes.
"""

import fnmatch
import hashlib
import socketserver
import threading
from pathlib import Path


class Valkey(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path, acl_file, config=None):
        self.acl_file = Path(acl_file)
        self.config = dict(config or {})
        self.keys = {}
        self.commands = []  # what was asked, without logins
        self.rewrites = {}  # rule: what the server makes of it
        self.load()
        super().__init__(path, _Session)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()
        Path(self.server_address).unlink(missing_ok=True)

    def load(self):
        lines = self.acl_file.read_text().splitlines() if self.acl_file.exists() else []
        self.users = {line.split()[1]: line.split()[2:] for line in lines}
        self.users.setdefault("default", ["on", "nopass", "~*", "&*", "+@all"])

    def acl_list(self):
        return [f"user {name} {rules[0]} sanitize-payload {' '.join(rules[1:])}" for name, rules in self.users.items()]

    def accepts(self, name, password):
        rules = self.users.get(name, ["off"])
        return "on" in rules and f"#{hashlib.sha256(password.encode()).hexdigest()}" in rules


class _Session(socketserver.StreamRequestHandler):
    user = None

    def handle(self):
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2].decode())
            self.wfile.write(self.answer(words))

    def answer(self, words):
        name = words[0].upper()
        if name == "AUTH":
            if not self.server.accepts(words[1], words[2]):
                return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
            self.user = words[1]
            return b"+OK\r\n"
        if self.user is None:
            return b"-NOAUTH Authentication required.\r\n"
        if name != "CLIENT":
            self.server.commands.append(words)
        return getattr(self, f"do_{name.lower()}", self.unknown)(*words[1:])

    def unknown(self, *_words):
        return b"-ERR unknown command\r\n"

    def do_ping(self):
        return b"+PONG\r\n"

    def do_acl(self, verb, *words):
        server = self.server
        if verb == "LIST":
            return _array(server.acl_list())
        if verb == "LOAD":
            server.load()
        elif verb == "DELUSER":
            for name in words:
                server.users.pop(name, None)
        elif verb == "SETUSER":
            name, reset, *rules = words
            assert reset == "reset"
            if "+nonsense" in rules:
                return b"-ERR Error in ACL SETUSER modifier '+nonsense': Unknown command or category name in ACL\r\n"
            server.users[name] = [server.rewrites.get(rule, rule) for rule in rules]
        return b"+OK\r\n"

    def do_config(self, verb, *words):
        if verb == "GET":
            return _array([word for pair in self.server.config.items() for word in pair])
        if words[1] == "wrong":
            return b"-ERR CONFIG SET failed (possibly related to argument 'maxmemory')\r\n"
        self.server.config[words[0]] = words[1]
        return b"+OK\r\n"

    def _allowed(self, key):
        rules = self.server.users[self.user]
        return any(fnmatch.fnmatchcase(key, rule[1:]) for rule in rules if rule.startswith("~"))

    def do_set(self, key, value, *_options):
        if not self._allowed(key):
            return b"-NOPERM No permissions to access a key\r\n"
        if key in self.server.keys:
            return b"$-1\r\n"
        self.server.keys[key] = value
        return b"+OK\r\n"

    def do_get(self, key):
        return _bulk(self.server.keys[key])

    def do_del(self, key):
        return f":{int(self.server.keys.pop(key, None) is not None)}\r\n".encode()


def _bulk(text):
    return f"${len(text.encode())}\r\n{text}\r\n".encode()


def _array(texts):
    return f"*{len(texts)}\r\n".encode() + b"".join(map(_bulk, texts))
