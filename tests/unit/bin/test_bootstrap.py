"""
bin/bootstrap: what it writes, and that it stops before it changes anything.
"""

import fcntl
from types import SimpleNamespace

import pytest
import yaml

# Where the daemons' files are: a test that forgot one would write to the machine that it runs on.
PLACES = ("COMMANDS", "MASTER", "MASTER_PKI", "MINION", "MINION_PKI", "MINION_MODULES", "UNITS", "SITE")


@pytest.fixture
def bootstrap(command, monkeypatch, tmp_path):
    module = command("bootstrap")
    monkeypatch.setattr(module, "RUN_LOCK", tmp_path / "lock")
    for where, names in ((module, ("MINION", "SITE", "LINK")), (module.fleet, PLACES)):
        for name in names:
            monkeypatch.setattr(where, name, tmp_path / str(getattr(where, name)).lstrip("/"))
    module.LINK.parent.mkdir(parents=True)
    return module


def options(**given):
    return SimpleNamespace(**{"adopt": False, "test": False, "master": False, "minion": None, **given})


class Host:
    def __init__(self, problems=(), findings=(), is_ours=False):
        self.is_ours = is_ours
        self._problems, self._findings = list(problems), list(findings)

    def problems(self, _salt, _space, _commands):
        return self._problems

    def findings(self, _role):
        return self._findings


def finding(bootstrap):
    return bootstrap.Host.__init__.__globals__["Finding"]("a database", "it stays")


def test_a_wrong_host_is_refused_with_all_reasons(bootstrap):
    with pytest.raises(bootstrap.Failure) as failure:
        bootstrap.check(Host(["one: do this", "two: do that"]), options(adopt=True))
    assert "nothing was changed" in str(failure.value)
    assert "one: do this" in str(failure.value)
    assert "two: do that" in str(failure.value)


def test_a_host_in_use_is_refused_with_what_adoption_would_do(bootstrap):
    with pytest.raises(bootstrap.Failure) as failure:
        bootstrap.check(Host(findings=[finding(bootstrap)]), options())
    for expected in ("a database", "it stays", "--adopt"):
        assert expected in str(failure.value)


@pytest.mark.parametrize("given", [{"adopt": True}, {"test": True}], ids=["adopt", "test"])
def test_a_host_in_use_is_gone_on_with_when_told_so_or_when_nothing_is_changed(bootstrap, capsys, given):
    bootstrap.check(Host(findings=[finding(bootstrap)]), options(**given))
    assert "a database" in capsys.readouterr().out


def belongs_to_a_fleet(fleet):
    for path, text in fleet.minion_files("web1", "salt.example.test", "ab:cd").items():
        fleet.write(path, text)


def test_a_host_of_a_fleet_is_not_converged_by_itself_unless_told_so(bootstrap):
    belongs_to_a_fleet(bootstrap.fleet)
    with pytest.raises(bootstrap.Failure) as failure:
        bootstrap.check(Host(is_ours=True), options())
    for expected in ("nothing was changed", "salt.example.test", "--adopt"):
        assert expected in str(failure.value)
    bootstrap.check(Host(is_ours=True), options(adopt=True))
    bootstrap.check(Host(is_ours=True), options(test=True))


@pytest.mark.parametrize("is_in_a_fleet", [True, False])
def test_a_host_leaves_its_fleet_before_it_applies_the_tree_by_itself(bootstrap, monkeypatch, is_in_a_fleet):
    if is_in_a_fleet:
        belongs_to_a_fleet(bootstrap.fleet)
    left = []
    monkeypatch.setattr(bootstrap.fleet, "leave", lambda: left.append(bootstrap.fleet.master_of_this_host()["master"]))
    monkeypatch.setattr(bootstrap.highstate, "apply", lambda *_arguments: False)
    with pytest.raises(bootstrap.Failure, match="not as it should be yet"):
        bootstrap.converge()
    assert left == ["salt.example.test"] * is_in_a_fleet
    assert bootstrap.MINION.read_text() == bootstrap.minion_configuration()


@pytest.mark.parametrize("tree", ["/srv/rick-infra", "/srv/it's: a #tree"])
def test_the_minions_configuration_names_this_tree(bootstrap, monkeypatch, tree):
    monkeypatch.setattr(bootstrap, "TREE", bootstrap.Path(tree))
    settings = yaml.safe_load(bootstrap.minion_configuration())
    assert settings["file_roots"] == {"base": [f"{tree}/salt"]}
    assert settings["pillar_roots"] == {"base": [f"{tree}/pillar", "/etc/rick-infra/pillar"]}
    assert settings["module_dirs"] == [f"{tree}/salt"]
    assert settings["file_client"] == "local"
    assert settings["grains_cache"] is False


def test_configuration_is_written_once_and_the_sites_own_is_left_alone(bootstrap):
    bootstrap.write_configuration()
    site = bootstrap.SITE / "pillar/site.sls"
    site.write_text("rick: {}\n")
    own = bootstrap.MINION.parent.parent / "minion"
    own.write_text("id: web1\n")
    before = {path: path.lstat().st_mtime_ns for path in (site, own, bootstrap.MINION, bootstrap.LINK)}
    bootstrap.write_configuration()
    assert {path: path.lstat().st_mtime_ns for path in before} == before
    assert bootstrap.LINK.readlink() == bootstrap.SALT_CALL
    assert bootstrap.SITE.stat().st_mode & 0o777 == 0o700
    assert list(bootstrap.LINK.parent.iterdir()) == [bootstrap.LINK]


def test_a_second_run_at_the_same_time_is_refused_and_told_who_is_at_work(bootstrap):
    with bootstrap.RUN_LOCK.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        first.write("4711")
        first.flush()
        with pytest.raises(bootstrap.Failure, match="4711"), bootstrap.only_one():
            pass
    with bootstrap.only_one():
        assert bootstrap.RUN_LOCK.read_text() == str(bootstrap.os.getpid())


def test_a_new_environment_takes_the_place_of_the_old_one_only_when_it_is_whole(bootstrap, monkeypatch, tmp_path):
    old = tmp_path / "salt-old"
    old.mkdir()
    monkeypatch.setattr(bootstrap, "ENVIRONMENTS", tmp_path)
    monkeypatch.setattr(bootstrap, "SALT", tmp_path / "salt")
    bootstrap.SALT.symlink_to(old.name)

    def broken(_directory, _lock, _purpose):
        raise bootstrap.Failure("no network")

    monkeypatch.setattr(bootstrap.environment, "make", broken)
    with pytest.raises(bootstrap.Failure):
        bootstrap.make_salt()
    assert bootstrap.SALT.resolve() == old

    monkeypatch.setattr(bootstrap.environment, "make", lambda directory, _lock, _purpose: directory.mkdir())
    bootstrap.make_salt()
    assert bootstrap.SALT.resolve() != old
    assert bootstrap.SALT.is_dir()
    assert not old.exists()
