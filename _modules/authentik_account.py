"""
Accounts in Authentik: people's, with a first password, and programs', with the app password that this host keeps.

.. code-block:: bash

    salt-call authentik_account.differences alice '{full_name: Alice Archer}'
    salt-call authentik_account.service_differences shop-backup

What Authentik calls the token of a service account is an app password: a program gets tokens with it, and it is none
for the API (Q48). A token for the API in the name of another account takes an administrator (Q83), and nothing here
makes one.
"""

import hashlib
import re

from salt.exceptions import CommandExecutionError, SaltInvocationError

# Other names are slugified for the identifier of the app password, where two may become one (Q52).
SERVICE_ACCOUNT = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,140}[a-z0-9])?")


def blueprint():
    """
    Return the blueprint with this host's account, ``salt/authentik/blueprint.yaml``, as Authentik's worker gets it.

    Its last line changes with the token: what has not changed the worker would not apply again.

    CLI Example:

    .. code-block:: bash

        salt-call authentik_account.blueprint
    """
    text = __salt__["cp.get_file_str"]("salt://authentik/blueprint.yaml")
    if not text:
        raise CommandExecutionError("salt://authentik/blueprint.yaml is not there")
    settings = __salt__["catalogue.infrastructure"]("authentik")
    token = __utils__["secret_files.read"](__utils__["secret_files.path"](settings["token"])) or ""
    return f"{text}# token {hashlib.sha256(token.encode()).hexdigest()[:16]}\n"


def differences(name, declared, plan=False):
    """
    Return what of a person's account is not as declared, ``{field: {"old", "new"}}``.

    name
        User name.

    declared
        As for the state ``authentik.user_present``, without the password: that one is the owner's after the first day.

    plan
        As for ``authentik.differences``.

    CLI Example:

    .. code-block:: bash

        salt-call authentik_account.differences alice '{full_name: Alice Archer}'
    """
    return __salt__["authentik.differences"]("user", name, declared, plan)


def apply(name, declared, password=None):
    """
    Make a person's account as declared, with a first password if it is new. Returns what ``differences`` does.

    password
        Name of the secret of this host with it, which is made if it is missing.

    CLI Example:

    .. code-block:: bash

        salt-call authentik_account.apply alice '{full_name: Alice Archer}' alice-password
    """
    known = __salt__["authentik.objects"]()
    new = known.find("user", name) is None
    # Read before anything is made: an account without its password would be taken for one that has it.
    path = __utils__["secret_files.path"](password) if new and password else None
    first = path and __utils__["secret_files.obtain"](path)
    changes = __salt__["authentik.apply"]("user", name, declared)
    if first:
        known.needed().call("core/users", known.find("user", name)["pk"], "set_password", {"password": first})
    return changes


def service_differences(name, groups=None, secret=None, plan=False):
    """
    Return what of a program's account is not as declared, ``{thing: {"old", "new"}}``.

    Parameters are those of the state ``authentik.service_account_present``; ``plan`` is that of
    ``authentik.differences``.

    CLI Example:

    .. code-block:: bash

        salt-call authentik_account.service_differences shop-backup
    """
    _check(name)
    known = __salt__["authentik.objects"]()
    found = known.find("user", name)
    path = _path(name, secret)
    if found is None:
        changes = {"account": {"old": None, "new": "service account"}, "secret": {"old": None, "new": path}}
        if plan:
            known.plan("user", name)
        return {**changes, **({"groups": {"old": None, "new": sorted(groups)}} if groups else {})}
    if found["type"] != "service_account":
        raise SaltInvocationError(f"authentik: {name} is the account of a person")
    changes = __salt__["authentik.differences"]("user", name, {"groups": groups, "active": True})
    if __utils__["secret_files.read"](path) is None:
        changes["secret"] = {"old": None, "new": path}
    return changes


def service_apply(name, groups=None, secret=None):
    """
    Make a program's account as declared. Returns what ``service_differences`` does, and takes the same.

    CLI Example:

    .. code-block:: bash

        salt-call authentik_account.service_apply shop-backup
    """
    changes = service_differences(name, groups, secret)
    if "account" in changes:
        _make(name, _path(name, secret))
    elif "secret" in changes:
        _fetch(name, _path(name, secret))
    if groups is not None:
        __salt__["authentik.apply"]("user", name, {"groups": groups, "active": True})
    return changes


def service_remnants(name, secret=None, bound=False, plan=False):
    """
    Return what there is of a program's account, as ``authentik.remnants`` does, and its secret on this host.

    CLI Example:

    .. code-block:: bash

        salt-call authentik_account.service_remnants shop-backup
    """
    _check(name)
    changes = __salt__["authentik.remnants"]("user", name, bound, plan)
    path = _path(name, secret)
    if __utils__["secret_files.read"](path) is not None:
        changes["secret"] = {"old": path, "new": None}
    return changes


def service_remove(name, secret=None, bound=False):
    """
    Delete a program's account and its secret. Returns what ``service_remnants`` does, and takes the same.

    CLI Example:

    .. code-block:: bash

        salt-call authentik_account.service_remove shop-backup
    """
    changes = service_remnants(name, secret, bound)
    __salt__["authentik.remove"]("user", name, bound)
    __utils__["secret_files.remove"](_path(name, secret))
    return changes


def _make(name, path):
    known = __salt__["authentik.objects"]()
    made = known.needed().call(
        "core/users", "service_account", None, {"name": name, "create_group": False, "expiring": False}
    )
    __utils__["secret_files.put"](path, f"{made['token']}\n")
    known.forget()


def _fetch(name, path):
    """The app password, which only some may see."""
    known = __salt__["authentik.objects"]()
    try:
        found = known.needed().read("core/tokens", f"service-account-{name}-password", "view_key")
    except CommandExecutionError as error:
        raise CommandExecutionError(
            f"authentik: the app password of {name} is not in {path}, and Authentik shows it to administrators only: "
            f"remove the account (authentik.service_account_absent), and it gets another one ({error})"
        ) from None
    if found is None:
        raise CommandExecutionError(
            f"authentik: {name} has no app password any more: remove the account, and make it anew"
        )
    __utils__["secret_files.put"](path, f"{found['key']}\n")


def _check(name):
    if not isinstance(name, str) or not SERVICE_ACCOUNT.fullmatch(name):
        raise SaltInvocationError(f"authentik: service account {name!r}: use small letters, digits, - and _")


def _path(name, secret):
    return __utils__["secret_files.path"](secret or f"authentik-{name}")
