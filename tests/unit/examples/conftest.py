"""
The example applications' modules, as Python finds them in their images: beside each other, not in a package.
"""

import datetime
import ipaddress
import sys
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from doubles.authentik.certificates import Pair
from doubles.authentik.server import create_app
from tree import TREE
from werkzeug.serving import WSGIRequestHandler, make_server

AUTHENTIK_TOKEN = "token-of-the-administrator"  # noqa: S105 - of a double

EXAMPLES = ("notes", "queue", "forward-auth-app", "oidc-app", "api-service")
APPLICATIONS = [str(TREE / "examples" / name / "app") for name in EXAMPLES]


@pytest.fixture(scope="session", autouse=True)
def application_path():
    """Make ``import notes`` work for these tests only."""
    sys.path[:0] = APPLICATIONS
    yield
    for path in APPLICATIONS:
        sys.path.remove(path)


@pytest.fixture
def notes(application_path, monkeypatch):
    """The module of the web application, its log kept from Salt's handlers, which outlive the test's streams."""
    import notes

    monkeypatch.setattr(notes.log, "propagate", False)
    return notes


@pytest.fixture
def stores(application_path):
    """The module of the two stores."""
    import stores

    return stores


@pytest.fixture
def identity(application_path):
    """The module that describes the process."""
    import identity

    return identity


@pytest.fixture
def jobs(application_path):
    """The module of the queue."""
    import jobs

    return jobs


@pytest.fixture
def web(application_path, monkeypatch):
    """The queue's page."""
    import web

    monkeypatch.setattr(web.log, "propagate", False)
    return web


@pytest.fixture
def worker(application_path, monkeypatch):
    """The queue's worker."""
    import worker

    monkeypatch.setattr(worker.log, "propagate", False)
    return worker


@pytest.fixture
def alive(application_path):
    """The worker's health command."""
    import alive

    return alive


@pytest.fixture
def board(application_path):
    """The application behind forward auth."""
    import board

    return board


@pytest.fixture
def diary(application_path, monkeypatch):
    """The application that logs in by OpenID Connect."""
    import diary

    monkeypatch.setattr(diary.log, "propagate", False)
    return diary


@pytest.fixture
def items(application_path, monkeypatch):
    """The API."""
    import items

    monkeypatch.setattr(items.log, "propagate", False)
    return items


class Silent(WSGIRequestHandler):
    def log_request(self, *_):
        pass


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1, which is its own authority, and its key: two paths."""
    pair = Pair()
    key = serialization.load_pem_private_key(pair.pem, password=None)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(since)
    made = made.not_valid_after(since + datetime.timedelta(days=1)).add_extension(address, critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "key.pem").write_bytes(pair.pem)
    signed = made.sign(key, hashes.SHA256())
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture(scope="session")
def served(certificate):
    """The double of Authentik behind a port of the loopback interface, with TLS; ``app`` is put anew for each test."""

    def application(environ, start_response):
        return server.app(environ, start_response)

    server = make_server(
        "127.0.0.1",
        0,
        application,
        threaded=True,
        request_handler=Silent,
        ssl_context=tuple(map(str, certificate)),
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()


class Installation:
    """Authentik as the two applications find it: ``url`` is where it is, ``app`` the double."""

    def __init__(self, url):
        self.url, self.app = url, create_app(AUTHENTIK_TOKEN)
        self.store = self.app.authentik.store

    def make(self, path, **body):
        """Make an object by the API."""
        headers = {"Authorization": f"Bearer {AUTHENTIK_TOKEN}"}
        answer = self.app.test_client().post(f"/api/v3/{path}/", json=body, headers=headers)
        assert answer.status_code in (200, 201, 204), answer.text
        return answer.get_json(silent=True)

    def client(self, name, scopes, **more):
        """Make an application and its provider, with a client of that name."""

        def flow(kind):
            return self.store.find("flows", slug=f"default-provider-{kind}")["pk"]

        provider = self.make(
            "providers/oauth2",
            name=name,
            client_id=name,
            client_secret=f"secret-of-{name}",
            authorization_flow=flow("authorization-implicit-consent"),
            invalidation_flow=flow("invalidation-flow"),
            signing_key=self.store.rows("certificates")[0]["pk"],
            property_mappings=[self.store.find("mappings", scope_name=scope)["pk"] for scope in scopes],
            **{"redirect_uris": [], **more},
        )
        self.make("core/applications", name=name.title(), slug=name, provider=provider["pk"])
        return self.store.tables["providers"][provider["pk"]]


@pytest.fixture
def authentik(served, certificate, monkeypatch):
    """A fresh installation, whose authority is the one that ``requests`` is told of."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    installation = Installation(f"https://127.0.0.1:{served.server_port}")
    served.app = installation.app
    return installation


class MemoryValkey:
    """As much of a Valkey server as the queue uses, and its client. ``fails`` makes every call raise that error."""

    def __init__(self):
        self.hashes, self.lists, self.values, self.expiries = {}, {}, {}, {}
        self.fails, self.forgets = None, False
        self.opened, self.closed, self.options = 0, 0, {}

    def connect(self, url, **options):
        self.opened += 1
        self.options = {"url": url, **options}
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed += 1

    def __getattr__(self, name):
        """The commands, each of which fails while the server does."""

        def call(*words, **options):
            if self.fails:
                raise self.fails
            return getattr(type(self), f"do_{name}")(self, *words, **options)

        return call

    def pipeline(self, transaction):
        return _Pipeline(self)

    def do_hset(self, key, mapping):
        self.hashes.setdefault(key, {}).update({name: str(value) for name, value in mapping.items()})

    def do_hget(self, key, field):
        return self.hashes.get(key, {}).get(field)

    def do_hgetall(self, key):
        return dict(self.hashes.get(key, {}))

    def do_expire(self, key, seconds):
        self.expiries[key] = seconds

    def do_lpush(self, key, value):
        self.lists.setdefault(key, []).insert(0, value)

    def do_ltrim(self, key, first, last):
        self.lists[key] = self.lists.get(key, [])[first : last + 1]

    def do_lrange(self, key, first, last):
        assert (first, last) == (0, -1)
        return list(self.lists.get(key, []))

    def do_llen(self, key):
        return len(self.lists.get(key, []))

    def do_lrem(self, key, count, value):
        assert count == 1
        if value in self.lists.get(key, []):
            self.lists[key].remove(value)

    def do_lmove(self, source, target, leave, enter):
        waiting = self.lists.get(source, [])
        if not waiting:
            return None
        value = waiting.pop(0 if leave == "LEFT" else -1)
        moved = self.lists.setdefault(target, [])
        moved.insert(0 if enter == "LEFT" else len(moved), value)
        return value

    def do_blmove(self, source, target, timeout, leave, enter):
        assert timeout > 0
        return self.do_lmove(source, target, leave, enter)

    def do_set(self, key, value, ex):
        self.values[key] = str(value)
        self.expiries[key] = ex

    def do_getdel(self, key):
        return None if self.forgets else self.values.pop(key, None)

    def do_exists(self, key):
        return int(key in self.values)


class _Pipeline:
    """Commands that are sent together: none before ``execute``."""

    def __init__(self, client):
        self.client, self.commands = client, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __getattr__(self, name):
        return lambda *words, **options: self.commands.append((name, words, options))

    def execute(self):
        return [getattr(self.client, name)(*words, **options) for name, words, options in self.commands]


@pytest.fixture
def valkey():
    return MemoryValkey()


@pytest.fixture
def queue(jobs, valkey):
    """The queue over a Valkey in memory."""
    return jobs.Queue("unix://queue:sesame@/run/valkey/valkey.sock", "queue:", connect=valkey.connect)
