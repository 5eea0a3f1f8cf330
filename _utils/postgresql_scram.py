"""
SCRAM-SHA-256 verifiers: what PostgreSQL keeps instead of a password (RFC 5802, RFC 7677).

Made here, so that the password itself never reaches the server, nor its log.
"""

import base64
import hashlib
import hmac
import os
import re

ITERATIONS = 4096  # the server's own default, scram_iterations; what protects the password is its length
SALT_LENGTH = 16  # bytes, as the server's own
_VERIFIER = re.compile(r"SCRAM-SHA-256\$([0-9]+):([A-Za-z0-9+/=]+)\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+")


def verifier(password):
    """
    Return a new verifier for a password of printable ASCII (others would need SASLprep), each time with another salt.
    """
    return _computed(password, ITERATIONS, os.urandom(SALT_LENGTH))


def matches(password, present):
    """
    Return whether ``present``, a role's ``rolpassword`` or None, is a SCRAM verifier of this password.
    """
    form = _VERIFIER.fullmatch(present or "")
    if not form:
        return False
    return hmac.compare_digest(_computed(password, int(form[1]), base64.b64decode(form[2])), present)


def _computed(password, iterations, salt):
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"
