"""Groups of features that fire together, or that exclude one another."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TOGETHER, EXCLUSIVE = "together", "exclusive"
# By how much probabilities may sum to more than 1: as much as seven written digits, such as 0.3333334, are off.
ROUNDING = 1e-6


def group_labels(
    together: Sequence[Sequence[int]],
    exclusive: Sequence[Sequence[int]],
    probability: npt.NDArray[np.float64],
    contexts: Sequence[str],
) -> tuple[str, ...]:
    """The group of each feature, such as `together-1` or `exclusive-1`, or "" for none; () if there are no groups.

    `probability` is (context, feature). ValueError if groups overlap, features that fire together differ in
    probability, or the probabilities of features that exclude one another sum to more than 1.
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
                        f"feature {feature} is in two groups, {labels[feature - 1]} and {label}; at most one is allowed"
                    )
                labels[feature - 1] = label
            _check(kind, members, probability, contexts)
    return tuple(labels)


def _check(kind: str, members: Sequence[int], probability: npt.NDArray[np.float64], contexts: Sequence[str]) -> None:
    shown = ", ".join(map(str, members))
    if len(members) < 2:
        raise ValueError(f"{kind}: a group needs at least two features, not {f'only {shown}' if shown else 'none'}")
    for context, row in zip(contexts, probability[:, np.array(members) - 1], strict=True):
        if kind == TOGETHER and (row != row[0]).any():
            raise ValueError(f"{kind}: features {shown} differ in probability in context {context}; they must be equal")
        if kind == EXCLUSIVE and row.sum() > 1 + ROUNDING:
            raise ValueError(
                f"{kind}: features {shown} have probabilities that sum to {row.sum():.8g} in context {context}; "
                "the sum must be at most 1"
            )


def first_of_group(labels: Sequence[str]) -> npt.NDArray[np.int64]:
    """(feature,) index of the first feature of each feature's group, −1 for a feature without a group."""
    return np.array([labels.index(label) if label else -1 for label in labels], dtype=np.int64)


def lower_ends(labels: Sequence[str], probability: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(..., feature) start of each feature's interval of its group's word: 0, or the end of the one before it."""
    ends = np.zeros_like(probability)
    for i, label in enumerate(labels):
        if label.startswith(EXCLUSIVE):
            before = [j for j in range(i) if labels[j] == label]
            ends[..., i] = probability[..., before].sum(axis=-1)
    return ends
