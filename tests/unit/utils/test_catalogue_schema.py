"""
What an entry may say, what it means when it says nothing, and the schema that editors get.
"""

import json

import jsonschema
import pytest
import yaml
from tree import TREE, load

schema = load("utils", "catalogue_schema")

EXAMPLES = sorted((TREE / "examples/services").glob("*.yaml"))


def complete(**data):
    entry, problems = schema.complete({"image": "app:1", **data})
    assert not problems, problems
    return entry


def problems(**data):
    _, found = schema.complete({"image": "app:1", **data})
    return {":".join(map(str, one["path"])) for one in found}


def test_only_the_image_is_required():
    assert schema.complete({"image": "app:1"})[0]
    assert {one["path"] for one in schema.complete({})[1]} == {("image",)}


def test_what_is_to_be_gone_needs_no_image():
    assert schema.complete({"state": "absent"})[0]["state"] == "absent"


@pytest.mark.parametrize("short", ["postgres", "valkey", "site", "health", "secrets", "volumes", "needs"])
def test_a_short_form_means_the_long_one(short):
    forms = {
        "postgres": (True, {}),
        "valkey": ("instance", {"isolation": "instance"}),
        "site": ("a.example", {"domains": ["a.example"]}),
        "health": ("/health", {"path": "/health"}),
        "secrets": ({"token": True}, {"token": {}}),
        "volumes": ({"data": "/data"}, {"data": {"path": "/data"}}),
        "needs": ("wiki", ["wiki"]),
    }
    brief, long = forms[short]
    assert complete(port=80, **{short: brief}) == complete(port=80, **{short: long})


@pytest.mark.parametrize("key", ["postgres", "valkey", "site", "health"])
@pytest.mark.parametrize("nothing", [None, False])
def test_an_option_that_is_off_is_none(key, nothing):
    assert complete(**{key: nothing})[key] is None


def test_an_only_container_is_called_web_and_has_what_the_entry_says():
    entry = complete(command="serve --all", env={"A": 1, "B": True, "C": 1.5, "D": "x"}, user=33)
    assert entry["single"]
    assert entry["containers"]["web"]["command"] == ["serve", "--all"]
    assert entry["containers"]["web"]["env"] == {"A": "1", "B": "true", "C": "1.5", "D": "x"}
    assert entry["containers"]["web"]["user"] == 33


def test_containers_take_over_what_they_do_not_say_themselves():
    entry = complete(
        env={"A": "1", "B": "1"},
        read_only=False,
        containers={"web": {"read_only": True}, "worker": {"env": {"B": "2"}}},
    )
    assert not entry["single"]
    web, worker = entry["containers"]["web"], entry["containers"]["worker"]
    assert (web["read_only"], worker["read_only"]) == (True, False)
    assert (web["env"], worker["env"]) == ({"A": "1", "B": "1"}, {"A": "1", "B": "2"})
    assert worker["image"] == "app:1"


def test_a_one_shot_container_takes_over_neither_command_nor_health():
    entry = complete(
        command="serve", health={"command": "check"}, init={"command": "migrate"}, timers={"x": {"schedule": "daily"}}
    )
    assert (entry["init"]["command"], entry["init"]["health"]) == (["migrate"], None)
    assert (entry["timers"]["x"]["command"], entry["timers"]["x"]["image"]) == (None, "app:1")


def test_the_order_of_keys_means_nothing():
    one = {
        "image": "a:1",
        "env": {"A": "1", "B": "2"},
        "containers": {"web": {}, "api": {}},
        "secrets": {"x": True, "a": True},
    }
    other = {
        "secrets": {"a": True, "x": True},
        "containers": {"api": {}, "web": {}},
        "env": {"B": "2", "A": "1"},
        "image": "a:1",
    }
    assert json.dumps(schema.complete(one)[0]) == json.dumps(schema.complete(other)[0])


def test_a_database_elsewhere_has_a_password_and_no_kernel_that_vouches():
    postgres = complete(postgres={"host": "db.example.org"})["postgres"]
    assert (postgres["auth"], postgres["tls"]) == ("scram", "verify-full")
    assert complete(postgres=True)["postgres"]["auth"] == "peer"
    assert problems(postgres={"host": "db.example.org", "auth": "peer"}) == {"postgres:auth"}


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca", True])
def test_nothing_less_than_a_checked_certificate_is_accepted(mode):
    assert problems(postgres={"host": "db.example.org", "tls": mode}) == {"postgres:tls"}


@pytest.mark.parametrize("key", schema.OF_A_SERVER)
def test_what_is_the_servers_is_said_once_for_all_services(key):
    _, found = schema.complete({"image": "app:1", "postgres": {"host": "db.example.org", key: "x"}})
    assert [one["path"] for one in found] == [("postgres", key)]
    assert f"rick:postgresql:servers:db.example.org:{key}" in found[0]["text"]


def test_a_socket_has_no_certificate_to_check():
    assert problems(postgres={"tls": "verify-full"}) == {"postgres:tls"}


@pytest.mark.parametrize("host", ["", "db/x", "db:5432", "DB.example.org", "*.example.org", "db example", "::1"])
def test_a_server_elsewhere_is_named_as_in_its_certificate(host):
    assert problems(postgres={"host": host}) == {"postgres:host"}


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90), ("90s", 90), ("5min", 300), ("5m", 300), ("1h", 3600), ("2 h", 7200)]
)
def test_times_are_read(text, seconds):
    assert complete(stop_timeout=text)["stop_timeout"] == seconds


@pytest.mark.parametrize("text", [0, -1, "0s", "2d", "1.5h", "", "h", 100000, True])
def test_what_is_no_time_is_refused(text):
    assert problems(stop_timeout=text) == {"stop_timeout"}


@pytest.mark.parametrize(
    "image",
    [
        "app:1",
        "localhost/app:1",
        "ghcr.io/org/app:v1.2.3-rc.1",
        "registry.example.org:5000/a/b/c:x",
        f"ghcr.io/org/app@sha256:{'0' * 64}",
        f"ghcr.io/org/app:1@sha256:{'0' * 64}",
    ],
)
def test_an_image_with_a_fixed_version_is_accepted(image):
    assert complete(image=image)["image"] == image


@pytest.mark.parametrize(
    "path",
    ["a", "/", "/a:U", "/a,mode=0", "/%n", "/$HOME", "/a\\", "/a ", '/"', "/'", "/`", "/a\nb", "/a\x85", "/\u2028a"],
)
def test_a_path_that_podman_or_systemd_would_read_otherwise_is_refused(path):
    fields = {
        "tmpfs:0": {"tmpfs": [path]},
        "volumes:data:path": {"volumes": {"data": path}},
        "secrets:a:mount": {"secrets": {"a": {"mount": path}}},
        "binds:0:source": {"allow_binds": True, "binds": [{"source": path, "path": "/x"}]},
        "binds:0:path": {"allow_binds": True, "binds": [{"source": "/x", "path": path}]},
    }
    assert [problems(**entry) for entry in fields.values()] == [{field} for field in fields]


@pytest.mark.parametrize("path", ["/a", "/a b/ü", "/a;b", "/{a}", "/a=b#c", "/.x"])
def test_any_other_path_is_taken(path):
    assert complete(tmpfs=[path], volumes={"data": path})["tmpfs"] == [path]


@pytest.mark.parametrize("path", ["/a b", "/ü", '/"', "/{x}", "/a\nb", "/`", "/\\"])
def test_a_path_that_no_url_has_is_refused(path):
    assert problems(port=80, health=path) == {"health:path"}
    assert problems(port=80, site={"domains": ["a.example"], "public_paths": [path]}) == {"site:public_paths:0"}


@pytest.mark.parametrize("word", ["", ";"])
def test_a_word_that_ends_a_command_for_systemd_is_refused(word):
    """What stands behind a semicolon would be run as root, and not in the container."""
    assert problems(command=["run", word, "--all"]) == {"command"}
    assert problems(init={"command": ["run", word]}) == {"init:command"}
    assert complete(entrypoint=["run", word, "--all"])
    assert complete(command=["run", ";;", "a;", " "])


@pytest.mark.parametrize("image", ["app", "app:latest", "registry.example.org:5000/app", "ghcr.io/org/app:latest"])
def test_an_image_that_changes_by_itself_must_be_asked_for(image):
    assert problems(image=image) == {"image"}
    assert complete(image=image, allow_latest=True)
    assert problems(containers={"web": {"image": image}}) == {"containers:web:image"}
    # What holds for all containers holds for each.
    assert complete(allow_latest=True, containers={"web": {"image": image}})


@pytest.mark.parametrize(
    "image", ["", "App:1", "a b:1", "app:", "-a:1", "a:1\nb", "http://x/a:1", "a@sha256:0", "a:1 --privileged"]
)
def test_what_is_no_name_of_an_image_is_refused(image):
    assert problems(image=image) == {"image"}


@pytest.mark.parametrize(
    ("data", "places"),
    [
        ({"site": "a.b"}, {"site"}),
        ({"host_port": 1}, {"host_port"}),
        ({"health": "/x"}, {"health:path"}),
        ({"binds": [{"source": "/x", "path": "/x"}]}, {"binds"}),
        ({"containers": {"init": {}, "pod": {}}}, {"containers:init", "containers:pod"}),
        ({"timers": {"network": {"schedule": "daily"}}}, {"timers:network"}),
        ({"timers": {"web": {"schedule": "daily"}}}, {"timers:web"}),
        ({"containers": {"a": {}}, "timers": {"a": {"schedule": "daily"}}}, {"timers:a"}),
        ({"secrets": {"postgres": True, "valkey": True}}, {"secrets:postgres", "secrets:valkey"}),
        ({"containers": {"a": {}}, "command": "x", "entrypoint": "y"}, {"command", "entrypoint"}),
        ({"containers": {"a": {}}, "health": {"command": "x"}}, {"health:command"}),
        ({"containers": {"a": {"health": "/x"}}, "port": 1}, {"containers:a:health:path"}),
        ({"valkey": {"memory": 1, "database": 2}}, {"valkey:memory", "valkey:database"}),
        ({"valkey": {"isolation": "instance", "prefix": "a:"}}, {"valkey:prefix"}),
        ({"secrets": {"a": {"length": 20, "pillar": "x"}}}, {"secrets:a"}),
        ({"secrets": {"a": {"file": "/x", "pillar": "x"}}}, {"secrets:a"}),
        ({"image": None, "containers": {"a": {}, "b": {"image": "b:1"}}}, {"containers:a:image"}),
    ],
)
def test_what_does_not_fit_together_is_named(data, places):
    assert problems(**data) == places


@pytest.mark.parametrize(
    "data",
    [
        {"env": {"A=B": "x"}},
        {"env": {"A\nB": "x"}},
        {"command": ["a\0b"]},
        {"tmpfs": ["relative"]},
        {"tmpfs": ["/a\nb"]},
        {"volumes": {"../x": "/x"}},
        {"volumes": {"x": {"path": "/x", "owner": -1}}},
        {"capabilities": ["all; rm"]},
        {"capabilities": ["net_admin"]},
        {"shm_size": "lots"},
        {"stop_signal": "9; x"},
        {"postgres": {"database": 'a"b'}},
        {"postgres": {"extensions": ["a;b"]}},
        {"postgres": {"locale": "C.UTF-8'"}},
        {"valkey": {"commands": ["+@all ~*"]}},
        {"valkey": {"prefix": "a*:"}},
        {"valkey": {"prefix": "a"}},
        {"port": 1, "site": {"domains": ["a.b {"]}},
        {"port": 1, "site": {"domains": ["a..b"]}},
        {"port": 1, "site": {"domains": "a.b", "max_body": "big"}},
        {"uid": 0},
        {"uid": 70000},
        {"timers": {"x": {"schedule": "a\nb"}}},
        {"secrets": {"x": {"length": 4}}},
        {"registry_auth": "a b"},
        {"tmpfs": ["/a\u2028"]},
        {"tmpfs": ["/tmp:exec"]},
        {"volumes": {"x": "/data:U,rw"}},
        {"volumes": {"x": "/data\\"}},
        {"volumes": {"x": '/data"'}},
        {"allow_binds": True, "binds": [{"source": "/a:b", "path": "/x"}]},
        {"allow_binds": True, "binds": [{"source": "/a", "path": "/x:z"}]},
        {"secrets": {"x": {"mount": "/run/a,uid=5"}}},
        {"port": 1, "health": "/a b"},
        {"port": 1, "health": "/{x}"},
        {"port": 1, "health": "/ü"},
        {"port": 1, "site": {"domains": "a.b", "public_paths": ["/a b"]}},
        {"port": 1, "site": {"domains": "a.b", "tls": {"certificate": "/a{b", "key": "/k"}}},
        {"port": 1, "site": {"domains": "a.b", "tls": {"certificate": "/a", "key": "/"}}},
        {"stop_signal": "SIGNONSENSE"},
        {"stop_signal": "0"},
        {"capabilities": ["NONSENSE"]},
        {"capabilities": ["ALL"]},
        {"resources": {"cpus": True}},
        {"resources": {"cpus": 0.001}},
        {"postgres": {"locale": "xx"}},
        {"postgres": {"locale": "de_DE"}},
        {"valkey": {"commands": ["+-x|"]}},
        {"timers": {"x": {"schedule": " "}}},
    ],
)
def test_what_would_be_something_else_further_on_is_refused(data):
    assert problems(**data)


def test_each_pattern_has_words_for_people():
    used = set(_patterns(schema.Entry.model_json_schema()))
    assert len(used) > 10
    assert used - set(schema.forms()) == {"^[0-9]+ ?(s|min|m|h|d)$"}, "times have words of their own"


def _patterns(value):
    if isinstance(value, dict):
        yield from ([value["pattern"]] if isinstance(value.get("pattern"), str) else [])
        yield from value.get("patternProperties", {})
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from _patterns(one)


def test_every_key_is_described():
    exported = schema.json_schema()
    for model in [exported, *exported["$defs"].values()]:
        assert [name for name, field in model["properties"].items() if not field.get("description")] == []


def test_the_exported_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema.json_schema())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_editor_accepts_the_examples(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), schema.json_schema())


@pytest.mark.parametrize(
    "data",
    [
        {"postgres": True},
        {"postgres": "other"},
        {"valkey": "instance"},
        {"site": ["a.b", "c.d"], "port": 1},
        {"secrets": {"a": True, "b": {"length": 20}}},
        {"volumes": {"a": "/a", "b": {"path": "/b"}}},
        {"needs": "wiki"},
        {"needs": ["wiki"]},
        {"command": "serve --all"},
        {"env": {"A": 1, "B": True, "C": "x"}},
        {"stop_timeout": "90s"},
        {"shm_size": 1024},
        {"site": {"domains": "a.b"}, "port": 1},
        {"state": "absent"},
    ],
)
def test_an_editor_accepts_what_is_accepted(data):
    complete(**data)
    jsonschema.validate({"image": "a:1", **data}, schema.json_schema())


@pytest.mark.parametrize("data", [{"hots_port": 1}, {"port": "80"}, {"postgres": {"databse": "x"}}, {"state": "gone"}])
def test_an_editor_sees_mistakes(data):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"image": "a:1", **data}, schema.json_schema())


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ((), "needs"),
        (("postgres",), "database"),
        (("containers", "web"), "command"),
        (("containers", "web", "health"), "interval"),
        (("site", "tls"), "certificate"),
        (("publish", 0), "host_port"),
        (("secrets", "a"), "alphabet"),
    ],
)
def test_the_keys_of_each_mapping_are_known(path, keys):
    assert keys in schema.known_keys(path)
    assert not schema.is_free(path)


@pytest.mark.parametrize("path", [("env",), ("containers",), ("timers",), ("secrets",), ("volumes",), ("publish",)])
def test_names_of_ones_own_are_known_as_such(path):
    assert schema.is_free(path)


@pytest.mark.parametrize(
    "data",
    [
        {"command": ["sh", "-c", "a\nb\tc"]},
        {"volumes": {"x": "/var/lib/my data"}},
        {"port": 1, "health": "/health?deep=1&x=%20~[a]"},
        {"port": 1, "site": {"domains": "a.b", "public_paths": ["/.well-known/*"]}},
        {"stop_signal": "SIGRTMIN+3"},
        {"stop_signal": "QUIT"},
        {"stop_signal": "9"},
        {"capabilities": ["CAP_NET_BIND_SERVICE", "CHOWN"]},
        {"resources": {"cpus": 1}},
        {"postgres": {"locale": "de_DE.UTF-8"}},
        {"postgres": {"locale": "C"}},
        {"valkey": {"commands": ["+client|id", "-@write", "+json.get"]}},
    ],
)
def test_what_fits_is_accepted(data):
    complete(**data)
    jsonschema.validate({"image": "a:1", **data}, schema.json_schema())


HOURS = {"auth:policies:hours:start", "auth:policies:hours:end"}
MARS = {"auth:policies:hours:timezone"}


@pytest.mark.parametrize(
    ("auth", "places"),
    [
        ("forward_auth", set()),
        ({"pattern": "forward_auth", "lifetime": "30d"}, set()),
        ({"pattern": "forward_auth", "redirect_paths": "/a"}, {"auth:redirect_paths"}),
        ({"pattern": "forward_auth", "client": "public", "clients": ["a"]}, {"auth:client", "auth:clients"}),
        ({"pattern": "oauth2"}, {"auth"}),
        ({"pattern": "oauth2", "redirect_uris": ["nonsense"]}, {"auth:redirect_uris:0"}),
        ({"pattern": "oauth2", "redirect_uris": ["https://a.example/#x"]}, {"auth:redirect_uris:0"}),
        ({"pattern": "oauth2", "redirect_uris": ["app://a"]}, set()),
        ({"pattern": "api", "scopes": ["two words"]}, {"auth:scopes:two words:[key]"}),
        ({"pattern": "api", "consent": "explicit"}, {"auth:consent"}),
        ({"pattern": "none", "groups": ["x"]}, {"auth:groups"}),
        ({"pattern": "api", "groups": ["users"]}, {"auth:groups"}),
        ({"pattern": "api", "groups": ["Admins"]}, {"auth:groups:0"}),
        ({"pattern": "api", "lifetime": "1s"}, {"auth:lifetime"}),
        ({"pattern": "api", "policies": {"networks": "10.0.0.1/8"}}, {"auth:policies:networks:0"}),
        ({"pattern": "api", "policies": {"hours": {"start": "08:00", "end": "08:00"}}}, {"auth:policies:hours:end"}),
        ({"pattern": "api", "policies": {"hours": {"start": "8:00", "end": "24:00"}}}, HOURS),
        ({"pattern": "api", "policies": {"hours": {"start": "08:00", "end": "18:00", "timezone": "Mars"}}}, MARS),
    ],
)
def test_a_login_is_accepted_or_refused_at_its_place(auth, places):
    assert problems(port=80, site="a.example", auth=auth) == places


def test_a_login_by_the_site_takes_a_site_with_domains():
    assert problems(port=80, auth="forward_auth") == {"auth"}
    assert problems(port=80, site="*.example.org", auth="forward_auth") == {"auth"}
    assert problems(port=80, auth={"pattern": "oauth2", "redirect_paths": "/a"}) == {"auth"}
    assert problems(auth="api") == set()


@pytest.mark.parametrize(
    ("subnet", "places"),
    [
        ("10.89.200.0/29", set()),
        ("10.89.200.0/30", {"subnet"}),
        ("10.89.200.1/24", {"subnet"}),
        ("fd00::/64", {"subnet"}),
    ],
)
def test_a_pod_fits_into_its_network(subnet, places):
    assert problems(subnet=subnet) == places
