"""
Logins at the double of Authentik that nobody has recorded: over OAuth2 with a browser, and at the embedded outpost.
"""

import re
import urllib.parse

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from doubles.authentik.server import create_app
from joserfc import jwt
from joserfc.jwk import KeySet
from werkzeug.test import Client

TOKEN = "token-of-the-administrator"  # noqa: S105 - of a double
AUTH, APPLICATION, GUARDED = "https://auth.example.test", "https://notes.example.test", "https://wiki.example.test"
CALLBACK = f"{APPLICATION}/callback"
PASSWORD = "correct horse"  # noqa: S105 - of a double
VERIFIER = "a-verifier-of-more-than-forty-three-characters-as-is-due"
SCOPE = "openid email profile"
SIGNED = "X-authentik-auth-callback=true"


class Browser:
    """
    A browser without JavaScript, which goes wherever it is sent: ``url`` is where it is, ``answer`` what it sees.

    The application itself is not there: on its host the browser stays with what it was sent there with.
    """

    def __init__(self, app):
        self.client, self.url, self.answer = Client(app), None, None

    def open(self, url, **more):
        self.url = url
        while not self.url.startswith(APPLICATION):
            place = urllib.parse.urlsplit(self.url)
            self.answer = self.client.open(
                urllib.parse.urlunsplit(("", "", *place[2:])), base_url=f"{place.scheme}://{place.netloc}", **more
            )
            if self.answer.status_code != 302:
                break
            self.url, more = urllib.parse.urljoin(self.url, self.answer.headers["Location"]), {}
        return self

    def submit(self, **fields):
        """Fill in the form of the page."""
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="(\w+)"', self.text))
        return self.open(self.url, method="POST", data={**hidden, **fields})

    def log_in(self, user, password=PASSWORD):
        return self.submit(uid_field=user, password=password)

    @property
    def text(self):
        return self.answer.get_data(as_text=True)

    @property
    def title(self):
        return re.search("<title>(.*?) - authentik</title>", self.text)[1]

    @property
    def given(self):
        """What it was sent to the application with."""
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.url).query))


@pytest.fixture
def app():
    return create_app(TOKEN)


@pytest.fixture
def store(app):
    return app.authentik.store


@pytest.fixture
def make(app):
    """Make an object by the API."""

    def one(path, **body):
        client = Client(app)
        answer = client.post(f"/api/v3/{path}/", json=body, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status_code in (201, 204), answer.get_data(as_text=True)
        return answer.get_json(silent=True)

    return one


@pytest.fixture
def flows(store):
    def slug(name):
        return store.find("flows", slug=f"default-provider-{name}")["pk"]

    return {
        "authorization_flow": slug("authorization-implicit-consent"),
        "invalidation_flow": slug("invalidation-flow"),
    }


@pytest.fixture
def readers(make):
    """The group that may; anna is in it, bert is not."""
    group = make("core/groups", name="readers")
    for name, groups in (("anna", [group["pk"]]), ("bert", [])):
        user = make("core/users", username=name, name=name.title(), email=f"{name}@example.test", groups=groups)
        make(f"core/users/{user['pk']}/set_password", password=PASSWORD)
    return group["pk"]


@pytest.fixture
def provide(make, readers):
    """Make a provider and its application for the group."""

    def one(kind, name, **provider):
        made = make(f"providers/{kind}", name=name, **provider)
        application = make("core/applications", name=name.title(), slug=name, provider=made["pk"])
        make("policies/bindings", target=application["pk"], group=readers, order=0)
        return made

    return one


@pytest.fixture
def notes(provide, store, flows):
    """A client of OAuth2; ``notes(...)`` makes it, with what differs."""

    def one(**given):
        wanted = ("openid", "email", "profile", "offline_access")
        body = {
            **flows,
            "client_id": "notes",
            "client_secret": "secret-of-notes",
            "redirect_uris": [{"matching_mode": "strict", "url": CALLBACK}],
            "property_mappings": [store.find("mappings", scope_name=scope)["pk"] for scope in wanted],
            "signing_key": store.rows("certificates")[0]["pk"],
        }
        return provide("oauth2", "notes", **{**body, **given})

    return one


@pytest.fixture
def browser(app):
    return Browser(app)


def authorize(**given):
    """Where the client sends a browser."""
    query = {"client_id": "notes", "response_type": "code", "redirect_uri": CALLBACK, "scope": SCOPE, "state": "s"}
    return f"{AUTH}/application/o/authorize/?{urllib.parse.urlencode({**query, **given})}"


def ask(app, grant_type, secret="secret-of-notes", **form):  # noqa: S107 - of a double
    """What the client asks the token endpoint."""
    form = {"grant_type": grant_type, "client_id": "notes", "redirect_uri": CALLBACK, **form}
    if secret:
        form["client_secret"] = secret
    return Client(app).post("/application/o/token/", base_url=AUTH, data=form)


def redeem(app, browser, **form):
    return ask(app, "authorization_code", code=browser.given["code"], **form)


def userinfo(app, token):
    return Client(app).get("/application/o/userinfo/", headers={"Authorization": f"Bearer {token}"})


def test_a_user_logs_in_with_the_form_and_comes_back_with_a_code_for_tokens_that_say_who_it_is(app, notes, browser):
    notes()
    browser.open(authorize(nonce="n")).log_in("anna")
    assert browser.given["state"] == "s"
    answer = redeem(app, browser).get_json()
    keys = KeySet.import_key_set(Client(app).get("/application/o/notes/jwks/", base_url=AUTH).get_json())
    claims = jwt.decode(answer["id_token"], keys, algorithms=["RS256"]).claims
    wanted = {"iss": f"{AUTH}/application/o/notes/", "aud": "notes", "nonce": "n", "groups": ["readers"]}
    assert {name: claims[name] for name in wanted} == wanted
    assert userinfo(app, answer["access_token"]).get_json()["email"] == "anna@example.test"


def test_a_page_of_the_application_may_read_the_tokens_and_others_may_not(app, notes, browser):
    notes()
    for origin, allowed in ((APPLICATION, APPLICATION), ("https://evil.example.org", None)):
        answer = Client(app).post("/application/o/token/", base_url=AUTH, headers={"Origin": origin})
        assert answer.headers.get("Access-Control-Allow-Origin") == allowed


def test_who_is_logged_in_is_not_asked_again(app, notes, browser):
    notes()
    browser.open(authorize()).log_in("anna")
    assert "code" in browser.open(authorize()).given


@pytest.mark.parametrize(("user", "password"), [("anna", "wrong"), ("nobody", PASSWORD), ("akadmin", "")])
def test_without_the_right_password_the_form_comes_again(notes, browser, user, password):
    notes()
    browser.open(authorize()).log_in(user, password)
    assert "Invalid password" in browser.text
    assert 'name="uid_field"' in browser.text


def test_who_is_not_active_does_not_get_in(notes, browser, store):
    notes()
    store.find("users", username="anna")["is_active"] = False
    assert "Invalid password" in browser.open(authorize()).log_in("anna").text


def test_a_user_outside_the_group_is_told_so_with_status_200(notes, browser):
    notes()
    browser.open(authorize()).log_in("bert")
    assert (browser.answer.status_code, browser.title) == (200, "Permission denied")


def test_an_address_that_is_not_registered_is_an_error_and_not_one_to_be_sent_to(notes, browser):
    notes()
    browser.open(authorize(redirect_uri=f"{APPLICATION}/elsewhere"))
    assert (browser.answer.status_code, browser.title) == (400, "Bad Request")
    assert "Location" not in browser.answer.headers


def test_an_address_may_be_one_of_a_pattern_as_a_whole(notes, browser):
    notes(redirect_uris=[{"matching_mode": "regex", "url": rf"{APPLICATION}/\w+"}])
    assert "code" in browser.open(authorize()).log_in("anna").given
    assert browser.open(authorize(redirect_uri=f"{CALLBACK}/more")).title == "Bad Request"


def test_a_code_is_good_once(app, notes, browser):
    notes()
    browser.open(authorize()).log_in("anna")
    assert redeem(app, browser).status_code == 200
    assert redeem(app, browser).get_json()["error"] == "invalid_grant"


def test_a_code_is_good_for_a_minute(app, notes, browser):
    notes()
    browser.open(authorize()).log_in("anna")
    app.authentik.wait(61)
    assert redeem(app, browser).get_json()["error"] == "invalid_grant"


def test_a_code_is_given_to_its_client_only(app, notes, browser):
    notes()
    browser.open(authorize()).log_in("anna")
    assert redeem(app, browser, secret="wrong").get_json()["error"] == "invalid_client"  # noqa: S106 - of a double


@pytest.mark.parametrize("verifier", [{}, {"code_verifier": VERIFIER[::-1]}])
def test_with_a_challenge_a_code_needs_its_verifier(app, notes, browser, verifier):
    notes(client_type="public")
    challenge = {"code_challenge": create_s256_code_challenge(VERIFIER), "code_challenge_method": "S256"}
    browser.open(authorize(**challenge)).log_in("anna")
    assert redeem(app, browser, secret=None, **verifier).get_json()["error"] == "invalid_grant"
    assert redeem(app, browser, secret=None, code_verifier=VERIFIER).status_code == 200


def test_a_public_client_cannot_do_without_a_challenge(app, notes, browser):
    notes(client_type="public")
    browser.open(authorize()).log_in("anna")
    assert redeem(app, browser, secret=None).get_json()["error"] == "invalid_grant"


def test_where_the_flow_says_so_a_user_agrees_once(notes, browser, store):
    explicit = store.find("flows", slug="default-provider-authorization-explicit-consent")["pk"]
    notes(authorization_flow=explicit)
    browser.open(authorize()).log_in("anna")
    assert "You&#39;re about to sign into Notes." in browser.text
    assert "code" in browser.submit().given
    assert "code" in browser.open(authorize()).given
    assert "code" not in browser.open(authorize(scope="openid")).given


def test_a_token_for_refreshing_is_for_who_asked_for_it_and_is_replaced(app, notes, browser):
    notes()
    browser.open(authorize(scope=f"{SCOPE} offline_access")).log_in("anna")
    first = redeem(app, browser.submit()).get_json()
    second = ask(app, "refresh_token", refresh_token=first["refresh_token"]).get_json()
    assert userinfo(app, second["access_token"]).get_json()["preferred_username"] == "anna"
    again = ask(app, "refresh_token", refresh_token=first["refresh_token"])
    assert again.get_json()["error"] == "invalid_grant"
    assert "refresh_token" in ask(app, "refresh_token", refresh_token=second["refresh_token"]).get_json()


def test_the_end_of_an_application_s_session_ends_its_tokens_and_not_the_login(app, notes, browser):
    notes()
    browser.open(authorize()).log_in("anna")
    token = redeem(app, browser).get_json()["access_token"]
    browser.open(f"{AUTH}/application/o/notes/end-session/")
    assert browser.title == "You&#39;ve logged out of Notes."
    assert userinfo(app, token).status_code == 401
    assert "code" in browser.open(authorize()).given


def test_the_flow_of_the_brand_ends_the_login(notes, browser, store):
    notes(invalidation_flow=store.find("flows", slug="default-invalidation-flow")["pk"])
    browser.open(authorize()).log_in("anna")
    assert "You are logged out." in browser.open(f"{AUTH}/application/o/notes/end-session/").text
    assert 'name="password"' in browser.open(authorize()).text


def test_the_first_page_asks_for_a_login_and_shows_what_one_may_use(notes, browser):
    notes()
    assert "Notes" in browser.open(f"{AUTH}/").log_in("anna").text
    assert "Notes" not in browser.open(f"{AUTH}/flows/-/default/invalidation/").open(f"{AUTH}/").log_in("bert").text


def test_nobody_is_sent_to_another_server_after_the_login(readers, browser):
    for elsewhere in ("https://evil.example.org/", "//evil.example.org/"):
        query = urllib.parse.urlencode({"next": elsewhere})
        browser.open(f"{AUTH}/if/flow/default-authentication-flow/?{query}").log_in("anna")
        assert browser.url == f"{AUTH}/if/user/"


@pytest.fixture
def wiki(provide, store, flows):
    """An application behind the embedded outpost."""
    given = {"mode": "forward_single", "external_host": GUARDED}
    provider = store.tables["providers"][provide("proxy", "wiki", **flows, **given)["pk"]]
    outpost = store.find("outposts", managed="goauthentik.io/outposts/embedded")
    outpost["providers"].append(provider["pk"])
    outpost["config"]["authentik_host"] = AUTH
    return provider


def knock(browser, host="wiki.example.test"):
    """What a proxy asks the outpost for a browser, which goes where the answer says."""
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": host, "X-Forwarded-Uri": "/page"}
    return browser.open(f"https://{host}/outpost.goauthentik.io/auth/caddy", headers=headers)


def test_the_outpost_lets_in_who_has_logged_in(wiki, browser):
    knock(browser).log_in("anna")
    assert browser.url == f"{GUARDED}/page"
    assert knock(browser).answer.headers["X-authentik-username"] == "anna"


def test_the_code_of_one_browser_is_of_no_use_in_another(app, wiki, browser):
    knock(browser)
    other = Browser(app)
    login = urllib.parse.urlsplit(browser.url)
    back = dict(urllib.parse.parse_qsl(login.query))["next"]
    other.open(urllib.parse.urljoin(AUTH, back)).log_in("anna")
    assert other.answer.status_code == 400
    assert "X-authentik-username" not in knock(other).answer.headers


def test_in_a_domain_a_login_at_one_host_is_one_at_all(wiki, browser):
    wiki.update(mode="forward_domain", external_host=AUTH, cookie_domain="example.test")
    wiki["redirect_uris"] = [{"matching_mode": "strict", "url": f"{AUTH}/outpost.goauthentik.io/callback?{SIGNED}"}]
    knock(browser).log_in("anna")
    assert browser.url == f"{GUARDED}/page"
    assert knock(browser, host="other.example.test").answer.headers["X-authentik-username"] == "anna"


def test_the_logout_at_the_server_ends_the_session_at_the_outpost(wiki, browser):
    knock(browser).log_in("anna")
    browser.open(f"{AUTH}/flows/-/default/invalidation/")
    assert 'name="password"' in knock(browser).text


def test_an_app_password_is_a_login_as_well(make, app, wiki, readers):
    answer = make(
        "core/tokens",
        identifier="job",
        intent="app_password",
        user=app.authentik.store.find("users", username="anna")["pk"],
    )
    key = app.authentik.store.find("tokens", identifier=answer["identifier"])["key"]
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "wiki.example.test"}
    place = "/outpost.goauthentik.io/auth/caddy"
    client = Client(app, use_cookies=False)
    assert client.get(place, headers=headers, auth=("anna", key)).headers["X-authentik-username"] == "anna"
    assert client.get(place, headers=headers, auth=("bert", key)).status_code == 302
