"""
The file of a site in ``/etc/caddy/sites-enabled``: made from a service's entry, and read back.
"""

import re

from salt.exceptions import SaltInvocationError

OWNER = "# rick-infra service "
SHOWN_AS = "# edges show it as "
NAME = re.compile(r"[a-z][a-z0-9-]*")
DOMAIN = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# Where a cell speaks to its edges, and one host to another for logins, and what a service is called there.
FLEET_PORT = 8443
FLEET_DOMAIN = "rick-infra.internal"
IDENTITY = ("/etc/caddy/identity/certificate.pem", "/etc/caddy/identity/key.pem")
CELL = re.compile(r"[0-9a-fA-F:.]+")
UPSTREAM = re.compile(r"(127\.0\.0\.1|\[::1\]):[1-9][0-9]{0,4}")
SIZE = re.compile(r"[1-9][0-9]*([kKMG]i?B)?")
PATH = re.compile(r"/[^\s\"'`{}\\#]*")
# Whatever stands unquoted in a Caddyfile as it is here.
FILE = re.compile(r"/[^\"`{}\\\x00-\x1f\x7f]+")
SNIPPET = re.compile(r"[a-z][a-z0-9-]*")
# Two dots, a backslash, a semicolon, what is encoded without need, a percent sign included, and a dot or space at the
# end, which Caddy passes over.
AMBIGUOUS = r"`(?i)\.\.|[;\\]|%(2e|2f|5c|3b|25|00)|(\.|%20)([?]|$)`"
STOPPED = "This service is stopped."
KEYS = {
    "domains",
    "upstream",
    "tls",
    "directives",
    "public_paths",
    "health_path",
    "max_body",
    "stopped",
    "login",
    "behind_edge",
    "cells",
    "authorities",
}


def check(name, site):
    """
    Raise SaltInvocationError with everything that keeps a site from being one.

    name, site
        As in the state ``caddy.site_present``.
    """
    if not NAME.fullmatch(str(name)):
        raise SaltInvocationError(f"caddy site {name!r}: lower-case letters, digits and -, beginning with a letter")
    if not isinstance(site, dict):
        raise SaltInvocationError(f"service {name}: site: {site!r} is not a mapping")
    problems = [f"unknown key {key!r}" for key in site if key not in KEYS]
    domains = site.get("domains")
    if not domains or not isinstance(domains, list):
        problems.append("domains: at least one is needed, in a list")
    else:
        problems += [f"domains: {one!r} is no domain" for one in domains if not _matches(DOMAIN, one)]
    if not isinstance(site.get("behind_edge", False), bool):
        problems.append(f"behind_edge: {site['behind_edge']!r} is neither true nor false")
    if "cells" in site:
        problems += _cells_problems(site)
    elif not _matches(UPSTREAM, site.get("upstream")):
        problems.append(f"upstream: {site.get('upstream')!r} is no port on the loopback, such as 127.0.0.1:8080")
    tls = site.get("tls", "internal")
    if isinstance(tls, dict):
        wrong = set(tls) != {"certificate", "key"} or not all(_matches(FILE, path) for path in tls.values())
        problems += ["tls: an own certificate has a certificate and a key, absolute paths"] if wrong else []
    elif tls not in ("internal", "acme"):
        problems.append(f"tls: {tls!r} is neither internal nor acme nor a certificate with its key")
    if site.get("max_body") is not None and not _matches(SIZE, site["max_body"]):
        problems.append(f"max_body: {site['max_body']!r} is no size, such as 10MB")
    if site.get("login") is not None and not _matches(SNIPPET, site["login"]):
        problems.append(f"login: {site['login']!r} is no name of a snippet")
    paths = site.get("public_paths") or []
    if site.get("health_path"):
        paths = [*paths, site["health_path"]]
    problems += [f"public_paths: {path!r} is no path" for path in paths if not _matches(PATH, path)]
    if not isinstance(site.get("directives") or "", str):
        problems.append("directives: not a text")
    if problems:
        raise SaltInvocationError("\n".join(f"service {name}: site: {problem}" for problem in problems))


def text(name, site, statements, fingerprint, beside_the_route):
    """
    Return the text of a site's file.

    name, site
        As in the state ``caddy.site_present``, checked.

    statements
        What ``caddy_directives.statements`` makes of the entry's directives.

    fingerprint
        Of the own certificate, or None. It makes a renewed certificate a
        changed configuration, which is what has Caddy read it again.

    beside_the_route
        Names of the directives that do not belong into a route.
    """
    lines = [
        f"{OWNER}{name}: written by Salt from its entry; the next run undoes what is changed here.",
        *_heading(name, site, fingerprint),
        "\timport access-log",
        *[f"\t{line}" for one in statements if one["name"] in beside_the_route for line in one["lines"]],
        # In a route things happen in the order in which they are written.
        "\troute {",
        *(["\t\trequest_header Host {header.X-Forwarded-Host}"] if site.get("behind_edge") else []),
        "\t\timport without-identity",
    ]
    if "cells" in site:
        lines += _to_cells(name, site)
    elif site.get("stopped"):
        lines.append(f'\t\trespond "{STOPPED}" 503')
    else:
        if site.get("max_body"):
            lines += ["\t\trequest_body {", f"\t\t\tmax_size {site['max_body']}", "\t\t}"]
        lines += _login(site)
        lines += [f"\t\t{line}" for one in statements if one["name"] not in beside_the_route for line in one["lines"]]
        lines += _proxy(site, "\t\t")
    return "\n".join([*lines, "\t}", "}", ""])


def owner(text):
    """
    Return the name of the service that a site's file belongs to, None if it is not one of ours.
    """
    first = text.partition("\n")[0]
    return first.removeprefix(OWNER).partition(":")[0] if first.startswith(OWNER) else None


def domains(text):
    """
    Return the domains of a file of ours, as the file has them; an empty list if there are none.
    """
    lines = text.splitlines()
    if owner(text) is None or len(lines) < 2 or (not lines[1].startswith(SHOWN_AS) and not lines[1].endswith(" {")):
        return []
    return lines[1].removeprefix(SHOWN_AS).removesuffix(" {").split(", ")


def without(text, taken):
    """
    Return the text of a file of ours without some domains, None if none would be left.
    """
    left = [domain for domain in domains(text) if domain not in taken]
    lines = text.split("\n")
    behind = lines[1].startswith(SHOWN_AS)
    lines[1] = f"{SHOWN_AS}{', '.join(left)}" if behind else f"{', '.join(left)} {{"
    return "\n".join(lines) if left else None


def server_name(name):
    """
    Return what a service is called between hosts, in certificates and requests; people never see it.
    """
    return f"{name}.{FLEET_DOMAIN}"


def fleet_port():
    """
    Return the port at which hosts of a fleet speak to each other.
    """
    return FLEET_PORT


def identity():
    """
    Return the files of the certificate and the key by which this host is known to others.
    """
    return IDENTITY


def _heading(name, site, fingerprint):
    """Where it is found, and by which certificates both sides know each other."""
    domains = ", ".join(site["domains"])
    if not site.get("behind_edge"):
        return [f"{domains} {{", *_tls(site.get("tls", "internal"), fingerprint)]
    url = f"https://{server_name(name)}:{FLEET_PORT}"
    return [f"{SHOWN_AS}{domains}", f"{url} {{", "\ttls internal {", "\t\timport edges", "\t}"]


def _cells_problems(site):
    if not isinstance(site["cells"], list) or not all(_matches(CELL, one) for one in site["cells"]):
        yield f"cells: {site['cells']!r} is not a list of IP addresses"
    authorities = site.get("authorities")
    if not isinstance(authorities, list) or not all(_matches(FILE, path) for path in authorities):
        yield f"authorities: {authorities!r} is not a list of files"


def _to_cells(name, site):
    """
    To whichever of the cells answers, each known by its own authority and nothing else.

    What one service's name in the request is, its certificate is for (Caddy wants both to agree), and the host that
    the client asked for goes along, as to any proxy's upstream.
    """
    if not site["cells"]:
        return [f'\t\trespond "{STOPPED}" 503']
    urls = [f"https://{f'[{one}]' if ':' in one else one}:{FLEET_PORT}" for one in site["cells"]]
    return [
        f"\t\treverse_proxy {' '.join(urls)} {{",
        f"\t\t\theader_up Host {server_name(name)}",
        "\t\t\tlb_try_duration 5s",
        "\t\t\tfail_duration 10s",
        "\t\t\ttransport http {",
        f"\t\t\t\ttls_client_auth {' '.join(IDENTITY)}",
        f"\t\t\t\ttls_server_name {server_name(name)}",
        f"\t\t\t\ttls_trusted_ca_certs {' '.join(site['authorities'])}",
        "\t\t\t}",
        "\t\t}",
    ]


def _proxy(site, indent):
    """To the service. Only edges get to a site behind them, by their keys: they are believed who their client is."""
    if not site.get("behind_edge"):
        return [f"{indent}reverse_proxy {site['upstream']}"]
    return [
        f"{indent}reverse_proxy {site['upstream']} {{",
        f"{indent}\ttrusted_proxies 0.0.0.0/0 ::/0",
        f"{indent}}}",
    ]


def _tls(tls, fingerprint):
    if tls == "internal":
        return ["\ttls internal"]
    if tls == "acme":
        return []  # what Caddy does by itself, as the global options say
    return [f'\ttls "{tls["certificate"]}" "{tls["key"]}"', f"\tvars rick_infra_certificate {fingerprint}"]


def _login(site):
    """Where a login goes: after the paths that stay open, before everything else."""
    if not site.get("login"):
        return []
    paths = [*([site["health_path"]] if site.get("health_path") else []), *(site.get("public_paths") or [])]
    # A block of its own that never enters the login, rather than an exception within the login. What applications might
    # take for another path than Caddy does stays within.
    return [
        *_one_domain(site["domains"]),
        *(
            [
                "\t\t@rick-infra-open {",
                f"\t\t\tpath {' '.join(paths)}",
                f"\t\t\tnot vars_regexp {{http.request.uri}} {AMBIGUOUS}",
                "\t\t}",
                "\t\thandle @rick-infra-open {",
                *_proxy(site, "\t\t\t"),
                "\t\t}",
            ]
            if paths
            else []
        ),
        f"\t\timport {site['login']}{'-behind-edge' if site.get('behind_edge') else ''}",
    ]


def _one_domain(domains):
    """Authentik knows one address of a site; users come to that one from the others."""
    if len(domains) == 1:
        return []
    return [
        f"\t\t@rick-infra-elsewhere not host {domains[0]}",
        f"\t\tredir @rick-infra-elsewhere https://{domains[0]}{{uri}} 308",
    ]


def _matches(pattern, value):
    return isinstance(value, str) and pattern.fullmatch(value) is not None
