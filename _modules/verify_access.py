"""
Who reaches what: every service at its own database, keys and network, and at every other's.

The ground under ``verify.access``. A refusal counts only if what is refused is there: a database that nobody has, a
port on which nobody listens, would refuse everybody.
"""

from salt.exceptions import CommandExecutionError

TIMEOUT = 30  # seconds for all that one service tries at one kind of door
SILENCE = 2  # seconds without an answer that count as a dropped packet


def checks(services):
    """
    Return the checks of resolved services, a list of ``{"name", "passed", "detail"}``.

    CLI Example: none, it takes resolved services: see verify.access.
    """
    pods = {service["name"]: _pod(service) for service in services}
    found = []
    for service in services:
        others = [other for other in services if other is not service]
        found += _at_databases(service, others)
        found += _at_keys(service, others)
        found.append(_check(f"{service['name']}'s pod is refused at every other pod", _at_pods, service["name"], pods))
    return found


def _check(name, judge, *arguments):
    return __salt__["verify_service.check"](name, judge, *arguments)


def _at_databases(service, others):
    name = service["name"]
    foreign = [other["postgres"] for other in others if other["postgres"]]
    mine = service["postgres"]
    own = [[mine["role"], mine["database"]]] if mine else []
    attempts = [[mine["role"] if mine else name, one["database"]] for one in foreign]
    attempts += [[one["role"], one["database"]] for one in foreign]
    # The superuser is everybody's neighbour.
    attempts += [["postgres", one["database"]] for one in ([mine] if mine else foreign[:1])]
    if not attempts:
        return []
    connect = __utils__["postgresql_server.refusal"]

    def tried(password):
        return [connect(role, database, password) for role, database in [*own, *attempts]]

    import psycopg  # noqa: F401 - the child may not be allowed to read the library

    try:
        # With what it knows: its own password, if it has one, which must open its own and nothing else.
        secret = mine["secret"] if mine else None
        password = __utils__["secret_files.read"](__salt__["secret.path"](secret)) if secret else None
        answers = __utils__["run_as.call"](service["account"]["user"], lambda: tried(password), TIMEOUT)
    except CommandExecutionError as error:
        return [{"name": f"{name} is tried at the databases", "passed": False, "detail": str(error)}]
    rest = answers[len(own) :]
    let_in = [f"{database} as {role}" for (role, database), answer in zip(attempts, rest, strict=True) if not answer]
    found = []
    if mine:
        detail = answers[0] or mine["database"]
        found.append({"name": f"{name} reaches its own database", "passed": not answers[0], "detail": detail})
    refused = f"{name} is refused at every other database, and as anybody else"
    detail = f"gets in to {', '.join(let_in)}" if let_in else f"{len(rest)} attempts"
    return [*found, {"name": refused, "passed": not let_in, "detail": detail}]


def _at_keys(service, others):
    name, mine = service["name"], service["valkey"]
    foreign = [other["valkey"] for other in others if other["valkey"]]
    found = [_check(f"{name} reaches its own keys", _own_keys, mine, name)] if mine else []
    if foreign:
        found.append(_check(f"{name} is refused at every other's keys", _foreign_keys, service, mine, foreign))
    return found


def _own_keys(mine, name):
    key = f"{mine['prefix'] or name + ':'}access"
    __salt__["valkey.round_trip"](mine["user"], __salt__["secret.path"](mine["secret"]), key, mine["socket"])
    return None, key


def _foreign_keys(service, mine, foreign):
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
    for socket in dict.fromkeys(one["socket"] for one in foreign if one not in same):
        answer = __salt__["unix_socket.probe_user"](socket, service["account"]["user"])
        if answer["outcome"] != "refused":
            let_in.append(f"{socket} ({answer['detail']})")
    return f"gets in to {', '.join(let_in)}" if let_in else None, f"{len(foreign)} attempts"


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


def _at_pods(name, pods):
    if pods[name] is None:
        return "the pod is not running", ""
    neighbours = [pod for other, pod in pods.items() if pod and other != name]
    targets = [
        [address, port, protocol]
        for pod in neighbours
        for address in pod["addresses"]
        for port, protocol in [*((port, "tcp") for port in pod["ports"]), (pod["silent"], "udp")]
    ]
    if not targets:
        return None, "no other pod runs"
    reachable = __utils__["pod_network.reachable"]
    pid = pods[name]["pid"]
    open_ = __utils__["run_as.call"]("root", lambda: reachable(pid, targets, SILENCE), TIMEOUT)
    return ", ".join(
        f"reaches {address}:{port}/{protocol}" for address, port, protocol in open_
    ), f"{len(targets)} attempts"
