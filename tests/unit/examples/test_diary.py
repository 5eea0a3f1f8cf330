"""
Whole logins at the double of Authentik, and what attackers put in their place.
"""

import re
import time
import urllib.parse

import flask
import pytest
import requests
from doubles.authentik import tokens
from doubles.authentik.certificates import Pair
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

SITE = "https://diary.example.test"
PASSWORD = "correct horse"  # noqa: S105 - of a double
KEY = "a key of the cookies, long enough for that"
BEFORE = 200  # seconds; more than Authlib's leeway


class Browser:
    """A browser without JavaScript: at the provider over TLS, at the application in this process."""

    def __init__(self, app):
        self.app = app.test_client()
        self.elsewhere = requests.Session()
        self.status, self.text, self.url, self.headers = None, None, None, None
        self.visited = []

    def open(self, url, method="GET", follow=True, **more):
        self.url = urllib.parse.urljoin(f"{SITE}/", url)
        while True:
            self.visited.append(self.url)
            if self.url.startswith(f"{SITE}/"):
                place = urllib.parse.urlsplit(self.url)
                answer = self.app.open(f"{place.path}?{place.query}", base_url=SITE, method=method, **more)
                self.text = answer.text
            else:
                answer = self.elsewhere.request(method, self.url, allow_redirects=False, timeout=10, **more)
                self.text = answer.text
            self.status, self.headers = answer.status_code, answer.headers
            if not follow or self.status not in (302, 303):
                return self
            self.url = urllib.parse.urljoin(self.url, answer.headers["Location"])
            method, more = "GET", {}

    def log_in(self, user="anna", follow=True):
        """Fill in the provider's form, and stop at the callback unless told to go on."""
        self.open(self.url, "POST", follow=False, data={"uid_field": user, "password": PASSWORD})
        while not self.headers["Location"].startswith(SITE):
            self.open(urllib.parse.urljoin(self.url, self.headers["Location"]), follow=False)
        self.url = self.headers["Location"]
        return self.open(self.url) if follow else self

    @property
    def query(self):
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.url).query))

    def cookie(self):
        return self.app.get_cookie("__Host-session", domain="diary.example.test")


@pytest.fixture
def settings(diary, authentik):
    where = f"{authentik.url}/application/o/diary/.well-known/openid-configuration"
    return diary.Settings(where, "diary", "secret-of-diary", KEY, SITE)


@pytest.fixture
def provider(authentik):
    group = authentik.make("core/groups", name="Büro")
    user = authentik.make(
        "core/users", username="anna", name="Anna Blüm", email="anna@example.test", groups=[group["pk"]]
    )
    authentik.make(f"core/users/{user['pk']}/set_password", password=PASSWORD)
    back = [{"matching_mode": "strict", "url": f"{SITE}/callback"}]
    return authentik.client("diary", ("openid", "email", "profile"), redirect_uris=back)


@pytest.fixture
def app(diary, settings, provider):
    return diary.create_app(settings)


@pytest.fixture
def browser(app):
    return Browser(app)


@pytest.fixture
def clock(diary, monkeypatch):
    """A function that lets time pass for the application's sessions."""
    passed = []
    real = time.time

    class Clock:
        @staticmethod
        def time():
            return real() + sum(passed)

    monkeypatch.setattr(diary, "time", Clock)
    return passed.append


@pytest.fixture
def forge(monkeypatch):
    """Have the provider sign other claims than it should; None takes one away."""

    def one(change=None, sign=tokens.sign):
        def signed(store, provider, claims):
            claims = {**claims, **(change or {})}
            return sign(store, provider, {name: value for name, value in claims.items() if value is not None})

        monkeypatch.setattr(tokens, "sign", signed)

    return one


def test_a_user_logs_in_and_the_page_shows_who_it_is(browser):
    browser.open("/").log_in()
    assert (browser.status, browser.url) == (200, f"{SITE}/")
    for shown in ("anna", "Anna Blüm", "anna@example.test", "Büro"):
        assert shown in browser.text


def test_the_provider_is_asked_with_state_nonce_and_a_challenge(browser):
    browser.open("/login", follow=False)
    asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(browser.headers["Location"]).query))
    assert asked["redirect_uri"] == f"{SITE}/callback"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert {"openid", "profile", "email"} == set(asked["scope"].split())
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 20


def test_the_address_is_the_outer_one_whatever_the_request_says(app):
    answer = app.test_client().get("/login", headers={"Host": "127.0.0.1:8080", "X-Forwarded-Host": "evil.test"})
    assert urllib.parse.quote_plus(f"{SITE}/callback") in answer.headers["Location"]


def test_a_code_without_its_verifier_is_of_no_use(browser):
    browser.open("/").log_in(follow=False)
    with browser.app.session_transaction(base_url=SITE) as session:
        session["logins"] = [{**one, "verifier": one["verifier"][::-1]} for one in session["logins"]]
    assert browser.open(browser.url).status == 502
    assert "Who you are" not in browser.text


def test_the_cookie_is_for_this_host_and_no_script(browser):
    browser.open("/").log_in(follow=False)
    browser.open(browser.url, follow=False)
    [cookie] = browser.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-session=")
    assert set(cookie.split("; ")[1:]) == {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"}


def test_the_cookie_holds_no_token_and_no_secret(browser):
    browser.open("/").log_in()
    with browser.app.session_transaction(base_url=SITE) as session:
        assert set(session) == {"user", "until"}
        assert set(session["user"]) == {"sub", "preferred_username", "name", "email", "groups"}
        assert "eyJ" not in str(dict(session))


def test_nobody_gets_in_with_a_changed_cookie(browser):
    browser.open("/").log_in()
    value = browser.cookie().value
    browser.app.set_cookie("__Host-session", value[:-4] + "AAAA", domain="diary.example.test", secure=True)
    browser.open("/whoami", follow=False)
    assert (browser.status, browser.headers["Location"]) == (302, "/login?next=/whoami")


def test_who_was_on_the_way_to_a_page_gets_there(browser):
    browser.open("/whoami").log_in()
    assert browser.url == f"{SITE}/whoami"
    assert '"preferred_username":"anna"' in browser.text


FOREIGN = (
    "//evil.test",
    "///evil.test",
    "https://evil.test/",
    "/\\evil.test",
    "\\/evil.test",
    "/\t/evil.test",
    "\t//evil.test",
    "/\n/evil.test",
    "@evil.test",
    ".evil.test",
    "javascript:alert(1)",
    "",
)


@pytest.mark.parametrize("to", FOREIGN)
def test_no_login_ends_at_another_site(browser, to):
    browser.open(f"/login?{urllib.parse.urlencode({'next': to})}").log_in()
    assert (browser.status, browser.url) == (200, f"{SITE}/")


@given(to=st.text(alphabet="/\\.:@?#%a\t\r\n \x00"))
def test_what_counts_as_local_stays_in_the_site_as_a_browser_reads_it(to):
    import diary

    if diary.is_local(to):
        read = re.sub(r"[\t\r\n]", "", to).strip().replace("\\", "/")
        assert urllib.parse.urlsplit(urllib.parse.urljoin(f"{SITE}/", read)).netloc == "diary.example.test"


@pytest.mark.parametrize("query", ["", "?code=x", "?code=x&state=forged", "?error=access_denied&state=forged"])
def test_an_answer_that_this_browser_did_not_ask_for_is_refused_with_a_way_out(browser, query):
    browser.open("/login", follow=False)
    browser.open(f"/callback{query}")
    assert browser.status == 400
    assert 'href="/login"' in browser.text


def test_the_code_of_somebody_else_logs_nobody_in(app, browser):
    browser.open("/").log_in(follow=False)
    victim = Browser(app)
    victim.open("/login", follow=False)
    assert victim.open(browser.url).status == 400
    assert victim.open("/whoami", follow=False).status == 302


def test_an_answer_is_good_once(browser):
    browser.open("/").log_in()
    callback = next(url for url in browser.visited if "/callback?" in url)
    assert browser.open(callback).status == 400
    assert browser.open("/whoami").status == 200  # who is logged in stays so


def test_an_answer_is_good_once_even_if_it_was_wrong(browser):
    browser.open("/login", follow=False)
    browser.url = browser.headers["Location"]
    answer = urllib.parse.urlencode({"code": "guessed", **state(browser)})
    assert [browser.open(f"/callback?{answer}").status for _ in range(2)] == [502, 400]


def test_an_answer_comes_in_time_or_not_at_all(diary, browser, clock):
    browser.open("/").log_in(follow=False)
    clock(diary.LOGIN_LASTS + 1)
    assert browser.open(browser.url).status == 400


def test_each_tab_may_have_a_login_of_its_own(browser):
    browser.open("/login", follow=False)
    browser.open("/whoami").log_in(follow=False)
    first = browser.url
    browser.open("/login", follow=False)
    assert browser.open(first).status == 200


def test_logins_that_were_begun_do_not_fill_the_cookie(browser):
    for _ in range(20):
        browser.open("/login", follow=False)
    assert len(browser.cookie().value) < 2000


def test_a_user_who_refuses_is_told_so(browser):
    browser.open("/login", follow=False)
    browser.url = browser.headers["Location"]
    answer = urllib.parse.urlencode({"error": "access_denied", "error_description": "Call +1 900", **state(browser)})
    browser.open(f"/callback?{answer}")
    assert browser.status == 403
    assert "You refused" in browser.text
    assert "900" not in browser.text
    assert 'href="/login"' in browser.text


@pytest.mark.parametrize("error", ["invalid_scope", "<script>", "x" * 5000])
def test_other_errors_of_the_provider_are_told_in_our_words(browser, error):
    browser.open("/login", follow=False)
    browser.url = browser.headers["Location"]
    browser.open(f"/callback?{urllib.parse.urlencode({'error': error, **state(browser)})}")
    assert browser.status == 502
    assert error not in browser.text


def state(browser):
    return {"state": browser.query["state"]}


def test_a_user_who_may_not_stays_at_the_provider(authentik, browser):
    other = authentik.make("core/groups", name="others")
    application = authentik.store.find("applications", slug="diary")
    authentik.make("policies/bindings", target=application["pk"], group=other["pk"], order=0)
    browser.open("/")
    browser.open(browser.url, "POST", data={"uid_field": "anna", "password": PASSWORD})
    assert "Permission denied" in browser.text
    assert browser.open("/whoami", follow=False).status == 302


FORGED = {
    "another audience": {"aud": "wiki"},
    "another audience, though the party is ours": {"aud": "wiki", "azp": "diary"},
    "several audiences, none of them ours": {"aud": ["wiki", "board"], "azp": "diary"},
    "no audience": {"aud": None},
    "another issuer": {"iss": "https://evil.test/application/o/diary/"},
    "no issuer": {"iss": None},
    "another nonce": {"nonce": "mine"},
    "no nonce": {"nonce": None},
    "no nonce, and it says so": {"nonce": None, "nonce_supported": False},
    "expired": {"exp": int(time.time()) - BEFORE},
    "no expiry": {"exp": None},
    "nobody": {"sub": ""},
    "no name": {"preferred_username": None},
}


def test_claims_that_are_left_alone_pass(browser, forge):
    forge()
    assert browser.open("/").log_in().status == 200


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_an_id_token_that_is_not_what_was_asked_for_is_refused(browser, forge, change):
    forge(change)
    browser.open("/").log_in()
    assert browser.status == 502
    assert browser.open("/whoami", follow=False).status == 302


def by_another_key(store, provider, claims):
    """Signed with a key of the attacker's, under the name of the right one."""
    right = RSAKey.import_key(store.get("certificates", provider["signing_key"])["pair"].pem)
    return jwt.encode({"alg": "RS256", "kid": right.thumbprint()}, claims, RSAKey.import_key(Pair().pem))


def by_the_secret(store, provider, claims):
    secret = provider["client_secret"].encode()
    return jwt.encode({"alg": "HS256"}, claims, OctKey(secret, secret))


def by_the_public_key(store, provider, claims):
    """The public key is known to all: whoever takes it for a shared secret believes everybody."""
    right = RSAKey.import_key(store.get("certificates", provider["signing_key"])["pair"].pem)
    public = right.as_pem(private=False)
    return jwt.encode({"alg": "HS256", "kid": right.thumbprint()}, claims, OctKey(public, public))


def by_a_key_that_it_brings(store, provider, claims):
    mine = RSAKey.import_key(Pair().pem)
    return jwt.encode({"alg": "RS256", "jwk": mine.as_dict(private=False)}, claims, mine)


def by_nobody(store, provider, claims, sign=tokens.sign):
    return f"eyJhbGciOiJub25lIn0.{sign(store, provider, claims).split('.')[1]}."


@pytest.mark.parametrize("sign", [by_another_key, by_a_key_that_it_brings, by_the_secret, by_the_public_key, by_nobody])
def test_an_id_token_that_somebody_else_has_signed_is_refused(browser, forge, sign):
    forge(sign=sign)
    browser.open("/").log_in()
    assert browser.status == 502
    assert browser.open("/whoami", follow=False).status == 302


def test_a_provider_without_a_signing_key_is_not_believed(browser, provider):
    provider["signing_key"] = None
    browser.open("/").log_in()
    assert browser.status == 502


def test_a_new_key_of_the_provider_is_fetched(authentik, app, browser):
    browser.open("/").log_in()
    authentik.store.rows("certificates")[0]["pair"] = Pair()
    later = Browser(app)
    later.open("/").log_in()
    assert (later.status, later.url) == (200, f"{SITE}/")


def test_a_code_that_was_used_is_an_error_with_a_way_out(authentik, browser):
    browser.open("/").log_in(follow=False)
    authentik.app.authentik.wait(61)
    assert browser.open(browser.url).status == 502
    assert 'href="/login"' in browser.text


def test_a_secret_that_is_wrong_lets_nobody_in(browser, provider):
    browser.open("/").log_in(follow=False)
    provider.update(client_secret="another")  # noqa: S106 - of a double
    assert browser.open(browser.url).status == 502


def test_more_groups_than_a_cookie_takes_are_told_instead_of_a_loop(browser, forge):
    forge({"groups": [f"group-{number}" for number in range(500)]})
    browser.open("/").log_in()
    assert browser.status == 403
    assert "more groups" in browser.text


def test_a_session_ends_even_if_logins_are_begun_all_the_time(diary, browser, clock):
    browser.open("/").log_in()
    clock(diary.LASTS - 10)
    browser.open("/login", follow=False)
    assert browser.open("/whoami").status == 200
    clock(20)
    assert browser.open("/whoami", follow=False).status == 302


def test_the_log_out_ends_the_session_here_and_goes_on_to_the_provider(authentik, browser):
    browser.open("/").log_in()
    browser.open("/logout", "POST", follow=False)
    assert browser.headers["Location"] == f"{authentik.url}/application/o/diary/end-session/"
    browser.open(browser.headers["Location"])
    assert "logged out of Diary" in browser.text
    assert browser.open("/whoami", follow=False).status == 302


def test_a_browser_may_follow_the_log_out_s_form_to_the_provider(authentik, browser):
    policy = browser.open("/").log_in().headers["Content-Security-Policy"]
    assert f"form-action 'self' {authentik.url}" in policy.split("; ")


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.test"}]
)
def test_no_other_site_logs_a_user_out(browser, headers):
    browser.open("/").log_in()
    assert browser.open("/logout", "POST", headers=headers).status == 403
    assert browser.open("/whoami").status == 200


def test_an_address_logs_nobody_out(browser):
    browser.open("/").log_in()
    assert browser.open("/logout").status == 405


@pytest.fixture
def away(diary, provider):
    """An application whose provider has never answered."""
    where = "https://127.0.0.1:9/application/o/diary/.well-known/openid-configuration"
    return Browser(diary.create_app(diary.Settings(where, "diary", "secret-of-diary", KEY, SITE)))


def test_without_its_provider_it_starts_and_says_so(away):
    assert away.open("/health").status == 200
    assert away.open("/").status == 503
    assert "cannot be reached" in away.text


def test_without_its_provider_the_log_out_ends_the_session_here(away):
    with away.app.session_transaction(base_url=SITE) as session:
        session.update(user={"sub": "1", "preferred_username": "anna", "groups": []}, until=time.time() + 60)
    assert away.open("/whoami").status == 200
    away.open("/logout", "POST")
    assert "You are logged out here" in away.text
    assert away.open("/whoami", follow=False).status == 302


def test_it_recovers_with_its_provider(served, authentik, browser):
    served.app = flask.Flask("nothing")
    assert browser.open("/").status == 503
    served.app = authentik.app
    browser.open("/").log_in()
    assert browser.status == 200


def test_a_provider_that_goes_away_during_a_login_is_told(served, browser):
    browser.open("/").log_in(follow=False)
    served.app = flask.Flask("nothing")
    assert browser.open(browser.url).status in (502, 503)


def test_a_provider_with_another_authority_is_not_asked(browser, monkeypatch):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert browser.open("/").status == 503


@pytest.mark.parametrize("name", ["issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"])
@pytest.mark.parametrize("address", ["https://evil.test/", "{url}.evil.test/", None])
def test_a_provider_that_leads_elsewhere_is_not_believed(browser, served, authentik, name, address):
    real = authentik.app.test_client().get(
        "/application/o/diary/.well-known/openid-configuration", base_url=authentik.url
    )
    served.app = app = flask.Flask("a provider")
    told = {**real.json, name: address and address.format(url=authentik.url)}
    app.add_url_rule("/application/o/diary/.well-known/openid-configuration", view_func=lambda: told)
    assert browser.open("/").status == 503


def test_a_provider_that_names_addresses_without_tls_is_not_asked(browser, served, authentik):
    def behind_a_proxy_it_does_not_trust(environ, start_response):
        return authentik.app({**environ, "HTTP_X_FORWARDED_PROTO": "http"}, start_response)

    served.app = behind_a_proxy_it_does_not_trust
    assert browser.open("/").status == 503


@pytest.mark.parametrize("path", ["/health", "/login", "/callback", "/static/style.css", "/nowhere"])
def test_every_answer_forbids_foreign_content(app, path):
    headers = app.test_client().get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


ENVIRONMENT = {
    "OIDC_DISCOVERY_URL": "https://auth.example.test/application/o/diary/.well-known/openid-configuration",
    "OIDC_CLIENT_ID": "diary",
    "OIDC_CLIENT_SECRET": "sesame",
    "SESSION_KEY": KEY,
    "SITE_URL": f"{SITE}/",
}


def test_settings_are_read_and_do_not_print_their_secrets(diary):
    found = diary.Settings.read(ENVIRONMENT)
    assert (found.site_url, found.port) == (SITE, 8080)
    assert "sesame" not in repr(found)
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OIDC_DISCOVERY_URL", "http://auth.example.test/"),
        ("SESSION_KEY", "short"),
        ("SITE_URL", "http://diary.example.test"),
        ("SITE_URL", "https://diary.example.test/path"),
        ("SITE_URL", "https://user@evil.test"),
        ("OIDC_CLIENT_ID", ""),
    ],
)
def test_all_wrong_settings_are_named_at_once(diary, name, value):
    with pytest.raises(diary.SettingsError, match=f"{name}.*PORT"):
        diary.Settings.read({**ENVIRONMENT, name: value, "PORT": "http"})
