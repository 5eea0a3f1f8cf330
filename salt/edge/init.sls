# An edge: the sites of the cells behind it. Caddy here answers the world and speaks to the cells, each side known to the
# other by its key; nothing else of a service is on this host.
{%- set sites = salt["fleet.sites"]() %}

include:
  - role
  - infra.caddy

{%- for name in sites %}

Edge shows service {{ name }}:
  caddy.site_present:
    - name: {{ name }}
    - site: __slot__:salt:fleet.site({{ name }})
    - require:
      - sls: infra.caddy
{%- endfor %}

{%- for name in salt["fleet.stale_sites"]() %}

Edge shows service {{ name }} no more:
  caddy.site_absent:
    - name: {{ name }}
    - require:
      - sls: infra.caddy
{%- endfor %}

{%- for file in salt["fleet.stale_authorities"]() %}

Edge forgets {{ file }}:
  file.absent:
    - name: {{ file }}
    - require:
{%- for name in sites %}
      - caddy: Edge shows service {{ name }}
{%- else %}
      - sls: infra.caddy
{%- endfor %}
{%- endfor %}
