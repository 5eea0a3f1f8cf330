"""
The files of a made-up fleet: cells with services, as they lie on a master.
"""

import datetime
import json
import os
import time

SERVICES_OF_A_CELL = 3
SETTLED = 2.5  # seconds without a change, after which the external pillar remembers files
ENTRY = """\
image: localhost/hello:1
cells: {cell}
port: {port}
site: {name}.example.test
postgres: true
valkey: true
env:
  GREETING: hello from {name}
volumes:
  data: /data
"""
LOGIN = "auth: forward_auth\n"


def cell(number):
    """Return the id of a cell."""
    return f"cell{number:04d}"


def write(folder, cells, services=None, sso=None, edges=None):
    """
    Write the site's files, for ``cells`` with three services each; of an earlier call, what is the same stays.

    folder
        Path of the folder.

    services
        How many there are altogether.

    sso
        The id of the cell that runs Authentik; a third of the services then has a login.

    edges
        As in ``fleet.yaml``.
    """
    for part in ("services", "pillar", "secrets"):
        (folder / part).mkdir(mode=0o700, parents=True, exist_ok=True)
    topology = {"cells": ["cell*"], "edges": edges or {}, **({"sso": sso} if sso else {})}
    (folder / "fleet.yaml").write_text(json.dumps(topology))
    if sso:
        (folder / "pillar/site.sls").write_text("rick: {authentik: {domain: auth.example.test}}\n")
    for number in range(services or SERVICES_OF_A_CELL * len(cells)):
        name = f"svc{number:05d}"
        text = ENTRY.format(
            name=name, cell=cells[number // SERVICES_OF_A_CELL % len(cells)], port=8080 + number % SERVICES_OF_A_CELL
        )
        (folder / f"services/{name}.yaml").write_text(text + (LOGIN if sso and number % 3 == 0 else ""))


def certificate():
    """Return a certificate as PEM, as a host publishes one."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(tz=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def wait_until_settled(*folders):
    """Return as soon as nothing below some folders is so new that it is read anew each time."""
    newest = max(
        os.stat(os.path.join(place, name)).st_ctime  # noqa: PTH116, PTH118 - thousands of them
        for folder in folders
        for place, _, names in os.walk(folder)
        for name in [".", *names]
    )
    while time.time() < newest + SETTLED:
        time.sleep(0.1)
