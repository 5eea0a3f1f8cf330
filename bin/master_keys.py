"""
The keys that a Salt master knows, by Salt's own interface: runs in Salt's environment.
"""

import logging

import salt.cache
import salt.config
import salt.exceptions
import salt.key
from console import Failure
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from enrollment import clean

CONFIGURATION = "/etc/salt/master"
# As Salt's interface calls them, and the names of the folders they once were.
STATES = {"accepted": "minions", "pending": "minions_pre", "rejected": "minions_rejected", "denied": "minions_denied"}
SMALLEST = 2048  # bits; what Salt makes by itself


class MasterKeys:
    """The keys of the master that is configured in ``configuration``."""

    def __init__(self, configuration=CONFIGURATION):
        # What Salt says of a key, the commands that use this say themselves.
        logging.getLogger("salt").setLevel(logging.ERROR)
        self.options = salt.config.master_config(configuration)
        self.keys = salt.key.Key(self.options)

    def own(self):
        """Return the master's public key."""
        return clean(self.keys.master_keys.get_pub_str())

    def all(self):
        """Return all known keys, ``[(id, state, public key)]``; an id may have denied keys besides another one."""
        listed = self.keys.list_keys()
        return [
            (identity, state, key)
            for state, folder in STATES.items()
            for identity in listed[folder]
            for key in self.of(identity, state)
        ]

    def of(self, identity, state):
        """Return the public keys of an id that are in a state: one or none; more only of those that were denied."""
        if state == "denied":
            return [clean(key) for key in self.keys.cache.fetch("denied_keys", identity) or []]
        found = self.keys.cache.fetch("keys", identity)
        return [clean(found["pub"])] if found and found["state"] == state else []

    def accept_pending(self, identity):
        """Accept the pending key of an id, as ``salt-key --accept`` does."""
        self.keys.accept(match_dict={STATES["pending"]: [identity]})

    def accept(self, identity, key):
        """Make ``key`` the accepted key of an id. What the master knew of another host of that name is forgotten."""
        check(key)
        try:
            self.remove(identity)
            self.keys.cache.store("keys", identity, {"state": "pending", "pub": key})
            self.accept_pending(identity)
        except salt.exceptions.SaltException as error:
            raise Failure(f"its key cannot be stored: {error}") from error

    def remove(self, identity):
        """Forget an id: its keys in all states, and what it has told. Return the states that there were."""
        states = [state for state in STATES if self.of(identity, state)]
        if states:
            # With the key Salt forgets grains and pillar, and changes the key of its session: who has the old one hears
            # nothing any more.
            self.keys.delete_key(match_dict={STATES[state]: [identity] for state in states})
            salt.cache.factory(self.options).flush("mine", identity)
        return states


def check(key):
    """Raise Failure unless ``key`` is a public key that Salt can use."""
    try:
        loaded = load_pem_public_key(key.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Failure("its key is none") from error
    if not isinstance(loaded, RSAPublicKey) or loaded.key_size < SMALLEST:
        raise Failure(f"its key is not an RSA key of {SMALLEST} bits or more")
