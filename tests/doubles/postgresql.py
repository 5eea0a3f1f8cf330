"""
A PostgreSQL server that takes down what it is told, for what is done to it for a service.
"""

import re

from dunders import functions
from tree import load

ALL = ["CONNECT", "CREATE", "TEMPORARY"]
ROLE = {
    "login": True,
    "connection_limit": -1,
    "createdb": False,
    "superuser": False,
    "createrole": False,
    "replication": False,
    "bypassrls": False,
    "member_of": [],
    "comment": None,
}
RIGHT = {"schemas": True, "tables": True, "future tables": True}


class Server:
    """Roles and databases that change as they are told to; ``done`` lists the calls that change something."""

    def __init__(self):
        self.accepting, self.clusters = True, ["/var/lib/postgresql/17/main"]
        self.roles = {"postgres": {**ROLE, "superuser": True}, "scram-clients": {**ROLE, "login": False}}
        self.databases, self.inside, self.done, self.asked = {}, {}, [], []
        self.available, self.passwords, self.sessions = {"pg_trgm"}, {}, []
        self.elsewhere = {}  # servers on other hosts, each another one of these

    def prepare(self, monkeypatch, folder):
        """Give the modules what Salt's loader would put into them; dumps and archives are in ``folder``."""
        names = ("postgres_tenants", "postgres_dumps", "postgresql_names", "postgresql_locales", "postgresql_server")
        utils = functions("utils", *names, "postgresql_scram")
        utils["secret_files.read"] = lambda path: "a-long-password-of-it" if "missing" not in path else None
        utils["postgresql_locales.missing"] = lambda locale: locale == "xx_XX.UTF-8"
        utils["postgresql_locales.generate"] = lambda locale: self.done.append(f"locale {locale}")
        monkeypatch.setattr(load("utils", "postgres_dumps"), "DUMPS", str(folder / "dumps"))
        monkeypatch.setattr(load("utils", "postgres_dumps"), "ARCHIVE", str(folder / "archive"))
        own = ("postgres_tenant", "postgres_dump")
        salt = {**functions("modules", *own), **self.modules()}
        salt.update({f"{name}.list": load("modules", name).list_ for name in own})
        for module in own:
            monkeypatch.setattr(load("modules", module), "__utils__", utils, raising=False)
            monkeypatch.setattr(load("modules", module), "__salt__", salt, raising=False)
            monkeypatch.setattr(load("modules", module), "__opts__", {"id": "cell1"}, raising=False)
        return utils

    def modules(self):
        own = ("inventory", "query", "change", "role_create", "role_alter", "role_drop", "database_create")
        own += ("database_alter", "database_grant", "database_drop", "extension", "extension_create")
        return {
            **{f"postgresql.{name}": self._routed(name) for name in own},
            "postgresql.servers": lambda: sorted(self.elsewhere),
            "postgresql.place": lambda server: {"host": server, "port": 5432, "authority": "/ca", "user": "rick"},
            "postgresql.server": lambda server=None: {"accepting": self.accepting, "version": "17.6"},
            "postgresql.clusters": lambda: self.clusters,
            "postgresql.forget_connections": lambda database=None, server=None: True,
            "postgresql_password.group": lambda: "scram-clients",
            "postgresql_password.matches": self._routed("matches"),
            "postgresql_password.set": self._routed("set_password"),
            "postgresql_password.refusal": lambda *_: None,
            "secret.path": lambda name: f"/secrets/{name}",
            "debian_packages.missing": lambda packages: packages,
            "debian_packages.install": lambda packages: self.done.append(f"install {packages}"),
        }

    def _routed(self, name):
        def call(*arguments, server=None, **options):
            return getattr(self.elsewhere[server] if server else self, name)(*arguments, **options)

        return call

    def matches(self, role, path, database=None):
        return self.passwords.get(role) == path

    def set_password(self, role, path):
        self.passwords[role] = path

    def inventory(self):
        return {"roles": self.roles, "databases": self.databases}

    def query(self, sql, params=None, database="postgres"):
        self.asked.append(database)
        if "AS extensions" in sql:
            return [{"extensions": [], "public": None, "readers": None, **self.inside.get(database, {})}]
        if "pg_stat_activity" in sql and "terminate" not in sql:
            return [{"role": role} for role in self.sessions]
        if "BINDIR" in sql:
            return [{"setting": "/bin"}]
        if "nspname" in sql and "extname" not in sql:
            return [{"name": "public"}]
        return []

    def change(self, statements, database="postgres"):
        for statement in statements:
            text = statement if isinstance(statement, str) else re.sub(" +", " ", statement.as_string(None))
            self.done.append(text)
            if found := re.fullmatch(r"COMMENT ON DATABASE \"(.*)\" IS '(.*)'", text):
                self.databases[found[1]]["comment"] = found[2]
            elif found := re.fullmatch('ALTER ROLE "(.*)" NOLOGIN', text):
                self.roles[found[1]]["login"] = False
            elif found := re.fullmatch('ALTER DATABASE "(.*)" CONNECTION LIMIT (.*)', text):
                self.databases[found[1]]["connection_limit"] = int(found[2])
            elif found := re.fullmatch('GRANT USAGE ON SCHEMA "public" TO "(.*)"', text):
                self.inside.setdefault(database, {}).setdefault("readers", {})[found[1]] = RIGHT

    def role_create(self, name, **options):
        self.done.append(f"role {name}")
        self.roles[name] = {**ROLE, **options}

    role_alter = role_create

    def role_drop(self, name):
        self.done.append(f"drop role {name}")
        del self.roles[name]

    def database_create(self, name, owner, locale):
        self.done.append(f"database {name}")
        self.databases[name] = {
            "owner": owner,
            "encoding": "UTF8",
            "locale": locale,
            "ctype": locale,
            "connection_limit": -1,
            "connectable": True,
            "comment": None,
            "privileges": {"PUBLIC": ["CONNECT"], owner: ALL},
        }

    def database_alter(self, name, owner):
        self.done.append(f"alter database {name}")
        self.databases[name].update(owner=owner, connection_limit=-1, connectable=True)

    def database_grant(self, name, privileges):
        self.databases[name]["privileges"] = privileges

    def database_drop(self, name, force=False):
        self.done.append(f"drop database {name}")
        del self.databases[name]

    def extension(self, name, database):
        return {"available": "1" if name in self.available else None, "installed": None}

    def extension_create(self, name, database, schema=None):
        self.done.append(f"extension {name}")
        self.inside.setdefault(database, {}).setdefault("extensions", []).append(name)
