"""
The key pair by which tokens are signed: made when it is first needed, which most tests never do.
"""

import datetime
import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

NAME = "authentik Self-signed Certificate"
LASTS = datetime.timedelta(days=365)


class Pair:
    """A self-signed certificate and its key, RSA with 2048 bits. What is kept of it are texts."""

    @functools.cached_property
    def pem(self):
        """The private key, for who signs with it."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = serialization.PrivateFormat.PKCS8
        return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())

    @functools.cached_property
    def der(self):
        """The certificate, for who checks."""
        key = serialization.load_pem_private_key(self.pem, password=None)
        parts = [(NameOID.COMMON_NAME, NAME), (NameOID.ORGANIZATION_NAME, "authentik")]
        parts.append((NameOID.ORGANIZATIONAL_UNIT_NAME, "Self-signed"))
        name = x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])
        since = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number()).not_valid_before(since).not_valid_after(since + LASTS)
        return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def facts(self):
        """What the API tells of it."""
        certificate = x509.load_der_x509_certificate(self.der)
        return {
            "fingerprint_sha256": certificate.fingerprint(hashes.SHA256()).hex(":"),
            "fingerprint_sha1": certificate.fingerprint(hashes.SHA1()).hex(":"),  # noqa: S303 - no signature
            "cert_expiry": certificate.not_valid_after_utc.isoformat().replace("+00:00", "Z"),
            "cert_subject": certificate.subject.rfc4514_string(),
            "key_type": "rsa",
        }
