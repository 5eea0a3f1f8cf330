#!/usr/bin/env python3
"""
What it costs a master to make one host's pillar: CPU milliseconds, of a fleet that exists as files only.

  fleet_pillar.py HOSTS SERVICES ROUNDS    the answer is one line of JSON

Started by benchmarks/fleet with the interpreter of an environment with Salt. The first pillar of a process parses every
entry; the others are those of a worker that goes on. Salt's own part is a pillar without the external one.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import salt.cache
import salt.config
import salt.pillar

TREE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TREE / "benchmarks")]
import fleet_site  # noqa: E402 - lies beside this file

FLOOR, CELL, SSO, EDGE = "salt", "cell", "sso", "edge"


def main():
    hosts, services, rounds = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        print(json.dumps(measure(Path(folder), hosts, services, rounds)))


def measure(folder, hosts, services, rounds):
    """Return CPU milliseconds: of the first pillar of a cell, and of the later ones of each kind of host."""
    ids = [fleet_site.cell(number) for number in range(1, hosts + 1)]
    site = folder / "site"
    fleet_site.write(site, ids, services, sso=ids[0], edges={"edge1": ["cell*"]})
    options = salt.config.master_config(None)
    options.update(
        root_dir=str(folder),
        cachedir=str(folder / "cache"),
        pki_dir=str(folder / "pki"),
        extension_modules=str(folder / "extmods"),
        file_roots={"base": [str(TREE / "salt")]},
        pillar_roots={"base": [str(TREE / "pillar"), str(site / "pillar")]},
        module_dirs=[str(TREE / "salt")],
        ext_pillar=[{"fleet": str(site)}],
    )
    accepted = folder / "pki/minions"
    accepted.mkdir(parents=True)
    kept = salt.cache.factory(options)
    certificate = fleet_site.certificate()
    for one in [*ids, "edge1"]:
        (accepted / one).write_text("a public key")
        said = {"address": "192.0.2.1", "certificate": certificate, "authority": certificate}
        kept.store("mine", one, {"fleet.published": said})
    fleet_site.wait_until_settled(site, accepted)

    def milliseconds(host, **other):
        began = time.process_time()
        made = salt.pillar.get_async_pillar({**options, **other}, {"id": host}, host, "base")
        pillar = asyncio.run(made.compile_pillar())
        took = (time.process_time() - began) * 1000
        if "_errors" in pillar or pillar.get("rick", {}).get("services_errors"):
            raise SystemExit(f"{host}: {pillar.get('_errors') or pillar['rick']['services_errors']}")
        return took, len(json.dumps(pillar))

    milliseconds(ids[-1], ext_pillar=[])  # imports
    first, _ = milliseconds(ids[-1])
    found = {FLOOR: [milliseconds(ids[-1], ext_pillar=[])[0] for _ in range(rounds)]}
    sizes = {}
    for kind, host in ((CELL, ids[-1]), (SSO, ids[0]), (EDGE, "edge1")):
        milliseconds(host)  # what it needs for the first time, such as the library for certificates
        found[kind] = []
        for _ in range(rounds):
            took, sizes[kind] = milliseconds(host)
            found[kind].append(took)
    return {"first": first, "again": found, "bytes": sizes}


if __name__ == "__main__":
    main()
