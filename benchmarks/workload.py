#!/usr/bin/env python3
"""
The services that are deployed to be measured: the same ones for our tree and for the peers, in the form of each.

  workload.py tree 10              declare ten services to our tree, on this host
  workload.py peers 10 svc05=Hi    declare them to the peers; one of them greets with Hi

Standard library only: it runs in lab machines as they are.
"""

import argparse
import hashlib
import json
import os
from pathlib import Path

IMAGE = "localhost/hello:1"
GREETING = "Hello"
FIRST_PORT = 8101
# Together, services may have as many as PostgreSQL has (200) but for the 10 that are kept for administration.
MOST = 60
CONNECTIONS = 3
ENTRIES = Path("/etc/rick-infra/services")
PEERS = Path("/etc/peers/services.sls")  # YAML to Salt and Ansible, JSON to pyinfra


def names(count):
    """Return the names of ``count`` services; fewer services are always the first ones of more."""
    return [f"svc{number:02d}" for number in range(1, count + 1)]


def port(name):
    """Return the port at which a service is reached on the host."""
    return FIRST_PORT + int(name.removeprefix("svc")) - 1


def entry(name, greeting):
    """Return a service as our catalogue declares it. Its passwords are made on the host."""
    return {
        "image": IMAGE,
        "port": 8080,
        "host_port": port(name),
        "health": "/",
        "site": f"{name}.example.test",
        "postgres": {"connection_limit": CONNECTIONS},
        "valkey": True,
        "secrets": {"key": True},
        "volumes": {"data": "/data"},
        "env": {
            "DATABASE_URL": "{postgres.url}",
            "CACHE_URL": "{valkey.url}",
            "SECRET_KEY": "{secret.key}",
            "GREETING": greeting,
        },
    }


def peer(name, greeting):
    """Return a service as the peers' templates expect it. They cannot make passwords, so these are made up here."""
    return {
        "name": name,
        "image": IMAGE,
        "home": f"/opt/{name}",
        "port": port(name),
        "domain": f"{name}.example.test",
        "db_name": f"{name}_db",
        "db_user": name,
        "db_password": made_up(name, "database"),
        "secret_key": made_up(name, "key"),
        "valkey_db": port(name) % 16,
        "greeting": greeting,
    }


def made_up(*words):
    return hashlib.sha256("/".join(words).encode()).hexdigest()[:40]


def files(side, count, greetings):
    """Return what declares ``count`` services: ``{path: text}``. ``greetings`` are ``{name: text}``."""
    greeting = {name: greetings.get(name, GREETING) for name in names(count)}
    if side == "tree":
        return {ENTRIES / f"{name}.yaml": json.dumps(entry(name, text), indent=1) for name, text in greeting.items()}
    services = [peer(name, text) for name, text in greeting.items()]
    return {PEERS: json.dumps({"valkey_password": made_up("valkey"), "services": services}, indent=1)}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("side", choices=["tree", "peers"])
    arguments.add_argument("count", type=int)
    arguments.add_argument("greetings", nargs="*", metavar="NAME=GREETING")
    options = arguments.parse_args()
    os.umask(0o077)  # there are passwords in it
    greetings = dict(word.split("=", 1) for word in options.greetings)
    for path, text in files(options.side, options.count, greetings).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
