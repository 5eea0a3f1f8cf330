"""
Who reaches what: every service that runs at its own database, keys and network, and at every other's.

The ground under ``verify.access``. A refusal counts only if what is refused is there: a database that nobody has, a
port on which nobody listens, would refuse everybody.
"""

from salt.exceptions import CommandExecutionError

TIMEOUT = 30  # seconds for all that one service tries at one kind of door
SILENCE = 2  # seconds without an answer that count as a dropped packet
AT_ONCE = 500  # attempts; each takes a descriptor, and a process has 1024 of them


def checks(services):
    """
    Return the checks of resolved services, a list of ``{"name", "passed", "detail"}``.

    services
        Those that run, each of which is tried, and those that are stopped, which are tried at.

    CLI Example: none, it takes resolved services: see verify.access.
    """
    present = [service for service in services if service["state"] == "present"]
    pods = {service["name"]: _pod(service) for service in present}
    reached = _reached(pods)
    found = []
    for service in present:
        others = [other for other in services if other is not service]
        found += _at_databases(service, others)
        found += _at_keys(service, others)
        found += _at_private_sockets(service, others)
        found.append(
            _check(f"{service['name']}'s pod is refused at every other pod", _at_pods, reached[service["name"]])
        )
    return found


def _check(name, judge, *arguments):
    return __salt__["verify_service.check"](name, judge, *arguments)


def _at_databases(service, others):
    name = service["name"]
    foreign = [other["postgres"] for other in others if other["postgres"]]
    mine = service["postgres"]
    own = [_attempt(mine["role"], mine)] if mine else []
    attempts = [_attempt(mine["role"] if mine else name, one) for one in foreign]
    attempts += [_attempt(one["role"], one) for one in foreign]
    # The superuser is everybody's neighbour.
    attempts += [_attempt("postgres", one) for one in ([mine] if mine else foreign[:1])]
    if not attempts:
        return []
    connect = __utils__["postgresql_server.refusal"]
    servers = {server for _, _, server in [*own, *attempts] if server}
    places = {None: None, **{server: __salt__["postgresql.place"](server) for server in servers}}

    def tried(password):
        return [connect(role, database, password, places[server]) for role, database, server in [*own, *attempts]]

    import psycopg  # noqa: F401 - the child may not be allowed to read the library

    try:
        # With what it knows: its own password, if it has one, which must open its own and nothing else.
        secret = mine["secret"] if mine else None
        password = __utils__["secret_files.read"](__salt__["secret.path"](secret)) if secret else None
        answers = __utils__["run_as.call"](service["account"]["user"], lambda: tried(password), TIMEOUT)
    except CommandExecutionError as error:
        return [{"name": f"{name} is tried at the databases", "passed": False, "detail": str(error)}]
    rest = answers[len(own) :]
    let_in = [f"{database} as {role}" for (role, database, _), answer in zip(attempts, rest, strict=True) if not answer]
    found = []
    if mine:
        detail = answers[0] or mine["database"]
        found.append({"name": f"{name} reaches its own database", "passed": not answers[0], "detail": detail})
    refused = f"{name} is refused at every other database, and as anybody else"
    detail = f"gets in to {', '.join(let_in)}" if let_in else f"{len(rest)} attempts"
    return [*found, {"name": refused, "passed": not let_in, "detail": detail}]


def _attempt(role, postgres):
    return role, postgres["database"], postgres.get("server")


def _at_keys(service, others):
    name, mine = service["name"], service["valkey"]
    foreign = [other["valkey"] for other in others if other["valkey"]]
    instances = [other for other in others if other["valkey"] and other["valkey"]["isolation"] == "instance"]
    stopped = {other["valkey"]["socket"] for other in instances if other["state"] == "stopped"}
    found = [_check(f"{name} reaches its own keys", _own_keys, mine, name)] if mine else []
    if foreign:
        found.append(_check(f"{name} is refused at every other's keys", _foreign_keys, service, mine, foreign, stopped))
    return found


def _own_keys(mine, name):
    key = f"{mine['prefix'] or name + ':'}access"
    __salt__["valkey.round_trip"](mine["user"], __salt__["secret.path"](mine["secret"]), key, mine["socket"])
    return None, key


def _foreign_keys(service, mine, foreign, stopped):
    let_in = []
    same = [one for one in foreign if mine and one["socket"] == mine["socket"]]
    keys = [f"{one['prefix']}access" for one in same]
    if keys:
        let_in += __salt__["valkey_user.readable"](
            mine["user"], __salt__["secret.path"](mine["secret"]), keys, mine["socket"]
        )
        asked_for = any(rule == "+scan" or rule.startswith("+@") for rule in mine["commands"])
        if not asked_for and __salt__["valkey_user.lists_keys"](
            mine["user"], __salt__["secret.path"](mine["secret"]), mine["socket"]
        ):
            let_in.append("the names of all keys (SCAN)")
    # At any other socket, the shared one too, the service has no business at all.
    let_in += _let_in(service, dict.fromkeys(one["socket"] for one in foreign if one not in same), stopped)
    return f"gets in to {', '.join(let_in)}" if let_in else None, f"{len(foreign)} attempts"


def _at_private_sockets(service, others):
    path = __salt__["private_socket.path"]
    present = [other for other in others if other["state"] == "present"]  # a stopped one has none
    paths = [path(other["name"], one["target"]) for other in present for one in other["private_sockets"]]
    if not paths:
        return []
    return [_check(f"{service['name']} is refused at every other's private sockets", _refused_at, service, paths)]


def _refused_at(service, paths):
    let_in = _let_in(service, paths)
    return f"gets in to {', '.join(let_in)}" if let_in else None, f"{len(paths)} attempts"


def _let_in(service, paths, stopped=()):
    """Those of some sockets at which a service's user is not refused: also where nobody listens just now."""
    found = []
    for path in paths:
        answer = __salt__["unix_socket.probe_user"](path, service["account"]["user"])
        # A daemon that is stopped may have taken its socket along.
        if answer["outcome"] != "refused" and not (answer["outcome"] == "absent" and path in stopped):
            found.append(f"{path} ({answer['detail']})")
    return found


def _pod(service):
    """A process of the pod with its addresses and ports; None if nothing of it runs."""
    names = [file.rpartition(".")[0] for file in service["files"] if file.endswith(".container")]
    pids = [one["pid"] for one in __salt__["quadlet.running_containers"](names) if one["pid"]]
    if not pids:
        return None
    try:
        return {
            "pid": pids[0],
            "addresses": __utils__["pod_network.addresses"](pids[0]),
            "ports": __utils__["pod_network.listening_ports"](pids[0]),
            "silent": __utils__["pod_network.silent_port"](pids[0]),
        }
    except OSError:
        return None  # it has ended just now


def _targets(name, pods):
    """What a pod has to be refused at: the ports of all others, and one for datagrams."""
    return [
        [address, port, protocol]
        for pod in [pod for other, pod in pods.items() if pod and other != name]
        for address in pod["addresses"]
        for port, protocol in [*((port, "tcp") for port in pod["ports"]), (pod["silent"], "udp")]
    ]


def _reached(pods):
    """What each pod tries, and what it reaches, ``{name: (targets, reached)}``; None for one that does not run."""
    found = dict.fromkeys(pods)
    attempts = {name: _targets(name, pods) for name, pod in pods.items() if pod}
    reachable = __utils__["pod_network.reachable"]
    batches: list[dict] = [{}]
    for name, targets in attempts.items():
        if batches[-1] and sum(map(len, batches[-1].values())) + len(targets) > AT_ONCE:
            batches.append({})
        batches[-1][name] = targets
    for batch in batches:
        tried = [[pods[name]["pid"], targets] for name, targets in batch.items()]
        answers = __utils__["run_as.call"]("root", lambda tried=tried: reachable(tried, SILENCE), TIMEOUT)
        for (name, targets), answer in zip(batch.items(), answers, strict=True):
            found[name] = None if answer is None else (targets, answer)
    return found


def _at_pods(outcome):
    if outcome is None:
        return "the pod is not running", ""
    targets, reached = outcome
    if not targets:
        return None, "no other pod runs"
    return ", ".join(
        f"reaches {address}:{port}/{protocol}" for address, port, protocol in reached
    ), f"{len(targets)} attempts"
