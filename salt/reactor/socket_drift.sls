# What the beacon socket_drift tells: the infrastructure of that host is put right. The beacon says how often at most.
# The id is what the host says of itself, so it is data here, never YAML or a pattern. One that lies has another host
# converge once more, which changes nothing there.
A socket has drifted:
  local.state.apply:
    - tgt: [{{ data["id"] | json }}]
    - tgt_type: list
    - args:
        - mods: infra
