"""What was trained, one row per condition."""

from collections.abc import Sequence

import pandas as pd

from toysup.analysis.selection import Selected


def rows(selected: Sequence[Selected]) -> pd.DataFrame:
    """What was trained, one row per condition."""
    return pd.DataFrame([_info(item) for item in selected])


def _info(item: Selected) -> dict[str, object]:
    dataset = item.dataset
    return {
        "experiment": item.experiment,
        "condition": item.condition,
        "features": dataset.sizes["feature"],
        "hidden": dataset.sizes["hidden"],
        "contexts": ", ".join(dataset["context"].values),
        "sweep": ", ".join(f"{axis} ({dataset.sizes[axis]})" for axis in item.sweeps),
        "seeds": dataset.sizes["seed"],
        "snapshots": dataset.sizes["step"],
        "last_step": int(dataset["step"].values[-1]),
        "last_epoch": float(dataset["epoch"].values[-1]),
        "engine": dataset.attrs["engine"],
        "made_by": dataset.attrs["source"],
    }
