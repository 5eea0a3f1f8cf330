"""
What this process is and may do, as the kernel sees it.
"""

import os
from pathlib import Path

# Numbers of the capabilities, from linux/capability.h.
CAPABILITIES = """
    chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable
    net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot
    sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease
    audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read
    perfmon bpf checkpoint_restore
""".split()  # noqa: SIM905  41 quoted words read worse


def process(status=Path("/proc/self/status")):
    """
    Return the ids and rights of this process.

    The keys are ``user`` and ``group`` (effective ids), ``groups`` (sorted supplementary ids), ``capabilities``
    (``effective`` and ``bounding``, lists of names), ``no_new_privileges`` and ``root_read_only`` (booleans).
    """
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {
        "user": int(fields["Uid"].split()[1]),
        "group": int(fields["Gid"].split()[1]),
        "groups": sorted(int(gid) for gid in fields["Groups"].split()),
        "capabilities": {"effective": _names(fields["CapEff"]), "bounding": _names(fields["CapBnd"])},
        "no_new_privileges": fields["NoNewPrivs"].strip() == "1",
        "root_read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
    }


def socket(path):
    """
    Return who owns the socket at ``path`` and what this process may do with it.

    The keys are ``path``, ``present``, ``owner`` and ``group`` (ids), ``mode`` and ``directory_mode`` (octal strings),
    ``connectable`` and ``replaceable`` (booleans). ``replaceable`` says that this process could put a socket of its
    own in that place, which no client should be able to do. What cannot be seen is None.
    """
    seen = {"owner": None, "group": None, "mode": None, "directory_mode": None}
    try:
        seen["directory_mode"] = _octal(path.parent.stat().st_mode)
        status = path.stat()
        seen.update(owner=status.st_uid, group=status.st_gid, mode=_octal(status.st_mode))
    except (FileNotFoundError, PermissionError):
        pass  # what could be read before the way ended is the answer
    return {
        "path": str(path),
        "present": seen["mode"] is not None,
        **seen,
        "connectable": os.access(path, os.W_OK),
        "replaceable": os.access(path.parent, os.W_OK | os.X_OK),
    }


def _octal(mode):
    return f"{mode & 0o7777:04o}"


def _names(mask):
    bits = int(mask, 16)
    known = [name for number, name in enumerate(CAPABILITIES) if bits >> number & 1]
    newer = [f"cap_{number}" for number in range(len(CAPABILITIES), bits.bit_length()) if bits >> number & 1]
    return known + newer
