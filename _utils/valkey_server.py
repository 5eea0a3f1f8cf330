"""
A connection to a Valkey over its socket, and one server as Salt's administrator knows it during a run.

hiredis reads and writes the protocol; a Unix socket needs little else. It is imported in 1 ms, the client library
redis in 90 ms, which is as much as ten services may cost in an unchanged run.
"""

import os
import pwd
import select
import socket
from pathlib import Path
from typing import Any

from salt.exceptions import CommandExecutionError

TIMEOUT = 10  # seconds for one answer; the longest command of ours (ACL LOAD) takes milliseconds
CHUNK = 65536  # bytes
ACL_FILE_MODE = 0o640  # with the daemon as owner, who reads it for ACL LOAD

TOOLS = (
    "secret_files.read",
    "secret_files.write",
    "textfile.read",
    "valkey_acl.administrator",
    "valkey_acl.parse",
    "valkey_acl.trial",
)

ABSENT, REFUSED, OPEN = "absent", "refused", "open"


class NotListening(CommandExecutionError):
    """Nobody listens on the socket."""


class LoginRefused(CommandExecutionError):
    """The server does not accept user and password."""


class Client:
    """One connection that logs in when it is first used. A connection that the server has closed is made again."""

    def __init__(self, path, user, password, timeout=TIMEOUT):
        import hiredis  # here: what only reads files does without it

        self._hiredis = hiredis
        self.path, self.user, self.password, self.timeout = path, user, password, timeout
        self.connections = 0  # made so far: after another one, what was known of the server is not certain any more
        self._socket: Any = None
        self._reader: Any = None
        self._database = 0

    def open(self):
        """
        Connect and log in, unless that is so already.

        Raises NotListening, LoginRefused, or CommandExecutionError for want of rights above all.
        """
        if self._socket and not select.select([self._socket], [], [], 0)[0]:
            return
        self.close()  # readable without a question: the server has hung up
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(self.timeout)
        self._reader = self._hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        try:
            self._socket.connect(self.path)
            answers = self._exchange([("AUTH", self.user, self.password), *self._selection()], raw=False)
        except (FileNotFoundError, ConnectionError) as error:  # ends while we knock: as good as gone
            self.close()
            raise NotListening(f"nobody listens on {self.path}") from error
        except OSError as error:
            self.close()
            raise CommandExecutionError(f"{self.path}: {error.strerror or error}; valkey takes root") from error
        for answer in answers:
            if isinstance(answer, self._hiredis.ReplyError):
                self.close()
                kind = LoginRefused if str(answer).startswith(("WRONGPASS", "NOAUTH")) else CommandExecutionError
                raise kind(f"valkey at {self.path}, login as {self.user}: {answer}")
        self.connections += 1

    def close(self):
        """Hang up."""
        if self._socket:
            self._socket.close()
        self._socket = None

    def ask(self, *words):
        """Return the answer to one command; its bytes as text. Raises as ``ask_all`` does."""
        return self.ask_all([words], raw=False)[0]

    def ask_all(self, commands, raw=True):
        """
        Return the answers to several commands that are sent at once.

        raw
            True: strings are bytes. False: they are text.

        Raises CommandExecutionError with the first two words of the first command that is refused and the server's
        own, after all have been answered; and as ``open`` does.
        """
        answers = self._answers(commands, raw)
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, self._hiredis.ReplyError):
                # Only the first words: what follows may be a password's hash or a value.
                words = " ".join(str(word) for word in command[:2] if isinstance(word, str))
                raise CommandExecutionError(f"valkey, {words}: {answer}")
        return answers

    def permits(self, *words):
        """Return whether the rules of the user allow a command, whatever it answers."""
        answer = self._answers([words], raw=False)[0]
        return not (isinstance(answer, self._hiredis.ReplyError) and str(answer).startswith("NOPERM"))

    def select(self, database):
        """Use another numbered database, also after a reconnection."""
        if database != self._database:
            self.ask("SELECT", database)
        self._database = database

    def _answers(self, commands, raw):
        self.open()
        try:
            return self._exchange(commands, raw)
        except OSError as error:
            self.close()
            raise CommandExecutionError(f"valkey at {self.path}: {error.strerror or error}") from error

    def _selection(self):
        return [("SELECT", self._database)] if self._database else []

    def _exchange(self, commands, raw):
        self._socket.sendall(b"".join(self._hiredis.pack_command(tuple(command)) for command in commands))
        answers = []
        while len(answers) < len(commands):
            answer = self._reader.gets(not raw)
            if answer is not False:  # which is how it says that more has to be read
                answers.append(answer)
                continue
            part = self._socket.recv(CHUNK)
            if not part:
                raise ConnectionResetError("the server closed the connection")
            self._reader.feed(part)
        return answers


class Server:
    """
    One Valkey of this host: its ACL file, and the running server as the administrator sees it.

    What it has been told is kept for the run, until it changes something or the server is another one.
    """

    def __init__(self, place, tools):
        self.place, self._tools = place, tools
        self._client: Any = None
        self._loaded, self._loaded_by = None, 0
        self._declared, self._declared_from = {}, None

    def state(self):
        """
        Return ``open`` (Salt can log in), ``refused`` (it cannot) or ``absent`` (nobody listens).

        Raises CommandExecutionError if the socket cannot be used for another reason.
        """
        password = self._tools["secret_files.read"](self.place["secret_file"])
        if password is None:
            return REFUSED if listens(self.place["socket"]) else ABSENT
        try:
            self._connection(password).open()
        except NotListening:
            return ABSENT
        except LoginRefused:
            return REFUSED
        return OPEN

    def require(self):
        """
        Raise CommandExecutionError, with the way out, if nobody listens or the login is refused.
        """
        state = self.state()
        if state == ABSENT:
            raise CommandExecutionError(
                f"nobody listens on {self.place['socket']}: {self.place['unit']} is not running, or was told another "
                "path; the state that runs it must come before this one"
            )
        if state == REFUSED:
            repair = "valkey_instance.present" if self.place["instance"] else "valkey.administrator_present"
            raise CommandExecutionError(
                f"{self.place['title']} refuses the user {self._tools['valkey_acl.administrator']()} with the secret "
                f"in {self.place['secret_file']}; the state {repair} repairs that and must come before this one"
            )

    def ask(self, *words):
        """
        Return the server's answer to a command of the administrator.

        Raises CommandExecutionError as ``require`` does, or with the server's words.
        """
        self.require()
        return self._client.ask(*words)

    def client(self, timeout=TIMEOUT):
        """
        Return another connection of the administrator, for work that selects databases or takes longer.
        """
        self.ask("PING")
        return Client(self.place["socket"], self._client.user, self._client.password, timeout)

    def loaded(self):
        """
        Return the users that the running server has, ``{name: canonical ACL line}``.
        """
        if self._loaded is None or self.state() != OPEN or self._loaded_by != self._client.connections:
            lines = "\n".join(self.ask("ACL", "LIST"))
            self._loaded = self._tools["valkey_acl.parse"](lines, f"{self.place['title']}, ACL LIST")
            self._loaded_by = self._client.connections
        return self._loaded

    def declared(self):
        """
        Return the users in the ACL file, ``{name: canonical ACL line}``; none if there is no file.
        """
        path = self.place["acl_file"]
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            return {}
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._declared_from != version:
            self._declared = self._tools["valkey_acl.parse"](self._tools["textfile.read"](path) or "", path)
            self._declared_from = version
        return self._declared

    def write(self, users):
        """
        Put users into the ACL file, all at once. The running server does not know of it yet.

        Raises CommandExecutionError, also if the package has not made the daemon's account.
        """
        path, account = self.place["acl_file"], self.place["account"]
        try:
            owner = pwd.getpwnam(account)
        except KeyError as error:
            raise CommandExecutionError(f"there is no user {account}: the package valkey-server makes it") from error
        text = "".join(f"{line}\n" for _, line in sorted(users.items()))
        try:
            self._tools["secret_files.write"](path, text, mode=ACL_FILE_MODE, owner=(owner.pw_uid, owner.pw_gid))
        except OSError as error:
            raise CommandExecutionError(
                f"{path}: {error.strerror}; the package valkey-server makes its folder"
            ) from error

    def load(self):
        """
        Make the server read its ACL file: all of it or, if one line is wrong, none of it.
        """
        self._loaded = None
        self.ask("ACL", "LOAD")

    def change(self, users):
        """
        Make these the users, in the file and in the server. If the server refuses the file, it gets the old one back.

        Connections of users that stay are kept (Valkey 8.1 and 9.1); those of users that go are closed.
        """
        before = self.declared()
        self.write(users)
        try:
            self.load()
        except CommandExecutionError:
            self.write(before)
            raise

    def understood(self, line):
        """
        Return the rules of an ACL line as the server repeats them, without giving them to anybody.

        Raises CommandExecutionError with the server's words if it refuses one of them.
        """
        trial = self._tools["valkey_acl.trial"]()
        rules = line.split()[3:]
        try:
            self.ask("ACL", "SETUSER", trial, "reset", "off", *rules)
            lines = "\n".join(self.ask("ACL", "LIST"))
        finally:
            self.ask("ACL", "DELUSER", trial)
        found = self._tools["valkey_acl.parse"](lines, f"{self.place['title']}, ACL LIST")[trial]
        return " ".join([*line.split()[:3], *found.split()[3:]])

    def _connection(self, password):
        if self._client is None or self._client.password != password:
            administrator = self._tools["valkey_acl.administrator"]()
            self._client, self._loaded = Client(self.place["socket"], administrator, password), None
        return self._client


def tools():
    """
    Return the names of the functions of other utils that ``server`` needs to be given; a util cannot see others.
    """
    return TOOLS


def server(place, tools, known):
    """
    Return the Valkey at a place, one object a run.

    place
        As from ``valkey_places.place``.

    tools
        The functions that ``tools()`` names, ``{name: function}``.

    known
        The mapping in which a run keeps them.
    """
    pid, found = known.get(place["socket"], (None, None))
    if pid != os.getpid():  # a connection cannot be shared with a child
        found = Server(place, tools)
        known[place["socket"]] = (os.getpid(), found)
    return found


def client(path, user, password):
    """
    Return a client that logs in when it is first used. Nothing is retried: a refusal is an answer.
    """
    return Client(path, user, password)


def listens(path):
    """
    Return whether a process accepts connections on the socket.

    Raises CommandExecutionError if that cannot be found out, for want of rights above all.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(TIMEOUT)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionError):
            return False
        except OSError as error:
            raise CommandExecutionError(f"{path}: {error.strerror or error}; valkey takes root") from error
    return True
