"""
How a host and its master come to know each other's keys: one exchange, proved by a token that works once.

The host sends its id, its public key, a number that it never used before, and a proof: an HMAC of them with the token.
The master checks the proof, accepts the key, and answers with its own key and a proof of that and of all it was sent.
No secret crosses, so nobody learns anything by listening; who does not have the token can prove nothing to either
side, and no half of an exchange that was recorded fits another one.

Standard library only: a host takes part before Salt knows its master.
"""

import contextlib
import hashlib
import hmac
import json
import re
import secrets
import selectors
import socket
import time
from dataclasses import dataclass, field

from console import Failure

PORT = 4507  # beside Salt's own 4505 and 4506
TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits, as secrets.token_urlsafe writes them
# Letters, digits, dots, hyphens and underscores: Salt takes more, but a slash, and in lists and commands a comma or a
# pattern means something else. It passes over keys whose name begins with a dot.
ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
ID_RULE = "letters, digits, '.', '-' and '_', beginning with a letter or digit"
KEY = re.compile(r"-----BEGIN PUBLIC KEY-----\n(?:[A-Za-z0-9+/=]{1,76}\n){1,40}-----END PUBLIC KEY-----")
NONCE = re.compile(r"[0-9a-f]{64}")
LARGEST = 8192  # bytes; a message with a key of 8192 bits is 1.7 KiB
PATIENCE = 10  # seconds for a stranger to say all that it has to say
ANSWER = 60  # seconds for the master to answer: it may have to look through many keys
CROWD = 64  # connections; with more, the one that has been silent for longest is closed
TOLD = 20  # refusals; a flood of them is not to fill a disk
# What is proved, so that no proof of one side is one of the other's.
HOST, MASTER = b"rick-infra enrollment 1: host", b"rick-infra enrollment 1: master"


class Refused(Exception):
    """The other side has not proved who it is, or does not believe this one."""


def fingerprint(key):
    """Return the SHA-256 fingerprint of a public key (text) as Salt's ``master_finger`` and ``key.finger`` have it."""
    lines = [line for line in key.splitlines() if line.strip()]
    # Salt takes the file's lines between its first and last as they are, line ends included.
    body = "".join(f"{line}\n" for line in lines[1:-1])
    return hashlib.sha256(body.encode()).digest().hex(":")


def normal_fingerprint(text):
    """Return a fingerprint that somebody typed as ``fingerprint`` writes it. Raises ValueError."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ValueError(f"{text!r} is no fingerprint: 32 pairs of hexadecimal digits (SHA-256)")
    return bytes.fromhex(digits).hex(":")


def proof(token, role, *parts):
    """Return the proof that who has ``token`` says ``parts`` (texts) in a ``role``."""
    digest = hmac.new(token.encode(), digestmod=hashlib.sha256)
    for part in (role, *(part.encode() for part in parts)):
        # With its length before each, no two lists of parts look the same.
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.hexdigest()


def join(address, identity, key, token):
    """
    Enroll this host with a master and return the master's public key, proved.

    ``address`` is host and port; ``identity`` is the id that the token is for; ``key`` this host's public key. Raises
    Refused, or OSError if there is nobody to talk to.
    """
    key, nonce = clean(key), secrets.token_hex(32)
    said = {"id": identity, "key": key, "nonce": nonce, "proof": proof(token, HOST, identity, key, nonce)}
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(json.dumps(said).encode() + b"\n")
        answer = message(receive(connection, time.monotonic() + ANSWER), ("key", "proof"))
    if answer is None:
        raise Refused("the token was not accepted: it is used up, for another id, or bin/enroll does not wait any more")
    wanted = proof(token, MASTER, identity, key, nonce, answer["key"])
    if not hmac.compare_digest(wanted, answer["proof"]) or not KEY.fullmatch(answer["key"]):
        raise Refused("what answers there does not have the token: it is not the master that made it")
    return answer["key"]


def receive(connection, deadline):
    """Return what comes until the line ends; what came so far if it does not end in time, or is too long."""
    received = b""
    while b"\n" not in received and len(received) <= LARGEST and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            chunk = connection.recv(LARGEST)
        except TimeoutError:
            break
        if not chunk:
            break
        received += chunk
    return received


def message(received, keys):
    """Return a received line as a mapping of exactly ``keys`` to texts, or None if it is none."""
    line, end, _rest = received.partition(b"\n")
    try:
        said = json.loads(line) if end and len(line) <= LARGEST else None
    except (ValueError, RecursionError):
        return None
    texts = isinstance(said, dict) and set(said) == set(keys) and all(isinstance(text, str) for text in said.values())
    # Half a surrogate is text to JSON, but can be neither written nor proved.
    return said if texts and all(text.isascii() for text in said.values()) else None


def clean(key):
    """Return a public key's text as Salt compares it."""
    return "\n".join(key.strip().splitlines())


@dataclass(eq=False)
class Connection:
    """A host, or a stranger, that may still say something."""

    socket: socket.socket
    address: str
    deadline: float
    received: bytes = field(default=b"", repr=False)


class Desk:
    """
    Where hosts come to be enrolled: waits on a port, and does one thing at a time.

    ``tokens`` maps ids to tokens; one that was used is gone from it. ``accept(id, key)`` makes a key known to Salt, or
    raises Failure; ``key`` is the master's own; ``tell(text)`` is called for what happened.
    """

    def __init__(self, listener, tokens, key, accept, tell):
        self.tokens = tokens
        self.key = clean(key)
        self.accept = accept
        self.tell = tell
        self.refusals = 0
        self.listener = listener
        self.listener.setblocking(False)
        self.connections = []

    def wait(self, seconds):
        """Enroll hosts until no token is left or the time is over; return the ids that did not come."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector, contextlib.closing(self):
            selector.register(self.listener, selectors.EVENT_READ)
            while self.tokens and time.monotonic() < end:
                next_end = min([end, *(one.deadline for one in self.connections)])
                for ready, _events in selector.select(max(0, next_end - time.monotonic())):
                    if ready.data is None:
                        self.welcome(selector)
                    elif ready.data in self.connections:
                        self.listen(selector, ready.data)
                for late in [one for one in self.connections if one.deadline <= time.monotonic()]:
                    self.dismiss(selector, late)
        return sorted(self.tokens)

    def close(self):
        for one in self.connections:
            one.socket.close()
        self.connections.clear()

    def welcome(self, selector):
        try:
            accepted, address = self.listener.accept()
        except OSError:  # gone again before it was its turn
            return
        accepted.setblocking(False)
        if len(self.connections) >= CROWD:
            self.dismiss(selector, self.connections[0])
        one = Connection(accepted, address[0], time.monotonic() + PATIENCE)
        self.connections.append(one)
        selector.register(accepted, selectors.EVENT_READ, one)

    def dismiss(self, selector, one):
        self.connections.remove(one)
        selector.unregister(one.socket)
        one.socket.close()

    def listen(self, selector, one):
        """Take what has come on a connection, and answer once it is a whole message."""
        try:
            chunk = one.socket.recv(LARGEST)
        except OSError:
            chunk = b""
        one.received += chunk
        if chunk and b"\n" not in one.received and len(one.received) <= LARGEST:
            return
        # Who connects and says nothing, as a monitoring does, is not worth a word.
        if one.received and (answer := self.answer(one)):
            # A few hundred bytes fit into an empty buffer.
            with contextlib.suppress(OSError):
                one.socket.sendall(json.dumps(answer).encode() + b"\n")
        self.dismiss(selector, one)

    def answer(self, one):
        """Return the answer to what was received, or None if there is none to give."""
        said = message(one.received, ("id", "key", "nonce", "proof"))
        if said is None:
            return self.refuse(one, "not a message of bin/bootstrap")
        identity, key, nonce = said["id"], said["key"], said["nonce"]
        name = identity if ID.fullmatch(identity) else "an impossible id"
        token = self.tokens.get(identity)
        # As long as with a token, so that it cannot be measured for which ids there are some.
        wanted = proof(token or secrets.token_urlsafe(32), HOST, identity, key, nonce)
        if not hmac.compare_digest(wanted, said["proof"]) or token is None:
            return self.refuse(one, f"no valid proof for {name}")
        if not (KEY.fullmatch(key) and NONCE.fullmatch(nonce)):
            return self.refuse(one, f"{name} proved something that is no public key")
        # From here on it is used, whatever happens.
        del self.tokens[identity]
        try:
            self.accept(identity, key)
        except Failure as failure:
            return self.refuse(one, f"{name} has a token, but {failure}")
        self.tell(f"{name} is enrolled, from {one.address}: {fingerprint(key)}")
        return {"key": self.key, "proof": proof(token, MASTER, identity, key, nonce, self.key)}

    def refuse(self, one, why):
        self.refusals += 1
        if self.refusals <= TOLD:
            self.tell(f"refused, from {one.address}: {why}")
        if self.refusals == TOLD:
            self.tell("further refusals are not told")
