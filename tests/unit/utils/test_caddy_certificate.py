"""
An administrator's own certificate: readable for Caddy, its key for nobody else, and for the right domains.
"""

import datetime
import os
import pwd

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from salt.exceptions import CommandExecutionError
from tree import load

caddy_certificate = load("utils", "caddy_certificate")
TODAY = datetime.datetime.now(datetime.UTC)


def certificate(*names, days=30):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(TODAY - datetime.timedelta(days=90))
    builder = builder.not_valid_after(TODAY + datetime.timedelta(days=days))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A certificate and its key that belong to whoever runs the tests, who stands for Caddy."""
    monkeypatch.setattr(caddy_certificate, "ACCOUNT", pwd.getpwuid(os.geteuid()).pw_name)
    paths = [tmp_path / "c.pem", tmp_path / "k.pem"]
    for path in paths:
        path.write_bytes(b"x")
        path.chmod(0o600)
    return [str(path) for path in paths]


def test_files_that_only_caddy_can_read_are_fine(files):
    assert caddy_certificate.problems(*files) == []


def test_a_key_that_everybody_can_read_is_named(files):
    os.chmod(files[1], 0o644)  # noqa: PTH101 - as text
    (problem,) = caddy_certificate.problems(*files)
    assert problem.startswith(f"{files[1]}: everybody can read this key")


def test_files_that_are_missing_are_all_named(tmp_path):
    found = caddy_certificate.problems(f"{tmp_path}/c.pem", f"{tmp_path}/k.pem")
    assert [problem.partition(": ")[0] for problem in found] == [f"{tmp_path}/c.pem", f"{tmp_path}/k.pem"]


def test_a_directory_is_no_certificate(files, tmp_path):
    assert caddy_certificate.problems(str(tmp_path), files[1]) == [f"{tmp_path}: is no file"]


@pytest.mark.parametrize("closed", ["file", "directory"])
def test_what_caddy_cannot_read_is_named_with_its_mode(files, tmp_path, closed):
    path = tmp_path if closed == "directory" else tmp_path / "k.pem"
    path.chmod(0o000)
    try:
        # Root gets in anywhere; the modes tell what Caddy could do.
        place = caddy_certificate._closed(files[1]) if os.geteuid() == 0 or closed == "file" else f"{path} (0000)"
    finally:
        path.chmod(0o700)
    assert place == f"{path} (0000)"


def test_before_the_package_is_there_nobody_can_be_asked_for(files, monkeypatch):
    monkeypatch.setattr(caddy_certificate, "ACCOUNT", "no-such-user")
    assert [one for one in caddy_certificate.problems(*files) if "cannot read" in one] == []


def test_another_certificate_in_the_same_file_has_another_fingerprint(files, tmp_path):
    before = caddy_certificate.fingerprint(files[0])
    (tmp_path / "c.pem").write_bytes(b"y")
    assert caddy_certificate.fingerprint(files[0]) != before


def test_a_certificate_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(CommandExecutionError, match=r"c\.pem: No such file"):
        caddy_certificate.fingerprint(f"{tmp_path}/c.pem")


@pytest.mark.parametrize("names", [["a.example.org", "b.example.org"], ["*.example.org"]])
def test_a_certificate_for_its_domains_is_fine(tmp_path, names):
    (tmp_path / "c.pem").write_bytes(certificate(*names))
    caddy_certificate.check_domains(f"{tmp_path}/c.pem", ["a.example.org", "b.example.org"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (certificate("a.example.org"), "not for b.example.org"),
        (certificate("*.b.example.org"), "not for a.example.org, b.example.org"),
        (certificate(), "for no domain"),
        (certificate("*.example.org", days=-1), "was valid until"),
        (b"nothing", "PEM"),
    ],
    ids=["one", "wildcard", "none", "expired", "garbage"],
)
def test_any_other_certificate_is_refused(tmp_path, text, words):
    (tmp_path / "c.pem").write_bytes(text)
    with pytest.raises(CommandExecutionError, match=words):
        caddy_certificate.check_domains(f"{tmp_path}/c.pem", ["a.example.org", "b.example.org"])
