"""Groups of features whose activity is not independent: they fire together, or exclude one another."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TOGETHER, EXCLUSIVE = "together", "exclusive"


def group_labels(
    together: Sequence[Sequence[int]],
    exclusive: Sequence[Sequence[int]],
    probability: npt.NDArray[np.float64],
    contexts: Sequence[str],
) -> tuple[str, ...]:
    """The group of each feature, as `together-1` or `exclusive-1`, "" for none; () where there are no groups.

    `probability` (context, feature). ValueError where groups overlap, features that are to fire together differ in
    probability, or those that exclude one another are active more often than always.
    """
    if not together and not exclusive:
        return ()
    labels = [""] * probability.shape[1]
    for kind, groups in ((TOGETHER, together), (EXCLUSIVE, exclusive)):
        for number, members in enumerate(groups, start=1):
            label = f"{kind}-{number}"
            for feature in members:
                if labels[feature - 1]:
                    raise ValueError(
                        f"feature {feature} is in two groups, {labels[feature - 1]} and {label}; one at most fits"
                    )
                labels[feature - 1] = label
            _check(kind, members, probability, contexts)
    return tuple(labels)


def _check(kind: str, members: Sequence[int], probability: npt.NDArray[np.float64], contexts: Sequence[str]) -> None:
    shown = ", ".join(map(str, members))
    if len(members) < 2:
        raise ValueError(f"{kind}: a group has two features at least, not {f'only {shown}' if shown else 'none'}")
    for context, row in zip(contexts, probability[:, np.array(members) - 1], strict=True):
        if kind == TOGETHER and (row != row[0]).any():
            raise ValueError(f"{kind}: features {shown} differ in probability in context {context}; equal ones fit")
        if kind == EXCLUSIVE and row.sum() > 1 + 1e-9:
            raise ValueError(
                f"{kind}: features {shown} have probabilities that sum to {row.sum():.4g} in context {context}; at "
                "most 1 fits"
            )


def first_of_group(labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """(feature,) for each feature the index of the first one of its group, −1 for a feature of no group."""
    return np.array([labels.index(label) if label else -1 for label in labels], dtype=np.int64)


def lower_ends(labels: Sequence[str], probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(..., feature) where each feature's part of its group's unit interval begins: 0, or after those it excludes."""
    ends = np.zeros_like(probability)
    for i, label in enumerate(labels):
        if label.startswith(EXCLUSIVE):
            before = [j for j in range(i) if labels[j] == label]
            ends[..., i] = probability[..., before].sum(axis=-1)
    return ends
