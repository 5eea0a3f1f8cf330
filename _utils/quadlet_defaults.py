"""
What each unit gets on top of its definition, so that it starts at boot, comes back after a crash, and is contained.

Whatever a definition says itself, it keeps.
"""

PULL_TIMEOUT = 1800  # seconds; images of a gigabyte over slow lines, as for any other pull (quadlet_podman)
RESTART_DELAY = 3  # seconds; what a database needs to come back, without hammering on it meanwhile


def complete(unit, protected=False, units_before=(), at_boot=True):
    """
    Return a unit with what its kind needs.

    unit
        As from ``quadlet_text``.

    protected
        Whether the container has a shared socket in front of it.

    units_before
        systemd units to start before it, if they are there.

    at_boot
        Whether something that starts it at boot is added.
    """
    if unit.kind == "pod":
        unit = _pod(unit)
    elif unit.kind == "container":
        unit = _container(unit, protected, units_before)
        if unit.last("Container", "Pod"):
            return unit  # its pod starts it
    elif unit.kind == "image" and not unit.has("Service", "TimeoutStartSec"):
        return unit.with_added("Service", ("TimeoutStartSec", PULL_TIMEOUT))
    else:
        return unit
    return _started_at_boot(unit) if at_boot else unit


def _pod(unit):
    """
    A pod outlives its containers, and tries for a while.

    Quadlet's own exit policy (stop) ends the pod with its last container, and
    BindsTo then keeps that container down. RestartSec does not slow down a pod
    that fails to start: systemd starts the containers it wants at once, they
    start the pod at once, and so on. Hence a limit instead of none.
    """
    arguments = unit.words("Pod", "PodmanArgs")
    if not unit.has("Pod", "ExitPolicy") and not any(word.startswith("--exit-policy") for word in arguments):
        unit = unit.with_added("Pod", ("PodmanArgs", "--exit-policy=continue"))
    if not unit.has("Unit", "StartLimitIntervalSec"):
        unit = unit.with_added("Unit", ("StartLimitIntervalSec", 60), ("StartLimitBurst", 20))
    if not unit.has("Service", "RestartSec"):
        unit = unit.with_added("Service", ("RestartSec", RESTART_DELAY))
    return unit


def _container(unit, protected, units_before):
    if protected and not unit.has("Container", "DropCapability"):
        unit = unit.with_added("Container", ("DropCapability", "all"))
    if protected and not unit.has("Container", "NoNewPrivileges"):
        unit = unit.with_added("Container", ("NoNewPrivileges", "true"))
    for before in units_before:
        for key in ("After", "Wants"):  # not Requires: a restart of the daemon would restart the container
            if before not in unit.words("Unit", key):
                unit = unit.with_added("Unit", (key, before))
    if unit.last("Service", "Type") != "oneshot":
        unit = _kept_running(unit)
    return unit


def _kept_running(unit):
    """Without a limit: a database that is away at start must not leave the container failed for good."""
    if not unit.has("Unit", "StartLimitIntervalSec"):
        unit = unit.with_added("Unit", ("StartLimitIntervalSec", 0))
    if not unit.has("Service", "Restart"):
        unit = unit.with_added("Service", ("Restart", "always"))
    if not unit.has("Service", "RestartSec"):
        unit = unit.with_added("Service", ("RestartSec", RESTART_DELAY))
    return unit


def _started_at_boot(unit):
    """systemctl cannot enable a generated unit, and does not say so: only [Install] starts it at boot."""
    if unit.has("Install", "WantedBy") or unit.has("Install", "RequiredBy"):
        return unit
    return unit.with_added("Install", ("WantedBy", "multi-user.target"))
