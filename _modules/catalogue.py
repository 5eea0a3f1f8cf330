"""
The catalogue: what the services of this host are, checked and complete, and what a person wants to know about them.

A service is one file, ``/etc/rick-infra/services/NAME.yaml``, which the
external pillar ``services`` brings here as ``rick:services:NAME``. This is the
one place that reads ``rick:*``: states and SLS files ask here, so that each
mistake is reported once, with its place and the way out, before anything changes.

.. code-block:: bash

    salt-call catalogue.check
    salt-call catalogue.list
    salt-call catalogue.show notes
    salt-call catalogue.impact notes:env
    salt-call catalogue.orphans

An entry that is wrong stops all services, and the infrastructure not at all.
"""

import subprocess

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list", "exec_": "exec"}

TIMEOUT = 600  # seconds, for what somebody calls in a container
LINES = 50


def infrastructure(component):
    """
    Return the settings of a part of the infrastructure, complete with paths and what is derived from the host.

    component
        ``podman``, ``postgresql``, ``valkey`` or ``caddy``.

    Sizes are MiB. Raises CommandExecutionError that lists every mistake in
    ``rick:COMPONENT`` of the pillar.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.infrastructure postgresql
    """
    return __utils__["catalogue_infrastructure.settings"](component, __pillar__, __grains__)


def services():
    """
    Return the services of this host, resolved, in an order in which each comes after those that it needs.

    First those that need none, then those that need them, and so on. With
    ``rick:only`` in the pillar, a list of names, only these. If anything is
    wrong in the catalogue there are none: ``catalogue.problems`` says what.

    ``refused`` is why the present definition of a service was taken back, None
    if it was not. ``needs`` are those of this run: nobody waits for a service
    that the run leaves alone.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.services
        salt-call state.apply services pillar='{"rick": {"only": ["notes"]}}'
    """
    if problems():
        return []
    known, only = _catalogue(), __salt__["catalogue_entries.only"]()
    found = [_service(name) for name in known["order"] if only is None or name in only]
    waited_for = {one["name"] for one in found if one["state"] == "present" and not one["refused"]}
    return [{**one, "needs": [name for name in one["needs"] if name in waited_for]} for one in found]


def part(name, *path):
    """
    Return a part of a resolved service, for the arguments of states.

    name
        The service.

    path
        Keys that lead to it. Without any, all of the service.

    Raises CommandExecutionError if there is no such service or part, or if the catalogue is wrong.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.part notes account directories
    """
    found = _service(name)
    for key in path:
        if not isinstance(found, dict) or key not in found:
            raise CommandExecutionError(f"service {name} has no {':'.join(path)}")
        found = found[key]
    return found


def ground(name):
    """
    Return what a service stands on, which a run may change under it: account, database, Valkey user, private sockets.

    ``{"account", "postgres", "valkey", "private_sockets"}``, parts of the resolved service.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.ground notes
    """
    service = _service(name)
    return {key: service[key] for key in ("account", "postgres", "valkey", "private_sockets")}


def problems():
    """
    Return all that is wrong in the catalogue, sentences that each begin with their place; an empty list if nothing is.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.problems
    """
    return __salt__["catalogue_entries.problems"]()


def check():
    """
    Say what is wrong in the catalogue, one line each, or how many services there are.

    The exit code is not zero if anything is wrong. Nothing is changed.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.check
    """
    found = problems()
    if found:
        __context__["retcode"] = 1
        return "\n".join(found)
    count = len(_catalogue()["order"])
    return f"{count} service{'' if count == 1 else 's'}, no errors"


def show(name):
    """
    Return a service as the states get it: complete, with ports and names resolved, and with names of secrets only.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.show notes --out=yaml
    """
    return _service(name)


def list_():
    """
    Return the services in short, ``{name: {"state", "port", "domains", "images", "needs"}}``.

    ``port`` is the one on the host's loopback, None if there is none.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.list
    """
    _refuse_invalid()
    return {
        service["name"]: {
            "state": service["state"],
            "port": service["port"],
            "domains": service["site"]["domains"] if service["site"] else [],
            "images": service["images"],
            "needs": service["needs"],
        }
        for service in _catalogue()["services"].values()
    }


def impact(what):
    """
    Return what restarts when something changes, before it is changed.

    what
        A service (``notes``), a key of one (``notes:env``, ``notes:secrets:token``,
        ``rick:services:notes:site``), or a key of the infrastructure (``rick:postgresql:max_connections``).

    ``{"restarts": [units], "reloads": [units], "ordered_after": [services], "says": text}``.
    ``ordered_after`` are services that need this one: they are not restarted,
    but a highstate starts them after it. For the infrastructure there is also ``connected``, the services that have
    connections there, which are cut by a restart; their containers go on.

    Raises CommandExecutionError if there is no such thing, or if the catalogue is wrong.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.impact notes:env:DATABASE_URL
        salt-call catalogue.impact rick:postgresql:settings:work_mem
    """
    path = str(what).split(":")
    if path[:1] == ["rick"] and path[1:] and path[1] != "services":
        return _impact_of_infrastructure(path[1:])
    name, *keys = path[2:] or [""] if path[:2] == ["rick", "services"] else path
    if not name or path == ["rick"]:
        raise CommandExecutionError(f"{what}: name one service, or a part of the infrastructure: rick:COMPONENT:KEY")
    service, everybody = _service(name), list(_catalogue()["services"].values())
    if not keys:
        return __utils__["catalogue_impact.of_service"](service, everybody)
    for depth in range(len(keys)):
        known = __utils__["catalogue_schema.known_keys"](tuple(keys[:depth]))
        free = __utils__["catalogue_schema.is_free"](tuple(keys[:depth]))
        if not free and keys[depth] not in known:
            hint = __utils__["catalogue_errors.suggestion"](keys[depth], known)
            raise CommandExecutionError(f"{what}: no entry has a key {':'.join(keys)}{hint}")
    return __utils__["catalogue_impact.of_key"](
        keys, __salt__["catalogue_entries.declared"]()[name], service, everybody
    )


def orphans():
    """
    Return what services have left on this host that no entry owns, ``{service: {kind: [names], "way_out": text}}``.

    The kinds are ``user``, ``databases``, ``roles``, ``dumps``, ``valkey_user``,
    ``valkey_instance``, ``valkey_data`` (of an instance), ``private_sockets``, ``site``, ``units`` (timers, too),
    ``containers`` and ``networks`` (of Podman, without a file that declares them), ``generations`` (the folder, and the
    names of images), ``secrets`` and ``directory``. Databases, data of Valkey, containers and networks that an entry
    does not mention any more are there, too. Archives are not: they are kept on purpose. Nothing is deleted: an entry
    with ``state: absent`` does that.

    Raises CommandExecutionError if PostgreSQL, here or on another host, Valkey or Podman cannot be asked.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.orphans
    """
    catalogue = _catalogue()
    found = {
        "accounts": __salt__["account.list"](),
        "tenants": __salt__["postgres_tenant.list"](),
        "elsewhere": {server: __salt__["postgres_tenant.list"](server) for server in __salt__["postgresql.servers"]()},
        "dumps": __salt__["postgres_dump.list"](),
        "valkey_users": __salt__["valkey_user.list"](),
        "valkey_instances": __salt__["valkey_instance.list"](),
        "private_sockets": __salt__["private_socket.list"](),
        "sites": [one["service"] for one in __salt__["caddy.sites"]() if one["service"]],
        "units": {
            **{file: one["owner"] for file, one in __salt__["quadlet_live.declared"]().items() if one["owner"]},
            **__utils__["pod_timers.present"](),
        },
        "undeclared": __salt__["quadlet_live.undeclared"](),
        "generations": __salt__["generation.list"](),
        "secrets": [*__salt__["quadlet_live.secrets"](), *__utils__["catalogue_host.secret_files"]()],
        "directories": __utils__["catalogue_host.homes"](),
    }
    return __utils__["catalogue_orphans.of"](found, catalogue["names"], catalogue["services"])


def schema():
    """
    Return the JSON Schema of an entry, for editors and other tools.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.schema --out=json --out-indent=2
    """
    return __utils__["catalogue_schema.json_schema"]()


def logs(name, lines=LINES):
    """
    Return the last lines of the journal of a service's units, oldest first. Values of secrets are blotted out.

    lines
        How many, of all units together.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.logs notes lines=200
    """
    service = _service(name)
    if isinstance(lines, bool) or not isinstance(lines, int) or lines < 1:
        raise SaltInvocationError(f"lines: {lines!r} is not a number above 0")
    units = [f"{one['name']}.service" for one in service["units"] if one["kind"] == "container"]
    units.append(f"{name}-pod.service")
    command = ["journalctl", "--no-pager", "--output=short-iso", f"--lines={lines}"]
    said = _run([*command, *(f"--unit={unit}" for unit in units)]).rstrip("\n")
    return __salt__["generation.without_secrets"](name, said)


def exec_(name, command, container=None):
    """
    Run a command in a running container of a service and return what it prints.

    command
        A list of words; no shell takes part.

    container
        Which one, as in ``containers``. May be left out if the service has one.

    Raises CommandExecutionError with what the command printed if its exit code is not 0.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.exec notes '[python3, -V]'
        salt-call catalogue.exec queue '[id]' container=worker
    """
    service = _service(name)
    if not (isinstance(command, list) and command and all(isinstance(word, (str, int, float)) for word in command)):
        raise SaltInvocationError(f"command: {command!r} is not a list of words, such as [python3, -V]")
    containers = [file.removesuffix(".container") for file in service["files"] if file.endswith(".container")]
    wanted = f"{name}-{container}" if container else containers[0] if len(containers) == 1 else None
    if wanted not in containers:
        known = ", ".join(one.removeprefix(f"{name}-") for one in containers) or "none, since it is absent"
        raise SaltInvocationError(f"service {name}: say container=NAME ({known})")
    return _run(["podman", "exec", wanted, *map(str, command)]).rstrip("\n")


def psql(name, command="SELECT current_user, current_database()"):
    """
    Run a statement as a service's user in its database and return the rows.

    command
        One statement of SQL.

    For more, use psql itself: ``sudo -u NAME psql``, if the database is on this host.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue.psql notes 'SELECT count(*) FROM notes'
    """
    postgres = _service(name)["postgres"]
    if not postgres:
        raise CommandExecutionError(f"service {name} has no database (rick:services:{name}:postgres)")
    secret = __salt__["secret.path"](postgres["secret"]) if postgres["secret"] else None
    server = postgres.get("server")
    return __salt__["postgresql.query_as"](name, command, postgres["database"], postgres["role"], secret, server)


def _catalogue():
    return __salt__["catalogue_entries.known"]()


def _refused(service):
    if service["state"] != "present":
        return None
    try:
        return __salt__["generation.refused"](service["name"], service["digest"], service["secrets"])
    except CommandExecutionError:
        # A secret that cannot be read: its own state fails and tells why, and all others go on.
        return None


def _refuse_invalid():
    found = problems()
    if found:
        raise CommandExecutionError("\n".join(found))


def _service(name):
    # States ask for a part each, a dozen times a service.
    completed = __salt__["catalogue_entries.remembered"]().setdefault("completed", {})
    if name not in completed:
        _refuse_invalid()
        known = _catalogue()["services"]
        if name not in known:
            hint = __utils__["catalogue_errors.suggestion"](name, known)
            raise CommandExecutionError(f"there is no service {name!r} in the catalogue{hint}")
        completed[name] = {**known[name], "refused": _refused(known[name])}
    return completed[name]


def _run(command):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandExecutionError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise CommandExecutionError(
            f"{' '.join(command[:3])}: exit code {done.returncode}\n{done.stdout}{done.stderr}".rstrip()
        )
    return done.stdout


def _impact_of_infrastructure(path):
    """What a key of ``rick:COMPONENT`` does to the daemon and to those connected to it."""
    component, *keys = path
    settings = infrastructure(component)
    known = [*__utils__["catalogue_infrastructure.keys"](component)]
    if keys and keys[0] not in known:
        hint = __utils__["catalogue_errors.suggestion"](keys[0], known)
        raise CommandExecutionError(f"rick:{':'.join(path)}: no such setting{hint}")
    everybody = _catalogue()["services"].values()
    answer = {"restarts": [], "reloads": [], "ordered_after": [], "connected": [], "says": "no service is touched"}
    if component == "authentik":
        return {**answer, **__utils__["catalogue_impact.of_authentik"](keys, list(everybody))}
    if component == "caddy":
        return {**answer, "reloads": ["caddy.service"], "says": "sites stay up while Caddy takes it over"}
    if component not in ("postgresql", "valkey"):
        return answer
    if component == "postgresql" and keys[:1] == ["servers"]:
        return {**answer, **__utils__["catalogue_impact.of_servers"](keys[1:], list(everybody))}
    kind = "postgres" if component == "postgresql" else component
    answer["connected"] = [
        one["name"]
        for one in everybody
        if one["state"] == "present"
        and one[kind]
        and one[kind].get("isolation") != "instance"
        and not one.get("server")
    ]
    setting = keys[-1] if keys and keys[-1] != "settings" else None
    restart = _takes_restart(component, setting)
    answer["restarts" if restart else "reloads"] = [settings["unit"]]
    answer["says"] = "connections are cut, containers go on" if restart else "taken over while it runs"
    return answer


def _takes_restart(component, setting):
    """Whether a setting is taken over by a restart only. Of all settings together, some are."""
    if setting is None:
        return True
    if component == "valkey":
        return __utils__["valkey_settings.needs_restart"](setting.replace("_", "-"))
    rows = __salt__["postgresql.query"]("SELECT context FROM pg_settings WHERE name = %s", [setting.lower()])
    return bool(rows) and rows[0]["context"] == "postmaster"
