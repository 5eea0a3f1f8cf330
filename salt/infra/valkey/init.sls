# Valkey on a Unix socket that only members of valkey-clients reach; no TCP; every user from the ACL file.
{%- set valkey = salt["catalogue.infrastructure"]("valkey") %}

valkey-clients:
  group.present:
    - system: True

Valkey is installed:
  debian_packages.installed:
    - pkgs: [valkey-server, valkey-tools]

Valkey's socket directory admits its clients:
  unix_socket.directory:
    - name: /run/valkey
    - user: valkey
    - group: valkey-clients
    - tmpfiles: valkey-server.conf
    - require:
      - group: valkey-clients
      - debian_packages: Valkey is installed

Valkey leaves its socket directory alone:
  file.managed:
    - name: /etc/systemd/system/valkey-server.service.d/50-rick-infra.conf
    - source: salt://infra/valkey/socket-directory.conf
    - makedirs: True
    - mode: '0644'

Valkey's configuration:
  file.managed:
    - name: /etc/valkey/valkey.conf
    - source: salt://infra/valkey/valkey.conf.jinja
    - template: jinja
    - context: {{ {"settings": valkey.settings, "socket": valkey.socket} | json }}
    - makedirs: True
    - user: valkey
    - group: valkey
    - mode: '0640'
    - require:
      - debian_packages: Valkey is installed

Valkey's users come from its ACL file:
  valkey.administrator_present:
    - require:
      - debian_packages: Valkey is installed

Valkey runs:
  daemon.running:
    - units: [{{ valkey.unit }}]
    - enable: [{{ valkey.unit }}]
    - sockets:
        {{ valkey.unit }}: {{ valkey.socket }}
    - require:
      - unix_socket: Valkey's socket directory admits its clients
      - file: Valkey leaves its socket directory alone
      - file: Valkey's configuration
      - valkey: Valkey's users come from its ACL file

Valkey runs with its settings:
  valkey.settings_applied:
    - settings: {{ valkey.settings | json }}
    - require:
      - daemon: Valkey runs

Valkey's socket admits its clients:
  unix_socket.socket:
    - name: {{ valkey.socket }}
    - user: valkey
    - group: valkey-clients
    - require:
      - valkey: Valkey runs with its settings
