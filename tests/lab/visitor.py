"""
People who visit the sites of a lab machine, from outside it, with a browser that knows no JavaScript.
"""

import re

from tree import load

site_visit = load("utils", "site_visit")

BOARD, DIARY, ITEMS, AUTH = (f"https://{name}.example.test" for name in ("board", "diary", "items", "auth"))
PASSWORDS = {"alice": "alice-may-come-in", "bob": "bob-has-to-stay-out"}  # as examples/demo/people.yaml has them


class Visitor(site_visit.Visitor):
    """Somebody at a machine: ``ask`` and ``follow`` as of ``site_visit``, and a login."""

    def cookies(self, host):
        """The cookies that a site has given, ``{name: value}``."""
        return dict(self._cookies.get(host, {}))

    def log_in(self, name, url):
        """Open a page, fill in the form that it leads to, and return the Answer where that ends."""
        page = self.follow(url)
        assert 'name="uid_field"' in page.text, f"{page.url} is no login page: {page.text[:500]}"
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="(\w+)"', page.text))
        answer = self.ask(page.url, form={**hidden, "uid_field": name, "password": PASSWORDS[name]})
        assert answer.location, f"the login is refused: {answer.text[:500]}"
        return self.follow(answer.location)


def visitor(machine):
    """Somebody who has not been there yet."""
    return Visitor([machine.authority], (machine.address, 443), 30)


def token(machine, somebody, client="items-reporter", scope="api:read", password=None):
    """What Authentik answers to a program of ``items`` that asks for a token, with its own password by default."""
    password = password or machine.sh(f"cat /var/lib/rick-infra/secrets/authentik-{client}")
    form = {"grant_type": "client_credentials", "client_id": "items", "username": client, "password": password}
    return somebody.ask(f"{AUTH}/application/o/token/", form={**form, "scope": scope})
