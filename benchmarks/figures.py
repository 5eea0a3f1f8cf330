"""
What is made of measured figures: medians, ratios, and the table that shows them.
"""

import statistics


def compare(samples, baseline):
    """
    Summarise what was measured in several ways, beside one of them.

    samples
        ``{way: [figures]}``, at least one figure each.

    baseline
        The way to which the others are compared.

    Returns ``{way: {"median", "minimum", "maximum", "ratio", "samples"}}`` in the order of ``samples``; ``ratio`` is
    that of the medians, 1.0 for the baseline.
    """
    medians = {way: statistics.median(figures) for way, figures in samples.items()}
    return {
        way: {
            "median": medians[way],
            "minimum": min(figures),
            "maximum": max(figures),
            "ratio": medians[way] / medians[baseline],
            "samples": list(figures),
        }
        for way, figures in samples.items()
    }


def slowest(runs, count):
    """
    Return the states that took longest, as ``[(state id, its SLS, milliseconds)]``, the slowest first.

    runs
        The states of each run, as ``highstate.states_in`` returns them. The milliseconds are the median over all runs.

    count
        How many to return at most.
    """
    durations = {}
    for states in runs:
        for state in states:
            key = state["__id__"], state.get("__sls__", "")
            durations.setdefault(key, []).append(float(state.get("duration", 0)))
    medians = [(*key, statistics.median(figures)) for key, figures in durations.items()]
    return sorted(medians, key=lambda row: -row[2])[:count]


def table(headings, rows):
    """Return rows of text as aligned lines: the first column to the left, which holds names, figures to the right."""
    grid = [list(headings), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = []
    for name, *figures in grid:
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells]).rstrip())
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def markdown(headings, rows):
    """Return rows of text as a table in Markdown: the first column to the left, figures to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
