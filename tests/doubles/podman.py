"""
Podman's secrets, as its command line and its files have them (5.4 and 5.8, file driver).

Started as a program. ``STORAGE`` in the environment is its graph root.
"""

import base64
import json
import os
import secrets
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("STORAGE", "/nowhere")) / "secrets"
INDEX = FOLDER / "secrets.json"
DATA = FOLDER / "filedriver/secretsdata.json"
TIME = "2026-11-23T23:57:10.285053819Z"


def main(arguments):
    DATA.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    index = json.loads(INDEX.read_text()) if INDEX.exists() else {"secrets": {}, "nameToID": {}, "idToName": {}}
    data = json.loads(DATA.read_text()) if DATA.exists() else {}
    match arguments:
        case ["secret", "create", "--replace", name, "-"]:
            value = sys.stdin.buffer.read()
            if not 0 < len(value) < 512_000:
                sys.exit("Error: secret data must be larger than 0 and less than 512000 bytes")
            forget(index, data, name)
            identity = secrets.token_hex(12)
            index["nameToID"][name], index["idToName"][identity] = identity, name
            index["secrets"][identity] = {
                "name": name,
                "id": identity,
                "createdAt": TIME,
                "updatedAt": TIME,
                "driver": "file",
                "driverOptions": {"path": str(DATA.parent)},
            }
            data[identity] = base64.b64encode(value).decode()
        case ["secret", "rm", "--", *names]:
            for name in names:
                if name not in index["nameToID"]:
                    sys.exit(f"Error: no secret with name or id {name!r}: no such secret")
                forget(index, data, name)
        case _:
            sys.exit(f"the double of Podman does not know {arguments}")
    INDEX.write_text(json.dumps(index, indent=2))
    DATA.write_text(json.dumps(data, indent=2))


def forget(index, data, name):
    identity = index["nameToID"].pop(name, None)
    for known in (index["idToName"], index["secrets"], data):
        known.pop(identity, None)


if __name__ == "__main__":
    main(sys.argv[1:])
