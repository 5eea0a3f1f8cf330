"""
The keys that Quadlet knows, and the Podman version that brought each one.

Podman's own generator is the authority on what a file may say. This table adds
what its messages lack: what was probably meant, and which version is needed.
It was read out of ``pkg/systemd/quadlet/quadlet.go`` at each of Podman's
releases, 4.4 (the first with Quadlet) to 5.8, and at what becomes 6.0.
"""

import difflib

# What systemd reads; the generator passes it on unread. ``X-`` sections are nobody's.
COMMON_SECTIONS = ("Unit", "Service", "Install", "Quadlet")

SUPPORTED = (5, 4)  # the oldest Podman that the tree runs on: what is older need not be asked for

# fmt: off
KEYS: dict[str, dict[tuple[int, int], str]] = {
    "Container": {
        (4, 4): (
            "AddCapability AddDevice Annotation ContainerName DropCapability Environment EnvironmentFile "
            "EnvironmentHost Exec ExposeHostPort Group Image Label Network NoNewPrivileges Notify PodmanArgs "
            "PublishPort ReadOnly RemapGid RemapUid RemapUidSize RemapUsers RunInit SeccompProfile Timezone User "
            "VolatileTmp Volume"
        ),
        (4, 5): (
            "HealthCmd HealthInterval HealthOnFailure HealthRetries HealthStartPeriod HealthStartupCmd "
            "HealthStartupInterval HealthStartupRetries HealthStartupSuccess HealthStartupTimeout HealthTimeout "
            "IP IP6 LogDriver Mount Rootfs Secret SecurityLabelDisable SecurityLabelFileType SecurityLabelLevel "
            "SecurityLabelType Tmpfs UserNS"
        ),
        (4, 6): "AutoUpdate HostName Mask Pull SecurityLabelNested Sysctl Unmask WorkingDir",
        (4, 7): "DNS DNSOption DNSSearch PidsLimit ShmSize Ulimit",
        (4, 8): "ContainersConfModule GIDMap GlobalArgs ReadOnlyTmpfs SubGIDMap SubUIDMap UIDMap",
        (5, 0): "Entrypoint Pod StopTimeout",
        (5, 1): "GroupAdd",
        (5, 2): "LogOpt NetworkAlias StopSignal",
        (5, 3): "AddHost CgroupsMode HealthLogDestination HealthMaxLogCount HealthMaxLogSize ServiceName StartWithPod",
        (5, 5): "Memory ReloadCmd ReloadSignal Retry RetryDelay",
        (5, 7): "HttpProxy",
        (5, 8): "AppArmor",
    },
    "Pod": {
        (5, 0): "ContainersConfModule GlobalArgs Network PodName PodmanArgs PublishPort Volume",
        (5, 2): "NetworkAlias",
        (5, 3): (
            "AddHost DNS DNSOption DNSSearch GIDMap IP IP6 RemapGid RemapUid RemapUidSize RemapUsers ServiceName "
            "SubGIDMap SubUIDMap UIDMap UserNS"
        ),
        (5, 4): "ShmSize",
        (5, 5): "HostName",
        (5, 6): "ExitPolicy Label",
        (5, 7): "StopTimeout",
    },
    "Network": {
        (4, 4): "DisableDNS Driver Gateway IPAMDriver IPRange IPv6 Internal Label Options Subnet",
        (4, 6): "PodmanArgs",
        (4, 7): "DNS NetworkName",
        (4, 8): "ContainersConfModule GlobalArgs",
        (5, 3): "ServiceName",
        (5, 5): "NetworkDeleteOnStop",
        (5, 6): "InterfaceName",
    },
    "Volume": {
        (4, 4): "Copy Device Group Label Options Type User",
        (4, 6): "PodmanArgs",
        (4, 7): "VolumeName",
        (4, 8): "ContainersConfModule Driver GlobalArgs Image",
        (5, 3): "ServiceName",
        (6, 0): "GID UID",
    },
    "Image": {
        (4, 8): (
            "AllTags Arch AuthFile CertDir ContainersConfModule Creds DecryptionKey GlobalArgs Image ImageTag OS "
            "PodmanArgs TLSVerify Variant"
        ),
        (5, 3): "ServiceName",
        (5, 5): "Retry RetryDelay",
        (5, 6): "Policy",
    },
    "Quadlet": {
        (5, 3): "DefaultDependencies",
    },
}
# fmt: on


def section_problems(unit):
    """
    Return what is wrong with the names of a unit's sections, one sentence each.

    The generator says nothing about a section that it does not know, and systemd
    only logs it: what stands there would be lost.

    unit
        As from ``quadlet_text``.
    """
    known = (unit.own, *COMMON_SECTIONS)
    problems = [
        f"unknown section [{section}]{_did_you_mean(section, known)}"
        for section in unit.sections()
        if section not in known and not section.startswith("X-")
    ]
    if unit.own not in unit.sections():
        problems.append(f"section [{unit.own}] is missing; a .{unit.kind} file has to have it")
    return problems


def key_problems(unit, version=None):
    """
    Return what is wrong with a unit's keys as far as the table knows, one sentence each.

    Only Quadlet's own sections are looked at, the others are systemd's.

    version
        The Podman of this host as a tuple of numbers, None if there is none yet.
    """
    problems = []
    for section, key in _own_keys(unit):
        since = _since(section, key)
        if since is None:
            known = [name for names in KEYS[section].values() for name in names.split()]
            problems.append(f"unknown key {key!r} in [{section}]{_did_you_mean(key, known)}")
        elif version and version[:2] < since:
            needed, present = (".".join(map(str, numbers)) for numbers in (since, version))
            problems.append(f"key {key} in [{section}] needs Podman {needed}, this host has {present}")
    return problems


def needs_version(unit):
    """
    Return whether the Podman of this host matters: a key is younger than the oldest Podman that the tree runs on.
    """
    return any((_since(section, key) or SUPPORTED) > SUPPORTED for section, key in _own_keys(unit))


def _own_keys(unit):
    return [(section, key) for section, key in unit.pairs() if section in (unit.own, "Quadlet")]


def _since(section, key):
    for version, names in KEYS[section].items():
        if key in names.split():
            return version
    return None


def _did_you_mean(word, known):
    close = difflib.get_close_matches(word, known, n=1)
    if not close:  # get_close_matches minds case
        close = [name for name in known if name.lower() == word.lower()]
    return f" (did you mean {close[0]!r}?)" if close else ""
