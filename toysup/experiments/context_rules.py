"""Contexts that follow from x by a rule: its threshold, and the probability of each context."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from toysup.experiments.feature_values import uniform_moments

Array = npt.NDArray[np.float64]

_NUMBER = r"[-+]?[\d.]+(?:[eE][-+]?\d+)?"
_PATTERN = re.compile(rf"\s*(?:sum\(x\)|x_(?P<feature>\d{{1,9}}))\s*>\s*(?P<threshold>median|{_NUMBER})\s*")
_TOLERANCE = 1e-12
_NEGLIGIBLE = 1e-18
_ROUNDING = 1e-6
_CLOSE = 1e-10
# The law of the sum of this many features takes a second.
_MAX_SUMMED = 1000


class Rule(NamedTuple):
    """A rule for the context: it is the first context if the statistic exceeds `threshold`, the second if it is below.

    The statistic is the value of the feature with the label `feature`, or the sum of all features if that is 0. If the
    statistic equals `threshold`, a coin chooses the first context with probability `tie`.
    """

    feature: int
    threshold: float
    tie: float


class _Law(NamedTuple):
    """P(S > t) and P(S = t) of a statistic S at a threshold t."""

    above: float
    at: float


def parse(text: str) -> tuple[int, float | None]:
    """The feature (0 for the sum) and the threshold (None for the median) of a rule such as `x_3 > median`."""
    found = _PATTERN.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        threshold = None if found["threshold"] == "median" else float(found["threshold"])
        if found["feature"] is not None and int(found["feature"]) < 1:
            raise ValueError
    except ValueError:
        raise ValueError("is not a rule; write sum(x) > 0, x_1 > 0.5, sum(x) > median or x_1 > median") from None
    return int(found["feature"] or 0), threshold


def canonical(text: str) -> str:
    """The canonical form of a rule, such as `sum(x) > 1` or `x_3 > median`."""
    feature, threshold = parse(text)
    shown = "median" if threshold is None else repr(threshold).removesuffix(".0")
    return f"{f'x_{feature}' if feature else 'sum(x)'} > {shown}"


def resolve(text: str, probability: Array, low: float, high: float) -> tuple[Rule, float]:
    """The rule for features with these probabilities and values uniform on [low, high], and P(first context).

    A fair coin decides a tie at a number. At the median the coin makes both contexts equally likely. ValueError if one
    context would never occur, or if the rule needs negative values and there are none.
    """
    feature, threshold = parse(text)
    if feature > len(probability):
        raise ValueError(f"context_rule {text!r} names feature {feature}, but there are {len(probability)} features")
    if feature == 0 and len(probability) > _MAX_SUMMED:
        raise ValueError(
            f"context_rule {text!r}: a rule on sum(x) supports at most {_MAX_SUMMED} features, x_1 > 0 any number"
        )
    own = probability if feature == 0 else probability[feature - 1 : feature]
    if threshold is None:
        threshold = _median(tuple(own.tolist()), low, high)
        law = _law(tuple(own.tolist()), low, high, threshold)
        tie = (0.5 - law.above) / law.at if law.at > _TOLERANCE else 0.5
        return Rule(feature, threshold, float(np.clip(tie, 0, 1))), 0.5
    if low >= 0 and threshold <= 0:
        raise ValueError(
            f"context_rule {text!r} needs values that can be negative; give values = 'signed', or write > median"
        )
    if low == high and abs(threshold - round(threshold / low) * low) < _ROUNDING * abs(low):
        # A threshold written as a multiple of the constant has to tie with it, although float32 rounds the constant.
        threshold = round(threshold / low) * low
    law = _law(tuple(own.tolist()), low, high, threshold)
    first = law.above + law.at / 2
    if not _TOLERANCE < first < 1 - _TOLERANCE:
        often = "always" if first > 0.5 else "never"
        raise ValueError(f"context_rule {text!r} is {often} true; > median splits evenly")
    return Rule(feature, threshold, 0.5), first


@lru_cache(maxsize=1024)
def _law(probability: tuple[float, ...], low: float, high: float, threshold: float) -> _Law:
    """The law of the sum S of independent features at `threshold`.

    If k features are active, S = low·k + (high − low)·IH_k, where IH_k, the sum of k uniform numbers, has the
    Irwin–Hall law. S has an atom at 0 (k = 0); if high = low, it has one for every k.
    """
    counts = _active_counts(probability)
    k = np.flatnonzero(counts > _NEGLIGIBLE)
    atoms = (k == 0) | (high == low)
    beyond = np.where(k * low > threshold, 1.0, 0.0)
    if not atoms.all():
        beyond[~atoms] = 1 - irwin_hall((threshold - k[~atoms] * low) / (high - low), k[~atoms])
    at = counts[k][atoms & (k * low == threshold)].sum()
    return _Law(float(counts[k] @ beyond), float(at))


@lru_cache(maxsize=256)
def _median(probability: tuple[float, ...], low: float, high: float) -> float:
    """A t with P(S > t) ≤ ½ ≤ P(S ≥ t): an atom if there is such an atom, else the root of P(S > t) − ½."""
    n = len(probability)
    for atom in [k * low for k in range(n + 1)] if high == low else [0.0]:
        law = _law(probability, low, high, atom)
        if law.above <= 0.5 + _TOLERANCE and law.above + law.at >= 0.5 - _TOLERANCE:
            return atom
    share, (value, square) = np.asarray(probability), uniform_moments(low, high)
    mean = share.sum() * value
    spread = float(np.sqrt((share * square - (share * value) ** 2).sum()))
    return _root(lambda t: _law(probability, low, high, t).above - 0.5, mean - spread, mean + spread)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """The root of a falling function, by the Illinois variant of false position; the bracket grows as needed."""
    at_low, at_high = function(low), function(high)
    while at_low < 0 or at_high > 0:
        low, high = 2 * low - high, 2 * high - low
        at_low, at_high = function(low), function(high)
    middle = low
    for _ in range(100):
        previous, middle = middle, high if at_high == 0 else high - at_high * (high - low) / (at_high - at_low)
        found = function(middle)
        if abs(found) < _CLOSE or middle == previous:
            break
        if found > 0:
            low, at_low, at_high = middle, found, at_high / 2
        else:
            high, at_high, at_low = middle, found, at_low / 2
    return float(middle)


def _active_counts(probability: tuple[float, ...]) -> Array:
    """P(k features are active), k = 0 … n (the Poisson binomial law)."""
    counts = np.ones(1)
    for p in probability:
        counts = np.convolve(counts, [1 - p, p])
    return counts


def irwin_hall(x: npt.ArrayLike, k: npt.ArrayLike) -> Array:
    """P(the sum of k uniform numbers on [0, 1] ≤ x), for arrays x and k ≥ 1 of one shape (number,).

    F_k(x) = Σ_{j≥0} f_{k+1}(x − j), where the density obeys f_{k+1}(x) = (x f_k(x) + (k + 1 − x) f_k(x − 1)) / k. No
    term is negative, so no digits cancel; in the textbook's alternating sum they do.
    """
    k = np.atleast_1d(np.asarray(k, dtype=np.int64))
    x = np.clip(np.atleast_1d(np.asarray(x, dtype=np.float64)), 0, k)
    # The law is symmetric. Above the median it is summed from the other end, where fewer terms contribute.
    mirrored = x > k / 2
    y = np.where(mirrored, k - x, x)
    # A row for each number, with the densities at y, y − 1, …; the first density is 1 on [0, 1).
    points = y[:, None] - np.arange(int(y.max()) + 2)
    density = ((points >= 0) & (points < 1)).astype(np.float64)
    result = np.zeros(len(k))
    for order in range(1, int(k.max()) + 1):
        shifted = np.pad(density[:, 1:], ((0, 0), (0, 1)))
        density = np.where(points > 0, (points * density + (order + 1 - points) * shifted) / order, 0)
        result[k == order] = density[k == order].sum(axis=1)
    return np.where(mirrored, 1 - result, result)
