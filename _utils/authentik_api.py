"""
Authentik's HTTP API: requests with a time limit, whole lists, and errors in words.

The API is lenient where one would not expect it, and terse where words would help: numbers like Q15 are those of its
recorded surprises (2026.2). Proxies of the environment are not used, redirects not followed, and the token is
shown nowhere.
"""

import json
import logging
import re
from urllib.parse import quote, urlsplit

from salt.exceptions import CommandExecutionError, SaltInvocationError

TIMEOUT = 30  # seconds for one answer
IMPATIENT = 3  # seconds for one answer, and one try, of a server that has not answered before
RETRIES = 4  # with pauses of 0, 1, 2 and 4 seconds: what a restart of the server takes
PAUSE = 0.5  # seconds, doubled from one try to the next
REPEATABLE = ("GET", "PUT", "DELETE")  # a second time they change nothing more
UNAVAILABLE = (502, 503, 504)
PAGE_SIZE = 100  # objects; the server caps it there, or below (Q15)
TOKEN = re.compile(r"[!-~]+")
GONE = "Select a valid choice"  # what a filter says of a related object that does not exist (Q8)


def connect(url, token, timeout=TIMEOUT, pause=PAUSE):
    """
    Return an Api to ask; nothing is sent yet.

    url
        Where Authentik is, ``http://127.0.0.1:9000``.

    token
        An API token's key.

    timeout
        Seconds for one answer.

    pause
        Seconds before a call is repeated, doubled each time.

    Raises SaltInvocationError for what cannot be a URL or token.
    """
    place = urlsplit(url) if isinstance(url, str) else None
    if place is None or place.scheme not in ("http", "https") or not place.hostname or place.path.strip("/"):
        raise SaltInvocationError(f"authentik: {url!r} is no address like http://127.0.0.1:9000")
    if place.username or place.query or place.fragment:
        raise SaltInvocationError("authentik: the address takes a host and a port only")
    if not isinstance(token, str) or not TOKEN.fullmatch(token):
        raise SaltInvocationError("authentik: the token is empty, or has spaces or other characters that no token has")
    return Api(url.rstrip("/"), token, timeout, pause)


class Api:
    """
    One Authentik. An object is named by its collection (``core/groups``) and the key it has there (``pk``, or slug).

    All methods raise CommandExecutionError that says what was asked and why it was refused, or that nobody answers.
    """

    def __init__(self, url, token, timeout, pause):
        import urllib3  # costs nothing once Salt runs, and much in what does not need it

        # It warns of each try; whoever asks gets one error in the end that says why.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self.url = url
        self._timeout, self._silent = timeout, False
        self._errors = urllib3.exceptions
        # Where no connection was made nothing was sent, so any call is tried again; after that only what is repeatable.
        retries = urllib3.Retry(
            total=RETRIES,
            redirect=False,
            allowed_methods=REPEATABLE,
            status_forcelist=UNAVAILABLE,
            backoff_factor=pause,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "rick-infra"}
        self._pool = urllib3.PoolManager(headers=headers, retries=retries, timeout=timeout)

    def read(self, collection, key, view=None, **query):
        """
        Return an object, None if there is none of that key.

        view
            Something that can be read of it instead, such as ``view_key`` of ``core/tokens``.
        """
        return self._ask("GET", _path(collection, key, view), query=query or None, absent=True)

    def list(self, collection, **query):
        """
        Return all objects of a collection, page by page (Q15).

        query
            Filters. One that the endpoint does not know is ignored by the server (Q6): compare what comes, or use
            ``find``. Of a related object that does not exist, nothing is there (Q8).
        """
        found, page = [], 1
        while page:
            wanted = {**query, "page": page, "page_size": PAGE_SIZE}
            answer = self._ask("GET", _path(collection), query=wanted, empty=GONE)
            if answer is None:
                return []
            try:
                found += answer["results"]
                following = answer["pagination"]["next"]
            except (KeyError, TypeError) as error:
                raise CommandExecutionError(f"{self._what('GET', _path(collection))} answers with no list") from error
            # Anything else would go round in circles.
            page = following if isinstance(following, int) and following > page else 0
        return found

    def find(self, collection, field, value, by=None):
        """
        Return the object of a collection whose field has exactly a value, None if there is none.

        Filters ignore case, or everything (Q6, Q7), so what comes back is compared. Texts are compared as the server
        stores them: without white space around them (Q9).

        field
            ``name``, ``username``, ``identifier``, ...

        value
            Text.

        by
            The name of the filter where it is not that of the field: ``name__iexact``.

        Raises CommandExecutionError also if there are several: which one is meant, nobody could tell.
        """
        wanted = value.strip()
        found = [one for one in self.list(collection, **{by or field: wanted}) if one.get(field) == wanted]
        if len(found) > 1:
            raise CommandExecutionError(f"Authentik has {len(found)} objects in {collection} with {field} {wanted!r}")
        return found[0] if found else None

    def create(self, collection, body):
        """
        Make an object and return it as the server has it: fields that it does not know are left out silently (Q5).
        """
        return self._ask("POST", _path(collection), body)

    def update(self, collection, key, body):
        """
        Change fields of an object and return it. Lists and mappings are replaced, not merged (Q20, Q41).
        """
        return self._ask("PATCH", _path(collection, key), body)

    def replace(self, collection, key, body):
        """
        Write a whole object and return it. Fields that are left out stay (Q11), but members of a group go (Q12).
        """
        return self._ask("PUT", _path(collection, key), body)

    def delete(self, collection, key):
        """
        Delete an object. Returns whether it was there (Q13).
        """
        return self._ask("DELETE", _path(collection, key), absent=True) is not None

    def call(self, collection, key, action=None, body=None):
        """
        Do something with an object, as ``call("core/groups", pk, "add_user", {"pk": 7})``, and return what it answers.

        action
            None: the key is what is to be done, as ``service_account`` of ``core/users``.
        """
        return self._ask("POST", _path(collection, key, action), body or {})

    def _ask(self, method, path, body=None, query=None, absent=False, empty=None):
        """
        The answer, ``{}`` for one without a body.

        None if there is no such object and ``absent`` allows that, or if it is refused with the words ``empty``.
        """
        sent = {} if body is None else {"json": body}
        # Whoever waits for a server that is down should do it once in a run, not for each object.
        patience = min(self._timeout, IMPATIENT) if self._silent else self._timeout
        once = {"retries": False, "timeout": patience} if self._silent else {}
        self._silent = True
        try:
            answer = self._pool.request(method, f"{self.url}{path}", fields=query, redirect=False, **sent, **once)
            self._silent = answer.status in UNAVAILABLE
        except self._errors.HTTPError as error:
            raise CommandExecutionError(
                f"Authentik at {self.url} does not answer ({self._reason(error, patience)})"
            ) from None
        text = answer.data
        found = _json(text) if answer.headers.get("content-type", "").startswith("application/json") else None
        if 200 <= answer.status < 300 and (found is not None or not text):
            return {} if found is None else found
        # A page instead of words means that the path is wrong, not that the object is not there.
        if absent and answer.status == 404 and found is not None:
            return None
        if empty and answer.status == 400 and any(empty in sentence for sentence in _told(found)):
            return None
        why = _refusal(answer.status, text, found)
        raise CommandExecutionError(f"{self._what(method, path)}: {why}")

    def _what(self, method, path):
        return f"Authentik at {self.url}: {method} {path}"

    def _reason(self, error, patience):
        """Why nobody answers, in the words of the system."""
        cause = getattr(error, "reason", None) or error
        if isinstance(cause, self._errors.TimeoutError) and not isinstance(cause, self._errors.NewConnectionError):
            return f"not within {patience} s"
        inner = cause
        while inner is not None:
            if isinstance(inner, OSError) and inner.strerror:
                return inner.strerror
            inner = inner.__cause__ or inner.__context__
        return type(cause).__name__


def _path(collection, key=None, action=None):
    """A path ends in a slash: without, the server takes it for another one (Q2)."""
    parts = [collection.strip("/")]
    if key is not None:
        text = str(key)
        if text in ("", ".", ".."):
            raise SaltInvocationError(f"{text!r} is no key of an object in {collection}")
        parts.append(quote(text, safe=""))
    return f"/api/v3/{'/'.join([*parts, *([action] if action else [])])}/"


def _json(text):
    """What a JSON text says, None if it is none."""
    try:
        return json.loads(text)
    except ValueError:  # UnicodeDecodeError among them
        return None


def _refusal(status, text, found):
    """Why a request was refused, in words for people."""
    if status == 405 and not text:
        return "an exception in the server, and nothing was changed: its log says more"  # Q1
    told = "; ".join(_told(found)) if found is not None else ""
    if status == 403 and "Token invalid" in told:
        return "the token is not valid any more, or was never an API token (an app password is none)"  # Q3, Q48
    if status == 403 and "permission" in told:
        return (
            f"{told} (which one it does not say; whoever changes something must also have the right to view it)"  # Q80
        )
    if told:
        return told
    if status >= 500:
        return f"it answers {status}: it starts, is overloaded, or something in front of it cannot reach it"
    if status == 404:
        return "there is no such place in its API: is it another version, or something else that listens there?"
    if 300 <= status < 400:
        return f"it answers {status}, a redirect: is this the address of Authentik itself?"
    return f"it answers {status} with what is no JSON: does something else listen there?"


def _told(answer, place=""):
    """The sentences of an error, each behind its place (Q4): fields, lists of fields, or just text."""
    if isinstance(answer, dict):
        for key, inner in answer.items():
            here = (
                place
                if key in ("detail", "non_field_errors", "error_description")
                else f"{place}{'.' if place else ''}{key}"
            )
            yield from _told(inner, here)
    elif isinstance(answer, list):
        for number, inner in enumerate(answer):
            yield from _told(inner, place if isinstance(inner, str) else f"{place}[{number}]")
    else:
        yield f"{place}: {answer}" if place else str(answer)
