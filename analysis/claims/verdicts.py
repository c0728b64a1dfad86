"""The verdict on a claim about trained models, from intervals over seeds: supported, refuted or undecided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from toysup.analysis.inference.intervals import CONFIDENCE
from toysup.errors import ToysupError

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
# Beyond so many times the seeds that there are, more of them are no advice.
_MOST_TIMES_AS_MANY = 1000

# Closed intervals of the numbers that a statistic can take.
Regions = tuple[tuple[float, float], ...]


class NotRecordedError(ToysupError):
    """What a statistic needs was not recorded; says what that is."""


class Estimate(Protocol):
    """One number that a claim is about, and what the trained models say of it."""

    def summary(self, confidence: float) -> xr.Dataset:
        """`mean`, `ci_low`, `ci_high`, `n_seeds`, `n_excluded`, without dims."""

    def supports(self, regions: Regions) -> bool:
        """Whether it lies in one of the regions as far as the models can tell."""

    def refutes(self, regions: Regions, *, among: int) -> bool:
        """Whether it lies in one of the regions, which would refute a claim about `among` numbers."""


@dataclass(frozen=True)
class OverSeeds:
    """A number of the population of models, known by an interval over seeds.

    It lies in a region where its whole 95% interval does. A claim about K numbers is refuted by one of them, so there
    the interval has the confidence 1 − 0.05/K (Bonferroni); it is supported by all of them together, each at 95%.
    Where seeds lie in several modes, each mode has to lie in the region.
    """

    over_seeds: Callable[[float], xr.Dataset]

    def summary(self, confidence: float) -> xr.Dataset:
        return self.over_seeds(confidence)

    def supports(self, regions: Regions) -> bool:
        return self._lies_in(regions, CONFIDENCE)

    def refutes(self, regions: Regions, *, among: int) -> bool:
        return self._lies_in(regions, _refuting(among))

    def _lies_in(self, regions: Regions, confidence: float) -> bool:
        # A missing interval is NaN, and lies nowhere.
        groups = _groups(self.summary(confidence))
        return all(any(low <= group.low and group.high <= high for low, high in regions) for group in groups)


class _Group(NamedTuple):
    """The seeds that have a mean: all of them, or those in one mode."""

    mean: float
    low: float
    high: float


def _groups(summary: xr.Dataset) -> list[_Group]:
    if "mode" not in summary.dims:
        return [_Group(*(summary[name].item() for name in ("mean", "ci_low", "ci_high")))]
    there = summary.isel(mode=summary["mode_n_seeds"].values > 0)
    columns = (there[name].values.tolist() for name in ("mode_mean", "mode_low", "mode_high"))
    # A mode of a few seeds has no interval, but it is there.
    return [
        _Group(mean, *((low, high) if np.isfinite(low) else (mean, mean)))
        for mean, low, high in zip(*columns, strict=True)
    ]


@dataclass(frozen=True)
class OfEveryModel:
    """A number that a claim states for every model, so that each model counts and one of them can refute it.

    There is no population to infer to, and no interval: what is shown is the model furthest from the others.
    """

    values: xr.DataArray

    def summary(self, confidence: float) -> xr.Dataset:
        del confidence
        finite = self.values.values[np.isfinite(self.values.values)]
        furthest = finite[np.abs(finite - np.median(finite)).argmax()] if finite.size else np.nan
        numbers = {"mean": furthest, "ci_low": np.nan, "ci_high": np.nan}
        return xr.Dataset({**numbers, "n_seeds": finite.size, "n_excluded": self.values.size - finite.size})

    def supports(self, regions: Regions) -> bool:
        inside = self._inside(regions)
        return inside.size > 0 and bool(inside.all())

    def refutes(self, regions: Regions, *, among: int) -> bool:
        del among
        return bool(self._inside(regions).any())

    def _inside(self, regions: Regions) -> npt.NDArray[np.bool_]:
        finite = self.values.values[np.isfinite(self.values.values)]
        inside: npt.NDArray[np.bool_] = np.any([(low <= finite) & (finite <= high) for low, high in regions], axis=0)
        return inside


class Claim(NamedTuple):
    """A row of the table of claims: what is claimed, of which conditions, and what would support or refute it."""

    id: str
    source: str
    status: str
    claim: str
    conditions: tuple[str, ...]
    epoch: float | None
    statistic: str
    supports: Regions
    refutes: Regions


class Verdict(NamedTuple):
    """The verdict on a claim, with the number that decides it: the part of the claim that is hardest to meet."""

    verdict: str
    part: str
    summary: xr.Dataset
    note: str


def verdict_on(claim: Claim, estimates: Mapping[str, Estimate]) -> Verdict:
    """The verdict on the claim that all of these numbers lie in its region.

    Supported if every one does (an intersection-union test: no correction is due), refuted if one lies in the region
    that refutes it, undecided otherwise.

    Parameters
    ----------
    claim : Claim
        Its regions.
    estimates : mapping
        Each part of the claim by its name.

    Returns
    -------
    Verdict
        With the 95% interval of the part that decides it, and, where undecided, what would decide it.

    Source: Berger (1982), "Multiparameter hypothesis testing and acceptance sampling".
    """
    summaries = {part: estimate.summary(CONFIDENCE) for part, estimate in estimates.items()}
    hardest = min(summaries, key=lambda part: _room(summaries[part], claim.supports))
    refuting = [part for part, estimate in estimates.items() if estimate.refutes(claim.refutes, among=len(estimates))]
    if refuting:
        worst = min(refuting, key=lambda part: _room(summaries[part], claim.supports))
        return Verdict(REFUTED, worst, summaries[worst], _modes_of(summaries[worst]))
    undecided = [part for part, estimate in estimates.items() if not estimate.supports(claim.supports)]
    if not undecided:
        return Verdict(SUPPORTED, hardest, summaries[hardest], _modes_of(summaries[hardest]))
    part = min(undecided, key=lambda part: _room(summaries[part], claim.supports))
    summary = within = summaries[part]
    if _depth(summary["mean"].item(), claim.refutes) > 0:
        within = estimates[part].summary(_refuting(len(estimates)))
    return Verdict(UNDECIDED, part, summary, _what_would_decide(within, claim))


def _refuting(among: int) -> float:
    """The confidence at which one of so many numbers refutes (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / among


def _room(summary: xr.Dataset, regions: Regions) -> float:
    """How far inside its region a number is, in half-widths of its interval; negative outside; −∞ where unknown.

    Of several modes, that of the mode which is furthest outside.
    """
    rooms = []
    for mean, low, high in _groups(summary):
        half = (high - low) / 2
        rooms.append(_depth(mean, regions) / (half if half > 0 else 1.0) if np.isfinite(mean) else -np.inf)
    return min(rooms)


def _modes_of(summary: xr.Dataset) -> str:
    """The modes of the seeds in words; "" if they lie in one."""
    if "mode" not in summary.dims:
        return ""
    there = summary.isel(mode=summary["mode_n_seeds"].values > 0)
    names = ("mode_share", "mode_share_low", "mode_share_high", "mode_mean")
    texts = [
        f"{share:.2f} [{low:.2f}, {high:.2f}] at {mean:.3g}"
        for share, low, high, mean in zip(*(there[name].values.tolist() for name in names), strict=True)
    ]
    return f"seeds lie in several modes, as shares of them: {', '.join(texts)}"


def _depth(value: float, regions: Regions) -> float:
    return max(min(value - low, high - value) for low, high in regions)


def _what_would_decide(summary: xr.Dataset, claim: Claim) -> str:
    """Advice by the interval that decides where the mean lies: at 95%, or that at which one of several refutes."""
    mean, low, high, n = (summary[name].item() for name in ("mean", "ci_low", "ci_high", "n_seeds"))
    if n == 0:
        return "no seed has this number"
    if "mode" in summary.dims:
        return _modes_of(summary)
    if not np.isfinite(mean):
        return "the differences between seeds lie in several modes, so their mean describes no pair of models"
    if not np.isfinite([low, high]).all():
        return "one seed gives no interval; train more" if n == 1 else f"all {n} seeds agree, which gives no interval"
    # An interval shrinks with √n about the mean; it must fit into whichever region the mean is in.
    inside = max(_depth(mean, claim.supports), _depth(mean, claim.refutes))
    if inside <= 0:
        return "the estimate lies between what supports and what refutes"
    distance = _reach(mean, low, high, claim)
    times = (max(mean - low, high - mean) / distance) ** 2 if distance > 0 else np.inf
    if times > _MOST_TIMES_AS_MANY:
        return "the estimate lies on the border; more seeds may not decide"
    return f"about {_rounded_up(n * max(times, 1 + 1 / n))} seeds would decide"


def _reach(mean: float, low: float, high: float, claim: Claim) -> float:
    """How wide the longer arm of the interval may be at most, if it shrinks evenly, to fit into the mean's region."""
    regions = claim.supports if _depth(mean, claim.supports) > 0 else claim.refutes
    start, end = max(regions, key=lambda region: min(mean - region[0], region[1] - mean))
    longer = max(mean - low, high - mean)
    below = (mean - start) / (mean - low) if mean > low else np.inf
    above = (end - mean) / (high - mean) if high > mean else np.inf
    return longer * min(below, above)


def _rounded_up(n: float) -> int:
    """To two significant digits: an extrapolation is no more exact."""
    step = 10 ** max(0, int(np.log10(n)) - 1)
    return int(np.ceil(n / step - 1e-9) * step)


def shown_regions(regions: Regions) -> str:
    """`:15.5;18.5:` as a reader sees it: `≤ 15.5 or ≥ 18.5`."""
    return " or ".join(_shown(low, high) for low, high in regions)


def _shown(low: float, high: float) -> str:
    if low == -np.inf:
        return f"≤ {high:g}"
    return f"≥ {low:g}" if high == np.inf else f"{low:g} to {high:g}"


def names(claims: Sequence[Claim]) -> list[str]:
    """The conditions that the claims are about, each once."""
    return list(dict.fromkeys(name for claim in claims for name in claim.conditions))
