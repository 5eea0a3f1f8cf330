# First of all: a run with the modules of another tree ends here. A host that its master knows nothing of must not be
# taken for one that has nothing to do.
The host has its master's modules:
  fleet.modules_current:
    - order: 1
    - failhard: true

The host has a role:
  fleet.role_present:
    - order: 2
