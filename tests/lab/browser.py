"""
A browser that visits the sites of a lab machine: Chromium without a window, all else as it comes.
"""

import contextlib
import subprocess

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from visitor import PASSWORDS

WINDOW = "1000,700"  # pixels; so wide are the screenshots
PATIENCE = 20  # seconds, until a page shows what is expected


class Browser:
    """What a person does with a browser and sees in it; ``driver`` is Selenium's."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url):
        """Go there; return when the page is loaded, redirects followed. Raises WebDriverException."""
        self.driver.get(url)

    @property
    def url(self):
        return self.driver.current_url

    @property
    def text(self):
        """What can be read on the page."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    @property
    def status(self):
        """The page's code of HTTP."""
        return self.driver.execute_script("return performance.getEntriesByType('navigation')[0].responseStatus")

    def until(self, text):
        """Wait until the page shows a text."""
        waiting = WebDriverWait(self.driver, PATIENCE, ignored_exceptions=[StaleElementReferenceException])
        try:
            waiting.until(lambda _: text in self.text)
        except TimeoutException:
            raise AssertionError(f"{text!r} is not to be seen at {self.url}: {self.text[:500]}") from None

    def click(self, text):
        """Click a link or a button by what is written on it."""
        self.driver.find_element(By.XPATH, f"//*[self::a or self::button][normalize-space()='{text}']").click()

    def log_in(self, name):
        """Fill in the form of the login page and send it."""
        for field, value in (("uid_field", name), ("password", PASSWORDS[name])):
            self.driver.find_element(By.NAME, field).send_keys(value)
        self.click("Log in")

    def send_token(self, token):
        """Send a bearer token with each request from now on, as no person could."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        headers = {"Authorization": f"Bearer {token}"}
        self.driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": headers})


@contextlib.contextmanager
def browser(address, authority, home):
    """
    A new browser of somebody who has not been anywhere.

    address
        Of the machine that has all sites below example.test. There are no others.

    authority
        The root certificate to trust, as PEM.

    home
        An empty directory.
    """
    trust(authority, home)
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",  # lab tests run as root, and for root Chromium's own sandbox does not start
        "--no-proxy-server",
        f"--host-resolver-rules=MAP *.example.test {address}, MAP * ~NOTFOUND",
        f"--user-data-dir={home}/profile",
        f"--window-size={WINDOW}",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    # With the driver's path, Selenium looks for none and downloads none.
    service = webdriver.ChromeService(
        "/usr/bin/chromedriver",
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},  # no proxy of the host's, no settings of its user
        log_output=f"{home}/chromedriver.log",
    )
    driver = webdriver.Chrome(options, service)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def trust(authority, home):
    """Make the database of certificates where Chromium looks for authorities beside its own."""
    database = home / ".pki/nssdb"
    database.mkdir(parents=True)
    (home / "authority.crt").write_text(authority)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    subprocess.run([*certutil, "-A", "-n", "lab", "-t", "C,,", "-i", home / "authority.crt"], check=True)
