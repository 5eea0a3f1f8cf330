"""
Likely causes of what containers log, and what must not show of it.
"""

import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tree import load

causes = load("utils", "pod_causes")


@pytest.mark.parametrize(
    ("said", "switch"),
    [
        ("OSError: [Errno 30] Read-only file system: '/var/cache/x'", "read_only: false"),
        ("mkdir /data: read-only file system", "tmpfs"),
        ("nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)", "NET_BIND_SERVICE"),
        ("chown: /data: Operation not permitted", "user: image"),
        ("nginx: [emerg] setgid(101) failed (1: Operation not permitted)", "user: image"),
        ('error: failed switching to "www-data": operation not permitted: gosu', "user: image"),
        ("Error: unable to find user app: no matching entries in passwd file", "user: image"),
        ("PermissionError: [Errno 13] Permission denied: '/data/x'", "volumes"),
        ("exec container process `/bin/app`: Exec format error", "image:"),
        ("Error: crun: executable file `serve` not found in $PATH: No such file or directory", "command"),
        ("/usr/bin/python3: can't open file '/app/x.py': [Errno 2] No such file or directory", "command"),
        ("fatal: Out of memory", "resources: {memory"),
        ("OSError: [Errno 98] Address already in use", "port"),
        ("Error: rootlessport listen tcp 0.0.0.0:80: bind: address already in use", "host_port"),
        ('FATAL:  Peer authentication failed for user "wiki"', "postgres"),
        ("redis.exceptions.AuthenticationError: WRONGPASS invalid username-password pair", "valkey"),
        ("NOPERM No permissions to access a key", "isolation: instance"),
        ('connection to server on socket "/run/postgresql/.s.PGSQL.5432" failed: No such file', "postgres: true"),
        ("Error: unable to copy from source docker://x: manifest unknown", "image"),
        ("registry.test: unauthorized: authentication required", "registry_auth"),
        ("init.service: failed (exit-code): the init container has not succeeded yet", "init:"),
        ("notes-web.service: unhealthy", "health: {command"),
        ('Error: "CAP_CHWON": unknown capability', "capabilities: names"),
        ("touch: /data/x: Permission denied", "owner: UID"),
        ("Error: crun: opening file `memory.max` for writing: No such file or directory", "take resources out"),
        (
            "Error: OCI runtime error: crun: controller `pids` is not available under /sys/fs/cgroup/x",
            "take resources out",
        ),
        ("activating (start): its health command has not succeeded yet", "health: {command"),
    ],
)
def test_what_a_container_says_leads_to_the_key_that_changes_it(said, switch):
    assert any(switch in sentence for sentence in causes.likely(said)), causes.likely(said)


def test_what_systemd_kills_of_podman_itself_is_not_shown():
    said = "a-web.service: Killing process 7 (podman) with signal SIGKILL.\nthe migration failed"
    assert causes.own_lines(said) == ["the migration failed"]


@pytest.mark.parametrize(
    ("results", "url", "switch"),
    [
        (["oom-kill"], None, "memory"),
        (["timeout"], None, "start_timeout"),
        (["success"], "404", "health: {path"),
        (["success"], "500", "what it logs"),
        (["success"], "does not answer (Connection refused)", "not on 127"),
    ],
)
def test_what_systemd_and_the_answer_say_leads_there_too(results, url, switch):
    assert any(switch in sentence for sentence in causes.likely("", results, url))


@pytest.mark.parametrize(
    "said",
    [
        "wiki-web.service: Main process exited, code=exited, status=1/FAILURE",
        "x.service: Deactivated successfully.\nx.service: Scheduled restart job, restart counter is at 4.",
    ],
)
def test_a_program_that_ends_without_a_word_is_said_to_end(said):
    assert causes.likely(said) == [
        "the program ends by itself; in its entry: command, entrypoint, env (it must stay in the foreground)"
    ]


def test_that_a_program_ended_is_not_said_where_it_told_why():
    assert len(causes.likely("Read-only file system\nx.service: Main process exited, code=exited, status=1")) == 1


def test_what_nobody_knows_has_no_likely_cause():
    assert causes.likely("hello") == []


@given(st.text())
def test_there_are_at_most_three_and_none_twice(said):
    found = causes.likely(said * 2, ["oom-kill", "timeout"], "500")
    assert len(found) <= 3
    assert len(set(found)) == len(found)


@given(st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4 and "*" not in text), st.text(), st.text())
def test_secret_values_do_not_show(value, before, after):
    shown = causes.without(f"{before}{value}{after}", [value.encode(errors="replace")])
    assert value.encode(errors="replace").decode().strip() not in shown


def test_each_line_of_a_secret_counts_and_the_longer_value_first():
    text = causes.without("a: BEGIN first-line\nb: second-line-more", [b"first-line\nsecond-line", b"second-line-more"])
    assert text == "a: BEGIN **********\nb: **********"


def test_what_podman_and_systemd_log_of_themselves_is_left_out():
    said = (
        "conmon 9f28bb91c534a53a36f7 <nwarn>: Failed to add inotify watch\n"
        "2026-11-24 00:21:27.987488216 +0000 UTC m=+0.063464399 container died f557 (image=x, name=y)\n"
        f"{'d4ad' * 16}\n"
        "notes-web.service: Killing process 4298 (podman) with signal SIGKILL.\n"
        "\n"
        "Serving HTTP\n"
    )
    assert causes.own_lines(said) == ["Serving HTTP"]


def test_what_would_command_a_terminal_does_not_reach_it():
    (line,) = causes.own_lines("\x1b]0;owned\x07 \x9b2J\u202e red\tü")
    assert line.isprintable()
    assert "owned" in line
    assert "ü" in line


def test_a_long_line_costs_no_time():
    before = time.monotonic()
    causes.likely("\n".join(causes.own_lines("bind" * 12_000)))
    assert time.monotonic() - before < 1


def test_a_secret_does_not_show_as_part_of_a_url():
    value = "p/ss@w:rd"
    assert quote(value, safe="") not in causes.without(f"postgres://{quote(value, safe='')}@db", [value.encode()])
