"""
The grain and what reads it, in Salt's own loader.
"""

import grp

import pytest
import salt.loader

GIDS = {"postgres-clients": 987, "valkey-clients": 986}


@pytest.fixture
def groups(monkeypatch):
    """Set which client groups the system has, besides its other groups."""
    others = grp.getgrall()

    def set_groups(**gids):
        groups = {name.replace("_", "-"): gid for name, gid in gids.items()}
        known = {group.gr_name: group for group in others if group.gr_name not in GIDS}
        known |= {name: grp.struct_group((name, "x", gid, [])) for name, gid in groups.items()}
        monkeypatch.setattr(grp, "getgrnam", lambda name: known[name])
        monkeypatch.setattr(grp, "getgrall", lambda: list(known.values()))

    return set_groups


def published(opts):
    return salt.loader.grain_funcs(opts)["client_groups.client_groups"]()


def test_it_loads_and_publishes_nothing_without_the_groups(minion, groups):
    groups()
    assert published(minion().opts) == {}


def test_it_publishes_the_system_s_gids(minion, groups):
    groups(postgres_clients=987, valkey_clients=986)
    assert published(minion().opts) == {
        "rick_infra": {"client_groups": GIDS},
        "postgresql_client_group_gid": 987,
        "valkey_client_group_gid": 986,
    }


def test_it_is_among_the_grains_of_the_minion(loaders, minion, groups):
    groups(postgres_clients=987, valkey_clients=986)
    grains = salt.loader.grains(minion().opts, force_refresh=True)
    assert grains["rick_infra"]["client_groups"] == GIDS
    assert grains["valkey_client_group_gid"] == 986


@pytest.mark.parametrize("test_mode", [True, False])
def test_facts_that_are_true_pass_the_barrier(minion, groups, test_mode):
    groups(postgres_clients=987, valkey_clients=986)
    host = minion(grains=published(minion().opts))
    assert host.modules["facts.stale"]() is False
    assert host.modules["facts.problems"]() == []
    for function in ("facts.published", "facts.valid"):
        (result,) = host.modules["state.single"](function, name="x", test=test_mode).values()
        assert (result["result"], result["changes"]) == (True, {})


def test_a_virgin_host_is_planned_in_test_mode_and_refused_otherwise(minion, groups):
    groups()
    host = minion()
    assert host.modules["facts.stale"]() is True
    (planned,) = host.modules["state.single"]("facts.published", name="x", test=True).values()
    assert planned["result"] is None
    assert set(planned["changes"]) == set(GIDS)
    (passed,) = host.modules["state.single"]("facts.valid", name="x", test=True).values()
    assert passed["result"] is True
    (failed,) = host.modules["state.single"]("facts.valid", name="x", test=False).values()
    assert failed["result"] is False
    assert "fact valkey_client_group_gid" in failed["comment"]
    assert "salt-call state.apply infra.valkey" in failed["comment"]


def test_a_new_group_becomes_a_grain_within_the_run(minion, groups, tmp_path):
    """What the barrier is for: reload_grains on its state, and later states see the fact."""
    groups(postgres_clients=987, valkey_clients=986)
    seen = tmp_path / "seen"
    sls = tmp_path / "sls"
    sls.mkdir()
    (sls / "barrier.sls").write_text(
        f"""\
Client groups are published as facts:
  facts.published:
    - reload_grains: {{{{ salt["facts.stale"]() }}}}

The facts are valid:
  facts.valid:
    - require:
      - facts: Client groups are published as facts

{seen}:
  file.managed:
    - template: jinja
    - contents: '{{{{ "{{{{ grains.valkey_client_group_gid }}}}" }}}}'
    - require:
      - facts: The facts are valid
"""
    )
    host = minion(file_roots={"base": [str(sls)]})
    assert "rick_infra" not in host.opts["grains"]
    results = host.modules["state.apply"]("barrier")
    assert isinstance(results, dict), results
    assert {result["__id__"]: result["result"] for result in results.values()} == {
        "Client groups are published as facts": True,
        "The facts are valid": True,
        str(seen): True,
    }
