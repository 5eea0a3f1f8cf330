# First of all. A run with the modules of another tree ends here, and so does one on a host that its master could not
# tell all of what it must be: what is missing then must not be taken for what is to go.
The host has its master's modules:
  fleet.modules_current:
    - order: 1
    - failhard: true

The host knows what it must be:
  fleet.view_complete:
    - order: 2
    - failhard: true
