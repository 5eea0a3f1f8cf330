"""
Caddy's files and its running configuration, kept together: with a program and an admin API that stand for Caddy.
"""

import json
import os
import pwd
from pathlib import Path

import pytest
from doubles import caddy as double
from dunders import functions
from salt.exceptions import CommandExecutionError, SaltInvocationError
from tree import load

UTILS = (
    "caddy_admin",
    "caddy_certificate",
    "caddy_directives",
    "caddy_files",
    "caddy_site",
    "textfile",
)
caddy = load("modules", "caddy")
files = load("utils", "caddy_files")
admin_api = load("utils", "caddy_admin")


class Caddy:
    """A host with the package, our directories and, once started, a Caddy that answers."""

    def __init__(self, folder):
        self.etc = folder / "etc"
        self.memory = folder / "memory/caddy.json"
        self.socket = folder / "admin.sock"
        self.admin = None
        self.text = f"{caddy.OURS}\n{{\n\tadmin unix/{self.socket}\n}}\n"

    def start(self):
        self.admin = double.Admin(self.socket)
        texts = files.read_all()
        self.admin.configuration = files.adapt(texts, validate=False) if texts else "null"

    def stop(self):
        if self.admin:
            self.admin.stop()
            self.admin = None

    def sites(self):
        return sorted(path.name for path in (self.etc / "sites-enabled").iterdir())

    def serves(self, file):
        return f"sites-enabled/{file}" in json.loads(self.admin.configuration)["files"]


@pytest.fixture
def host(tmp_path, monkeypatch):
    double.install_program(tmp_path / "caddy")
    me = pwd.getpwuid(os.geteuid()).pw_name
    for module, constants in {
        files: {"DIRECTORY": tmp_path / "etc", "STAGING": tmp_path, "CADDY": f"{tmp_path}/caddy", "ACCOUNT": me},
        admin_api: {"SOCKET": f"{tmp_path}/admin.sock"},
        caddy: {"MEMORY": f"{tmp_path}/memory/caddy.json", "AUTHORITY": f"{tmp_path}/root.crt"},
    }.items():
        for name, value in constants.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(caddy, "__utils__", functions("utils", *UTILS), raising=False)
    monkeypatch.setattr(caddy, "__salt__", functions("modules", "unix_socket"), raising=False)
    monkeypatch.setattr(caddy, "__context__", {}, raising=False)
    monkeypatch.setattr(caddy, "__opts__", {"test": False}, raising=False)
    # No files are given away: the tests need not be root's, nor this host have the package.
    monkeypatch.setattr(caddy, "_group", lambda: None)
    monkeypatch.setattr(caddy, "_access", lambda path: {})
    host = Caddy(tmp_path)
    try:
        yield host
    finally:
        host.stop()
    assert [path for path in tmp_path.iterdir() if path.name.startswith("rick-infra-caddy-")] == []


@pytest.fixture
def running(host):
    caddy.configuration_apply(host.text)
    host.start()
    return host


def site(*domains, **more):
    return {"domains": list(domains), "upstream": "127.0.0.1:8080", **more}


# --- the configuration -------------------------------------------------------------------------------------------


def test_on_an_empty_host_everything_is_planned_and_nothing_is_there(host):
    assert set(caddy.configuration_differences(host.text)) == {
        f"{host.etc}/{name}" for name in ("Caddyfile", "snippets", "sites-enabled")
    }
    assert not host.etc.exists()


def test_before_the_package_is_there_a_plan_can_be_made(host, monkeypatch):
    monkeypatch.setattr(files, "CADDY", "/nonexistent/caddy")
    assert caddy.configuration_differences(host.text)
    assert caddy.site_differences("notes", site("a.example.org"))


def test_a_caddy_that_is_to_be_started_later_gets_its_file(host):
    caddy.configuration_apply(host.text)
    assert (host.etc / "Caddyfile").read_text() == host.text
    assert caddy.configuration_differences(host.text) == {}


def test_a_running_caddy_gets_its_configuration_without_a_restart(running):
    text = running.text + "# more\n"
    assert set(caddy.configuration_differences(text)) == {f"{running.etc}/Caddyfile"}
    caddy.configuration_apply(text)
    assert running.admin.loads == 1
    assert caddy.configuration_differences(text) == {}


@pytest.mark.parametrize("check", [True, False])
def test_a_configuration_that_caddy_does_not_accept_reaches_neither_caddy_nor_the_file(running, check):
    text = running.text + "nonsense\n"
    with pytest.raises(CommandExecutionError, match=r"etc/Caddyfile:5: unrecognized directive: nonsense \(nonsense\)"):
        caddy.configuration_differences(text) if check else caddy.configuration_apply(text)
    assert (running.etc / "Caddyfile").read_text() == running.text
    assert running.admin.loads == 0


@pytest.mark.parametrize("line", ["", "\tadmin localhost:2019\n"])
def test_the_admin_socket_cannot_be_configured_away(running, line):
    text = f"{caddy.OURS}\n{{\n{line}}}\n"
    with pytest.raises(CommandExecutionError, match="rick:caddy:global_options: admin is decided by the tree"):
        caddy.configuration_differences(text)
    with pytest.raises(CommandExecutionError, match="rick:caddy:global_options"):
        caddy.configuration_apply(text)


def test_what_somebody_posted_to_the_api_is_found_and_undone(running):
    running.admin.configuration = '{"apps": {}}'
    assert caddy.status() == {"answers": True, "current": False}
    assert set(caddy.configuration_differences(running.text)) == {"running"}
    caddy.configuration_apply(running.text)
    assert caddy.status() == {"answers": True, "current": True}


def test_a_lost_memory_is_no_difference_and_comes_back(running):
    running.memory.unlink()
    assert caddy.configuration_differences(running.text) == {}
    assert running.memory.stat().st_mode & 0o777 == 0o600
    running.memory.write_text("garbage")
    assert caddy.configuration_differences(running.text) == {}


@pytest.mark.parametrize("name", ["identity/certificate.pem", "fleet/cell1.pem"])
def test_another_certificate_in_the_same_file_is_loaded(running, name):
    file = running.etc / name
    file.parent.mkdir()
    file.write_text("ONE\n")
    assert caddy.configuration_differences(running.text) == {}
    text = running.text + "# it names the file\n"
    caddy.configuration_apply(text)
    file.write_text("TWO\n")
    loads = running.admin.loads
    assert set(caddy.configuration_differences(text)) == {"running"}
    caddy.configuration_apply(text)
    assert running.admin.loads == loads + 1
    assert caddy.configuration_differences(text) == {}
    file.unlink()
    assert caddy.configuration_differences(text) == {}


def test_after_a_lost_memory_another_certificate_is_noticed_again(running):
    (running.etc / "fleet").mkdir()
    (running.etc / "fleet/cell1.pem").write_text("ONE\n")
    running.memory.write_text(json.dumps({"files": "of an earlier version", "configuration": "without certificates"}))
    assert caddy.configuration_differences(running.text) == {}
    (running.etc / "fleet/cell1.pem").write_text("TWO\n")
    assert set(caddy.configuration_differences(running.text)) == {"running"}


def test_a_plan_writes_no_memory(running, monkeypatch):
    running.memory.unlink()
    monkeypatch.setattr(caddy, "__opts__", {"test": True})
    assert caddy.configuration_differences(running.text) == {}
    assert not running.memory.exists()


def test_the_unchanged_case_starts_no_process(running, monkeypatch):
    caddy.site_apply("notes", site("a.example.org"))
    monkeypatch.setattr(files.subprocess, "run", None)
    assert caddy.configuration_differences(running.text) == {}
    assert caddy.site_differences("notes", site("a.example.org")) == {}


def test_a_file_with_which_caddy_could_not_start_again_is_named_with_the_way_out(running):
    (running.etc / "sites-enabled/notes.caddy").write_text("nonsense\n")
    with pytest.raises(CommandExecutionError, match=r"notes\.caddy:1.*\n.*can be deleted"):
        caddy.configuration_differences(running.text)


def test_somebody_elses_caddyfile_is_kept(host):
    host.etc.mkdir()
    for name, text in {"Caddyfile.before-rick-infra": "one", "Caddyfile.before-rick-infra.2": "two"}.items():
        (host.etc / "Caddyfile").write_text(text)
        assert caddy.configuration_differences(host.text)[f"{host.etc}/{name}"]["old"] is None
        caddy.configuration_apply(host.text)
        assert (host.etc / name).read_text() == text
    assert caddy.configuration_differences(host.text) == {}


def test_the_packages_caddyfile_is_not_kept(host, monkeypatch):
    host.etc.mkdir()
    (host.etc / "Caddyfile").write_text("as packaged")
    answer = f" /etc/caddy/Caddyfile {files.md5('as packaged')}"
    real = files.subprocess.run

    def run(command, **options):
        if command[0] == "dpkg-query":
            return files.subprocess.CompletedProcess(command, 0, answer, "")
        return real(command, **options)

    monkeypatch.setattr(caddy.subprocess, "run", run)
    caddy.configuration_apply(host.text)
    assert sorted(path.name for path in host.etc.iterdir()) == ["Caddyfile", "sites-enabled", "snippets"]


# --- sites -------------------------------------------------------------------------------------------------------


def test_a_site_is_served_and_written(running):
    assert set(caddy.site_differences("notes", site("a.example.org"))) == {f"{running.etc}/sites-enabled/notes.caddy"}
    caddy.site_apply("notes", site("a.example.org"))
    assert caddy.site_differences("notes", site("a.example.org")) == {}
    assert running.serves("notes.caddy")
    assert caddy.status()["current"] is True
    assert caddy.sites() == [
        {"file": f"{running.etc}/sites-enabled/notes.caddy", "service": "notes", "domains": ["a.example.org"]}
    ]


def test_a_site_that_caddy_does_not_accept_leaves_everything_as_it_was(running):
    caddy.site_apply("wiki", site("wiki.example.org"))
    before = running.admin.configuration
    for act in (caddy.site_differences, caddy.site_apply):
        with pytest.raises(CommandExecutionError, match=r"service notes: site: .*notes\.caddy:7: .*nonsense"):
            act("notes", site("a.example.org", directives="nonsense"))
    assert running.sites() == ["wiki.caddy"]
    assert running.admin.configuration == before


def test_what_shows_only_when_caddy_sets_it_up_is_found_before_it_is_written(running):
    with pytest.raises(CommandExecutionError, match="unknown module"):
        caddy.site_apply("notes", site("a.example.org", directives="missing-module"))
    assert running.sites() == []


def test_a_site_that_the_running_caddy_refuses_is_never_written(running):
    caddy.site_apply("notes", site("a.example.org"))
    running.admin.refusal = "listen tcp :80: bind: address already in use"
    with pytest.raises(CommandExecutionError, match=r"service notes: site: loading config: .*address already in use"):
        caddy.site_apply("notes", site("b.example.org"))
    assert "a.example.org" in (running.etc / "sites-enabled/notes.caddy").read_text()
    assert caddy.status()["current"] is True


def test_a_run_that_dies_between_loading_and_writing_is_repaired_by_the_next(running, monkeypatch):
    class Killed(Exception):
        pass

    def killed(*_arguments, **_options):
        raise Killed

    with monkeypatch.context() as dying, pytest.raises(Killed):
        dying.setitem(caddy.__utils__, "textfile.write", killed)
        caddy.site_apply("notes", site("a.example.org"))
    assert running.sites() == []
    assert set(caddy.configuration_differences(running.text)) == {"running"}
    caddy.configuration_apply(running.text)
    assert not running.serves("notes.caddy")
    caddy.site_apply("notes", site("a.example.org"))
    assert caddy.configuration_differences(running.text) == {}


def test_without_caddy_a_site_names_what_should_have_come_before(host):
    caddy.configuration_apply(host.text)
    with pytest.raises(CommandExecutionError, match=r"caddy\.service must come before"):
        caddy.site_apply("notes", site("a.example.org"))
    assert host.sites() == []


def test_over_somebody_elses_caddyfile_no_site_is_written(running):
    (running.etc / "Caddyfile").write_text("# mine\n")
    with pytest.raises(CommandExecutionError, match="configuration_present must come before"):
        caddy.site_apply("notes", site("a.example.org"))


def test_a_domain_moves_from_one_service_to_another(running):
    caddy.site_apply("wiki", site("wiki.example.org", "a.example.org"))
    changes = caddy.site_differences("notes", site("a.example.org"))
    assert set(changes) == {f"{running.etc}/sites-enabled/{name}.caddy" for name in ("notes", "wiki")}
    caddy.site_apply("notes", site("a.example.org"))
    assert {one["service"]: one["domains"] for one in caddy.sites()} == {
        "notes": ["a.example.org"],
        "wiki": ["wiki.example.org"],
    }
    caddy.site_apply("notes", site("a.example.org", "wiki.example.org"))
    assert running.sites() == ["notes.caddy"]


def test_a_domain_of_a_file_that_is_not_ours_is_not_taken(running):
    foreign = running.etc / "sites-enabled/mine.caddy"
    foreign.write_text("a.example.org {\n}\n")
    with pytest.raises(CommandExecutionError, match=r"ambiguous.*in .*mine\.caddy and .*notes\.caddy"):
        caddy.site_apply("notes", site("a.example.org"))
    assert foreign.read_text() == "a.example.org {\n}\n"


def test_a_file_that_is_not_ours_is_neither_replaced_nor_removed(running):
    foreign = running.etc / "sites-enabled/notes.caddy"
    foreign.write_text("mine.example.org {\n}\n")
    for act in (caddy.site_differences, caddy.site_apply):
        with pytest.raises(CommandExecutionError, match="was not written by this tree"):
            act("notes", site("a.example.org"))
    assert caddy.site_remnants("notes") == {}
    caddy.site_remove("notes")
    assert foreign.exists()
    assert caddy.sites()[0]["service"] is None


@pytest.mark.parametrize("answers", [True, False])
def test_a_site_is_removed_whether_caddy_runs_or_not(running, answers):
    caddy.site_apply("notes", site("a.example.org"))
    if not answers:
        running.stop()
    assert caddy.site_remnants("notes") == {
        f"{running.etc}/sites-enabled/notes.caddy": {"old": "a.example.org", "new": None}
    }
    caddy.site_remove("notes")
    assert running.sites() == []
    assert caddy.site_remnants("notes") == {}
    assert not answers or not running.serves("notes.caddy")


def test_a_plan_tries_a_site_with_the_caddyfile_of_the_same_run(host):
    host.etc.mkdir()
    (host.etc / "Caddyfile").write_text("nonsense\n")
    caddy.configuration_differences(host.text)
    assert caddy.site_differences("notes", site("a.example.org"))


@pytest.mark.parametrize(
    "wrong", [{"directives": "tls internal"}, {"directives": "}"}, {"upstream": "x"}, {"tls": "x"}, {"unknown": 1}]
)
def test_a_site_that_cannot_be_is_refused_before_caddy_is_asked(running, wrong):
    for act in (caddy.site_differences, caddy.site_apply):
        with pytest.raises(SaltInvocationError, match="service notes: site"):
            act("notes", site("a.example.org") | wrong)
    assert running.sites() == []


def test_an_own_certificate_that_is_not_there_is_named(running):
    own = {"certificate": "/nonexistent/c.pem", "key": "/nonexistent/k.pem"}
    with pytest.raises(CommandExecutionError, match=r"service notes: site:tls: /nonexistent/c\.pem: No such file"):
        caddy.site_differences("notes", site("a.example.org", tls=own))


# --- the authority -----------------------------------------------------------------------------------------------


def test_the_root_certificate_is_given_out_and_written_where_it_is_wanted(host, tmp_path):
    with pytest.raises(CommandExecutionError, match="does not exist yet"):
        caddy.root_certificate()
    Path(caddy.AUTHORITY).write_text("PEM\n")
    assert caddy.root_certificate(file=f"{tmp_path}/copy.crt") == "PEM\n"
    assert (tmp_path / "copy.crt").read_text() == "PEM\n"


def test_what_else_lies_beside_the_caddyfile_can_be_imported_by_it(host):
    host.etc.mkdir()
    (host.etc / "more").mkdir()
    (host.etc / "more/x").write_text("x")
    caddy.configuration_apply(host.text)
    assert sorted(path.name for path in host.etc.iterdir()) == ["Caddyfile", "more", "sites-enabled", "snippets"]


def test_in_a_plan_a_domain_that_moves_is_gone_for_the_state_that_had_it(running, monkeypatch):
    caddy.site_apply("wiki", site("wiki.example.org", "a.example.org"))
    monkeypatch.setattr(caddy, "__opts__", {"test": True})
    assert caddy.site_differences("notes", site("a.example.org"))
    assert caddy.site_differences("wiki", site("wiki.example.org")) == {}


def test_in_a_plan_a_site_that_went_whole_is_not_removed_again(running, monkeypatch):
    caddy.site_apply("wiki", site("a.example.org"))
    monkeypatch.setattr(caddy, "__opts__", {"test": True})
    assert caddy.site_differences("notes", site("a.example.org"))
    assert caddy.site_remnants("wiki") == {}


@pytest.fixture
def authorities(host, tmp_path, monkeypatch):
    """The file that containers get; this host trusts one public authority, and has one of its own."""
    monkeypatch.setattr(caddy, "AUTHORITIES", f"{tmp_path}/authorities/ca.crt")
    monkeypatch.setattr(caddy, "PUBLIC_AUTHORITIES", f"{tmp_path}/public.crt")
    (tmp_path / "public.crt").write_text("PUBLIC\n")
    (tmp_path / "root.crt").write_text("OWN\n")
    return tmp_path / "authorities/ca.crt"


@pytest.mark.parametrize(("internal", "text"), [(True, "PUBLIC\nOWN\n"), (False, "PUBLIC\n")])
def test_containers_are_told_whom_to_trust(authorities, internal, text):
    assert list(caddy.authorities_differences(internal)) == [str(authorities)]
    assert caddy.authorities_apply(internal)
    assert authorities.read_text() == text
    assert authorities.stat().st_mode & 0o777 == 0o644
    assert authorities.parent.stat().st_mode & 0o777 == 0o755
    assert caddy.authorities_differences(internal) == {}


def test_an_edited_or_outdated_file_differs(authorities, tmp_path):
    caddy.authorities_apply(True)
    authorities.write_text("MINE\n")
    assert caddy.authorities_differences(True)
    caddy.authorities_apply(True)
    (tmp_path / "public.crt").write_text("NEWER\n")
    assert caddy.authorities_differences(True)


def test_before_the_own_authority_is_there_a_plan_counts_on_it_and_a_run_says_so(authorities, tmp_path, monkeypatch):
    (tmp_path / "root.crt").unlink()
    with pytest.raises(CommandExecutionError, match="does not exist yet"):
        caddy.authorities_differences(True)
    monkeypatch.setattr(caddy, "__opts__", {"test": True})
    assert caddy.authorities_differences(True)
    assert not authorities.exists()
