"""
Replays recorded scenarios (``tests/contract``) against something that answers HTTP, and compares what it answers.

A recorded answer is a pattern: symbols such as ``$group_users`` stand for values of this installation, others such as
``$uuid`` for what nobody could know before. ``tests/contract/README.md`` says which there are.
"""

import base64
import collections
import concurrent.futures
import email.utils
import fnmatch
import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

CONTRACT = Path(__file__).parent / "contract"
BASE = "/api/v3"
SYMBOL = re.compile(r"\$[a-z_0-9]+")
# What stands for something that is not known beforehand: the form that it must have.
FORMS = {
    "$uuid": r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "$datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
    "$hex32": r"[0-9a-f]{32}",
    "$hex64": r"[0-9a-f]{64}",
    "$hex128": r"[0-9a-f]{128}",
    "$random_client_id": r"[A-Za-z0-9]{40}",
    "$random_client_secret": r"[A-Za-z0-9]{128}",
    "$jwt": r"[\w-]+\.[\w-]+\.[\w-]*",
    "$base_url": r"https?://[^/]+",
    "$base_host": r"[^/]+",
    "$fingerprint": r"[0-9a-f]{2}(:[0-9a-f]{2}){19,31}",
}
# Those whose form nobody needs.
ANY_TEXT = (
    *("$random", "$secret", "$avatar", "$sub_hash", "$kid", "$hostname", "$golang_version", "$openssl_version"),
    *("$build_hash", "$sentry_dsn", "$cookie", "$client_hash", "$state", "$code", "$scopes_in_any_order"),
)
# Texts of which only the form is compared: a number of one of the database's rows, and a picture that is drawn.
ALIKE = (re.compile(r"ak-managed-role--user-\d+"), re.compile(r"data:image/.+"))
FINGERPRINT = re.compile(r"(?:[0-9a-f]{2}:){19,31}[0-9a-f]{2}")
# Lists without an order.
SETS = {
    *("property_mappings", "groups", "users", "parents", "children", "providers", "roles", "policies", "bound_to"),
    *("outpost_set", "parents_obj", "children_obj", "groups_obj", "users_obj", "roles_obj", "providers_obj"),
    "scopes_supported",
}
ROW_NUMBERS = {"id"}  # row numbers of the database


@dataclass
class Answer:
    """What came back: ``body`` is JSON if it was such, else None; ``text`` is all of it."""

    status: int
    headers: dict
    text: str
    body: object = None
    cookies: list = field(default_factory=list)


class Mismatch(AssertionError):
    """An answer that is not as recorded."""


def scenarios():
    """The paths of all scenarios."""
    return sorted((CONTRACT / "scenarios").glob("*.json"))


class Replay:
    """
    One scenario against one installation.

    send
        ``send(method, path, headers, data)`` returns an Answer and follows no redirect.

    token
        The key of the administrator's token.

    restart
        Called where the recording restarted the server.

    wait
        Called with the seconds where the recording waited.
    """

    def __init__(self, send, token, restart, wait=time.sleep):
        self.send, self.restart, self.wait = send, restart, wait
        self.known = {"$admin_token": token}
        self.jars = collections.defaultdict(dict)
        self.raced = set()  # paths of objects that several requests wrote at once

    def run(self, scenario):
        """Replay a scenario. Raises Mismatch that names the step."""
        self._look_up_preloaded(json.dumps(scenario))
        for step in scenario["steps"]:
            try:
                self.step(step, scenario.get("nondeterministic", False))
            except Mismatch as error:
                raise Mismatch(f"{scenario['name']}/{step['id']}: {error}") from None

    def _look_up_preloaded(self, text):
        symbols = json.loads((CONTRACT / "preloaded.json").read_text(encoding="utf-8"))["symbols"]
        for symbol, where in symbols.items():
            if f'"{symbol}' in text or symbol in text:
                answer = self.ask({"method": "GET", "path": where["path"], "query": where["query"]})
                self.known[symbol] = at(answer.body, where["json"])

    def step(self, step, nondeterministic=False):
        if "action" in step:
            if step["action"] == "restart_server":
                self.restart()
            else:
                self.wait(step["seconds"])
            return
        if "parallel" in step:
            self._parallel(step, nondeterministic)
            return
        if "repeat" in step:
            self._repeat(step)
            return
        answer = self.ask(step["request"])
        for symbol, place in step.get("capture", {}).items():
            self.known[symbol] = self._captured(place, answer)
        recorded = step["response"]
        self._compare_status(answer, recorded)
        if not step.get("volatile") and step["request"]["path"] not in self.raced:
            self._compare(answer, recorded, step.get("record_headers", ()))

    def _captured(self, place, answer):
        if place.startswith("header:"):
            name, _, pattern = place.removeprefix("header:").partition(" re:")
            found = re.search(pattern, answer.headers.get(name.lower(), ""))
            if not found:
                raise Mismatch(f"header {name} is {answer.headers.get(name.lower())!r}, without {pattern}")
            return found[1]
        try:
            return at(answer.body, place)
        except (KeyError, IndexError, TypeError):
            raise Mismatch(f"nothing at {place} of {answer.status} {answer.text[:300]}") from None

    def ask(self, request, counter=None):
        """Send a recorded request."""
        request = self.filled(request, counter)
        path = request["path"] if request.get("root") else f"{BASE}{request['path']}"
        if "://" in path:
            parts = urlsplit(path)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
        if request.get("query"):
            path += ("&" if "?" in path else "?") + urlencode(request["query"], doseq=True)
        headers, data = {**request.get("headers", {})}, None
        if "body" in request:
            headers, data = {"Content-Type": "application/json", **headers}, json.dumps(request["body"])
        elif "form" in request:
            headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
            data = urlencode(request["form"], doseq=True)
        elif "raw" in request:
            headers, data = {"Content-Type": "application/json", **headers}, request["raw"]
        headers.update(self._credentials(request))
        jar = self.jars[request["session"], headers.get("X-Forwarded-Host")] if request.get("session") else None
        if jar:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
            if "authentik_csrf" in jar:
                headers["X-authentik-CSRF"] = jar["authentik_csrf"]
        answer = self.send(request["method"], path, headers, data)
        if jar is not None:
            for cookie in answer.cookies:
                name, _, value = cookie.partition(";")[0].partition("=")
                jar[name] = value
        return answer

    def _credentials(self, request):
        if "basic" in request:
            words = ":".join(request["basic"]).encode()
            return {"Authorization": f"Basic {base64.b64encode(words).decode()}"}
        auth = request.get("auth", "none" if request.get("session") else "admin")
        if auth == "none":
            return {}
        named = {"admin": self.known["$admin_token"], "bad": "x" * 60, "reader": self.known.get("$reader_token")}
        return {"Authorization": f"Bearer {named.get(auth, auth)}"}

    def filled(self, value, counter=None):
        """A part of a request with the values for its symbols."""
        if isinstance(value, dict):
            return {key: self.filled(one, counter) for key, one in value.items()}
        if isinstance(value, list):
            return [self.filled(one, counter) for one in value]
        if not isinstance(value, str):
            return value
        repeated = re.fullmatch(r"\$repeat\((.),(\d+)\)", value)
        if repeated:
            return repeated[1] * int(repeated[2])
        if value in self.known:
            return self.known[value]
        if counter is not None:
            value = value.replace("$i", counter)
        return SYMBOL.sub(lambda found: str(self.known.get(found[0], found[0])), value)

    def _repeat(self, step):
        counts = collections.Counter()
        for number in range(step["repeat"]["from"], step["repeat"]["to"] + 1):
            counts[str(self.ask(step["request"], f"{number:03}").status)] += 1
        if dict(counts) != step["response"]["status_counts"]:
            raise Mismatch(f"answered {dict(counts)}, recorded {step['response']['status_counts']}")

    def _parallel(self, step, nondeterministic):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            answers = list(pool.map(self.ask, step["parallel"]))
        recorded = step["responses_unordered"]
        if not nondeterministic:
            for one, wanted in zip(sorted(answers, key=lambda one: one.status), recorded, strict=True):
                self._compare_status(one, wanted)
                self._compare(one, wanted)
            return
        self.raced.update(one["path"] for one in step["parallel"] if one["method"] == "PATCH")
        made = sum(one.status == 201 for one in answers)
        wanted = sum(one["status"] == 201 for one in recorded)
        if made != wanted:
            raise Mismatch(f"{made} of {len(answers)} were made, recorded {wanted}")

    def _compare_status(self, answer, recorded):
        if answer.status != recorded["status"]:
            shown = recorded.get("body", recorded.get("body_text"))
            raise Mismatch(f"answered {answer.status} {answer.text[:400]}, recorded {recorded['status']} {shown}")

    def _compare(self, answer, recorded, kept=()):
        self._compare_headers(answer, recorded.get("headers", {}), kept)
        if "body" in recorded:
            body = answer.body if answer.text else None
            if answer.text and answer.body is None:
                raise Mismatch(f"answered with text {answer.text[:200]!r}, recorded {recorded['body']!r}")
            self.match(recorded["body"], body, "body")
        for name, wanted in recorded.get("decoded", {}).items():
            self.match(wanted, decoded(answer.body[name]), f"decoded {name}")
        if "html_title" in recorded:
            found = re.search(r"<title>(.*?)</title>", answer.text, re.DOTALL)
            self.match(recorded["html_title"], found and found[1].strip(), "title")
        elif "body_text" in recorded and recorded["body_text"] != "$html":
            self.match(recorded["body_text"], answer.text, "text")

    def _compare_headers(self, answer, recorded, kept):
        """Of the headers that were kept, those that were not sent are not sent now, either."""
        more = {name for name in answer.headers if any(fnmatch.fnmatch(name, one) for one in kept)} - recorded.keys()
        if more:
            raise Mismatch(f"has the headers {sorted(more)} besides")
        for name, wanted in recorded.items():
            if name == "set-cookie":
                self._compare_cookies(wanted, answer.cookies)
            elif name == "vary":
                self.match(sorted(wanted.split(", ")), sorted(answer.headers.get(name, "").split(", ")), "header vary")
            else:
                self.match(wanted, answer.headers.get(name), f"header {name}")

    def _compare_cookies(self, wanted, found):
        """Cookies come in any order, and so do their attributes."""
        wanted, left = [parsed(one) for one in wanted], [parsed(one) for one in found]
        self.match(len(wanted), len(left), "the number of cookies")
        for cookie in wanted:
            left.remove(self._like(cookie, left, f"cookie {cookie['name']}"))

    # Comparing with a pattern.

    def match(self, wanted, found, place):
        """Raise Mismatch if something is not as a recorded pattern says."""
        if isinstance(wanted, dict) and isinstance(found, dict):
            self._match_mapping(wanted, found, place)
        elif isinstance(wanted, list) and isinstance(found, list):
            self._match_list(wanted, found, place)
        elif isinstance(wanted, str) and "$" in wanted:
            self._match_symbol(wanted, found, place)
        elif isinstance(wanted, str) and any(one.fullmatch(wanted) and one.fullmatch(str(found)) for one in ALIKE):
            return
        elif isinstance(wanted, str) and FINGERPRINT.fullmatch(wanted):
            self._match_symbol("$fingerprint", found, place)
        elif wanted != found or isinstance(wanted, bool) != isinstance(found, bool):
            raise Mismatch(f"{place} is {found!r}, recorded {wanted!r}")

    def _match_mapping(self, wanted, found, place):
        keys = {key for key in wanted if key != "$trimmed"}
        missing, more = keys - found.keys(), found.keys() - keys
        if missing or (more and not self._is_cut(wanted, place)):
            raise Mismatch(f"{place} lacks {sorted(missing)} and has {sorted(more)} besides")
        for key in keys - ROW_NUMBERS:
            value = found[key]
            if key == "scope" and isinstance(value, str):
                value = " ".join(sorted(value.split()))  # as in the recording; the server has no order
            self.match(wanted[key], value, f"{place}.{key}")

    def _is_cut(self, wanted, place):
        """Embedded objects are cut to what matters, and so are those of long lists."""
        few = {"pk", "name", "slug", "username", "component", "is_active"}
        return "$trimmed" in wanted or (".results[" in place and wanted.keys() <= few)

    def _match_list(self, wanted, found, place):
        omitted = next((one["$omitted"] for one in wanted if isinstance(one, dict) and "$omitted" in one), 0)
        if len(found) != len(wanted) - bool(omitted) + omitted:
            raise Mismatch(f"{place} has {len(found)} elements, recorded {len(wanted)}: {found!r:.300}")
        if omitted:
            at = next(number for number, one in enumerate(wanted) if isinstance(one, dict) and "$omitted" in one)
            wanted, found = wanted[:at] + wanted[at + 1 :], found[:at] + found[at + omitted :]
        last = place.rpartition(".")[2]
        unordered = last in SETS or place == "body" or (last == "results" and self._of_equal_rank(found))
        if not unordered:
            for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
                self.match(one, other, f"{place}[{number}]")
            return
        if [one.get("order") for one in wanted if isinstance(one, dict) and "order" in one]:
            self.match([one["order"] for one in wanted], [one["order"] for one in found], f"the order of {place}")
        left = list(found)
        for number, one in enumerate(wanted):
            left.remove(self._like(one, left, f"{place}[{number}]"))

    def _of_equal_rank(self, rows):
        """Bindings of equal order come in any order."""
        return bool(rows) and all(isinstance(row, dict) and {"order", "target"} <= row.keys() for row in rows)

    def _like(self, wanted, candidates, place):
        reason = Mismatch(f"{place}: nothing like {wanted!r}")
        for one in candidates:
            try:
                self.match(wanted, one, place)
            except Mismatch as error:
                reason = error if len(candidates) == 1 else reason
            else:
                return one
        raise reason

    def _match_symbol(self, wanted, found, place):
        if wanted in self.known:
            if found != self.known[wanted]:
                raise Mismatch(f"{place} is {found!r}, recorded {wanted}, which is {self.known[wanted]!r}")
            return
        if wanted == "$uuid" and found in self.known.values():
            good = False  # it stands for what nobody captured
        elif wanted in ("$int", "$epoch"):
            good = isinstance(found, int) and not isinstance(found, bool)
        elif wanted == "$list":
            good = isinstance(found, list)
        elif isinstance(found, str):
            good = re.fullmatch(self._as_pattern(wanted), found, re.DOTALL) is not None
        else:
            good = False
        if not good:
            raise Mismatch(f"{place} is {found!r}, recorded {wanted}")

    def _as_pattern(self, wanted):
        repeated = re.fullmatch(r"\$repeat\((.),(\d+)\)", wanted)
        if repeated:
            return f"{re.escape(repeated[1])}{{{repeated[2]}}}"
        parts, end = [], 0
        for found in SYMBOL.finditer(wanted):
            parts.append(re.escape(wanted[end : found.start()]))
            name = found[0]
            if name in self.known:
                parts.append(re.escape(str(self.known[name])))
            elif name in FORMS:
                parts.append(f"(?:{FORMS[name]})")
            elif name in ANY_TEXT:
                parts.append(".*")
            else:
                parts.append(re.escape(name))
            end = found.end()
        return "".join([*parts, re.escape(wanted[end:])])


def at(value, place):
    """The part of some JSON at a dotted path."""
    for part in place.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def parsed(cookie):
    """What a header ``Set-Cookie`` says, by small names; the time is written as the API writes times."""
    first, *attributes = (part.strip().partition("=") for part in cookie.split(";"))
    found = {name.lower(): value for name, _, value in attributes}
    if "$" not in found.get("expires", "$"):
        found["expires"] = email.utils.parsedate_to_datetime(found["expires"]).isoformat()
    return {"name": first[0], "value": first[2], **found}


def decoded(token):
    """Header and claims of a JWT, whoever signed it."""
    parts = (part + "=" * (-len(part) % 4) for part in token.split(".")[:2])
    return dict(zip(("header", "claims"), (json.loads(base64.urlsafe_b64decode(part)) for part in parts), strict=True))
