"""
The ground under ``catalogue``: the entries, from the pillar to resolved services, with all that is wrong in them.

The work is done when something has changed; otherwise its outcome is read from
``/var/lib/rick-infra/catalogue.json``, and the library that validates is not even loaded.
"""

import hashlib
import json
import re

from salt.exceptions import CommandExecutionError

CONTEXT = "catalogue"
AUTHENTIK = "authentik"  # what its service is called
# What judging takes where the settings are wrong. No service is made of it.
STAND_INS = {
    "postgresql": {"unit": "postgresql.service"},
    "valkey": {"unit": "valkey-server.service", "socket": "/run/valkey/valkey.sock"},
}
# An error of the external pillar begins with the file's path.
UNREADABLE = re.compile(r"\S*/(?P<name>[^/]+)\.yaml:")


def declared():
    """
    Return the entries as they were written, ``{name: data}``, and that of Authentik if this host runs it.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue_entries.declared
    """
    entries = _rick().get("services")
    entries = entries if isinstance(entries, dict) else {}
    settings, wrong = _authentik()
    if settings is None or wrong or AUTHENTIK in entries:
        return entries
    return {**entries, AUTHENTIK: __utils__["authentik_entry.entry"](settings)}


def only():
    """
    Return the names that this run is about (``rick:only``), None for all.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue_entries.only
    """
    names = _rick().get("only")
    return [names] if isinstance(names, str) else names


def known():
    """
    Return what follows from the entries and from what is known of the host.

    ``{"names", "services", "order", "claims", "databases", "logins", "problems"}``: ``services`` are
    resolved, and none if there are problems; ``claims`` are the names that each takes on the host, ``databases`` those
    in PostgreSQL; ``logins`` are of services on other hosts whose users log in here, resolved, too.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue_entries.known --out=json
    """
    memory = remembered()
    if "catalogue" not in memory:
        entries = declared()
        broken = [found["name"] for found in map(UNREADABLE.match, _errors_of_files()) if found]
        settings, wrong = _authentik()
        host = {"ports": __utils__["catalogue_host.ports"](entries), "problems": list(wrong)}
        host["sso"] = settings["domain"] if settings else "unknown" if wrong else _domain_elsewhere()
        host["behind"] = bool(_fleet().get("edges"))
        host["client_secrets"] = _client_secrets()
        host["logins"] = _fleet().get("logins") or {}
        for component in ("postgresql", "valkey"):
            try:
                host[component] = __utils__["catalogue_infrastructure.settings"](component, __pillar__, __grains__)
            except CommandExecutionError as error:
                host["problems"] += str(error).splitlines()
        key = __utils__["catalogue_cache.key"]([entries, broken, host], __file__)
        answer = __utils__["catalogue_cache.load"](key)
        if answer is None:
            # Asked for new ports only, so it is no part of the key.
            answer, passing = _judged(entries, broken, {**host, "listening": __utils__["catalogue_host.listening"]()})
            ports = {name: one["port"] for name, one in answer["services"].items() if one["port"]}
            # Once the services run, their ports are known, which changes nothing else.
            settled = __utils__["catalogue_cache.key"](
                [entries, broken, {**host, "ports": {**host["ports"], **ports}}], __file__
            )
            # Who holds a port may be gone the next time, of which the key knows nothing.
            if key and not passing and not __opts__.get("test"):
                __utils__["catalogue_cache.store"]([key, settled], answer)
        memory["catalogue"] = answer
    return memory["catalogue"]


def problems():
    """
    Return all that is wrong in the catalogue, sentences that each begin with their place, sorted.

    What has to do with the live host (a user or database of that name exists and is no service's) is asked once a run.

    CLI Example:

    .. code-block:: bash

        salt-call catalogue_entries.problems
    """
    memory = remembered()
    if "problems" not in memory:
        catalogue = known()
        found = [*catalogue["problems"], *_errors_of_files(), *_only_problems(catalogue["names"])]
        units = [unit for about in catalogue["claims"].values() for unit, _ in about["claims"] if "." in unit]
        host = __utils__["catalogue_host.taken"](units)
        found += __utils__["catalogue_names.foreign"](catalogue["claims"], host)
        found += _foreign_databases(catalogue["databases"])
        memory["problems"] = sorted(set(found))
    return list(memory["problems"])


def remembered():
    """
    Return what this run has found out about the present pillar, a mapping to add to.

    CLI Example: none, what is remembered lasts for a run only.
    """
    rick = _rick()
    memory = __context__.get(CONTEXT)
    # The same pillar, not an equal one: that is quick to tell, and states ask several times a service.
    if memory is None or memory["pillar"] is not rick:
        memory = __context__[CONTEXT] = {"pillar": rick}
    return memory


def _rick():
    rick = __pillar__.get("rick")
    return rick if isinstance(rick, dict) else {}


def _authentik():
    """The settings of Authentik if this host runs it, else None; and what is wrong with them."""
    memory = remembered()
    if "authentik" not in memory:
        try:
            settings = __utils__["catalogue_infrastructure.settings"]("authentik", __pillar__, __grains__)
        except CommandExecutionError as error:
            memory["authentik"] = (None, str(error).splitlines())
            return memory["authentik"]
        wrong = []
        if settings["domain"] is not None:
            installed = __utils__["catalogue_host.image"](f"{AUTHENTIK}-server")
            wrong = __utils__["authentik_entry.problems"](settings, installed)
            if AUTHENTIK in (_rick().get("services") or {}):
                wrong.append(
                    f"rick:services:{AUTHENTIK}: this host runs Authentik already (rick:authentik:domain); rename this "
                    "service, or move what it says to rick:authentik"
                )
        memory["authentik"] = (settings if settings["domain"] else None, wrong)
    return memory["authentik"]


def _fleet():
    fleet = _rick().get("fleet")
    return fleet if isinstance(fleet, dict) else {}


def _domain_elsewhere():
    """Where users log in if another host runs Authentik."""
    return (_fleet().get("sso") or {}).get("domain")


def _client_secrets():
    """The services whose client secret comes from the master, because Authentik's host and another one must know it."""
    given = __pillar__.get("secrets")
    given = given if isinstance(given, dict) and _fleet() else {}
    return sorted(name for name, about in given.items() if isinstance(about, dict) and "auth" in about)


def _errors_of_files():
    rick = _rick()
    if "services_errors" not in rick:
        return [
            "rick:services: the files of /etc/rick-infra/services were not read: the minion's configuration has no "
            "ext_pillar: [services: /etc/rick-infra/services] (bin/bootstrap writes it)"
        ]
    errors = rick["services_errors"]
    return [str(error) for error in errors] if isinstance(errors, list) else [str(errors)]


def _only_problems(names):
    wanted = only()
    if wanted is None:
        return []
    if not isinstance(wanted, list):
        return [f"rick:only: {wanted!r} is not a list of services"]
    hint = __utils__["catalogue_errors.suggestion"]
    return [f"rick:only: there is no service {name!r}{hint(name, names)}" for name in wanted if name not in names]


def _judged(data, broken, host):
    """Everything anew, from the data of the entries; and what of the problems may pass without a change of them."""
    sentence = __utils__["catalogue_errors.sentence"]
    schema_functions = [__utils__[f"catalogue_schema.{name}"] for name in ("complete", "known_keys", "forms")]
    found, entries, doubtful = list(host["problems"]), {}, {}
    for name, one in data.items():
        unfit = __utils__["catalogue_names.problem"](name)
        if unfit:
            found.append(f"rick:services:{name}: {name!r} cannot be the name of a service: {unfit}")
        entry, wrong, hidden = __utils__["catalogue_errors.judge"](one, name, *schema_functions)
        found += [sentence(name, path, text) for path, text in wrong]
        if entry is not None and isinstance(name, str):
            entries[name], doubtful[name] = entry, hidden
    claims = {
        name: __utils__["catalogue_names.claims"](name, entry)
        for name, entry in entries.items()
        if not __utils__["catalogue_names.problem"](name)
    }
    connections = int(host["postgresql"]["settings"]["max_connections"]) if "postgresql" in host else None
    found += __utils__["catalogue_checks.problems"](entries, [*data, *broken], connections, claims, doubtful)
    services_, unresolved = __utils__["catalogue_resolve.resolve"](entries, {**STAND_INS, **host}, doubtful)
    found += [__utils__["catalogue_errors.from_sentence"](text) for text in unresolved]
    found += _refused(entries, services_, doubtful)
    logins, wrong = _logins(host, schema_functions)
    found += wrong
    passing = _held({name: entry for name, entry in entries.items() if entry["state"] == "present"}, [*data, *broken])
    found += passing
    if not found:
        for name, service in services_.items():
            for piece in ("units", "timers", "files"):
                service[piece] = __utils__[f"service_units.{piece}"](entries[name], service)
            service["digest"] = _digest(service)
    answer = {
        "names": [str(name) for name in [*data, *broken]],
        "services": {} if found else services_,
        "order": [] if found else __utils__["catalogue_checks.order"](entries),
        "claims": {name: {"uid": entries[name]["uid"], "claims": claimed} for name, claimed in claims.items()},
        "databases": {
            name: {
                "name": name,
                "role": name,
                "database": entries[name]["postgres"]["database"] or name,
                "readonly_roles": entries[name]["postgres"]["readonly_roles"],
            }
            for name in claims
            # At a server elsewhere its own state looks: the catalogue does not wait for a network.
            if entries[name]["postgres"]
            and not entries[name]["postgres"]["host"]
            and entries[name]["state"] != "absent"
        },
        "logins": {} if found else logins,
        "problems": found,
    }
    return answer, passing


def _logins(host, schema_functions):
    """
    What Authentik has here of services on other hosts. All else of their entries is judged where they run; here they
    are told with what no login depends on.
    """
    found, resolved = [], {}
    for name, told in host.get("logins", {}).items():
        if told is not None:
            data = {"image": "localhost/elsewhere:1", "port": 80, **{key: one for key, one in told.items() if one}}
            entry, wrong, _ = __utils__["catalogue_errors.judge"](data, name, *schema_functions)
            found += [__utils__["catalogue_errors.sentence"](name, path, text) for path, text in wrong]
            resolved[name] = entry and __utils__["catalogue_resolve.login"](name, entry, host["sso"])
    return resolved, found


def _held(entries, names):
    """What entries want to publish and somebody holds who is no service."""
    wanted = __utils__["catalogue_checks.published"](entries)
    held = __utils__["catalogue_listeners.strangers"]([one[2:] for one in wanted], names)
    return [
        __utils__["catalogue_errors.sentence"](
            name, path, f"port {port}/{protocol} of {address} is taken by {held[address, port, protocol]}"
        )
        for name, path, address, port, protocol in wanted
        if (address, port, protocol) in held
    ]


def _refused(entries, services, doubtful):
    """What states would refuse further on."""
    sentence = __utils__["catalogue_errors.sentence"]
    functions = ("catalogue_checks.containers", "caddy_directives.statements", "valkey_acl.line")
    rules = [__utils__[name] for name in functions]
    found, events = [], []
    for name, service in services.items():
        entry = entries[name]
        # Asked here: what runs in a util does not find the dunders of a module.
        opened = {bind["source"]: _opened(bind["source"]) for bind in entry["binds"]}
        wrong = __utils__["catalogue_refusals.problems"](entry, service, *rules, opened, doubtful[name])
        found += [sentence(name, path, text) for path, text in wrong]
        events += [(name, path, event) for path, event in __utils__["catalogue_refusals.schedules"](entry)]
    unfit = __utils__["units.not_calendar"](list(dict.fromkeys(event for _, _, event in events)))
    return found + [
        sentence(name, path, f"{event!r} is no calendar event (systemd.time(7)): {unfit[event]}")
        for name, path, event in events
        if event in unfit
    ]


def _opened(path):
    """The directories of shared sockets, and of other services' own, that a path of the host leads to."""
    private = __utils__["private_units.root"]()
    shared = [about["directory"] for about in __utils__["client_groups.declared"]().values()]
    unit = __utils__["quadlet_text.unit"]("container", {"Container": {"Volume": f"{path}:/x"}})
    reached, _ = __utils__["quadlet_guard.sockets"](unit, [*shared, private], private)
    return reached


def _foreign_databases(wanted):
    """Databases and roles that are there already and are not the service's, as far as PostgreSQL can be asked."""
    try:
        if not wanted or not __salt__["postgresql.server"]()["accepting"]:
            return []
        inventory = __salt__["postgresql.inventory"]()
    except CommandExecutionError:
        return []  # PostgreSQL's own states say why
    found = []
    for name, about in wanted.items():
        try:
            __utils__["postgres_tenants.refuse_foreign"](about, inventory)
        except CommandExecutionError as error:
            told = str(error).partition(": ")[2]
            found.append(__utils__["catalogue_errors.sentence"](name, ["postgres"], told))
    return found


def _digest(service):
    """
    A digest of what runs: neither of what is only told to people, nor of the order in which it was written, nor of
    what starts after what.
    """
    untold = ("description", "rollback", "data", "needs", "after")
    told = {key: value for key, value in service.items() if key not in untold}
    told["units"] = [
        {**unit, "definition": {section: keys for section, keys in unit["definition"].items() if section != "Unit"}}
        for unit in service["units"]
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
