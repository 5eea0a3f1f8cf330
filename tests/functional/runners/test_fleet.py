"""
What the master says of its fleet, and how it is shown.
"""

import pytest
import salt.loader


def shown(master, data):
    return salt.loader.outputters(master.opts)["fleet"](data).splitlines()


def test_a_fleet_that_is_fine_is_told_in_a_line(master):
    one = master()
    found = one.run("fleet.check")
    assert (found["problems"], found["retcode"]) == ([], 0)
    assert shown(one, found) == ["4 hosts, 3 services, no errors"]


def test_what_is_wrong_is_told_with_an_exit_code(master):
    one = master(services__wiki="image: localhost/wiki:1\nprot: 80\ncells: cell1\nneeds: nots\n", services__bad="- a\n")
    found = one.run("fleet.check")
    assert found["retcode"] == 1
    text = "\n".join(shown(one, found))
    assert "services/wiki.yaml: unknown key 'prot' (did you mean 'port'?)" in text
    assert "services/wiki.yaml: needs: there is no service 'nots'" in text
    assert "services/bad.yaml" in text


def test_a_login_without_authentik_is_found_wherever_its_domain_was_to_be(master):
    one = master(hosts__cell1=None)
    (sentence,) = one.run("fleet.check")["problems"]
    assert "board.yaml: auth: Authentik on cell1 has no domain" in sentence
    assert master().run("fleet.check")["problems"] == []


@pytest.mark.parametrize(
    "name, text, told",
    [
        ("hosts/cell2", "postgresql: [", "hosts/cell2.yaml:"),
        ("hosts/cell2", "services: {}", "hosts/cell2.yaml: services: is decided by fleet.yaml and the entries"),
        ("hosts/cel2", "caddy: {}", "hosts/cel2.yaml: no host of that id is let in; rename it to"),
        ("hosts/cell1", "authentik: [", "hosts/cell1.yaml:"),
        ("secrets/board", "- one", "secrets/board.yaml:1: is no mapping"),
    ],
)
def test_files_of_one_host_or_service_are_looked_at_too(master, name, text, told):
    found = master(**{name.replace("/", "__"): text}).run("fleet.check")
    assert [problem for problem in found["problems"] if told in problem]
    assert found["retcode"] == 1


def test_a_cell_that_salt_ssh_reaches_is_known_by_the_roster(master, tmp_path):
    one = master(services__far="image: localhost/far:1\ncells: cell9\n", hosts__cell9="caddy: {}\n")
    assert len(one.run("fleet.check")["problems"]) == 2
    roster = tmp_path / "roster"
    roster.write_text("cell9:\n  host: 192.0.2.9\n")
    one.opts["roster_file"] = str(roster)
    assert one.run("fleet.check")["problems"] == []


def test_a_host_of_no_role_is_found(master):
    one = master(accepted=("cell1", "cell2", "cell3", "edge1", "stranger"))
    (sentence,) = one.run("fleet.check")["problems"]
    assert "no pattern matches stranger" in sentence
    assert one.run("fleet.check", ["stranger"])["problems"] == []


def test_the_status_says_what_runs_where_and_what_does_not(master):
    one = master()
    one.hosts.odd |= {
        ("cell1", "daemon.status"): {"notes-pod.service": {"active": True}},
        ("cell2", "daemon.status"): {"notes-pod.service": {"active": True}, "board-pod.service": {"active": False}},
        "cell3": None,
    }
    one.drained.mkdir(parents=True)
    (one.drained / "cell1").touch()
    found = one.run("fleet.status")
    assert found["retcode"] == 1
    lines = {line.split()[0]: line for line in shown(one, found)}
    assert lines["cell1"].split() == [
        "cell1",
        "cell,",
        "sso",
        "up",
        "drained",
        "never",
        "notes",
        "stopped,",
        "and",
        "RUNS",
    ]
    assert lines["cell2"].endswith("board DOWN, notes runs")
    assert "OFF" in lines["cell3"]
    assert lines["edge1"].split() == ["edge1", "edge", "up", "-", "never", "-"]


def test_the_topology_has_no_secret(master):
    found = master().run("fleet.topology")
    assert found["edges"] == {"edge1": ["cell1", "cell2", "cell3"]}
    assert found["needs"] == {"board": ["store"], "notes": [], "store": []}
    assert (found["sso"], found["domain"]) == ("cell1", True)
    assert "hunter2" not in str(found)
