"""
The checks of one service, for ``verify.host`` and ``verify.service``.
"""

import grp
import http
import pwd
import ssl
from pathlib import Path

from salt.exceptions import CommandExecutionError, SaltInvocationError

HTTP_TIMEOUT = 10  # seconds
PROC = "/proc"
HTTPS = ("127.0.0.1", 443)  # where Caddy answers for every site


def checks(service, doors):
    """
    Return the checks of a resolved service, a list of ``{"name", "passed", "detail"}``.

    service
        As from ``catalogue.services``.

    doors
        The databases' sockets, each ``{"socket", "group", "unit", …}``.

    CLI Example: none, it takes a resolved service: see verify.service.
    """
    if service["state"] == "absent":
        return []
    if service["state"] == "stopped":
        return [check(f"{service['name']} is stopped", _nothing_runs, service), *_site(service)]
    name, user = service["name"], service["account"]["user"]
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        missing = f"there is no user {user}; apply the highstate"
        return [{"name": f"{name}: user {user} exists", "passed": False, "detail": missing}]
    return [
        *_refused(service),
        *_containers(service, account),
        *_init(service),
        *_timers(service),
        *__salt__["verify_sockets.of_service"](service, account, doors),
        *_databases(service),
        *_web(service),
        *_published(service),
        *_site(service),
        *__salt__["verify_login.checks"](service),
    ]


def check(name, judge, *arguments):
    """
    Return the outcome of a check, ``{"name", "passed", "detail"}``.

    name
        What must be so, as a sentence.

    judge
        Returns what is wrong (None or an empty text if nothing is) and the
        detail. An error that it raises is wrong, too.

    CLI Example: none, it takes a function: see verify.service.
    """
    try:
        problem, detail = judge(*arguments)
    except (CommandExecutionError, SaltInvocationError, OSError) as error:
        problem, detail = str(error) or type(error).__name__, ""
    return {"name": name, "passed": not problem, "detail": problem or detail}


def active_in_system_slice(unit):
    """
    Return what is wrong with a unit that must run where limits and accounting of the system apply, and where it runs.

    CLI Example:

    .. code-block:: bash

        salt-call verify_service.active_in_system_slice valkey-server.service
    """
    state = __utils__["units.show"]([unit], ["ActiveState", "SubState", "ControlGroup"])[unit]
    cgroup = state["ControlGroup"]
    if state["ActiveState"] != "active":
        return f"{state['ActiveState']} ({state['SubState']}); journalctl -u {unit}", ""
    return None if cgroup.startswith("/system.slice/") else f"runs in {cgroup or 'no control group'}", cgroup


def probe(path, expected, uid, gid, groups):
    """
    Return what is wrong with a socket's answer to somebody with these ids, and the answer.

    expected
        ``allowed`` or ``refused``.

    CLI Example:

    .. code-block:: bash

        salt-call verify_service.probe /run/valkey/valkey.sock refused 65534 65534 '[]'
    """
    answer = __salt__["unix_socket.probe"](path, uid, gid, groups)
    problem = None if answer["outcome"] == expected else f"{answer['outcome']}: {answer['detail']}"
    return problem, f"uid {uid}, groups {groups}: {answer['detail']}"


def gid(group):
    """
    Return the number that a group has now, None if there is none.

    CLI Example:

    .. code-block:: bash

        salt-call verify_service.gid valkey-clients
    """
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _refused(service):
    """What runs is another definition than the entry's: that is to be seen, however well it runs."""
    if not service["refused"]:
        return []
    detail = f"taken back, since it did not become healthy: {service['refused']}"
    return [{"name": f"{service['name']} is as declared", "passed": False, "detail": detail}]


def _containers(service, account):
    found = []
    by_name = {unit["name"]: unit for unit in service["units"] if unit["kind"] == "container"}
    for file in service["files"]:
        container, _, kind = file.rpartition(".")
        if kind != "container":
            continue
        unit = by_name[container]
        found.append(
            check(f"{container}.service is active in /system.slice", active_in_system_slice, f"{container}.service")
        )
        if unit["socket_groups"]:
            what = f"{container}'s process has the ids of {account.pw_name}"
            found.append(check(what, _process, container, account, unit["socket_groups"]))
        else:
            found.append(check(f"{container}'s process is in no client group", _no_client_group, container))
    return found


def _init(service):
    unit = f"{service['name']}-init"
    if unit not in (one["name"] for one in service["units"]):
        return []
    return [check(f"{unit}.service has succeeded", _succeeded, f"{unit}.service")]


def _timers(service):
    units = [f"{one['name']}.timer" for one in service["timers"]]
    return [check(f"{unit} has a next time", _elapses, unit) for unit in units]


def _databases(service):
    name = service["name"]
    found = []
    if service.get("server"):
        found += __salt__["verify_elsewhere.of_service"](service)
    elif service["postgres"]:
        found.append(check(f"{name}: a query as {service['postgres']['role']}", _query, service))
    if service["valkey"]:
        found.append(check(f"{name}: a cache round trip as {service['valkey']['user']}", _round_trip, service))
    return found


def _web(service):
    found = []
    if service["health"]["url"]:
        found.append(check(f"{service['name']} answers at {service['health']['url']}", _http, service["health"]["url"]))
    return found


def _published(service):
    """Not wrong, since somebody wrote it down; but to be seen."""
    found = []
    for one in service["publish"]:
        address = f"[{one['address']}]" if ":" in one["address"] else one["address"]
        place = f"{address}:{one['host_port']}/{one['protocol']}"
        found.append(check(f"{service['name']} is reached past Caddy at {place}", _bound, service, one))
    return found


def _site(service):
    if not service["site"]:
        return []
    # A wildcard answers for any name below it.
    names = [domain.replace("*.", "verify.", 1) for domain in service["site"]["domains"]]
    found = [check(f"https://{domain} is {service['name']}'s site", _https, service, domain) for domain in names]
    if service["site"].get("behind_edge"):
        found.append(check(f"{service['name']}: nobody but an edge gets to its site", _stranger, service))
    return found


def _nothing_runs(service):
    running = __salt__["quadlet.running_containers"]([file.rpartition(".")[0] for file in service["files"]])
    up = [one["name"] for one in running if one["state"] == "running"]
    return f"{', '.join(up)} runs" if up else None, ""


def _status(container):
    """What the kernel says of the container's own process. ``podman exec`` shows another one (podman issue 29170)."""
    found = {unit["name"]: unit for unit in __salt__["quadlet.running_containers"]([container])}.get(container)
    if not found or not found["pid"]:
        return None
    status = {}
    for line in Path(PROC, str(found["pid"]), "status").read_text().splitlines():
        key, _, value = line.partition(":")
        status[key] = value.split()
    return status


def _process(container, account, groups):
    status = _status(container)
    if status is None:
        return "the container is not running", ""
    wanted = {gid(group) for group in groups}
    uids, gids, have = set(status["Uid"]), set(status["Gid"]), {int(gid) for gid in status["Groups"]}
    problems = []
    if uids != {str(account.pw_uid)}:
        problems.append(f"uid {'/'.join(sorted(uids))}, not {account.pw_uid}")
    if gids != {str(account.pw_gid)}:
        problems.append(f"gid {'/'.join(sorted(gids))}, not {account.pw_gid}")
    if have - {account.pw_gid} != wanted:
        problems.append(f"groups {sorted(have)}, not {', '.join(groups)} ({', '.join(map(str, wanted))})")
    if any(int(status[key][0], 16) for key in ("CapPrm", "CapEff", "CapBnd")):
        problems.append("has capabilities")
    if status["NoNewPrivs"] != ["1"]:
        problems.append("may gain privileges")
    return ", ".join(problems), f"uid {account.pw_uid}, groups {sorted(have)}, no capabilities"


def _no_client_group(container):
    """Who may be anybody inside must not be let in by a group: to the database it would be whoever it likes."""
    status = _status(container)
    if status is None:
        return "the container is not running", ""
    groups = {group: gid(group) for group in __utils__["client_groups.declared"]()}
    have = {int(gid) for gid in [*status["Gid"], *status["Groups"]]}
    inside = [group for group, gid in groups.items() if gid in have]
    return f"is in {', '.join(inside)}" if inside else None, f"uid {status['Uid'][1]}, groups {sorted(have)}"


def _succeeded(unit):
    state = __utils__["units.show"]([unit], ["ActiveState", "SubState", "Result", "ExecMainExitTimestamp"])[unit]
    # It counts as active from its success to the end of the pod (quadlet_roles).
    if state["ActiveState"] != "active":
        said = f"{state['ActiveState']} ({state['SubState']}), last result: {state['Result']}; journalctl -u {unit}"
        return said, ""
    return None, f"ended {state['ExecMainExitTimestamp']}"


def _elapses(unit):
    state = __utils__["units.show"]([unit], ["ActiveState", "SubState", "NextElapseUSecRealtime"])[unit]
    if state["ActiveState"] != "active":
        return f"{state['ActiveState']} ({state['SubState']}); journalctl -u {unit}", ""
    if state["SubState"] == "running":  # systemd looks for the next time once it has ended
        return None, "what it starts runs now"
    upcoming = state["NextElapseUSecRealtime"]
    return None if upcoming else "its schedule names no time to come", upcoming


def _bound(service, published):
    """Podman binds what a pod publishes: nothing else on the host can take it, and without that nobody gets through."""
    unit = f"{service['name']}-pod.service"
    wanted = [published["address"], published["host_port"], published["protocol"]]
    return None if wanted in __salt__["daemon.bound"](unit) else f"{unit} is not bound to it", ""


def _query(service):
    postgres = service["postgres"]
    secret_file = __salt__["secret.path"](postgres["secret"]) if postgres["secret"] else None
    rows = __salt__["postgresql.query_as"](
        service["account"]["user"],
        "select current_user as role",
        postgres["database"],
        postgres["role"],
        secret_file,
    )
    problem = None if rows == [{"role": postgres["role"]}] else f"answered {rows}"
    return problem, f"role {postgres['role']}, database {postgres['database']}"


def _round_trip(service):
    valkey = service["valkey"]
    key = f"{valkey['prefix'] or service['name'] + ':'}verify"
    secret_file = __salt__["secret.path"](valkey["secret"])
    __salt__["valkey.round_trip"](valkey["user"], secret_file, key, valkey["socket"])
    return None, f"{key} written, read and deleted"


def _http(url):
    status = __utils__["http_answer.status"](url, HTTP_TIMEOUT)
    return None if 200 <= status < 400 else f"HTTP {status}", f"HTTP {status}"


def _between_hosts(service):
    """Where an edge finds a site of this host: the address as the edge calls it, and where that is from here."""
    port = __utils__["caddy_site.fleet_port"]()
    return f"https://{__utils__['caddy_site.server_name'](service['name'])}", (HTTPS[0], port)


def _stranger(service):
    """Without a key that this host knows, there is no answer to any request."""
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=__salt__["caddy.root_certificate"]())
    url, address = _between_hosts(service)
    try:
        status = __utils__["http_answer.status"](url, HTTP_TIMEOUT, address, context)
    except CommandExecutionError as error:
        return None, str(error)
    return f"HTTP {status} for somebody without a key", ""


def _https(service, domain):
    """Ask Caddy on this host for the site, as a browser would that trusts its authority."""
    site = service["site"]
    context = ssl.create_default_context()
    if site["tls"] == "internal":
        context.load_verify_locations(cadata=__salt__["caddy.root_certificate"]())
    elif site["tls"] != "acme":
        # Who issued it is its owner's affair: what has to be served is this certificate, and for this domain.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cafile=site["tls"]["certificate"])
    path = site["health_path"] or "/"
    if site.get("behind_edge"):
        context.load_cert_chain(*__utils__["caddy_site.identity"]())
        url, address = _between_hosts(service)
        headers = {"X-Forwarded-Host": domain}
        status = __utils__["http_answer.status"](url + path, HTTP_TIMEOUT, address, context, headers)
    else:
        status = __utils__["http_answer.status"](f"https://{domain}{path}", HTTP_TIMEOUT, HTTPS, context)
    if site["stopped"]:
        return None if status == http.HTTPStatus.SERVICE_UNAVAILABLE else f"HTTP {status}, not 503", ""
    wrong = status >= http.HTTPStatus.INTERNAL_SERVER_ERROR
    return f"HTTP {status}" if wrong else None, f"HTTP {status}, certificate verified"
