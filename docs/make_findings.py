"""Train the experiments of docs/findings, measure them, and write the pages with their figures.

``python docs/make_findings.py`` makes all pages, with names after it only those. Runs that are finished are kept, so
that a second time only redraws; from nothing it takes about half an hour on two cores.
"""

from pathlib import Path

import click
from findings_pages.measure import measured, summarised
from findings_pages.page import write
from findings_pages.pages import PAGES

import toysup
from toysup.analysis import figures
from toysup.command.train import main as train

FOLDER = Path(__file__).parent / "findings"


@click.command(context_settings={"show_default": True})
@click.argument("names", nargs=-1, type=click.Choice(list(PAGES)))
@click.option("--seeds", type=click.IntRange(min=2), default=30, help="Seeds per condition.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("build/findings"), help="Folder of the runs.")
@click.option("--output", type=click.Path(path_type=Path), default=FOLDER, help="Folder of the pages.")
def main(names: tuple[str, ...], seeds: int, runs: Path, output: Path) -> None:
    """Make the pages of these experiments (all, if none is named)."""
    for name in names or PAGES:
        train.main([name, "--output", str(runs), "--seeds", str(seeds)], standalone_mode=False)
        experiment = toysup.load_experiment(name)
        tree = toysup.open_runs(runs / name)[name]
        last = {
            condition.name: tree[condition.name].to_dataset().sel(seed=range(seeds)).isel(step=-1).load()
            for condition in experiment.conditions
        }
        values = {condition: measured(dataset) for condition, dataset in last.items()}
        with figures.style():
            finding = PAGES[name](values, summarised(values))
            for path in write(name, experiment.title, experiment.conditions, finding, output):
                click.echo(f"wrote {path}", err=True)


if __name__ == "__main__":
    main()
