#!yaml
# The settings of the demo: what a site of its own says in /etc/rick-infra/pillar/site.sls.
# bin/demo writes this file there, inside its machine, which must not take a server's share of your memory.
rick:
  postgresql:
    shared_buffers: 128
    effective_cache_size: 256
  valkey:
    maxmemory: 128
  authentik:
    domain: auth.example.test
    # A TEST DOUBLE of Authentik, which guards nothing: without these two lines it is the real one.
    image: localhost/authentik-double
    version: 2026.2.2
