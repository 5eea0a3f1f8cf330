"""
The tree in Salt's own loader, without a minion.
"""

import copy
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import salt._logging
import salt.cache
import salt.config
import salt.loader
import salt.pillar
from saltfactories.utils.functional import Loaders
from tls_site import certificate
from tree import TREE


@pytest.fixture(scope="session")
def loaders(tmp_path_factory):
    """Salt's loaders over the tree, as a masterless minion has them."""
    root = tmp_path_factory.mktemp("minion")
    opts = salt.config.minion_config(None, minion_id="functional")
    opts.update(
        root_dir=str(root),
        cachedir=str(root / "cache"),
        extension_modules=str(root / "cache/extmods"),
        pki_dir=str(root / "pki"),
        sock_dir=str(root / "sock"),
        log_file=str(root / "log"),
        conf_file=str(root / "minion"),
        file_client="local",
        file_roots={"base": [str(TREE / "salt")]},
        pillar_roots={"base": [str(root / "pillar")]},
        module_dirs=[str(TREE / "salt")],
        enable_fqdns_grains=False,
    )
    # It keeps every record to print them at exit, when pytest has closed the stream.
    salt._logging.shutdown_temp_handler()
    return Loaders(opts)


@pytest.fixture
def modules(loaders):
    """Execution modules, with a run's context emptied between tests."""
    yield loaders.modules
    loaders.reset_state()


@pytest.fixture
def states(loaders):
    """State modules: ``states.unix_socket.directory(name=..., test=True)`` applies one as ``state.single`` does."""
    yield loaders.states
    loaders.reset_state()


@pytest.fixture
def open_folder():
    """A folder that every user of the host can reach, unlike ``tmp_path``."""
    folder = Path(tempfile.mkdtemp(prefix="rick-functional-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def loaded(opts, pillar, memory, monkeypatch):
    """A host with its pillar, in Salt's loaders; what the catalogue remembers is in the file ``memory``."""
    opts["pillar"] = pillar
    context = {}
    utils = salt.loader.utils(opts, context=context)
    monkeypatch.setitem(utils["catalogue_cache.load"].__globals__, "FILE", str(memory))
    modules = salt.loader.minion_mods(opts, context=context, utils=utils)
    return SimpleNamespace(opts=opts, pillar=pillar, context=context, utils=utils, modules=modules)


@pytest.fixture
def minion(loaders, tmp_path, monkeypatch):
    """
    A function that returns ``opts``, ``pillar``, ``context``, ``utils`` and ``modules`` of a masterless minion.

    It has the tree's real pillar.

    ``release`` is the Debian release's codename, ``site`` the text of the site's own site.sls (None: there is none),
    ``services`` the texts of the catalogue's files by the services' names, ``grains`` further grains, ``options``
    further settings of the minion. What the tree remembers on a host is in ``tmp_path / "state"``.
    """
    folder, entries = tmp_path / "pillar", tmp_path / "services"
    folder.mkdir()
    entries.mkdir()

    def start(release="trixie", site=None, services=None, grains=(), **options):
        (folder / "site.sls").unlink(missing_ok=True)
        if site is not None:
            (folder / "site.sls").write_text(site)
        for file in entries.iterdir():
            file.unlink()
        for name, text in (services or {}).items():
            (entries / f"{name}.yaml").write_text(text)
        opts = copy.deepcopy(loaders.opts)
        roots = {"base": [str(TREE / "pillar"), str(folder)]}
        opts.update({"pillar_roots": roots, "ext_pillar": [{"services": str(entries)}], **options})
        opts["grains"] = {**loaders.grains, "oscodename": release, "mem_total": 3900, **dict(grains)}
        pillar = salt.pillar.get_pillar(opts, opts["grains"], opts["id"], "base").compile_pillar()
        return loaded(opts, pillar, tmp_path / "state/catalogue.json", monkeypatch)

    return start


@pytest.fixture
def fleet(loaders, tmp_path, monkeypatch):
    """
    A function that returns a host of a fleet as ``minion`` does: ``fleet(id, files)``, as its master has it.

    ``files`` are the texts of the master's files by their names. ``grains``, and ``override`` for its pillar, are the
    host's own to say. What the hosts publish is in ``fleet.published``; ``fleet.key`` and ``fleet.drained`` are where
    the master keeps its key, and its marks of drained cells.
    """
    folder, state = tmp_path / "site", tmp_path / "master"
    folder.mkdir(mode=0o700)

    def start(host, files, grains=(), override=None):
        shutil.rmtree(folder)
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.write_text(text)
        opts = copy.deepcopy(loaders.opts)
        opts.update(
            id=host,
            cachedir=str(tmp_path / "cache"),
            pki_dir=str(tmp_path / "pki"),
            pillar_roots={"base": [str(TREE / "pillar"), str(folder / "pillar")]},
            ext_pillar=[{"fleet": str(folder)}],
        )
        accepted = tmp_path / "pki/minions"
        accepted.mkdir(parents=True, exist_ok=True)
        for one in start.hosts:
            (accepted / one).write_text("a public key")
        for one, said in start.published.items():
            salt.cache.factory(opts).store("mine", one, {"fleet.published": said})
        opts["grains"] = {**loaders.grains, "oscodename": "trixie", "mem_total": 3900, **dict(grains)}
        pillars = salt.loader.pillars

        def moved(*arguments, **options):
            loader = pillars(*arguments, **options)
            there = loader["fleet"].func.__globals__
            monkeypatch.setitem(there, "KEY", str(start.key))
            monkeypatch.setitem(there, "DRAINED", str(start.drained))
            return loader

        with monkeypatch.context() as patch:
            patch.setattr(salt.loader, "pillars", moved)
            pillar = salt.pillar.Pillar(opts, opts["grains"], host, "base", pillar_override=override).compile_pillar()
        return loaded(opts, pillar, tmp_path / "state/catalogue.json", monkeypatch)

    start.hosts = ["cell1", "cell2", "cell3", "edge1", "stranger"]
    pem = certificate(tmp_path / "certificate.pem", "test").read_text()
    start.published = {
        host: {"address": f"192.0.2.{number}", "certificate": pem, "authority": pem}
        for number, host in enumerate(start.hosts, 1)
    }
    start.key, start.drained = state / "fleet.key", state / "drained"
    return start
