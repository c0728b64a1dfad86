"""What intervals and tests over seeds promise, held against simulation: coverage, error rates, uniformity."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from toysup import analysis
from toysup.analysis.statistics.labels import range_of

pytestmark = pytest.mark.slow

REPEATS = 4000
# Three standard errors of a share of 5% in as many repetitions.
ERROR = 3 * np.sqrt(0.05 * 0.95 / REPEATS)


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "docs")
        import make_coverage
    return make_coverage


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.fixture(scope="module")
def of_models(simulation: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.DataArray]:
    """The statistics of 1,000 trained models."""
    conditions = (("conditional-importance", "fixed"),)
    found: dict[str, xr.DataArray] = simulation.of_models(1000, conditions, tmp_path_factory.mktemp("coverage"))
    assert {values.sizes["seed"] for values in found.values()} == {1000}
    return found


def test_intervals_cover_the_statistics_of_models(
    simulation: ModuleType, of_models: dict[str, xr.DataArray], rng: np.random.Generator
) -> None:
    """92 to 98% at 20 seeds, unless seeds lie in modes or nearly all of them agree; at most 1.3 times Student's."""
    judged = 0
    for name, values in of_models.items():
        held = simulation.coverage(*simulation.resampled(values, rng), 20, REPEATS, range_of(values))
        assert held.long <= 1.3, name
        if "mode" not in analysis.over_seeds(values).dims and not simulation.nearly_agree(values):
            assert 0.92 <= held.coverage <= 0.98, (name, held)
            judged += 1
    assert judged >= 12


def test_intervals_cover_skewed_laws_nearly(simulation: ModuleType, rng: np.random.Generator) -> None:
    laws = simulation.laws(rng)
    expected = {"normal": 0.95, "uniform": 0.95, "exponential": 0.93, "lognormal, σ = 1": 0.88}
    for name, least in expected.items():
        held = simulation.coverage(*laws[name], 20, REPEATS)
        assert least - ERROR <= held.coverage <= 0.98, (name, held)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("law", ["normal", "exponential", "16, 17, 18 or 19", "fixed: represented", "fixed: loss"])
def test_tests_and_equivalence_hold_their_error_rate(
    simulation: ModuleType, of_models: dict[str, xr.DataArray], rng: np.random.Generator, law: str, paired: bool
) -> None:
    models = {name: simulation.resampled(values, rng) for name, values in of_models.items()}
    draw, _ = (simulation.laws(rng) | models)[law]
    p = simulation.null_p_values(draw, 20, REPEATS, paired=paired)
    assert np.isfinite(p).all()
    for alpha in simulation.ALPHAS:
        assert (p <= alpha).mean() <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / REPEATS), alpha
    if len(np.unique(draw((100,)))) == 100:
        assert stats.kstest(p, "uniform").pvalue > 0.001
    wrong = simulation.wrongly_equivalent(draw, 20, REPEATS, paired=paired)
    assert 0.02 <= wrong <= 0.05 + 2 * ERROR
