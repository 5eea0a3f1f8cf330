# salt-run state.orchestrate orch.deploy
# salt-run state.orchestrate orch.deploy pillar='{"batch": 2, "canary": "cell2", "only": ["notes"]}'
#
# The whole fleet: nothing is touched before every host answers and every entry is valid; cells first, edges last.
# A phase that fails is the last one. A table of hosts and phases is shown at the end: salt-run rollout.show
The roll-out is begun:
  rollout.begun:
    - kind: deploy
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

The infrastructure is up to date:
  rollout.phase:
    - name: infrastructure
    - require:
        - rollout: What is declared is valid on every host
    - failhard: true

Services have ground to stand on:
  rollout.phase:
    - name: barrier
    - require:
        - rollout: The infrastructure is up to date
    - failhard: true

Users can log in:
  rollout.phase:
    - name: authentik
    - require:
        - rollout: Services have ground to stand on
    - failhard: true

Services are up to date:
  rollout.phase:
    - name: services
    - require:
        - rollout: Users can log in
    - failhard: true

Edges show what there is:
  rollout.phase:
    - name: edges
    - require:
        - rollout: Services are up to date
    - failhard: true

Everything is verified:
  rollout.phase:
    - name: verification
    - require:
        - rollout: Edges show what there is
    - failhard: true

The roll-out is over:
  rollout.ended:
    - require:
        - rollout: Everything is verified
