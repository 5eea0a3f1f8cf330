# What a host is: infrastructure first, then the facts barrier, then Authentik if the host has it, then the services
# of its catalogue. Requisites tie them together.
base:
  '*':
    - infra.podman
    - infra.postgresql
    - infra.valkey
    - infra.caddy
    - infra.facts
    - authentik
    - services
