PostgreSQL client group:
  group.present:
    - name: postgres-clients
    - system: True

PostgreSQL server has the client group:
  user.present:
    - name: postgres
    - groups: [postgres-clients]
    - remove_groups: False
    - require:
      - group: PostgreSQL client group

PostgreSQL socket directory at boot:
  file.managed:
    - name: /etc/tmpfiles.d/postgresql-common.conf
    - source: salt://tmpfiles.conf.j2
    - template: jinja
    - mode: '0644'

PostgreSQL socket directory now:
  file.directory:
    - name: /run/postgresql
    - user: postgres
    - group: postgres-clients
    - mode: '2770'
    - require:
      - group: PostgreSQL client group

PostgreSQL socket:
  file.managed:
    - name: /etc/postgresql/17/main/conf.d/socket.conf
    - source: salt://socket.conf.j2
    - template: jinja
    - user: postgres
    - group: postgres
    - mode: '0644'
  service.running:
    - name: postgresql@17-main
    - watch:
      - file: PostgreSQL socket
      - user: PostgreSQL server has the client group

Valkey client group:
  group.present:
    - name: valkey-clients
    - system: True

Valkey:
  file.managed:
    - name: /etc/valkey/valkey.conf
    - source: salt://valkey.conf.j2
    - template: jinja
    - context:
        valkey_password: {{ pillar['valkey_password'] }}
    - show_changes: False
    - user: valkey
    - group: valkey
    - mode: '0640'
  service.running:
    - name: valkey-server
    - watch:
      - file: Valkey

Valkey socket-fix service:
  file.managed:
    - name: /etc/systemd/system/valkey-socket-fix.service
    - source: salt://valkey-socket-fix.service.j2
    - template: jinja
    - mode: '0644'
  service.running:
    - name: valkey-socket-fix
    - enable: True
    - require:
      - service: Valkey
    - watch:
      - file: Valkey socket-fix service
      - file: Valkey

Caddy sites directory:
  file.directory:
    - name: /etc/caddy/sites-enabled
    - user: root
    - group: caddy
    - mode: '0755'

Caddy:
  file.managed:
    - name: /etc/caddy/Caddyfile
    - source: salt://Caddyfile.j2
    - template: jinja
    - user: root
    - group: caddy
    - mode: '0644'
  service.running:
    - name: caddy
    - reload: True
    - watch:
      - file: Caddy
