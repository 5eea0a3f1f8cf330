# Caddy in front of the services: only 80 and 443, its admin API on a socket that root and Caddy reach.
{%- set caddy = salt["catalogue.infrastructure"]("caddy") %}
{%- set authentik = salt["catalogue.infrastructure"]("authentik") %}
{%- set caddyfile %}{% include "infra/caddy/Caddyfile.jinja" %}{% endset %}

Caddy is installed:
  debian_packages.installed:
    - pkgs: [caddy]

Caddy may do only what it needs:
  file.managed:
    - name: /etc/systemd/system/caddy.service.d/50-rick-infra.conf
    - source: salt://infra/caddy/caddy.service.conf
    - makedirs: True
    - mode: '0644'

Caddy's configuration:
  caddy.configuration_present:
    - text: {{ (caddyfile ~ "\n") | json }}
    - require:
      - debian_packages: Caddy is installed

Caddy runs:
  daemon.running:
    - units: [caddy.service]
    - enable: [caddy.service]
    - sockets:
        caddy.service: /run/caddy/admin.sock
    - require:
      - file: Caddy may do only what it needs
      - caddy: Caddy's configuration
