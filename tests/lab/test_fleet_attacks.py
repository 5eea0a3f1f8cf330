"""
What root on one host of a fleet gets of the others: by pillar, file server and mine, and by their Caddys.
"""

import http.client
import json
import socket
import ssl

import pytest
from lab_fleet import Everywhere
from machine import TREE, eventually
from visitor import AUTH, PASSWORDS

MARK = "only-the-cell-of-notes-may-know-this"
NOTES = (TREE / "examples/services/notes.yaml").read_text() + "cells: cell1\n"
NOTES_WITH_SECRET = NOTES.replace(
    "cells:", '  MAIL: "{secret.mail}"\nsecrets:\n  mail: {pillar: "secrets:notes:mail"}\ncells:'
)
ECHO = "https://echo.example.test"
# Says what has reached it, so that nothing has to be believed.
PROGRAM = """
import http.server, json
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8080), Echo).serve_forever()
"""
ECHO_ENTRY = {
    "image": "localhost/forward-auth-app:1",
    "entrypoint": ["/usr/bin/python3", "-c", PROGRAM],
    "port": 8080,
    "stop_timeout": 1,
    "health": "/health",
    "site": {"domains": ["echo.example.test"], "public_paths": ["/open/*"]},
    "auth": "forward_auth",
}
# Asks the master over Salt's own channel with the key of the host it runs on, and says in each of the three places of
# a request which host that is (Salt's own client would put the true id there). Prints a JSON mapping of answers.
ASK = """
import json, sys, time, uuid
import salt.channel.client, salt.config, salt.exceptions
from salt.channel.client import AsyncReqChannel
opts = salt.config.minion_config("/etc/salt/minion")
opts["master_ip"], opts["master_uri"] = opts["master"], f"tcp://{opts['master']}:4506"
answers, honest = {}, AsyncReqChannel._package_load
def package(self, load, nonce=None, session_crypticle=None):
    if self.crypt != "aes":
        return honest(self, load, nonce, session_crypticle)
    load = {"id": opts["id"], **load, "nonce": nonce or uuid.uuid4().hex, "ts": int(time.time())}
    if about.get("token", True):
        load["tok"] = self.auth.gen_token(b"salt")
    # What all hosts have, or what is this host's alone.
    key = self.auth.crypticle if about.get("shared") else session_crypticle or self.auth.session_crypticle
    told = {"enc": "aes", "load": key.dumps(load), "version": about.get("version", 3)}
    told["id"] = about.get("outside", opts["id"])
    return {**told, "enc_algo": opts["encryption_algorithm"], "sig_algo": opts["signing_algorithm"]}
AsyncReqChannel._package_load = package
for name, about in json.load(sys.stdin).items():
    with salt.channel.client.ReqChannel.factory(opts) as channel:
        try:
            if about["load"]["cmd"] == "_pillar":
                answer = channel.crypted_transfer_decode_dictentry(about["load"], dictkey="pillar", timeout=20, tries=1)
            else:
                answer = channel.send(about["load"], timeout=20, tries=1)
        except (salt.exceptions.SaltException, KeyError, TypeError, ValueError) as error:
            answer = f"refused: {type(error).__name__}: {error}"
    answers[name] = answer
print(json.dumps(answers, default=repr))
"""
PILLAR = {"cmd": "_pillar", "saltenv": "base", "pillarenv": "base", "ver": "2", "extra_minion_data": {}, "grains": {}}
# Each way to say that one is cell1, with the key of another.
DISGUISES = {
    "within the request": {"load": {"id": "cell1"}},
    "around the request": {"outside": "cell1"},
    "everywhere": {"load": {"id": "cell1"}, "outside": "cell1"},
    "everywhere, without a token": {"load": {"id": "cell1"}, "outside": "cell1", "token": False},
    "in an older protocol": {"load": {"id": "cell1"}, "outside": "cell1", "token": False, "version": 2, "shared": True},
    "in the oldest protocol": {"load": {"id": "cell1"}, "token": False, "version": 0, "shared": True},
}
LIE = {"fleet.published": {"address": "192.0.2.66"}}
IDENTITY = "/etc/caddy/identity"
PLACES = "/var/cache/salt /var/log /etc /var/lib/rick-infra /run/salt /var/lib/containers/storage/secrets"


def pillar_of(fleet, host):
    """What the master makes for a host now."""
    return json.loads(fleet.master.run("salt-run", "--out=json", "pillar.show_pillar", host).stdout)


def ask(fleet, questions, host="cell2"):
    """What the master answers to root on a host."""
    fleet.hosts[host].write("/root/ask.py", ASK)
    python = "/opt/rick-infra/salt/bin/python"
    said = fleet.hosts[host].run(python, "/root/ask.py", text=json.dumps(questions)).stdout
    return json.loads(said.strip().splitlines()[-1])


def disguised(load):
    return {way: {**how, "load": {**load, **how.get("load", {})}} for way, how in DISGUISES.items()}


@pytest.fixture(scope="module")
def told(fleet):
    """The fleet, with a secret on cell1, and a service on cell2 that says what it is asked."""
    fleet.write("secrets/notes.yaml", f"mail: {MARK}\n")
    fleet.write("services/notes.yaml", NOTES_WITH_SECRET)
    fleet.declare("echo", "cell2", **ECHO_ENTRY)
    fleet.deploy()
    yield fleet
    fleet.declare("echo", "cell2", state="absent", data="delete")
    fleet.write("services/notes.yaml", NOTES)
    fleet.deploy()
    fleet.master.run("rm", "/etc/rick-infra/secrets/notes.yaml", "/etc/rick-infra/services/echo.yaml")


def test_the_cell_of_a_service_has_its_secret(told):
    """What others are asked for below is there, and the search for it finds it."""
    assert MARK in json.dumps(pillar_of(told, "cell1"))
    assert holders(told, "cell1", MARK) != []


def test_no_other_host_is_told_it(told):
    for host in ("cell2", "edge1"):
        assert MARK not in json.dumps(pillar_of(told, host))


def test_a_host_is_told_of_its_own_services_only(told):
    assert set(pillar_of(told, "cell2")["rick"]["services"]) == {"board", "echo", "hello"}
    assert pillar_of(told, "edge1")["rick"]["services"] == {}


def test_a_client_secret_is_told_to_its_cell_and_to_authentiks(told):
    with_it = {host for host in told.hosts if "board" in pillar_of(told, host).get("secrets", {})}
    assert with_it == {"cell1", "cell2"}


def test_a_host_that_asks_as_itself_is_answered(told):
    """The question is a right one: else nothing would follow from the answers to the next."""
    answer = ask(told, {"own": {"load": PILLAR}})["own"]
    assert set(answer["rick"]["services"]) == {"board", "echo", "hello"}


def test_whoever_a_host_says_to_be_it_does_not_get_anothers_pillar(told):
    answers = ask(told, disguised(PILLAR))
    assert {way: answer for way, answer in answers.items() if isinstance(answer, dict)} == {}
    assert MARK not in json.dumps(answers)


def test_nothing_that_a_host_says_of_itself_gives_it_anothers_pillar(told):
    said = {
        "grains": {"id": "cell1", "host": "cell1", "fqdn": "cell1", "roles": ["sso"]},
        "pillar_override": {"rick": {"fleet": {"roles": ["cell", "sso"]}}},
        "extra_minion_data": {"id": "cell1"},
    }
    answers = ask(told, {key: {"load": {**PILLAR, key: value}} for key, value in said.items()})
    for key, answer in answers.items():
        assert set(answer["rick"]["services"]) == {"board", "echo", "hello"}, key
        assert MARK not in json.dumps(answer), key


def test_no_host_reads_what_hosts_have_published(told):
    """There is something to read."""
    mine = {"cmd": "_mine_get", "fun": "fleet.published", "tgt_type": "glob", "tgt": "*"}
    assert set(told.master.sh("ls /var/cache/salt/master/mine").split()) >= {"cell1.p", "cell2.p", "edge1.p"}
    answers = ask(told, {"itself": {"load": mine}, **disguised(mine)})
    assert [answer for answer in answers.values() if "CERTIFICATE" in json.dumps(answer)] == []
    assert answers["itself"] == {}


def test_no_host_has_anything_done_by_the_master_or_by_another(told):
    publish = {"tgt": "cell1", "tgt_type": "glob", "ret": "", "arg": ["/root/intruder"]}
    answers = ask(
        told,
        {
            "runner": {"load": {"cmd": "minion_runner", "fun": "pillar.show_pillar", "arg": ["cell1"]}},
            "publish": {"load": {"cmd": "minion_pub", "fun": "file.touch", **publish}},
            "publish in full": {"load": {"cmd": "minion_publish", "fun": "file.touch", "form": "full", **publish}},
            "file": {"load": {"cmd": "_file_recv", "path": ["intruder"], "loc": 0, "data": "x"}},
        },
    )
    assert {name: answer for name, answer in answers.items() if answer} == {}
    assert "intruder" not in told.hosts["cell1"].sh("ls /root")


def test_the_file_server_has_the_tree_and_nothing_else(told):
    outside = [
        "/etc/rick-infra/fleet.yaml",
        "../../../etc/rick-infra/fleet.yaml",
        "|../../../etc/rick-infra/fleet.yaml",
        "orch/../../../../etc/rick-infra/secrets/notes.yaml",
        "../pillar/defaults.sls",
    ]
    files = ["top.sls", *outside]
    answers = ask(
        told, {path: {"load": {"cmd": "_serve_file", "loc": 0, "path": path, "saltenv": "base"}} for path in files}
    )
    assert "base" in answers.pop("top.sls")["data"]
    assert {path: answer for path, answer in answers.items() if answer.get("data")} == {}


def test_what_the_master_says_of_its_settings_has_no_host_in_it(told):
    answers = ask(told, {cmd: {"load": {"cmd": cmd, "opts": {}}} for cmd in ("_master_opts", "_master_tops")})
    assert answers["_master_opts"]["state_top"] == "top.sls"
    assert [word for word in ("cell1", "edge1", MARK, "notes.example.test") if word in json.dumps(answers)] == []


def test_a_host_publishes_for_itself_alone(told):
    """It can lie about its own address, and that it was heard there shows that the question is a right one."""
    lies = disguised({"cmd": "_mine", "data": LIE})
    ask(told, lies)
    assert pillar_of(told, "cell2")["rick"]["fleet"]["sso"]["address"] == told.address(told.hosts["cell1"])
    assert addresses(told) == {"cell2": told.address(told.hosts["cell2"])}
    ask(told, {"itself": {"load": {"cmd": "_mine", "data": LIE}}})
    assert addresses(told) == {"cell2": "192.0.2.66"}
    assert told.salt("cell2", "mine.update") is True  # which only sends it on its way
    right = {"cell2": told.address(told.hosts["cell2"])}
    eventually(lambda: addresses(told) == right, 60, "the edge is told the truth again")


def addresses(fleet):
    """Where the edge is told to send visitors."""
    sites = pillar_of(fleet, "edge1")["rick"]["fleet"]["sites"]
    return {one["id"]: one["address"] for site in sites.values() for one in site["upstreams"]}


def holders(fleet, host, text):
    """The files of a host that have a text in them."""
    return fleet.hosts[host].sh(f"grep -rlF -e '{text}' {PLACES} 2> /dev/null || true").split()


def test_nothing_of_other_cells_is_on_a_hosts_disk(told):
    generated = told.hosts["cell1"].sh("cat /var/lib/rick-infra/secrets/notes.valkey")
    for text in (MARK, generated, "notes.example.test"):
        assert holders(told, "cell1", text) != []
        for host in ("cell2", "edge1"):
            assert holders(told, host, text) == [], (host, text)


def test_what_the_master_remembers_of_secrets_is_roots_alone(told):
    modes = "stat -c '%a %U' /etc/rick-infra /var/lib/rick-infra /var/lib/rick-infra/fleet.key /var/cache/salt/master"
    assert told.master.sh(modes).split("\n")[:3] == ["700 root", "700 root", "600 root"]
    search = "find / -xdev -type f {} -exec grep -lF -e '{}' '{{}}' + 2> /dev/null || true"
    assert "/etc/rick-infra/secrets/notes.yaml" in told.master.sh(search.format("", MARK)).split()
    # As somebody else, who would not get into a folder either.
    nobody = f'setpriv --reuid=65534 --regid=65534 --clear-groups sh -c "{search.format("", MARK)}"'
    assert told.master.sh(nobody) == ""


def test_what_the_master_writes_down_of_a_roll_out_has_no_secret_in_it(told):
    """notes has got its secret in a roll-out."""
    secret = pillar_of(told, "cell1")["secrets"]["board"]["auth"]
    # What hosts have answered; what root asks a runner to show is kept as well, and these tests ask for pillar.
    jobs = " ".join(f"/var/cache/salt/master/jobs/*/*/{host}" for host in told.hosts)
    logs = f"{jobs} /var/lib/rick-infra/rollouts /var/log"
    for value in (MARK, secret):
        assert told.master.sh(f"grep -rlF -e '{value}' {logs} 2> /dev/null || true") == ""
        assert told.master.sh(f"journalctl -o cat | grep -cF -e '{value}' || true") == "0"
    # There is something in there.
    assert told.master.sh(f"grep -rlF -e cell1 {logs} 2> /dev/null | head -n 1") != ""


def test_the_keys_of_hosts_are_for_root_and_caddy(fleet):
    for host in fleet.hosts.values():
        assert host.stat(f"{IDENTITY}/key.pem") == "root:caddy 640"
        assert host.stat(IDENTITY) == "root:caddy 750"


def test_what_a_host_remembers_is_roots_alone(fleet):
    for host in ("cell1", "cell2"):
        assert fleet.hosts[host].stat("/var/lib/rick-infra") == "root:root 700"


@pytest.fixture(scope="module")
def identities(fleet, tmp_path_factory):
    """Files of the certificate and the key of each host, and of one that nobody knows."""
    folder = tmp_path_factory.mktemp("identities")
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=edge1"
    fleet.hosts["edge1"].sh(f"{made} -addext extendedKeyUsage=clientAuth -keyout /root/made.key -out /root/made.pem")
    files = dict.fromkeys(fleet.hosts, (f"{IDENTITY}/certificate.pem", f"{IDENTITY}/key.pem"))
    found = {}
    for name, paths in {**files, "self-made": ("/root/made.pem", "/root/made.key")}.items():
        found[name] = []
        for path in paths:
            file = folder / f"{name}-{len(found[name])}"
            file.write_text(fleet.hosts.get(name, fleet.hosts["edge1"]).sh(f"cat {path}") + "\n")
            found[name].append(str(file))
    return {**found, "nobody": None}


# Who is refused may find the connection closed while it still writes, before it has read the alert.
CLOSED = "closed"
UNKNOWN = {"TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE", CLOSED}
REFUSED = {"nobody": {"TLSV13_ALERT_CERTIFICATE_REQUIRED", CLOSED}, "self-made": UNKNOWN}


def knock(fleet, host, name, identity, path="/", asked=None, **headers):
    """The status at a host's port for other hosts, or the alert with which it refuses the other's key."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identity:
        context.load_cert_chain(*identity)
    sent = {"Host": asked or name, "Connection": "close", **{key.replace("_", "-"): headers[key] for key in headers}}
    lines = [f"GET {path} HTTP/1.1", *(f"{key}: {value}" for key, value in sent.items()), "", ""]
    place = (fleet.address(fleet.hosts[host]), 8443)
    try:
        with (
            socket.create_connection(place, 10) as plain,
            context.wrap_socket(plain, server_hostname=name) as connection,
        ):
            connection.sendall("\r\n".join(lines).encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status
    except ssl.SSLEOFError:
        return CLOSED
    except ssl.SSLError as error:
        return error.reason
    except (ConnectionResetError, BrokenPipeError):
        return CLOSED


SITE, OUTPOST = "board.rick-infra.internal", "cell2.outpost.rick-infra.internal"
PING = "/outpost.goauthentik.io/ping"


def test_an_edge_gets_to_the_sites_of_a_cell_behind_it(fleet, identities):
    assert knock(fleet, "cell2", SITE, identities["edge1"], X_Forwarded_Host="board.example.test") == 302


@pytest.mark.parametrize("who", ["nobody", "self-made", "cell1"])
def test_nobody_else_gets_to_them(fleet, identities, who):
    assert knock(fleet, "cell2", SITE, identities[who], X_Forwarded_Host="board.example.test") in REFUSED.get(
        who, UNKNOWN
    )


def test_a_cell_asks_authentik_about_its_own_domains(fleet, identities):
    assert knock(fleet, "cell1", OUTPOST, identities["cell2"], PING, X_Forwarded_Host="board.example.test") == 204


@pytest.mark.parametrize(
    ("forwarded", "path"),
    [
        ("notes.example.test", PING),
        ("auth.example.test", PING),
        ("board.example.test", "/application/o/token/"),
        ("board.example.test", "/api/v3/core/users/"),
        ("auth.example.test", "/api/v3/core/users/"),
        ("auth.example.test", "/if/admin/"),
        ("auth.example.test", "/if/flow/default-authentication-flow/"),
        ("auth.example.test", "/application/o/../../api/v3/core/users/"),
        ("board.example.test", "/outpost.goauthentik.io/%2e%2e/api/v3/core/users/"),
        ("board.example.test", "/"),
    ],
)
def test_a_cell_asks_it_about_nothing_else(fleet, identities, forwarded, path):
    assert knock(fleet, "cell1", OUTPOST, identities["cell2"], path, X_Forwarded_Host=forwarded) == 403


def test_a_cell_that_does_not_say_of_which_domain_it_speaks_is_not_answered(fleet, identities):
    assert knock(fleet, "cell1", OUTPOST, identities["cell2"], PING) == 403


@pytest.mark.parametrize("who", ["nobody", "self-made", "edge1", "cell1"])
def test_nobody_else_asks_in_the_place_of_a_cell(fleet, identities, who):
    said = knock(fleet, "cell1", OUTPOST, identities[who], PING, X_Forwarded_Host="board.example.test")
    assert said in REFUSED.get(who, UNKNOWN)


def test_authentik_itself_does_not_answer_other_hosts(fleet):
    assert "127.0.0.1:9000 " in fleet.hosts["cell1"].sh("ss -Hltn")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((fleet.address(fleet.hosts["cell1"]), 9000), 5)


def test_who_is_known_to_one_site_is_not_served_another_over_the_same_connection(fleet, identities):
    """The name in TLS and the name in the request must agree, or a cell's key would open what is an edge's."""
    asked = {"asked": "authentik.rick-infra.internal", "X_Forwarded_Host": "board.example.test"}
    assert knock(fleet, "cell1", OUTPOST, identities["cell2"], PING, **asked) == 421


@pytest.fixture(scope="module")
def people(told):
    sso = told.hosts["cell1"]
    sso.write("/opt/authentik/blueprints/people.yaml", (TREE / "examples/demo/people.yaml").read_text())
    eventually(lambda: all(sso.salt("authentik.show", "user", name) for name in PASSWORDS), 60, "the people are made")
    groups = ["board_users", "echo_users"]
    assert sso.state("authentik.user_present", name="alice", groups=groups)["result"] is True


FORGED = [
    ("X-Forwarded-For", "192.0.2.99"),
    ("X-Forwarded-Host", "notes.example.test"),
    ("X-Forwarded-Proto", "http"),
    ("Remote-User", "akadmin"),
    ("Remote_User", "akadmin"),
    ("X-authentik-username", "akadmin"),
]


def received(answer):
    """The headers that reached the service, ``[(name, value)]``, names in small letters."""
    assert answer.status == 200
    return [(name.lower().replace("_", "-"), value) for name, value in json.loads(answer.text)]


def test_who_somebody_is_a_service_hears_from_authentik_alone(told, people):
    alice = Everywhere(told, shown=("echo.example.test",))
    alice.log_in("alice", f"{ECHO}/")
    headers = received(alice.ask(f"{ECHO}/", headers=FORGED))
    assert [value for name, value in headers if name == "remote-user"] == ["alice"]
    assert "akadmin" not in json.dumps(headers)


def test_a_forged_identity_does_not_come_through_an_edge_to_an_open_path(told):
    headers = received(Everywhere(told, shown=("echo.example.test",)).ask(f"{ECHO}/open/page", headers=FORGED))
    assert "akadmin" not in json.dumps(headers)
    assert [name for name, _ in headers if "remote" in name or "authentik" in name] == []


def test_what_a_client_says_of_where_it_comes_from_does_not_come_through_an_edge(told):
    headers = dict(received(Everywhere(told, shown=("echo.example.test",)).ask(f"{ECHO}/open/page", headers=FORGED)))
    assert headers["host"] == "echo.example.test"
    assert headers["x-forwarded-host"] == "echo.example.test"
    assert headers["x-forwarded-proto"] == "https"
    assert "192.0.2.99" not in json.dumps(headers)
    # The client is the host of the lab machines, at their bridge; the service hears of it, and of its edge.
    place = told.address(told.hosts["edge1"])
    assert headers["x-forwarded-for"].split(", ")[0].rpartition(".")[0] == place.rpartition(".")[0]
    assert headers["x-forwarded-for"].split(", ")[0] != place


def test_where_somebody_logs_in_is_not_for_the_client_to_say(told):
    answer = Everywhere(told, shown=("echo.example.test",)).ask(f"{ECHO}/", headers=FORGED)
    assert answer.status == 302
    assert answer.location.startswith(AUTH)
    assert "notes" not in answer.location
