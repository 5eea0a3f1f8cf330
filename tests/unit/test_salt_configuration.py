"""
What bin/bootstrap makes of the templates in conf: configuration that Salt knows, and units that name what is there.
"""

import configparser

import pytest
import salt.config
import yaml
from tree import TREE, load_script

VALUES = {
    "tree": "/srv/it's: a #tree",
    "id": "web1",
    "master": "salt.example.test",
    "master_finger": ":".join(["ab"] * 32),
}
TEMPLATES = sorted((TREE / "conf").glob("*.d/*.conf"))
UNITS = sorted((TREE / "conf/systemd").glob("*.service"))
# What salt-ssh reads: salt/client/ssh/__init__.py.
SALT_SSH = {"thin_extra_mods": str, "extra_filerefs": str, "ssh_minion_opts": dict}
# What Salt reads and has neither a kind nor a default for: salt/utils/mine.py, salt/daemons/masterapi.py.
KINDS = {"mine_functions": dict, "mine_get": dict, **SALT_SSH}
# Not everything that has a default has a kind in the schema.
DEFAULTS = {"master": salt.config.DEFAULT_MASTER_OPTS, "minion": salt.config.DEFAULT_MINION_OPTS}


def settings(template):
    render = load_script("bin", "files.py").render
    return yaml.safe_load(render(template, **VALUES))


def test_there_is_one_template_for_each_kind_of_host():
    assert [path.parent.name for path in TEMPLATES] == ["fleet-minion.d", "master.d", "minion.d"]
    assert [path.name for path in UNITS] == ["salt-master.service", "salt-minion.service"]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.parent.name)
def test_salt_knows_each_setting_and_its_kind(template):
    for name, value in settings(template).items():
        default = DEFAULTS["master" if template.parent.name == "master.d" else "minion"].get(name)
        kinds = KINDS.get(name) or salt.config.VALID_OPTS.get(name, type(default))
        kinds = kinds if isinstance(kinds, tuple) else (kinds,)
        assert isinstance(value, (*kinds, int) if float in kinds else kinds), name


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.parent.name)
def test_no_level_of_logging_prints_what_was_rendered(template):
    found = settings(template)
    assert found["log_level"] == "warning"
    assert found["log_granular_levels"]["salt.template"] == "info"


def test_a_master_lets_nobody_in_by_itself_and_serves_the_tree():
    found = settings(TREE / "conf/master.d/50-rick-infra.conf")
    assert (found["auto_accept"], found["open_mode"]) == (False, False)
    assert found["file_roots"] == {"base": ["/srv/it's: a #tree/salt"]}
    assert found["pillar_roots"] == {"base": ["/srv/it's: a #tree/pillar", "/etc/rick-infra/pillar"]}
    assert found["ext_pillar"] == [{"fleet": "/etc/rick-infra"}]
    assert found["mine_get"] == {}


def test_a_minion_takes_no_other_master():
    found = settings(TREE / "conf/fleet-minion.d/50-rick-infra.conf")
    assert found["master"] == VALUES["master"]
    assert found["master_finger"] == VALUES["master_finger"]
    assert found["file_client"] == "remote"
    assert found["id"] == "web1"


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_its_daemon_from_our_environment(unit):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read(unit)
    assert parser["Service"]["ExecStart"] == f"/opt/rick-infra/salt/bin/{unit.stem}"
    assert parser["Service"]["Restart"] == "on-failure"
    assert parser["Install"]["WantedBy"] == "multi-user.target"
