"""
Verifiers of passwords: PostgreSQL's own library makes the same, and only the right password matches.
"""

import string

from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import pq
from tree import load

scram = load("utils", "postgresql_scram")

PASSWORDS = st.text(string.ascii_letters + string.digits + string.punctuation, min_size=16, max_size=64)


def of_libpq(password):
    # No server is asked: the connection only holds the settings.
    connection = pq.PGconn.connect_start(b"host=/nonexistent")
    try:
        return connection.encrypt_password(password.encode(), b"notes", b"scram-sha-256").decode()
    finally:
        connection.finish()


@settings(deadline=None, max_examples=25)
@given(PASSWORDS)
def test_what_libpq_makes_of_a_password_matches_it(password):
    assert scram.matches(password, of_libpq(password))


@settings(deadline=None, max_examples=25)
@given(PASSWORDS, PASSWORDS)
def test_a_verifier_matches_its_password_and_no_other(password, other):
    made = scram.verifier(password)
    assert scram.matches(password, made)
    assert scram.matches(other, made) is (other == password)
    assert password not in made


def test_each_verifier_has_a_salt_of_its_own():
    assert scram.verifier("correct-horse-battery") != scram.verifier("correct-horse-battery")


def test_no_password_an_md5_hash_and_noise_match_nothing():
    for present in (None, "", "md5d41d8cd98f00b204e9800998ecf8427e", "SCRAM-SHA-256$x", "correct-horse-battery"):
        assert not scram.matches("correct-horse-battery", present)
