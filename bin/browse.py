"""
A browser for sites whose names no resolver knows: TLS, cookies, redirects, and a login at Authentik.

Standard library only, as all of bin: it runs on whatever host shows the demo.
"""

import http.client
import http.cookies
import json
import socket
import urllib.parse

from console import Failure

HTTPS = 443
TIMEOUT = 10  # seconds for one answer
HOPS = 15  # redirects, or stages of a login


class Connection(http.client.HTTPSConnection):
    """HTTPS to a site at an address of its own: what curl calls --resolve. It goes past any proxy."""

    def __init__(self, address, domain, context, port=HTTPS):
        super().__init__(domain, context=context, timeout=TIMEOUT)
        self.place, self.context = (address, port), context

    def connect(self):
        self.sock = self.context.wrap_socket(
            socket.create_connection(self.place, timeout=TIMEOUT), server_hostname=self.host
        )


class Browser:
    """
    Somebody who visits the sites at an address.

    After ``open``, ``url`` is where that has ended, ``status`` and ``text`` are what was there.
    """

    def __init__(self, address, context, port=HTTPS):
        self.address, self.context, self.port = address, context, port
        self.url, self.status, self.text, self.cookies = "", 0, "", {}

    def open(self, url, body=None, headers=None):
        """Go to a page and wherever it leads. With a body, a mapping, that is sent as JSON first."""
        for _ in range(HOPS):
            location = self._ask(url, body, headers or {})
            if location is None or not 300 <= self.status < 400:
                return self
            url, body = urllib.parse.urljoin(url, location), None
        raise Failure(f"{url}: is sent on and on, {HOPS} times")

    def log_in(self, name, password):
        """
        Answer the questions of the login page that is open, and go on where it leads.

        By the interface that Authentik's own page uses (its flow executor). Raises Failure if it refuses.
        """
        page = urllib.parse.urlsplit(self.url)
        if not page.path.startswith("/if/flow/"):
            raise Failure(f"{self.url} is no login page")
        flow = page.path.split("/")[3]
        executor = f"{page.scheme}://{page.netloc}/api/v3/flows/executor/{flow}/?query={urllib.parse.quote(page.query)}"
        self.open(executor)
        given = {"uid_field": name, "password": password}
        for _ in range(HOPS):
            stage = json.loads(self.text)
            if stage.get("response_errors"):
                raise Failure(f"{name} is refused: {stage['response_errors']}")
            if stage["component"] == "xak-flow-redirect":
                return self.open(urllib.parse.urljoin(executor, stage["to"]))
            csrf = self.cookies.get(page.netloc, {}).get("authentik_csrf", "")
            self.open(executor, {"component": stage["component"], **given}, {"X-authentik-CSRF": csrf})
        raise Failure(f"{executor}: asks on and on")

    def _ask(self, url, body, headers):
        """One request. Returns where it is sent on to, None if it is not."""
        place = urllib.parse.urlsplit(url)
        kept = self.cookies.setdefault(place.netloc, {})
        sent = {"Accept": "text/html,application/json", **headers}
        if kept:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in kept.items())
        if body is not None:
            sent |= {"Content-Type": "application/json", "Referer": url}
        connection = Connection(self.address, place.hostname, self.context, self.port)
        try:
            path = f"{place.path or '/'}{'?' + place.query if place.query else ''}"
            connection.request("GET" if body is None else "POST", path, json.dumps(body) if body else None, sent)
            answer = connection.getresponse()
            self.url, self.status = url, answer.status
            self.text = answer.read().decode("utf-8", errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise Failure(f"{url} does not answer: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                kept[name] = morsel.value
        return answer.headers["Location"]
