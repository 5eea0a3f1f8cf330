"""
Names that a service's role and database may have.
"""

import pytest
from salt.exceptions import SaltInvocationError
from tree import load

names = load("utils", "postgresql_names")


@pytest.mark.parametrize("name", ["notes", "_x", "Wiki-2", "a.b", "a" * 63])
def test_plain_names_are_taken(name):
    assert names.role(name) == names.database(name) == name


@pytest.mark.parametrize("name", ["", "9x", "two words", 'x"; DROP', "x\n", "a" * 64, "ümlaut", None, 5])
@pytest.mark.parametrize("check", [names.role, names.database])
def test_what_cannot_be_a_name_is_refused(check, name):
    with pytest.raises(SaltInvocationError, match="a name is"):
        check(name)


@pytest.mark.parametrize("name", ["postgres", "pg_monitor", "public", "none"])
def test_roles_of_postgresql_itself_are_refused(name):
    with pytest.raises(SaltInvocationError, match="belongs to PostgreSQL"):
        names.role(name)


@pytest.mark.parametrize("name", ["postgres", "template0", "template1"])
def test_databases_of_postgresql_itself_are_refused(name):
    with pytest.raises(SaltInvocationError, match="belongs to PostgreSQL"):
        names.database(name)
