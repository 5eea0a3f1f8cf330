"""
What the worker of the double of Authentik does: the first start, and the blueprints of a folder.
"""

import pytest
from doubles.authentik import worker
from doubles.authentik.server import Authentik
from doubles.authentik.worker import Folder, first_start

ACCOUNT = """\
version: 1
metadata: {name: the states' account}
entries:
  - model: authentik_rbac.role
    id: role
    identifiers: {name: states}
    attrs: {permissions: [authentik_core.view_group]}
  - model: authentik_core.user
    id: account
    identifiers: {username: states}
    attrs:
      name: !Format ["%s of %s", The states, !Env [STATES_OF, nobody]]
      type: service_account
      roles: [!KeyOf role]
  - model: authentik_core.token
    identifiers: {identifier: states}
    attrs: {key: !Env STATES_TOKEN, user: !KeyOf account, intent: api, expiring: false}
"""
GROUP = "version: 1\nentries:\n- {model: authentik_core.group, identifiers: {name: NAME}}\n"


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Its log is kept from Salt's handlers, which outlive the test's streams."""
    monkeypatch.setattr(worker.log, "propagate", False)


@pytest.fixture
def authentik():
    made = Authentik()
    first_start(made, {})
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STATES_TOKEN", "key-of-the-states")
    (tmp_path / "custom").mkdir()
    return Folder(tmp_path)


def write(folder, text, name="states.yaml"):
    (folder.path / "custom" / name).write_text(text)


def groups(authentik):
    return {row["name"] for row in authentik.store.rows("groups")}


class TestTheFirstStart:
    def test_it_gives_the_administrator_what_the_environment_says(self):
        made = Authentik()
        first_start(
            made,
            {
                "AUTHENTIK_BOOTSTRAP_PASSWORD": "first",
                "AUTHENTIK_BOOTSTRAP_EMAIL": "root@example.test",
                "AUTHENTIK_BOOTSTRAP_TOKEN": "key",
            },
        )
        administrator = made.store.find("users", username="akadmin")
        assert (administrator["password"], administrator["email"]) == ("first", "root@example.test")
        assert made.store.find("tokens", key="key")["user"] == administrator["pk"]

    def test_without_a_password_and_a_token_there_is_none(self, authentik):
        assert authentik.store.find("users", username="akadmin")["password"] is None
        assert authentik.store.find("tokens", identifier="authentik-bootstrap-token") is None

    def test_a_later_one_changes_nothing(self, authentik):
        first_start(authentik, {"AUTHENTIK_BOOTSTRAP_PASSWORD": "later"})
        assert authentik.store.find("users", username="akadmin")["password"] is None
        assert len(authentik.store.rows("brands")) == 1


class TestBlueprints:
    def test_a_file_makes_an_account_with_its_rights_and_the_token_of_the_environment(self, authentik, folder):
        write(folder, ACCOUNT)
        folder.apply(authentik)
        store = authentik.store
        account = store.find("users", username="states")
        assert store.find("tokens", key="key-of-the-states")["user"] == account["pk"]
        assert account["name"] == "The states of nobody"
        assert store.may(account, "authentik_core.view_group")
        assert not store.may(account, "authentik_core.add_group")
        applied = store.find("blueprints", path="custom/states.yaml")
        assert (applied["status"], applied["metadata"]["name"]) == ("successful", "the states' account")

    def test_a_changed_file_is_applied_again_and_an_unchanged_one_is_not(self, authentik, folder):
        write(folder, GROUP.replace("NAME", "one"))
        folder.apply(authentik)
        authentik.store.delete("groups", authentik.store.find("groups", name="one")["pk"])
        folder.apply(authentik)
        assert "one" not in groups(authentik)
        write(folder, GROUP.replace("NAME", "two"))
        folder.apply(authentik)
        assert "two" in groups(authentik)

    def test_the_next_worker_knows_what_is_applied(self, authentik, folder):
        write(folder, GROUP.replace("NAME", "one"))
        folder.apply(authentik)
        authentik.store.delete("groups", authentik.store.find("groups", name="one")["pk"])
        Folder(folder.path).apply(authentik)
        assert "one" not in groups(authentik)

    def test_a_deleted_file_removes_nothing(self, authentik, folder):
        write(folder, GROUP.replace("NAME", "one"))
        folder.apply(authentik)
        (folder.path / "custom/states.yaml").unlink()
        folder.apply(authentik)
        assert "one" in groups(authentik)

    @pytest.mark.parametrize(
        "wrong",
        [
            "entries: [",
            ACCOUNT.replace("!KeyOf account", "!KeyOf nothing"),
            ACCOUNT.replace("view_group", "see_group"),
            ACCOUNT.replace("STATES_TOKEN", "NOT_IN_THE_ENVIRONMENT"),
            ACCOUNT.replace("authentik_core.token", "authentik_core.nothing"),
        ],
        ids=["no YAML", "no such entry", "no such permission", "no such variable", "no such model"],
    )
    def test_a_wrong_file_makes_nothing_and_leaves_the_others_alone(self, authentik, folder, wrong):
        write(folder, wrong)
        write(folder, GROUP.replace("NAME", "one"), "z.yaml")
        folder.apply(authentik)
        assert authentik.store.find("users", username="states") is None
        assert authentik.store.find("blueprints", path="custom/states.yaml")["status"] == "error"
        assert "one" in groups(authentik)
        write(folder, ACCOUNT)
        folder.apply(authentik)
        assert authentik.store.find("blueprints", path="custom/states.yaml")["status"] == "successful"
