"""
What bin/enroll does to the keys of a master, by Salt's own interface, in a folder of its own.
"""

import pytest
import salt.cache
import salt.crypt


@pytest.fixture(scope="module")
def module(command):
    return command("master_keys.py")


@pytest.fixture
def keys(module, tmp_path):
    configuration = tmp_path / "etc/salt/master"
    configuration.parent.mkdir(parents=True)
    (tmp_path / "var/cache/salt/master").mkdir(parents=True)  # as a master that has run
    configuration.write_text(f"root_dir: {tmp_path}\nid: master\nuser: root\n")
    return module.MasterKeys(str(configuration))


@pytest.fixture(scope="module")
def key():
    return salt.crypt.gen_keys(2048)[1].strip()


@pytest.fixture(scope="module")
def other():
    return salt.crypt.gen_keys(2048)[1].strip()


def arrive(keys, identity, key, state="pending"):
    """What the master does with the key of a minion that has come by itself."""
    if state == "denied":
        keys.keys.cache.store("denied_keys", identity, [key])
    else:
        keys.keys.cache.store("keys", identity, {"state": state, "pub": key})


def test_an_accepted_key_is_where_salt_looks_for_it(keys, key):
    keys.accept("web1", key)
    assert keys.keys.list_keys()["minions"] == ["web1"]
    assert keys.all() == [("web1", "accepted", key)]


def test_the_key_of_a_stranger_that_came_first_does_not_stay(keys, key, other):
    arrive(keys, "web1", other)
    arrive(keys, "web1", other, "denied")
    keys.accept("web1", key)
    assert keys.all() == [("web1", "accepted", key)]


def test_a_pending_key_can_be_accepted_and_no_other_id_with_it(keys, key, other):
    arrive(keys, "web1", key)
    arrive(keys, "web10", other)
    keys.accept_pending("web1")
    assert keys.all() == [("web1", "accepted", key), ("web10", "pending", other)]


def test_a_host_that_is_removed_leaves_nothing_behind(keys, key, other):
    cache = salt.cache.factory(keys.options)
    for name, its_key in (("web1", key), ("web2", other)):
        keys.accept(name, its_key)
        for bank in ("grains", "pillar", "mine"):
            cache.store(bank, name, {"some": "thing"})
    assert keys.remove("web1") == ["accepted"]
    assert keys.all() == [("web2", "accepted", other)]
    for bank in ("grains", "pillar", "mine"):
        assert cache.list(bank) == ["web2"], bank
    assert keys.remove("web1") == []


def test_a_rebuilt_host_takes_the_place_of_what_it_was(keys, key, other):
    keys.accept("web1", key)
    salt.cache.factory(keys.options).store("mine", "web1", {"its": "old certificate"})
    keys.accept("web1", other)
    assert keys.all() == [("web1", "accepted", other)]
    assert salt.cache.factory(keys.options).list("mine") == []


def test_the_masters_own_key_stays_when_its_host_is_renamed(module, keys, monkeypatch):
    before = keys.own()
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    assert module.MasterKeys(keys.options["conf_file"]).own() == before


@pytest.mark.parametrize(
    "bad",
    [
        "AAAA",
        "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
    ],
    ids=["nonsense", "Ed25519"],
)
def test_what_salt_cannot_use_is_refused(module, keys, bad):
    with pytest.raises(module.Failure):
        keys.accept("web1", f"-----BEGIN PUBLIC KEY-----\n{bad}\n-----END PUBLIC KEY-----")
    assert keys.all() == []


def test_a_short_key_is_refused(module, keys):
    with pytest.raises(module.Failure, match="2048"):
        keys.accept("web1", salt.crypt.gen_keys(1024)[1])
