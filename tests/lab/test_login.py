"""
Logins end to end: people and programs at the sites of a machine, through Caddy, with TLS.
"""

import json

import pytest
import yaml
from machine import eventually
from visitor import AUTH, BOARD, DIARY, ITEMS, PASSWORDS, token, visitor


@pytest.fixture
def nobody(sso):
    return visitor(sso)


@pytest.fixture
def alice(sso):
    return visitor(sso)


@pytest.fixture
def bob(sso):
    return visitor(sso)


def test_the_first_run_made_all_of_it_and_the_next_changes_nothing(sso):
    done = sso.apply()
    assert (done.changed, done.failed) == (set(), {})
    assert sso.apply(test=True).planned == set()


def test_the_verification_has_tried_each_login(sso):
    found = sso.verify()
    assert [f"{name}: {detail}" for name, (passed, detail) in found.items() if not passed] == []
    for name in (
        f"{BOARD} sends visitors to the login",
        "diary: its discovery document can be read",
        "items: items-reporter gets a token, which nobody else can read",
    ):
        assert name in found


def test_authentik_runs_as_any_service(sso):
    """Under system.slice, as its own user, on loopback, with the database's peer authentication."""
    for unit in ("authentik-server.service", "authentik-worker.service"):
        assert sso.sh(f"systemctl show -P ControlGroup {unit}").startswith("/system.slice/")
    assert sso.psql("authentik", "select current_user") == "authentik"
    assert sso.sh("podman port authentik-infra") == "9000/tcp -> 127.0.0.1:9000"
    secret = sso.sh("cat /var/lib/rick-infra/secrets/authentik.api")
    assert sso.sh(f"grep -rl {secret} /etc /opt/authentik /var/log /run/systemd || true") == ""
    assert secret not in sso.sh("journalctl --no-pager")
    assert secret not in sso.sh("podman inspect authentik-server authentik-worker")


def test_the_account_of_this_host_is_no_administrator(sso):
    script = (
        "import json, urllib.request as u\n"
        "token = open('/var/lib/rick-infra/secrets/authentik.api').read().strip()\n"
        "ask = u.Request('http://127.0.0.1:9000/api/v3/core/users/me/', headers={'Authorization': 'Bearer ' + token})\n"
        "print(u.urlopen(ask, timeout=5).read().decode())"
    )
    me = json.loads(sso.run("python3", "-c", script).stdout)["user"]
    assert (me["username"], me["is_superuser"]) == ("rick-infra", False)


def test_a_page_behind_the_proxy_knows_who_has_logged_in(sso, nobody, alice):
    page = nobody.follow(f"{BOARD}/")
    assert page.url.startswith(f"{AUTH}/if/flow/")
    page = alice.log_in("alice", f"{BOARD}/")
    assert (page.url, page.status) == (f"{BOARD}/", 200)
    for text in ("Alice Archer", "alice@example.test", "board_users", "board_admins"):
        assert text in page.text
    # Once logged in, another page asks nothing more.
    assert alice.ask(f"{BOARD}/admin").status == 200


def test_who_is_in_none_of_its_groups_is_refused(sso, bob):
    for site in (BOARD, DIARY):
        page = bob.log_in("bob", f"{site}/") if site == BOARD else bob.follow(f"{site}/login")
        assert page.url.startswith(AUTH), page.url
        assert "Permission denied" in page.text


def test_after_the_logout_one_is_asked_again(sso, alice):
    alice.log_in("alice", f"{BOARD}/")
    alice.follow(f"{BOARD}/outpost.goauthentik.io/sign_out")
    assert alice.follow(f"{BOARD}/").url.startswith(f"{AUTH}/if/flow/")


def test_open_paths_are_open(sso, nobody):
    assert nobody.ask(f"{BOARD}/health").status == 200
    assert nobody.ask(f"{BOARD}/static/style.css").status == 200


def test_an_application_logs_in_by_openid_connect(sso, alice):
    page = alice.log_in("alice", f"{DIARY}/")
    assert page.url.startswith(f"{DIARY}/")
    assert page.status == 200
    assert "Alice Archer" in page.text
    assert "diary_users" in page.text


def test_a_program_gets_a_token_for_what_it_may_do(sso, nobody):
    assert nobody.ask(f"{ITEMS}/items").status == 401
    read = token(sso, nobody).json()["access_token"]
    bearer = [("Authorization", f"Bearer {read}")]
    assert nobody.ask(f"{ITEMS}/items", headers=bearer).status == 200
    assert nobody.ask(f"{ITEMS}/items", headers=bearer, form={"name": "x"}).status == 403
    assert token(sso, nobody, password="another").status == 400  # noqa: S106 - a wrong one


def test_a_token_of_another_client_is_none(sso, nobody):
    """Each service asks with a client of its own."""
    secret = sso.sh("cat /var/lib/rick-infra/secrets/diary.auth")
    read = token(sso, nobody).json()["access_token"]
    introspect = f"{AUTH}/application/o/introspect/"
    assert nobody.ask(introspect, form={"token": read}, basic=("diary", secret)).json() == {"active": False}


def test_a_new_secret_reaches_authentik_and_the_application(sso, alice):
    sso.salt("secret.renew", "diary.auth")
    assert alice.log_in("alice", f"{DIARY}/").url.startswith(DIARY)
    done = sso.converge()
    assert "Service diary has its login" in done.changed
    other = visitor(sso)
    assert "Alice Archer" in other.log_in("alice", f"{DIARY}/").text


@pytest.fixture
def changed(sso):
    """Change an entry for one test."""

    def change(name, **auth):
        path = f"/etc/rick-infra/services/{name}.yaml"
        entry = yaml.safe_load(sso.sh(f"cat {path}"))
        before.setdefault(name, entry)
        login = {"auth": {**entry["auth"], **auth}} if auth else {"auth": "none", "env": {"ADMIN_GROUP": "nobody"}}
        sso.declare(name, {**entry, **login})
        return sso.converge()

    before: dict = {}
    yield change
    for name, entry in before.items():
        sso.declare(name, entry)
    sso.converge()


def test_hours_close_the_door(sso, changed, alice):
    """A window of one minute that is not now, in any time zone's sense of it."""
    hour = (int(sso.sh("date -u +%H")) + 12) % 24
    window = {
        "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        "start": f"{hour:02}:00",
        "end": f"{hour:02}:01",
    }
    changed("board", policies={"hours": window})
    assert alice.log_in("alice", f"{BOARD}/").url.startswith(AUTH)


def test_networks_close_the_door_to_others(sso, changed, alice):
    changed("board", policies={"networks": ["192.0.2.0/24"]})
    assert alice.log_in("alice", f"{BOARD}/").url.startswith(AUTH)


def test_the_network_is_that_of_the_visitor(sso, changed, alice):
    """Not of Caddy, nor of the pod's gateway: what Caddy says of the client counts."""
    network = sso.address.rpartition(".")[0] + ".0/24"
    changed("board", policies={"networks": [network]})
    assert "Alice Archer" in alice.log_in("alice", f"{BOARD}/").text


def test_without_a_login_nothing_of_it_is_left(sso, changed, nobody):
    changed("board")
    assert nobody.ask(f"{BOARD}/").status == 401  # the application's own word
    for kind in ("application", "proxy_provider"):
        assert "board" not in sso.salt("authentik.list", kind)
    assert not [name for name in sso.salt("authentik.list", "group") if name.startswith("board_")]
    assert "import login" not in sso.sh("cat /etc/caddy/sites-enabled/board.caddy")


def test_while_authentik_is_down_sites_stay_closed_and_others_go_on(sso, nobody):
    sso.run("systemctl", "stop", "authentik-server.service")
    try:
        assert nobody.ask(f"{BOARD}/").status in (502, 503)
        assert nobody.ask(f"{BOARD}/health").status == 200
        assert nobody.ask(f"{ITEMS}/health").status == 200
        assert nobody.ask(f"{ITEMS}/items", headers=[("Authorization", "Bearer x")]).status == 503
    finally:
        sso.run("systemctl", "start", "authentik-server.service")
    eventually(lambda: nobody.ask(f"{AUTH}/-/health/ready/").status == 200, 60, "Authentik is back")


def test_passwords_of_people_are_nowhere_in_the_journal(sso, alice):
    alice.log_in("alice", f"{BOARD}/")
    journal = sso.sh("journalctl --no-pager")
    assert not [password for password in PASSWORDS.values() if password in journal]
