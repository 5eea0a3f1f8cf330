"""
Debian packages that must be there, installed without their daemons being started.
"""

from salt.exceptions import CommandExecutionError

_PLANNED = "rick_interrupted_installation_planned"


def installed(name, pkgs):
    """
    Ensure packages are installed, and that installing them starts no daemon.

    name
        A title.

    pkgs
        List of Debian package names. Versions are what the release has; apt's
        own upgrades are not this state's business.

    A run that was killed inside apt leaves packages half-configured; the next
    one finishes them first.

    .. code-block:: yaml

        Valkey is installed:
          debian_packages.installed:
            - pkgs: [valkey-server, valkey-tools]
    """
    try:
        missing = __salt__["debian_packages.missing"](pkgs)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    # The first state of a run repairs it; in test mode the others must not plan the same once more.
    interrupted = __salt__["debian_packages.interrupted"]() and not __context__.get(_PLANNED)
    changes = {package: {"old": "", "new": "installed"} for package in missing}
    if interrupted:
        changes["policy-rc.d"] = {"old": "left by an interrupted run", "new": "removed"}
    if not changes:
        return __utils__["results.unchanged"](name, f"Installed: {', '.join(pkgs)}")
    if __opts__["test"]:
        __context__[_PLANNED] = True
        return __utils__["results.planned"](name, changes, f"Would be installed: {', '.join(missing) or 'nothing'}")
    try:
        if missing:
            changes.update(__salt__["debian_packages.install"](missing))
        else:
            __salt__["debian_packages.release"]()
        still_missing = __salt__["debian_packages.missing"](pkgs)
    except CommandExecutionError as error:
        return __utils__["results.failed"](name, str(error))
    if still_missing:
        return __utils__["results.failed"](name, f"apt reported success, yet these are missing: {still_missing}")
    return __utils__["results.changed"](name, changes, f"Installed: {', '.join(missing) or 'nothing'}")
