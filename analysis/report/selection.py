"""Which trajectories, at which step, a command works on."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeVar

import numpy as np
import xarray as xr

from toysup.analysis.inference.quadrant_null import pooled_quadrant_null
from toysup.analysis.loss.decomposition import loss_by_active, loss_decomposition
from toysup.analysis.loss.evaluation import comparable
from toysup.analysis.loss.expected_loss import summed, values_held
from toysup.analysis.statistics.interference import gram_quadrants
from toysup.analysis.statistics.piecewise import loaded_if_small, piecewise
from toysup.analysis.statistics.responses import linear_response
from toysup.errors import UsageError, nearest
from toysup.storage.schema import regime_axes

Result = TypeVar("Result", xr.DataArray, xr.Dataset)


@dataclass(frozen=True, eq=False)
class Selected:
    """One condition of an experiment, or one cell of its sweep, with all its steps and the index of the one chosen."""

    experiment: str
    condition: str
    dataset: xr.Dataset
    index: int
    cell: Mapping[str, float] = field(default_factory=dict)

    @functools.cached_property
    def at_step(self) -> xr.Dataset:
        """The dataset at the chosen step: in memory, so that it is read once, or lazily where it is large."""
        return loaded_if_small(self.dataset.isel(step=self.index), values=self.entries)

    def of_one_seed(self) -> "Selected":
        """The same with its first seed alone, which shows what the rows of all are about."""
        return replace(self, dataset=self.dataset.isel(seed=slice(1)))

    def each(self, statistic: Callable[[xr.Dataset], Result], *, values: int | None = None) -> Result:
        """A statistic of each model at the chosen step, read and worked out piece by piece.

        It holds so many `values` of one model, those of a matrix between features or outputs if not given.
        """
        return piecewise(self.at_step, statistic, values=values or self.entries)

    def each_loss(self, loss: Callable[[xr.Dataset], Result]) -> Result:
        """The same of a loss by batch, context and feature."""
        return self.each(loss, values=values_held(self.dataset))

    @property
    def entries(self) -> int:
        """Entries of what stands for WᵀW of a model, in all contexts."""
        sizes = self.dataset.sizes
        return sizes["feature"] * sizes.get("output", sizes["feature"]) * sizes["context"]

    def responses_of(self, dataset: xr.Dataset) -> xr.DataArray:
        """G of `linear_response` of some models of this condition, without outputs whose errors never count."""
        return counting(linear_response(dataset)["G"], self.dataset)

    @functools.cached_property
    def quadrants(self) -> xr.Dataset:
        """The quadrant statistics at the chosen step: rows and figures have the same."""
        return self.each(lambda models: gram_quadrants(self.responses_of(models)))

    @functools.cached_property
    def null(self) -> xr.Dataset:
        """The null of the quadrant statistics at the chosen step, pooled over seeds."""
        return pooled_quadrant_null(self.at_step, self.responses_of)

    @functools.cached_property
    def loss_parts(self) -> xr.DataArray:
        """The parts of the loss under its own regime at the chosen step, by batch of samples: (..., batch, part)."""
        return self.each_loss(lambda models: summed(loss_decomposition(models, by_batch=True)))

    @functools.cached_property
    def loss_by_active(self) -> xr.Dataset:
        """The loss under its own regime at the chosen step by the number of active features, by batch of samples.

        `loss` (..., batch, active) and the `probability` of so many.
        """

        def totals(models: xr.Dataset) -> xr.Dataset:
            found = loss_by_active(models, by_batch=True)
            return found.assign(loss=summed(found["loss"]))

        return self.each_loss(totals)

    @property
    def sweeps(self) -> list[str]:
        """The sweep axes: the dims that a trajectory of one cell does not have."""
        return sweep_axes(self.dataset)

    def cells(self) -> Iterator["Selected"]:
        """This condition at each cell of its own sweep."""
        for values in product(*(self.dataset[axis].values.tolist() for axis in self.sweeps)):
            yield self.at(dict(zip(self.sweeps, values, strict=True)))

    def at(self, cell: Mapping[str, float]) -> "Selected":
        """The same with one cell of its sweep; itself, with what it has computed, where it sweeps none of the axes."""
        own = {axis: value for axis, value in cell.items() if axis in self.sweeps}
        return self if not own else Selected(self.experiment, self.condition, self.dataset.sel(own), self.index, own)


def label_of(item: Selected, n_conditions: int) -> str:
    """The condition where there are several, and the cell, as `fixed, learning_rate = 0.01`."""
    # repr is the shortest text that no other number has.
    at = [f"{axis} = {value!r}" for axis, value in item.cell.items()]
    return ", ".join([item.condition] * (n_conditions > 1 or not at) + at)


def sweep_axes(dataset: xr.Dataset) -> list[str]:
    return [str(dim) for dim in dataset["train_loss"].dims if dim not in ("seed", "step")]


def counting(G: xr.DataArray, dataset: xr.Dataset) -> xr.DataArray:
    """G without the outputs of z that weigh nothing in any cell: nothing trains them."""
    if "output" not in G.dims:
        return G
    weights = dataset["importance"].max(
        [dim for dim in dataset["importance"].dims if dim not in ("context", "feature")]
    )
    own = weights.sel(context=G["output_context"], feature=G["output_feature"])
    return G.isel(output=np.flatnonzero(own.values > 0))


def select(
    runs: xr.DataTree, *, conditions: Sequence[str] = (), step: int | None = None, epoch: float | None = None
) -> list[Selected]:
    """The conditions of these names (all, if none is given), at a recorded step or epoch (the last, if not given).

    Raises UsageError naming what there is where a condition or a step is not there.
    """
    refuse_unknown(runs, conditions)
    leaves = [leaf.to_dataset() for leaf in runs.leaves]
    return [
        Selected(leaf.attrs["experiment"], leaf.attrs["condition_name"], leaf, _index(leaf, step, epoch))
        for leaf in leaves
        if not conditions or leaf.attrs["condition_name"] in conditions
    ]


def refuse_unknown(runs: xr.DataTree, conditions: Sequence[str]) -> None:
    """UsageError naming what there is where a condition is not there."""
    known = {leaf.attrs["condition_name"] for leaf in runs.leaves}
    if unknown := [name for name in conditions if name not in known]:
        raise UsageError(f"no condition {unknown[0]!r} in these runs; {nearest(unknown[0], known)}")


def by_experiment(selected: Sequence[Selected]) -> dict[str, list[Selected]]:
    """The conditions of each experiment."""
    return {name: [item for item in selected if item.experiment == name] for name in _names(selected)}


def by_cell(selected: Sequence[Selected]) -> Iterator[tuple[dict[str, float], list[Selected]]]:
    """Each cell of the sweeps with the conditions that have it; one that does not sweep an axis has all its values."""
    axes: dict[str, list[float]] = {}
    for item in selected:
        for axis in item.sweeps:
            axes.setdefault(axis, []).extend(item.dataset[axis].values.tolist())
    unique = {axis: list(dict.fromkeys(values)) for axis, values in axes.items()}
    for values in product(*unique.values()):
        cell = dict(zip(unique, values, strict=True))
        if members := [item.at(cell) for item in selected if _has(item, cell)]:
            yield cell, members


def _has(item: Selected, cell: Mapping[str, float]) -> bool:
    return all(value in item.dataset[axis].values for axis, value in cell.items() if axis in item.sweeps)


def _names(selected: Sequence[Selected]) -> list[str]:
    return list(dict.fromkeys(item.experiment for item in selected))


def _index(dataset: xr.Dataset, step: int | None, epoch: float | None) -> int:
    if step is None and epoch is None:
        return dataset.sizes["step"] - 1
    if step is not None and epoch is not None:
        raise UsageError("--step and --epoch exclude one another; give one of them")
    name = "step" if step is not None else "epoch"
    wanted = float(step if step is not None else epoch or 0)
    recorded = dataset[name].values
    found = np.flatnonzero(np.isclose(recorded, wanted, rtol=0, atol=1e-9))
    if len(found) == 0:
        there = "none, it was trained by steps" if np.isnan(recorded).all() else ", ".join(f"{v:g}" for v in recorded)
        raise UsageError(f"{name} {wanted:g} of {dataset.attrs['condition_name']} was not recorded; recorded: {there}")
    return int(found[0])


def same_inputs(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether models of one can be evaluated under the regime of the other: inputs, target and sweep cells agree."""
    return comparable(one, other) and all(
        axis in one.coords and one[axis].equals(other[axis]) for axis in regime_axes(other)
    )
