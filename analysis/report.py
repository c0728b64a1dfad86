"""The report: every table and figure of the selected conditions in one folder, with a page that shows them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import xarray as xr

from toysup.analysis.figures import style
from toysup.analysis.page import SHOWN_FORMAT, Section, page, with_interval
from toysup.analysis.rows import joined, rendered
from toysup.analysis.selection import Selected, by_experiment
from toysup.analysis.series import Figures
from toysup.analysis.topics import against, claims, dimensionality, gram, info, interference, losses
from toysup.errors import UsageError
from toysup.storage import replacing

PAGE = "index.html"
# Of the quadrants' statistics, those that a page shows; the tables have all.
SHOWN_STATISTICS = ("energy", "interfering_fraction")

Drawn = Callable[[list[Selected]], Figures]


def draw(selected: Sequence[Selected], figures_of: Drawn, folder: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Write the figures of each experiment to <folder>/<experiment>/<name>.<format>, and give their paths."""
    for experiment, group in by_experiment(selected).items():
        with style():
            for name, figure in figures_of(group):
                for format in dict.fromkeys(formats):
                    path = folder / experiment / f"{name}.{format}"
                    with replacing(path) as temporary:
                        figure.savefig(temporary, format=format)
                    yield path


def write_report(
    selected: Sequence[Selected], folder: Path, figure_format: str, *, own_epoch: bool = True
) -> Iterator[Path]:
    """Write the report of `selected` to `folder`, and give the paths of its files as they are there, the page last."""
    sections = []
    for section, tables, figures_of in _sections(selected, own_epoch):
        for name, rows in tables.items():
            path = folder / f"{name}.csv"
            _write_text(path, rendered(rows, "csv"))
            yield path
        for path in draw(selected, figures_of, folder, [SHOWN_FORMAT, figure_format]) if figures_of else ():
            section.figures.append(path.relative_to(folder).as_posix())
            yield path
        section.files = [f"{name}.csv" for name in tables]
        sections.append(section)
    title = " and ".join(by_experiment(selected))
    _write_text(folder / PAGE, page(title, _note(selected), sections))
    yield folder / PAGE


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _note(selected: Sequence[Selected]) -> str:
    steps = sorted({int(item.at_step["step"].item()) for item in selected})
    return (
        f"Statistics at step {', '.join(map(str, steps))}. Means over seeds with 95% intervals in brackets "
        "(Hall's skewness-corrected t). Dimensionless throughout. "
        f"{selected[0].dataset.attrs['source']}."
    )


def _sections(
    selected: Sequence[Selected], own_epoch: bool
) -> Iterator[tuple[Section, Mapping[str, pd.DataFrame], Drawn | None]]:
    """Each section with all its rows, by the name of their file, and its figures."""
    if claims.about(selected):
        verdicts = claims.rows(selected, own_epoch=own_epoch)
        yield Section("What the claims come to", claims.MEANING, [_verdicts(verdicts)]), {"claims": verdicts}, None
    yield Section("What was trained", "", [info.rows(selected)]), {}, None
    yield Section("Gram matrices", "", []), {"gram": gram.rows(selected)}, gram.drawn
    counts = dimensionality.rows(selected)
    table = with_interval(_of(counts, "represented", "total_dimensionality"))
    yield Section("Dimensionality", "", [table]), {"dimensionality": counts}, dimensionality.drawn
    quadrants = interference.rows(selected, by="quadrant")
    yield (
        Section(
            "Interference between subsets",
            "z and p say how far the mean lies from that of models in which twins, features with equal tables up to "
            "the context, swap their subsets at random. "
            + " ".join(f"{note}." for note in interference.notes(selected)),
            [with_interval(_of(quadrants, *SHOWN_STATISTICS).drop(columns=["null_mean", "null_sd"]))],
        ),
        {"interference": quadrants, "feature-interference": interference.rows(selected, by="feature")},
        partial(interference.drawn, statistics=SHOWN_STATISTICS),
    )
    parts = losses.cross_losses(selected)
    yield (
        Section(
            "Losses",
            "Importance-weighted squared error per sample, of all models on common samples.",
            [with_interval(losses.rows(selected, parts))],
        ),
        {
            "losses": losses.rows(selected, parts),
            "losses-by-feature": losses.rows(selected, parts, by="feature"),
            "losses-by-context": losses.rows(selected, parts, by="context"),
        },
        partial(losses.drawn, parts=parts),
    )
    differences = _differences(selected, parts)
    if len(differences):
        yield (
            Section(
                "Differences between conditions",
                "Each condition less the first of its experiment, paired by seed where both start from the same "
                "weights and see the same samples. Effect sizes are in standard deviations, p-values those of "
                "permutation tests, adjusted for all rows (Holm). That no difference was found does not make two "
                "conditions equal.",
                [with_interval(differences)],
            ),
            {"differences": differences},
            None,
        )


def _of(rows: pd.DataFrame, *statistics: str) -> pd.DataFrame:
    return rows[rows["statistic"].isin(statistics)]


def _verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """The verdicts with the columns that a reader needs."""
    numbers = with_interval(rows.assign(part=rows["part"].fillna("")))
    kept = ["experiment", "verdict", "claim", "says", "part", "mean [interval]", "n_seeds", "supports", "note"]
    return numbers[[column for column in kept if column in numbers]]


def _differences(selected: Sequence[Selected], parts: losses.Losses) -> pd.DataFrame:
    """What the page's headline statistics differ by from the first condition of each experiment."""

    def headline(item: Selected) -> dict[str, xr.DataArray]:
        energy = {"energy": item.quadrants["energy"]}
        return dimensionality.counts(item) | energy | losses.own_loss(item, parts)

    frames = []
    for group in by_experiment(selected).values():
        try:
            frames.append(against.differences(group, group[0].condition, headline)[0])
        except UsageError:
            # One condition alone, or none that can be compared.
            continue
    return joined(frames) if frames else pd.DataFrame()
