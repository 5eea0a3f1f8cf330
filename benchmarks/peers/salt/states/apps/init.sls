include:
  - infra

{%- for service in pillar['services'] %}

{{ service.name }} group:
  group.present:
    - name: {{ service.name }}
    - system: True

{{ service.name }} user:
  user.present:
    - name: {{ service.name }}
    - gid: {{ service.name }}
    - groups: [postgres-clients, valkey-clients]
    - remove_groups: False
    - system: True
    - shell: /bin/bash
    - home: {{ service.home }}
    - createhome: True
    - require:
      - group: {{ service.name }} group
      - group: PostgreSQL client group
      - group: Valkey client group

{{ service.name }} data:
  file.directory:
    - name: {{ service.home }}/data
    - user: {{ service.name }}
    - group: {{ service.name }}
    - mode: '0750'
    - require:
      - user: {{ service.name }} user

{{ service.name }} role:
  postgres_user.present:
    - name: {{ service.db_user }}
    - password: {{ service.db_password }}
    - encrypted: scram-sha-256
    - user: postgres
    - no_log: True
    - require:
      - service: PostgreSQL socket

{{ service.name }} database:
  postgres_database.present:
    - name: {{ service.db_name }}
    - owner: {{ service.db_user }}
    - encoding: UTF8
    - lc_collate: C.UTF-8
    - lc_ctype: C.UTF-8
    - template: template0
    - user: postgres
    - require:
      - postgres_user: {{ service.name }} role

{{ service.name }} privileges:
  postgres_privileges.present:
    - name: {{ service.db_user }}
    - object_name: {{ service.db_name }}
    - object_type: database
    - privileges: [ALL]
    - user: postgres
    - require:
      - postgres_database: {{ service.name }} database

{{ service.name }} environment:
  file.managed:
    - name: {{ service.home }}/.env
    - source: salt://service.env.j2
    - template: jinja
    - context:
        valkey_password: {{ pillar['valkey_password'] }}
        service: {{ service | json }}
    - user: {{ service.name }}
    - group: {{ service.name }}
    - mode: '0600'
    - show_changes: False
    - require:
      - user: {{ service.name }} user

{{ service.name }} pod:
  file.managed:
    - name: /etc/containers/systemd/{{ service.name }}.pod
    - source: salt://service.pod.j2
    - template: jinja
    - context:
        service: {{ service | json }}
    - mode: '0644'
    - onchanges_in:
      - module: Reload systemd

{{ service.name }} container:
  file.managed:
    - name: /etc/containers/systemd/{{ service.name }}.container
    - source: salt://apps/container.jinja
    - template: jinja
    - context:
        service: {{ service | json }}
    - mode: '0644'
    - require:
      - user: {{ service.name }} user
    - onchanges_in:
      - module: Reload systemd

{{ service.name }} site:
  file.managed:
    - name: /etc/caddy/sites-enabled/{{ service.name }}.caddy
    - source: salt://service.caddy.j2
    - template: jinja
    - context:
        service: {{ service | json }}
    - user: root
    - group: caddy
    - mode: '0644'
    - require:
      - file: Caddy sites directory
    - watch_in:
      - service: Caddy

{{ service.name }} service:
  service.running:
    - name: {{ service.name }}-pod
    - require:
      - module: Reload systemd
      - postgres_privileges: {{ service.name }} privileges
      - service: Valkey socket-fix service
    - watch:
      - file: {{ service.name }} environment
      - file: {{ service.name }} pod
      - file: {{ service.name }} container
{%- endfor %}

Reload systemd:
  module.run:
    - service.systemctl_reload: []
