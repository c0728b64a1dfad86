"""The table of claims that comes with toysup, data/claims.csv, read into `Claim`s."""

import csv
from collections.abc import Mapping
from importlib import resources

import numpy as np

from toysup.analysis.claims.verdicts import Claim, Regions


def read_claims() -> list[Claim]:
    """Every row of the table, in its order."""
    with resources.files("toysup.data").joinpath("claims.csv").open(encoding="utf-8") as file:
        return [_claim(row) for row in csv.DictReader(file)]


def _claim(row: Mapping[str, str]) -> Claim:
    return Claim(
        id=row["id"],
        source=row["source"],
        status=row["status"],
        claim=row["claim"],
        conditions=tuple(row["conditions"].split()),
        epoch=float(row["epoch"]) if row["epoch"] else None,
        statistic=row["statistic"],
        supports=parse_regions(row["supports"]),
        refutes=parse_regions(row["refutes"]),
    )


def parse_regions(text: str) -> Regions:
    """`:15.5;18.5:` as ((−∞, 15.5), (18.5, ∞)).

    Raises ValueError where that is not how it is written.
    """
    regions = []
    for part in text.split(";"):
        low, colon, high = part.partition(":")
        ends = (float(low or -np.inf), float(high or np.inf))
        if not colon or not ends[0] <= ends[1]:
            raise ValueError(f"{part!r} is no interval; write it as LOW:HIGH")
        regions.append(ends)
    return tuple(regions)
