"""
How benchmarks/services goes about it: who takes part in how many rounds, and what ends it.
"""

import sys

import pytest


@pytest.fixture
def services(benchmark_file, monkeypatch):
    """The command, without machines: what it declares goes nowhere, and each run of a tool is made up."""
    module = benchmark_file("services")
    monkeypatch.setattr(module, "declare", lambda *_arguments: None)
    monkeypatch.setattr(module, "run", lambda name, *page: answer(served=1.0 if page else None))
    return module


def answer(**other):
    return {"wall": 10.0, "cpu": 1.0, "served": None, "touched": [], "states": [], **other}


@pytest.fixture
def sample(services):
    def sample(names, rounds=5, warm_up=False):
        figures = {"unchanged": {}, "changed": {}, "boot": {}}
        services.sample(figures, 3, names, rounds, warm_up)
        return figures

    return sample


def test_each_tool_takes_part_in_all_rounds_if_it_is_fast(sample):
    figures = sample(["test.ping", "rick-infra", "salt"])
    assert {name: len(found) for name, found in figures["unchanged"].items()} == {
        "test.ping": 5,
        "rick-infra": 5,
        "salt": 5,
    }


def test_a_slow_tool_takes_part_as_often_as_its_budget_allows_and_once_at_least(services, sample, monkeypatch):
    seconds = {"salt": 40.0, "ansible": 500.0}  # twice that a round: a change, and nothing to do
    monkeypatch.setattr(
        services, "run", lambda name, *page: answer(wall=seconds.get(name, 1.0), served=1.0 if page else None)
    )
    figures = sample(["rick-infra", "salt", "ansible"])["unchanged"]
    assert {name: len(found) for name, found in figures.items()} == {"rick-infra": 5, "salt": 2, "ansible": 1}


def test_a_round_to_warm_up_does_not_count(services, sample, monkeypatch):
    runs = []
    monkeypatch.setattr(services, "run", lambda name, *page: runs.append(name) or answer(served=1.0 if page else None))
    figures = sample(["rick-infra"], rounds=1, warm_up=True)
    assert len(runs) == 4
    assert len(figures["unchanged"]["rick-infra"]) == len(figures["changed"]["rick-infra"]) == 1


def test_the_tools_take_turns_back_and_forth(services, sample, monkeypatch):
    runs = []
    monkeypatch.setattr(services, "repeat", lambda name: runs.append(name) or answer())
    sample(["test.ping", "rick-infra", "salt"], rounds=2)
    assert runs == ["salt", "rick-infra", "test.ping", "test.ping", "rick-infra", "salt"]


def test_a_call_that_does_nothing_is_given_no_change_to_do(sample):
    assert "test.ping" not in sample(["test.ping"])["changed"]


@pytest.mark.parametrize("name", ["rick-infra", "salt", "pyinfra"])
def test_a_run_with_nothing_to_do_that_touches_the_host_ends_the_benchmark(services, sample, monkeypatch, name):
    touched = {(): ["/etc/caddy/Caddyfile"]}
    monkeypatch.setattr(
        services, "run", lambda _, *page: answer(served=1.0 if page else None, touched=touched.get(page, []))
    )
    with pytest.raises(services.Failure, match=rf"{name} should have had nothing to do.*Caddyfile"):
        sample([name])


def test_a_state_of_ours_that_changes_something_ends_the_benchmark(services, sample, monkeypatch):
    states = [{"__id__": "Caddy runs", "result": True, "changes": {"new": "old"}, "duration": 1}]
    monkeypatch.setattr(services, "run", lambda _, *page: answer(served=1.0 if page else None, states=states))
    with pytest.raises(services.Failure, match="Caddy runs"):
        sample(["rick-infra"])


def test_a_change_that_touches_another_service_ends_the_benchmark(services, sample, monkeypatch):
    touched = ["/opt/svc02/.env", "svc02-pod.service", "svc03-pod.service"]
    monkeypatch.setattr(services, "run", lambda _, *page: answer(served=1.0, touched=touched if page else []))
    with pytest.raises(services.Failure, match=r"touched svc03-pod\.service$"):
        sample(["salt"])


def test_a_change_that_is_not_served_ends_the_benchmark(services, sample, monkeypatch):
    monkeypatch.setattr(services, "run", lambda *_arguments: answer())
    with pytest.raises(services.Failure, match="svc02 still does not say"):
        sample(["salt"])


def test_what_was_measured_before_a_failure_is_shown(services, monkeypatch, capsys):
    def measure(result, _options):
        found = {"unchanged": {"rick-infra": [{"wall": 1.25, "cpu": 1.0}]}, "changed": {}, "boot": {}}
        result |= {"conditions": {"load": 0.0}, "runs": {"1": found}}
        raise services.Failure("Ansible failed")

    monkeypatch.setattr(services, "measure", measure)
    monkeypatch.setattr(services.host, "check_user", lambda: None)
    monkeypatch.setattr(sys, "argv", ["services"])
    with pytest.raises(services.Failure, match="Ansible failed"):
        services.main()
    assert "1.25" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["10,1", "0", "1,1", "61", "many", ""])
def test_numbers_of_services_are_refused_unless_they_grow(services, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["services", f"--services={words}"])
    with pytest.raises(SystemExit):
        services.parse()
    assert "--services" in capsys.readouterr().err


def test_peers_are_chosen_by_name(services, monkeypatch):
    for words, expected in (("none", []), ("ansible,salt", ["salt", "ansible"])):
        monkeypatch.setattr(sys, "argv", ["services", f"--peers={words}"])
        assert services.parse().peers == expected


def test_an_unknown_peer_is_refused(services, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["services", "--peers=puppet"])
    with pytest.raises(SystemExit):
        services.parse()
    assert "--peers" in capsys.readouterr().err
