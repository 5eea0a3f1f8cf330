"""
A run of Salt's highstate, as bin/bootstrap shows it: what takes long while it lasts, then what changed and what failed.
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import textwrap

from console import Failure, say, step

RECORD = re.compile(r"\[(INFO|WARNING|ERROR|CRITICAL) *\] ")
BEGINS = re.compile(r"Executing state (\S+) for \[(.*)\]$")
ENDS = re.compile(r"Completed state \[")
MARGIN = " " * 11


def apply(salt_call, log):
    """
    Apply the highstate and show what changed and what failed; the full result goes to the file ``log``.

    Returns whether every state succeeded. Raises Failure when Salt did not even get to the states.
    """
    text, complaints = run(salt_call)
    log.parent.mkdir(mode=0o700, exist_ok=True)
    log.touch(mode=0o600)
    log.write_text(text)
    states = states_in(text, complaints)
    show(states, "changed")
    failed = [state for state in states if state["result"] is False]
    comments = " ".join(state["comment"] for state in failed)
    for complaint in dict.fromkeys(complaints):
        # What a failed state says, Salt logs as well.
        if complaint.splitlines()[0] not in comments:
            say(f"  Salt says: {complaint}")
    say(f"  all of it: {log}")
    return not failed


def plan(salt_call, configuration):
    """
    Show what a highstate would change, by the Salt configuration in the directory ``configuration``.

    Returns whether no state failed. Raises Failure when Salt did not even get to the states.
    """
    states = states_in(*run(salt_call, f"--config-dir={configuration}", "test=True"))
    show(states, "planned")
    return all(state["result"] is not False for state in states)


def run(salt_call, *arguments):
    """Run a highstate, saying what takes long; return Salt's answer and its warnings and errors."""
    with tempfile.TemporaryFile("w+") as answer:
        process = subprocess.Popen(
            [str(salt_call), "--out=json", "--log-level=info", "state.highstate", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        with process:
            complaints = follow(process.stderr)
        answer.seek(0)
        return answer.read(), complaints


def follow(lines):
    """Say which state is running when it takes long; return the warnings and errors among Salt's log lines."""
    complaints = []
    complaining = False
    with contextlib.ExitStack() as running:
        now = "read the tree and this host's facts"
        running.enter_context(step(now))
        for line in map(str.rstrip, lines):
            record = RECORD.match(line)
            if not record:
                if complaining and line:
                    complaints[-1] += f"\n{line}"
                continue
            complaining = record[1] != "INFO"
            text = line[record.end() :]
            if complaining:
                complaints.append(text)
            elif begun := BEGINS.match(text):
                now = f"{begun[1]} {begun[2]}"
                running.close()
                running.enter_context(step(now))
            elif ENDS.match(text):
                running.close()
                running.enter_context(step(f"go on after {now}"))
    return complaints


def states_in(text, complaints):
    """Return the states of Salt's JSON answer, in the order they ran."""
    try:
        (answer,) = json.loads(text).values()
    except ValueError:
        sys.stderr.write("\n".join(complaints) + "\n")
        raise Failure("Salt ended without a result; what it said is above") from None
    if not isinstance(answer, dict):
        # Not a state was run: the tree or the pillar cannot be read, or another run is under way.
        problems = answer if isinstance(answer, list) else [answer]
        raise Failure("Salt applied nothing:\n" + "\n".join(textwrap.indent(str(line), "  ") for line in problems))
    # A state whose module cannot be loaded has no __id__; the key has it: STATE_|-ID_|-NAME_|-FUNCTION.
    states = [{**state, "__id__": key.split("_|-")[1]} for key, state in answer.items()]
    return sorted(states, key=lambda state: state["__run_num__"])


def show(states, verb):
    """Print a line for each state that ``verb`` (changed, planned), all about each failure, and the sums."""
    touched = [state for state in states if state["result"] is None or (state["result"] and state["changes"])]
    failed = [state for state in states if state["result"] is False]
    causes = [state for state in failed if state.get("__state_ran__") is not False]
    prevented = [state for state in failed if state not in causes]
    for state in touched:
        say(f"  {verb}  {state['__id__']}: {first_line(state['comment'])}{duration(state)}")
        for diff in diffs(state["changes"]) if verb == "planned" else ():
            say(textwrap.indent(diff.rstrip(), MARGIN))
    for state in states:
        for warning in state.get("warnings", []):
            say(f"  warning  {state['__id__']}: {warning}")
    for state in causes:
        say(f"  FAILED   {state['__id__']} (in {state.get('__sls__', 'the tree')}){duration(state)}")
        say(textwrap.indent(printable(state["comment"].strip()), MARGIN))
        if state["changes"]:
            say(textwrap.indent(f"changed nevertheless: {json.dumps(state['changes'])}", MARGIN))
    if prevented:
        say("  not run  because of that: " + "; ".join(state["__id__"] for state in prevented))
    seconds = sum(state.get("duration", 0) for state in states) / 1000
    counts = f"{len(touched)} {verb}, {len(causes)} failed, {len(prevented)} not run"
    say(f"{len(states)} states in {seconds:.1f} s: {counts}")


def diffs(changes):
    """Return the texts of all diffs in a state's changes, which are nested as each state likes."""
    if not isinstance(changes, dict):
        return []
    own = [changes["diff"]] if isinstance(changes.get("diff"), str) else []
    return own + [diff for value in changes.values() for diff in diffs(value)]


def first_line(comment):
    return printable((comment.strip().splitlines() or [""])[0])


def printable(text):
    """A comment may quote what a service has logged: no terminal is to obey it."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def duration(state):
    seconds = state.get("duration", 0) / 1000
    return f" [{seconds:.1f} s]" if seconds >= 1 else ""
