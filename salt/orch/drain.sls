# salt-run state.orchestrate orch.drain pillar='{"cell": "cell2"}'
#
# Take a cell out: its edges send nobody there any more, then its services stop.
# A phase that fails is the last one. A table of hosts and phases is shown at the end: salt-run rollout.show
The roll-out is begun:
  rollout.begun:
    - kind: drain
    - failhard: true

Every host answers:
  rollout.phase:
    - name: answers
    - require:
        - rollout: The roll-out is begun
    - failhard: true

The cell is marked as drained:
  rollout.phase:
    - name: drained
    - require:
        - rollout: Every host answers
    - failhard: true

Edges show what there is:
  rollout.phase:
    - name: edges
    - require:
        - rollout: The cell is marked as drained
    - failhard: true

The cell is as declared:
  rollout.phase:
    - name: cells
    - require:
        - rollout: Edges show what there is
    - failhard: true

Everything is verified:
  rollout.phase:
    - name: verification
    - require:
        - rollout: The cell is as declared
    - failhard: true

The roll-out is over:
  rollout.ended:
    - require:
        - rollout: Everything is verified
