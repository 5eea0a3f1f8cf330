"""
The services of a host that no master serves, one plain YAML file each: ``/etc/rick-infra/services/NAME.yaml``.

.. code-block:: yaml

    # /etc/salt/minion.d/50-rick-infra.conf
    ext_pillar:
      - services: /etc/rick-infra/services

A file holds the entry itself, without keys around it and without templating (``plain_files`` reads it).
It reaches the tree as ``rick:services:NAME`` of the pillar. A file that
cannot be used is a sentence in ``rick:services_errors``, which stops all
services: none disappears because somebody mistyped.

A master has several hosts to think of: there, the external pillar is ``fleet``.
"""

HINT = "an entry is a mapping of keys, at least image: NAME:TAG"


def ext_pillar(minion_id, pillar, directory):
    """
    Return ``{"rick": {"services": {NAME: entry}, "services_errors": [sentences]}}``.

    minion_id
        Not used: every entry is this host's.

    pillar
        The ordinary pillar. An entry that is there, too, is an error, since nobody could tell which one is meant.

    directory
        Path of the folder with the files. It may be missing.
    """
    found, wrong = __utils__["plain_files.mappings"](directory, HINT)
    entries, errors = {}, list(wrong.values())
    ordinary = pillar.get("rick")
    declared = ordinary.get("services") if isinstance(ordinary, dict) else None
    if declared is not None and not isinstance(declared, dict):
        errors.append(f"rick:services of the pillar: {declared!r} is not a mapping of entries by name")
    for name, entry in found.items():
        if isinstance(declared, dict) and name in declared:
            place = f"{directory}/{name}.yaml"
            errors.append(f"{place}: there is also a rick:services:{name} in the pillar; keep one of them")
        else:
            entries[name] = entry
    return {"rick": {"services": entries, "services_errors": errors}}
