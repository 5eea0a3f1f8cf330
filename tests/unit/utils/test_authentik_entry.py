"""
Authentik as an entry of the catalogue: what its releases need, and which way its version may go.
"""

import pytest
import yaml
from tree import TREE, load

authentik_entry = load("utils", "authentik_entry")
schema = load("utils", "catalogue_schema")
DEFAULTS = yaml.safe_load((TREE / "pillar/defaults.sls").read_text())["rick"]["authentik"]
DIGEST = f"sha256:{'0' * 64}"


def settings(**more):
    return {**DEFAULTS, "domain": "auth.example.org", **more}


def problems(installed=None, **more):
    return authentik_entry.problems(settings(**more), installed)


def entry(**more):
    complete, wrong = schema.complete(authentik_entry.entry(settings(**more)))
    assert wrong == []
    return complete


def test_the_default_is_fine_and_pinned():
    assert problems() == []
    assert entry()["image"] == "ghcr.io/goauthentik/server:2026.2.3"
    assert entry(digest=DIGEST)["image"] == f"ghcr.io/goauthentik/server:2026.2.3@{DIGEST}"


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("domain", "Auth.example.org", "rick:authentik:domain: 'Auth.example.org' is not a domain"),
        ("domain", "auth", "is not a domain"),
        ("domain", "*.example.org", "is not a domain"),
        ("version", "latest", "rick:authentik:version: 'latest' is not a release"),
        ("version", "2026.2", "is not a release"),
        ("version", "2024.12.1", "is older than 2025.2"),
        ("digest", "sha256:0", "rick:authentik:digest: 'sha256:0' is not the digest"),
        ("tls", "off", "rick:authentik:tls: 'off' is neither internal nor acme"),
        ("tls", {"certificate": "/a"}, "has a certificate and a key"),
        ("subnet", "10.0.0.1/29", "rick:authentik:subnet: '10.0.0.1/29' is not a network"),
        ("subnet", "10.0.0.0/30", "is too small"),
        ("subnet", "fd00::/64", "is not a network"),
        ("env", {"EMAIL": "x"}, "rick:authentik:env: 'EMAIL' is no setting of Authentik"),
        ("env", {"AUTHENTIK_SECRET_KEY": "x"}, "rick:authentik:env:AUTHENTIK_SECRET_KEY: is decided by the tree"),
        ("env", {"AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS": "0.0.0.0/0"}, "is decided by the tree"),
        ("env", {"AUTHENTIK_EMAIL__HOST": ["x"]}, "rick:authentik:env:AUTHENTIK_EMAIL__HOST"),
        ("url", "http://192.0.2.1:9000", "rick:authentik:url"),
        ("url", "https://127.0.0.1:9000", "rick:authentik:url"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(key, value, told):
    (found,) = problems(**{key: value})
    assert found.startswith("rick:authentik:")
    assert told in found


@pytest.mark.parametrize(
    ("installed", "version"),
    [
        (None, "2026.2.2"),
        ("ghcr.io/goauthentik/server:2026.2.1", "2026.2.2"),
        ("ghcr.io/goauthentik/server:2026.2.3", "2026.2.2"),
        (f"ghcr.io/goauthentik/server:2025.12.4@{DIGEST}", "2026.2.2"),
        ("registry.example.org:5000/authentik:2025.12.4", "2026.2.2"),
        ("localhost/built:here", "2026.2.2"),
        ("ghcr.io/goauthentik/server:2026.5.0", "2026.8.0"),
    ],
)
def test_a_release_follows_the_one_before(installed, version):
    assert problems(installed, version=version) == []


@pytest.mark.parametrize(
    ("installed", "version", "way"),
    [
        ("2025.10.3", "2026.2.2", "the latest 2025.12 -> 2026.2.2"),
        ("2025.8.1", "2026.2.2", "the latest 2025.10 -> the latest 2025.12 -> 2026.2.2"),
        ("2026.2.2", "2026.8.0", "the latest 2026.5 -> 2026.8.0"),
    ],
)
def test_a_jump_is_refused_with_the_way_to_go(installed, version, way):
    (found,) = problems(f"ghcr.io/goauthentik/server:{installed}", version=version)
    assert found.startswith(f"rick:authentik:version: {installed} cannot become {version} at once")
    assert way in found


def test_the_way_back_is_the_dump():
    (found,) = problems("ghcr.io/goauthentik/server:2026.2.2", version="2025.12.4")
    assert "does not go back" in found
    assert "restore the dump" in found


def test_before_its_own_storage_it_had_the_folder_for_media():
    assert entry(version="2025.12.0")["volumes"]["media"]["path"] == "/data/media"
    assert entry(version="2025.12.0")["volumes"]["data"]["path"] == "/data"
    old = entry(version="2025.10.3")["volumes"]
    assert old["media"]["path"] == "/media"
    assert "data" not in old


def test_releases_that_need_a_cache_get_one_and_others_do_not():
    assert entry()["valkey"] is None
    assert not [key for key in entry()["env"] if "REDIS" in key]
    assert list(entry()["containers"]) == ["server", "worker"]
    old = entry(version="2025.8.4")
    assert old["valkey"]["isolation"] == "instance"
    assert old["env"]["AUTHENTIK_REDIS__HOST"] == "127.0.0.1"
    assert list(old["containers"]) == ["cache", "server", "worker"]


def test_server_and_worker_do_not_collide():
    """One pod, one program twice: the ports, and the file that its own health command looks at (TMPDIR)."""
    containers = entry()["containers"]
    server, worker = containers["server"]["env"], containers["worker"]["env"]
    assert worker["AUTHENTIK_LISTEN__HTTP"] == "0.0.0.0:9001"
    assert worker["AUTHENTIK_LISTEN__METRICS"] == "0.0.0.0:9301"
    assert "AUTHENTIK_LISTEN__HTTP" not in server
    assert server["TMPDIR"] == worker["TMPDIR"] == "/tmp"
    assert containers["server"]["tmpfs"] == ["/tmp"]
    assert ":9000/-/health/ready/" in containers["server"]["health"]["command"][2]
    assert ":9001/-/health/ready/" in containers["worker"]["health"]["command"][2]


def test_only_the_worker_has_the_first_password_and_the_token():
    containers = entry(email="admin@example.org")["containers"]
    for variable in ("AUTHENTIK_BOOTSTRAP_PASSWORD", "AUTHENTIK_BOOTSTRAP_EMAIL", "RICK_INFRA_TOKEN"):
        assert variable in containers["worker"]["env"]
        assert variable not in containers["server"]["env"]
    assert "AUTHENTIK_BOOTSTRAP_TOKEN" not in containers["worker"]["env"]


def test_it_is_on_loopback_and_believes_its_gateway_alone():
    found = entry()
    assert found["publish"] == []
    assert found["host_port"] == 9000
    assert found["env"]["AUTHENTIK_LISTEN__TRUSTED_PROXY_CIDRS"] == "{service.gateway}/32"
    assert found["subnet"] == "10.89.255.0/29"
    assert entry(url="http://127.0.0.1:9009")["host_port"] == 9009


def test_the_database_knows_it_by_its_user():
    assert entry()["postgres"]["auth"] == "peer"
    assert entry()["env"]["AUTHENTIK_POSTGRESQL__PASSWORD"] == ""


def test_what_nobody_may_read_is_a_secret():
    found = entry(secrets={"smtp": {"pillar": "smtp:password"}}, env={"AUTHENTIK_EMAIL__PASSWORD": "{secret.smtp}"})
    assert found["secrets"]["smtp"]["pillar"] == "smtp:password"
    assert set(found["secrets"]) == {"secret-key", "admin", "api", "smtp"}
    (problem,) = problems(secrets={"api": True})
    assert problem == "rick:authentik:secrets:api: the tree makes that one"


def test_further_settings_reach_both():
    found = entry(env={"AUTHENTIK_EMAIL__HOST": "mail.example.org", "AUTHENTIK_EMAIL__PORT": 25})
    assert found["containers"]["server"]["env"]["AUTHENTIK_EMAIL__PORT"] == "25"
    assert found["containers"]["worker"]["env"]["AUTHENTIK_EMAIL__HOST"] == "mail.example.org"
