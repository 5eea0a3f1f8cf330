"""
What each host of a fleet is and may know, decided on the master for the id whose key it has accepted.

.. code-block:: yaml

    # /etc/salt/master.d/50-rick-infra.conf
    ext_pillar:
      - fleet: /etc/rick-infra

The folder holds

``fleet.yaml``
    Which host is a cell, an edge, or runs Authentik (``fleet_file``).

``services/NAME.yaml``
    One entry a file, as on a host by itself, and in each the ``cells`` that run it.

``secrets/NAME.yaml``
    Secrets of the service NAME, a mapping; they are ``secrets:NAME:…`` in the pillar of its cells.

``hosts/ID.yaml``
    Settings of one host, as below ``rick`` in ``site.sls``, over which they go.

A host gets its own part of each, and no other host's (``fleet_view``). What hosts must know of others, addresses and
certificates, comes from the mine, which is read here and which no minion may read.
"""

import functools
import hashlib
import hmac
import ipaddress
import os
import secrets
import tempfile
from pathlib import Path

import salt.cache
import salt.key

ENTRY = "an entry is a mapping of keys, at least image: NAME:TAG and cells: ID"
SECRETS = "a mapping of secrets by name"
SETTINGS = "a mapping of settings, as below rick in site.sls"
FLEET = "a mapping with cells: a list of patterns of minion ids"
MINE = "fleet.published"
# Where this module lies in the tree, through the link in salt/; a copy of Salt's own has no tree around it.
TREE = Path(__file__).resolve().parent.parent
# Both can be lost: with the key, client secrets change at the next roll-out; without marks, no cell is drained.
KEY = "/var/lib/rick-infra/fleet.key"
DRAINED = "/var/lib/rick-infra/drained"
# What the master decides about a host, not a file about it.
DECIDED = ("services", "services_errors", "fleet", "only")


def ext_pillar(minion_id, pillar, folder):
    """
    Return a host's ``rick:services``, ``rick:services_errors`` and ``rick:fleet``, its settings and its secrets.

    minion_id
        The host, as the master knows it by its key.

    pillar
        The ordinary pillar of the host.

    folder
        Path of the folder with the site's files.
    """
    known, _ = read(folder, pillar)
    answer = __utils__["fleet_view.view"](minion_id, known)
    answer["fleet"]["modules"] = __utils__["module_tree.digest"](TREE, "_")
    settings, wrong = _settings(folder, minion_id)
    answer["services_errors"] += wrong
    ordinary = pillar.get("rick") if isinstance(pillar.get("rick"), dict) else {}
    for key in ("services", "fleet"):
        if ordinary.get(key):
            answer["services_errors"].append(
                f"rick:{key} of the pillar: with a master, it is made from the files in {folder}; move what is there"
            )
    rick = {**settings, **answer}
    return {"rick": rick, "secrets": _secrets(folder, minion_id, known, answer)}


def read(folder, pillar):
    """
    Return what the master knows of the fleet, and what is wrong with it: ``(fleet, {path: sentence})``.

    folder
        As for ``ext_pillar``.

    pillar
        The ordinary pillar, of any host: what it says of Authentik holds for the host that runs it.

    The fleet is as ``fleet_view.view`` takes it. A path is that of a file, the sentence why it cannot be used.
    """
    place = Path(folder)
    remembered = __utils__["process_memory.of"]("entries")
    entries, wrong = __utils__["plain_files.mappings"](place / "services", ENTRY, remembered)
    topology = _topology(place / "fleet.yaml", wrong)
    for name, problems in __utils__["fleet_file.misplaced"](entries).items():
        path = place / "services" / f"{name}.yaml"
        wrong[str(path)] = "\n".join(f"{path}: {problem}" for problem in problems)
        del entries[name]
    domain, tls = _authentik(folder, topology["sso"], pillar, wrong)
    mine = functools.cache(lambda: salt.cache.factory(__opts__))  # not made for a host that needs nothing of it

    functions = ("roles", "edges_of", "cells_behind", "runs_on", "where")
    return {
        "topology": topology,
        "hosts": _hosts(),
        "entries": entries,
        "unreadable": sorted(wrong),
        "drained": _drained(),
        "domain": domain,
        "domain_tls": tls,
        "published": functools.cache(lambda host: _published(mine(), host)),
        **{name: __utils__[f"fleet_file.{name}"] for name in functions},
    }, wrong


def _hosts():
    """The ids whose keys are accepted. Salt looks at each key; here that is done again if one came, went or moved."""
    known = __utils__["process_memory.of"]("hosts")
    folder = Path(__opts__["pki_dir"]) / "minions"
    # Where Salt keeps keys as something else than files, there is no such folder.
    now = __utils__["plain_files.identity"](folder.stat()) if folder.is_dir() else None
    if now and known.get(str(folder), (None,))[0] == now:
        return known[str(folder)][1]
    hosts = frozenset(salt.key.get_key(__opts__).list_status("accepted")["minions"])
    if now:
        known[str(folder)] = (now, hosts)
    return hosts


def _topology(path, wrong):
    nothing = {"cells": [], "edges": {}, "sso": None, "addresses": {}}
    if not path.exists():
        wrong[str(path)] = f"{path}: does not exist, so no host has a role; {FLEET}"
        return nothing
    data, error = __utils__["plain_files.mapping"](path, FLEET)
    if error:
        wrong[str(path)] = error
        return nothing
    topology, problems = __utils__["fleet_file.topology"](data)
    if problems:
        wrong[str(path)] = "\n".join(f"{path}: {problem}" for problem in problems)
        return nothing
    return topology


def of_hosts_and_services(folder, fleet):
    """
    Return what is wrong with files that reach one host or the cells of one service, ``{path: sentence}``. To look at
    all of them takes too long for each pillar, so this is for whoever asks what is wrong.

    folder, fleet
        As for ``read``, and what it returns; and in ``fleet``, ``by_ssh``.
    """
    place = Path(folder)
    settings, wrong = __utils__["plain_files.mappings"](place / "hosts", SETTINGS)
    _, wrong_secrets = __utils__["plain_files.mappings"](place / "secrets", SECRETS)
    wrong |= wrong_secrets
    for host, data in settings.items():
        path = place / "hosts" / f"{host}.yaml"
        problems = _misplaced(path, data)
        if host not in fleet["hosts"] and host not in fleet["by_ssh"]:
            problems = [f"{path}: no host of that id is let in; rename it to ID.yaml, or delete it"]
        if problems:
            wrong[str(path)] = "\n".join(problems)
    return wrong


def _authentik(folder, sso, pillar, wrong):
    """The domain where the users of the fleet log in and the certificate of its site; None if nobody can."""
    if sso is None:
        return None, None
    said: dict = {}
    own, errors = _settings(folder, sso)
    if errors:
        # Without a domain, everybody's logins would be taken away.
        wrong[str(Path(folder) / "hosts" / f"{sso}.yaml")] = "\n".join(errors)
    rick = pillar.get("rick")
    for settings in (rick if isinstance(rick, dict) else {}, own):
        about = settings.get("authentik")
        said |= about if isinstance(about, dict) else {}
    domain = said.get("domain")
    return (domain if isinstance(domain, str) else None), said.get("tls", "internal")


def _settings(folder, host):
    path = Path(folder) / "hosts" / f"{host}.yaml"
    if not path.exists():
        return {}, []
    data, error = __utils__["plain_files.mapping"](path, SETTINGS)
    if error:
        return {}, [error]
    return {key: value for key, value in data.items() if key not in DECIDED}, _misplaced(path, data)


def _misplaced(path, data):
    return [f"{path}: {key}: is decided by fleet.yaml and the entries, not here" for key in data if key in DECIDED]


def _secrets(folder, host, fleet, answer):
    """Those of the services that run there, and the client secrets that this host and another one must both know."""
    found: dict = {}
    for name in sorted(answer["services"]):
        path = Path(folder) / "secrets" / f"{name}.yaml"
        if path.exists():
            data, error = __utils__["plain_files.mapping"](path, SECRETS)
            answer["services_errors"] += [error] if error else []
            found[name] = data or {}
    for name in __utils__["fleet_view.shared_logins"](host, answer["services"], fleet):
        found.setdefault(name, {})["auth"] = _client_secret(name)
    return found


def _client_secret(name):
    """Made from a key of the master's: whoever may have it gets the same, and there is no file of it to keep."""
    return hmac.new(_key(), f"client secret of {name}".encode(), hashlib.sha256).hexdigest()


def _key():
    path = Path(KEY)
    for folder in reversed(path.parents):
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
    if not path.exists():
        # Several workers may come here at once: the first one's stays.
        descriptor, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(secrets.token_bytes(32))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(staged, path)
        except FileExistsError:
            pass
        finally:
            Path(staged).unlink()
    return path.read_bytes()


def _drained():
    try:
        return sorted(path.name for path in Path(DRAINED).iterdir())
    except FileNotFoundError:
        return []


def _published(mine, host):
    """What a host says of itself, as far as it is what it must be: nobody else's site is to break over it."""
    kept = mine.fetch("mine", host)
    said = kept.get(MINE) if isinstance(kept, dict) else None
    if not isinstance(said, dict):
        return {}
    found = {key: _certificate(said.get(key)) for key in ("certificate", "authority")}
    try:
        found["address"] = str(ipaddress.ip_address(str(said.get("address"))))
    except ValueError:
        found["address"] = None
    return found


def _certificate(text):
    """The one certificate of a PEM text, written as the library writes it; None if it is none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        return x509.load_pem_x509_certificate(str(text).encode()).public_bytes(Encoding.PEM).decode()
    except ValueError:
        return None
