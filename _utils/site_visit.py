"""
A visit to the sites of this host as a browser makes it: by TLS, with cookies, from one redirect to the next.

Whatever the name of a site, Caddy on this host is asked: what DNS says of it may not have arrived yet.
"""

import http.cookies
import json
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from salt.exceptions import CommandExecutionError

CADDY = ("127.0.0.1", 443)
TIMEOUT = 10  # seconds for one answer
LARGEST = 262_144  # bytes of an answer that are read
HOPS = 12  # redirects; a login takes five


class Answer(NamedTuple):
    """
    What a site says.

    url
        Where it was asked.

    status
        Of HTTP, a number.

    location
        Where it sends the visitor, None if it does not.

    text
        The body, or its beginning.
    """

    url: str
    status: int
    location: str | None
    text: str

    def json(self):
        """
        Return the body as JSON. Raises CommandExecutionError if it is none.
        """
        try:
            return json.loads(self.text)
        except ValueError:
            raise CommandExecutionError(f"{self.url} answers {self.status} with no JSON") from None


def visitor(trusted=(), address=CADDY, timeout=TIMEOUT, behind=None, identity=None):
    """
    Return a Visitor without cookies; nothing is asked yet.

    trusted
        Certificates to trust besides those of the host's authorities, each as PEM: roots, or those of sites.

    address
        Where all sites are.

    timeout
        Seconds for one answer.

    behind
        ``{domain: (port, name)}``: sites that edges show, asked as an edge does, at their port and by that name.

    identity
        Files of the certificate and the key that those sites want to see.
    """
    return Visitor(trusted, address, timeout, behind, identity)


class Visitor:
    """
    Somebody who visits sites. All methods raise CommandExecutionError if nobody answers.
    """

    def __init__(self, trusted, address, timeout, behind=None, identity=None):
        import ssl

        import urllib3  # what does not need it should not pay for it

        self._context = ssl.create_default_context()
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a site's own certificate is enough
        for certificate in trusted:
            self._context.load_verify_locations(cadata=certificate)
        if identity:
            self._context.load_cert_chain(*identity)
        self._address, self._timeout, self._behind = address, timeout, behind or {}
        self._pool, self._error = urllib3.HTTPSConnectionPool, urllib3.exceptions.HTTPError
        self._cookies: dict[str, dict[str, str]] = {}

    def ask(self, url, headers=None, form=None, basic=None):
        """
        Return the Answer of a site.

        headers
            Further ones, a list of pairs.

        form
            A mapping to send (POST); else it is a GET.

        basic
            User and password of HTTP Basic.
        """
        from urllib3 import HTTPHeaderDict, make_headers

        place = urlsplit(url)
        sent = HTTPHeaderDict(headers or ())
        port, name = self._behind.get(place.hostname, (self._address[1], place.hostname))
        sent["Host"] = name if name != place.hostname else place.netloc
        if name != place.hostname:
            sent["X-Forwarded-Host"] = place.netloc
        sent["User-Agent"] = "rick-infra"
        if self._cookies.get(place.netloc):
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies[place.netloc].items())
        if basic:
            sent.update(make_headers(basic_auth=":".join(basic)))
        if form is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        path = f"{place.path or '/'}{'?' + place.query if place.query else ''}"
        try:
            # One connection for each: the name in TLS is the site's.
            with self._pool(
                self._address[0],
                port,
                server_hostname=name,
                assert_hostname=name,
                ssl_context=self._context,
                timeout=self._timeout,
                retries=False,
            ) as pool:
                answer = pool.request(
                    "GET" if form is None else "POST",
                    path,
                    headers=sent,
                    body=None if form is None else urlencode(form),
                    redirect=False,
                    preload_content=False,
                )
                text = answer.read(LARGEST, decode_content=True).decode("utf-8", errors="replace")
                answer.release_conn()
        except self._error as error:
            raise CommandExecutionError(f"{url} does not answer ({error})") from error
        self._keep(place.netloc, answer.headers.getlist("Set-Cookie"))
        location = answer.headers.get("Location")
        return Answer(url, answer.status, location and urljoin(url, location), text)

    def follow(self, url, until=None):
        """
        Return the Answer where a visit ends, redirects followed.

        until
            What the address of a redirect begins with that is not followed any more.
        """
        for _ in range(HOPS):
            answer = self.ask(url)
            if until and answer.location and answer.location.startswith(until):
                return answer
            if not answer.location or not 300 <= answer.status < 400:
                return answer
            url = answer.location
        raise CommandExecutionError(f"{url}: is sent on and on, {HOPS} times")

    def _keep(self, host, lines):
        for line in lines:
            for name, morsel in http.cookies.SimpleCookie(line).items():
                self._cookies.setdefault(host, {})[name] = morsel.value
