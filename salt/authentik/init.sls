# Single sign-on, the one service that the tree knows by name: before all others, since they log in through it. Its entry
# is made from rick:authentik (salt-call catalogue.show authentik), and without a domain there is none.
{%- set sso = salt["catalogue.infrastructure"]("authentik") %}

include:
  - infra.podman
  - infra.facts
  - infra.caddy
  - services.valid

{%- set authentik_is_here = sso.domain %}
{%- set fleet = salt["fleet.view"]() %}

{%- for service in salt["catalogue.services"]() if service.name == "authentik" and sso.domain %}
{%- if service.state == "absent" %}
{%- include "services/absent.jinja" %}
{%- elif service.state == "stopped" %}
{%- include "services/prepared.jinja" %}
{%- include "services/stopped.jinja" %}
{%- elif service.refused %}
{%- include "services/refused.jinja" %}
{%- else %}
{%- include "services/prepared.jinja" %}
{%- include "services/started.jinja" %}
{%- include "services/healthy.jinja" %}

# The account with which this host manages Authentik's objects. The worker applies the file when it changes, so it comes
# after the worker that knows the token.
Authentik gets the account for this host:
  file.managed:
    - name: {{ service.account.home }}/blueprints/rick-infra.yaml
    - contents: __slot__:salt:authentik_account.blueprint()
    - mode: '0644'
    - require:
      - pod: Service authentik is healthy

Authentik is ready:
  authentik.ready:
    - require:
      - file: Authentik gets the account for this host

Authentik sends users to its domain:
  authentik.outpost_providers:
    - providers: []
    - config:
        authentik_host: https://{{ sso.domain }}
    - require:
      - authentik: Authentik is ready

# Containers that speak to Authentik do so at its domain, by TLS.
Containers know whom to trust:
  caddy.authorities_present:
    - internal: {{ (sso.tls == "internal" or fleet is not none) | json }}
    - require:
      - caddy: Service authentik has its site
{%- endif %}
{%- endfor %}

{%- if fleet and fleet.sso %}

# Authentik is on {{ fleet.sso.id }}. Containers here ask this host's Caddy, at Authentik's domain.
Containers know whom to trust:
  caddy.authorities_present:
    - internal: true
    - require:
      - sls: infra.caddy
{%- endif %}
