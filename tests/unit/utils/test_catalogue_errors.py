"""
What people are told about an entry that is wrong: all of it, where it is, and what to write instead.
"""

import pytest
from tree import load

schema = load("utils", "catalogue_schema")
errors = load("utils", "catalogue_errors")


def judge(data, name="notes"):
    return errors.judge(data, name, schema.complete, schema.known_keys, schema.forms)[:2]


def told(**data):
    """What is said of an entry that has an image."""
    _, problems = judge({"image": "app:1", **data})
    return [errors.sentence("notes", path, text).removeprefix("rick:services:notes") for path, text in problems]


def test_an_entry_that_is_right_is_returned_complete():
    entry, problems = judge({"image": "app:1"})
    assert problems == []
    assert entry == schema.complete({"image": "app:1"})[0]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"postgres": {"databse": "x"}}, ":postgres: unknown key 'databse' (did you mean 'database'?)"),
        ({"hots_port": 1, "port": 2}, ": unknown key 'hots_port' (did you mean 'host_port'?)"),
        ({"resources": {"zzz": 1}}, ":resources: unknown key 'zzz' (known: memory, cpus, pids)"),
        ({"zzz": 1}, ": unknown key 'zzz'"),
        ({"rick": {"services": {}}}, ": unknown key 'rick': the file holds the entry itself, without keys around it"),
        ({"notes": {}}, ": unknown key 'notes': the file holds the entry itself, without keys around it"),
        ({"postgres": "yes"}, ":postgres: 'yes' is text; the words for a switch are true and false"),
        ({"valkey": "True"}, ":valkey: 'True' is text; the words for a switch are true and false"),
        ({"port": 1, "site": "off"}, ":site: 'off' is text; the words for a switch are true and false"),
        ({"env": None}, ":env: it is empty: indent what belongs to it, or take the key away"),
        ({"resources": None}, ":resources: it is empty: indent what belongs to it, or take the key away"),
        ({"port": "80"}, ":port: '80' is not a whole number"),
        ({"port": 80.5}, ":port: 80.5 is not a whole number"),
        ({"port": True}, ":port: true is not a whole number"),
        ({"port": 0}, ":port: 0 is below 1"),
        ({"port": 70000}, ":port: 70000 is above 65535"),
        ({"read_only": "yes"}, ":read_only: 'yes' is not true or false"),
        ({"needs": {"a": 1}}, ":needs: a mapping is not a list"),
        ({"needs": [1]}, ":needs:0: 1 is not text; put quotes around it if it is meant as it is"),
        ({"containers": []}, ":containers: a list is not a mapping of names, with a line NAME: VALUE for each"),
        ({"auth": "oidc"}, ":auth:pattern: 'oidc' is none of forward_auth, oauth2, api, none"),
        ({"environment": {}}, ": unknown key 'environment' (did you mean 'env'?)"),
        ({"domain": "a.b"}, ": unknown key 'domain' (did you mean 'site'?)"),
        ({"containers": {"web": {"domain": 1}}}, ":containers:web: unknown key 'domain' (did you mean 'command'?)"),
        ({"resources": 5}, ":resources: 5 is not a mapping of keys"),
        ({"state": "presnt"}, ":state: 'presnt' is none of present, stopped, absent (did you mean 'present'?)"),
        ({"user": 0}, ":user: 0 is not service, image, or the number of a uid above 0"),
        ({"user": "root"}, ":user: 'root' is not service, image, or the number of a uid above 0"),
        ({"user": [1]}, ":user: a list is not service, image, or the number of a uid above 0"),
        (
            {"port": 1, "site": {"domains": "a.b", "tls": "letsencrypt"}},
            ":site:tls: 'letsencrypt' is not internal, acme, or a mapping with certificate and key",
        ),
        ({"port": 1, "site": {"domains": "a.b", "tls": {"certificate": "/x"}}}, ":site:tls: 'key' is missing"),
        (
            {"port": 1, "site": {"domains": "a.b", "tls": {"certificate": "/x", "key": "/y", "kye": 1}}},
            ":site:tls: unknown key 'kye' (did you mean 'key'?)",
        ),
        (
            {"port": 1, "site": "Example.org"},
            ":site:domains:0: 'Example.org' is not a domain: lower-case letters, digits, dashes and dots, such as "
            "app.example.org",
        ),
        ({"port": 1, "site": []}, ":site:domains: it is empty"),
        ({"publish": [{"port": 1}]}, ":publish:0: 'host_port' is missing"),
        (
            {"publish": [{"port": 1, "host_port": 2, "address": "here"}]},
            ":publish:0:address: 'here' is not an IP address, such as 0.0.0.0 for all",
        ),
        ({"timers": {"clean": {}}}, ":timers:clean: 'schedule' is missing"),
        ({"env": {"A": None}}, ":env:A: nothing (null) is not text; put quotes around it if it is meant as it is"),
        ({"env": {1: "x"}}, ":env:1: 1 is not text, as a name must be"),
        (
            {"env": {"A B": "x"}},
            ":env:A B: 'A B' is not the name of a variable: letters, digits and _ . -, not beginning with a digit, "
            "128 at most",
        ),
        (
            {"volumes": {"Data": "/x"}},
            ":volumes:Data: 'Data' is not a name: lower-case letters, digits and dashes, beginning with a letter, "
            "31 at most",
        ),
        ({"volumes": {"data": 5}}, ":volumes:data: 5 is not a path or a mapping with path"),
        ({"description": "x" * 201}, ":description: it has more than 200 characters"),
        ({"description": "a\nb"}, ":description: 'a\\nb' is not one line of text"),
        ({"start_timeout": "soon"}, ":start_timeout: 'soon' is not a time: a number of seconds, or text such as 90s"),
        ({"command": "a 'b"}, ':command: "a \'b" is not a command line: No closing quotation'),
        ({"image": "a"}, ":image: a has no fixed version"),
        ({"image": "a:latest"}, ":image: a:latest has no fixed version"),
        ({"image": "A B"}, ":image: 'A B' is not the name of an image, such as ghcr.io/org/app:1.2"),
        ({"image": None}, ":image: required, such as ghcr.io/org/app:1.2"),
        ({"resources": {"cpus": float("nan")}}, ":resources:cpus: nan is not a number"),
        ({"stop_signal": "\ud800"}, ":stop_signal: '\\ud800' is not text that can be written"),
    ],
)
def test_a_mistake_is_told_in_plain_words(data, sentence):
    (only,) = told(**data)
    assert only.startswith(sentence)


@pytest.mark.parametrize("data", [None, [], "image", 5])
def test_an_entry_that_is_no_mapping_is_told(data):
    entry, ((path, text),) = judge(data)
    assert entry is None
    assert path == ()
    assert text.endswith("is not a mapping of keys")


@pytest.mark.parametrize(
    "data",
    [
        {"secrets": {"token": "hunter2hunter2hunter2"}},
        {"secrets": {"token": {"length": "hunter2"}}},
        {"env": {"TOKEN": ["hunter2"]}},
        {"containers": {"web": {"env": {"TOKEN": {"x": "hunter2"}}}}},
    ],
)
def test_what_may_be_a_secret_is_not_told(data):
    assert told(**data)
    assert "hunter2" not in str(told(**data))


def test_a_secret_written_into_the_entry_is_told_what_to_write():
    assert told(secrets={"token": "x"}) == [
        ":secrets:token: the value is not true, to have one generated, or a mapping that says where it comes from "
        "(pillar, file)"
    ]


def test_a_long_value_is_shortened():
    (text,) = told(port="9" * 500)
    assert len(text) < 120


def test_all_mistakes_are_told_at_once_also_those_that_hide_behind_others():
    assert [
        text.partition(": ")[0] for text in told(image="a", hots_port=1, uid="x", valkey={"memory": 2}, site="A")
    ] == [
        "",
        ":image",
        ":site:domains:0",
        ":uid",
        ":valkey:memory",
    ]


def test_what_follows_from_a_mistake_is_not_told():
    # There is a port; only it is written wrongly.
    assert told(port="80", site="a.b") == [":port: '80' is not a whole number"]


@pytest.mark.parametrize("around", ["rick", "services", "notes"])
def test_keys_around_an_entry_are_told_and_nothing_that_follows_from_them(around):
    entry, problems = judge({around: {"image": "app:1"}})
    assert entry is None
    assert problems == [((), f"unknown key {around!r}: the file holds the entry itself, without keys around it")]


def test_what_is_right_in_a_wrong_entry_can_be_compared_with_others():
    entry, problems = judge(
        {"hots_port": 1, "port": 8080, "host_port": 9, "publish": [{"port": "x"}, {"port": 1, "host_port": 2}]}
    )
    assert len(problems) == 4
    assert (entry["host_port"], entry["publish"][0]["host_port"]) == (9, 2)


@pytest.mark.parametrize(
    ("data", "doubtful"),
    [
        ({}, []),
        ({"postgress": True}, [("postgres",)]),
        ({"domain": "a.b"}, [("site",)]),
        ({"zzz": 1}, [("zzz",)]),
        ({"secrets": {"smtp": 5, "own": {"pilar": "x"}}}, [("secrets", "own", "pillar"), ("secrets", "smtp")]),
        ({"containers": {"web": {"tmfps": []}}}, [("containers", "web", "tmpfs")]),
    ],
)
def test_what_a_mistake_hides_is_told_by_the_place_where_it_was_meant_to_stand(data, doubtful):
    given = {"image": "app:1", **data}
    found = errors.judge(given, "notes", schema.complete, schema.known_keys, schema.forms)[2]
    assert sorted(found) == doubtful


def test_what_was_given_is_not_changed():
    data = {"publish": [{"port": "x"}], "env": {"A": None}}
    judge(data)
    assert data == {"publish": [{"port": "x"}], "env": {"A": None}}


def test_a_sentence_about_what_was_resolved_gets_its_place_in_front():
    assert errors.from_sentence("service notes: web: {a.b} means nothing (really) (rick:services:notes:env:X)") == (
        "rick:services:notes:env:X: web: {a.b} means nothing (really)"
    )
    assert errors.from_sentence("something else (here)") == "something else (here)"
