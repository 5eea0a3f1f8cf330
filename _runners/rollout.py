"""
What a roll-out does, phase by phase: ``salt/orch/*.sls`` say which, and the state ``rollout`` calls them here.

.. code-block:: bash

    salt-run state.orchestrate orch.deploy
    salt-run rollout.show

Everything that is told goes to standard error as it happens, to the event bus as ``rick/KIND/ID/…``, and into a small
record, from which the table at the end is made. Neither pillar nor secrets are in any of them.
"""

import datetime
import json
import sys
import time
from pathlib import Path

import salt.client
import salt.utils.event
import salt.utils.jid
import salt.utils.user
from salt.exceptions import CommandExecutionError, SaltClientError

LOCK = "/var/lib/rick-infra/rollouts/lock"
DRAINED = "/var/lib/rick-infra/drained"  # a file for each cell; the external pillar fleet reads its names
# Salt can queue a run on its host, and then says nothing of it to its master, or waits for ever if somebody else's is
# queued as well. So hosts are waited for here, before they are given work.
PATIENCE = 600  # seconds; somebody else's run with all packages takes less. Later, what Salt refuses is the answer.
LOOK = 2  # seconds between two looks
AUTHENTIK = "authentik"


def begin(rollout, kind, pillar):
    """
    Begin a roll-out and return what keeps it from that, sentences, an empty list if nothing does.

    rollout
        Its id, that of the orchestration.

    kind
        ``deploy``, ``upgrade``, ``drain`` or ``undrain``.

    pillar
        What was said to the orchestration.

    CLI Example: none, orch.deploy and its like call it.
    """
    options, targets, found = _asked_for(kind, pillar)
    if found:
        return found
    began = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    about = {"kind": kind, "id": rollout, "by": salt.utils.user.get_specific_user(), "began": began}
    holder = __utils__["rollout_lock.take"](LOCK, about)
    if holder is not None:
        return [
            f"another roll-out is going on: {holder['kind']} {holder['id']}, begun by {holder['by']} at "
            f"{holder['began']}. Wait until it is over: salt-run fleet.status"
        ]
    record = {
        **about,
        "options": options,
        **targets,
        "clock": time.time(),
        "columns": [],
        "seconds": {},
        "table": {},
        "failures": [],
        "stopped": None,
        "passed": False,
        "took": 0,
    }
    _keep(record)
    _event(record, "begin", {"by": about["by"], "cells": targets["cells"], "edges": targets["edges"]})
    return []


def plan(kind, pillar):
    """
    Return what a roll-out would do, as text, and what keeps it from that: ``{"text", "problems"}``. No host is asked.

    kind, pillar
        As for ``begin``.

    CLI Example:

    .. code-block:: bash

        salt-run rollout.plan deploy '{"batch": 2}'
    """
    options, targets, found = _asked_for(kind, pillar)
    lines = [f"cells: {', '.join(targets['cells']) or 'none'}", f"edges: {', '.join(targets['edges']) or 'none'}"]
    if not found and kind in ("deploy", "upgrade"):
        steps, found = _steps(kind, options, targets)
        for number, step in enumerate(steps, 1):
            lines.append(f"wave {number}:")
            for batch in __utils__["rollout_plan.batches"](list(step), options.get("canary"), _size(options)):
                lines.append("  " + "; ".join(f"{host}: {_what(step[host])}" for host in batch))
    return {"text": "\n".join(lines), "problems": found}


def phase(rollout, name):
    """
    Go through one phase and return ``{"passed": bool}``. If it did not pass, the roll-out is over, and there is a
    ``verdict`` as from ``end``.

    rollout
        Its id.

    name
        ``answers``, ``modules``, ``valid``, ``infrastructure``, ``barrier``, ``authentik``, ``services``, ``edges``,
        ``cells``, ``published``, ``drained``, ``undrained`` or ``verification``.

    CLI Example: none, orch.deploy and its like call it.
    """
    record = __utils__["rollout_record.load"](rollout)
    phases = {
        "answers": _answers,
        "modules": _modules,
        "valid": _valid,
        "infrastructure": _infrastructure,
        "barrier": _barrier,
        "authentik": _authentik,
        "services": _services,
        "edges": _edges,
        "cells": _cells,
        "published": _published,
        "drained": _drained,
        "undrained": _undrained,
        "verification": _verification,
    }
    started, failures = time.monotonic(), len(record["failures"])
    try:
        phases[name](record)
    except (SaltClientError, CommandExecutionError) as error:
        _fail(record, None, name, "", str(error))
    passed = len(record["failures"]) == failures
    _event(record, f"phase/{name}", {"passed": passed, "seconds": round(time.monotonic() - started, 1)})
    if passed:
        _keep(record)
        return {"passed": True}
    record["stopped"] = name
    return {"passed": False, "verdict": _over(record)}


def end(rollout):
    """
    End a roll-out of which every phase has passed, and return how that was, a sentence.

    CLI Example: none, orch.deploy and its like call it.
    """
    record = __utils__["rollout_record.load"](rollout)
    record["passed"] = True
    return _over(record)


def show(rollout=None):
    """
    Return the table of a roll-out again, and how it went.

    rollout
        Its id. Default: the last one.

    CLI Example:

    .. code-block:: bash

        salt-run rollout.show
        salt-run rollout.show 20261126221428123456
    """
    known = __utils__["rollout_record.known"]()
    wanted = str(rollout) if rollout else next(iter(known), None)
    if wanted not in known:
        __context__["retcode"] = 1
        return f"there is no record of roll-out {wanted} (there are: {', '.join(known) or 'none'})"
    record = __utils__["rollout_record.load"](wanted)
    return "\n".join(__utils__[f"rollout_table.{part}"](record) for part in ("table", "verdict"))


def current():
    """
    Return the roll-out that is going on, ``{"kind", "id", "by", "began"}``, None if there is none.

    CLI Example:

    .. code-block:: bash

        salt-run rollout.current
    """
    return __utils__["rollout_lock.holder"](LOCK)


# --- what is asked for ------------------------------------------------------------------------------------------------


def _asked_for(kind, pillar):
    options, found = __utils__["rollout_options.read"](kind, pillar, __salt__["pillar.show_pillar"]())
    if found:
        return options, {"cells": [], "edges": []}, found
    targets, found = __utils__["rollout_options.targets"](kind, options, __salt__["fleet.topology"]())
    return options, targets, found


def _steps(kind, options, targets):
    """What each cell does in each wave; and why that cannot be said."""
    fleet = __salt__["fleet.topology"]()
    names = [options["service"]] if kind == "upgrade" else options["only"]
    around = __utils__["rollout_plan.circle"](fleet["needs"])
    if around:
        return [], [f"needs go round in a circle: {' -> '.join([*around, around[0]])}"]
    cells = {name: cells for name, cells in fleet["services"].items() if not names or name in names}
    numbers = __utils__["rollout_plan.waves"](fleet["needs"], cells)
    steps = __utils__["rollout_plan.steps"](targets["cells"], numbers, cells, whole=not names)
    for step in steps:
        # What users log in with is named as well, or its own states would not be part of the run.
        if fleet["domain"] and step.get(fleet["sso"]):
            step[fleet["sso"]] = [AUTHENTIK, *step[fleet["sso"]]]
    return steps, []


def _size(options):
    return options.get("batch", "25%")


def _what(names):
    return "all of it" if names is None else ", ".join(names)


# --- phases -----------------------------------------------------------------------------------------------------------


def _answers(record):
    silent = _call(record, "answers", _everybody(record), "test.ping")
    if silent:
        given = json.dumps({**_said(record), "without": sorted({*record["options"]["without"], *silent})})
        _fail(
            record,
            None,
            "answers",
            "",
            f"{', '.join(silent)}: switched off, or out of reach. Nothing was changed anywhere.\n"
            f"Start it again (systemctl start salt-minion), or go on without: pillar='{given}'",
        )


def _modules(record):
    hosts = _everybody(record)
    stale = _with_other_modules(hosts)
    for whose, function, keywords in (
        (stale, "saltutil.sync_all", {"refresh": False}),
        (stale, "saltutil.refresh_modules", {"async": False}),
        (hosts, "saltutil.refresh_pillar", {"wait": True}),
    ):
        if _call(record, "modules", whose, function, keywords):
            return


def _with_other_modules(hosts):
    """Those that have not the modules of this tree: to fetch them takes a request for each file."""
    wanted = __salt__["fleet.modules"]()
    with salt.client.get_local_client(mopts=__opts__) as client:
        answers = __utils__["rollout_client.ask"](client, [_job(hosts, "fleet.modules", (), None)], patient=False)
        return sorted(host for host, answer in answers if not answer or answer["ret"] != wanted)


def _valid(record):
    left_out = record["options"]["without"]
    for text in __salt__["fleet.check"](left_out)["problems"]:
        _fail(record, None, "valid", "", text)
    sentences = __utils__["rollout_judge.sentences"]
    # What the files of the fleet have wrong, each host would say again.
    cells, edges = record["cells"], [one for one in record["edges"] if one not in record["cells"]]
    if not record["failures"]:
        _call(record, "valid", cells, "catalogue.problems", judge=sentences)
        _call(record, "valid", edges, "fleet.problems", judge=sentences)


def _infrastructure(record):
    # Edges show nothing new yet, but cells let in only edges whose keys they know.
    step = {host: ["infra.caddy"] for host in record["edges"]} | {host: ["infra"] for host in record["cells"]}
    _in_batches(record, "infrastructure", step, "state.apply")


def _barrier(record):
    sentences = __utils__["rollout_judge.sentences"]
    if not _call(record, "barrier", record["cells"], "barrier.problems", judge=sentences):
        # What hosts must know of each other, they learn by this.
        _call(record, "barrier", _everybody(record), "mine.update")


def _authentik(record):
    fleet = __salt__["fleet.topology"]()
    if fleet["domain"] and fleet["sso"] in record["cells"]:
        # With it alone in the run, services.sls makes the logins of services on other hosts, and touches no service.
        sso = [fleet["sso"]]
        keywords = {"pillar": {"rick": {"only": [AUTHENTIK]}}}
        if not _apply(record, "authentik", [sso], {fleet["sso"]: ["authentik,services"]}, "state.apply", keywords):
            # By which certificates its Caddy is known, is known now.
            _call(record, "authentik", sso, "mine.update")


def _services(record):
    steps, found = _steps(record["kind"], record["options"], record)
    for text in found:
        _fail(record, None, "services", "", text)
    for number, step in enumerate(steps, 1):
        column = "services" if len(steps) == 1 else f"wave {number}"
        if _in_batches(record, column, step, "state.highstate"):
            for later in range(number + 1, len(steps) + 1):
                _not_started(record, f"wave {later}", steps[later - 1])
            return
    # Edges are last: with its first site, a cell's Caddy has the authority by which they know it.
    _call(record, "published", record["cells"], "mine.update")


def _edges(record):
    _in_batches(record, "edges", dict.fromkeys(record["edges"]), "state.highstate")


def _cells(record):
    _in_batches(record, "cells", dict.fromkeys(record["cells"]), "state.highstate")


def _published(record):
    _call(record, "published", record["cells"], "mine.update")


def _drained(record):
    folder = Path(DRAINED)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / record["options"]["cell"]).touch(mode=0o600)
    _say(record, f"{record['options']['cell']} is drained: edges leave it out, and its services are to be stopped")


def _undrained(record):
    (Path(DRAINED) / record["options"]["cell"]).unlink(missing_ok=True)
    _say(record, f"{record['options']['cell']} is drained no more")


def _verification(record):
    checks, hosts = __utils__["rollout_judge.checks"], _everybody(record)
    if _call(record, "verification", hosts, "saltutil.refresh_pillar", {"wait": True}):
        return
    if record["kind"] == "upgrade":
        service = [record["options"]["service"]]
        _call(record, "verification", record["cells"], "verify.service", judge=checks, arguments=service)
    else:
        away = {"without": record["options"]["without"]}
        _call(record, "verification", hosts, "verify.host", away, judge=checks)


# --- hosts ------------------------------------------------------------------------------------------------------------


def _everybody(record):
    return sorted({*record["cells"], *record["edges"]})


def _call(record, column, hosts, function, keywords=None, judge=None, arguments=()):
    """Call a function on hosts, all at once, and return those where it failed."""
    judged = __utils__["rollout_judge.call"]
    jobs = [_job(hosts, function, arguments, keywords)] if hosts else []
    return _run(record, column, jobs, lambda answer: judged(answer, judge), applies=False)


def _in_batches(record, column, step, function):
    """Apply states on hosts, ``{id: names or None}``, one batch after the other, and return those where it failed."""
    options = record["options"]
    batches = __utils__["rollout_plan.batches"](list(step), options.get("canary"), _size(options))
    return _apply(record, column, batches, step, function)


def _apply(record, column, batches, step, function, keywords=None):
    for number, batch in enumerate(batches):
        _wait_for_others(record, column, batch)
        jobs = []
        # Hosts that do the same get one job.
        for what in dict.fromkeys(json.dumps(step[host]) for host in batch):
            hosts = [host for host in batch if json.dumps(step[host]) == what]
            names = json.loads(what)
            if function == "state.apply":
                jobs.append(_job(hosts, function, names, keywords))
            else:
                only = {"pillar": {"rick": {"only": names}}} if names is not None else {}
                jobs.append(_job(hosts, function, (), only))
        _say(record, f"{column}: {', '.join(batch)} …")
        failed = _run(record, column, jobs, __utils__["rollout_judge.states"], applies=True)
        if failed:
            _not_started(record, column, [host for later in batches[number + 1 :] for host in later])
            return failed
    return []


def _wait_for_others(record, column, hosts):
    """Wait until no state run is under way on hosts. Who does not answer is noticed by what comes next."""
    deadline, told = time.monotonic() + PATIENCE, set()
    with salt.client.get_local_client(mopts=__opts__) as client:
        while hosts and time.monotonic() < deadline:
            answers = dict(
                __utils__["rollout_client.ask"](client, [_job(hosts, "state.running", (), None)], patient=False)
            )
            hosts = [host for host, answer in answers.items() if answer and answer["ret"]]
            for host in sorted(set(hosts) - told):
                told.add(host)
                _say(record, f"{column}: {host} waits for another state run there: {' '.join(answers[host]['ret'])}")
            if hosts:
                time.sleep(LOOK)


def _job(hosts, function, arguments, keywords):
    return {
        "jid": salt.utils.jid.gen_jid(__opts__),
        "hosts": list(hosts),
        "function": function,
        "arguments": list(arguments),
        "keywords": keywords or {},
    }


def _run(record, column, jobs, judge, applies):
    """Send jobs, tell how they end, and return the hosts where they failed."""
    started, failed = time.monotonic(), []
    jids = {host: job["jid"] for job in jobs for host in job["hosts"]}

    if jobs:
        with salt.client.get_local_client(mopts=__opts__) as client:
            for host, answer in __utils__["rollout_client.ask"](client, jobs, patient=applies):
                outcome = judge(answer)
                if outcome["outcome"] != "ok":
                    failed.append(host)
                step = {key: outcome[key] for key in ("outcome", "changed", "failed")}
                _note(record, column, host, {**step, "seconds": time.monotonic() - started, "applies": applies})
                for what, comment in outcome["failures"]:
                    _fail(record, host, column, what, comment)
                if answer is None and column != "answers":
                    _fail(record, host, column, "", _silent(jids[host]))
    if column not in record["columns"]:
        record["columns"].append(column)
    record["seconds"][column] = record["seconds"].get(column, 0) + time.monotonic() - started
    return sorted(failed)


def _silent(jid):
    return (
        "did not answer. If it is at work without being reached, its answer comes later: "
        f"salt-run jobs.lookup_jid {jid}"
    )


def _note(record, column, host, step):
    """Put down how a host went through a phase, or a further part of it, and tell everybody who listens."""
    steps = record["table"].setdefault(host, {})
    before = steps.get(column, {})
    steps[column] = {**step, **{key: before.get(key, 0) + step[key] for key in ("changed", "failed", "seconds")}}
    data = {key: steps[column][key] for key in ("outcome", "changed", "failed")}
    _event(record, f"host/{host}", {"phase": column, **data, "seconds": round(steps[column]["seconds"], 1)})
    if step["applies"] or step["outcome"] != "ok":
        _say(record, f"{column}: {host} {__utils__['rollout_table.told'](steps[column])}")


def _not_started(record, column, hosts):
    if column not in record["columns"]:
        record["columns"].append(column)
        record["seconds"][column] = 0
    for host in hosts:
        step = {"outcome": "not started", "changed": 0, "failed": 0, "seconds": 0, "applies": False}
        record["table"].setdefault(host, {}).setdefault(column, step)


def _fail(record, host, place, what, comment):
    record["failures"].append({"host": host, "phase": place, "what": what, "comment": comment})


# --- what is told -----------------------------------------------------------------------------------------------------


def _said(record):
    return {key: value for key, value in record["options"].items() if value}


def _keep(record):
    __utils__["rollout_record.keep"](record, __utils__["textfile.write"])


def _over(record):
    record["took"] = time.time() - record["clock"]
    _keep(record)
    _event(record, "end", {"passed": record["passed"], "stopped": record["stopped"], "seconds": round(record["took"])})
    __utils__["rollout_lock.release"](LOCK)
    table, *said = (__utils__[f"rollout_table.{part}"](record) for part in ("table", "verdict", "reasons"))
    print(f"\n{table}\n", file=sys.stderr, flush=True)
    return "\n".join(text for text in said if text)


def _event(record, what, data):
    with salt.utils.event.get_event("master", opts=__opts__, listen=False) as bus:
        bus.fire_event({"id": record["id"], **data}, f"rick/{record['kind']}/{record['id']}/{what}")


def _say(record, text):
    print(f"[{time.time() - record['clock']:6.1f} s] {text}", file=sys.stderr, flush=True)
