"""The measurements as a picture: the contenders at every setting, the split of a step, and cost against instances."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.measurements import Measurement, Setting
from toysup.analysis import figures
from toysup.analysis.figures.style import DOUBLE_COLUMN, looks


def save(measurements: Sequence[Measurement], path: Path) -> None:
    """Draw the parts that were measured; write nothing where none of them was."""
    draw: dict[str, Callable[[Axes, Sequence[Measurement]], None]] = {
        "training": _training,
        "split": _split,
        "scaling": _scaling,
    }
    parts = {name: [item for item in measurements if item.part == name] for name in draw}
    if not any(parts.values()):
        return
    with figures.style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 4.6))
        left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1), squeeze=False)[0]
        panels = [left.subplots(), *right.subplots(2, 1)]
        for (name, own), axes in zip(parts.items(), panels, strict=True):
            if own:
                draw[name](axes, own)
            else:
                axes.set_axis_off()
        figure.savefig(path, dpi=200)


def _training(axes: Axes, measurements: Sequence[Measurement]) -> None:
    """A line to a setting, a marker to a contender, quartiles as bars that are mostly too short to see."""
    times = [item for item in measurements if item.unit == "µs"]
    labels = list(dict.fromkeys(_label(item.setting) for item in times))
    names = list(dict.fromkeys(item.quantity for item in times))
    for name, look in zip(names, looks(len(names)), strict=True):
        own = [item for item in times if item.quantity == name]
        places = [labels.index(_label(item.setting)) for item in own]
        medians = [item.median for item in own]
        low, high = zip(*(item.quartiles for item in own), strict=True)
        axes.hlines(places, low, high, color=look.colour, linewidth=1)
        axes.plot(medians, places, linestyle="none", marker=look.marker, color=look.colour, label=name)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xscale="log", xlabel="time per model-step (µs), median and quartiles")
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="both")
    axes.figure.legend(loc="outside upper center", ncols=3, handlelength=1)


def _label(setting: Setting) -> str:
    return (
        f"{setting['n_features']}→{setting['n_hidden']}, batch {setting['batch_size']}, "
        f"{setting['instances']} inst., p {setting['feature_probability']:g}"
    )


def _split(axes: Axes, measurements: Sequence[Measurement]) -> None:
    """The share of each part in the sum of all."""
    labels = list(dict.fromkeys(_short(item.setting) for item in measurements))
    parts = [name for name in dict.fromkeys(item.quantity for item in measurements) if name != "whole step"]
    value = {(_short(item.setting), item.quantity): item.median for item in measurements}
    totals = [sum(value[label, part] for part in parts) for label in labels]
    start = [0.0] * len(labels)
    for part, look in zip(parts, looks(len(parts)), strict=True):
        share = [100 * value[label, part] / total for label, total in zip(labels, totals, strict=True)]
        axes.barh(range(len(labels)), share, left=start, height=0.7, color=look.colour, label=part)
        start = [one + other for one, other in zip(start, share, strict=True)]
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlim=(0, 100), xlabel="share of a step's time (%)")
    axes.invert_yaxis()
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=3, handlelength=1, columnspacing=1)


def _short(setting: Setting) -> str:
    return f"{setting['n_features']}→{setting['n_hidden']}, batch {setting['batch_size']}"


def _scaling(axes: Axes, measurements: Sequence[Measurement]) -> None:
    times = [item for item in measurements if item.unit == "µs"]
    labels = list(dict.fromkeys((item.setting["batch_size"], item.setting["samples"]) for item in times))
    for (batch_size, samples), look in zip(labels, looks(len(labels)), strict=True):
        own = [item for item in times if (item.setting["batch_size"], item.setting["samples"]) == (batch_size, samples)]
        counts, medians = [item.setting["instances"] for item in own], [item.median for item in own]
        low, high = zip(*(item.quartiles for item in own), strict=True)
        axes.vlines(counts, low, high, color=look.colour, linewidth=1)
        axes.plot(
            counts,
            medians,
            linestyle=look.line,
            marker=look.marker,
            color=look.colour,
            label=f"batch {batch_size}, {samples}",
        )
    axes.set(xscale="log", yscale="log")
    axes.set(xlabel="instances of 20→10 trained together", ylabel="time per model-step (µs)")
    axes.grid(axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1))
