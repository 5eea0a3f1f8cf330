# PostgreSQL on a Unix socket that only members of postgres-clients reach; no TCP, and passwords only where asked for.
{%- set postgresql = salt["catalogue.infrastructure"]("postgresql") %}

postgres-clients:
  group.present:
    - system: True

# Read when the package makes its cluster, so it comes first. Without it the encoding follows the installer's locale.
PostgreSQL's cluster will be UTF-8:
  file.managed:
    - name: /etc/postgresql-common/createcluster.d/50-rick-infra.conf
    - source: salt://infra/postgresql/createcluster.conf
    - makedirs: True
    - mode: '0644'

No half of a cluster is in PostgreSQL's way:
  postgresql.half_made_cluster_absent:
    - version: "{{ postgresql.version }}"

PostgreSQL is installed:
  debian_packages.installed:
    - pkgs: [postgresql]
    - require:
      - file: PostgreSQL's cluster will be UTF-8
      - postgresql: No half of a cluster is in PostgreSQL's way

PostgreSQL comes back after a crash:
  file.managed:
    - name: /etc/systemd/system/postgresql@.service.d/50-rick-infra.conf
    - source: salt://infra/postgresql/restart.conf
    - makedirs: True
    - mode: '0644'

PostgreSQL's settings:
  file.managed:
    - name: {{ postgresql.config_directory }}/conf.d/50-rick-infra.conf
    - source: salt://infra/postgresql/postgresql.conf.jinja
    - template: jinja
    - context: {{ {"settings": postgresql.settings} | json }}
    - makedirs: True
    - user: postgres
    - group: postgres
    - mode: '0644'
    - require:
      - debian_packages: PostgreSQL is installed

PostgreSQL believes the kernel and nobody else:
  file.managed:
    - name: {{ postgresql.config_directory }}/pg_hba.conf
    - source: salt://infra/postgresql/pg_hba.conf
    - makedirs: True
    - user: postgres
    - group: postgres
    - mode: '0640'
    - require:
      - debian_packages: PostgreSQL is installed

PostgreSQL's socket directory admits its clients:
  unix_socket.directory:
    - name: /run/postgresql
    - user: postgres
    - group: postgres-clients
    # the package's file of this name makes the directory 2775 at each boot; ours takes its place
    - tmpfiles: postgresql-common.conf
    - tmpfiles_lines:
      - d /var/log/postgresql 1775 root postgres - -
    - require:
      - group: postgres-clients
      - debian_packages: PostgreSQL is installed

PostgreSQL runs:
  daemon.running:
    - units: [{{ postgresql.unit }}, postgresql.service]
    - enable: [postgresql.service]
    - sockets:
        {{ postgresql.unit }}: {{ postgresql.socket }}
    - require:
      - file: PostgreSQL comes back after a crash
      - file: PostgreSQL's settings
      - file: PostgreSQL believes the kernel and nobody else
      - unix_socket: PostgreSQL's socket directory admits its clients

PostgreSQL runs with its settings:
  postgresql.settings_applied:
    - settings: {{ postgresql.decided | json }}
    - unit: {{ postgresql.unit }}
    - require:
      - daemon: PostgreSQL runs

PostgreSQL's socket admits its clients:
  unix_socket.socket:
    - name: {{ postgresql.socket }}
    - user: postgres
    - group: postgres-clients
    - require:
      - postgresql: PostgreSQL runs with its settings

# A role without rights: pg_hba.conf asks its members for their password. Services that declare it are made members.
PostgreSQL knows who has a password:
  postgresql.role_present:
    - name: scram-clients
    - login: False
    - require:
      - postgresql: PostgreSQL runs with its settings
