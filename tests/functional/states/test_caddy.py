"""
Caddy's states in Salt's loader: on a host without Caddy, and over a program and an admin API that stand for it.
"""

import json

import loaded
import pytest
from doubles import caddy as double

SITE = {"domains": ["notes.example.org"], "upstream": "127.0.0.1:8080"}


@pytest.fixture
def virgin(modules, open_folder, monkeypatch):
    """No package, no user, no file."""
    files = loaded.of_util(modules, "caddy_files")
    for name, value in {
        "DIRECTORY": open_folder / "etc",
        "STAGING": str(open_folder),
        "CADDY": f"{open_folder}/caddy",
        "ACCOUNT": "no-such-user",
    }.items():
        monkeypatch.setitem(files, name, value)
    monkeypatch.setitem(loaded.of_util(modules, "caddy_admin"), "SOCKET", f"{open_folder}/admin.sock")
    module = loaded.of_module(modules, "caddy")
    monkeypatch.setitem(module, "MEMORY", f"{open_folder}/memory/caddy.json")
    monkeypatch.setitem(module, "_group", lambda: 65534)
    return open_folder


@pytest.fixture
def apply(loaders, modules, virgin):
    return loaded.states_over(loaders, modules)


@pytest.fixture
def text(virgin):
    return f"# Managed by Salt (salt/infra/caddy)\n{{\n\tadmin unix/{virgin}/admin.sock\n}}\n"


@pytest.fixture
def admin(apply, virgin, modules, text, monkeypatch):
    """A Caddy that runs with its configuration."""
    double.install_program(virgin / "caddy")
    monkeypatch.setitem(loaded.of_util(modules, "caddy_files"), "ACCOUNT", "nobody")
    server = double.Admin(virgin / "admin.sock")
    try:
        result = apply("caddy.configuration_present", test=False, name="x", text=text)
        assert result["result"] is True, result["comment"]
        yield server
    finally:
        server.stop()


def test_on_a_virgin_host_all_is_planned_and_nothing_is_there(apply, virgin, text):
    assert apply("caddy.configuration_present", test=True, name="x", text=text)["result"] is None
    assert apply("caddy.site_absent", test=True, name="notes")["changes"] == {}
    assert apply("caddy.site_present", test=True, name="notes", site=SITE)["result"] is None
    assert list(virgin.iterdir()) == []


def test_without_the_package_a_run_names_it(apply, text):
    result = apply("caddy.configuration_present", test=False, name="x", text=text)
    assert result["result"] is False
    assert "package caddy" in result["comment"]


def test_a_site_comes_stays_changes_and_goes(apply, admin, virgin):
    steps = [
        ("caddy.site_present", {"site": SITE}),
        ("caddy.site_present", {"site": SITE | {"stopped": True}}),
        ("caddy.site_absent", {}),
    ]
    for function, arguments in steps:
        plan = apply(function, test=True, name="notes", **arguments)
        done = apply(function, test=False, name="notes", **arguments)
        assert (plan["result"], done["result"]) == (None, True), done["comment"]
        assert plan["changes"] == done["changes"]
        assert apply(function, test=False, name="notes", **arguments)["changes"] == {}
    assert list((virgin / "etc/sites-enabled").iterdir()) == []
    assert admin.loads == 1 + len(steps)


def test_the_file_is_as_caddy_and_everybody_may_read_it(apply, admin, virgin):
    file = virgin / "etc/sites-enabled/notes.caddy"
    apply("caddy.site_present", test=False, name="notes", site=SITE)
    assert (file.stat().st_mode & 0o777, file.stat().st_uid, file.stat().st_gid) == (0o644, 0, 65534)
    file.chmod(0o666)
    assert apply("caddy.site_present", test=True, name="notes", site=SITE)["result"] is None
    assert apply("caddy.site_present", test=False, name="notes", site=SITE)["result"] is True
    assert file.stat().st_mode & 0o777 == 0o644
    assert admin.loads == 2, "Caddy need not know of a mode"


def test_the_copy_is_tried_by_caddys_user_who_cannot_read_what_is_roots(apply, admin, virgin):
    program = (virgin / "caddy").read_text()
    (virgin / "caddy").write_text(program.replace("main =", "import os; assert os.geteuid() == 65534\nmain =", 1))
    result = apply("caddy.site_present", test=False, name="notes", site=SITE)
    assert result["result"] is True, result["comment"]


@pytest.mark.parametrize("test", [True, False])
def test_what_caddy_does_not_accept_fails_in_its_words_and_changes_nothing(apply, admin, virgin, test):
    result = apply("caddy.site_present", test=test, name="notes", site=SITE | {"directives": "nonsense"})
    assert (result["result"], result["changes"]) == (False, {})
    assert "service notes: site: " in result["comment"]
    assert "unrecognized directive: nonsense" in result["comment"]
    assert list((virgin / "etc/sites-enabled").iterdir()) == []
    assert admin.loads == 1


def test_drift_in_the_running_caddy_is_planned_and_undone(apply, admin, text):
    admin.configuration = "{}"
    plan = apply("caddy.configuration_present", test=True, name="x", text=text)
    assert (plan["result"], list(plan["changes"])) == (None, ["running"])
    assert apply("caddy.configuration_present", test=False, name="x", text=text)["result"] is True
    assert apply("caddy.configuration_present", test=False, name="x", text=text)["changes"] == {}


def test_the_site_of_what_runs_comes_back_and_another_services_domain_stays_there(
    apply, admin, modules, virgin, monkeypatch
):
    site = SITE | {"domains": ["notes.example.org", "moved.example.org"], "upstream": "127.0.0.1:8081"}
    generations = loaded.of_module(modules, "generation")
    monkeypatch.setitem(generations, "FOLDER", str(virgin))
    (virgin / "notes").mkdir()
    kept = {key: {} for key in generations["KEPT"]["healthy.json"]} | {"site": site}
    (virgin / "notes/healthy.json").write_text(json.dumps(kept))
    apply("caddy.site_present", test=False, name="notes", site=site)
    file = virgin / "etc/sites-enabled/notes.caddy"
    text = file.read_text()
    for damage in (lambda: file.write_text(text.replace("8081", "8082")), file.unlink):
        damage()
        plan = apply("caddy.site_kept", test=True, name="notes")
        done = apply("caddy.site_kept", test=False, name="notes")
        assert (plan["result"], done["result"]) == (None, True), done["comment"]
        assert plan["changes"] == done["changes"]
        assert file.read_text() == text
    apply("caddy.site_present", test=False, name="wiki", site=SITE | {"domains": ["moved.example.org"]})
    file.unlink()
    assert apply("caddy.site_kept", test=False, name="notes")["result"] is True
    assert file.read_text() == text.replace(", moved.example.org", "")
    assert apply("caddy.site_kept", test=False, name="notes")["changes"] == {}
