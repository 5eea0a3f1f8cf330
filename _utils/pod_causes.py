"""
Why a service is not healthy: what is likely, and which key of its entry changes it.

The defaults are strict, so an image that was not made for them fails in ways
that are well known. This is the table of those ways.
"""

import re
from urllib.parse import quote

LONGEST_LINE = 300  # characters that are shown of a logged line, and searched for causes
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LEAST_SECRET = 4  # characters; shorter ones would be found everywhere

# Pattern in what was logged, likely cause, and the switch. The first three that fit are shown.
CAUSES = (
    (
        r"read-only file ?system|\bEROFS\b|\[Errno 30\]",
        "it writes where its root is read-only",
        "list the path in tmpfs (lost at each restart) or volumes (kept), or say read_only: false",
    ),
    (
        r"unknown capability",
        "it is to keep a capability that there is not",
        "capabilities: names as in capabilities(7), such as CHOWN",
    ),
    (
        r"exec format error",
        "the image was made for another kind of processor",
        "image: one that is made for this host's",
    ),
    (
        r"executable file .*not found|exec:? .*(not found|no such file)|crun: .*(not found|no such file).*exec"
        r"|can't open file .*no such file",
        "the program that it is told to run is not in the image",
        "command, entrypoint (or image)",
    ),
    (
        r"out of memory|oom-kill|\boom\b|cannot allocate memory|memoryerror|java\.lang\.outofmemoryerror",
        "it needs more memory than it may have",
        "resources: {memory: ...}",
    ),
    (
        r"opening file .?(memory|pids|cpu|cpuset|io)\..*(no such file|not found)|requested cgroup controller"
        r"|controller .?\w+.? is not available",
        "this host's kernel does not limit that (boot with cgroup_enable=memory, or a container around)",
        "take resources out, or have the host's control groups changed",
    ),
    (
        r"address already in use|port is already allocated|\bEADDRINUSE\b",
        "a port is taken, on the host or by another container of the pod",
        "host_port or publish (on the host: ss -ltnp), port and env (in the pod)",
    ),
    (
        r"(bind|listen).*permission denied|permission denied.*(bind|listen|:80\b|:443\b)",
        "only root may listen on ports below 1024",
        "port: one above 1023, with the image's setting for it in env; or capabilities: [NET_BIND_SERVICE]",
    ),
    (
        r"setgid|setuid|setgroups|initgroups|su-exec|gosu|setpriv|must be (run|started) as root|chown|"
        r"can only be run by root|not running as root",
        "the image expects to start as root and to become another user by itself",
        "user: image, and capabilities: [CHOWN, SETUID, SETGID] as far as it needs them (sockets are private then)",
    ),
    (
        r"unable to find user|no matching entries in passwd|getpwuid|uid not found|no such user"
        r"|cannot find name for user",
        "the user that it runs as is unknown in the image",
        "user: image, or a number that the image knows",
    ),
    (
        r"password authentication failed|peer authentication failed|role .* does not exist|\bWRONGPASS\b|\bNOAUTH\b",
        "a database does not take it for this service",
        "env: {postgres.url} and {valkey.url} name role and password; postgres: {auth: ...} if it has to send one",
    ),
    (
        r"\bNOPERM\b",
        "Valkey refuses a command or a key outside the service's prefix",
        "valkey: {commands: [...]} or valkey: {isolation: instance}",
    ),
    (
        r"(\.s\.pgsql|valkey\.sock|redis\.sock|/run/(postgresql|valkey)).*(no such file|refused)"
        r"|(no such file|refused).*(\.s\.pgsql|valkey\.sock|/run/(postgresql|valkey))"
        r"|could not connect to server|connection to server .* failed",
        "it does not reach a database",
        "postgres: true, valkey: true and the placeholders in env (salt-call verify.service NAME shows what is there)",
    ),
    (
        r"operation not permitted|permission denied|\bEPERM\b|\bEACCES\b|\[Errno 1(3)?\]",
        "it does what its user may not do",
        "volumes for what it writes, with owner: UID if it runs as another; capabilities: [...]; or user: image, "
        "if the image brings a user of its own",
    ),
    (
        r"manifest unknown|unauthorized|authentication required|unable to (pull|copy)|error initializing source"
        r"|no such image|image not known|name unknown",
        "its image cannot be had",
        "image; registry_auth for a registry that wants credentials",
    ),
    (
        r"health.?check|unhealthy|its health command has not succeeded",
        "its health command fails",
        "health: {command: ...} (try it: podman exec CONTAINER COMMAND)",
    ),
    (
        r"the init container has not succeeded",
        "the init container fails, and the others wait for it",
        "init: {command: ...}",
    ),
    (r"start-limit-hit", "it failed too often in a short time", "what it logged before"),
)
NOISE = re.compile(
    r"conmon [0-9a-f]+ <|\d{4}-\d\d-\d\d \S+ \S+ \S+ m=\+\S+ (container|image|pod|volume|network|secret) |[0-9a-f]{64}$"
    r"|\S+\.service: Killing process \d+ \("
)
RESULTS = {
    "oom-kill": "out of memory",
    "start-limit-hit": "start-limit-hit",
}
ENDED = (
    re.compile(r"main process exited, code=|deactivated successfully.*\n.*scheduled restart job", re.IGNORECASE),
    ("the program ends by itself", "command, entrypoint, env (it must stay in the foreground)"),
)
TIMED_OUT = ("it was not ready in time", "start_timeout (and health: {command: ...} if it has one)")
UNREACHED = (
    "nothing answers on its port",
    "port: the one on which it listens in the pod, and on 0.0.0.0 there, not on 127.0.0.1",
)
ANSWERS = {
    "4": ("its health path is not one that anybody may get", "health: {path: ...}"),
    "5": ("it answers, and has an error of its own", "what it logs says more"),
}


def likely(said, results=(), url=None):
    """
    Return what is likely, at most three sentences, the most telling first; none if nothing fits.

    said
        Text that the service and systemd logged.

    results
        systemd's ``Result`` of units, for example ``oom-kill``.

    url
        What is wrong with the HTTP answer: a status (``404``), or text; None if nothing is.
    """
    text = "\n".join([said, *(RESULTS.get(result, "") for result in results)])
    found = [(cause, switch) for pattern, cause, switch in CAUSES if re.search(pattern, text, re.IGNORECASE)]
    if "timeout" in results:
        found.append(TIMED_OUT)
    ended, why = ENDED
    if not found and ended.search(text):
        found.append(why)
    if url is not None:
        found.append(ANSWERS.get(str(url)[:1], UNREACHED) if str(url).isdigit() else UNREACHED)
    return [f"{cause}; in its entry: {switch}" for cause, switch in dict.fromkeys(found)][:3]


def own_lines(text):
    """
    Return the lines of a journal without what Podman, its monitor and systemd log of each start and end.

    What a service wrote is shown on root's terminal, which must not obey it: characters that control are replaced.
    Long lines are cut. So secrets have to be blotted out before, not after.
    """
    lines = [line[:LONGEST_LINE] for line in text.splitlines() if line.strip() and not NOISE.match(line)]
    return [printable(line.expandtabs()) for line in lines]


def printable(text):
    """
    Return a text in which all characters are replaced that control a terminal, but line breaks and tabs.
    """
    return "".join(one if one.isprintable() or one in "\n\t" else REPLACEMENT for one in text)


def without(text, values):
    """
    Return a text in which secret values have been blotted out, also as they stand in a URL.

    values
        A list of bytes.
    """
    known = {value.decode(errors="replace").strip() for value in values}
    known |= {line for value in known for line in value.splitlines()}
    known |= {quote(value, safe="") for value in known}  # as secret_values encodes it
    for value in sorted(known, key=len, reverse=True):
        if len(value) >= LEAST_SECRET:
            text = text.replace(value, "**********")
    return text
