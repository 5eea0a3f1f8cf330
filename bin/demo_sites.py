"""
The sites of a demonstration: what they are, who may log in, and visits to them.

Standard library only, as all of bin.
"""

import contextlib
import http
import http.client
import json
import re
import time
import urllib.parse

from browse import HTTPS, Browser, Connection
from console import Failure, say, step
from demo_machine import TREE

PILLAR = TREE / "examples/demo/pillar/site.sls"
ENTRIES = TREE / "examples/services"
SITE = "/etc/rick-infra"  # in a machine: what a server says of itself
DOMAINS = ("notes.example.test", "queue.example.test", "hello.example.test")  # as in ENTRIES, those without a login
BOARD, DIARY, ITEMS, SSO = (f"{name}.example.test" for name in ("board", "diary", "items", "auth"))
DOUBLE = "localhost/authentik-double:2026.2.2"  # as in PILLAR
IMAGE = re.compile(r"(?P<repository>[^@]+):(?P<version>[^:/@]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?")
PEOPLE = ENTRIES.parent / "demo/people.yaml"
# As in PEOPLE: alice may use what asks for a login, bob nothing of it.
PASSWORDS = {"alice": "alice-may-come-in", "bob": "bob-has-to-stay-out"}
GROUPS = ["board_users", "board_admins", "diary_users"]
PEOPLE_TIMEOUT = 300  # seconds until Authentik's worker has read a file; the real one may take a minute or two
# Seconds; the certificates are made when Caddy first loads the sites, which the run does not wait for.
CERTIFICATE_TIMEOUT = 30


def site_pillar(image):
    """Return the settings of the site, with the image of Authentik that is wanted."""
    text = PILLAR.read_text()
    if image == DOUBLE:
        return text
    named = IMAGE.fullmatch(image)
    if not named:
        raise Failure(
            f"--authentik-image {image}: a name with its version, such as ghcr.io/goauthentik/server:2026.2.2"
        )
    wanted = f"image: {named['repository']}\n    version: {named['version']}"
    wanted += f"\n    digest: {named['digest']}" if named["digest"] else ""
    return re.sub(r"(?m)^    # A TEST DOUBLE.*\n    image: .*\n    version: .*$", f"    {wanted}", text)


def people(machine):
    """Let Authentik of a machine make the people, and let alice in."""
    blueprint = f"/opt/authentik/blueprints/{PEOPLE.name}"
    machine.write(blueprint, PEOPLE.read_text())
    with step("wait until Authentik's worker has read it"):
        deadline = time.monotonic() + PEOPLE_TIMEOUT
        while not all(machine.salt("authentik.show", "user", name) for name in PASSWORDS):
            if time.monotonic() > deadline:
                raise Failure(
                    f"Authentik's worker has not made the people of {blueprint}; journalctl -u authentik-worker"
                )
            time.sleep(1)
    arguments = ["name=alice", f"groups={json.dumps(GROUPS)}"]
    machine.inside("salt-call", "--state-output=changes", "state.single", "authentik.user_present", *arguments)


def visits(address, context, sso):
    """Open the sites as a browser does, and log in where they ask for it; ``sso`` is Authentik's machine."""
    for domain in DOMAINS:
        with step(f"open https://{domain}/"):
            answer(address, domain, context)
        say(f"https://{domain}/ answers, with a certificate of the machine's own authority")
    logins(address, context, sso)


def logins(address, context, sso):
    """Log in at all three patterns, and be refused."""
    with step(f"log alice in at https://{BOARD}/"):
        alice = Browser(address, context).open(f"https://{BOARD}/")
        alice.log_in("alice", PASSWORDS["alice"])
        expect(alice, f"https://{BOARD}/", "Alice Archer", "board_users")
    say(f"https://{BOARD}/ asked Authentik for a login, and greets Alice Archer of board_users (forward_auth)")
    with step(f"the same at https://{DIARY}/"):
        alice.open(f"https://{DIARY}/login")
        expect(alice, f"https://{DIARY}/", "Alice Archer", "diary_users")
    say(f"https://{DIARY}/ knows her by OpenID Connect, and did not ask again (oauth2)")
    with step("refuse bob"):
        bob = Browser(address, context).open(f"https://{BOARD}/")
        bob.log_in("bob", PASSWORDS["bob"])
        if bob.url.startswith(f"https://{BOARD}"):
            raise Failure(f"bob was let in at https://{BOARD}/")
    say("bob, who is in none of their groups, is refused")
    with step(f"ask https://{ITEMS}/ with a token and without"):
        statuses = items(address, context, sso)
    say(f"https://{ITEMS}/items answers {statuses[0]} without a token, and {statuses[1]} to the program reporter (api)")


def expect(browser, place, *texts):
    """Raise Failure unless a page is the one that is meant."""
    missing = [text for text in texts if text not in browser.text]
    if not browser.url.startswith(place) or missing:
        raise Failure(f"{browser.url} answers {browser.status} without {', '.join(missing) or place}")


def items(address, context, sso):
    """Return the statuses that the API answers with, without a token and with one."""
    without = Browser(address, context).open(f"https://{ITEMS}/items").status
    password = sso.read("/var/lib/rick-infra/secrets/authentik-items-reporter").strip()
    form = {"grant_type": "client_credentials", "client_id": "items", "username": "items-reporter", "scope": "api:read"}
    body = urllib.parse.urlencode({**form, "password": password})
    with contextlib.closing(Connection(address, SSO, context)) as connection:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/application/o/token/", body, headers)
        token = json.loads(connection.getresponse().read()).get("access_token")
    if not token:
        raise Failure(f"https://{SSO}/ gives the program reporter no token")
    reader = Browser(address, context).open(f"https://{ITEMS}/items", headers={"Authorization": f"Bearer {token}"})
    if (without, reader.status) != (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.OK):
        raise Failure(f"https://{ITEMS}/items answers {without} without a token, and {reader.status} with one")
    return without, reader.status


def answer(address, domain, context, port=HTTPS, patience=CERTIFICATE_TIMEOUT):
    """Ask a site for its first page as a browser on this host would, until its certificate is there."""
    deadline = time.monotonic() + patience
    while True:
        connection = Connection(address, domain, context, port)
        try:
            connection.request("GET", "/")
            reply = connection.getresponse()
            if reply.status == http.HTTPStatus.OK:
                reply.read()
                return
            problem = f"HTTP {reply.status}"
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        finally:
            connection.close()
        if time.monotonic() > deadline:
            raise Failure(f"https://{domain}/ does not answer from this host: {problem}")
        time.sleep(0.2)
