"""
Logins as a person sees them: a real browser, real TLS, the pages' own links.

What is sent and answered in between is in ``test_login.py``.
"""

import contextlib
import os
import subprocess
from pathlib import Path

import pytest
from browser import browser
from selenium.common.exceptions import WebDriverException
from visitor import AUTH, BOARD, DIARY, ITEMS, token, visitor

LOGIN = "Email or username"
INSIDE = "Who you are"  # on the pages of both applications, for those who have come in


@pytest.fixture
def start(sso, tmp_path, monkeypatch):
    """A function that starts a browser, by default one that trusts the machine's authority."""
    monkeypatch.setenv("no_proxy", "localhost")  # where Selenium finds the driver

    def started(authority=sso.authority):
        return browser(sso.address, authority, tmp_path)

    return started


@pytest.fixture
def person(start):
    with start() as somebody:
        yield somebody


@pytest.fixture
def keep(sso, person, tmp_path_factory, record_property):
    """A function that takes a screenshot and keeps it."""
    folder = Path(os.environ.get("RICK_ARTEFACTS") or tmp_path_factory.getbasetemp() / "artefacts") / sso.suite

    def kept(name):
        folder.mkdir(parents=True, exist_ok=True)
        assert person.driver.save_screenshot(str(folder / f"{name}.png"))
        record_property("artefacts", str(folder))

    return kept


def test_a_page_behind_the_proxy(person, keep):
    person.open(f"{BOARD}/")
    person.until(LOGIN)
    assert person.url.startswith(f"{AUTH}/if/flow/")
    keep("board-login")
    person.log_in("alice")
    person.until(INSIDE)
    assert person.url == f"{BOARD}/"
    for text in ("Alice Archer", "board_users", "board_admins"):
        assert text in person.text
    keep("board-after-login")
    person.click("Administration")
    person.until("For members of board_admins. You are alice.")
    assert person.url == f"{BOARD}/admin"
    person.click("Log out")
    person.until("logged out")
    keep("board-after-logout")
    person.open(f"{BOARD}/")
    person.until(LOGIN)
    assert INSIDE not in person.text


def test_an_application_with_openid_connect(person, keep):
    person.open(f"{DIARY}/")
    person.until(LOGIN)
    assert person.url.startswith(f"{AUTH}/if/flow/")
    keep("diary-login")
    person.log_in("alice")
    person.until(INSIDE)
    assert person.url == f"{DIARY}/"
    for text in ("Alice Archer", "diary_users"):
        assert text in person.text
    keep("diary-after-login")
    person.click("Log out")
    person.until("logged out")
    keep("diary-after-logout")
    person.open(f"{DIARY}/")
    person.until(LOGIN)
    assert INSIDE not in person.text


def test_one_login_is_enough_for_both(person):
    person.open(f"{BOARD}/")
    person.log_in("alice")
    person.until(INSIDE)
    person.open(f"{DIARY}/")
    person.until("Alice Archer")
    assert person.url == f"{DIARY}/"


@pytest.mark.parametrize("site", [BOARD, DIARY], ids=["board", "diary"])
def test_who_is_in_none_of_its_groups_is_told_so(person, keep, site):
    person.open(f"{site}/")
    person.log_in("bob")
    person.until("Permission denied")
    assert INSIDE not in person.text
    keep(f"{site.removeprefix('https://').partition('.')[0]}-refused")
    # Not by asking for it once more either.
    person.open(f"{site}/whoami")
    person.until("Permission denied")
    assert "bob@example.test" not in person.text


def test_an_api_wants_a_token_and_no_login(sso, person, keep):
    person.open(f"{BOARD}/")
    person.log_in("alice")
    person.until(INSIDE)
    person.open(f"{ITEMS}/items")
    assert (person.url, person.status) == (f"{ITEMS}/items", 401)
    assert "no token" in person.text
    keep("items-without-token")
    person.send_token(token(sso, visitor(sso)).json()["access_token"])
    person.open(f"{ITEMS}/items")
    assert person.status == 200
    assert '"items":' in person.text
    keep("items-with-token")


def test_a_certificate_of_another_authority_is_refused(start):
    """By that very browser: what it trusts is the machine's root, and not whatever it meets."""
    subject = "/CN=Another Authority"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", subject]
    another = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with start(another) as stranger:
        with contextlib.suppress(WebDriverException):  # some releases of the driver call it an error, others a page
            stranger.open(f"{BOARD}/health")
        stranger.until("NET::ERR_CERT_AUTHORITY_INVALID")
