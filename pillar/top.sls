# defaults.sls lies beside this file; site.sls in /etc/rick-infra/pillar, and need not exist.
base:
  '*':
    - ignore_missing: True
    - defaults
    - site
