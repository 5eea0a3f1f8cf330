# The barrier between infrastructure and applications: what comes after may rely on the client groups' gids.
include:
  - infra.postgresql
  - infra.valkey

Client groups are published as facts:
  facts.published:
    - reload_grains: {{ salt["facts.stale"]() }}
    - require:
      - sls: infra.postgresql
      - sls: infra.valkey

The facts are valid:
  facts.valid:
    - require:
      - facts: Client groups are published as facts
