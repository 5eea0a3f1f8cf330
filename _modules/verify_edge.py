"""
The checks of an edge, for ``verify.host``: each site that it shows, as a browser asks for it.
"""

import http
import ssl

HTTPS = ("127.0.0.1", 443)
HTTP_TIMEOUT = 10  # seconds; longer than the edge itself looks for a cell that answers
ANSWERS = (http.HTTPStatus.BAD_GATEWAY, http.HTTPStatus.GATEWAY_TIMEOUT)


def checks(without=()):
    """
    Return the checks of this host's Caddy and of the sites that it shows for others, a list of ``{"name", "passed",
    "detail"}``.

    without
        As for ``verify.host``.

    CLI Example:

    .. code-block:: bash

        salt-call verify_edge.checks
    """
    check = __salt__["verify_service.check"]
    found = [
        check(
            "caddy.service is active in /system.slice",
            __salt__["verify_service.active_in_system_slice"],
            "caddy.service",
        )
    ]
    sites = __salt__["fleet.view"]()["sites"]
    for name, site in __salt__["fleet.sites"]().items():
        cells = {one["id"] for one in sites[name]["upstreams"]}
        if cells and cells <= set(without):
            continue
        domains = [domain.replace("*.", "verify.", 1) for domain in site["domains"]]
        found += [check(f"https://{domain} is {name}'s site", _site, domain, site) for domain in domains]
    return found


def _site(domain, site):
    context = ssl.create_default_context()
    if site["tls"] == "internal":
        context.load_verify_locations(cadata=__salt__["caddy.root_certificate"]())
    elif isinstance(site["tls"], dict):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cafile=site["tls"]["certificate"])
    status = __utils__["http_answer.status"](f"https://{domain}/", HTTP_TIMEOUT, HTTPS, context)
    if not site["cells"]:
        return None if status == http.HTTPStatus.SERVICE_UNAVAILABLE else f"HTTP {status}", "no cell shows it now"
    return f"HTTP {status}: no cell answers" if status in ANSWERS else None, f"HTTP {status}, certificate verified"
