"""
Jobs and answers, with a client that behaves as Salt's: answers come in pieces, late, twice, or not at all.
"""

import pytest
from tree import load

client_module = load("utils", "rollout_client")


class Client:
    """``listened`` comes while jobs are waited for, ``late`` the second time, ``kept`` is what the job cache has."""

    def __init__(self, listened=(), late=(), kept=()):
        self.listened, self.late, self.kept, self.sent = listened, late, list(kept), []

    def cmd_iter_no_block(self, hosts, function, arguments, **options):
        self.sent.append((tuple(hosts), function, options["jid"], options["kwarg"]))
        yield None
        for answers in self.listened:
            yield {host: one for host, one in answers.items() if host in hosts}
            yield None

    def get_iter_returns(self, jid, missing, **_options):
        for answers in self.late:
            yield {host: one for host, one in answers.items() if host in missing}

    def get_cache_returns(self, _jid):
        return self.kept.pop(0) if self.kept else {}


def job(*hosts, jid="1", **keywords):
    return {"jid": jid, "hosts": list(hosts), "function": "test.ping", "arguments": [], "keywords": keywords}


def fine(value=True):
    return {"ret": value, "retcode": 0}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(client_module, "PAUSE", 0)


def test_answers_are_told_as_they_come_and_once_each():
    client = Client([{"b": fine(1)}, {"a": fine(2)}, {"b": fine(3)}])
    assert list(client_module.ask(client, [job("a", "b")])) == [("b", fine(1)), ("a", fine(2))]


def test_a_host_that_is_off_is_told_last_and_with_nothing():
    client = Client([{"a": fine()}, {"b": {"failed": True}}])
    assert list(client_module.ask(client, [job("a", "b")])) == [("a", fine()), ("b", None)]


def test_a_host_that_missed_the_question_is_waited_for_once_more():
    client = Client([{"a": fine()}], late=[{"b": fine("late")}])
    assert dict(client_module.ask(client, [job("a", "b")])) == {"a": fine(), "b": fine("late")}


@pytest.mark.parametrize(
    "kept", [[{"b": fine()}], [{}, {"b": fine()}]], ids=["while it ended", "while it was asked again"]
)
def test_an_answer_that_nobody_heard_is_found_where_the_master_keeps_it(kept):
    assert dict(client_module.ask(Client([{"a": fine()}], kept=kept), [job("a", "b")]))["b"] == fine()


def test_several_jobs_are_sent_before_the_first_one_is_waited_for():
    client = Client([{"a": fine(1), "b": fine(2)}])
    found = dict(client_module.ask(client, [job("a", jid="1", x=1), job("b", jid="2")]))
    assert found == {"a": fine(1), "b": fine(2)}
    assert client.sent == [(("a",), "test.ping", "1", {"x": 1}), (("b",), "test.ping", "2", {})]


def test_who_was_not_asked_has_nothing_to_say():
    assert dict(client_module.ask(Client([{"a": fine(), "stranger": fine()}]), [job("a")])) == {"a": fine()}
