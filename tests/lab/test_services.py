"""
The life of a service, by its entry alone: added, changed, taken back, stopped, removed.
"""

import pytest

ENTRY = {
    "image": "localhost/hello:1",
    "port": 8080,
    "host_port": 8090,
    "health": {"path": "/", "timeout": 15},
    "site": "wiki.example.test",
    "env": {"GREETING": 'hostile: "$HOME" %n {braces} ü'},
}
FILE = "/etc/rick-infra/services/wiki.yaml"
NOTES = "notes-web.service"


@pytest.fixture(scope="module")
def host(main_machine):
    """The shared machine with the image that the service is made of; afterwards nothing of the service is left."""
    main_machine.run("/srv/rick-infra/examples/build", "hello")
    yield main_machine
    main_machine.declare("wiki", {"state": "absent", "data": "delete"})
    main_machine.converge()
    main_machine.run("rm", FILE)
    assert main_machine.apply().changed == set()


def page(host):
    return host.run(
        "python3", "-c", "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8090/').read().decode())"
    ).stdout


def test_a_service_is_added_by_its_entry_alone_and_no_other_is_touched(host):
    before = host.started_at(NOTES)
    host.declare("wiki", ENTRY)
    plan, run = host.apply(test=True), host.converge()
    assert plan.failed == {}
    assert plan.planned == run.changed
    assert host.apply().changed == set()
    assert host.started_at(NOTES) == before
    assert all(passed for passed, _ in host.verify().values())


def test_every_service_reaches_its_own_and_nothing_else(host):
    answer = host.salt("verify.access")
    assert answer["passed"], answer


def test_a_changed_site_restarts_nothing(host):
    before = host.started_at("wiki-web.service"), host.started_at(NOTES)
    host.declare("wiki", {**ENTRY, "site": {"domains": ["wiki.example.test", "other.example.test"]}})
    assert host.converge().changed == {"Service wiki has its site"}
    host.declare("wiki", ENTRY)
    host.converge()
    assert (host.started_at("wiki-web.service"), host.started_at(NOTES)) == before


def test_a_change_that_does_not_become_healthy_is_taken_back_and_not_tried_again(host):
    before = host.started_at(NOTES)
    host.declare("wiki", {**ENTRY, "entrypoint": ["/bin/false"]})
    done = host.apply()
    assert "rolled back to the last healthy one" in done.failed["Service wiki is healthy"]
    assert "hostile" in page(host)
    again = host.apply()
    assert set(again.failed) == {"Service wiki is as declared"}
    assert again.changed == set()
    host.declare("wiki", ENTRY)
    assert host.converge().changed == set()
    assert host.started_at(NOTES) == before


def test_a_mistake_in_an_entry_stops_the_services_and_not_the_infrastructure(host):
    host.declare("wiki", {**ENTRY, "postgres": {"databse": "x"}})
    try:
        done = host.apply()
        assert set(done.failed) == {"The catalogue is valid"}
        assert "did you mean 'database'?" in done.failed["The catalogue is valid"]
        assert "hostile" in page(host)
    finally:
        host.declare("wiki", ENTRY)


def test_a_stopped_service_runs_nothing_and_comes_back(host):
    host.declare("wiki", {**ENTRY, "state": "stopped"})
    host.converge()
    assert host.apply().changed == set()
    assert host.run("systemctl", "is-active", "wiki-web.service", "wiki-pod.service", check=False).stdout.split() == [
        "inactive",
        "inactive",
    ]
    host.declare("wiki", ENTRY)
    host.converge()
    assert "hostile" in page(host)
