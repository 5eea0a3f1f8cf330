# What a host is, by its roles. A cell: infrastructure first, then the facts barrier, then Authentik if the host has it,
# then the services of its catalogue. An edge: Caddy and the sites of others. Requisites tie them together.
{%- set roles = salt["fleet.roles"]() %}
base:
  '*':
    - role
{%- if "cell" in roles %}
    - infra
    - authentik
    - services
{%- endif %}
{%- if "edge" in roles %}
    - edge
{%- endif %}
