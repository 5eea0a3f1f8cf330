"""
Twenty services at once: added in one run, each changed in another way, removed in one run. Nothing restarts needlessly.
"""

import json
from dataclasses import dataclass, field

import pytest
from machine import Highstate

ENTRY = {
    "image": "localhost/hello:1",
    "port": 8080,
    "health": {"path": "/", "timeout": 120},
    "env": {"GREETING": "before"},
}
# Another container in the pod, to see that it goes on.
IDLE = {"entrypoint": ["tail", "-f", "/dev/null"], "stop_signal": "SIGKILL"}
PAIR = {**ENTRY, "containers": {"web": {}, "worker": IDLE}}
SECRETS = {
    **PAIR,
    "secrets": {"own": True, "other": True},
    "containers": {"web": {"env": {"OWN": "{secret.own}"}}, "worker": {**IDLE, "env": {"OTHER": "{secret.other}"}}},
}
TAKEN = {**SECRETS, "secrets": {"own": True, "other": {"pillar": "sites:token"}}}
IMAGE_2 = 'printf "FROM localhost/hello:1\\nLABEL version=2\\n" | podman build -q -t localhost/hello:2 -f - .'
PILLAR = "/etc/rick-infra/pillar/site.sls"


@dataclass
class Change:
    """A service, what is changed of it, and all that this may restart."""

    entry: dict
    changed: dict | str
    key: str
    restarts: tuple = ()
    before: str = ""  # a command of an administrator that is the change, or part of it
    reloads: bool = False
    states: set = field(default_factory=set)  # what of the service the run changes


def worker(**keys):
    return {**PAIR, "containers": {"web": {}, "worker": {**IDLE, **keys}}}


POD, STARTED, SITE = "has its pod", "is started", "has its site"
DEFINED = {POD, STARTED}
DELIVERED = {"has its secrets", "has its environment", STARTED}
CHANGES = {
    "env": Change(PAIR, worker(env={"GREETING": "after"}), "containers:worker:env", ("worker",), states=DEFINED),
    "command": Change(
        PAIR, worker(entrypoint=["tail", "-f", "/etc/passwd"]), "containers:worker:entrypoint", ("worker",),
        states=DEFINED,
    ),
    "all-env": Change(PAIR, {**PAIR, "env": {"GREETING": "after"}}, "env", ("web", "worker"), states=DEFINED),
    "tag": Change(ENTRY, {**ENTRY, "image": "localhost/hello:2"}, "image", ("web",), states=DEFINED),
    "volume": Change(
        ENTRY, {**ENTRY, "volumes": {"data": "/data"}}, "volumes", ("web",), states={"has its user", *DEFINED}
    ),
    "memory": Change(ENTRY, {**ENTRY, "tmpfs": ["/tmp", "/run"]}, "tmpfs", ("web",), states=DEFINED),
    "shm": Change(PAIR, {**PAIR, "shm_size": "32M"}, "shm_size", ("pod", "web", "worker"), states=DEFINED),
    "renewed": Change(
        SECRETS, SECRETS, "secrets:own", ("web",), before="salt-call secret.renew renewed.own", states=DELIVERED
    ),
    "pillar": Change(
        TAKEN, TAKEN, "secrets:other", ("worker",),
        before=f"printf 'sites:\\n  token: second value\\n' > {PILLAR}", states=DELIVERED,
    ),
    "unused": Change(ENTRY, {**ENTRY, "secrets": {"new": True}}, "secrets", states={"has its secrets"}),
    "limit": Change(
        {**ENTRY, "postgres": True}, {**ENTRY, "postgres": {"connection_limit": 7}}, "postgres:connection_limit",
        states={"has its database"},
    ),
    "extras": Change(
        {**ENTRY, "postgres": True},
        {**ENTRY, "postgres": {"extensions": ["pg_trgm"], "readonly_roles": ["reports"]}},
        "postgres:extensions", states={"has its database"},
    ),
    "rules": Change(
        {**ENTRY, "valkey": True}, {**ENTRY, "valkey": {"commands": ["+scan"]}}, "valkey:commands",
        states={"has its Valkey user"},
    ),
    "health": Change(
        {**ENTRY, "site": "health.example.test"},
        {**ENTRY, "site": "health.example.test", "health": {"path": "/index.html", "timeout": 110}}, "health",
    ),
    "domain": Change(
        {**ENTRY, "site": "domain.example.test"},
        {**ENTRY, "site": {"domains": ["domain.example.test", "other.example.test"]}}, "site", reloads=True,
        states={SITE},
    ),
    "moved": Change(
        {**ENTRY, "site": "moved.example.test"}, {**ENTRY, "site": "moved.example.test", "host_port": 8091},
        "host_port", ("pod", "web"), reloads=True, states={*DEFINED, SITE},
    ),
    "words": Change(
        {**ENTRY, "description": "before"},
        "# A comment, and all keys in another order.\n"
        + json.dumps({"description": "after", **dict(reversed(ENTRY.items()))}, indent=1),
        "description",
    ),
    "quiet": Change(PAIR, PAIR, "image", ()),
    # The one that fails.
    "broken": Change(
        ENTRY,
        {**ENTRY, "health": {"path": "/", "timeout": 10}, "entrypoint": ["/bin/false"]}, "entrypoint", ("pod", "web"),
        states={*DEFINED, "is healthy"},
    ),
    "last": Change(ENTRY, {**ENTRY, "env": {"GREETING": "after"}, "needs": ["env"]}, "env", ("web",), states=DEFINED),
}  # fmt: skip
# One that nobody touches, and one that is taken back, have nothing that the answer could be compared with.
FORESEEN = sorted(set(CHANGES) - {"quiet", "broken"})
WATCHED = ("*-web.service", "*-worker.service", "*-pod.service", "valkey-server*", "postgresql@*", "caddy.service")


@dataclass
class Runs:
    """What the runs answered, and which start of each unit ran before and after the change."""

    added: tuple[Highstate, Highstate, Highstate]
    impact: dict
    before: dict
    plan: Highstate
    run: Highstate
    after: dict

    @property
    def restarted(self):
        return {unit for unit, start in self.after.items() if self.before.get(unit) != start}


def impact(host, keys):
    """What ``catalogue.impact`` says of each key, asked in one call."""
    host.write(
        "/root/impact.jinja",
        "{%- set found = {} %}"
        + "".join(f'{{%- do found.update({{"{key}": salt["catalogue.impact"]("{key}")}}) %}}' for key in keys)
        + "{{ found | json }}",
    )
    return json.loads(host.salt("slsutil.renderer", "path=/root/impact.jinja", "default_renderer=jinja"))


@pytest.fixture(scope="module")
def host(main_machine):
    main_machine.run("/srv/rick-infra/examples/build", "hello")
    main_machine.sh(IMAGE_2)
    main_machine.write(PILLAR, "sites:\n  token: first value\n")
    yield main_machine
    main_machine.sh(f"rm {PILLAR} /root/impact.jinja; podman untag localhost/hello:2")
    main_machine.converge()


@pytest.fixture(scope="module")
def runs(host):
    for name, change in CHANGES.items():
        host.declare(name, change.entry)
    added = host.apply(test=True), host.apply(), host.apply()
    foreseen = impact(host, [f"{name}:{change.key}" for name, change in CHANGES.items()])
    before = host.invocations(*WATCHED)
    for name, change in CHANGES.items():
        host.declare(name, change.changed)
        if change.before:
            host.sh(change.before)
    plan, run = host.apply(test=True), host.apply()
    return Runs(added, foreseen, before, plan, run, host.invocations(*WATCHED))


def of(name, states):
    """The states of one service, without its name."""
    return {state.removeprefix(f"Service {name} ") for state in states if state.startswith(f"Service {name} ")}


def test_twenty_services_are_added_in_one_run_as_planned(runs):
    plan, run, again = runs.added
    assert len(CHANGES) == 20
    assert plan.failed == run.failed == again.failed == {}
    assert plan.planned == run.changed
    assert {name for name in CHANGES if "is started" in of(name, run.changed)} == set(CHANGES)
    assert again.changed == set()


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_change_restarts_what_depends_on_it_and_nothing_else(runs, name):
    units = {f"{name}-{part}.service" for part in ("pod", "web", "worker")}
    assert runs.restarted & units == {f"{name}-{part}.service" for part in CHANGES[name].restarts}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_run_changes_of_a_service_what_its_entry_changed(runs, name):
    assert of(name, runs.run.changed) == CHANGES[name].states


@pytest.mark.parametrize("name", FORESEEN)
def test_impact_says_beforehand_what_restarts(runs, name):
    change = CHANGES[name]
    told = runs.impact[f"{name}:{change.key}"]
    containers = {f"{name}-{part}.service" for part in change.restarts if part != "pod"}
    assert set(told["restarts"]) == containers
    assert told["reloads"] == (["caddy.service"] if change.reloads else [])


def test_no_daemon_and_no_other_service_is_restarted(runs):
    mine = tuple(f"{name}-" for name in CHANGES)
    assert {unit for unit in runs.restarted if not unit.startswith(mine)} == set()


def test_a_run_with_changes_does_what_was_planned_and_takes_back_what_fails(runs):
    assert runs.plan.failed == {}
    assert runs.run.changed - runs.plan.planned == {"Service broken is healthy"}
    assert runs.plan.planned <= runs.run.changed


def test_the_broken_one_fails_alone(runs):
    # And what comes after it is not done.
    assert set(runs.run.failed) == {f"Service broken {it}" for it in ("is healthy", "has no site", "has nothing else")}


def test_a_changed_database_is_as_declared(host, runs):
    assert host.psql("limit", "select rolconnlimit from pg_roles where rolname = 'limit'") == "7"
    assert host.psql("extras", "select similarity('word', 'word')") == "1"
    assert host.psql("extras", "select has_database_privilege('reports', 'extras', 'CONNECT')") == "t"


def test_a_changed_cache_user_may_do_more(host, runs):
    assert host.valkey("rules", "SCAN 0").splitlines()[0].strip('"').isdigit()


def test_all_of_them_are_removed_in_one_run_as_planned(host, runs):
    others = host.invocations("notes-*.service", "valkey-server.service", "postgresql@*", "caddy.service")
    for name in CHANGES:
        host.declare(name, {"state": "absent", "data": "delete"})
    plan, run, again = host.apply(test=True), host.apply(), host.apply()
    assert plan.failed == run.failed == again.failed == {}
    assert plan.planned == run.changed
    assert again.changed == set()
    host.sh(f"cd /etc/rick-infra/services && rm {' '.join(f'{name}.yaml' for name in CHANGES)}")
    assert host.salt("catalogue.orphans") == {}
    assert host.invocations("notes-*.service", "valkey-server.service", "postgresql@*", "caddy.service") == others
