"""
A server on a Unix socket that speaks as much of Valkey's protocol and of its ACL as our modules use.

Fidelity: ACL LIST has the words of 8.1 (``sanitize-payload`` in each line); a
refused login, an unknown rule and a line of the ACL file that cannot be have
its messages, and a refused file changes nothing. What rules mean is not
imitated except for key prefixes. Values are strings; what DUMP says of one is
the string with a mark and a checksum, as Valkey's has one.
"""

import fnmatch
import hashlib
import re
import socketserver
import threading
import time
import zlib
from pathlib import Path

MARK = b"\x00\xffdump"


class Valkey(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path, acl_file, config=None):
        self.acl_file = Path(acl_file)
        self.config = dict(config or {})
        self.databases = {0: {}}  # number: {key: (value, when it expires in ms or -1)}
        self.sessions = []
        self.commands = []  # what was asked, without logins
        self.rewrites = {}  # rule: what the server makes of it
        self.damaged = set()  # keys that RESTORE does not take
        assert self.load() is None
        super().__init__(path, _Session)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def keys(self):
        """Keys and values of database 0, as text."""
        return {key.decode("latin-1"): value.decode("latin-1") for key, (value, _) in self.databases[0].items()}

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()
        self.disconnect(lambda session: True)
        Path(self.server_address).unlink(missing_ok=True)

    def disconnect(self, whom):
        for session in [session for session in self.sessions if whom(session)]:
            session.hang_up()

    def load(self):
        """Read the ACL file; returns the number of a line that cannot be, and then nothing has changed."""
        lines = self.acl_file.read_text().splitlines() if self.acl_file.exists() else []
        for number, line in enumerate(lines, 1):
            if "+nonsense" in line.split():
                return number
        self.users = {line.split()[1]: line.split()[2:] for line in lines}
        self.users.setdefault("default", ["on", "nopass", "~*", "&*", "+@all"])
        return None

    def acl_list(self):
        return [f"user {name} {rules[0]} sanitize-payload {' '.join(rules[1:])}" for name, rules in self.users.items()]

    def accepts(self, name, password):
        rules = self.users.get(name, ["off"])
        return "on" in rules and f"#{hashlib.sha256(password.encode()).hexdigest()}" in rules


class _Session(socketserver.StreamRequestHandler):
    user = None
    database = 0

    def setup(self):
        super().setup()
        self.server.sessions.append(self)

    def finish(self):
        self.server.sessions.remove(self)
        super().finish()

    def hang_up(self):
        self.connection.shutdown(2)

    def handle(self):
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            self.wfile.write(self.answer(words))

    def answer(self, words):
        name = words[0].decode().upper()
        if name == "AUTH":
            user, password = words[1].decode(), words[2].decode()
            if not self.server.accepts(user, password):
                return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
            self.user = user
            return b"+OK\r\n"
        if self.user is None:
            return b"-NOAUTH Authentication required.\r\n"
        texts = [word.decode("latin-1") for word in words]
        self.server.commands.append(texts)
        raw = name in ("DUMP", "RESTORE", "SCAN", "TYPE", "PEXPIRETIME", "STRLEN", "UNLINK", "EXISTS")
        return getattr(self, f"do_{name.lower()}", self.unknown)(*(words if raw else texts)[1:])

    @property
    def held(self):
        """The keys of the selected database, as bytes."""
        now = time.time() * 1000
        held = self.server.databases.setdefault(self.database, {})
        for key in [key for key, (_, expires) in held.items() if 0 <= expires < now]:
            del held[key]
        return held

    def unknown(self, *_words):
        return b"-ERR unknown command\r\n"

    def do_ping(self):
        return b"+PONG\r\n"

    def do_select(self, number):
        self.database = int(number)
        return b"+OK\r\n"

    def do_client(self, verb, _filter, name):
        assert (verb, _filter) == ("KILL", "USER")
        self.server.disconnect(lambda session: session.user == name)
        return b":1\r\n"

    def do_acl(self, verb, *words):
        server = self.server
        if verb == "LIST":
            return _array(server.acl_list())
        if verb == "LOAD":
            wrong = server.load()
            if wrong:
                return f"-ERR {server.acl_file}:{wrong}: Error in applying operation '+nonsense'\r\n".encode()
            server.disconnect(lambda session: session is not self and session.user not in server.users)
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

    def do_info(self, section="server"):
        if section != "keyspace":
            return _bulk(b"# Server\r\nvalkey_version:8.1.1\r\n")
        used = [
            f"db{number}:keys={len(keys)},expires=0,avg_ttl=0" for number, keys in self.server.databases.items() if keys
        ]
        return _bulk("\r\n".join(["# Keyspace", *used, ""]).encode())

    def _allowed(self, key):
        rules = self.server.users[self.user]
        return any(_matches(rule[1:], key) for rule in rules if rule.startswith("~"))

    def do_set(self, key, value, *_options):
        if not self._allowed(key):
            return b"-NOPERM No permissions to access a key\r\n"
        if key.encode("latin-1") in self.held:
            return b"$-1\r\n"
        self.held[key.encode("latin-1")] = (value.encode("latin-1"), -1)
        return b"+OK\r\n"

    def do_get(self, key):
        return _bulk(self.held[key.encode("latin-1")][0])

    def do_del(self, key):
        return self.do_unlink(key.encode("latin-1"))

    def do_unlink(self, *keys):
        return f":{sum(self.held.pop(key, None) is not None for key in keys)}\r\n".encode()

    def do_exists(self, key):
        if not self._allowed(key.decode("latin-1")):
            return b"-NOPERM No permissions to access a key\r\n"
        return f":{int(key in self.held)}\r\n".encode()

    def do_scan(self, cursor, _match, pattern, *_count):
        """As Valkey's: a key that is there all the time is told at least once, and some are told twice."""
        # The last rule counts.
        if [rule for rule in self.server.users[self.user] if rule in ("+@all", "+scan", "-scan")][-1:] in (
            [],
            ["-scan"],
        ):
            return b"-NOPERM User has no permissions to run the 'scan' command\r\n"
        found = sorted(key for key in self.held if _matches(pattern.decode("latin-1"), key.decode("latin-1")))
        early = [key for key in found if zlib.crc32(key) % 2]
        part = early if cursor == b"0" else [*early[:1], *(key for key in found if key not in early)]
        following = b"7" if cursor == b"0" else b"0"
        return b"*2\r\n" + _bulk(following) + f"*{len(part)}\r\n".encode() + b"".join(map(_bulk, part))

    def do_type(self, key):
        return b"+string\r\n" if key in self.held else b"+none\r\n"

    def do_strlen(self, key):
        return f":{len(self.held.get(key, (b'', 0))[0])}\r\n".encode()

    def do_pexpiretime(self, key):
        return f":{self.held[key][1] if key in self.held else -2}\r\n".encode()

    def do_dump(self, key):
        if key not in self.held:
            return b"$-1\r\n"
        value = MARK + self.held[key][0]
        return _bulk(value + zlib.crc32(value).to_bytes(4, "big"))

    def do_restore(self, key, lifetime, payload, *options):
        value, checksum = payload[:-4], payload[-4:]
        if not value.startswith(MARK) or zlib.crc32(value).to_bytes(4, "big") != checksum or key in self.server.damaged:
            return b"-ERR DUMP payload version or checksum are wrong\r\n"
        if key in self.held and b"REPLACE" not in options:
            return b"-BUSYKEY Target key name already exists.\r\n"
        self.held[key] = (value[len(MARK) :], int(lifetime) if b"ABSTTL" in options else -1)
        return b"+OK\r\n"


def _matches(pattern, key):
    """Valkey's globs have a backslash that takes the meaning away; fnmatch writes that as a class of one."""
    literal = re.sub(r"\\(.)", lambda found: f"[{found[1]}]" if found[1] in "*?[" else found[1], pattern)
    return fnmatch.fnmatchcase(key, literal)


def _bulk(value):
    value = value if isinstance(value, bytes) else value.encode()
    return f"${len(value)}\r\n".encode() + value + b"\r\n"


def _array(texts):
    return f"*{len(texts)}\r\n".encode() + b"".join(map(_bulk, texts))
