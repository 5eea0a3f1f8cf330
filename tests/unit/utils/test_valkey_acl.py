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
PREFIXES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
TARGETS = st.sampled_from(["get", "set", "scan", "info", "client|id", "@read", "@all", "@write", "@scripting"])
COMMANDS = st.lists(st.builds(lambda sign, target: sign + target, st.sampled_from("+-"), TARGETS), max_size=8)


def rules(prefix="notes:", commands=()):
    """The words of a line after the password."""
    return acl.line("notes", CLEAR, prefix, commands).split()[4:]


@given(name=NAMES, prefix=PREFIXES | st.none(), commands=COMMANDS)
def test_a_line_is_its_own_canonical_form_and_survives_a_file(name, prefix, commands):
    line = acl.line(name, CLEAR, prefix, commands)
    assert acl.canonical(line) == line
    assert acl.parse(f"{line}\n", "file") == {name: line}
    assert acl.prefix(line) == prefix
    assert acl.prefix(acl.off(line)) == prefix


@given(name=NAMES, commands=COMMANDS)
def test_neither_password_nor_hash_is_seen(name, commands):
    line = acl.line(name, CLEAR, f"{name}:", commands)
    assert CLEAR not in line
    assert acl.password_hash(CLEAR) in line
    assert acl.password_hash(CLEAR) not in acl.masked(line)


@given(commands=COMMANDS, prefix=st.sampled_from(["notes:", None]))
def test_no_rule_is_there_twice_and_a_base_comes_first(commands, prefix):
    words = [rule for rule in rules(prefix, commands) if rule[0] in "+-"]
    assert words[0] in ("+@all", "-@all")
    assert len({word[1:] for word in words}) == len(words)


@given(commands=COMMANDS)
def test_no_category_brings_back_what_is_denied_to_all(commands):
    """What denies comes after whatever category could allow it, unless a rule names the command itself."""
    words = rules(commands=commands)
    categories = [index for index, word in enumerate(words) if word.startswith("+@")]
    for denial in [rule for rule in acl.SHARED_COMMANDS if rule.startswith("-")]:
        if categories and f"+{denial[1:]}" not in words:
            assert words.index(denial) > max(categories)


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
    words = ["-@all"]
    for rule in given_rules:
        words = acl._with(words, rule.lower())
    assert " ".join(words) == server


def test_an_application_gets_its_own_prefix_and_nothing_that_reaches_others():
    words = rules()
    assert words[:4] == ["~notes:*", "resetchannels", "&notes:*", "+@all"]
    assert {"-@dangerous", "-scan", "-randomkey", "-function", "-pubsub", "-client|tracking"} <= set(words)


def test_an_application_with_an_instance_gets_all_keys_and_no_administration():
    words = rules(prefix=None)
    assert words[:4] == ["~*", "&*", "+@all", "-@dangerous"]
    assert {"+info", "+keys", "+sort"} <= set(words)


def test_a_prefix_stands_for_itself():
    assert rules(prefix="a*[b]?^\\:")[0] == r"~a\*\[b\]\?\^\\:*"


def test_rules_of_an_entry_come_after_what_all_may_do():
    assert rules(commands=["+scan", "-@write"])[-2:] == ["+scan", "-@write"]
    assert "-scan" not in rules(commands=["+SCAN"])
    assert rules(commands=["-@all", "+@read", "+scan"])[3:5] == ["-@all", "+@read"]
    assert rules(prefix=None, commands=["-@all", "+@read"])[2:] == ["-@all", "+@read", "-@dangerous"]


@pytest.mark.parametrize("prefix", ["notes:", None])
@pytest.mark.parametrize(
    "rule",
    [
        "+@admin",
        "+@dangerous",
        "+acl",
        "+ACL|SETUSER",
        "+config",
        "+config|get",
        "+debug",
        "+module",
        "+shutdown",
        "+replicaof",
        "+slaveof",
        "+sync",
        "+psync",
        "+monitor",
        "+migrate",
        "+cluster",
        "+failover",
    ],
)
def test_nobody_can_have_the_server_itself(rule, prefix):
    with pytest.raises(SaltInvocationError, match="no service can have it"):
        rules(prefix, [rule])


@pytest.mark.parametrize(
    "rule",
    [
        "+flushall",
        "+flushdb",
        "+swapdb",
        "+function",
        "+function|load",
        "+slowlog",
        "+slowlog|get",
        "+commandlog|get",
        "+client",
        "+client|kill",
        "+client|pause",
        "+script",
        "+script|kill",
        "+latency",
        "+save",
        "+bgsave",
    ],
)
def test_what_reaches_other_services_takes_an_instance(rule):
    with pytest.raises(SaltInvocationError, match="take an instance"):
        rules(commands=[rule])
    assert rule in rules(prefix=None, commands=[rule])


@pytest.mark.parametrize(
    "rule", ["+scan", "+info", "+keys", "+client|list", "+client|tracking", "+script|flush", "-get"]
)
def test_what_shows_names_only_can_be_asked_for(rule):
    assert rule in rules(commands=[rule])


@pytest.mark.parametrize(
    ("wanted", "others"),
    [("notes:", ["notes"]), ("no", ["notes"]), ("notes:old:", ["notes"]), ("wiki:", []), ("n*", [])],
)
def test_prefixes_overlap_if_one_begins_with_the_other(wanted, others):
    lines = {"notes": acl.line("notes", CLEAR, "notes:"), "shop": acl.line("shop", CLEAR, None)}
    assert acl.overlapping("wiki", wanted, lines) == others
    assert acl.overlapping("notes", wanted, lines) == []


@pytest.mark.parametrize(
    "text", ["user a on ~* +@all", "user a on ~a:* ~b:* +@all", "user a on %R~a:*", "user a on ~a*b*"]
)
def test_a_line_that_is_not_ours_has_no_prefix(text):
    assert acl.prefix(text) is None


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


@pytest.mark.parametrize(
    "name", ["", "two words", "9lives", "a" * 64, "x\ny", None, "default", "rick-infra", "rick-infra-trial"]
)
def test_a_name_that_is_none_or_not_to_be_had_is_refused(name):
    with pytest.raises(SaltInvocationError, match="valkey user"):
        acl.line(name, CLEAR, "x:")


@pytest.mark.parametrize(
    "arguments",
    [
        {"prefix": ""},
        {"prefix": "a b"},
        {"prefix": "a\n"},
        {"prefix": "ä:"},
        {"prefix": 1},
        {"commands": "+@all"},
        {"commands": [1]},
        {"commands": ["nopass"]},
        {"commands": [">secret"]},
        {"commands": ["+get ~*"]},
        {"commands": ["allcommands"]},
        {"commands": ["allkeys"]},
        {"commands": ["~*"]},
        {"commands": ["&*"]},
        {"commands": ["(~* +@all)"]},
    ],
)
def test_rules_that_could_open_more_than_they_say_are_refused(arguments):
    with pytest.raises(SaltInvocationError, match="valkey user notes"):
        rules(**arguments)


@pytest.mark.parametrize("text", ["# comment", "user", "user a on\nuser a off", "usr a on"])
def test_a_file_valkey_would_not_start_with_is_an_error_that_names_the_line(text):
    with pytest.raises(CommandExecutionError, match=r"users\.acl:[12]: "):
        acl.parse(text, "users.acl")


def test_a_password_in_clear_is_masked_too():
    assert acl.masked("user a on >geheim nopass") == "user a on >... nopass"
    assert acl.masked(None) is None
