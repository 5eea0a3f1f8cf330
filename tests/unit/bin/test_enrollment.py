"""
The exchange by which a host and its master come to know each other's keys, over real sockets.
"""

import contextlib
import json
import secrets
import socket
import threading
import time

import pytest
import salt.crypt
import salt.utils.crypt
from hypothesis import given
from hypothesis import strategies as st


def public_key():
    return salt.crypt.gen_keys(2048)[1]


HOST_KEY, OTHER_KEY, MASTER_KEY = public_key(), public_key(), public_key()


@pytest.fixture(scope="module")
def enrollment(command):
    return command("enrollment.py")


class Fleet:
    """A master that waits for web1 and web2, on a port of this machine."""

    def __init__(self, module, wait, ids=("web1", "web2"), accept=None):
        self.accepted, self.told = {}, []
        self.made = {name: secrets.token_urlsafe(32) for name in ids}
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        accept = accept or self.accepted.__setitem__
        self.desk = module.Desk(self.listener, dict(self.made), MASTER_KEY, accept, self.told.append)
        self.late = None
        self.thread = threading.Thread(target=self.wait, args=(wait,))
        self.thread.start()

    def wait(self, seconds):
        self.late = self.desk.wait(seconds)

    def end(self):
        """Let it go on for as long as it does by itself."""
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()

    def stop(self):
        """Leave it nothing to wait for."""
        self.desk.tokens.clear()
        socket.create_connection(self.address).close()  # it looks again whenever somebody comes
        self.end()


@pytest.fixture
def fleet(enrollment):
    """A function that starts a Fleet."""
    started = []

    def start(wait=30, **options):
        started.append(Fleet(enrollment, wait, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()
        one.listener.close()


def said_by(enrollment, token, identity="web1", key=HOST_KEY, nonce="ab" * 32):
    key = enrollment.clean(key)
    proved = enrollment.proof(token, enrollment.HOST, identity, key, nonce)
    return {"id": identity, "key": key, "nonce": nonce, "proof": proved}


def send(address, data, timeout=10):
    """Send bytes, or a mapping as a line of JSON, and return all that comes back."""
    if isinstance(data, dict):
        data = json.dumps(data).encode() + b"\n"
    with socket.create_connection(address, timeout=timeout) as connection:
        answer = b""
        try:
            connection.sendall(data)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass  # closed while there was more to read: refused all the same
        return answer


def test_each_side_has_the_others_key_afterwards_and_the_master_ends_by_itself(enrollment, fleet):
    one = fleet()
    for name in ("web1", "web2"):
        assert enrollment.join(one.address, name, HOST_KEY, one.made[name]) == enrollment.clean(MASTER_KEY)
    one.end()
    assert one.accepted == dict.fromkeys(("web1", "web2"), enrollment.clean(HOST_KEY))
    assert one.late == []


def test_two_at_once(enrollment, fleet):
    one = fleet()
    with socket.create_connection(one.address) as first, socket.create_connection(one.address) as second:
        first.sendall(json.dumps(said_by(enrollment, one.made["web1"])).encode())
        second.sendall(json.dumps(said_by(enrollment, one.made["web2"], "web2", OTHER_KEY)).encode() + b"\n")
        assert b"proof" in second.recv(65536)
        first.sendall(b"\n")
        assert b"proof" in first.recv(65536)
    assert one.accepted == {"web1": enrollment.clean(HOST_KEY), "web2": enrollment.clean(OTHER_KEY)}


def test_a_wrong_token_is_refused_and_told_and_costs_the_right_one_nothing(enrollment, fleet):
    one = fleet()
    with pytest.raises(enrollment.Refused):
        enrollment.join(one.address, "web1", HOST_KEY, secrets.token_urlsafe(32))
    assert one.accepted == {}
    assert [text for text in one.told if "web1" in text and "127.0.0.1" in text]
    assert enrollment.join(one.address, "web1", HOST_KEY, one.made["web1"])


def test_a_token_is_for_its_id_only(enrollment, fleet):
    one = fleet()
    for name in ("web2", "web3"):
        with pytest.raises(enrollment.Refused):
            enrollment.join(one.address, name, HOST_KEY, one.made["web1"])
    assert one.accepted == {}


def test_a_token_works_once(enrollment, fleet):
    one = fleet()
    enrollment.join(one.address, "web1", HOST_KEY, one.made["web1"])
    with pytest.raises(enrollment.Refused):
        enrollment.join(one.address, "web1", OTHER_KEY, one.made["web1"])
    assert one.accepted == {"web1": enrollment.clean(HOST_KEY)}


def test_what_was_recorded_is_worth_nothing_afterwards(enrollment, fleet):
    one = fleet()
    said = said_by(enrollment, one.made["web1"])
    assert b"proof" in send(one.address, said)
    assert send(one.address, said) == b""


@pytest.mark.parametrize("part", ["id", "key", "nonce"])
def test_nothing_of_what_was_proved_can_be_exchanged(enrollment, fleet, part):
    one = fleet()
    other = {"id": "web2", "key": enrollment.clean(OTHER_KEY), "nonce": "cd" * 32}
    assert send(one.address, {**said_by(enrollment, one.made["web1"]), part: other[part]}) == b""
    assert one.accepted == {}


def master_that_answers(answer):
    """Somebody who sits where the master should be; ``answer`` makes a reply of what it is told."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener, listener.accept()[0] as connection:
            said = json.loads(connection.recv(65536))
            with contextlib.suppress(ConnectionError):  # it has heard enough
                connection.sendall(answer(said))

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()


def test_a_master_without_the_token_is_not_believed(enrollment):
    def answer(_said):
        return json.dumps({"key": enrollment.clean(MASTER_KEY), "proof": "0" * 64}).encode() + b"\n"

    with pytest.raises(enrollment.Refused, match="not the master"):
        enrollment.join(master_that_answers(answer), "web1", HOST_KEY, secrets.token_urlsafe(32))


def test_the_hosts_own_proof_sent_back_is_not_the_masters(enrollment):
    def answer(said):
        return json.dumps({"key": said["key"], "proof": said["proof"]}).encode() + b"\n"

    with pytest.raises(enrollment.Refused, match="not the master"):
        enrollment.join(master_that_answers(answer), "web1", HOST_KEY, secrets.token_urlsafe(32))


def test_an_answer_to_another_question_is_not_believed(enrollment):
    token = secrets.token_urlsafe(32)
    key = enrollment.clean(HOST_KEY)
    master = enrollment.clean(MASTER_KEY)
    recorded = {
        "key": master,
        "proof": enrollment.proof(token, enrollment.MASTER, "web1", key, "ab" * 32, master),
    }
    with pytest.raises(enrollment.Refused, match="not the master"):
        enrollment.join(master_that_answers(lambda _said: json.dumps(recorded).encode() + b"\n"), "web1", key, token)


def test_a_master_that_floods_its_host_is_left(enrollment):
    with pytest.raises((enrollment.Refused, ConnectionError)):
        enrollment.join(master_that_answers(lambda _said: b"x" * 10**6), "web1", HOST_KEY, secrets.token_urlsafe(32))


def test_silent_strangers_keep_nobody_waiting_however_many(enrollment, fleet, monkeypatch):
    monkeypatch.setattr(enrollment, "CROWD", 3)
    one = fleet(ids=("web1",))
    strangers = [socket.create_connection(one.address) for _ in range(10)]
    begun = time.monotonic()
    assert enrollment.join(one.address, "web1", HOST_KEY, one.made["web1"])
    assert time.monotonic() - begun < enrollment.PATIENCE / 2
    one.end()
    for stranger in strangers:
        stranger.close()


def test_a_stranger_that_goes_on_slowly_is_closed_in_the_end(enrollment, fleet, monkeypatch):
    monkeypatch.setattr(enrollment, "PATIENCE", 0.5)
    one = fleet()
    with socket.create_connection(one.address, timeout=5) as stranger:
        stranger.sendall(b"{")
        assert stranger.recv(10) == b""
    assert one.accepted == {}


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 100_000,
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"{}\n",
        b"null\n",
        b"\xff\xfe\n",
        b"[" * 8000 + b"\n",
        b'{"id": "web1", "key": 1, "nonce": [], "proof": {}}\n',
        b'{"id": "\\ud800", "key": "", "nonce": "", "proof": ""}\n',
        b'{"id": "web1", "key": "", "nonce": "", "proof": "\\u00e4"}\n',
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_message_is_refused_and_the_next_one_is_served(enrollment, fleet, data):
    one = fleet(ids=("web1",))
    assert send(one.address, data) == b""
    assert enrollment.join(one.address, "web1", HOST_KEY, one.made["web1"])


def test_a_proof_of_something_that_is_no_key_is_refused_and_the_token_still_good(enrollment, fleet):
    one = fleet(ids=("web1",))
    assert send(one.address, said_by(enrollment, one.made["web1"], key="-----BEGIN NONSENSE-----")) == b""
    assert enrollment.join(one.address, "web1", HOST_KEY, one.made["web1"])


def test_a_key_that_salt_does_not_take_uses_the_token_up_and_is_told(enrollment, fleet):
    def accept(_identity, _key):
        raise enrollment.Failure("its key is too short")

    one = fleet(wait=1, accept=accept)
    with pytest.raises(enrollment.Refused):
        enrollment.join(one.address, "web1", HOST_KEY, one.made["web1"])
    assert any("too short" in text for text in one.told)
    one.end()
    assert one.late == ["web2"]


def test_no_token_is_ever_told_or_sent(enrollment, fleet):
    one = fleet()
    said = said_by(enrollment, one.made["web1"])
    answer = send(one.address, said)
    with pytest.raises(enrollment.Refused):
        enrollment.join(one.address, "web2", HOST_KEY, one.made["web1"])
    for token in one.made.values():
        assert token not in json.dumps(said)
        assert token.encode() not in answer
        assert token not in "".join(one.told)


def test_a_flood_of_refusals_is_told_only_so_far(enrollment, fleet):
    one = fleet()
    for _ in range(enrollment.TOLD + 5):
        send(one.address, {**said_by(enrollment, "x" * 43)})
    assert len(one.told) == enrollment.TOLD + 1


def test_those_who_do_not_come_are_named_when_the_time_is_over(enrollment, fleet):
    one = fleet(wait=0.2)
    one.end()
    assert one.late == ["web1", "web2"]


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_no_two_lists_of_parts_have_the_same_proof(enrollment, one, other):
    same = enrollment.proof("t", b"role", *one) == enrollment.proof("t", b"role", *other)
    assert same == (one == other)


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_fingerprint_is_what_salt_compares_with_master_finger(enrollment, tmp_path, end):
    path = tmp_path / "master.pub"
    path.write_text(HOST_KEY.strip() + end)
    assert enrollment.fingerprint(path.read_text()) == salt.utils.crypt.pem_finger(str(path))


def test_a_fingerprint_may_be_typed_without_colons_and_in_capitals(enrollment):
    finger = enrollment.fingerprint(HOST_KEY)
    assert enrollment.normal_fingerprint(finger.replace(":", "").upper()) == finger
    for wrong in ("", "ab:cd", finger + "00", "zz" * 32):
        with pytest.raises(ValueError, match="no fingerprint"):
            enrollment.normal_fingerprint(wrong)


def test_keys_of_every_size_that_salt_makes_pass(enrollment):
    for bits in (2048, 4096):
        assert enrollment.KEY.fullmatch(enrollment.clean(salt.crypt.gen_keys(bits)[1]))
