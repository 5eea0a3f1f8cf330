"""
The verification as people see it.
"""

from hypothesis import given
from hypothesis import strategies as st
from tree import load

verification = load("output", "verification")


def check(name, passed=True, detail=""):
    return {"name": name, "passed": passed, "detail": detail}


def test_the_table():
    checks = [check("facts equal the system", detail="a=1"), check("short"), check("door", passed=False, detail="open")]
    assert verification.output({"local": {"passed": False, "checks": checks}}).splitlines() == [
        "local:",
        "  ok    facts equal the system  a=1",
        "  ok    short",
        "  FAIL  door                    open",
        "  2 passed, 1 failed",
    ]


def test_a_detail_of_several_lines_stays_on_its_line():
    table = verification.output(
        {"local": {"checks": [check("a", passed=False, detail="systemctl: failed\nsee journal")]}}
    )
    assert table.splitlines()[1] == "  FAIL  a  systemctl: failed / see journal"


def test_several_hosts_have_a_table_each():
    table = verification.output({"one": {"checks": []}, "two": {"checks": [check("a")]}}, out="verification")
    assert table.splitlines() == ["one:", "  0 passed, 0 failed", "two:", "  ok    a", "  1 passed, 0 failed"]


def test_an_error_instead_of_checks_is_shown_as_it_is():
    assert verification.output({"local": "rick:valkey: unknown setting"}) == "local: rick:valkey: unknown setting"


texts = st.text(max_size=30)
checks = st.lists(st.builds(check, texts.filter(str.isprintable), st.booleans(), texts))


@given(checks)
def test_every_check_has_one_line_and_is_counted(several):
    table = verification.output({"local": {"checks": several}}).split("\n")
    assert len(table) == len(several) + 2
    failed = sum(line.startswith("  FAIL") for line in table)
    assert table[-1] == f"  {len(several) - failed} passed, {failed} failed"
    assert failed == sum(not one["passed"] for one in several)
