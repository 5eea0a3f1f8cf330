#!yaml
# A small machine with single sign-on.
rick:
  postgresql:
    shared_buffers: 128
    effective_cache_size: 256
  valkey:
    maxmemory: 128
  authentik:
    domain: auth.example.test
    # A test double; it is no identity provider.
    image: localhost/authentik-double
    version: 2026.2.2
