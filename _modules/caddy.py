"""
Caddy: its sites, what it runs, and how to change both without a restart.

Its files are ``/etc/caddy/Caddyfile`` and one file a service in
``/etc/caddy/sites-enabled``. A change is tried on a copy of all of them, as
the user ``caddy``; then the running Caddy gets it; only then the file is
written. What Caddy refuses never reaches a file, and a run that dies in
between is noticed by the next: what runs is not what the files say.
"""

import contextlib
import grp
import json
import os
import re
import stat
import subprocess
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

MAIN = "Caddyfile"
OURS = "# Managed by Salt (salt/infra/caddy)"
UNIT = "caddy.service"
# What the files mean in Caddy's JSON, as a digest, which spares asking Caddy's adapter at each run; and digests of the
# certificates that Caddy has read. It can be lost.
MEMORY = "/var/lib/rick-infra/caddy.json"
AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
# What this host trusts (package ca-certificates), and that with its own authority, in a directory that containers get.
PUBLIC_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
AUTHORITIES = "/etc/caddy/authorities/ca-certificates.crt"
DPKG_TIMEOUT = 60  # seconds
FILE_MODE = 0o644  # of a site's file, root:caddy
CONTEXT = "caddy.Caddyfile"  # what this run has made, or would make, of the Caddyfile
PLANNED = "caddy.planned"  # what this run would make of sites, {name below /etc/caddy: text or None}


def status():
    """
    Return how Caddy stands: ``{"answers": bool, "current": bool or None}``.

    ``answers``: its admin API listens. ``current``: what it runs is what its
    files say; None if it does not answer.

    Raises CommandExecutionError if the files make no configuration, in Caddy's words.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.status
    """
    if not __utils__["caddy_admin.listens"]():
        return {"answers": False, "current": None}
    return {"answers": True, "current": _runs(__utils__["caddy_files.read_all"]())}


def sites():
    """
    Return the sites in ``/etc/caddy/sites-enabled``, a list of ``{"file", "service", "domains"}``.

    ``service`` is None, and ``domains`` empty, for a file that this tree has not written.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.sites
    """
    return [
        {
            "file": __utils__["caddy_files.path"](name),
            "service": __utils__["caddy_site.owner"](text),
            "domains": __utils__["caddy_site.domains"](text),
        }
        for name, text in __utils__["caddy_files.read_all"]().items()
        if name.startswith("sites-enabled/")
    ]


def root_certificate(file=None):
    """
    Return the root certificate of this host's own authority, as PEM: what a browser must trust for ``tls: internal``.

    file
        Absolute path of a file to write it to as well, for taking it away. By default none.

    Raises CommandExecutionError if there is none yet; Caddy makes it for the first site that needs it.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.root_certificate file=/root/example-org.crt
    """
    text = __utils__["textfile.read"](AUTHORITY)
    if text is None:
        raise CommandExecutionError(
            f"{AUTHORITY} does not exist yet: Caddy makes it when it starts with a site that has tls: internal"
        )
    if file:
        __utils__["textfile.write"](file, text)
    return text


def authorities_differences(internal):
    """
    Return what is not so with the file of all authorities that containers may trust, ``{}`` if it is as it should be.

    internal
        Whether Caddy's own authority is one of them.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.authorities_differences internal=true
    """
    present = __utils__["textfile.read"](AUTHORITIES)
    if internal and __opts__.get("test") and __utils__["textfile.read"](AUTHORITY) is None:
        return {AUTHORITIES: {"old": None, "new": "all authorities"}}  # Caddy makes its own with the first site
    if present == _authorities(internal):
        return {}
    return {AUTHORITIES: {"old": None if present is None else "other authorities", "new": "all authorities"}}


def authorities_apply(internal):
    """
    Write the file of all authorities that containers may trust.

    internal
        As for ``caddy.authorities_differences``.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.authorities_apply internal=true
    """
    Path(AUTHORITIES).parent.mkdir(mode=0o755, exist_ok=True)
    __utils__["textfile.write"](AUTHORITIES, _authorities(internal))
    return True


def configuration_differences(text, check=True):
    """
    Return what would change for Caddy's own configuration to be as given, and for Caddy to run its files.

    text
        The Caddyfile.

    check
        Whether Caddy is asked if it accepts a text that differs, which takes a process.

    A Caddy that does not answer has nothing to load: it reads the files when it starts.

    Raises CommandExecutionError with Caddy's words if it does not accept the text.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.configuration_differences "$(cat /etc/caddy/Caddyfile)"
    """
    __context__[CONTEXT] = text
    path = __utils__["caddy_files.path"](MAIN)
    files = __utils__["caddy_files.read_all"]()
    changes = {}
    for folder in _missing_folders():
        changes[folder] = {"old": None, "new": "directory"}
    diff = __utils__["textfile.diff"](path, text)
    if diff:
        changes[path] = {"diff": diff}
        if check and __utils__["caddy_files.can_adapt"]():
            _check_main(_adapt({**files, MAIN: text}, validate=False))
        if MAIN in files and _is_foreign(files[MAIN]):
            changes[_backup(path)] = {"old": None, "new": f"{path} as it was"}
    if not diff and __utils__["caddy_admin.listens"]() and not _runs(files):
        changes["running"] = {"old": "another configuration than in the files", "new": "that of the files"}
    return changes


def configuration_apply(text):
    """
    Make Caddy's own configuration be as given, in the file and in a Caddy that runs.

    text
        The Caddyfile. One that neither we nor the package wrote is kept beside it.

    Raises CommandExecutionError with Caddy's words if it refuses; then nothing has changed.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.configuration_apply "$(cat /etc/caddy/Caddyfile)"
    """
    for folder in _missing_folders():
        Path(folder).mkdir(parents=True, mode=0o755)
    path = __utils__["caddy_files.path"](MAIN)
    present = __utils__["caddy_files.read_all"]().get(MAIN)
    if present not in (None, text) and _is_foreign(present):
        __utils__["textfile.write"](_backup(path), present)
    _change({MAIN: text}, needs_caddy=False)
    return True


def site_differences(name, site, check=True, plan=True):
    """
    Return what would change for a site to be as given, ``{}`` if nothing.

    name, site
        As in the state ``caddy.site_present``.

    check
        Whether Caddy is asked if it accepts a text that differs, which takes a process.

    plan
        Whether what comes later in a test run takes the site for changed.

    Raises SaltInvocationError for a site that cannot be, and
    CommandExecutionError for a certificate that cannot be used, for a file of
    that name which is not ours, and for what Caddy does not accept, in its words.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.site_differences notes '{"domains": ["notes.example.org"], "upstream": "127.0.0.1:8080"}'
    """
    file = __utils__["caddy_files.site"](name)
    path = __utils__["caddy_files.path"](file)
    text, planned = _text(name, site), _planned()
    # Its own file alone answers for a site that is right: with many of them, reading all each time adds up.
    diff = _diff(file, planned[file] if file in planned else __utils__["textfile.read"](path), text)
    if not diff:
        access = _access(path) if file not in planned else {}
        return {path: access} if access else {}
    files = _planned_files()
    if isinstance(site.get("tls"), dict):
        with _about(name):
            __utils__["caddy_certificate.check_domains"](site["tls"]["certificate"], site["domains"])
    _refuse_foreign(file, files)
    taken = _taken(file, site["domains"], files)
    if check and __utils__["caddy_files.can_adapt"]():
        # In a plan, the Caddyfile is the one that an earlier state of the run would write.
        present = files.get(MAIN, "")
        ours = present if present.startswith(OURS) else __utils__["caddy_files.preliminary"]()
        with _about(name):
            _adapt(_with(files, {MAIN: __context__.get(CONTEXT, ours), **taken, file: text}), validate=False)
    changes = {path: {"diff": diff}}
    for other, left in taken.items():
        changes[__utils__["caddy_files.path"](other)] = {"diff": _diff(other, files[other], left or "")}
    if plan:
        _plan({**taken, file: text})
    return changes


def site_apply(name, site):
    """
    Make a site be as given: Caddy serves it, and the file has it for its next start. Other sites go on.

    name, site
        As in the state ``caddy.site_present``. A domain that another service's site still has is taken from it.

    Raises CommandExecutionError with Caddy's words if it refuses; then nothing has changed.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.site_apply notes '{"domains": ["notes.example.org"], "upstream": "127.0.0.1:8080"}'
    """
    file = __utils__["caddy_files.site"](name)
    text = _text(name, site)
    files = __utils__["caddy_files.read_all"]()
    _refuse_foreign(file, files)
    if files.get(file) == text:
        _own(__utils__["caddy_files.path"](file))
        return True
    with _about(name):
        _change({**_taken(file, site["domains"], files), file: text}, needs_caddy=True)
    return True


def site_untaken(name, site):
    """
    Return a site without the domains that other services' sites have by now, None if none is left.

    name, site
        As in the state ``caddy.site_present``.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.site_untaken notes '{"domains": ["notes.example.org"], "upstream": "127.0.0.1:8080"}'
    """
    file = __utils__["caddy_files.site"](name)
    taken = {
        domain
        for other, text in _planned_files().items()
        if other != file
        for domain in __utils__["caddy_site.domains"](text)
    }
    left = [domain for domain in site["domains"] if domain not in taken]
    return {**site, "domains": left} if left else None


def site_remnants(name):
    """
    Return what is left of a service's site, ``{}`` if nothing. A file of that name that is not ours is left out.

    name
        Name of the service.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.site_remnants notes
    """
    file = __utils__["caddy_files.site"](name)
    path = __utils__["caddy_files.path"](file)
    text = _planned().get(file, __utils__["textfile.read"](path))
    if text is None or __utils__["caddy_site.owner"](text) != name:
        return {}
    _plan({file: None})
    return {path: {"old": ", ".join(__utils__["caddy_site.domains"](text)) or "no domain", "new": None}}


def site_remove(name):
    """
    Remove a service's site from Caddy and its file. Other sites go on; certificates stay in Caddy's store.

    name
        Name of the service.

    CLI Example:

    .. code-block:: bash

        salt-call caddy.site_remove notes
    """
    if site_remnants(name):
        with _about(name):
            _change({__utils__["caddy_files.site"](name): None}, needs_caddy=False)
    return True


@contextlib.contextmanager
def _about(name):
    """Errors within name the service."""
    try:
        yield
    except CommandExecutionError as error:
        raise CommandExecutionError(f"service {name}: site: {error}") from error


def _text(name, site):
    __utils__["caddy_site.check"](name, site)
    place = f"service {name}: site:directives"
    statements = __utils__["caddy_directives.statements"](place, site.get("directives") or "")
    if any(one["name"] == "tls" for one in statements):
        raise SaltInvocationError(f"{place}: tls has a place of its own, site:tls")
    tls = site.get("tls")
    fingerprint = None
    if isinstance(tls, dict):
        problems = __utils__["caddy_certificate.problems"](tls["certificate"], tls["key"])
        if problems:
            raise CommandExecutionError("\n".join(f"service {name}: site:tls: {problem}" for problem in problems))
        fingerprint = __utils__["caddy_certificate.fingerprint"](tls["certificate"])
    beside = __utils__["caddy_directives.beside_the_route"]()
    return __utils__["caddy_site.text"](name, site, statements, fingerprint, beside)


def _change(changed, needs_caddy):
    """
    Bring files into effect: tried as a whole, given to the running Caddy, then written.

    changed
        ``{name below /etc/caddy: text, or None for one that goes}``.
    """
    listens = __utils__["caddy_admin.listens"]()
    if needs_caddy and not listens:
        raise CommandExecutionError(f"Caddy does not answer: the state that runs {UNIT} must come before this one")
    files = _with(__utils__["caddy_files.read_all"](), changed)
    if not files.get(MAIN, "").startswith(OURS):
        path = __utils__["caddy_files.path"](MAIN)
        raise CommandExecutionError(f"{path} is not ours: caddy.configuration_present must come before")
    configuration = _adapt(files, validate=True)
    _check_main(configuration)
    if listens:
        __utils__["caddy_admin.load"](configuration)
    for name, text in changed.items():
        path = __utils__["caddy_files.path"](name)
        if text is None:
            Path(path).unlink(missing_ok=True)
        elif __utils__["textfile.read"](path) != text:
            __utils__["textfile.write"](path, text)
            _own(path)
    __context__.pop(PLANNED, None)  # the files tell now
    _remember(files, configuration)


def _check_main(configuration):
    """Nobody but us could give Caddy a configuration any more, or everybody could."""
    address = __utils__["caddy_admin.address"]()
    if (json.loads(configuration) or {}).get("admin", {}).get("listen") != address:
        raise CommandExecutionError(f"rick:caddy:global_options: admin is decided by the tree, {address}")


def _planned_files():
    """The files, as they will be when this state runs: in a plan, earlier ones have changed some."""
    return _with(__utils__["caddy_files.read_all"](), _planned())


def _planned():
    return __context__.get(PLANNED, {}) if __opts__.get("test") else {}


def _plan(changed):
    if __opts__.get("test"):
        __context__.setdefault(PLANNED, {}).update(changed)


def _diff(file, present, text):
    if present == text:
        return ""
    path = __utils__["caddy_files.path"](file)
    return __utils__["textfile.diff_of"](path, present, text)


def _with(files, changed):
    return {name: text for name, text in {**files, **changed}.items() if text is not None}


def _adapt(files, validate):
    """As ``caddy_files.adapt``; if domains collide, the error says where they are."""
    try:
        return __utils__["caddy_files.adapt"](files, validate)
    except CommandExecutionError as error:
        ambiguous = re.search(r"ambiguous site definition: (\S+)", str(error))
        if ambiguous:
            word = re.compile(rf"(?<![\w.-]){re.escape(ambiguous[1])}(?![\w.-])")
            places = [__utils__["caddy_files.path"](name) for name, text in files.items() if word.search(text)]
            raise CommandExecutionError(f"{error}, in {' and '.join(places)}") from error
        raise


def _taken(file, domains, files):
    """What is left of other services' sites that still have one of the domains: it moves to this one in this run."""
    return {
        name: __utils__["caddy_site.without"](text, domains)
        for name, text in files.items()
        if name != file and set(__utils__["caddy_site.domains"](text)) & set(domains)
    }


def _refuse_foreign(file, files):
    if file in files and __utils__["caddy_site.owner"](files[file]) is None:
        raise CommandExecutionError(
            f"{__utils__['caddy_files.path'](file)} was not written by this tree: move it away, or rename the service"
        )


def _runs(files):
    """Whether the configuration that runs is the one that files make, with the certificates that they hold now."""
    running = __utils__["caddy_files.digest"](__utils__["caddy_admin.running"]())
    known, certificates = _memory(), __utils__["caddy_files.certificates"]()
    # One that is not known is named by nothing that Caddy has loaded.
    if any(certificates.get(name, digest) != digest for name, digest in known.get("certificates", {}).items()):
        return False
    if known.get("files") == __utils__["caddy_files.fingerprint"](files) and "certificates" in known:
        return running == known["configuration"]
    try:
        configuration = _adapt(files, validate=False)
    except CommandExecutionError as error:
        raise CommandExecutionError(
            f"{error}\nCaddy could not start again with this file. A file of a service can be deleted: "
            "the next run writes it anew from the entry"
        ) from error
    if not __opts__.get("test"):
        _remember(files, configuration)
    return running == __utils__["caddy_files.digest"](configuration)


def _memory():
    try:
        known = json.loads(__utils__["textfile.read"](MEMORY) or "{}")
    except ValueError:
        return {}
    return known if isinstance(known, dict) and "configuration" in known else {}


def _remember(files, configuration):
    # The secrets beside it need the directory closed, whoever comes first.
    Path(MEMORY).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = {
        "files": __utils__["caddy_files.fingerprint"](files),
        "configuration": __utils__["caddy_files.digest"](configuration),
        "certificates": __utils__["caddy_files.certificates"](),
    }
    __utils__["textfile.write"](MEMORY, json.dumps(known), mode=0o600)


def _authorities(internal):
    public = __utils__["textfile.read"](PUBLIC_AUTHORITIES) or ""
    return public + (root_certificate() if internal else "")


def _missing_folders():
    folders = [__utils__["caddy_files.path"](name) for name in ("snippets", "sites-enabled")]
    return [folder for folder in folders if not Path(folder).is_dir()]


def _is_foreign(text):
    """Whether a Caddyfile is neither ours nor as the package brought it."""
    if text.startswith(OURS):
        return False
    command = ["dpkg-query", "--show", "--showformat=${Conffiles}", "caddy"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DPKG_TIMEOUT, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return True
    return f"Caddyfile {__utils__['caddy_files.md5'](text)}" not in done.stdout


def _backup(path):
    """A name for the copy of a file that is about to be replaced: the first that is not taken by another text."""
    text = __utils__["textfile.read"](path)
    number, candidate = 1, f"{path}.before-rick-infra"
    while __utils__["textfile.read"](candidate) not in (None, text):
        number += 1
        candidate = f"{path}.before-rick-infra.{number}"
    return candidate


def _access(path):
    """How owner and mode of a site's file differ from what they must be."""
    present = Path(path).stat()
    group = _group()
    wanted = (0, present.st_gid if group is None else group, FILE_MODE)
    if (present.st_uid, present.st_gid, stat.S_IMODE(present.st_mode)) == wanted:
        return {}
    stated = __salt__["unix_socket.stat"](path)
    return {"old": f"{stated['user']}:{stated['group']} {stated['mode']}", "new": f"root:caddy {FILE_MODE:04o}"}


def _own(path):
    group = _group()
    if group is not None:
        os.chown(path, 0, group)
    Path(path).chmod(FILE_MODE)


def _group():
    """The gid of the group caddy, None before the package is installed."""
    try:
        return grp.getgrnam("caddy").gr_gid
    except KeyError:
        return None
