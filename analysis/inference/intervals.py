"""Intervals of means and shares, for tables (entry, seed)."""

import numpy as np
from scipy import special

from toysup.analysis.statistics.arrays import FloatArray, Mask
from toysup.errors import UsageError

CONFIDENCE = 0.95
# The estimated skewness is multiplied by n/(n + 5), as it is mostly noise for few seeds; and the longer arm of an
# interval is at most 1.6 times Student's, so that a whole interval is at most 1.3 times as long as Student's.
_SHRINKAGE = 5
_LONGEST_ARM = 1.6


def mean_interval(table: FloatArray, used: Mask, within: tuple[float, float], confidence: float) -> FloatArray:
    """Mean and both ends of its interval, (3, entry), of the seeds that are used."""
    mean, variance, skewness = mean_and_shape(table, used)
    upper, lower = skewed_t(skewness, used.sum(axis=1) - 1, confidence)
    return np.stack([mean, *inside(within, mean - np.sqrt(variance) * upper, mean - np.sqrt(variance) * lower)])


def inside(within: tuple[float, float], low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both ends of intervals, cut off at the ends of a range."""
    return np.maximum(low, within[0]), np.minimum(high, within[1])


def skewed_t(skewness: FloatArray, degrees: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Quantiles T of (estimate − truth) / standard error for a skewed estimate, the upper quantile first.

    `skewness` is the skewness of the estimate: γ/√n for a mean of n seeds. It is shrunk by n/(n + 5), with n = degrees
    + 1, to κ. The ends of an interval at confidence 1 − α are estimate − T · standard error with T = g⁻¹(±q). Here q is
    Student's quantile at 1 − α/2, and g(T) = T + κT²/3 + κ²T³/27 + κ/6, which has no skewness up to 1/n. The longer arm
    is cut off at 1.6 q, the shorter one at q. NaN without degrees of freedom or without a known skewness.
    """
    q = np.asarray(special.stdtrit(np.where(degrees > 0, degrees, np.nan), (1 + confidence) / 2), dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        shrunk = skewness * (degrees + 1) / (degrees + 1 + _SHRINKAGE)
    upper, lower = (_inverse(shrunk, end) for end in (q, -q))
    # A long right tail makes the upper arm, which is that of the lower quantile, the longer one.
    arm_below, arm_above = (np.where(longer, _LONGEST_ARM, 1) * q for longer in (shrunk < 0, shrunk > 0))
    return np.minimum(upper, arm_below), np.maximum(lower, -arm_above)


def _inverse(skewness: FloatArray, g: FloatArray) -> FloatArray:
    """g⁻¹ = (3√n/γ)(c − 1) with c³ = 1 + (γ/√n)(g − γ/(6√n)); c − 1 = (c³ − 1)/(c² + c + 1) divides by no γ of 0."""
    shifted = g - skewness / 6
    c = np.cbrt(1 + skewness * shifted)
    return np.asarray(3 * shifted / (c * c + c + 1))


def mean_and_shape(table: FloatArray, finite: Mask) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The mean of each row over its finite seeds, and the variance s²/n and the skewness γ/√n of that mean.

    Variance and skewness are NaN for one seed and for equal values.
    """
    n = finite.sum(axis=1, keepdims=True)
    kept = np.where(finite, table, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = kept.sum(axis=1, keepdims=True) / n
        deviation = np.where(finite, table - mean, 0)
        # Rounding in the mean would give equal values a small variance, so equality is tested on the values themselves.
        equal = np.max(table, axis=1, initial=-np.inf, where=finite) == np.min(
            table, axis=1, initial=np.inf, where=finite
        )
        scale = np.where(equal, np.nan, np.abs(deviation).max(axis=1, initial=0))[:, None]
        # Deviations are scaled to at most 1, so that their powers neither overflow nor underflow.
        unit = deviation / scale
        second, third = ((unit**power).sum(axis=1, keepdims=True) / n for power in (2, 3))
        variance = scale**2 * second / (n - 1)
        skewness = third / second**1.5 / np.sqrt(n)
    return mean[:, 0], variance[:, 0], skewness[:, 0]


def shares(k: FloatArray, n: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The share k/n with both ends of its exact interval; NaN without seeds, and the ends NaN for one seed."""
    share = np.divide(k, n, out=np.full(len(n), np.nan), where=n > 0)
    tail = (1 - confidence) / 2
    # Quantiles of beta distributions. A parameter of 0 would be an error, and the quantile is then 0 or 1.
    low = np.where(k == 0, 0.0, special.betaincinv(np.maximum(k, 1), n - k + 1, tail))
    high = np.where(k == n, 1.0, special.betaincinv(k + 1, np.maximum(n - k, 1), 1 - tail))
    low, high = (np.where(n > 1, end, np.nan) for end in (low, high))
    return share, low, high


def refuse_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}")
