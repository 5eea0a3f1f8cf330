# The example service notes, with every state by hand: how a service is put together.
# A user of its own, a database and a cache user of that name, one secret, and a pod that gets in by its groups.
{%- set notes = salt["catalogue.notes"]() %}

include:
  - infra.podman
  - infra.facts

notes:
  user.present:
    - system: True
    - home: /opt/notes
    - createhome: False
    - shell: /usr/sbin/nologin
    - usergroup: True
    # "optional" only says that test mode may meet a host without them: the facts barrier makes sure they are there
    - optional_groups: [postgres-clients, valkey-clients]
    - require:
      - facts: The facts are valid

# No password: PostgreSQL asks the kernel who connects, and lets the user notes be the role notes.
Notes has a role:
  postgresql.role_present:
    - name: notes
    - require:
      - facts: The facts are valid

Notes has a database:
  postgresql.database_present:
    - name: notes
    - owner: notes
    - require:
      - postgresql: Notes has a role

# Valkey cannot ask the kernel, so there is a password: made here, known to Valkey as a hash and to the pod as a secret.
Notes has a password for Valkey:
  secret.present:
    - name: valkey-notes
    - require:
      - sls: infra.podman
      - facts: The facts are valid

Notes has its part of Valkey:
  valkey.user_present:
    - name: notes
    - keys: ["notes:*"]
    - require:
      - facts: The facts are valid
      - secret: Notes has a password for Valkey

Notes has a network of its own:
  quadlet.network:
    - name: notes
    - definition:
        Network:
          NetworkName: notes
          Options: isolate=true
    - require:
      - sls: infra.podman
      - facts: The facts are valid

Notes has a pod:
  quadlet.pod:
    - name: notes
    - definition:
        Pod:
          PodName: notes
          Network: notes.network
          PublishPort: "{{ notes.listen }}:{{ notes.port }}:8080"
    - require:
      - quadlet: Notes has a network of its own

Notes has a container:
  quadlet.container:
    - name: notes-web
    - user: notes
    - socket_groups: [postgres-clients, valkey-clients]
    - definition:
        Container:
          ContainerName: notes-web
          Pod: notes.pod
          Image: localhost/notes:1
          Pull: never
          Environment:
            - DATABASE_URL=postgresql://notes@/notes?host=/run/postgresql
            - VALKEY_SOCKET=/run/valkey/valkey.sock
            - VALKEY_USER=notes
            - "VALKEY_PREFIX=notes:"
          Secret: valkey-notes,type=env,target=VALKEY_PASSWORD
          Volume:
            - /run/postgresql:/run/postgresql:ro
            - /run/valkey:/run/valkey:ro
          ReadOnly: "true"
          Tmpfs: /tmp
          HealthCmd: /usr/bin/python3 /app/check.py
          HealthInterval: 30s
          HealthTimeout: 15s
    - require:
      - user: notes
      - quadlet: Notes has a pod

Notes runs:
  quadlet.running:
    - units: [notes.network, notes.pod, notes-web.container]
    - require:
      - quadlet: Notes has a container
      - postgresql: Notes has a database
      - valkey: Notes has its part of Valkey

# The proof, at every run: the service gets in, somebody who is in none of the groups does not.
Notes gets in to PostgreSQL, an outsider does not:
  unix_socket.accessible:
    - name: /run/postgresql/.s.PGSQL.5432
    - user: notes
    - require:
      - user: notes

Notes gets in to Valkey, an outsider does not:
  unix_socket.accessible:
    - name: /run/valkey/valkey.sock
    - user: notes
    - require:
      - user: notes
