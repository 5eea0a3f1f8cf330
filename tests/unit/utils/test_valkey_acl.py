"""
ACL lines: the text the server repeats, and nothing an administrator could not have meant.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

acl = load("utils", "valkey_acl")

CLEAR = "a-password-nobody-may-see"
NAMES = st.from_regex(r"[a-z_][a-z0-9_.-]{0,20}", fullmatch=True).filter(lambda name: name not in ("default",))
TARGETS = st.sampled_from(["get", "set", "config", "config|get", "client", "client|id", "@read", "@all", "@dangerous"])
COMMANDS = st.lists(st.builds(lambda sign, target: sign + target, st.sampled_from("+-"), TARGETS), max_size=8)
PATTERNS = st.lists(st.sampled_from(["a:*", "%R~b*", "%W~c?", "~d[x]", "%WR~e"]), unique=True)


def rules(**arguments):
    """The words of a line after the password."""
    return acl.line("notes", CLEAR, **arguments).split()[4:]


@given(name=NAMES, keys=PATTERNS, commands=COMMANDS)
def test_a_line_is_its_own_canonical_form_and_survives_a_file(name, keys, commands):
    line = acl.line(name, CLEAR, keys=keys, commands=commands)
    assert acl.canonical(line) == line
    assert acl.parse(f"{line}\n", "file") == {name: line}


@given(name=NAMES, commands=COMMANDS)
def test_neither_password_nor_hash_is_seen(name, commands):
    line = acl.line(name, CLEAR, commands=commands)
    assert CLEAR not in line
    assert acl.password_hash(CLEAR) in line
    assert acl.password_hash(CLEAR) not in acl.masked(line)


@given(commands=COMMANDS)
def test_no_rule_is_there_twice_and_a_base_comes_first(commands):
    words = [rule for rule in rules(commands=commands) if rule[0] in "+-"]
    assert words[0] in ("+@all", "-@all")
    assert len({word[1:] for word in words}) == len(words)


# Recorded from ACL LIST of Valkey 8.1.1 and 9.1.2 after ACL SETUSER with the rules on the left.
@pytest.mark.parametrize(
    ("given_rules", "server"),
    [
        (["+@all", "-@admin", "-@dangerous", "-@admin"], "+@all -@dangerous -@admin"),
        (["+get", "-get"], "-@all -get"),
        (["-@all", "+get", "+@read"], "-@all +get +@read"),
        (["+CONFIG|get"], "-@all +config|get"),
        (["+@read", "-@read", "+get"], "-@all -@read +get"),
        (["+config|get", "+config"], "-@all +config"),
        (["+@scripting", "-eval"], "-@all +@scripting -eval"),
        ([], "-@all"),
    ],
)
def test_commands_come_out_as_the_server_repeats_them(given_rules, server):
    assert " ".join(rules(keys=[], channels=[], commands=given_rules)) == f"resetchannels {server}"


def test_the_order_of_the_words_is_the_servers():
    assert rules(keys=["notes:*", "%R~x", "%WR~y"], channels=["c"], commands=["+@read"]) == [
        "~notes:*",
        "%R~x",
        "~y",
        "resetchannels",
        "&c",
        "-@all",
        "+@read",
    ]
    assert rules(channels=["*"], commands=[]) == ["~notes:*", "&*", "-@all"]


def test_an_application_gets_its_own_prefix_and_nothing_that_reaches_others():
    words = rules()
    assert [word for word in words if word[0] in "~&%"] == ["~notes:*", "&notes:*"]
    assert {"-@dangerous", "-scan", "-randomkey", "-function", "-pubsub", "-client|tracking"} <= set(words)


@pytest.mark.parametrize(
    "text",
    [
        "user notes on sanitize-payload #aa ~notes:* resetchannels +@all",  # 8.1
        "user notes on #aa ~notes:* resetchannels +@all",  # 9.1
        "user notes on #aa ~notes:* resetchannels alldbs +@all",
    ],
)
def test_words_that_repeat_a_default_make_no_difference(text):
    assert acl.canonical(text) == "user notes on #aa ~notes:* resetchannels +@all"


@pytest.mark.parametrize("name", ["", "two words", "9lives", "a" * 64, "x\ny", None, "default", "rick-infra"])
def test_a_name_that_is_none_or_not_to_be_had_is_refused(name):
    with pytest.raises(SaltInvocationError, match="valkey user"):
        acl.line(name, CLEAR)


@pytest.mark.parametrize(
    "arguments",
    [
        {"keys": "notes:*"},
        {"keys": ["a b"]},
        {"keys": ["a\n"]},
        {"keys": ["~"]},
        {"keys": ["%X~a"]},
        {"keys": ["a", "%R~a"]},
        {"keys": ["*", "a"]},
        {"keys": [1]},
        {"channels": ["*", "a"]},
        {"channels": ["a", "a"]},
        {"channels": ["&"]},
        {"commands": "+@all"},
        {"commands": ["nopass"]},
        {"commands": [">secret"]},
        {"commands": ["+get ~*"]},
        {"commands": ["allcommands"]},
        {"commands": ["~*"]},
    ],
)
def test_rules_that_could_open_more_than_they_say_are_refused(arguments):
    with pytest.raises(SaltInvocationError, match="valkey user notes"):
        acl.line("notes", CLEAR, **arguments)


@pytest.mark.parametrize("text", ["# comment", "user", "user a on\nuser a off", "usr a on"])
def test_a_file_valkey_would_not_start_with_is_an_error_that_names_the_line(text):
    with pytest.raises(CommandExecutionError, match=r"users\.acl:[12]: "):
        acl.parse(text, "users.acl")


def test_a_password_in_clear_is_masked_too():
    assert acl.masked("user a on >geheim nopass") == "user a on >... nopass"
    assert acl.masked(None) is None
