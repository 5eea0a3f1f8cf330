"""
Texts that mean something to systemd, a shell, Jinja, Salt, Podman or Caddy: each arrives as it is, or is refused.
"""

import json
import re
import subprocess

import pytest
from machine import LAB

NAME = "hostile"
FOLDER = "/etc/rick-infra/services"
PILLAR = "/etc/rick-infra/pillar/site.sls"
# Whoever runs a part of one of them leaves a file.
MARK = "/tmp/hostile-was-executed"
TEXTS = {
    "quotes": 'it\'s "so" `touch ' + MARK + "` 'x",
    "newlines": "a\nb\r\n\n[Service]\nUser=root\n\n",
    "percent": "100% %n %% %h %",
    "dollar": "$HOME $$ ${HOME} $(touch " + MARK + ") $",
    "backslashes": "C:\\new\\t \\\\ \\x41 \\e end\\",
    "braces": "{ {x} {{ }} {env.HOME} {$HOME}",
    "jinja": "{{ 7 * 7 }} {% set x = salt['cmd.run']('touch " + MARK + "') %} {# c #}",
    "slot": "__slot__:salt:cmd.run(touch " + MARK + ")",
    "slot_with_more": "__slot__:salt:test.echo(x).y ~ z",
    "yaml": "- a: [b, *c]\n? !!python/object/apply:os.system ['touch " + MARK + "']",
    "unicode": "ü שלום ‮rtl 🦔 \ufeff \xa0\u2028\u2029 \x85",
    "control": "a\x01\x0b\x0c\x1b[31m\x1c\x7fb\t",
    "spaces": "  both ends  ",
    "shell": "; touch " + MARK + " ; && | > " + MARK,
    "option": "--privileged",
    "comment": "# not one",
    "sdb": "sdb://nowhere/x",
    "null": "null",
    "long": "x%$" * 1400,
}
# systemd takes these for prefixes or operators where a command stands by itself.
WORDS = [*TEXTS.values(), "@x", "-x", "+x", "!x", "|", "*", "~"]
SERVE = (
    'import http.server\n# it\'s $HOME "%n" {{ 1 }} \\ \n'
    "http.server.HTTPServer(('', 8080), http.server.SimpleHTTPRequestHandler).serve_forever()"
)
WAIT = "import signal; signal.sigwait([signal.SIGTERM])"
PLACES = ("sp ace", "ü🦔‮x", "semi;x", "equals=x", "hash#x", "shell&|<>*?[]~!()", "braces{x}{{y}}")
# What stands in front of the text is the rest of what the field wants.
REFUSED_TEXTS = ("a\nb", "a%n", "a$HOME", "a`b", "a b", 'a"b', "a\\", "a:U", "a,uid=0", "a\u2028b", "a\x1b", "", "A'")
REFUSED = {
    "tmpfs": lambda text: {"tmpfs": [f"/{text}"]},
    "volumes": lambda text: {"volumes": {"data": f"/{text}"}},
    "binds": lambda text: {"allow_binds": True, "binds": [{"source": f"/{text}", "path": "/x"}]},
    "secrets": lambda text: {"secrets": {"a": {"mount": f"/{text}"}}},
    "volumes:": lambda text: {"volumes": {text: "/data"}},
    "secrets:": lambda text: {"secrets": {text: True}},
    "env:": lambda text: {"env": {text: "x"}},
    "containers:": lambda text: {"containers": {text: {}}},
    "timers:": lambda text: {"timers": {text: {"schedule": "daily"}}},
    "health:path": lambda text: {"port": 80, "health": {"path": f"/{text}"}},
    "site": lambda text: {"port": 80, "site": [text]},
    "site:public_paths": lambda text: {"port": 80, "site": {"domains": ["x.example.test"], "public_paths": [text]}},
    "image": lambda text: {"image": f"localhost/x:{text}"},
    "stop_signal": lambda text: {"stop_signal": text},
    "capabilities": lambda text: {"capabilities": [text]},
    "shm_size": lambda text: {"shm_size": text},
    "resources:memory": lambda text: {"resources": {"memory": text}},
    "postgres:database": lambda text: {"postgres": {"database": text}},
    "postgres:locale": lambda text: {"postgres": {"locale": text}},
    "postgres:extensions": lambda text: {"postgres": {"extensions": [text]}},
    "valkey:prefix": lambda text: {"valkey": {"prefix": text}},
    "valkey:commands": lambda text: {"valkey": {"commands": [text]}},
    "registry_auth": lambda text: {"registry_auth": text},
    "needs": lambda text: {"needs": [text]},
    "command": lambda text: {"command": ["x", ";" if text else "", "/usr/bin/touch", MARK]},
}
# A comma or a colon may be in a URL; a space within a path; an apostrophe, too, is no bad sign in a path of a URL.
FINE = {
    *((field, "a b") for field in ("tmpfs", "volumes", "binds", "secrets")),
    *(("health:path", text) for text in ("a%n", "a$HOME", "a:U", "a,uid=0", "")),
    ("postgres:locale", "a@b"),
}


def as_yaml(entry):
    """JSON with characters as they are where YAML has them, since it knows no pairs of surrogates."""
    text = json.dumps(entry, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def read(host, pid, what):
    """The texts that a process got, as the kernel tells them."""
    done = subprocess.run([LAB, "exec", host.name, "--", "cat", f"/proc/{pid}/{what}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.fixture(scope="module")
def arrived(main_machine):
    """A service that is told all of it, in every field that takes any text."""
    host = main_machine
    host.write(PILLAR, f"#!json\n{json.dumps({'hostile': TEXTS})}")
    host.sh(f"chmod 600 {PILLAR}")
    host.write("/root/hostile-file", TEXTS["unicode"] + TEXTS["quotes"] + "\n")
    host.sh("chmod 600 /root/hostile-file")
    from_pillar = {f"p-{key.replace('_', '-')}": {"pillar": f"hostile:{key}"} for key in TEXTS if key != "sdb"}
    host.declare(
        NAME,
        as_yaml(
            {
                "image": "localhost/notes:1",
                "description": TEXTS["jinja"],
                "containers": {
                    "web": {"entrypoint": ["/usr/bin/python3", "-c", SERVE, *WORDS, ";", ""]},
                    "worker": {"entrypoint": ["/usr/bin/python3", "-c", WAIT], "command": WORDS},
                },
                "stop_timeout": 1,
                "port": 8080,
                "host_port": 8092,
                "health": {"path": "/?a=$HOME&b=%25n", "timeout": 120},
                "env": {
                    **{f"E_{key}": value.replace("{{", "{ {") for key, value in TEXTS.items()},
                    "DOUBLED": "{{postgres.url}} {{secret.nonesuch}}",
                    "EMPTY": "",
                    "FILE": "<{secret.file}>",
                    **{f"P_{name.removeprefix('p-')}": f"{{secret.{name}}}" for name in from_pillar},
                },
                "secrets": {**from_pillar, "file": {"file": "/root/hostile-file", "mount": "/m/sp ace"}},
                "tmpfs": ["/tmp", *(f"/t/{place}" for place in PLACES)],
                "volumes": {f"v{number}": f"/v/{place}" for number, place in enumerate(PLACES)},
                "site": {
                    "domains": ["hostile.example.test"],
                    "directives": 'header X-Hostile `%n $HOME \\ " {{ 7 * 7 }} __slot__:salt:cmd.run(id)`',
                },
            }
        ),
    )
    run = host.apply()
    yield host, run
    host.sh(f"rm {PILLAR} /root/hostile-file")
    host.remove(NAME)


@pytest.fixture(scope="module")
def pid(arrived):
    host, run = arrived
    assert run.failed == {}
    return _pid(host, "web")


def _pid(host, container):
    return int(host.sh(f"podman inspect --format '{{{{.State.Pid}}}}' {NAME}-{container}"))


def test_words_of_a_command_arrive_as_they_are(arrived, pid):
    host, _ = arrived
    assert read(host, pid, "cmdline") == ["/usr/bin/python3", "-c", SERVE, *WORDS, ";", ""]
    # The one as a list of JSON, the other through the command lines of Quadlet and systemd.
    assert read(host, _pid(host, "worker"), "cmdline") == ["/usr/bin/python3", "-c", WAIT, *WORDS]


def test_environment_and_secrets_arrive_as_they_are(arrived, pid):
    host, _ = arrived
    environment = dict(one.split("=", 1) for one in read(host, pid, "environ"))
    expected = {f"E_{key}": value.replace("{{", "{ {") for key, value in TEXTS.items()}
    expected |= {f"P_{key.replace('_', '-')}": value for key, value in TEXTS.items() if key != "sdb"}
    expected |= {"DOUBLED": "{postgres.url} {secret.nonesuch}", "EMPTY": ""}
    expected |= {"FILE": f"<{TEXTS['unicode']}{TEXTS['quotes']}\n>"}
    assert {key: environment.get(key) for key in expected} == expected


def test_paths_are_mounted_where_they_are_declared(arrived, pid):
    host, _ = arrived
    table = host.sh(f"cat /proc/{pid}/mountinfo")
    places = {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in table.split("\n")}
    assert places >= {f"/{kind}/{place}" for kind in "tv" for place in PLACES} | {"/m/sp ace"}


def test_caddy_says_what_the_entry_says(arrived, pid):
    host, _ = arrived
    assert pid
    script = (
        "import http.client, socket, ssl\n"
        "context = ssl._create_unverified_context()\n"
        "raw = socket.create_connection(('127.0.0.1', 443))\n"
        "connection = http.client.HTTPConnection('hostile.example.test')\n"
        "connection.sock = context.wrap_socket(raw, server_hostname='hostile.example.test')\n"
        "connection.request('GET', '/')\n"
        "print(connection.getresponse().headers['X-Hostile'])\n"
    )
    said = host.run("python3", "-c", script).stdout
    assert said == '%n $HOME \\ " {{ 7 * 7 }} __slot__:salt:cmd.run(id)\n'


def test_nothing_of_it_is_executed(arrived, pid):
    host, _ = arrived
    assert pid
    assert host.sh(f"find / -xdev -name {MARK.rpartition('/')[2]} 2>/dev/null") == ""


def test_what_cannot_arrive_is_refused_with_its_place(main_machine):
    """Each field and each text in an entry of its own, all in one question."""
    entries = {}
    for field, entry in REFUSED.items():
        for text in REFUSED_TEXTS:
            if (field, text) not in FINE:
                entries[f"bad-{len(entries)}"] = (field, text, {"image": "localhost/notes:1", **entry(text)})
    script = (
        "import json, pathlib, sys\n"
        "for name, text in json.load(sys.stdin).items(): pathlib.Path(sys.argv[1], name).write_text(text)"
    )
    files = {f"{name}.yaml": json.dumps(entry) for name, (_, _, entry) in entries.items()}
    main_machine.run("python3", "-c", script, FOLDER, text=json.dumps(files))
    try:
        said = main_machine.run("salt-call", "catalogue.check", check=False)
        assert said.returncode != 0
        lines = said.stdout
        missed = [
            (field, text) for name, (field, text, _) in entries.items() if f"rick:services:{name}:{field}" not in lines
        ]
        assert missed == []
    finally:
        main_machine.sh(f"rm {FOLDER}/bad-*.yaml")
