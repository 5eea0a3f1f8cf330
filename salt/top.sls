# What a host is: infrastructure first, then the facts barrier, then what stands on it. Requisites tie them together.
base:
  '*':
    - infra.podman
    - infra.postgresql
    - infra.valkey
    - infra.facts
    - examples
