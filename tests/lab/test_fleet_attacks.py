"""
What root on one host of a fleet gets of the others: by pillar, file server and mine, and by their Caddys.
"""

import json

import pytest

MARK = "only-the-cell-of-notes-may-know-this"
# Asks the master over Salt's own channel, with the key of the host it runs on. Prints a JSON mapping of answers.
ASK = """
import json, sys
import salt.channel.client, salt.config, salt.exceptions
opts = salt.config.minion_config("/etc/salt/minion")
opts["master_ip"], opts["master_uri"] = opts["master"], f"tcp://{opts['master']}:4506"
answers = {}
for name, load, dictkey in json.load(sys.stdin):
    with salt.channel.client.ReqChannel.factory(opts) as channel:
        try:
            if dictkey:
                answer = channel.crypted_transfer_decode_dictentry(load, dictkey=dictkey, timeout=20, tries=1)
            else:
                answer = channel.send(load, timeout=20, tries=1)
        except (salt.exceptions.SaltException, KeyError, TypeError) as error:
            answer = f"{type(error).__name__}: {error}"
    answers[name] = answer
print(json.dumps(answers, default=repr))
"""
IDENTITY = "/etc/caddy/identity"


def pillar_of(fleet, host):
    """What the master makes for a host now."""
    return json.loads(fleet.master.run("salt-run", "--out=json", "pillar.show_pillar", host).stdout)


@pytest.fixture(scope="module")
def told(fleet):
    """The fleet, with a secret that only cell1 may know; and what cell2 is answered to questions about cell1."""
    fleet.write("secrets/notes.yaml", f"mail: {MARK}\n")
    pillar = {"cmd": "_pillar", "saltenv": "base", "pillarenv": "base", "ver": "2", "extra_minion_data": {}}
    forged = {"rick": {"fleet": {"roles": ["cell", "sso"]}}}
    mine = {"cmd": "_mine_get", "fun": "fleet.published", "tgt_type": "glob"}
    grains = {"id": "cell1", "roles": ["sso"]}
    publish = {"cmd": "minion_pub", "id": "cell2", "tgt": "cell1", "tgt_type": "glob", "ret": ""}
    outside = ("/etc/rick-infra/fleet.yaml", "../../../etc/rick-infra/fleet.yaml", "../pillar/defaults.sls")
    lie = {"fleet.published": {"address": "192.0.2.66"}}
    questions = [
        ["own pillar", {**pillar, "id": "cell2", "grains": {}, "pillar_override": {}}, "pillar"],
        ["pillar", {**pillar, "id": "cell1", "grains": grains, "pillar_override": forged}, "pillar"],
        ["grains", {**pillar, "id": "cell2", "grains": grains, "pillar_override": {}}, "pillar"],
        ["mine", {**mine, "id": "cell2", "tgt": "*"}, None],
        ["mine as another", {**mine, "id": "cell1", "tgt": "*"}, None],
        ["runner", {"cmd": "minion_runner", "id": "cell2", "fun": "pillar.show_pillar", "arg": ["cell1"]}, None],
        ["publish", {**publish, "fun": "pillar.items", "arg": []}, None],
        *(
            [f"file {path}", {"cmd": "_serve_file", "loc": 0, "path": path, "saltenv": "base"}, None]
            for path in ("top.sls", *outside)
        ),
        ["mine of another", {"cmd": "_mine", "id": "cell1", "data": lie}, None],
    ]
    cell = fleet.hosts["cell2"]
    cell.write("/root/ask.py", ASK)
    said = cell.run("/opt/rick-infra/salt/bin/python", "/root/ask.py", text=json.dumps(questions)).stdout
    yield json.loads(said.strip().splitlines()[-1])
    cell.run("rm", "/root/ask.py")
    fleet.master.run("rm", "/etc/rick-infra/secrets/notes.yaml")
    # It has lied about its own address only, and says the truth again.
    fleet.salt("cell2", "mine.update")


def test_a_host_gets_its_own_pillar(told):
    """The question is a right one: else nothing would follow from the others' answers."""
    assert set(told["own pillar"]["rick"]["services"]) == {"board", "hello"}


@pytest.mark.parametrize("question", ["pillar", "grains"])
def test_whoever_a_host_says_to_be_it_gets_its_own_pillar(told, question):
    answer = told[question]
    text = json.dumps(answer)
    assert MARK not in text
    if isinstance(answer, dict):
        assert set(answer["rick"]["services"]) == {"board", "hello"}
        assert "logins" not in answer["rick"]["fleet"] or answer["rick"]["fleet"]["logins"] == {}
        assert set(answer["secrets"]) <= {"board", "hello"}


def test_the_cell_of_a_service_gets_its_secret(fleet, told):
    assert MARK in json.dumps(pillar_of(fleet, "cell1"))
    assert MARK not in json.dumps(pillar_of(fleet, "cell2"))


@pytest.mark.parametrize("question", ["mine", "mine as another", "runner", "publish"])
def test_no_host_reads_of_others_or_has_anything_done_by_them(told, question):
    assert not told[question]


def test_the_file_server_has_the_tree_and_nothing_else(told):
    assert "base" in told["file top.sls"]["data"]
    files = {name: answer for name, answer in told.items() if name.startswith("file ") and name != "file top.sls"}
    assert len(files) == 3
    assert not any(answer.get("data") for answer in files.values())


def test_a_host_publishes_for_itself_alone(fleet, told):
    assert told["mine of another"]
    sites = json.loads(fleet.master.run("salt-run", "--out=json", "pillar.show_pillar", "edge1").stdout)["rick"][
        "fleet"
    ]["sites"]
    addresses = {one["id"]: one["address"] for site in sites.values() for one in site["upstreams"]}
    # cell1 is not behind the edge; that cell2's lie is about cell2, shows that it was heard.
    assert addresses == {"cell2": "192.0.2.66"}
    assert pillar_of(fleet, "cell2")["rick"]["fleet"]["sso"]["address"] == fleet.address(fleet.hosts["cell1"])


def test_nothing_of_other_cells_is_on_a_hosts_disk(fleet, told):
    places = "/var/cache/salt /var/log /etc /var/lib/rick-infra /run/salt"
    looked = f"grep -rlF {{}} {places} 2> /dev/null || true"
    fleet.highstate("cell2")
    assert fleet.hosts["cell2"].sh(looked.format(MARK)) == ""
    own = fleet.hosts["cell1"].sh("cat /var/lib/rick-infra/secrets/notes.valkey")
    assert fleet.hosts["cell2"].sh(looked.format(own)) == ""


def test_what_the_master_remembers_of_secrets_is_roots_alone(fleet, told):
    modes = "stat -c '%a %U' /etc/rick-infra /var/lib/rick-infra /var/lib/rick-infra/fleet.key"
    assert fleet.master.sh(modes).split("\n") == ["700 root", "700 root", "600 root"]
    places = "find / -xdev -type f -perm /044 -not -path '/proc/*'"
    readable = f"{places} -exec grep -lF {{}} '{{}}' + 2> /dev/null || true"
    assert fleet.master.sh(readable.format(MARK, "{}")) == ""
    assert fleet.master.sh(f"journalctl -o cat | grep -cF {MARK} || true") == "0"


def test_the_keys_of_hosts_are_for_root_and_caddy(fleet):
    for host in fleet.hosts.values():
        assert host.stat(f"{IDENTITY}/key.pem") == "root:caddy 640"
        assert host.stat(IDENTITY) == "root:caddy 750"


def curl(host, address, name, *options, forwarded=None, path="/"):
    """The status that another host's Caddy answers with at the port between hosts; 0 if there is no answer."""
    headers = ["-H", f"X-Forwarded-Host: {forwarded}"] if forwarded else []
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--insecure", "--max-time", "10"]
    where = ["--resolve", f"{name}:8443:{address}", f"https://{name}:8443{path}"]
    return int(host.run(*command, *headers, *options, *where, check=False).stdout or 0)


def key(folder=IDENTITY):
    return "--cert", f"{folder}/certificate.pem", "--key", f"{folder}/key.pem"


@pytest.fixture(scope="module")
def armed(fleet):
    """The hosts with curl; cell1 and cell2 have a key of their own making as well, of which nobody knows."""
    for host in fleet.hosts.values():
        host.run("apt-get", "install", "--yes", "--no-install-recommends", "curl")
        host.sh(
            "mkdir -p /root/made && cd /root/made && "
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out certificate.pem "
            "-days 1 -subj /CN=edge1 -addext extendedKeyUsage=clientAuth"
        )
    return fleet


def test_an_edge_gets_to_the_sites_of_a_cell_behind_it(armed):
    place = armed.address(armed.hosts["cell2"])
    status = curl(armed.hosts["edge1"], place, "board.rick-infra.internal", *key(), forwarded="board.example.test")
    assert status == 302


@pytest.mark.parametrize("how", ["no key", "a key of its own making", "the key of a cell"])
def test_nobody_else_does(armed, how):
    place, name = armed.address(armed.hosts["cell2"]), "board.rick-infra.internal"
    who, options = {
        "no key": ("edge1", ()),
        "a key of its own making": ("edge1", key("/root/made")),
        "the key of a cell": ("cell1", key()),
    }[how]
    assert curl(armed.hosts[who], place, name, *options, forwarded="board.example.test") == 0


def outpost(armed, who, forwarded, path, name="cell2.outpost.rick-infra.internal", options=None):
    place = armed.address(armed.hosts["cell1"])
    return curl(armed.hosts[who], place, name, *(options or key()), forwarded=forwarded, path=path)


def test_a_cell_asks_authentik_about_its_own_domains(armed):
    ping = "/outpost.goauthentik.io/ping"
    assert outpost(armed, "cell2", "board.example.test", ping) == 204


@pytest.mark.parametrize(
    ("forwarded", "path"),
    [
        ("notes.example.test", "/outpost.goauthentik.io/ping"),
        ("auth.example.test", "/outpost.goauthentik.io/ping"),
        ("board.example.test", "/application/o/token/"),
        ("auth.example.test", "/api/v3/core/users/"),
        ("auth.example.test", "/if/admin/"),
        ("auth.example.test", "/if/flow/default-authentication-flow/"),
        ("board.example.test", "/"),
        (None, "/outpost.goauthentik.io/ping"),
    ],
)
def test_about_nothing_else(armed, forwarded, path):
    assert outpost(armed, "cell2", forwarded, path) == 403


@pytest.mark.parametrize(("who", "options"), [("edge1", None), ("edge1", ()), ("cell2", ("/root/made",))])
def test_with_another_key_a_cell_is_not_answered(armed, who, options):
    given = key(*options) if options else (() if options == () else key())
    ping = "/outpost.goauthentik.io/ping"
    place = armed.address(armed.hosts["cell1"])
    name = "cell2.outpost.rick-infra.internal"
    assert curl(armed.hosts[who], place, name, *given, forwarded="board.example.test", path=ping) == 0


def test_who_is_known_to_one_site_is_not_served_another_over_the_same_connection(armed):
    """The name in TLS and the name in the request must agree, or a cell's key would open what is an edge's."""
    place = armed.address(armed.hosts["cell1"])
    answer = curl(
        armed.hosts["cell2"],
        place,
        "cell2.outpost.rick-infra.internal",
        *key(),
        "-H",
        "Host: authentik.rick-infra.internal",
        forwarded="board.example.test",
        path="/outpost.goauthentik.io/ping",
    )
    assert answer in (0, 421)


def test_nobody_reaches_authentik_but_through_caddy(armed):
    for who in ("cell2", "edge1"):
        tried = f"curl -s --max-time 5 http://{armed.address(armed.hosts['cell1'])}:9000/ > /dev/null; echo $?"
        assert armed.hosts[who].sh(tried) in ("7", "28")


def test_an_address_that_was_a_lie_is_corrected_by_the_next_roll_out(fleet, told):
    fleet.deploy()
    place = fleet.address(fleet.hosts["cell2"])
    assert place in fleet.hosts["edge1"].sh("cat /etc/caddy/sites-enabled/board.caddy")
