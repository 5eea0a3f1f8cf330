# salt-run state.orchestrate orch.undrain pillar='{"cell": "cell2"}'
#
# Take a cell in again: its services start, then its edges send visitors there.
# A phase that fails is the last one. A table of hosts and phases is shown at the end: salt-run rollout.show
The roll-out is begun:
  rollout.begun:
    - kind: undrain
    - failhard: true

Every host answers:
  rollout.phase:
    - name: answers
    - require:
        - rollout: The roll-out is begun
    - failhard: true

The cell is drained no more:
  rollout.phase:
    - name: undrained
    - require:
        - rollout: Every host answers
    - failhard: true

The cell is as declared:
  rollout.phase:
    - name: cells
    - require:
        - rollout: The cell is drained no more
    - failhard: true

The cell is known to its edges:
  rollout.phase:
    - name: published
    - require:
        - rollout: The cell is as declared
    - failhard: true

Edges show what there is:
  rollout.phase:
    - name: edges
    - require:
        - rollout: The cell is known to its edges
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
