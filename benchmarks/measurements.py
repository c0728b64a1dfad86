"""What a benchmark finds: a quantity at a setting, several times, and the target that it is held against."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

Setting = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Measurement:
    """Repeated measurements of one quantity; the median is what is held against `at_least` or `at_most`."""

    part: str
    setting: Setting
    quantity: str
    unit: str
    values: list[float] = field(repr=False)
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.quantile(self.values, [0.25, 0.75])
        return float(low), float(high)

    @property
    def target(self) -> str:
        """ "≥ 20", "≤ 0.3", or nothing."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most
