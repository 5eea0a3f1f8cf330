# A host that its master knows nothing of must not be taken for one that has nothing to do.
The host has a role:
  fleet.role_present: []
