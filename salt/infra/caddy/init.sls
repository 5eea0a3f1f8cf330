# Caddy in front of the services: only 80 and 443 (and 8443 for other hosts of a fleet), its admin API on a socket that
# root and Caddy reach.
{%- set caddy = salt["catalogue.infrastructure"]("caddy") %}
{%- set authentik = salt["catalogue.infrastructure"]("authentik") %}
{%- set fleet = salt["fleet.view"]() %}
{%- set identity = "/etc/caddy/identity" %}
{%- set others = salt["fleet.authorities"]() %}
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

{%- if fleet %}

# By this key other hosts' Caddys know this one. It never leaves the host; the certificate is published by the mine.
The host has its key:
  x509.private_key_managed:
    - name: {{ identity }}/key.pem
    - algo: ec
    - keysize: 256
    - user: root
    - group: caddy
    - mode: '0640'
    - makedirs: True
    - require:
      - debian_packages: Caddy is installed

The host has its certificate:
  x509.certificate_managed:
    - name: {{ identity }}/certificate.pem
    - private_key: {{ identity }}/key.pem
    - signing_private_key: {{ identity }}/key.pem
    # The same for all: what others know is the certificate itself, and it is not to change with the host's id.
    - CN: rick-infra
    - extendedKeyUsage: clientAuth
    - days_valid: 3650
    - require:
      - x509: The host has its key
    - require_in:
      - caddy: Caddy's configuration

{%- for file, certificate in others.items() %}

Caddy knows {{ file }}:
  file.managed:
    - name: {{ file }}
    - contents: {{ certificate | json }}
    - makedirs: True
    - mode: '0644'
    - require:
      - debian_packages: Caddy is installed
    - require_in:
      - caddy: Caddy's configuration
{%- endfor %}
{%- endif %}

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
