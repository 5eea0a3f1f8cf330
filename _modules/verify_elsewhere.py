"""
The checks of a service whose database is on another host, for ``verify.service``.
"""


def of_service(service):
    """
    Return the checks of its database, a list of ``{"name", "passed", "detail"}``.

    service
        Resolved, as from ``catalogue.services``.

    CLI Example: none, it takes a resolved service: see verify.service.
    """
    name, role, host = service["name"], service["postgres"]["role"], service["server"]["host"]
    check = __salt__["verify_service.check"]
    return [
        check(f"{name}: a query as {role} at {host}, whose certificate is verified", _query, service),
        check(f"{name}: without TLS and a password {host} does not let {role} in", _refused_in_the_clear, service),
        check(f"{name}: no other role may enter its database at {host}", _closed, service),
    ]


def _ask(service, sql):
    postgres = service["postgres"]
    return __salt__["postgresql.query_as"](
        service["account"]["user"],
        sql,
        postgres["database"],
        postgres["role"],
        __salt__["secret.path"](postgres["secret"]),
        postgres["server"],
    )


def _query(service):
    role = service["postgres"]["role"]
    # As the service's user, who can read its password no more than the certificates; the latter it must.
    [row] = _ask(
        service,
        "SELECT current_user::text AS role, s.version AS tls FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()",
    )
    problem = None if row["role"] == role else f"answered {row}"
    # A proxy may have taken the encryption off on its way to the server.
    return problem, f"role {role}, database {service['postgres']['database']}, {row['tls'] or 'TLS up to a proxy'}"


def _refused_in_the_clear(service):
    """Nothing here connects without TLS (sslmode=verify-full); whoever can listen must not find it open either."""
    postgres, server = service["postgres"], service["server"]
    let_in = __utils__["postgresql_server.open_without_tls"](postgres["role"], postgres["database"], server)
    return "lets it in; its pg_hba.conf says trust without hostssl" if let_in else None, "refused"


def _closed(service):
    """Asked of the server, which knows the roles of other hosts' services as well."""
    postgres = service["postgres"]
    administrator = __salt__["postgresql.place"](postgres["server"])["user"]
    own = {postgres["role"], administrator, *postgres["readonly_roles"]}
    rows = _ask(
        service,
        "SELECT rolname::text AS role, has_database_privilege(oid, current_database(), 'CONNECT') AS enters"
        " FROM pg_roles WHERE rolcanlogin AND NOT rolsuper",
    )
    others = {row["role"]: row["enters"] for row in rows if row["role"] not in own}
    let_in = sorted(role for role, enters in others.items() if enters)
    return f"open to {', '.join(let_in)}" if let_in else None, f"none of {len(others)} others may"
