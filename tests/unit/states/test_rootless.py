"""
Rootless Podman: removed for those who are named, a warning about all others.
"""

import pytest
from salt.exceptions import CommandExecutionError
from tree import load

rootless = load("states", "rootless")


@pytest.fixture
def absent(monkeypatch, results):
    """Apply the state on a host where users have something left; ``stubborn`` ones keep it."""

    def apply(left, users, test, stubborn=(), error=None):
        removed = []

        def remove(user):
            removed.append(user)
            if error:
                raise CommandExecutionError(error)

        def leftovers():
            gone = set(removed) - set(stubborn)
            return {user: [f"has storage of {user}"] for user in left if user not in gone}

        functions = {"rootless.leftovers": leftovers, "rootless.remove": remove}
        monkeypatch.setattr(rootless, "__salt__", functions, raising=False)
        monkeypatch.setattr(rootless, "__utils__", results, raising=False)
        monkeypatch.setattr(rootless, "__opts__", {"test": test}, raising=False)
        return rootless.absent("title", users=users), removed

    return apply


@pytest.mark.parametrize("test_mode", [True, False])
def test_a_clean_host_has_neither_changes_nor_warnings(absent, test_mode):
    result, removed = absent([], ["old"], test_mode)
    assert (result["result"], result["changes"], removed) == (True, {}, [])
    assert "warnings" not in result


@pytest.mark.parametrize("test_mode", [True, False])
def test_users_that_are_not_named_are_warned_about_and_left_alone(absent, test_mode):
    result, removed = absent(["other"], [], test_mode)
    assert (result["result"], result["changes"], removed) == (True, {}, [])
    assert result["warnings"] == [
        "rootless Podman of user other is still here: has storage of other; "
        "to remove it, add other to rick:podman:remove_rootless"
    ]


@pytest.mark.parametrize("test_mode", [True, False])
def test_the_user_that_is_named_is_cleaned_and_the_other_warned_about(absent, test_mode):
    result, removed = absent(["old", "other"], ["old"], test_mode)
    assert result["result"] is (None if test_mode else True)
    assert result["changes"] == {"old": {"old": ["has storage of old"], "new": []}}
    assert removed == ([] if test_mode else ["old"])
    assert len(result["warnings"]) == 1


def test_what_refuses_to_go_is_a_failure(absent):
    result, _ = absent(["old"], ["old"], False, error="a link is in the way")
    assert (result["result"], result["comment"]) == (False, "a link is in the way")


def test_what_is_still_there_afterwards_is_a_failure(absent):
    result, _ = absent(["old"], ["old"], False, stubborn=["old"])
    assert (result["result"], result["comment"]) == (False, "old still has storage of old")
