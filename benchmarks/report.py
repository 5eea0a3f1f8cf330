"""
What benchmarks/services found, for people: tables in Markdown, and a plot as SVG.

Both are made of the figures alone, so that they can be made again from the file that keeps those.
"""

import json
import math
import re
import statistics

import figures

PING, OURS = "test.ping", "rick-infra"
TITLES = {
    PING: "`salt-call test.ping`",
    OURS: "**rick-infra**",
    "salt": "stock Salt",
    "pyinfra": "pyinfra",
    "ansible": "Ansible",
    "ansible-fast": "Ansible, few tasks",
}
SIDES = {"tree": "**rick-infra**", "peers": "the peers' services"}
SLOWEST = 10
FIGURES, DOCUMENT, PLOT = "services.json", "README.md", "services.svg"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

WIDTH, HEIGHT = 820, 440
LEFT, RIGHT, TOP, BOTTOM = 60, 610, 50, 400  # of the plot's area
LINE = 16  # pixels that a label needs
COLOURS = {PING: "#6b7785", OURS: "#1b6ac9", "salt": "#2d8a57", "pyinfra": "#b06f00", "ansible": "#c0392b"}
OTHER_COLOUR = "#8e44ad"


def kinds(states):
    """
    Return one state for each kind of state in a run, with the sum of what those took.

    States of one kind are those of several services: their ids differ in the service's name only.
    """
    found = {}
    for state in states:
        name = re.sub(r"\bsvc\d+\b", "NAME", state["__id__"])
        kind = found.setdefault(name, {"__id__": name, "count": 0, "duration": 0.0})
        kind["count"] += 1
        kind["duration"] += float(state.get("duration", 0))
    return list(found.values())


def profile(runs):
    """Return where the time of runs went: the slowest kinds of states, and the sums; ``runs`` are lists of kinds."""
    counts = {kind["__id__"]: kind["count"] for kind in runs[-1]}
    return {
        "states": sum(counts.values()),
        "seconds": statistics.median(sum(kind["duration"] for kind in run) for run in runs) / 1000,
        "slowest": [
            {"states": name, "count": counts[name], "milliseconds": milliseconds}
            for name, _, milliseconds in figures.slowest(runs, SLOWEST)
        ],
    }


def median(result, count, case, name, field):
    """Return the median of what was measured, or None where nothing was."""
    samples = result["runs"][count][case].get(name, [])
    return statistics.median(sample[field] for sample in samples) if samples else None


def tools(result):
    """Return the names of the tools that were measured, in the order in which they are shown."""
    measured = {name for run in result["runs"].values() for name in run["unchanged"]}
    return [name for name in TITLES if name in measured]


def tables(result):
    """Return all figures as Markdown."""
    parts = [about(result), unchanged(result)]
    for case, field, title in (
        ("unchanged", "cpu", "The same in seconds of CPU, of the command and its children"),
        ("changed", "wall", "One service gets a new greeting: seconds until the command has ended"),
        ("changed", "served", "Seconds until the service says the new greeting"),
        ("changed", "cpu", "Seconds of CPU of that"),
    ):
        rows = [
            [TITLES[name], *(number(median(result, count, case, name, field)) for count in result["runs"])]
            for name in tools(result)
            if any(run[case].get(name) for run in result["runs"].values())
        ]
        parts += [f"{title}:", figures.markdown(["services", *result["runs"]], rows)] if rows else []
    parts += booted(result)
    for count, run in result["runs"].items():
        parts += profiled(count, run) if "profile" in run else []
    return "\n\n".join(parts) + "\n"


def about(result):
    """Return a sentence on when, where and how often was measured."""
    conditions = result["conditions"]
    taken = "; ".join(
        f"{count}: " + ", ".join(f"{name} {len(samples)}" for name, samples in run["unchanged"].items())
        for count, run in result["runs"].items()
    )
    versions = "".join(f"- {version}\n" for version in conditions.get("versions", []))
    return (
        f"Measured on {conditions.get('date')} on {conditions.get('processors')} processors, which had a load of "
        f"{conditions['load']:.1f} before. Medians of interleaved rounds (services: rounds of each tool): {taken}.\n\n"
        f"{versions}"
    ).rstrip()


def unchanged(result):
    """Return the table of runs with nothing to do: seconds, how many times ours, and what a further service costs."""
    counts = list(result["runs"])
    rows = []
    for name in tools(result):
        seconds = [median(result, count, "unchanged", name, "wall") for count in counts]
        ours = [median(result, count, "unchanged", OURS, "wall") for count in counts]
        cells = [
            f"{number(took)} ({took / own:.1f})" if took and own else number(took)
            for took, own in zip(seconds, ours, strict=True)
        ]
        rows.append([TITLES[name], *cells, slope(counts, seconds)])
    title = "A run with nothing to do, in seconds, and in parentheses how many times ours that is:"
    return f"{title}\n\n{figures.markdown(['services', *counts, 'a further service, ms'], rows)}"


def slope(counts, seconds):
    """Return the milliseconds by which each further service prolongs a run, from the fewest to the most measured."""
    measured = [(int(count), took) for count, took in zip(counts, seconds, strict=True) if took is not None]
    if len(measured) < 2:
        return "-"
    (few, shorter), (many, longer) = measured[0], measured[-1]
    return f"{(longer - shorter) / (many - few) * 1000:.0f}"


def booted(result):
    """Return the table of boots."""
    rows = []
    for count, run in result["runs"].items():
        for side, boots in run["boot"].items():
            complete = [boot["seconds"] for boot in boots if not boot["missing"]]
            first = number(statistics.median(min(seconds) for seconds in complete) if complete else None)
            last = number(statistics.median(max(seconds) for seconds in complete) if complete else None)
            rows.append([SIDES[side], count, first, last, f"{len(complete)} of {len(boots)}"])
    if not rows:
        return []
    headings = ["", "services", "first", "last", "boots with all"]
    return [
        "Seconds from boot until the first and the last pod answer with HTTP 200:",
        figures.markdown(headings, rows),
    ]


def profiled(count, run):
    """Return where the time of our run with nothing to do goes."""
    rows = [[row["states"], str(row["count"]), f"{row['milliseconds']:.1f}"] for row in run["profile"]["slowest"]]
    title = (
        f"Where our run with nothing to do and {count} services spends its time: {run['profile']['states']} states, "
        f"{run['profile']['seconds']:.2f} s together. The slowest:"
    )
    return [title, figures.markdown(["state", "how many", "ms together"], rows)]


def number(value):
    return "-" if value is None else f"{value:.2f}"


def plot(result):
    """Return the runs with nothing to do as SVG: seconds over services, both logarithmic."""
    lines = {
        name: [
            (int(count), took)
            for count in result["runs"]
            if (took := median(result, count, "unchanged", name, "wall")) is not None
        ]
        for name in tools(result)
    }
    titles = {name: TITLES[name].strip("*").replace("`", "") for name in lines}
    about = "Seconds of a run with nothing to do"
    return drawn(about, f"{about}, by the number of services", lines, titles, "s", COLOURS, OURS)


def drawn(heading, title, lines, labels, unit, colours, strong=None):
    """
    Return figures as SVG, both axes logarithmic.

    heading, title
        What is shown, for who sees it, and for who has it read out.

    lines
        ``{name: [(how many, figure)]}``, the fewest first.

    labels, colours
        Of each name.

    unit
        Of the figures.

    strong
        The name whose line is drawn thicker.
    """
    counts = sorted({count for points in lines.values() for count, _ in points})
    every = [took for points in lines.values() for _, took in points]
    lowest, highest = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    highest = max(highest, lowest + 1)

    def x(count):
        span = math.log10(counts[-1] / counts[0]) or 1
        return LEFT + (RIGHT - LEFT) * math.log10(count / counts[0]) / span

    def y(figure):
        return BOTTOM - (BOTTOM - TOP) * (math.log10(figure) - lowest) / (highest - lowest)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"',
        '     role="img" aria-labelledby="title" font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"',
        '     font-size="13" fill="#1c2733">',
        f'  <title id="title">{title}</title>',
        f'  <rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>',
        f'  <text x="{LEFT}" y="28" font-weight="bold">{heading}</text>',
    ]
    for power in range(lowest, highest + 1):
        height = y(10**power)
        parts += [
            f'  <path d="M{LEFT} {height:.1f} H{RIGHT}" stroke="#d8dee6"/>',
            f'  <text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{10**power:g}</text>',
        ]
    for count in counts:
        parts += [
            f'  <path d="M{x(count):.1f} {TOP} V{BOTTOM}" stroke="#d8dee6"/>',
            f'  <text x="{x(count):.1f}" y="{BOTTOM + 20}" text-anchor="middle">{count}</text>',
        ]
    heights = apart({name: y(points[-1][1]) for name, points in lines.items()})
    for name, points in lines.items():
        colour = colours.get(name, OTHER_COLOUR)
        places = [f"{x(count):.1f} {y(took):.1f}" for count, took in points]
        width = 3 if name == strong else 1.5
        parts.append(f'  <path d="M{" L".join(places)}" stroke="{colour}" stroke-width="{width}" fill="none"/>')
        parts += [
            f'  <circle cx="{x(count):.1f}" cy="{y(took):.1f}" r="3.5" fill="{colour}"/>' for count, took in points
        ]
        last = points[-1][1]
        text = f"{labels[name]}, {f'{last:,.0f}' if last >= 1000 else f'{last:.3g}'} {unit}"
        parts.append(f'  <text x="{RIGHT + 10}" y="{heights[name] + 4:.1f}" fill="{colour}">{text}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def apart(heights):
    """Return the heights of labels, moved down as far as is needed for none to cover another."""
    placed, previous = {}, -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        placed[name] = previous = max(height, previous + LINE)
    return placed


def document(text, result):
    """Return the text of a document with the figures between its two marks made anew."""
    return between_marks(text, tables(result))


def between_marks(text, figures_of_it):
    """Return the text of a document with something else between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{figures_of_it}\n{END}{after}"


def write(result, directory):
    """Write figures, plot, and the document's part with the tables."""
    (directory / FIGURES).write_text(json.dumps(result, indent=1) + "\n")
    (directory / PLOT).write_text(plot(result))
    page = directory / DOCUMENT
    page.write_text(document(page.read_text(), result))
