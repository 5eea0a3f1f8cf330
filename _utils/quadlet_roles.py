"""
What containers of one pod are to each other: the one that has to succeed before the others start.

An *init container* is one whose definition says ``Service: {Type: oneshot}``
and that starts with its pod. It gets what lets it try again while a database is
away, and all others of the pod wait for it:

- ``RemainAfterExit=yes``: it has run, once for each start of the pod, until the
  pod stops. A crash of another container does not run it again.
- ``Restart=on-failure`` with ``RestartMode=direct``: between two attempts systemd
  does not call it failed, so those that wait for it go on waiting instead of
  failing for good. Attempts get rarer, up to once a minute, and never end.
- The others have ``Requires=`` and ``After=`` it, and carry its digest as a label:
  when its definition changes, theirs does, they restart, and it runs before
  them again (``quadlet_plan``).

A container with ``StartWithPod: false`` and ``Type: oneshot`` is a *timer's*: it
runs when its timer says so, after the init container and only by that order.
"""

import copy
import hashlib
import json

LABEL = "rick-infra.init"
RETRY = {
    "RemainAfterExit": "yes",
    "Restart": "on-failure",
    "RestartMode": "direct",
    "RestartSec": 3,  # seconds; what a database needs to come back
    "RestartSteps": 8,
    "RestartMaxDelaySec": 60,
}


def with_init(units):
    """
    Return the units of a service with what makes the others wait for its init container, if it has one.

    units
        A list of ``{"kind", "name", "definition", ...}``, as for ``pod.declared``.
    """
    units = copy.deepcopy(units)
    for unit in units:
        if role(unit) in ("init", "timer"):
            # systemd has what they print from their standard output already: a log of Podman's would be a second copy.
            unit["definition"]["Container"].setdefault("LogDriver", "none")
    for init in [unit for unit in units if role(unit) == "init"]:
        digest = hashlib.sha256(json.dumps(init, sort_keys=True).encode()).hexdigest()[:16]
        service = f"{init['name']}.service"
        for other in units:
            if other is init or role(other) not in ("main", "timer") or _pod(other) != _pod(init):
                continue
            _add(other, "Unit", "After", service)
            if role(other) == "main":
                _add(other, "Unit", "Requires", service)
                _add(other, "Container", "Label", f"{LABEL}={digest}")
        init["definition"]["Unit"] = {"StartLimitIntervalSec": 0, **init["definition"].get("Unit", {})}
        init["definition"]["Service"] = {**RETRY, **init["definition"]["Service"]}
    return units


def role(unit):
    """
    Return ``init``, ``timer`` or ``main`` for a container of a pod, None for everything else.
    """
    if unit["kind"] != "container" or not _pod(unit):
        return None
    if (unit["definition"].get("Service") or {}).get("Type") != "oneshot":
        return "main"
    return "timer" if str(unit["definition"]["Container"].get("StartWithPod", "")).lower() == "false" else "init"


def _pod(unit):
    return (unit["definition"].get("Container") or {}).get("Pod")


def _add(unit, section, key, value):
    keys = unit["definition"].setdefault(section, {})
    present = keys.get(key, [])
    keys[key] = [*(present if isinstance(present, list) else [present]), value]
