"""
The last healthy generation of each service: kept when it is healthy, put back when its successor is not.

A generation is all that makes a service what it is and that a run may change:
the texts of its Quadlet files and timers, the ids of its images, the values of
its own secrets, and what it was promised of its ground: account, database,
Valkey user, private sockets. Its site is kept beside all that, for
``caddy.site_kept``: a site makes nobody unhealthy. Passwords of databases are not in it, since the databases have
the new ones: environment values are kept as the parts that they are composed of.

.. code-block:: bash

    salt-call generation.show notes
    salt-call generation.retry notes

It lies in ``/var/lib/rick-infra/services/NAME`` (root, 0700) and may be deleted
at any time: the next healthy run keeps another one.
"""

import base64
import hashlib
import json
import shutil
import time
from pathlib import Path
from urllib.parse import quote_from_bytes

from salt.exceptions import CommandExecutionError, SaltInvocationError

__func_alias__ = {"list_": "list"}

FOLDER = "/var/lib/rick-infra/services"
HEALTHY, REFUSED = "healthy.json", "refused.json"
TAG = "localhost/rick-infra/{service}/{container}:healthy"  # a name keeps an image from being pruned
DATABASES = ("postgres", "valkey")  # secrets that belong to a daemon as well
SECRETS = "generation.secrets"
COMPARED = ("files", "timers", "containers", "digests", "values", "ground")
# What is in each file; one that lacks something was damaged, or written by another version of the tree.
KEPT = {HEALTHY: {*COMPARED, "secrets", "site"}, REFUSED: {"digest", "images", "secrets", "reason"}}
# How each part of the ground is compared and put right, in the order in which they need each other.
GROUND = {
    "account": ("account.differences", "account.create"),
    "database": ("postgres_tenant.differences", "postgres_tenant.apply"),
    "Valkey of its own": ("valkey_instance.differences", "valkey_instance.apply"),
    "Valkey user": ("valkey_user.differences", "valkey_user.apply"),
    "private socket": ("private_socket.differences", "private_socket.create"),
}


def show(name):
    """
    Return the last healthy generation of a service without the values of secrets, None if there is none.

    ``{"kept", "files", "timers", "containers", "digests", "values", "ground", "site"}``: seconds since 1970, texts by
    file, ``{container: {"image", "id"}}``, SHA-256 by secret, parts by environment value, the parts of the resolved
    entry that the states of the ground are given, and its site, None without one.

    CLI Example:

    .. code-block:: bash

        salt-call generation.show notes
    """
    stored = _read(name, HEALTHY)
    return {key: value for key, value in stored.items() if key != "secrets"} if stored else None


def differs(name, values=None, ground=None):
    """
    Return whether there is a generation to go back to, and the service is declared otherwise now.

    values
        The composed environment values of the service, ``[{"name", "parts"}]``, as for ``secret.values_present``.

    ground
        What the service stands on, ``{"account", "postgres", "valkey", "private_sockets"}`` as in its resolved entry.

    CLI Example:

    .. code-block:: bash

        salt-call generation.differs notes
    """
    stored = _read(name, HEALTHY)
    return stored is not None and not _same(stored, _current(name, values, ground))


def keep(name, values=None, ground=None, site=None):
    """
    Keep the service as it is now as its last healthy generation. True if it is another one than before.

    Called when it is healthy. Costs a few small files if nothing has changed.

    values, ground
        As for ``generation.differs``.

    site
        As for ``caddy.site_present``, None without one.

    CLI Example:

    .. code-block:: bash

        salt-call generation.keep notes
    """
    current = _current(name, values, ground)
    stored = _read(name, HEALTHY)
    if stored and _same(stored, current) and stored["site"] == site:
        return False
    own = __utils__["quadlet_podman.secret_values"](list(current["digests"]))
    secrets = {secret: base64.b64encode(value).decode() for secret, value in own.items()}
    local = __salt__["quadlet_live.images"]()
    for container, about in current["containers"].items():
        tag = TAG.format(service=name, container=container)
        if about["id"] and local.get(tag) != about["id"]:
            __utils__["quadlet_podman.tag"](about["id"], tag)
    tags = [TAG.format(service=name, container=container) for container in current["containers"]]
    __utils__["quadlet_podman.untag"]([tag for tag in _tags(name) if tag not in tags])
    _write(name, HEALTHY, {"kept": int(time.time()), **current, "site": site, "secrets": secrets})
    return True


def deviations(name):
    """
    Return what of a service is not as in its last healthy generation, ``{thing: {"old", "new"}}``.

    CLI Example:

    .. code-block:: bash

        salt-call generation.deviations notes
    """
    stored = _stored(name)
    changes = {}
    for path, text in _texts(stored).items():
        difference = __utils__["textfile.diff"](path, text)
        if difference:
            changes[path] = {"diff": difference}
    for path in _added(name, stored):
        changes[path] = {"old": "present", "new": None}
    local = __salt__["quadlet_live.images"]()
    for image, identity in _images(stored).items():
        if __utils__["quadlet_podman.image_id"](image, local) != identity:
            changes[f"image {image}"] = {"old": "another one", "new": identity[:12]}
    present = _podman_secrets()
    for secret, value in _values(stored).items():
        if present.get(secret, {}).get("digest") != __utils__["podman_secrets.digest"](value):
            changes[f"podman secret {secret}"] = {
                "old": "another value",
                "new": "the one of the last healthy generation",
            }
    for part, arguments in _ground(stored):
        for thing, change in __salt__[GROUND[part][0]](name, **arguments).items():
            changes[f"{part}: {thing}"] = change
    return changes


def restore(name):
    """
    Put the last healthy generation of a service back: files, timers, images, secrets, its ground. Starts nothing.

    Returns what ``generation.deviations`` does.

    Raises CommandExecutionError, and touches nothing, if there is none or one of its images is gone.

    CLI Example:

    .. code-block:: bash

        salt-call generation.restore notes
    """
    changes = deviations(name)
    if not changes:
        return {}
    stored = _stored(name)
    local = __salt__["quadlet_live.images"]()
    gone = [image for image, identity in _images(stored).items() if identity not in local]
    if gone:
        raise CommandExecutionError(f"the image that {', '.join(gone)} was is not on this host any more")
    for image, identity in _images(stored).items():
        if f"image {image}" in changes:
            __utils__["quadlet_podman.tag"](identity, image)
    for secret, value in _values(stored).items():
        if f"podman secret {secret}" in changes:
            __utils__["podman_secrets.create"](secret, value)
    for file, text in stored["files"].items():
        path = __utils__["quadlet_files.path"](file)
        if path in changes:
            __utils__["textfile.write"](path, text)
            __salt__["quadlet_live.note"](file, text)
    added = [file for file in __salt__["pod.files"](name) if file not in stored["files"]]
    if added:
        __salt__["quadlet.remove"](added)
    __salt__["pod.remove_timers"](name, keep=stored["timers"])
    __salt__["pod.write_timers"](name, stored["timers"])
    __context__.pop(SECRETS, None)
    for part, arguments in _ground(stored):
        if any(thing.startswith(f"{part}: ") for thing in changes):
            __salt__[GROUND[part][1]](name, **arguments)
    return changes


def refuse(name, digest, reason):
    """
    Remember that a definition did not become healthy: with the present images and secrets it is not tried again.

    digest
        Of the resolved definition.

    reason
        Why, for people.

    CLI Example: none, pod.healthy does it.
    """
    local = __salt__["quadlet_live.images"]()
    there = __salt__["quadlet_live.declared"]()
    units = [there[file] for file in __salt__["pod.files"](name) if there[file]["kind"] == "container"]
    images = {_image_name(unit): None for unit in units}
    images = {image: __utils__["quadlet_podman.image_id"](image, local) for image in images}
    before = _images(_stored(name))
    _write(
        name,
        REFUSED,
        {
            "digest": digest,
            "images": {
                image: sorted({one for one in (identity, before.get(image)) if one})
                for image, identity in images.items()
            },
            "secrets": _files_digests(name),
            "reason": reason,
            "time": int(time.time()),
        },
    )


def refused(name, digest, secrets=None):
    """
    Return why exactly this definition was refused before, None if it was not.

    It is another one as soon as its digest, one of its images or the value of one of its secrets is another.

    name
        Name of the service.

    digest
        Of the resolved definition.

    secrets
        The resolved secrets of the service, as for ``secret.all_present``: those that come from the pillar or a file
        are looked up there.

    CLI Example:

    .. code-block:: bash

        salt-call generation.refused notes 0123456789abcdef
    """
    stored = _read(name, REFUSED)
    if not stored or stored["digest"] != digest or not _read(name, HEALTHY):
        return None
    local = __salt__["quadlet_live.images"]()
    for image, known in stored["images"].items():
        identity = __utils__["quadlet_podman.image_id"](image, local)
        if identity and identity not in known:
            return None
    if stored["secrets"] != _files_digests(name):
        return None
    if secrets is not None:
        files = [__salt__["secret.path"](secret["name"]) for secret in secrets]
        if any(path in files for path in __salt__["secret.all_differences"](name, secrets)):
            return None
    return stored["reason"]


def retry(name):
    """
    Forget that a definition was refused: the next run tries it again. True if there was one.

    CLI Example:

    .. code-block:: bash

        salt-call generation.retry notes
    """
    path = _path(name, REFUSED)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def without_secrets(name, text):
    """
    Return a text without the values of a service's secrets.

    These are what Podman has, the last healthy generation, and what is declared: after a rollback they differ.

    CLI Example:

    .. code-block:: bash

        salt-call generation.without_secrets notes "$(journalctl -u notes-web)"
    """
    if not text:
        return text
    mine = [secret for secret in __salt__["quadlet_live.secrets"]() if secret.startswith(f"{name}.")]
    values = list(__utils__["quadlet_podman.secret_values"](mine).values())
    stored = _read(name, HEALTHY) or {"secrets": {}}
    values += [base64.b64decode(value) for value in stored["secrets"].values()]
    for secret in __utils__["secret_files.names"]():
        if secret.startswith(f"{name}."):
            value = __utils__["secret_files.read_exactly"](__salt__["secret.path"](secret)) or b""
            # As it is, and as it is in URLs.
            values += [value, quote_from_bytes(value.removesuffix(b"\n"), safe="").encode()]
    return __utils__["pod_causes.without"](text, values)


def containers(name):
    """
    Return which images the containers of a service had when it was last healthy, ``{container: id}``.

    CLI Example:

    .. code-block:: bash

        salt-call generation.containers notes
    """
    stored = _read(name, HEALTHY)
    return {container: about["id"] for container, about in stored["containers"].items()} if stored else {}


def images():
    """
    Return the ids of all images that a generation of any service needs, sorted.

    CLI Example:

    .. code-block:: bash

        salt-call generation.images
    """
    services = [path.parent.name for path in Path(FOLDER).glob(f"*/{HEALTHY}")]
    return sorted({identity for service in services for identity in containers(service).values() if identity})


def list_():
    """
    Return what is there of generations, also of services that are no more, ``{service: [folder, names of images]}``.

    CLI Example:

    .. code-block:: bash

        salt-call generation.list
    """
    folders = [path.name for path in Path(FOLDER).iterdir() if path.is_dir()] if Path(FOLDER).is_dir() else []
    start = TAG.partition("{service}")[0]
    named = [image for image in __salt__["quadlet_live.images"]() if image.startswith(start)]
    services = {*folders, *(image.removeprefix(start).partition("/")[0] for image in named)}
    return {service: remnants(service) for service in sorted(services)}


def remnants(name):
    """
    Return what is there of a service's generations: the folder, and names of images. A list of text.

    CLI Example:

    .. code-block:: bash

        salt-call generation.remnants notes
    """
    folder = _path(name, "").parent / name
    return [*([str(folder)] if folder.exists() else []), *_tags(name)]


def remove(name):
    """
    Remove what is there of a service's generations. Returns what ``generation.remnants`` does.

    CLI Example:

    .. code-block:: bash

        salt-call generation.remove notes
    """
    found = remnants(name)
    tags = _tags(name)
    __utils__["quadlet_podman.untag"](tags)
    for path in found:
        if path not in tags:
            shutil.rmtree(path)
    return found


def _current(name, values, ground):
    """The service as it is declared on this host now, in the form of a generation."""
    there = __salt__["quadlet_live.declared"]()
    units = [unit for unit in there.values() if unit["owner"] == name]
    found = [unit for unit in units if unit["kind"] == "container"]
    local = __salt__["quadlet_live.image_ids"](found)
    secrets = _podman_secrets()
    timers = __salt__["quadlet_live.timers"](name)
    return {
        "files": {
            one["file"]: __utils__["textfile.read"](__utils__["quadlet_files.path"](one["file"])) for one in units
        },
        "timers": {unit: __utils__["textfile.read"](__utils__["pod_timers.path"](unit)) for unit in timers},
        "containers": {one["name"]: {"image": _image_name(one), "id": local.get(one["image"])} for one in found},
        "digests": {secret: secrets[secret]["digest"] for secret in _own(name, secrets)},
        "values": {value["name"]: value["parts"] for value in values or []},
        "ground": ground,
    }


def _ground(stored):
    """The parts of the ground of a generation, and what the functions for each take."""
    ground = stored.get("ground")
    if not ground:
        return
    yield "account", {key: ground["account"][key] for key in ("uid", "home", "groups", "directories")}
    if ground["postgres"]:
        yield "database", {"tenant": ground["postgres"]}
    if ground["valkey"]:
        if ground["valkey"]["isolation"] == "instance":
            yield "Valkey of its own", {"memory": ground["valkey"]["memory"]}
        yield "Valkey user", {"user": ground["valkey"]}
    for socket in ground["private_sockets"]:
        yield "private socket", socket


def _same(stored, current):
    return all(stored.get(key) == current[key] for key in COMPARED)


def _image_name(unit):
    """What an image unit fetches, where a container names such a unit."""
    there = __salt__["quadlet_live.declared"]()
    return there[unit["image"]]["image"] if unit["image"] in there else unit["image"]


def _texts(stored):
    texts = {__utils__["quadlet_files.path"](file): text for file, text in stored["files"].items()}
    texts.update({__utils__["pod_timers.path"](unit): text for unit, text in stored["timers"].items()})
    return texts


def _added(name, stored):
    files = [file for file in __salt__["pod.files"](name) if file not in stored["files"]]
    timers = [unit for unit in __salt__["quadlet_live.timers"](name) if unit not in stored["timers"]]
    return [*map(__utils__["quadlet_files.path"], files), *map(__utils__["pod_timers.path"], timers)]


def _images(stored):
    """Images by the names under which containers ask for them. A digest in a name cannot mean anything else."""
    found = {about["image"]: about["id"] for about in stored["containers"].values() if about["id"]}
    return {image: identity for image, identity in found.items() if "@" not in image and image != identity}


def _values(stored):
    """What Podman's secrets held or would hold now: own ones as they were, composed ones with today's passwords."""
    own = {secret: base64.b64decode(value) for secret, value in stored["secrets"].items()}
    found = dict(own)
    for name, parts in stored["values"].items():
        known = {part["secret"]: own.get(part["secret"]) for part in parts if "secret" in part}
        for secret, value in known.items():
            if value is None:
                text = __utils__["secret_files.read_exactly"](__salt__["secret.path"](secret))
                known[secret] = text if text is None else text.removesuffix(b"\n")
        value = __utils__["secret_values.join"]([{"encode": None, **part} for part in parts], known)
        if value is not None:
            found[name] = value
    return found


def _own(name, secrets):
    """Those of some secrets that are a service's own, sorted: the databases know theirs as well."""
    shared = [f"{name}.{database}" for database in DATABASES]
    return [secret for secret in __utils__["secret_values.secrets_of"](name, secrets) if secret not in shared]


def _files_digests(name):
    """Digests of a service's own secrets as they are to be, by their files."""
    found = {}
    for secret in _own(name, __utils__["secret_files.names"]()):
        value = __utils__["secret_files.read_exactly"](__salt__["secret.path"](secret)) or b""
        found[secret] = hashlib.sha256(value.removesuffix(b"\n")).hexdigest()
    return found


def _podman_secrets():
    """What Podman has, read again only if its store is another since."""
    stamp = __salt__["quadlet_live.store_stamp"]()
    if stamp is None or __context__.get(SECRETS, (None,))[0] != stamp:
        __context__[SECRETS] = (stamp, __utils__["podman_secrets.read"]())
    return __context__[SECRETS][1]


def _tags(name):
    start = TAG.partition("{container}")[0].format(service=name)
    return sorted(image for image in __salt__["quadlet_live.images"]() if image.startswith(start))


def _stored(name):
    stored = _read(name, HEALTHY)
    if stored is None:
        raise CommandExecutionError(f"service {name} has no healthy generation in {FOLDER}")
    return stored


def _path(name, file):
    if not isinstance(name, str) or not name or name.startswith(".") or "/" in name:
        raise SaltInvocationError(f"{name!r} is not the name of a service")
    return Path(FOLDER) / name / file


def _read(name, file):
    """What is remembered; damaged memory is none."""
    text = __utils__["textfile.read"](str(_path(name, file)))
    try:
        found = json.loads(text) if text else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and KEPT[file] <= found.keys() else None


def _write(name, file, content):
    path = _path(name, file)
    for folder in (path.parent.parent.parent, path.parent.parent, path.parent):
        folder.mkdir(mode=0o700, exist_ok=True)
    __utils__["textfile.write"](str(path), f"{json.dumps(content, indent=1)}\n", mode=0o600)
