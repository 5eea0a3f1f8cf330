# The pillar of the demo: what a site of its own says in /etc/rick-infra/pillar/site.sls.
# bin/demo copies this file there, inside its machine. A production host never sees it.
{#- A lab machine's address, by which the host of the lab reaches it; anywhere else the loopback address. #}
{%- set address = (salt["network.ip_addrs"](interface="host0") + ["127.0.0.1"]) | first %}
rick:
  examples:
    - notes
  notes:
    listen: {{ address }}
    port: 8080
