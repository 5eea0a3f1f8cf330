"""
What benchmarks/fleet found, for people: tables in Markdown, and plots as SVG, made of the figures alone.
"""

import json
import statistics

import figures
import report

FIGURES, DOCUMENT = "fleet.json", "fleet.md"
ASKED = {
    "ping": "`test.ping`",
    "one pillar": "the pillar of one host alone",
    "pillar": "pillar of all",
    "check": "`catalogue.problems`",
    "sync": "modules synchronised, nothing new",
    "show": "`state.show_highstate`",
    "batch": "the same, 10 % at a time",
}
KINDS = {"salt": "Salt alone", "cell": "a cell", "sso": "the cell with Authentik", "edge": "an edge"}
# What the plot of minions shows, and what it calls it there, where there is little room.
ANSWERS = {"ping": "test.ping", "check": "catalogue check", "pillar": "pillar", "show": "show_highstate"}
COLOURS = {"salt": "#6b7785", "cell": "#1b6ac9", "sso": "#2d8a57", "edge": "#b06f00", "first": "#c0392b"}
COLOURS |= {"ping": "#6b7785", "check": "#2d8a57", "pillar": "#b06f00", "show": "#1b6ac9"}


def tables(result):
    """Return all figures as Markdown."""
    parts = [about(result)]
    parts += files(result["files"]) if result["files"] else []
    parts += minions(result["minions"]) if result["minions"] else []
    if "restart" in result:
        again = result["restart"]
        parts.append(
            f"The master is restarted with {again['hosts']} hosts: it answers after {again['master answers']:.0f} s, "
            f"and all hosts do after {again['all answer']:.0f} s; that took {again['master']:.1f} s of its CPU."
        )
    return "\n\n".join(parts) + "\n"


def about(result):
    """Return a sentence on when and where was measured."""
    conditions = result["conditions"]
    return (
        f"Measured on {conditions['date']} on {conditions['processors']} processors, which had a load of "
        f"{conditions['load']:.1f} before, with {conditions['version']}. Medians of {result['rounds']} rounds; "
        "synchronising and rendering were done once."
    )


def files(found):
    """Return the tables of fleets that are only files."""
    counts = list(found)
    rows = [[title, *(f"{again(run, kind):.0f}" for run in found.values())] for kind, title in KINDS.items()]
    rows.append(["a worker's first one, of a cell", *(f"{run['first']:.0f}" for run in found.values())])
    sizes = [
        [KINDS[kind], *(f"{run['bytes'][kind] / 1024:.0f}" for run in found.values())]
        for kind in ("cell", "sso", "edge")
    ]
    return [
        "Milliseconds of CPU that the pillar of one host takes on the master, by the number of hosts, with three "
        "services each:",
        figures.markdown(["hosts", *counts], rows),
        "KiB of that pillar:",
        figures.markdown(["hosts", *counts], sizes),
    ]


def again(run, kind):
    return statistics.median(run["again"][kind])


def minions(found):
    """Return the tables of fleets with daemons."""
    counts = list(found)
    parts = []
    for field, title in (
        ("seconds", "Seconds until the last host has answered, master and minions on the same processors"),
        ("master", "Seconds of CPU of the master"),
        ("minions", "Seconds of CPU of all minions together"),
    ):
        rows = [
            [title_of, *(number(median(run, name, field)) for run in found.values())]
            for name, title_of in ASKED.items()
            if any(run.get(name) for run in found.values())
        ]
        parts += [f"{title}:", figures.markdown(["hosts", *counts], rows)]
    per_host = [
        [title, *(number(median(run, name, "master"), 1000 / int(count), 0) for count, run in found.items())]
        for name, title in ASKED.items()
        if name not in ("one pillar",) and any(run.get(name) for run in found.values())
    ]
    parts += ["Milliseconds of the master's CPU for each host:", figures.markdown(["hosts", *counts], per_host)]
    memory = [run["memory"] for run in found.values()]
    parts += [
        "Memory in MiB, what processes share counted to each in part (PSS), and open files:",
        figures.markdown(
            ["hosts", *counts],
            [
                ["the master, all its processes", *(f"{one['master']:.0f}" for one in memory)],
                ["a minion, median", *(f"{statistics.median(one['minions']):.0f}" for one in memory)],
                ["file descriptors of the master's busiest process", *(str(one["descriptors"]) for one in memory)],
            ],
        ),
    ]
    first = next((run["first sync"][0] for run in found.values() if "first sync" in run), None)
    if first:
        parts.append(
            f"A new host fetches the tree's modules once: {first['seconds']:.1f} s, {first['master']:.1f} s of the "
            f"master's CPU and {first['minions']:.1f} s of its own."
        )
    return parts


def median(run, name, field):
    """Return the median of what was measured, or None where nothing was."""
    return statistics.median(sample[field] for sample in run[name]) if run.get(name) else None


def number(value, times=1.0, digits=2):
    return "-" if value is None else f"{value * times:.{digits}f}"


def plots(result):
    """Return the plots that there are figures for, ``{file name: SVG}``."""
    found = {}
    if result["files"]:
        found["fleet.svg"] = pillars_drawn(result)
    if result["minions"]:
        found["fleet-minions.svg"] = answers_drawn(result)
    return found


def pillars_drawn(result):
    """Return the milliseconds of CPU for one host's pillar as SVG, by the number of hosts."""
    lines = {kind: [(int(count), again(run, kind)) for count, run in result["files"].items()] for kind in KINDS}
    lines["first"] = [(int(count), run["first"]) for count, run in result["files"].items()]
    heading = "Milliseconds of a master's CPU for the pillar of one host"
    labels = KINDS | {"sso": "Authentik's cell", "first": "a cell, the first"}  # there is little room
    return report.drawn(heading, f"{heading}, by the number of hosts", lines, labels, "ms", COLOURS, "cell")


def answers_drawn(result):
    """Return the seconds until all minions have answered as SVG, by their number."""
    medians = {
        name: [(int(count), median(run, name, "seconds")) for count, run in result["minions"].items() if run.get(name)]
        for name in ANSWERS
    }
    lines = {name: points for name, points in medians.items() if points}
    heading = "Seconds until all minions have answered, all of them on one host"
    return report.drawn(heading, f"{heading}, by their number", lines, ANSWERS, "s", COLOURS, "show")


def document(text, result):
    """Return the text of a document with the figures between its two marks made anew."""
    return report.between_marks(text, tables(result))


def write(result, directory):
    """Write figures, plots, and the document's part with the tables."""
    (directory / FIGURES).write_text(json.dumps(result, indent=1) + "\n")
    for name, plot in plots(result).items():
        (directory / name).write_text(plot)
    page = directory / DOCUMENT
    page.write_text(document(page.read_text(), result))
