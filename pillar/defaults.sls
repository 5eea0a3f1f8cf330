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
    # Where this host asks Authentik: its own, or that of another host.
    url: http://127.0.0.1:9000
    # Name of the secret with the token for that, a file in /var/lib/rick-infra/secrets that only root can read.
    token: authentik-api
