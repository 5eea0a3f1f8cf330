# Podman for rootful pods: crun, netavark, no rootless helpers, no short image names.
{%- set podman = salt["catalogue.infrastructure"]("podman") %}

Podman is installed:
  debian_packages.installed:
    - pkgs:
      - podman
      - crun
      - netavark
      - aardvark-dns
      - nftables
      # the pause process that holds a pod's namespaces
      - catatonit

Podman is configured:
  file.managed:
    - name: /etc/containers/containers.conf.d/50-rick-infra.conf
    - source: salt://infra/podman/containers.conf
    - makedirs: True
    - mode: '0644'

Podman asks declared registries only:
  file.managed:
    - name: /etc/containers/registries.conf.d/50-rick-infra.conf
    - source: salt://infra/podman/registries.conf.jinja
    - template: jinja
    - context: {{ {"podman": podman} | json }}
    - makedirs: True
    - mode: '0644'

Rootless Podman is gone:
  rootless.absent:
    - users: {{ podman.remove_rootless | json }}
