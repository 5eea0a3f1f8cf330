# Nothing of a service changes before all of the catalogue is known to be valid.
The catalogue is valid:
  catalogue.valid: []
