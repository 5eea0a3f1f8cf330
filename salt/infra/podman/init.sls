# Podman for rootful pods: crun, netavark, no rootless helpers, no short image names, no way past Caddy.
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

Pods answer other hosts by published ports only:
  file.managed:
    - names:
      - /etc/rick-infra/pod-firewall.nft:
        - source: salt://infra/podman/pod-firewall.nft
      - /etc/systemd/system/rick-infra-pod-firewall.service:
        - source: salt://infra/podman/rick-infra-pod-firewall.service
      - /etc/systemd/system/nftables.service.d/50-rick-infra.conf:
        - source: salt://infra/podman/nftables.service.conf
    - makedirs: True
    - mode: '0644'
  pod_firewall.loaded:
    - rules: /etc/rick-infra/pod-firewall.nft
    - require:
      - debian_packages: Podman is installed
      - file: Pods answer other hosts by published ports only

Rootless Podman is gone:
  rootless.absent:
    - users: {{ podman.remove_rootless | json }}
