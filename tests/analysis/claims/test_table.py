"""The table of claims: what it has, and how its regions are read."""

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toysup
from toysup.analysis.claims import numbers
from toysup.analysis.claims.table import parse_regions, read_claims
from toysup.analysis.report.topics.claims import EXPERIMENT

REQUIRED = """superposition-fixed superposition-conditional represented-equal quadrants-equal importance-preferred-fixed
importance-preferred-conditional all-quadrants-interfere anticorrelated-all anticorrelated-within split-loss-lower
half-identity phases""".split()  # noqa: SIM905


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 9)), min_size=1, max_size=3))
def test_regions_are_read_as_they_are_written(pairs: list[tuple[float, float]]) -> None:
    regions = tuple((low, low + width) for low, width in pairs)
    assert parse_regions(";".join(f"{low!r}:{high!r}" for low, high in regions)) == regions


@pytest.mark.parametrize("text", ["", "1", "2:1", "a:b", "1:2;"])
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"interval|convert"):
        parse_regions(text)


def test_the_table_has_the_claims_of_the_post() -> None:
    table = read_claims()
    assert set(REQUIRED) <= {claim.id for claim in table}
    assert len({claim.id for claim in table}) == len(table)
    conditions = {condition.name for condition in toysup.load_experiment(EXPERIMENT).conditions}
    for claim in table:
        assert claim.statistic in numbers.STATISTICS
        assert set(claim.conditions) <= conditions
        # What supports and what refutes meet at most in an end.
        for low, high in claim.supports:
            assert all(high <= other_low or other_high <= low for other_low, other_high in claim.refutes)


def test_the_table_is_packaged() -> None:
    assert resources.files("toysup.data").joinpath("claims.csv").is_file()
