"""
What a service has in PostgreSQL, compared with what is there: no questions asked here, nothing changed.

A role or database is a service's because it says so: its comment is
``rick-infra service NAME``. A database's owner may rewrite the comment of the
database, but nobody may rewrite that of its own role, so for a database the
mark of its owner counts for more. It also tells whose a database is that a
killed run has made and not marked.

A server on another host may be that of several hosts, each with services of its own. There the mark
is ``rick-infra service NAME of HOST``, and what is of another host is as foreign as what has no mark.
"""

import re
from typing import Any

from salt.exceptions import CommandExecutionError, SaltInvocationError

ALL = ["CONNECT", "CREATE", "TEMPORARY"]
NEVER = {"superuser": False, "createrole": False, "replication": False, "bypassrls": False, "createdb": False}
_SERVICE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 63  # characters, as of all names in PostgreSQL
_MARK = re.compile(rf"rick-infra service ({_SERVICE.pattern})(?:, (read-only|scratch))?")

# Inside a database where only the owner gets in, and inside one where others read along. A right that PUBLIC has does
# not count for a reader: it could go any day.
EXTENSIONS = """
SELECT ARRAY(SELECT extname::text FROM pg_extension) AS extensions, NULL AS public, NULL AS readers
"""
INSIDE = """
WITH readers AS (SELECT oid, rolname FROM pg_roles WHERE rolname = ANY(%(readers)s)),
     schemas AS (SELECT oid, nspacl FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
     relations AS (SELECT c.relacl FROM pg_class c JOIN schemas s ON s.oid = c.relnamespace
                   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (
                       SELECT FROM pg_depend d
                       WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')),
     future AS (SELECT d.defaclobjtype, d.defaclacl FROM pg_default_acl d JOIN pg_roles o ON o.oid = d.defaclrole
                WHERE o.rolname = %(owner)s AND d.defaclnamespace = 0 AND d.defaclobjtype IN ('r', 'S', 'n'))
SELECT ARRAY(SELECT extname::text FROM pg_extension) AS extensions,
       (SELECT json_build_object('owner', pg_get_userbyid(nspowner)::text, 'open', EXISTS (
            SELECT FROM aclexplode(nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE'))
        FROM pg_namespace WHERE nspname = 'public') AS public,
       (SELECT json_object_agg(r.rolname, json_build_object(
            'schemas', NOT EXISTS (SELECT FROM schemas WHERE '{USAGE}' <> ARRAY(
                SELECT a.privilege_type FROM aclexplode(nspacl) a WHERE a.grantee = r.oid)),
            'tables', NOT EXISTS (SELECT FROM relations WHERE '{SELECT}' <> ARRAY(
                SELECT a.privilege_type FROM aclexplode(relacl) a WHERE a.grantee = r.oid)),
            'future tables', 3 = (SELECT count(*) FROM future
                WHERE CASE defaclobjtype WHEN 'n' THEN '{USAGE}'::text[] ELSE '{SELECT}' END = ARRAY(
                    SELECT a.privilege_type FROM aclexplode(defaclacl) a WHERE a.grantee = r.oid))))
        FROM readers r) AS readers
"""
SCHEMAS = "SELECT nspname::text AS name FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"

# The same on a server elsewhere.
_MARK_ELSEWHERE = re.compile(rf"(rick-infra service {_SERVICE.pattern}) of ([^,]+)((?:, (?:read-only|scratch))?)")

_PACKAGES = {"vector": "pgvector", "postgis": "postgis-3"}  # others are called as the extension, without its pg_


def check_name(name):
    """
    Raise SaltInvocationError unless a mark, and so the comment of a role, can name this service.
    """
    if not isinstance(name, str) or not _SERVICE.fullmatch(name) or len(name) > _LONGEST:
        raise SaltInvocationError(f"service {name!r}: a name has up to {_LONGEST} letters, digits or _.-")


def mark(name, kind=None):
    """
    Return the comment that makes a role or database that of a service.

    kind
        None, ``read-only`` or ``scratch``: what else it is.
    """
    return f"rick-infra service {name}, {kind}" if kind else f"rick-infra service {name}"


def mark_of(host, comment):
    """
    Return a mark as it stands on a server elsewhere that may be other hosts', too: with the name of its host.
    """
    _, kind = marked(comment)
    kind = f", {kind}" if kind else ""
    return f"{comment.removesuffix(kind)} of {host}{kind}"


def seen_from(host, inventory):
    """
    Return the inventory of a server elsewhere with marks as on a host's own. Others' are left out.
    """

    def own(comment):
        found = _MARK_ELSEWHERE.fullmatch(comment or "")
        return f"{found[1]}{found[3]}" if found and found[2] == host else None

    return {
        kind: {name: {**thing, "comment": own(thing["comment"])} for name, thing in things.items()}
        for kind, things in inventory.items()
    }


def marked(comment):
    """
    Return ``(service, kind)`` of a comment, ``(None, None)`` if it is no mark.
    """
    form = _MARK.fullmatch(comment or "")
    return (form[1], form[2]) if form else (None, None)


def whose(inventory, kind, name):
    """
    Return the service that a role or database belongs to, None if to none.

    kind
        ``roles`` or ``databases``, as in the inventory.
    """
    thing = inventory[kind][name]
    if kind == "databases":
        owner, _ = marked(inventory["roles"].get(thing["owner"], {}).get("comment"))
        if owner:
            return owner
    return marked(thing["comment"])[0]


def tenants(inventory):
    """
    Return what each service has, ``{service: {"roles", "readonly_roles", "databases": sorted names, "locked": bool}}``.
    """
    found = {}
    for kind in ("roles", "databases"):
        for name, thing in sorted(inventory[kind].items()):
            service = whose(inventory, kind, name)
            if service:
                entry = found.setdefault(service, {"roles": [], "readonly_roles": [], "databases": [], "locked": True})
                reader = kind == "roles" and marked(thing["comment"])[1] == "read-only"
                entry["readonly_roles" if reader else kind].append(name)
                # A role that may log in, or a database that may be logged in to: not locked.
                entry["locked"] &= not thing["login"] if kind == "roles" else thing["connection_limit"] == 0
    return found


def refuse_foreign(wanted, inventory):
    """
    Raise CommandExecutionError if what the service asks for exists and is not its own, naming the way out.
    """
    problems = []
    host = wanted.get("host")
    psql = f"psql -h {wanted['server']} as a superuser there" if host else "sudo -u postgres psql"
    asked = [("roles", name) for name in (wanted["role"], *wanted["readonly_roles"])]
    for kind, name in [*asked, ("databases", wanted["database"])]:
        if name not in inventory[kind]:
            continue
        owner = whose(inventory, kind, name)
        if owner == wanted["name"]:
            continue
        what = kind.removesuffix("s")
        told = f"belongs to service {owner}" if owner else "exists and was not made for it"
        way_out = f"choose another {what}"
        if not owner:
            # As it has to be typed: names and marks hold nothing that a shell would take for its own.
            own = mark(wanted["name"])
            adopt = f"COMMENT ON {what.upper()} \\\"{name}\\\" IS '{mark_of(host, own) if host else own}'"
            way_out += f', rename that one, or hand it over: {psql} -c "{adopt}"'
        problems.append(f"{what} {name} {told}; {way_out}")
    if problems:
        raise CommandExecutionError(f"service {wanted['name']}: " + "; ".join(problems))


def role_options(wanted):
    """
    Return the arguments of ``postgresql.role_create`` for the service's role.
    """
    return {
        "connection_limit": wanted["connection_limit"],
        "member_of": [wanted["group"]] if wanted["auth"] == "scram" and wanted["group"] else [],
        "comment": mark(wanted["name"]),
    }


def reader_options(wanted):
    """
    Return the arguments of ``postgresql.role_create`` for a role that only reads.
    """
    return {
        "connection_limit": wanted["readonly_connection_limit"],
        "member_of": [],
        "comment": mark(wanted["name"], "read-only"),
    }


def privileges(wanted):
    """
    Return who has which rights on the database, ``{role: [...]}``; nobody else has any.
    """
    return {**{reader: ["CONNECT"] for reader in wanted["readonly_roles"]}, wanted["role"]: ALL}


def differences(wanted, inventory):
    """
    Return what has to change in roles and databases, ``{what: {"old": ..., "new": ...}}``.
    """
    roles, databases = inventory["roles"], inventory["databases"]
    changes = {}
    changes.update(_role("role", wanted["role"], roles, role_options(wanted)))
    for reader in wanted["readonly_roles"]:
        changes.update(_role(f"read-only role {reader}", reader, roles, reader_options(wanted)))
    for reader in surplus_readers(wanted, inventory):
        changes[f"read-only role {reader}"] = {"old": "present", "new": None}
    settings = {
        "owner": wanted["role"],
        "connection_limit": -1,
        "connectable": True,
        "comment": mark(wanted["name"]),
        "privileges": privileges(wanted),
    }
    present = databases.get(wanted["database"])
    if present is None:
        new = {"name": wanted["database"], "owner": wanted["role"], "locale": wanted["locale"]}
        changes["database"] = {"old": None, "new": new}
    else:
        changes.update(_differing("database", present, settings))
    return changes


def surplus_readers(wanted, inventory):
    """
    Return the service's read-only roles that are not asked for, sorted.
    """
    declared = {wanted["role"], *wanted["readonly_roles"]}
    return sorted(
        name
        for name, role in inventory["roles"].items()
        if marked(role["comment"]) == (wanted["name"], "read-only") and name not in declared
    )


def inside_differences(wanted, inventory, facts):
    """
    Return what has to change inside the database. ``facts`` is the row of ``INSIDE``, None if there is no database yet.
    """
    changes: dict[str, dict[str, Any]] = {}
    missing = sorted(set(wanted["extensions"]) - set(facts["extensions"] if facts else ()))
    if missing:
        changes["extensions"] = {"old": [], "new": missing}
    public = facts["public"] if facts else None
    if public and (public["owner"] not in ("pg_database_owner", wanted["role"]) or public["open"]):
        was = f"of {public['owner']}, {'with' if public['open'] else 'without'} CREATE for PUBLIC"
        changes["schema public"] = {"old": was, "new": "of the database's owner, without CREATE for PUBLIC"}
    known = (facts["readers"] if facts else None) or {}
    for reader in wanted["readonly_roles"]:
        wrong = [what for what, right in known.get(reader, {}).items() if not right]
        if reader not in known or wrong:
            old = f"not exactly that in {', '.join(wrong)}" if reader in known else None
            changes[f"{reader} reads"] = {"old": old, "new": f"all tables of {wanted['database']}, those to come too"}
    return changes


def inside_question(wanted):
    """
    Return ``(sql, parameters)`` that tell what ``inside_differences`` wants to know.
    """
    if not wanted["readonly_roles"]:
        return EXTENSIONS, {}
    return INSIDE, {"readers": list(wanted["readonly_roles"]), "owner": wanted["role"]}


def schemas_question():
    """
    Return the SQL that tells the names of a database's own schemas.
    """
    return SCHEMAS


def reading(statement, owner, reader, schemas):
    """
    Return the statements that let a role read all tables, and do nothing else.

    statement
        ``postgresql_server.statement``.
    """
    statements = []
    for schema in schemas:
        statements.append(statement("REVOKE ALL ON SCHEMA {} FROM {}", schema, reader))
        statements.append(statement("GRANT USAGE ON SCHEMA {} TO {}", schema, reader))
        for kind in ("TABLES", "SEQUENCES"):
            statements.append(statement(f"REVOKE ALL ON ALL {kind} IN SCHEMA {{}} FROM {{}}", schema, reader))
            statements.append(statement(f"GRANT SELECT ON ALL {kind} IN SCHEMA {{}} TO {{}}", schema, reader))
    for kind, right in (("TABLES", "SELECT"), ("SEQUENCES", "SELECT"), ("SCHEMAS", "USAGE")):
        default = f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} %s ON {kind} %s {{}}"
        statements.append(statement(default % ("REVOKE ALL", "FROM"), owner, reader))
        statements.append(statement(default % (f"GRANT {right}", "TO"), owner, reader))
    return statements


def package(extension, version):
    """
    Return the Debian package that likely has an extension. ``version`` is the server's.
    """
    plain = _PACKAGES.get(extension, extension.removeprefix("pg_").replace("_", "-"))
    return f"postgresql-{version.partition('.')[0]}-{plain}"


def locking_differences(mine, inventory):
    """
    Return what has to change for a service to be locked out of what stays. ``mine`` is its part of ``tenants``.

    Where it lists no databases, their limits do not count.
    """
    changes = {}
    for title, role in _roles(mine):
        changes.update(_differing(title, inventory["roles"][role], {"login": False}))
    for database in mine["databases"]:
        changes.update(_differing(f"database {database}", inventory["databases"][database], {"connection_limit": 0}))
    return changes


def removal_differences(mine, archived, dumps=None, folder=None):
    """
    Return what has to change for all of it to be gone.

    mine
        The service's part of ``tenants``.

    archived
        Those of its databases whose content somebody may want.

    dumps
        Its dumps, which go with the databases; None if there never was one.

    folder
        Where a dump of each goes before. None: nowhere.
    """
    changes = {}
    if folder:
        changes.update({f"archive of {one}": {"old": None, "new": f"a proven dump in {folder}"} for one in archived})
    changes.update({f"database {one}": {"old": "present", "new": None} for one in mine["databases"]})
    changes.update({title: {"old": "present", "new": None} for title, _ in _roles(mine)})
    if dumps is not None:
        changes["dumps"] = {"old": dumps, "new": None}
    return changes


def _roles(mine):
    readers = [(f"read-only role {reader}", reader) for reader in mine["readonly_roles"]]
    return [(f"role {role}", role) for role in mine["roles"]] + readers


def _role(title, name, roles, options):
    if name not in roles:
        new = {"name": name, "connection_limit": options["connection_limit"], "member_of": options["member_of"]}
        return {title: {"old": None, "new": new}}
    return _differing(title, roles[name], {"login": True, **NEVER, **options})


def _differing(title, present, settings):
    wrong = [key for key, value in settings.items() if present[key] != value]
    if not wrong:
        return {}
    return {title: {"old": {key: present[key] for key in wrong}, "new": {key: settings[key] for key in wrong}}}
