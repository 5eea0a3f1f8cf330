"""
What an entry of the catalogue may say: the keys of ``/etc/rick-infra/services/NAME.yaml``, their types and defaults.

The models are the one source: entries are validated by them, the reference
in the documentation and the JSON Schema for editors are made from them. What
only all entries together can tell (two that want one port, one that needs
another which does not exist) is judged by ``catalogue_checks``.

Importing this costs pydantic's 0.1 s, so it happens only when the catalogue has changed.
"""

import ipaddress
import math
import re
import shlex
import urllib.parse
import zoneinfo
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

UNITS_OF_TIME = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 24 * 3600}
LATEST = "latest"
SWITCHES = ("yes", "no", "on", "off", "true", "false")
# What the tree itself calls parts of a service.
RESERVED_CONTAINERS = ("init", "pod", "network")
RESERVED_SECRETS = ("postgres", "valkey", "auth")
# Their consumers are other machines' resolvers and Caddy: letters, digits and dashes, with a wildcard in front at most.
DOMAIN = r"^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
# What the settings say of a PostgreSQL elsewhere (catalogue_infrastructure.SERVER), and no entry does.
OF_A_SERVER = ("port", "authority", "user", "password")
# What a certificate can be checked against, and a URL hold without brackets.
SERVER = r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
# No control characters, those of Unicode and its ends of lines included: each of these would begin another line.
PATH = r"^/[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
# Podman separates with colons and commas; systemd and Quadlet have ideas about the rest, and about a space at the end.
MOUNT = r"^/[^\x00-\x1f\x7f-\x9f\u2028\u2029:,\"'`$%\\]*[^\x00-\x20\x7f-\xa0\u2028\u2029:,\"'`$%\\]$"
# As it stands in a URL and, unquoted, in a Caddyfile.
URL_PATH = r"^/[A-Za-z0-9/._~!$&()*+,;=:@%?\[\]-]*$"
CADDY_FILE = r"^/[^\x00-\x1f\x7f-\x9f\u2028\u2029\x22`{}\\]+$"
# fleet_file.PATTERN
HOSTS = r"^[A-Za-z0-9_.*?\[\]!-]+$"
PART_NAME = r"^[a-z][a-z0-9-]{0,30}$"
LINE = r"^[^\x00-\x1f\x7f]*$"
TEXT = r"^[^\x00]*$"
SIZE = r"^[1-9][0-9]*[bkmgBKMG]?$"
CAPABILITY = (  # capabilities(7)
    r"^(CAP_)?(AUDIT_CONTROL|AUDIT_READ|AUDIT_WRITE|BLOCK_SUSPEND|BPF|CHECKPOINT_RESTORE|CHOWN|DAC_OVERRIDE"
    r"|DAC_READ_SEARCH|FOWNER|FSETID|IPC_LOCK|IPC_OWNER|KILL|LEASE|LINUX_IMMUTABLE|MAC_ADMIN|MAC_OVERRIDE|MKNOD"
    r"|NET_ADMIN|NET_BIND_SERVICE|NET_BROADCAST|NET_RAW|PERFMON|SETFCAP|SETGID|SETPCAP|SETUID|SYSLOG|SYS_ADMIN|SYS_BOOT"
    r"|SYS_CHROOT|SYS_MODULE|SYS_NICE|SYS_PACCT|SYS_PTRACE|SYS_RAWIO|SYS_RESOURCE|SYS_TIME|SYS_TTY_CONFIG|WAKE_ALARM)$"
)
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$"
SECRET_NAME = r"^[a-z][a-z0-9_-]{0,62}$"  # noqa: S105 - what a name looks like
DATABASE_NAME = r"^[a-z_][a-z0-9_-]{0,62}$"
EXTENSION = r"^[a-z_][a-z0-9_-]*$"
LOCALE = r"^(C|POSIX|C\.(UTF-8|utf8)|[a-z]{2,3}_[A-Z]{2}\.(UTF-8|utf8)(@[a-z]+)?)$"
PREFIX = r"^[A-Za-z0-9][A-Za-z0-9:/_.-]*[:/_.-]$"
ACL_RULE = r"^[+-](@[a-z]+|[a-z0-9_.-]+(\|[a-z0-9_-]+)?)$"
SIGNAL = (  # signal(7)
    r"^((SIG)?(ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM"
    r"|TRAP|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)"
    r"|[1-9]|[1-5][0-9]|6[0-4])$"
)
SCHEDULE = r"^[!-~][ -~]{0,99}$"
PILLAR_KEY = r"^[^\s]+$"
BODY_SIZE = r"^[1-9][0-9]*([kKMG]i?B)?$"
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
# RFC 6749, 3.3.
SCOPE = r"^[!#-\[\]-~]{1,100}$"
ROLE = r"^[a-z][a-z0-9_-]{0,30}$"
# What each of them means to a person.
FORMS = {
    DOMAIN: "a domain: lower-case letters, digits, dashes and dots, such as app.example.org",
    SERVER: "the name of a host: lower-case letters, digits, dashes and dots, such as db.example.org",
    PATH: "an absolute path on one line",
    MOUNT: "an absolute path without any of : , \" ' ` $ % \\, and without a space at its end",
    URL_PATH: "a path of a URL: ASCII without spaces, quotes, braces, # and \\; others are written as %20 and so on",
    CADDY_FILE: "the absolute path of a file, on one line without quotes, braces and \\",
    HOSTS: "a pattern of minion ids, such as cell1 or cell*",
    PART_NAME: "a name: lower-case letters, digits and dashes, beginning with a letter, 31 at most",
    LINE: "one line of text",
    TEXT: "text without NUL characters",
    SIZE: "a size, such as 512M or 1G",
    CAPABILITY: "a capability (capabilities(7)), such as NET_BIND_SERVICE",
    VARIABLE: "the name of a variable: letters, digits and _ . -, not beginning with a digit, 128 at most",
    SECRET_NAME: "the name of a secret: lower-case letters, digits, _ and -, beginning with a letter, 63 at most",
    DATABASE_NAME: "a name in PostgreSQL: lower-case letters, digits, _ and -, not beginning with a digit, 63 at most",
    EXTENSION: "the name of an extension, such as pg_trgm",
    LOCALE: "a locale in UTF-8, such as C.UTF-8 or de_DE.UTF-8",
    PREFIX: "a prefix: letters, digits and : / _ . -, ending in one of : / _ . -, such as app:",
    ACL_RULE: "a rule of Valkey's ACL, such as +scan or -@dangerous",
    SIGNAL: "a signal (signal(7)), such as SIGINT",
    SCHEDULE: "a time as in systemd.time(7), such as daily or Mon 04:00",
    PILLAR_KEY: "a key of the pillar, such as smtp:password",
    BODY_SIZE: "a size, such as 10MB",
    CLOCK: "a time of the day, such as 08:00, in quotes",
    SCOPE: "a scope: one word, such as api:read",
    ROLE: "a role: lower-case letters, digits, _ and -, beginning with a letter, 31 at most",
}
IMAGE = re.compile(
    r"(?P<name>([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?/)?"
    r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def _seconds(value):
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]+) ?(s|min|m|h|d)", value)
        if not match:
            raise ValueError(f"{value!r} is not a time: a number of seconds, or text such as 90s, 5min, 1h")
        return int(match[1]) * UNITS_OF_TIME[match[2]]
    return value


def _number(value):
    if isinstance(value, bool):
        raise ValueError(f"{'true' if value else 'false'} is not a number")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError("nan is not a number")
    return value


def _words(value):
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a command line: {error}") from error
    return value


def _fit_for_exec(words):
    """Quadlet ends a command at an empty word; at a semicolon, systemd would run the rest by itself, on the host."""
    for number, word in enumerate(words, 1):
        if word in ("", ";"):
            raise ValueError(f"word {number}, {word!r}, ends a command for systemd; write all of it to entrypoint")
    return words


def _one_or_many(value):
    return [value] if isinstance(value, str) else value


def _once_each(values):
    return list(dict.fromkeys(values))


def _option(short):
    """Turn the short form of a mapping into the mapping: true, a name, a path."""

    def expand(value):
        if isinstance(value, str) and value.lower() in SWITCHES:
            # Elsewhere YAML takes these words for true; here one would be the name of a database, or a domain.
            raise ValueError(f"{value!r} is text; the words for a switch are true and false")
        if value is None or value is False:
            return None
        if value is True:
            return {}
        if isinstance(value, (str, list)) and short:
            return {short: value}
        return value

    return BeforeValidator(expand)


def _environment(value):
    if isinstance(value, dict):
        return {
            key: ("true" if one else "false")
            if isinstance(one, bool)
            else str(one)
            if isinstance(one, (int, float))
            else one
            for key, one in value.items()
        }
    return value


def _image(value):
    if not IMAGE.fullmatch(value):
        raise ValueError(f"{value!r} is not the name of an image, such as ghcr.io/org/app:1.2")
    return value


def _address(value):
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{value!r} is not an IP address, such as 0.0.0.0 for all") from None


def _network(value):
    try:
        return str(ipaddress.ip_network(value))
    except ValueError as error:
        raise ValueError(f"{value!r} is not a network, such as 192.0.2.0/24: {error}") from None


def _subnet(value):
    network = ipaddress.ip_network(_network(value))
    if network.version != 4 or network.prefixlen > 29:
        raise ValueError(f"{value} is no place for a pod: an IPv4 network, /29 at least")
    return str(network)


def _timezone(value):
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise ValueError(f"{value!r} is no time zone, such as Europe/Berlin") from error
    return value


def _redirect(value):
    place = urllib.parse.urlsplit(value)
    if not place.scheme or place.fragment or any(one.isspace() or not one.isprintable() for one in value):
        raise ValueError(f"{value!r} is no address to come back to, such as https://app.example.org/callback")
    return value


def _verified(value):
    if value != "verify-full":
        raise ValueError(
            f"{value!r} is refused: without a look at the certificate and at the name in it, whoever stands between "
            "could read along; say verify-full"
        )
    return value


def _described(value):
    """Names by themselves, where each may have a description."""
    return dict.fromkeys(value, "") if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


def _size(value):
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _or(*short):
    """What editors are told where a value has further forms than the one that it is kept in."""
    return WithJsonSchema({"anyOf": list(short)})


DAY = 24 * 3600  # seconds
TIME = "^[0-9]+ ?(s|min|m|h|d)$"
Seconds = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(ge=1, le=DAY),
    _or({"type": "integer", "minimum": 1, "maximum": DAY}, {"type": "string", "pattern": TIME}),
]
Lifetime = Annotated[
    int,
    BeforeValidator(_seconds),
    Field(ge=60, le=365 * DAY),
    _or({"type": "integer", "minimum": 60, "maximum": 365 * DAY}, {"type": "string", "pattern": TIME}),
]
Text = Annotated[str, StringConstraints(pattern=TEXT)]
Words = Annotated[
    list[Annotated[str, StringConstraints(pattern=TEXT)]],
    BeforeValidator(_words),
    _or({"type": "string"}, {"type": "array", "items": {"type": "string", "pattern": TEXT}}),
]
Size = Annotated[
    str,
    BeforeValidator(_size),
    StringConstraints(pattern=SIZE),
    _or({"type": "integer", "minimum": 1}, {"type": "string", "pattern": SIZE}),
]
Port = Annotated[int, Field(ge=1, le=65535)]
Path_ = Annotated[str, StringConstraints(pattern=PATH)]
MountPath = Annotated[str, StringConstraints(pattern=MOUNT)]
UrlPath = Annotated[str, StringConstraints(pattern=URL_PATH)]
CaddyFile = Annotated[str, StringConstraints(pattern=CADDY_FILE)]
Name = Annotated[str, StringConstraints(pattern=PART_NAME)]
Capability = Annotated[str, StringConstraints(pattern=CAPABILITY)]
VariableName = Annotated[str, StringConstraints(pattern=VARIABLE)]
SecretName = Annotated[str, StringConstraints(pattern=SECRET_NAME)]
DatabaseName = Annotated[str, StringConstraints(pattern=DATABASE_NAME)]
Domain = Annotated[str, StringConstraints(pattern=DOMAIN, max_length=253)]
Environment = Annotated[
    dict[VariableName, str],
    BeforeValidator(_environment),
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {VARIABLE: {"type": ["string", "number", "boolean"]}},
            "additionalProperties": False,
        }
    ),
]


class Model(BaseModel):
    """Unknown keys and wrong types are errors: a misspelt key would silently leave its default in force."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Misfit(ValueError):
    """What does not fit together within an entry: ``(place, text, keys that it was judged by)`` for each."""

    def __init__(self, problems):
        super().__init__("; ".join(f"{place}: {text}" for place, text, _ in problems))
        self.problems = problems


class Resources(Model):
    """What a container may use of the host."""

    memory: Size | None = Field(None, description="Memory limit, for example `512M`.")
    # The kernel counts no shorter time than a hundredth of a processor's.
    cpus: Annotated[float, BeforeValidator(_number)] | None = Field(
        None, ge=0.01, le=1024, allow_inf_nan=False, description="Processors, for example `1.5`.", strict=False
    )
    pids: int | None = Field(None, ge=1, description="Processes and threads.")


class Health(Model):
    """How to tell that it works. The run waits for it."""

    path: UrlPath | None = Field(None, description="Path that answers 2xx or 3xx over HTTP at the service's `port`.")
    command: Words | None = Field(None, description="Command in the container that ends with exit code 0.")
    interval: Seconds = Field(30, description="Time between two runs of the command.")
    command_timeout: Seconds = Field(10, description="What one run of the command may take.")
    retries: int = Field(3, ge=1, le=100, description="Failures in a row that make it unhealthy.")
    timeout: Seconds = Field(120, description="How long a run waits for the service to become healthy.")


class Container(Model):
    """One container. At the top of an entry these keys hold for all its containers that do not say otherwise."""

    image: Annotated[str, AfterValidator(_image)] | None = Field(
        None, description="Image with tag or digest, for example `ghcr.io/org/app:1.2`."
    )
    allow_latest: bool = Field(False, description="Accept an image without a tag, or with the tag `latest`.")
    pull: Literal["missing", "always", "newer", "never"] = Field(
        "missing", description="When the image is fetched. Images of `localhost/` never are."
    )
    registry_auth: SecretName | None = Field(
        None, description="Name of the secret with the credentials for the registry, as in containers-auth.json(5)."
    )
    command: Annotated[Words, AfterValidator(_fit_for_exec)] | None = Field(
        None, description="Command instead of the image's: a list, or one line."
    )
    entrypoint: Words | None = Field(None, description="Entry point instead of the image's.")
    env: Environment = Field(
        default_factory=dict,
        description="Environment. Values may hold placeholders such as `{postgres.url}`; all else arrives unchanged.",
    )
    user: Literal["service", "image"] | Annotated[int, Field(ge=1, le=2**31)] = Field(
        "service", description="Whose uid it runs with: the service's user, whatever the image says, or a number."
    )
    sockets: Literal["auto", "group", "private", "none"] = Field(
        "auto",
        description="Way to the databases' sockets. `group` needs the service's user and no capability; "
        "`private` works with any image; `auto` takes the first that is safe.",
    )
    health: Annotated[Health | None, _option("path")] = Field(
        None, description="How to tell that it works.", json_schema_extra={"short": {"type": "string"}}
    )
    resources: Resources = Field(default_factory=Resources, description="Limits.")  # type: ignore[arg-type]
    tmpfs: list[MountPath] = Field(
        ["/tmp"],  # noqa: S108 - a mount point in the container
        description="Directories in memory, writable although the root is not.",
    )
    capabilities: list[Capability] = Field([], description="Capabilities it keeps; all others are dropped.")
    read_only: bool = Field(True, description="The image's files cannot be changed.")
    new_privileges: bool = Field(False, description="Programs may gain privileges (setuid).")
    stop_signal: Annotated[str, StringConstraints(pattern=SIGNAL)] | None = Field(
        None, description="Signal that ends it, for example `SIGINT`."
    )
    stop_timeout: Seconds = Field(10, description="Time between that signal and SIGKILL.")
    start_timeout: Seconds = Field(300, description="systemd's TimeoutStartSec.")


class Timer(Container):
    """A one-shot container that systemd starts by the clock."""

    schedule: Annotated[str, StringConstraints(pattern=SCHEDULE)] = Field(
        description="When, as in systemd.time(7): `daily`, `Mon *-*-* 04:00:00`."
    )
    persistent: bool = Field(True, description="What was missed while the host was off is made up for.")


class Postgres(Model):
    """A database of the host's PostgreSQL, or of one elsewhere."""

    host: Annotated[str, StringConstraints(pattern=SERVER)] | None = Field(
        None, description="Another host's PostgreSQL, by its name in `rick:postgresql:servers`. Default: this host's."
    )
    tls: Annotated[Literal["verify-full"], BeforeValidator(_verified)] = Field(
        "verify-full",
        description="With `host`: its certificate and the name in it are checked. There is no other choice.",
    )
    database: DatabaseName | None = Field(None, description="Name of the database. Default: the service's.")
    extensions: list[Annotated[str, StringConstraints(pattern=EXTENSION)]] = Field(
        [], description="Extensions, for example `[pg_trgm]`."
    )
    locale: Annotated[str, StringConstraints(pattern=LOCALE)] = Field(
        "C.UTF-8", description="Locale of a new database; made on the host if it is missing."
    )
    connection_limit: int = Field(20, ge=1, le=10000, description="Connections at once.")
    auth: Literal["peer", "scram"] = Field(
        "peer",
        description="`peer`: the kernel says who connects. `scram`: with a password, for drivers that insist; "
        "the default with `host`.",
    )
    readonly_roles: list[DatabaseName] = Field([], description="Further roles that may read everything in it.")
    readonly_connection_limit: int = Field(5, ge=1, le=10000, description="Connections at once, of each of them.")

    @model_validator(mode="before")
    @classmethod
    def _leaves_the_server_to_the_settings(cls, data):
        told = [key for key in OF_A_SERVER if isinstance(data, dict) and key in data]
        if told:
            text = "is the same for all services of a server; say it at rick:postgresql:servers:{}:{}"
            raise Misfit([(key, text.format(data.get("host", "HOST"), key), ()) for key in told])
        return data

    @model_validator(mode="after")
    def _fits_its_place(self):
        if self.host is None:
            if "tls" in self.model_fields_set:
                raise Misfit([("tls", "means nothing on the host's own socket; say host: too", ("host",))])
            return self
        if "auth" in self.model_fields_set and self.auth == "peer":
            text = "no kernel says on another host who connects; leave it out, and a password is made (scram)"
            raise Misfit([("auth", text, ("host",))])
        self.auth = "scram"
        return self


class Valkey(Model):
    """A part of the host's Valkey, or an instance."""

    isolation: Literal["prefix", "instance"] = Field(
        "prefix", description="`prefix`: keys that begin with `NAME:`. `instance`: a Valkey of its own."
    )
    prefix: Annotated[str, StringConstraints(pattern=PREFIX)] | None = Field(
        None, description="Default: the service's name and a colon."
    )
    commands: list[Annotated[str, StringConstraints(pattern=ACL_RULE)]] = Field(
        [], description="Commands and categories more or less, for example `[+scan]`."
    )
    memory: int | None = Field(None, ge=1, description="MiB, of an instance.")
    database: int = Field(0, ge=0, le=15, description="Numbered database; others than 0 take an instance.")

    @model_validator(mode="after")
    def _only_an_instance(self):
        shared = self.isolation == "prefix"
        problems = []
        if shared and self.memory is not None:
            problems.append(("memory", "the shared Valkey cannot limit one user; say isolation: instance"))
        if shared and self.database != 0:
            text = "a prefix keeps users apart, numbered databases do not; say isolation: instance"
            problems.append(("database", text))
        if not shared and self.prefix is not None:
            problems.append(("prefix", "an instance has no other users; leave it out"))
        if problems:
            raise Misfit([(place, text, ("isolation",)) for place, text in problems])
        return self


class Secret(Model):
    """Where a secret comes from, and how it reaches the containers."""

    length: int | None = Field(None, ge=16, le=4096, description="Characters of a generated one. Default: 43.")
    alphabet: Literal["urlsafe", "hex", "letters", "digits", "alphanumeric"] | None = Field(
        None, description="Characters of a generated one. Default: `urlsafe`."
    )
    pillar: Annotated[str, StringConstraints(pattern=PILLAR_KEY)] | None = Field(
        None, description="Taken from the pillar instead, for example `smtp:password`; `sdb://` addresses are resolved."
    )
    file: Path_ | None = Field(None, description="Taken from a file of the host instead, which only root can read.")
    mount: MountPath | None = Field(
        None, description="Show it to all containers as this file. Without it, only `{secret.NAME}` delivers it."
    )

    @model_validator(mode="after")
    def _one_source(self):
        generated = self.length is not None or self.alphabet is not None
        if sum([generated, self.pillar is not None, self.file is not None]) > 1:
            text = "it is generated (length, alphabet), or taken from the pillar, or from a file: say one of them"
            raise Misfit([("", text, ())])
        return self


class Volume(Model):
    """A directory of the service, `/opt/NAME/VOLUME` on the host."""

    path: MountPath = Field(description="Where the containers see it.")
    read_only: bool = Field(False, description="They cannot change it.")
    owner: Annotated[int, Field(ge=0, le=2**31)] | None = Field(
        None, description="Uid it belongs to, for images that bring their own. Default: the service's user."
    )


class Bind(Model):
    """A directory or file of the host elsewhere than below `/opt/NAME`."""

    source: MountPath = Field(description="Path on the host.")
    path: MountPath = Field(description="Where the containers see it.")
    read_only: bool = Field(True, description="They cannot change it.")


class Publish(Model):
    """A port that is reached past Caddy."""

    port: Port = Field(description="Port in the pod.")
    host_port: Port = Field(description="Port on the host.")
    address: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1", description="Address on the host; `0.0.0.0` for all."
    )
    protocol: Literal["tcp", "udp"] = Field("tcp", description="`tcp` or `udp`.")


class OwnCertificate(Model):
    """A certificate from elsewhere."""

    certificate: CaddyFile = Field(description="Path of the chain, PEM.")
    key: CaddyFile = Field(description="Path of the key, PEM, readable for the group caddy only.")


class Site(Model):
    """How Caddy shows the service to the world."""

    domains: Annotated[list[Domain], BeforeValidator(_one_or_many), Field(min_length=1)] = Field(
        description="Names the site answers for: a list, or one.", json_schema_extra={"short": {"type": "string"}}
    )
    tls: Literal["internal", "acme"] | OwnCertificate = Field(
        "internal",
        description="`internal`: by Caddy's own authority. `acme`: by a public one. Or your own certificate.",
    )
    directives: Text = Field("", description="Further lines for the site, as in a Caddyfile.")
    public_paths: list[UrlPath] = Field([], description="Paths that stay open when the site asks for a login.")
    max_body: Annotated[str, BeforeValidator(_size), StringConstraints(pattern=BODY_SIZE)] | None = Field(
        None, description="Largest request, for example `10MB`."
    )


class Hours(Model):
    """When users may log in."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], min_length=1, description="Those on which the hours begin."
    )
    start: Annotated[str, StringConstraints(pattern=CLOCK)] = Field(description='For example `"08:00"`.')
    end: Annotated[str, StringConstraints(pattern=CLOCK)] = Field(
        description='For example `"18:00"`. Before `start`, it is on the next day.'
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = Field("UTC", description="For example `Europe/Berlin`.")

    @model_validator(mode="after")
    def _some_time(self):
        if self.start == self.end:
            raise Misfit(
                [("end", "is the start: no time, or all of it? For all of it, leave the hours out", ("start",))]
            )
        return self


class Policies(Model):
    """What has to hold besides the group. All of it has to."""

    hours: Hours | None = Field(None, description="Hours of the week.")
    networks: Annotated[list[Annotated[str, AfterValidator(_network)]], BeforeValidator(_one_or_many)] = Field(
        [],
        description="Where users come from: a list of networks, or one.",
        json_schema_extra={"short": {"type": "string"}},
    )


# What each pattern has besides what all have.
PATTERNS: dict[str, tuple[str, ...]] = {
    "forward_auth": ("lifetime", "consent", "logout"),
    "oauth2": (
        *("lifetime", "consent", "logout", "client", "redirect_paths", "redirect_uris", "scopes", "offline_access"),
        *("claims_in_id_token", "issuer_mode", "sub_mode", "logout_uri", "logout_method"),
    ),
    "api": ("lifetime", "scopes", "clients"),
    "none": (),
}


class Auth(Model):
    """How users, or programs, log in."""

    pattern: Literal["forward_auth", "oauth2", "api", "none"] = Field(
        description="`forward_auth`: Caddy asks Authentik, the service gets the user in headers. `oauth2`: the service "
        "speaks OpenID Connect. `api`: it checks the tokens of programs. `none`: no login."
    )
    title: Annotated[str, StringConstraints(pattern=LINE, min_length=1, max_length=100)] | None = Field(
        None, description="What users read. Default: the service's name."
    )
    groups: Annotated[list[Annotated[str, StringConstraints(pattern=ROLE)]], AfterValidator(_once_each)] = Field(
        ["admins", "readonly"],
        description="Groups below `NAME_users`, for what the service itself distinguishes: `admins` is `NAME_admins`.",
    )
    policies: Policies = Field(default_factory=Policies, description="What has to hold besides the group.")  # type: ignore[arg-type]
    consent: Literal["implicit", "explicit"] = Field(
        "implicit", description="Whether users are asked before the service learns who they are."
    )
    lifetime: Lifetime | None = Field(
        None, description="How long a login (`forward_auth`) or an access token lasts. Default: Authentik's."
    )
    client: Literal["confidential", "public"] = Field(
        "confidential", description="`public`: what runs at the user's and can keep no secret; PKCE is its protection."
    )
    redirect_paths: Annotated[list[UrlPath], BeforeValidator(_one_or_many)] = Field(
        [],
        description="Paths of the site where users come back to, at each of its domains: a list, or one.",
        json_schema_extra={"short": {"type": "string"}},
    )
    redirect_uris: list[Annotated[str, AfterValidator(_redirect)]] = Field(
        [], description="Addresses elsewhere where users come back to. They have to match exactly."
    )
    scopes: Annotated[
        dict[Annotated[str, StringConstraints(pattern=SCOPE)], Annotated[str, StringConstraints(pattern=LINE)]],
        BeforeValidator(_described),
    ] = Field(
        {},
        description="Scopes of the service's own, with what users read about each: a mapping, or a list.",
        json_schema_extra={"short": {"type": "array", "items": {"type": "string"}}},
    )
    offline_access: bool = Field(False, description="Refresh tokens are given out.")
    claims_in_id_token: bool = Field(True, description="All claims are in the ID token, too.")
    issuer_mode: Literal["per_provider", "global"] = Field(
        "per_provider", description="Whether the issuer is the service's own, or one for all."
    )
    sub_mode: Literal["hashed_user_id", "user_id", "user_uuid", "user_username", "user_email", "user_upn"] = Field(
        "hashed_user_id", description="What the claim `sub` is."
    )
    logout: Literal["everywhere", "service"] = Field(
        "everywhere", description="Whether a logout ends the login at Authentik, too, or at this service only."
    )
    logout_uri: Annotated[str, AfterValidator(_redirect)] | None = Field(
        None, description="What Authentik tells of a logout."
    )
    logout_method: Literal["backchannel", "frontchannel"] = Field(
        "backchannel", description="Whether it tells that itself, or the browser does."
    )
    clients: Annotated[list[Name], AfterValidator(_once_each)] = Field(
        [], description="Programs with an account of their own, `NAME-CLIENT`, in `NAME_users`."
    )

    @model_validator(mode="after")
    def _fits_its_pattern(self):
        own = PATTERNS[self.pattern]
        everywhere = {"pattern", "title", "groups", "policies"} if self.pattern != "none" else {"pattern"}
        problems: list[tuple[str, str, tuple[str, ...]]] = [
            (key, f"means nothing with pattern: {self.pattern}", ("pattern",))
            for key in sorted(self.model_fields_set - everywhere - set(own))
        ]
        if self.pattern == "oauth2" and not self.redirect_paths and not self.redirect_uris:
            text = "users would have nowhere to come back to; say redirect_paths: and the path of the site"
            problems.append(("", text, ("redirect_paths", "redirect_uris")))
        if "users" in self.groups:
            problems.append(("groups", "users is there anyway", ()))
        if problems:
            raise Misfit(problems)
        return self


class Entry(Container):
    """A service. Only `image` is required."""

    description: Annotated[str, StringConstraints(pattern=LINE, max_length=200)] = Field(
        "", description="What it is, for people."
    )
    state: Literal["present", "stopped", "absent"] = Field("present", description="Whether it runs, or is to be gone.")
    data: Literal["keep", "archive", "delete"] = Field(
        "keep", description="With `absent`: what becomes of database, keys and files."
    )
    needs: Annotated[list[str], BeforeValidator(_one_or_many), AfterValidator(_once_each)] = Field(
        [],
        description="Services that are healthy before this one starts: a list, or one name.",
        json_schema_extra={"short": {"type": "string"}},
    )
    cells: Annotated[
        list[Annotated[str, StringConstraints(pattern=HOSTS)]],
        BeforeValidator(_one_or_many),
        AfterValidator(_once_each),
    ] = Field(
        [],
        description="In a fleet, required: the cells that run it, minion ids or patterns of them: a list, or one.",
        json_schema_extra={"short": {"type": "string"}},
    )
    uid: Annotated[int, Field(ge=100, le=60000)] | None = Field(None, description="Uid of the service's user.")
    containers: dict[Name, Container] = Field(
        {}, description="Several containers in one pod, by name. Without it, there is one called `web`."
    )
    init: Container | None = Field(None, description="One-shot container that must succeed before the others start.")
    timers: dict[Name, Timer] = Field({}, description="Containers that systemd starts by the clock, by name.")
    shm_size: Size | None = Field(None, description="Size of the pod's /dev/shm.")
    port: Port | None = Field(None, description="Port inside the pod where it speaks HTTP.")
    host_port: Port | None = Field(
        None, description="Port on the host's loopback. Default: one that is allocated and stays."
    )
    publish: list[Publish] = Field([], description="Further ports.")
    postgres: Annotated[Postgres | None, _option("database")] = Field(
        None, description="A database.", json_schema_extra={"short": {"type": ["boolean", "string"]}}
    )
    valkey: Annotated[Valkey | None, _option("isolation")] = Field(
        None, description="A part of Valkey.", json_schema_extra={"short": {"type": ["boolean", "string"]}}
    )
    secrets: dict[SecretName, Annotated[Secret, _option("")]] = Field(
        {}, description="Secrets by name; `true` generates one.", json_schema_extra={"short_values": {"const": True}}
    )
    volumes: dict[Name, Annotated[Volume, _option("path")]] = Field(
        {},
        description="Directories by name: where the containers see each.",
        json_schema_extra={"short_values": {"type": "string"}},
    )
    binds: list[Bind] = Field([], description="Directories elsewhere on the host. Takes `allow_binds: true`.")
    allow_binds: bool = Field(False, description="Open directories outside `/opt/NAME` to the containers.")
    site: Annotated[Site | None, _option("domains")] = Field(
        None, description="Its site.", json_schema_extra={"short": {"type": ["string", "array"]}}
    )
    rollback: bool = Field(True, description="A change that does not become healthy is taken back.")
    subnet: Annotated[str, AfterValidator(_subnet)] | None = Field(
        None, description="IPv4 network of the pod, such as `10.89.200.0/29`. Default: one that Podman chooses."
    )
    auth: Annotated[Auth | None, _option("pattern")] = Field(
        None,
        description="How users log in; takes Authentik on this host.",
        json_schema_extra={"short": {"type": "string"}},
    )

    @model_validator(mode="after")
    def _parts_fit(self):
        problems = [
            *self._name_problems(),
            *self._port_problems(),
            *self._container_problems(),
            *self._login_problems(),
        ]
        if self.state != "absent":
            problems += self._image_problems()
        if self.binds and not self.allow_binds:
            text = "opens the host's files to the service; say allow_binds: true if that is meant"
            problems.append(("binds", text, ("allow_binds",)))
        if problems:
            raise Misfit(problems)
        return self

    def further_containers(self):
        """Return the containers below the top, each with its place in the entry."""
        found = [(f"containers:{name}", one) for name, one in self.containers.items()]
        found += [("init", self.init)] if self.init else []
        return found + [(f"timers:{name}", one) for name, one in self.timers.items()]

    def _name_problems(self):
        for key, names, reserved, text in (
            ("containers", self.containers, RESERVED_CONTAINERS, "the tree itself calls a part of each service so"),
            ("timers", self.timers, RESERVED_CONTAINERS, "the tree itself calls a part of each service so"),
            ("secrets", self.secrets, RESERVED_SECRETS, "one that the tree itself makes is called so"),
        ):
            yield from ((f"{key}:{name}", text, ()) for name in names if name in reserved)
        # An only container is called web.
        taken = self.containers or ("web",)
        yield from ((f"timers:{name}", "a container has that name", ()) for name in self.timers if name in taken)

    def _port_problems(self):
        if self.port is not None:
            return
        text = "there is no port to {}; say port: and the port inside the pod"
        if self.site:
            yield "site", text.format("show"), ("port",)
        if self.host_port:
            yield "host_port", text.format("publish"), ("port",)
        if self.health and self.health.path:
            yield "health:path", text.format("ask"), ("port",)

    def _container_problems(self):
        if self.containers:
            text = "which container's? Write it to containers:NAME:{}"
            for key in ("command", "entrypoint"):
                if getattr(self, key) is not None:
                    yield key, text.format(key), ("containers",)
            if self.health and self.health.command is not None:
                yield "health:command", text.format("health:command"), ("containers",)
        for place, one in self.further_containers():
            if one.health and one.health.path:
                yield f"{place}:health:path", "the pod has one path for all; write it to health:path", ()

    def _login_problems(self):
        if self.auth is None:
            return
        if self.auth.pattern != "forward_auth" and not self.auth.redirect_paths:
            return
        if self.site is None:
            yield "auth", "users come by the site; say site: and its domain", ("site",)
        elif any(domain.startswith("*.") for domain in self.site.domains):
            yield "auth", "a login has to know each domain; name them instead of a wildcard", ("site",)

    def _image_problems(self):
        """Each container has an image, its own or the one for all, and that has a fixed version."""
        further = self.further_containers()
        if self.image is None and not self.containers:
            return [("image", "required, such as ghcr.io/org/app:1.2", ("containers",))]
        problems = [
            (f"{place}:image", "required: there is none for the whole service either", ("image",))
            for place, one in further
            if one.image is None and self.image is None
        ]
        for place, image, allowed in [
            ("image", self.image, self.allow_latest),
            *((f"{place}:image", one.image, one.allow_latest or self.allow_latest) for place, one in further),
        ]:
            found = IMAGE.fullmatch(image or "")
            if found and not found["digest"] and found["tag"] in (None, LATEST) and not allowed:
                text = (
                    f"{image} has no fixed version: it would change by itself, and nothing could be rolled back; "
                    "name a tag or digest, or say allow_latest: true"
                )
                problems.append((place, text, ("allow_latest",)))
        return problems


# What an init container or a timer's does not take over from the top of the entry.
OWN = ("command", "entrypoint", "health")


def complete(data):
    """
    Return an entry with every default filled in, as plain data, and what is wrong with it.

    data
        What the file holds.

    Returns ``(entry, problems)``: ``entry`` is None if there are problems,
    each ``{"path", "kind", "text", "given", "context"}`` with the path as
    pydantic reports it and its name of the kind; ``misfit`` is ours. People
    read what ``catalogue_errors`` makes of them.

    In ``entry``, every container is complete: those of ``containers`` (an only
    one is called ``web``, and ``single`` says so), ``init`` and those of
    ``timers``. The order of keys in a file means nothing, so there is none: names are sorted.
    """
    try:
        entry = Entry.model_validate(data)
    except ValidationError as error:
        return None, [problem for one in error.errors(include_url=False) for problem in _problems(one)]
    plain = entry.model_dump()
    top = {key: plain[key] for key in Container.model_fields}
    parts = entry.containers or {"web": entry}
    plain["containers"] = {
        name: dict(top) if one is entry else _inherited(top, one, OWN) for name, one in parts.items()
    }
    plain["single"] = not entry.containers
    plain["init"] = _inherited(top, entry.init, OWN) if entry.init else None
    plain["timers"] = {name: _inherited(top, one, OWN) for name, one in entry.timers.items()}
    return _sorted(plain), []


def _problems(error):
    """Pydantic's errors as they are, ours one by one."""
    context = error.get("ctx", {})
    misfit = context.get("error")
    if isinstance(misfit, Misfit):
        for place, text, judged_by in misfit.problems:
            path = (*error["loc"], *(place.split(":") if place else ()))
            yield {"path": path, "kind": "misfit", "text": text, "given": None, "context": {"judged_by": judged_by}}
        return
    yield {
        "path": error["loc"],
        "kind": error["type"],
        "text": error["msg"].removeprefix("Value error, "),
        "given": error["input"],
        "context": {key: value for key, value in context.items() if key != "error"},
    }


def _sorted(value):
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value


def _inherited(top, container, own):
    """A container's settings: its own, and the entry's where it says nothing; environments are merged."""
    said = container.model_dump()
    complete_ = {
        key: value if key in container.model_fields_set or key in own or key not in top else top[key]
        for key, value in said.items()
    }
    complete_["env"] = {**top["env"], **said["env"]}
    return complete_


def forms():
    """
    Return what each pattern means to a person, ``{pattern: words}``.
    """
    return FORMS


def known_keys(path):
    """
    Return the keys that a mapping of the entry may have, for suggestions.

    path
        Tuple of keys that leads to the mapping, as pydantic reports it.
    """
    model: Any = Entry
    for step in path:
        field = model.model_fields.get(step) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is not None:
            model = _model_in(field.annotation)
        # A name or an index stays in the model of its mapping or list.
    return list(model.model_fields) if model is not None else []


def is_free(path):
    """
    Return whether what stands below a path of an entry has names of its own choice: containers, variables, and so on.

    path
        Tuple of keys, of an entry that is valid.
    """
    model: Any = Entry
    free = False
    for step in path:
        if free:
            free = False
            continue
        field = model.model_fields.get(step) if model is not None else None
        if field is None:
            return True
        model = _model_in(field.annotation)
        free = _is_mapping(field.annotation) or model is None
    return free


def _is_mapping(annotation):
    inner = getattr(annotation, "__args__", ())
    return getattr(annotation, "__origin__", None) in (dict, list) or any(map(_is_mapping, inner))


def _model_in(annotation):
    """The model that an annotation holds, if it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found:
            return found
    return None


def json_schema():
    """
    Return the JSON Schema (draft 2020-12) of an entry, short forms included, for editors and other tools.
    """
    schema = Entry.model_json_schema()
    for model in [schema, *schema["$defs"].values()]:
        for name, field in list(model["properties"].items()):
            short, values = field.pop("short", None), field.pop("short_values", None)
            if short:
                about = {key: field.pop(key) for key in ("description", "default") if key in field}
                model["properties"][name] = {**about, "anyOf": [short, *field.get("anyOf", [field])]}
            if values:
                # Where the names have a pattern, each pattern leads to the schema of the values.
                by_name = field.get("patternProperties") or field
                for key in field.get("patternProperties") or ["additionalProperties"]:
                    by_name[key] = {"anyOf": [values, by_name[key]]}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A service of rick-infra"
    return schema
