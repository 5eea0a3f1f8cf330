"""
Every SLS of the tree renders, names states that exist with arguments they take, and points at states that are there.
"""

import inspect

import pytest
import salt.loader
import salt.state
from tree import TREE

ALL = sorted(
    ".".join(path.relative_to(TREE / "salt").with_suffix("").parts).removesuffix(".init")
    for folder in ("authentik", "edge", "infra", "services")
    for path in (TREE / "salt" / folder).rglob("*.sls")
)
EXAMPLES = {path.stem: path.read_text() for path in (TREE / "examples/services").glob("*.yaml")}
SSO = "rick: {authentik: {domain: auth.example.test}}\n"
EVERYTHING = """\
rick:
  authentik: {domain: auth.example.test, tls: acme, version: 2025.8.4}
  podman: {unqualified_search_registries: [registry.example.org], remove_rootless: [old]}
  postgresql: {shared_buffers: 300, settings: {log_min_duration_statement: 500, jit: off}}
  valkey: {appendonly: no, settings: {save: '', timeout: 300}}
"""
MANY = """\
image: localhost/app:1
port: 8080
needs: [notes]
postgres: {database: other, extensions: [pg_trgm], auth: scram, readonly_roles: [reports]}
valkey: instance
secrets: {token: true}
volumes: {files: /data}
env: {A: "{postgres.url} {secret.token}", B: 'a: {b}\u2028 "c" %n $HOME'}
init: {command: migrate}
timers: {clean: {schedule: daily, command: clean}}
containers: {web: {}, worker: {user: image}}
"""
# The site's own pillar, and the entries of its catalogue.
SITES = {
    "defaults": (None, {}),
    "examples": (SSO, EXAMPLES),
    "everything": (
        EVERYTHING,
        {**EXAMPLES, "many": MANY, "off": "{image: 'a:1', state: stopped}", "gone": "{state: absent, data: archive}"},
    ),
}
RELEASES = ("trixie", "forky")
# Hosts of a fleet, each with the files of its master.
FLEET = {
    "fleet.yaml": "cells: ['cell*']\nedges: {'edge*': ['cell*']}\nsso: cell1\n",
    "hosts/cell1.yaml": "authentik: {domain: auth.example.test}\n",
    **{
        f"services/{name}.yaml": f"{text}\ncells: [cell1, cell2]\n"
        for name, text in EXAMPLES.items()
        if name != "board"
    },
    "services/board.yaml": f"{EXAMPLES['board']}\ncells: cell2\n",
    "services/off.yaml": "{image: 'a:1', state: stopped, cells: cell2}",
    "services/gone.yaml": "{state: absent, data: archive, cells: cell2}",
}
MEMBERS = ("cell1", "cell2", "edge1")
# What the state compiler takes out before the function is called.
COMPILERS = {*salt.state.STATE_INTERNAL_KEYWORDS, "name", "state", "fun", "order", "__env__", "__id__", "__sls__"}


@pytest.fixture(params=[*SITES, *MEMBERS])
def host(request, minion, fleet):
    """A host by itself, with each of the sites, and each of a fleet."""
    name = request.param
    return minion("trixie", *SITES[name]) if name in SITES else fleet(name, FLEET)


def lowstate(host):
    chunks = host.modules["state.show_lowstate"]()
    assert all(isinstance(chunk, dict) for chunk in chunks), chunks
    return chunks


def test_there_is_something_to_render():
    assert {
        "infra.podman",
        "infra.postgresql",
        "infra.valkey",
        "infra.caddy",
        "infra.facts",
        "authentik",
        "services",
    } <= set(ALL)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("sls", ALL)
def test_each_part_renders_by_itself(minion, sls, release):
    rendered = minion(release, *SITES["examples"]).modules["state.show_sls"](sls)
    assert isinstance(rendered, dict), rendered
    assert rendered


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_the_highstate_renders(minion, release, site):
    high = minion(release, *site).modules["state.show_highstate"]()
    assert isinstance(high, dict), high
    for name in site[1]:
        assert any(name in state.split() for state in high), f"nothing is done for service {name}"


def test_states_exist_and_take_their_arguments(host):
    states = salt.loader.states(host.opts, host.modules, host.utils, salt.loader.serializers(host.opts))
    problems = []
    for chunk in lowstate(host):
        function = f"{chunk['state']}.{chunk['fun']}"
        if function not in states:
            problems.append(f"{chunk['__sls__']}: {chunk['__id__']}: there is no state {function}")
            continue
        parameters = inspect.signature(states[function]).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            continue
        unknown = [key for key in chunk if key not in parameters and key not in COMPILERS and not key.startswith("__")]
        problems += [f"{chunk['__sls__']}: {chunk['__id__']}: {function} takes no {key}" for key in unknown]
    assert problems == []


def test_slots_name_functions_that_are_there(host):
    """One that is not would be passed on as text, and the state would succeed with it."""
    slots = {
        value.removeprefix("__slot__:salt:").partition("(")[0]
        for chunk in lowstate(host)
        for value in chunk.values()
        if isinstance(value, str) and value.startswith("__slot__")
    }
    assert slots & {"catalogue.part", "fleet.site"} or not host.pillar["rick"]["services"]
    assert [slot for slot in slots if slot not in host.modules] == []


def test_requisites_point_at_states_that_are_there(host):
    chunks = lowstate(host)
    there = {(chunk["state"], chunk[key]) for chunk in chunks for key in ("__id__", "name")}
    there |= {("sls", chunk["__sls__"]) for chunk in chunks}
    missing = [
        f"{chunk['__id__']}: {kind} {state}: {target}"
        for chunk in chunks
        for kind in salt.state.STATE_REQUISITE_KEYWORDS
        for requisite in chunk.get(kind, [])
        if isinstance(requisite, dict)
        for state, target in requisite.items()
        if (state, target) not in there
    ]
    assert missing == []


def test_nothing_of_a_service_happens_before_the_facts_are_valid(minion):
    """The barrier holds for every state of a service, directly or through what it requires, or a failure it is for."""
    chunks = lowstate(minion("trixie", *SITES["everything"]))
    requires = {}
    for chunk in chunks:
        for requisite in [*chunk.get("require", []), *chunk.get("onfail", [])]:
            for state, target in requisite.items():
                requires.setdefault((chunk["state"], chunk["__id__"]), set()).add((state, target))
        if any(requisite == {"sls": "infra.facts"} for requisite in chunk.get("require", [])):
            requires[chunk["state"], chunk["__id__"]].add(("facts", "The facts are valid"))
    by_name = {(chunk["state"], chunk["name"]): (chunk["state"], chunk["__id__"]) for chunk in chunks}

    def reaches(start, seen=()):
        key = by_name.get(start, start)
        if key == ("facts", "The facts are valid"):
            return True
        return key not in seen and any(reaches(one, (*seen, key)) for one in requires.get(key, ()))

    exposed = [
        chunk["__id__"]
        for chunk in chunks
        if chunk["__sls__"] == "services"
        and chunk["state"] != "catalogue"
        and not reaches((chunk["state"], chunk["__id__"]))
    ]
    assert exposed == []


@pytest.mark.parametrize("release", RELEASES)
def test_no_two_states_manage_one_file(minion, release):
    chunks = [chunk for chunk in lowstate(minion(release, *SITES["everything"])) if chunk["state"] == "file"]
    names = [chunk["name"] for chunk in chunks]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("release", RELEASES)
def test_a_catalogue_with_mistakes_leaves_the_infrastructure_and_touches_no_service(minion, release):
    chunks = lowstate(minion(release, SSO, {**EXAMPLES, "bad": "imgae: a:1"}))
    assert {chunk["__sls__"] for chunk in chunks} > {"infra.postgresql", "infra.valkey", "infra.caddy"}
    assert [chunk["__id__"] for chunk in chunks if chunk["__sls__"].startswith("services")] == [
        "The catalogue is valid"
    ]


def test_only_the_services_that_are_asked_for_are_applied(minion):
    host = minion("trixie", "rick: {only: [hello], authentik: {domain: auth.example.test}}\n", EXAMPLES)
    ids = [chunk["__id__"] for chunk in lowstate(host) if chunk["__sls__"] == "services"]
    assert any("hello" in one for one in ids)
    assert not any("notes" in one or "queue" in one for one in ids)


def functions(fleet, name, **files):
    return {
        f"{chunk['state']}.{chunk['fun']}"
        for chunk in lowstate(fleet(name, {**FLEET, **files}))
        if not chunk["state"].startswith("x509")
    }


def test_an_edge_is_caddy_and_nothing_else(fleet):
    allowed = {"fleet", "debian_packages", "file", "caddy", "daemon"}
    assert {one.partition(".")[0] for one in functions(fleet, "edge1")} == allowed


def test_what_authentik_has_is_seen_to_on_its_own_host(fleet):
    assert "login.present" in functions(fleet, "cell1")
    assert not {"login.present", "login.absent", "authentik.ready"} & functions(fleet, "cell2")


def test_a_host_without_a_role_is_told_so_and_nothing_is_done(fleet):
    assert functions(fleet, "stranger") == {"fleet.modules_current", "fleet.view_complete"}


def test_what_sites_behind_edges_import_outlives_their_edges(fleet, minion):
    """Such a site is changed after the Caddyfile, which has to be accepted together with it."""
    alone = {**FLEET, "fleet.yaml": "cells: ['cell*']\nsso: cell1\n"}
    for host in (fleet("cell1", FLEET), fleet("cell1", alone), minion("trixie", *SITES["examples"])):
        (text,) = (chunk["text"] for chunk in lowstate(host) if chunk["__id__"] == "Caddy's configuration")
        assert "(edges) {" in text
        assert "(login-behind-edge) {" in text
