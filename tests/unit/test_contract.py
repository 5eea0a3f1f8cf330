"""
Every surprise of Authentik's API that was recorded has a test, or a reason why it does not concern us.
"""

import re

from tree import TREE

CONTRACT = TREE / "tests/contract"


def rows():
    text = (CONTRACT / "coverage.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (Q\d+) \| (.+) \|$", text, re.MULTILINE))


def test_every_quirk_has_a_line():
    quirks = re.findall(r"^(Q\d+)\. ", (CONTRACT / "quirks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert list(rows()) == quirks
    assert len(quirks) == 92


def test_every_test_that_is_named_exists():
    named = {name for reason in rows().values() for name in re.findall(r"`(test_\w+)`", reason)}
    files = (path.read_text(encoding="utf-8") for path in (TREE / "tests").rglob("test_*.py"))
    there = {name for text in files for name in re.findall(r"^\s*def (test_\w+)", text, re.MULTILINE)}
    assert named - there == set()
