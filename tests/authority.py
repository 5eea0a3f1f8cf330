"""
A certificate authority for tests of who trusts whom.
"""

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PAST = datetime.timedelta(days=30)


class Authority:
    """``certificate`` is its own, as PEM."""

    def __init__(self, name="test authority"):
        self._name, self._key = _name(name), ec.generate_private_key(ec.SECP256R1())
        self.certificate = _pem(self._signed(self._name, self._key, datetime.timedelta(days=2), is_authority=True))

    def issue(self, domain, days=1):
        """Return a certificate for a domain and its key, as PEM. With ``days`` below zero it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(_name(domain), key, datetime.timedelta(days=days), domain)
        plain = serialization.NoEncryption()
        kept = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        return _pem(made), kept.decode()

    def _signed(self, name, key, lifetime, domain=None, is_authority=False):
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - PAST).not_valid_after(now + lifetime)
        made = made.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        if domain:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        return made.sign(self._key, hashes.SHA256())


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
