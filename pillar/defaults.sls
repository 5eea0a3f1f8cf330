#!yaml
# Every setting and its default. Nothing is edited here: say what differs in /etc/rick-infra/pillar/site.sls,
# for example
#
#   rick:
#     postgresql:
#       max_connections: 300
#
# null means: derived from the host, as said beside it (salt-call catalogue.infrastructure postgresql shows the result).
rick:
  podman:
    # Registries tried for an image name without one. Empty: such a name is refused, every image says where it is from.
    unqualified_search_registries: []
    # Users whose rootless Podman is removed, container storage included. Others' is only reported.
    remove_rootless: []

  postgresql:
    max_connections: 200
    # MiB. null: a quarter of the host's memory, 128 at least and 8192 at most.
    shared_buffers: null
    # MiB. null: half of the host's memory.
    effective_cache_size: null
    # MiB, for each sort or hash of each connection. null: what the host can spare, shared out to three
    # for every connection, 4 to 64.
    work_mem: null
    # MiB. null: a quarter of shared_buffers, 64 to 1024.
    maintenance_work_mem: null
    # Any further setting of postgresql.conf, for example {log_min_duration_statement: 500}.
    settings: {}
    # PostgreSQL on other hosts, for services whose entry says postgres: {host: NAME}, by that name, which is the one in
    # the server's certificate. TLS, certificate and name are always checked. For example
    #
    #   db.example.org:
    #     port: 5432                                  # the default
    #     user: rick                                  # may create roles and databases; need be no superuser
    #     password: {file: /etc/rick-infra/db.key}    # only root may read it; or {pillar: "db:password"}
    #     database: postgres                          # where that role connects; the default
    #     authority: /etc/ssl/example-ca.crt          # who vouches for the server; null: whom this host trusts
    servers: {}

  valkey:
    # MiB; beyond it, maxmemory_policy decides. null: an eighth of the host's memory, 64 at least.
    maxmemory: null
    maxmemory_policy: noeviction
    # Every write goes to a log on disk (AOF), synced as appendfsync says: always, everysec or no.
    appendonly: true
    appendfsync: everysec
    # Any further setting of valkey.conf, for example {timeout: 300}.
    settings: {}

  caddy:
    # Whom a public certificate authority writes to about certificates. null: nobody.
    email: null
    # Directory URL of the authority for sites with tls: acme. null: Caddy's choice (Let's Encrypt, then ZeroSSL).
    acme_ca: null
    # File on the host with the root certificate by which acme_ca itself is known, if no public one vouches for it.
    acme_ca_root: null
    # Log each request to the journal, without query strings and headers. Errors are logged in any case.
    access_log: false
    # Further global options, as in a Caddyfile, one a line, for example "grace_period 10s".
    global_options: ''

  authentik:
    # Where users log in, auth.example.org: with a domain this host runs Authentik. null: it has no single sign-on.
    domain: null
    # A release and, if it is to be known to the byte, the digest of its image, sha256:... Releases are taken in their
    # order: 2025.12 cannot become 2026.5 without 2026.2 between.
    version: 2026.2.3
    image: ghcr.io/goauthentik/server
    digest: null
    # As site:tls of a service: internal, acme, or {certificate: ..., key: ...}.
    tls: internal
    # The first administrator's address (user akadmin; the password: docs/guides/authentik-deployment.md). null: none.
    email: null
    # As of a service: present, stopped or absent, and what becomes of the data of an absent one: keep, archive, delete.
    state: present
    data: keep
    # The network of its pod, which no other network may overlap. What Authentik believes of a client's address comes
    # from the gateway of it alone, which is Caddy.
    subnet: 10.89.255.0/29
    # Connections to PostgreSQL at once.
    connection_limit: 60
    # Any further setting of Authentik, for example {AUTHENTIK_EMAIL__HOST: mail.example.org}. What must not be read by
    # others is a secret, as of a service: secrets: {smtp: {pillar: "smtp:password"}}, env: {...: "{secret.smtp}"}.
    env: {}
    secrets: {}
    # Where this host asks Authentik: its own.
    url: http://127.0.0.1:9000
    # Name of the secret with the token for that, a file in /var/lib/rick-infra/secrets that only root can read.
    token: authentik.api
