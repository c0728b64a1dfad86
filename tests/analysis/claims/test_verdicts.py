"""Claims: verdicts from intervals, on the reference trajectories, on sabotaged runs, and where there is too little."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import Result

import toysup
from toysup.analysis.claims import numbers
from toysup.analysis.claims.table import parse_regions, read_claims
from toysup.analysis.claims.verdicts import (
    REFUTED,
    SUPPORTED,
    UNDECIDED,
    Claim,
    OfEveryModel,
    OverSeeds,
    Verdict,
    verdict_on,
)
from toysup.analysis.inference.seeds import over_seeds
from toysup.analysis.report.selection import Selected, select
from toysup.analysis.report.topics import claims as topic

Command = Callable[..., Result]
Change = Callable[[str, xr.Dataset], xr.Dataset | None]
OF_TRAINED = {claim.id for claim in read_claims()} - {"half-identity"}


def a_claim(supports: str, refutes: str) -> Claim:
    regions = parse_regions(supports), parse_regions(refutes)
    return Claim("id", "post", "pinned", "something", ("fixed",), 12, "represented", *regions)


def an_estimate(mean: float, half: float, n: int = 20) -> OverSeeds:
    """Its interval has the given half-width at 95%, and is wider for more confidence."""
    from statistics import NormalDist

    def over_seeds(confidence: float) -> xr.Dataset:
        own = half * NormalDist().inv_cdf((1 + confidence) / 2) / NormalDist().inv_cdf(0.975)
        return xr.Dataset({"mean": mean, "ci_low": mean - own, "ci_high": mean + own, "n_seeds": n, "n_excluded": 0})

    return OverSeeds(over_seeds)


@pytest.mark.parametrize(
    ("supports", "refutes", "verdict"),
    [(":3", "5:", SUPPORTED), (":1", "2:", UNDECIDED), ("3:", ":2.5", REFUTED), ("3:", ":1", UNDECIDED)],
)
def test_each_mode_of_the_seeds_has_to_lie_in_the_region(supports: str, refutes: str, verdict: str) -> None:
    """19 seeds near 0 and one at 2: their mean, 0.1, lies in no mode."""
    values = xr.DataArray([*np.linspace(0, 0.02, 19), 2.0], dims="seed")
    found = verdict_on(
        a_claim(supports, refutes), {"fixed": OverSeeds(lambda level: over_seeds(values, confidence=level))}
    )
    assert found.verdict == verdict
    assert np.isnan(found.summary["mean"])
    assert "0.95 [0.75, 1.00] at 0.01, 0.05 [0.00, 0.25] at 2" in found.note


def verdicts(runs: Mapping[str, xr.Dataset]) -> dict[str, Verdict]:
    group = [Selected("e", name, run, run.sizes["step"] - 1) for name, run in runs.items()]
    found = topic.Evidence(group)
    return {claim.id: found.verdict(claim)[0] for claim in read_claims()}


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "expected_loss", partial(numbers.expected_loss, n_samples=2000))


@pytest.fixture(scope="module")
def example() -> dict[str, xr.Dataset]:
    tree = toysup.open_example("conditional-importance")["conditional-importance"]
    return {name: tree[name].to_dataset().load() for name in tree.children}


def test_a_claim_is_supported_refuted_or_undecided_by_where_its_whole_interval_lies() -> None:
    claim = a_claim("-1:1", ":-1;1:")
    assert verdict_on(claim, {"a": an_estimate(0.3, 0.6)}).verdict == SUPPORTED
    assert verdict_on(claim, {"a": an_estimate(0.3, 0.8)}).verdict == UNDECIDED
    assert verdict_on(claim, {"a": an_estimate(1.5, 0.4)}).verdict == REFUTED
    assert verdict_on(claim, {"a": an_estimate(-1.5, 0.4)}).verdict == REFUTED
    assert verdict_on(claim, {"a": an_estimate(1.5, 0.6)}).verdict == UNDECIDED
    assert verdict_on(claim, {"a": an_estimate(0.0, np.nan)}).verdict == UNDECIDED


def test_all_parts_support_and_one_refutes() -> None:
    claim = a_claim("-1:1", ":-1;1:")
    inside, on_the_border, outside = an_estimate(0.0, 0.5), an_estimate(0.9, 0.5), an_estimate(2.0, 0.5)
    assert verdict_on(claim, {"a": inside, "b": inside}).verdict == SUPPORTED
    found = verdict_on(claim, {"a": inside, "b": on_the_border})
    assert (found.verdict, found.part) == (UNDECIDED, "b")
    found = verdict_on(claim, {"a": inside, "b": on_the_border, "c": outside})
    assert (found.verdict, found.part, found.summary["mean"].item()) == (REFUTED, "c", 2.0)


def test_one_of_many_refutes_only_beyond_the_corrected_interval() -> None:
    claim = a_claim("-1:1", ":-1;1:")
    # At 95% the interval starts at 1.05; at 1 − 0.05/4 it is 2.50/1.96 times as wide and starts at 0.94.
    barely = an_estimate(1.45, 0.4)
    assert verdict_on(claim, {"a": barely}).verdict == REFUTED
    assert verdict_on(claim, dict.fromkeys("abcd", barely)).verdict == UNDECIDED


def test_between_the_regions_nothing_is_decided() -> None:
    found = verdict_on(a_claim("0.75:1", "0:0.5"), {"a": an_estimate(0.6, 0.01)})
    assert found.verdict == UNDECIDED
    assert "between" in found.note


@pytest.mark.parametrize(("half", "seeds"), [(2.0, 80), (1.5, 45)])
def test_how_many_seeds_would_decide(half: float, seeds: int) -> None:
    # The estimate is 1 from the border: an interval of half-width h at n = 20 fits at n = 20 h².
    found = verdict_on(a_claim("-1:1", ":-1;1:"), {"a": an_estimate(0.0, half)})
    assert found.note == f"about {seeds} seeds would decide"


def test_seeds_that_would_refute_one_of_many_are_counted_by_the_corrected_interval() -> None:
    # 1 from the border: half-widths of 1.5 at 95%, and at 1 − 0.05/4 of 1.5 · 2.498/1.960 = 1.911.
    found = verdict_on(a_claim("-1:1", ":-1;1:"), dict.fromkeys("abcd", an_estimate(2.0, 1.5)))
    assert found.note == "about 74 seeds would decide"
    # What would support it is tested at 95%, part by part.
    found = verdict_on(a_claim("-1:1", ":-1;1:"), dict.fromkeys("abcd", an_estimate(0.0, 1.5)))
    assert found.note == "about 45 seeds would decide"


def test_no_number_of_seeds_is_promised_on_the_border() -> None:
    found = verdict_on(a_claim("-1:1", ":-1;1:"), {"a": an_estimate(0.99, 1.0)})
    assert "border" in found.note


def test_every_model_counts_where_a_claim_is_about_every_model() -> None:
    claim = a_claim("0.49:0.51", ":0.49;0.51:")

    def of(*values: float) -> Verdict:
        return verdict_on(claim, {"a": OfEveryModel(xr.DataArray(list(values), dims="seed"))})

    assert of(0.5).verdict == of(0.5, 0.505, np.nan).verdict == SUPPORTED
    found = of(0.5, 0.5, 0.6, 0.5)
    assert (found.verdict, found.summary["mean"].item()) == (REFUTED, 0.6)
    assert of(np.nan).verdict == UNDECIDED
    assert np.isnan(of(0.5, 0.505).summary["ci_low"])


def test_the_reference_trajectories_support_the_post(example: dict[str, xr.Dataset]) -> None:
    found = verdicts(example)
    assert {name for name, own in found.items() if own.verdict == REFUTED} == set()
    # 30 seeds are few for four quadrants at once, for shares, and where one seed is far from the others.
    undecided = {name for name, own in found.items() if own.verdict == UNDECIDED}
    assert undecided <= {"quadrants-equal", "anticorrelated-all", "anticorrelated-across"}


def test_untrained_weights_support_nothing(example: dict[str, xr.Dataset]) -> None:
    def untrained(run: xr.Dataset) -> xr.Dataset:
        first = {name: run[name].isel(step=0, drop=True) for name in ("W", "b")}
        return run.assign({name: values.expand_dims(step=run["step"]) for name, values in first.items()})

    found = verdicts({name: untrained(run) for name, run in example.items()})
    assert {found[name].verdict for name in OF_TRAINED} == {UNDECIDED}
    assert "has not learned" in found["superposition-fixed"].note
    # Of any weights the identity holds.
    assert found["half-identity"].verdict == SUPPORTED


def test_features_in_another_order_support_nothing_about_subsets(example: dict[str, xr.Dataset]) -> None:
    rng = np.random.default_rng(0)

    def shuffled(run: xr.Dataset) -> xr.Dataset:
        run = run.copy(deep=True)
        for seed in range(run.sizes["seed"]):
            order = rng.permutation(run.sizes["feature"])
            for name in ("W", "b"):
                run[name][{"seed": seed}] = run[name].isel(seed=seed, feature=order).values
        return run

    found = verdicts({name: shuffled(run) for name, run in example.items()})
    for name in ("anticorrelated-within", "anticorrelated-across"):
        assert found[name].verdict != SUPPORTED, name
    for name in ("importance-preferred-fixed", "importance-preferred-conditional"):
        assert found[name].verdict != SUPPORTED, name


def test_subsets_of_another_regime_are_not_those_of_the_claim(example: dict[str, xr.Dataset]) -> None:
    runs = dict(example)
    odd = np.where(np.arange(20) % 2, "tragedy", "comedy")
    runs["anticorrelated"] = runs["anticorrelated"].assign_coords(subset=("feature", odd))
    runs["conditional"] = runs["fixed"]
    runs["split-40"] = runs["split-40"].assign(importance=runs["split-40"]["importance"] * 0.5)
    found = verdicts(runs)
    assert {name for name, own in found.items() if own.verdict != UNDECIDED} == {
        "superposition-fixed",
        "importance-preferred-fixed",
    }
    assert "subset differs" in found["anticorrelated-within"].note
    assert "conditional is another condition than the claim's: importance differs" in found["represented-equal"].note


def test_exchanged_conditions_are_recognised(example: dict[str, xr.Dataset]) -> None:
    runs = example | {"fixed": example["anticorrelated"], "anticorrelated": example["fixed"]}
    found = verdicts(runs)
    assert {own.verdict for own in found.values()} == {SUPPORTED, UNDECIDED}
    assert {name for name, own in found.items() if own.verdict == SUPPORTED} <= {
        "superposition-conditional",
        "importance-preferred-conditional",
    }


def test_weights_of_another_condition_refute(example: dict[str, xr.Dataset]) -> None:
    runs = example | {
        "anticorrelated": example["anticorrelated"].assign(W=example["fixed"]["W"], b=example["fixed"]["b"])
    }
    found = verdicts(runs)
    for name in ("anticorrelated-all", "anticorrelated-within", "anticorrelated-across"):
        assert found[name].verdict == REFUTED, name
    assert found["superposition-fixed"].verdict == SUPPORTED


def test_one_seed_concludes_only_what_holds_for_every_model(example: dict[str, xr.Dataset]) -> None:
    found = verdicts({name: run.isel(seed=[0]) for name, run in example.items()})
    assert {name for name, own in found.items() if own.verdict != UNDECIDED} == {"half-identity"}
    assert "one seed gives no interval" in found["superposition-fixed"].note
    for own in found.values():
        assert np.isnan(own.summary["ci_low"])
        assert np.isnan(own.summary["ci_high"])


def test_unequal_and_diverged_seeds_are_left_out_and_counted(example: dict[str, xr.Dataset]) -> None:
    conditional = example["conditional"].copy(deep=True)
    conditional["W"][{"seed": 3}] = np.nan
    runs = example | {
        "fixed": example["fixed"].isel(seed=slice(20)),
        "conditional": conditional.isel(seed=slice(2, 25)),
    }
    found = verdicts(runs)
    summary = found["represented-equal"].summary
    # Of the seeds 2-24 and 0-19, 2-19 are shared, of which seed 3 diverged.
    assert summary["n_seeds"].item() == 17
    assert summary["n_excluded"].item() > 0
    assert found["superposition-conditional"].summary["n_seeds"].item() == 22
    assert found["superposition-conditional"].summary["n_excluded"].item() == 1
    assert found["half-identity"].verdict == SUPPORTED


def test_what_is_missing_is_named(example: dict[str, xr.Dataset]) -> None:
    found = verdicts({"fixed": example["fixed"].isel(step=slice(0, 11))})
    assert found["superposition-fixed"].note == "needs epoch 12 of fixed, which was not recorded"
    assert "needs the condition anticorrelated" in found["anticorrelated-all"].note
    assert "--condition anticorrelated" in found["anticorrelated-all"].note


@pytest.fixture(scope="module")
def folder(example: dict[str, xr.Dataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("claims") / "runs"
    toysup.save_runs(toysup.open_example("conditional-importance"), runs)
    return runs


def test_the_command_prints_a_verdict_on_every_claim(
    run_analyze: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A test worker may have a width, at which claims are wrapped.
    monkeypatch.delenv("COLUMNS", raising=False)
    result = run_analyze("claims", folder)
    assert result.exit_code == 0, result.output
    for claim in read_claims():
        assert claim.id in result.stdout
        assert claim.claim in result.stdout
    assert "0 refuted" in result.stdout
    (first, *_) = found = json.loads(run_analyze("claims", folder, "--format", "json").stdout)
    assert [row["claim"] for row in found] == [claim.id for claim in read_claims()]
    assert (first["verdict"], first["condition"], first["supports"]) == ("supported", "fixed", "15.5 to 18.5")
    assert first["ci_low"] < first["mean"] < first["ci_high"]
    assert found[-1]["ci_low"] is None
    table = list(
        csv.DictReader(io.StringIO(run_analyze("claims", folder, "--condition", "fixed", "--format", "csv").stdout))
    )
    assert list(table[0])[:9] == [
        "experiment",
        "condition",
        "step",
        "claim",
        "part",
        "statistic",
        "mean",
        "ci_low",
        "ci_high",
    ]


def test_a_refuted_claim_is_an_exit_code(run_analyze: Command, folder: Path) -> None:
    # After one epoch the features of a subset still interfere, and not all claims about the end hold.
    result = run_analyze("claims", folder, "--epoch", "1")
    assert result.exit_code == 3, result.output
    assert "refuted" in result.stdout
    assert run_analyze("claims", folder, "--epoch", "1", "--no-fail").exit_code == 0


def test_runs_that_no_claim_is_about_are_refused(run_analyze: Command, swept: xr.DataTree, tmp_path: Path) -> None:
    toysup.save_runs(swept, tmp_path / "runs")
    result = run_analyze("claims", tmp_path / "runs")
    assert result.exit_code == 2
    assert "claims are about the conditions fixed" in result.stderr


def test_of_a_sweep_the_cell_with_the_claims_regime_is_tested(example: dict[str, xr.Dataset]) -> None:
    changes = {"regime.feature_probability": [0.3, 0.15], "training.epochs": 1, "training.dataset_size": 512}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    tree = toysup.train(experiment, seeds=2, conditions=["fixed", "conditional", "anticorrelated"])
    found = {item.condition: item for item in select(tree)}
    own = topic.Evidence(list(found.values()))
    assert own._of_the_claim("fixed").selected.cell == {"feature_probability": 0.15}


@pytest.mark.parametrize(("swept", "tested"), [([0.01, 0.001], 0.001), ([0.01, 0.02], 0.01)])
def test_of_several_cells_with_its_regime_a_claim_names_the_one_that_it_is_tested_on(
    swept: list[float], tested: float
) -> None:
    changes = {"training.learning_rate": swept, "training.epochs": 1, "training.dataset_size": 512}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    tree = toysup.train(experiment, seeds=2, conditions=["fixed", "conditional", "anticorrelated"])
    verdicts = topic.rows(select(tree, epoch=1)).set_index("claim")
    named = f"fixed, learning_rate = {tested} is one of 2 cells with the regime of the claim"
    assert named in verdicts["note"]["half-identity"]
    assert "has not learned" in verdicts["note"]["superposition-fixed"]


def test_no_region_ends_where_its_statistic_does() -> None:
    # The skewness-corrected interval of twenty shares near 1 passes 1, which no share can.
    shares = xr.DataArray([1.0] * 19 + [0.93], dims="seed")
    estimate = OverSeeds(lambda confidence: over_seeds(shares, confidence=confidence))
    assert estimate.summary(0.95)["ci_high"] > 1
    of_shares = [one for one in read_claims() if one.statistic in ("importance_concordance", "shared_across")]
    assert [verdict_on(claim, {"a": estimate}).verdict for claim in of_shares] == [SUPPORTED] * 3
