"""What claims are about: named statistics of the trajectories of several conditions, number by number."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from itertools import product

import numpy as np
import xarray as xr

from toysup.analysis.claims.verdicts import Estimate, NotRecordedError, OfEveryModel, OverSeeds
from toysup.analysis.inference.comparisons import difference_over_seeds
from toysup.analysis.inference.pairing import paired_by_seed
from toysup.analysis.inference.sampling_noise import error_of_difference, widened
from toysup.analysis.inference.seeds import over_seeds, proportion_over_seeds
from toysup.analysis.loss.expected_loss import expected_loss, mean_over_batches, summed, values_held
from toysup.analysis.statistics.dimensionality import represented, represented_count
from toysup.analysis.statistics.directions import shared_directions
from toysup.analysis.statistics.interference import quadrant_interference
from toysup.analysis.statistics.labels import is_finite
from toysup.analysis.statistics.piecewise import loaded_if_small, piecewise


class Trajectory:
    """The runs of one condition up to the step that a claim is about, with the losses that were asked for."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self.dataset = dataset
        self.losses: dict[Trajectory, xr.DataArray] = {}

    @cached_property
    def last(self) -> xr.Dataset:
        """The models that claims are about: in memory, or lazily where they are many."""
        return loaded_if_small(self.dataset.isel(step=-1), values=self.dataset.sizes["feature"] ** 2)

    def each(self, statistic: Callable[[xr.Dataset], xr.DataArray], *, values: int | None = None) -> xr.DataArray:
        """A statistic of each of these models, read and worked out piece by piece."""
        return piecewise(self.last, statistic, values=values or self.dataset.sizes["feature"] ** 2)

    def loss(self, under: "Trajectory | None" = None) -> xr.DataArray:
        """(seed, batch) the loss under the regime of `under`, or under its own, by batch of samples."""
        under = under or self
        if under not in self.losses:
            self.losses[under] = self.each(
                lambda models: summed(expected_loss(models, under.last, by_batch=True)), values=values_held(under.last)
            )
        return self.losses[under]


# Of each condition, in the order of the claim.
Trajectories = Mapping[str, Trajectory]
# The numbers that a claim is about, by what tells them apart.
Estimates = dict[str, Estimate]
# Of models with their regime: one number per seed, or several along further dims.
Measure = Callable[[xr.Dataset], xr.DataArray]

# The part of its fall since the first epoch that a loss loses in an epoch while it still falls, and the epoch in which
# it should; at the last it should not.
FALLING, FALLING_AFTER = 0.005, 4


def of_each(measure: Measure) -> Callable[[Trajectories], Estimates]:
    """The mean over seeds, of each condition."""

    def estimates(runs: Trajectories) -> Estimates:
        each = {name: run.each(measure) for name, run in runs.items()}
        entries = ((f"{name}{label}", entry) for name, values in each.items() for label, entry in _entries(values))
        return {label: OverSeeds(partial(_mean, entry)) for label, entry in entries}

    return estimates


def share_of_each(measure: Measure) -> Callable[[Trajectories], Estimates]:
    """The share of seeds in which something holds, of each condition."""
    return lambda runs: {name: OverSeeds(partial(_share, run.each(measure))) for name, run in runs.items()}


def differences(measure: Measure) -> Callable[[Trajectories], Estimates]:
    """How far the first condition lies above each of the others; by seed, where two are paired."""

    def estimates(runs: Trajectories) -> Estimates:
        (first, run), *others = runs.items()
        above: Estimates = {}
        for name, other in others:
            pairs = zip(_entries(run.each(measure)), _entries(other.each(measure)), strict=True)
            for (label, entry), (_, other_entry) in pairs:
                above[f"{first} − {name}{label}"] = _above(run, other, entry, other_entry)
        return above

    return estimates


def loss_of_each(runs: Trajectories) -> Estimates:
    """How far the loss of the first condition, under its own regime, lies above that of each of the others."""
    (first, run), *others = runs.items()
    return {f"{first} − {name}": _loss_above(run, other) for name, other in others}


def _loss_above(run: Trajectory, other: Trajectory) -> OverSeeds:
    """As `_above`, with the sampling error of the losses in the interval."""
    paired = paired_by_seed(run.dataset, other.dataset)
    means = mean_over_batches(run.loss()), mean_over_batches(other.loss())
    error = error_of_difference(run.loss(), other.loss(), paired=paired)
    return OverSeeds(lambda confidence: widened(_difference(*means, paired, confidence), error, confidence=confidence))


def _above(run: Trajectory, other: Trajectory, entry: xr.DataArray, other_entry: xr.DataArray) -> OverSeeds:
    return OverSeeds(partial(_difference, entry, other_entry, paired_by_seed(run.dataset, other.dataset)))


def _mean(values: xr.DataArray, confidence: float) -> xr.Dataset:
    return over_seeds(values, confidence=confidence)


def _share(holds: xr.DataArray, confidence: float) -> xr.Dataset:
    return proportion_over_seeds(holds, confidence=confidence)


def _difference(entry: xr.DataArray, other_entry: xr.DataArray, by_seed: bool, confidence: float) -> xr.Dataset:
    return difference_over_seeds(entry, other_entry, paired=by_seed, confidence=confidence)


def _entries(values: xr.DataArray) -> Iterator[tuple[str, xr.DataArray]]:
    """Each entry along the dims beside `seed`, with its labels."""
    dims = [dim for dim in values.dims if dim != "seed"]
    for labels in product(*(values[dim].values.tolist() for dim in dims)):
        entry = values.sel(dict(zip(dims, labels, strict=True)), drop=True)
        yield "".join([", " + " × ".join(map(str, labels))] if labels else []), entry


def represented_features(models: xr.Dataset) -> xr.DataArray:
    """How many features are represented: (seed,)."""
    return represented_count(models["W"])


def all_represented(models: xr.Dataset) -> xr.DataArray:
    """Whether all features are, 1 or 0: (seed,), NaN for a model that is not finite."""
    count = represented_features(models)
    return (count == models.sizes["feature"]).where(count.notnull())


def energy(models: xr.Dataset) -> xr.DataArray:
    """Σ G_ij² of each quadrant: (seed, subset, other_subset)."""
    return quadrant_interference(models["W"])["energy"]


def energy_within(models: xr.Dataset) -> xr.DataArray:
    """Σ G_ij² over the pairs i≠j within each subset: (seed, subset)."""
    quadrants = energy(models)
    same = {label: quadrants.sel(subset=label, other_subset=label, drop=True) for label in quadrants["subset"].values}
    return xr.concat(list(same.values()), dim="subset").assign_coords(subset=list(same))


def importance_concordance(models: xr.Dataset) -> xr.DataArray:
    """Of the pairs of a represented and an unrepresented feature that differ in importance, the share in which the
    represented one is the more important: (seed,), NaN where there is no such pair.

    Importance is Σ_c P(c) I_i(c). One half is no preference; the statistic is that of Mann and Whitney.
    """
    W = models["W"]
    is_represented = represented(W).transpose("seed", "feature").values
    importance = (models["context_probability"] * models["importance"]).sum("context").values
    more = importance[:, None] > importance * (1 + 1e-9)
    pairs = is_represented[:, :, None] & ~is_represented[:, None, :] & (more | more.T)
    total, agreeing = pairs.sum(axis=(1, 2)), (pairs & more).sum(axis=(1, 2))
    defined = (total > 0) & is_finite(W).values
    share = np.divide(agreeing, total, out=np.full(len(total), np.nan), where=defined)
    return xr.DataArray(share, dims="seed", coords={"seed": W["seed"].values})


def shared_across(models: xr.Dataset) -> xr.DataArray:
    """The share of features that share a direction (`shared_directions`) with one of another subset: (seed,)."""
    shared = shared_directions(models["W"])
    across = (shared != 0) & (shared["subset"] != shared["other_subset"])
    share: xr.DataArray = across.any("other_feature").mean("feature")
    return share.where(is_finite(models["W"]))


def loss_ratio(runs: Trajectories) -> Estimates:
    """L under the first regime / L under the second, of the models of every condition."""
    first, second, *_ = runs.values()
    return {
        name: OfEveryModel(mean_over_batches(run.loss(first)) / mean_over_batches(run.loss(second)))
        for name, run in runs.items()
    }


def phases(runs: Trajectories) -> Estimates:
    """Of each condition, by how much the loss falls faster after epoch 4, and slower at the last, than 0.5% an epoch.

    A fall is counted in parts of the whole, from the first epoch to the last, of the training loss of its seed.
    """
    margins: Estimates = {}
    for name, run in runs.items():
        epochs = run.dataset["epoch"].values
        at = run.dataset["train_loss"].assign_coords(step=epochs)
        # A training loss is a mean since the snapshot before.
        alone = set(epochs[np.diff(epochs, prepend=0) == 1].tolist())
        if not {1, FALLING_AFTER, FALLING_AFTER + 1, epochs[-1] - 1, epochs[-1]} <= alone:
            needed = f"1, {FALLING_AFTER}, {FALLING_AFTER + 1} and the last two"
            raise NotRecordedError(f"needs the epochs {needed} of {name} recorded, and the one before each of them")
        whole = at.sel(step=1, drop=True) - at.isel(step=-1, drop=True)
        falling = (at.sel(step=FALLING_AFTER, drop=True) - at.sel(step=FALLING_AFTER + 1, drop=True)) / whole - FALLING
        flat = FALLING - (at.isel(step=-2, drop=True) - at.isel(step=-1, drop=True)) / whole
        margins[f"{name}, falls at {FALLING_AFTER}"] = OverSeeds(partial(_mean, falling))
        margins[f"{name}, flat at {at['step'].values[-1]:g}"] = OverSeeds(partial(_mean, flat))
    return margins


STATISTICS: Mapping[str, Callable[[Trajectories], Estimates]] = {
    "represented": of_each(represented_features),
    "represented_difference": differences(represented_features),
    "all_represented": share_of_each(all_represented),
    "energy": of_each(energy),
    "energy_difference": differences(energy),
    "energy_within": of_each(energy_within),
    "importance_concordance": of_each(importance_concordance),
    "shared_across": of_each(shared_across),
    "loss_difference": loss_of_each,
    "loss_ratio": loss_ratio,
    "phases": phases,
}
