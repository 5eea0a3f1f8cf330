"""
The next Debian release, by the commands a newcomer uses: one bootstrap on a bare machine, with the example service.
"""

import pytest
from machine import NOTES, machine


@pytest.fixture(scope="module")
def forky():
    with machine("t-forky", "--suite", "forky") as made:
        made.declare("notes", NOTES)
        made.run("/srv/rick-infra/examples/build", "notes")
        made.first = made.run("/srv/rick-infra/bin/bootstrap", check=False)
        yield made


def test_one_bootstrap_converges_it_and_the_verification_passes(forky):
    assert forky.first.returncode == 0, forky.first.stdout + forky.first.stderr
    assert "0 failed" in forky.first.stdout
    assert {name: detail for name, (passed, detail) in forky.verify().items() if not passed} == {}


def test_the_second_run_changes_nothing(forky):
    done = forky.apply()
    assert done.failed == {}
    assert done.changed == set()


def test_it_comes_back_after_a_reboot(forky):
    forky.reboot()
    forky.healthy(timeout=90)
    assert forky.apply().changed == set()
