"""Feature labels as an experiment file has them: `"1-10"`, `"1-5, 8"` or a list of numbers."""

import re
from collections.abc import Sequence

import numpy as np


def feature_range(text: str | Sequence[int], n_features: int, *, key: str) -> tuple[int, ...]:
    """The labels, from 1, in ascending order; ValueError that names `key` if a label is not one of a feature."""
    labels = np.zeros(n_features, np.bool_)
    for part in text.split(",") if isinstance(text, str) else map(str, text):
        match = re.fullmatch(r"\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not 1 <= first <= last <= n_features:
            raise ValueError(f"{key}: {part.strip()!r} is not a range of features, such as 1-{n_features}")
        labels[first - 1 : last] = True
    return tuple((np.flatnonzero(labels) + 1).tolist())


def as_range(labels: Sequence[int]) -> str:
    """Ascending labels as a text, such as "1-5, 8"."""
    parts: list[list[int]] = []
    for label in labels:
        if parts and parts[-1][-1] == label - 1:
            parts[-1] = [parts[-1][0], label]
        else:
            parts.append([label])
    return ", ".join("-".join(map(str, part)) for part in parts)
