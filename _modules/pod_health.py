"""
Whether a service is healthy, how long that takes, and what is likely wrong when it is not.

.. code-block:: bash

    salt-call pod_health.look notes '[notes.pod]' http://127.0.0.1:20123/health
    salt-call pod_health.explain notes '[notes.pod]'

Healthy is a service whose units all run as declared, whose containers' health
commands succeed, and that answers over HTTP if it has an address.
"""

import time

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds between two looks
JOURNAL_LINES = 15
RUNNING_KINDS = ("pod", "container")


def look(name, files, url=None):
    """
    Return what is not healthy now, a list of ``{"unit", "state"}``, empty if nothing is.

    One look, without waiting. systemd and Podman are asked for all services of the host at once.

    name, files, url
        As in the state ``pod.healthy``.

    Raises CommandExecutionError for files that nobody declared.

    CLI Example:

    .. code-block:: bash

        salt-call pod_health.look notes '[notes.pod]'
    """
    found = _units(files)
    if url and not found:
        wrong = __utils__["http_answer.wrong"](url)
        if wrong:
            found.append({"unit": url, "state": f"answers {wrong}" if wrong.isdigit() else wrong})
    return found


def wait(name, files, url=None, timeout=120):
    """
    Wait until a service is healthy. Returns what is not when the time is up, as ``pod_health.look`` does.

    Ends sooner if a unit has failed for good.

    timeout
        Seconds.

    CLI Example:

    .. code-block:: bash

        salt-call pod_health.wait notes '[notes.pod]'
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE
    while True:
        found = look(name, files, url)
        if not found or time.monotonic() >= deadline or any(one.get("final") for one in found):
            return found
        time.sleep(pause)  # between two looks at a condition, see the deadline
        pause = min(pause * 1.5, LONGEST_PAUSE)
        there = __salt__["quadlet_live.declared"]()
        __salt__["quadlet_live.forget"]([there[file]["service"] for file in __salt__["quadlet_live.known"](files)])


def explain(name, files, found=(), since=None):
    """
    Return what is known of a service that is not healthy, as text: states, likely causes, the last lines logged.

    Values of the service's secrets do not show.

    found
        What ``pod_health.look`` returned.

    since
        Seconds since 1970: nothing older is shown of the journal.

    CLI Example:

    .. code-block:: bash

        salt-call pod_health.explain notes '[notes.pod]'
    """
    wrong = {one["unit"] for one in found}
    suspects = [unit for unit in _services(files) if unit in wrong] or _services(files)
    said = __utils__["units.journal"](suspects, 4 * JOURNAL_LINES, since)
    said = __salt__["generation.without_secrets"](name, said)
    said = "\n".join(__utils__["pod_causes.own_lines"](said)[-JOURNAL_LINES:])
    results = {unit: state["Result"] for unit, state in __utils__["units.show"](suspects, ["Result"]).items()}
    states = " ".join(one["state"] for one in found)
    answer = next((one["state"].removeprefix("answers ") for one in found if "://" in one["unit"]), None)
    causes = __utils__["pod_causes.likely"](f"{said}\n{states}", list(results.values()), answer)
    ends = {unit: result for unit, result in results.items() if result not in ("", "success")}
    lines = [f"{one['unit']}: {one['state']}{_ended(ends, one['unit'])}" for one in found]
    lines += [f"likely: {cause}" for cause in causes]
    if said:
        lines += ["last lines of the journal:", *(f"  {line}" for line in said.splitlines())]
    return "\n".join(lines)


def _units(files):
    """What systemd, Podman and the definitions say against the units; what is about to change is not there yet."""
    names = __salt__["quadlet_live.known"](files)
    there = __salt__["quadlet_live.declared"]()
    decision = __salt__["quadlet_live.decision"](names, confirm=False)
    reasons = {**decision["start"], **decision["restart"], **decision["recreate"]}
    states = __salt__["quadlet_live.systemd"]([there[file]["service"] for file in names])
    containers = __salt__["quadlet_live.containers"]()
    found = []
    for file in names:
        service = there[file]["service"]
        state, facts = states[service], containers.get(service, {})
        busy = state["Job"] not in ("", "0")
        if file in reasons:
            text = _state(state, reasons[file], busy)
            if there[file]["oneshot"] and state["ActiveState"] != "active":
                text = f"{text}: the init container has not succeeded yet"
            elif state["ActiveState"] == "activating" and (facts.get("starting") or facts.get("healthy") is False):
                # systemd waits for the first success, and nothing of the failures is in the journal.
                text = f"{text}: its health command has not succeeded yet"
            final = state["ActiveState"] == "failed" and state["SubState"] == "failed" and not busy
            found.append({"unit": service, "state": text, **({"final": True} if final else {})})
        elif busy:
            found.append({"unit": service, "state": "is being restarted"})
        elif facts.get("starting"):
            found.append({"unit": service, "state": "its health is not known yet"})
    return found


def _state(state, reason, busy):
    if state["ActiveState"] == "active":
        return reason
    if busy and state["ActiveState"] in ("inactive", "failed"):
        return "waits for what has to start before it"
    return f"{state['ActiveState']} ({state['SubState']})"


def _ended(results, unit):
    return f", last result: {results[unit]}" if unit in results else ""


def _services(files):
    there = __salt__["quadlet_live.declared"]()
    return [
        there[file]["service"]
        for file in __salt__["quadlet_live.known"](files)
        if there[file]["kind"] in RUNNING_KINDS or there[file]["kind"] == "image"
    ]
