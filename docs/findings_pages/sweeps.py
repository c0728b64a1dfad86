"""Findings over sweeps, and over the number of contexts."""

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from toysup.analysis.figures import along_sweep, by_condition, sweep_map
from toysup.theory import outside_costs

from .page import Finding, cells, shown
from .select import Summaries, Values, means_of, only


def feature_probability(values: Values, summaries: Summaries) -> Finding:
    represented = {name: data["mean"].sel(statistic="represented") for name, data in summaries.items()}
    loss = {name: data["mean"].sel(statistic="loss") for name, data in summaries.items()}
    gap = abs(represented["fixed"] - represented["conditional"])
    return Finding(
        rows=dict(cells(summaries)),
        statistics=["represented", "energy_within", "energy_across", "share_across", "loss"],
        figures={"": along_sweep(only(summaries, ["represented", "share_across", "loss"]))},
        statements={
            "fewer features are represented as p rises": bool(
                (represented["fixed"].diff("feature_probability") < 0).all()
                and (represented["conditional"].diff("feature_probability") < 0).all()
            ),
            "fixed and conditional represent equally many": bool((gap < 0.3).all()),
            "conditional's loss is half of fixed's": bool(
                (abs(loss["conditional"] / loss["fixed"] - 0.5) < 0.02).all()
            ),
            "anticorrelated represents all features throughout": bool((represented["anticorrelated"] == 20).all()),
        },
        numbers={"largest_gap": shown(float(gap.max()))},
    )


def leaky_context(values: Values, summaries: Summaries) -> Finding:
    (summary,) = summaries.values()
    mean = summary["mean"]
    share, represented = mean.sel(statistic="share_across"), mean.sel(statistic="represented")
    ratio = _cost_ratio(summary)
    rank = float(spearmanr(ratio.values.ravel(), share.transpose(*ratio.dims).values.ravel()).statistic)
    one, half = share.sel(outside_probability=1.0), share.sel(outside_probability=0.5)
    return Finding(
        rows=dict(cells(summaries)),
        statistics=["represented", "energy_within", "energy_across", "share_across", "loss"],
        figures={
            "": sweep_map(summary.sel(statistic=["represented", "share_across", "energy_within", "loss"])),
            "-ratio": along_sweep(only(_over_ratio(summary, ratio), ["represented", "share_across"])),
        },
        statements={
            "at λ = 1 importance makes no difference": float(one.max() - one.min()) < 0.05,
            "at λ = 0.1 nearly all energy lies across": float(share.sel(outside_probability=0.1).min()) > 0.95,
            "up to λ = 0.1 all features are represented": float(represented.sel(outside_probability=0.1).min()) > 19.8,
            "at λ = 0.5 importance outside lowers the share": float(half.max() - half.min()) > 0.15,
            "the ratio of costs orders the cells": rank < -0.97,
        },
        numbers={"rank": shown(rank), "chance": shown(200 / 380), "n_cells": str(ratio.size)},
    )


def contexts_3(values: Values, summaries: Summaries) -> Finding:
    mean = means_of(summaries)
    drawn = ["represented", "energy_within", "energy_across", "loss"]
    third = 3 * mean("conditional", "loss") / mean("fixed", "loss")
    return Finding(
        rows=summaries,
        statistics=["represented", "energy_within", "energy_across", "share_across", "highest_cosine", "loss"],
        figures={"": by_condition(only(values, drawn), only(summaries, drawn))},
        statements={
            "anticorrelated represents more than 2m = 20 features": mean("anticorrelated", "represented") > 25,
            "fixed and conditional represent at most 2m": all(
                mean(c, "represented") < 20 for c in ("fixed", "conditional")
            ),
            "anticorrelated is not lossless": mean("anticorrelated", "loss") > 1e-3,
            "conditional's loss is a third of fixed's": abs(third - 1) < 0.02,
        },
        numbers={"chance": shown(600 / 870)},
    )


def _cost_ratio(summary: xr.Dataset) -> xr.DataArray:
    """What sharing a direction across subsets costs over what it costs within one, in each cell."""
    shares, importances = np.meshgrid(summary["outside_probability"], summary["outside_importance"], indexing="ij")
    costs = outside_costs(0.15, shares, importances)
    return xr.DataArray(costs.across / costs.within, dims=("outside_probability", "outside_importance"))


def _over_ratio(summary: xr.Dataset, ratio: xr.DataArray) -> dict[str, xr.Dataset]:
    """The lines of equal μ, over the ratio in the place of λ."""
    axis = "cost_ratio_across_to_within"
    return {
        f"μ = {importance:g}": summary.isel(outside_importance=at, drop=True)
        .rename(outside_probability=axis)
        .assign_coords({axis: ratio.isel(outside_importance=at).values})
        for at, importance in enumerate(summary["outside_importance"].values)
    }
