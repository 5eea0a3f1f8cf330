# salt-run state.orchestrate orch.upgrade pillar='{"service": "notes"}'
#
# One service: one cell first, then the others. If it does not become healthy, it is taken back there, and stays as it
# is everywhere else.
# A phase that fails is the last one. A table of hosts and phases is shown at the end: salt-run rollout.show
The roll-out is begun:
  rollout.begun:
    - kind: upgrade
    - failhard: true

Every host answers:
  rollout.phase:
    - name: answers
    - require:
        - rollout: The roll-out is begun
    - failhard: true

All hosts have this tree's modules:
  rollout.phase:
    - name: modules
    - require:
        - rollout: Every host answers
    - failhard: true

What is declared is valid on every host:
  rollout.phase:
    - name: valid
    - require:
        - rollout: All hosts have this tree's modules
    - failhard: true

The service is up to date:
  rollout.phase:
    - name: services
    - require:
        - rollout: What is declared is valid on every host
    - failhard: true

Everything is verified:
  rollout.phase:
    - name: verification
    - require:
        - rollout: The service is up to date
    - failhard: true

The roll-out is over:
  rollout.ended:
    - require:
        - rollout: Everything is verified
