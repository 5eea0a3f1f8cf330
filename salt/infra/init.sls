# What every cell stands on, up to the barrier: podman, postgresql, valkey, caddy, and the facts that are true of them.
include:
  - infra.podman
  - infra.postgresql
  - infra.valkey
  - infra.caddy
  - infra.facts
