"""
The same work with pyinfra.

pyinfra reads facts before it changes anything, so the user ids that a container's file needs are those of users whom an
earlier run made. Here another tool has always run before.
"""

import grp
import json
from pathlib import Path

from pyinfra import host
from pyinfra.facts.server import Users
from pyinfra.operations import files, postgres, server, systemd

DECLARED = json.loads(Path("/etc/peers/services.sls").read_text())
POSTGRESQL_CLIENTS, VALKEY_CLIENTS = "postgres-clients", "valkey-clients"


def template(name, dest, mode="644", user=None, group=None, **variables):
    """Install what all peers install; the owner is left alone where the others leave it."""
    return files.template(
        name=f"{name} for {dest}",
        src=f"../templates/{name}.j2",
        dest=dest,
        mode=mode,
        user=user,
        group=group,
        **variables,
    )


def infrastructure():
    """Set up the servers, and return what Caddy has to be reloaded for."""
    server.group(group=POSTGRESQL_CLIENTS, system=True)
    server.group(group=VALKEY_CLIENTS, system=True)
    member = server.user(user="postgres", groups=[POSTGRESQL_CLIENTS], append=True, ensure_home=False)
    template("tmpfiles.conf", "/etc/tmpfiles.d/postgresql-common.conf")
    files.directory(path="/run/postgresql", user="postgres", group=POSTGRESQL_CLIENTS, mode="2770")
    socket = template("socket.conf", "/etc/postgresql/17/main/conf.d/socket.conf", user="postgres", group="postgres")
    systemd.service(
        service="postgresql@17-main", restarted=True, _if=lambda: socket.did_change() or member.did_change()
    )
    systemd.service(service="postgresql@17-main")
    valkey = template(
        "valkey.conf",
        "/etc/valkey/valkey.conf",
        mode="640",
        user="valkey",
        group="valkey",
        valkey_password=DECLARED["valkey_password"],
    )
    fix = template("valkey-socket-fix.service", "/etc/systemd/system/valkey-socket-fix.service")
    systemd.service(
        service="valkey-server",
        restarted=True,
        daemon_reload=True,
        _if=lambda: valkey.did_change() or fix.did_change(),
    )
    systemd.service(service="valkey-server")
    systemd.service(service="valkey-socket-fix", enabled=True)
    files.directory(path="/etc/caddy/sites-enabled", user="root", group="caddy", mode="755")
    caddyfile = template("Caddyfile", "/etc/caddy/Caddyfile", user="root", group="caddy")
    systemd.service(service="caddy")
    return caddyfile


def account(service):
    """Make a service's user."""
    server.group(group=service["name"], system=True)
    server.user(  # noqa: S604 - shell is the user's, nothing is run by it
        user=service["name"],
        group=service["name"],
        groups=[POSTGRESQL_CLIENTS, VALKEY_CLIENTS],
        append=True,
        system=True,
        shell="/bin/bash",
        home=service["home"],
        create_home=True,
        ensure_home=False,
    )


def application(service, users):
    """Make all else a service needs, start it, and return its site."""
    name = service["name"]
    as_postgres = {"_su_user": "postgres"}
    files.directory(path=f"{service['home']}/data", user=name, group=name, mode="750")
    # The role and the grant are sent at every run: pyinfra cannot compare a password or a grant.
    postgres.role(name=f"{name} role", role=service["db_user"], password=service["db_password"], **as_postgres)
    postgres.database(
        database=service["db_name"],
        owner=service["db_user"],
        encoding="UTF8",
        lc_collate="C.UTF-8",
        lc_ctype="C.UTF-8",
        template="template0",
        **as_postgres,
    )
    postgres.sql(sql=f'GRANT ALL ON DATABASE "{service["db_name"]}" TO "{service["db_user"]}"', **as_postgres)
    changed = [
        template(
            "service.env",
            f"{service['home']}/.env",
            mode="600",
            user=name,
            group=name,
            service=service,
            valkey_password=DECLARED["valkey_password"],
        ),
        template("service.pod", f"/etc/containers/systemd/{name}.pod", service=service),
        template(
            "service.container",
            f"/etc/containers/systemd/{name}.container",
            service=service,
            uid=users[name]["uid"],
            gid=users[name]["gid"],
            postgres_clients=grp.getgrnam(POSTGRESQL_CLIENTS).gr_gid,
            valkey_clients=grp.getgrnam(VALKEY_CLIENTS).gr_gid,
        ),
    ]
    site = template(
        "service.caddy", f"/etc/caddy/sites-enabled/{name}.caddy", user="root", group="caddy", service=service
    )
    systemd.service(
        service=f"{name}-pod",
        restarted=True,
        daemon_reload=True,
        _if=lambda: any(item.did_change() for item in changed),
    )
    systemd.service(service=f"{name}-pod")
    return site


reload_for = [infrastructure()]
for declared in DECLARED["services"]:
    account(declared)
known = host.get_fact(Users)
reload_for += [application(declared, known) for declared in DECLARED["services"]]
systemd.service(service="caddy", reloaded=True, _if=lambda: any(item.did_change() for item in reload_for))
