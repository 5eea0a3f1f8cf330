"""
What somebody may say to a roll-out, ``pillar='{"batch": 2}'``: read, and refused with a sentence if it cannot be meant.
"""

import difflib
import re

PERCENT = re.compile(r"([1-9][0-9]?|100)%")
KINDS = {
    "deploy": ("batch", "canary", "only", "without"),
    "upgrade": ("service", "batch", "canary", "without"),
    "drain": ("cell", "without"),
    "undrain": ("cell", "without"),
}
REQUIRED = {"upgrade": "service", "drain": "cell", "undrain": "cell"}
EXAMPLES = {"batch": "2", "canary": '"cell2"', "only": '["notes"]', "without": '["cell3"]', "service": '"notes"'}
ONE = ("canary", "service", "cell")
LISTS = ("only", "without")


def read(kind, pillar, site):
    """
    Return what was said, and what is wrong with it: ``(options, [sentences])``.

    kind
        ``deploy``, ``upgrade``, ``drain`` or ``undrain``.

    pillar
        The pillar of the orchestration, in which the options are among what the site says.

    site
        The names of what the site says to everybody, and the orchestration as well.
    """
    known = KINDS[kind]
    options = {key: pillar[key] for key in known if pillar.get(key) is not None}
    found = []
    found += [
        f"{key}: orch.{kind} has no such option{_hint(key, known)}"
        for key in pillar
        if key not in known and key not in site
    ]
    required = REQUIRED.get(kind)
    if required and required not in options:
        example = EXAMPLES.get(required, '"cell2"')
        found.append(f"orch.{kind} needs to know which {required}: pillar='{{\"{required}\": {example}}}'")
    if "batch" in options and not _is_size(options["batch"]):
        found.append(f"batch: {options['batch']!r} is neither a number of hosts above 0 nor a share such as '25%'")
    for key in LISTS:
        value = options.get(key, [])
        options[key] = [value] if isinstance(value, str) else value
        if not isinstance(options[key], list) or not all(isinstance(one, str) for one in options[key]):
            found.append(f"{key}: {value!r} is not a list of names, such as {EXAMPLES[key]}")
    for key in ONE:
        if key in options and not isinstance(options[key], str):
            found.append(f"{key}: {options[key]!r} is not a name")
    return options, found


def targets(kind, options, fleet):
    """
    Return who takes part, ``{"cells": [ids], "edges": [ids]}``, and what keeps the roll-out from being begun.

    options
        As from ``read``.

    fleet
        As from the runner ``fleet.topology``.
    """
    hosts = [*fleet["cells"], *(edge for edge in fleet["edges"] if edge not in fleet["cells"])]
    everybody = [*hosts, *fleet["without_role"]]
    found = [f"without: {one} is no host of this fleet (salt-run fleet.status)" for one in options["without"]]
    found = [text for one, text in zip(options["without"], found, strict=True) if one not in everybody]
    names = [options["service"]] if kind == "upgrade" else options["only"]
    found += [f"there is no service {one!r} in the fleet{_hint(one, fleet['services'])}" for one in names
              if one not in fleet["services"]]  # fmt: skip
    if kind in ("drain", "undrain"):
        cell = options["cell"]
        found += _cannot_drain(kind, cell, fleet, everybody)
        cells, edges = [cell], [edge for edge, behind in fleet["edges"].items() if cell in behind]
    else:
        running = {cell for name in names for cell in fleet["services"].get(name, [])}
        if kind == "deploy" and fleet["domain"]:
            running.add(fleet["sso"])  # the logins of the services are made there
        cells = [cell for cell in fleet["cells"] if not names or cell in running]
        edges = [] if kind == "upgrade" else list(fleet["edges"])
    left = {
        "cells": [one for one in cells if one not in options["without"]],
        "edges": [one for one in edges if one not in options["without"]],
    }
    canary = options.get("canary")
    if not found and canary is not None and canary not in left["cells"]:
        told = ", ".join(left["cells"]) or "none"
        found.append(f"canary: {canary} is none of the cells that take part (there are: {told})")
    if not found and not left["cells"] and not left["edges"]:
        found.append(f"orch.{kind}: no host takes part: all of them are left out, or nobody has a role")
    return left, found


def _cannot_drain(kind, cell, fleet, everybody):
    if cell not in everybody:
        return [f"cell: {cell} is no host of this fleet (salt-run fleet.status){_hint(cell, fleet['cells'])}"]
    if cell not in fleet["cells"]:
        return [f"cell: {cell} is no cell, so it runs nothing that could be drained"]
    if cell == fleet["sso"] and kind == "drain":
        return [
            f"cell: {cell} runs Authentik: without it nobody could log in to any service. Make another cell the sso in "
            "fleet.yaml first"
        ]
    return []


def _hint(word, known):
    close = difflib.get_close_matches(str(word), [str(one) for one in known], n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (there are: {', '.join(sorted(known)) or 'none'})"


def _is_size(size):
    if isinstance(size, bool):
        return False
    return (isinstance(size, int) and size > 0) or (isinstance(size, str) and bool(PERCENT.fullmatch(size)))
