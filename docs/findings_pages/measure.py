"""What the pages measure of every model, tied or deep: statistics (statistic, sweep axes…, seed)."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from toysup.analysis import context_selectivity, expected_loss, linear_response, over_seeds, total_dimensionality

REPRESENTED = 0.5
INTERFERING = 0.1


def own_responses(dataset: xr.Dataset) -> xr.Dataset:
    """`H` (…, hidden, feature) and `G` (…, feature, other_feature), each feature and output in its own context.

    That is where it matters and, for a feature that others exclude, where it occurs. For a model that does not see its
    context these are the responses as they are; for the target z the rows of G are the outputs of a feature's own
    context.
    """
    found = linear_response(dataset)
    subset = dataset["subset"]
    if "output" in found.dims:
        own = [
            int(np.flatnonzero((found["output_feature"] == feature) & (found["output_context"] == context))[0])
            for feature, context in zip(dataset["feature"].values, subset.values, strict=True)
        ]
        rows = found["G"].isel(output=own).drop_vars(["output_feature", "output_context"], errors="ignore")
        found["G"] = rows.rename(output="feature").assign_coords(feature=dataset["feature"], subset=subset)
    if "context" not in found.dims:
        return found
    context = xr.DataArray(subset.values, dims="feature")
    return xr.Dataset({name: found[name].sel(context=context).drop_vars("context") for name in ("H", "G")})


def measured(dataset: xr.Dataset) -> xr.DataArray:
    """(statistic, …, seed) of models at one step, as the table of docs/findings/README.md says what they are."""
    own = own_responses(dataset)
    G = own["G"]
    same = G["subset"] == G["other_subset"]
    diagonal = xr.DataArray(np.eye(G.sizes["feature"], dtype=bool), dims=("feature", "other_feature"))
    both = ("feature", "other_feature")
    squares, large = G.astype(np.float64) ** 2, abs(G) > INTERFERING
    within, across = same & ~diagonal, ~same
    energy_within, energy_across = (squares.where(part, 0).sum(both) for part in (within, across))
    seen = G.where(diagonal, 0).sum("other_feature") >= REPRESENTED
    cosines = _cosines(own["H"]).where(across & seen)
    statistics = {
        "represented": seen.sum("feature"),
        "energy_within": energy_within,
        "energy_across": energy_across,
        "share_across": energy_across / (energy_within + energy_across),
        "interfering_within": large.where(within).mean(both),
        "interfering_across": large.where(across).mean(both),
        "loss": expected_loss(dataset).sum(["context", "feature"]),
        "context_selectivity": context_selectivity(dataset).where(seen).mean("feature"),
        "lowest_cosine": cosines.min("other_feature").mean("feature"),
        "highest_cosine": cosines.max("other_feature").mean("feature"),
    }
    if "W_out" not in dataset:  # of a tied model
        statistics["total_dimensionality"] = total_dimensionality(dataset["W"])
    for label in dict.fromkeys(map(str, dataset["subset"].values)):
        statistics[f"represented_{label}"] = (seen & (seen["subset"] == label)).sum("feature")
    bare = {name: values.drop_vars(["step", "epoch"], errors="ignore") for name, values in statistics.items()}
    return xr.Dataset(bare).to_dataarray("statistic")


def summarised(values: Mapping[str, xr.DataArray]) -> dict[str, xr.Dataset]:
    return {name: over_seeds(array) for name, array in values.items()}


def _cosines(H: xr.DataArray) -> xr.DataArray:
    """Of the directions of feature and other_feature; NaN for one without a direction."""
    unit = H / ((H**2).sum("hidden") ** 0.5)
    other = unit.rename(feature="other_feature").drop_vars(["subset", "other_feature"], errors="ignore")
    return xr.dot(unit.drop_vars("feature", errors="ignore"), other, dim="hidden")
