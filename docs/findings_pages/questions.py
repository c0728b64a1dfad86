"""The post's three questions, and its translation as a target."""

from collections.abc import Mapping

from toysup.analysis import over_seeds
from toysup.analysis.figures import by_condition

from .page import Finding, shown
from .select import Data, Summaries, Values, means_of, only

ALL = 20


def context_visible(values: Values, summaries: Summaries) -> Finding:
    mean = means_of(summaries)
    drawn = ["represented", "context_selectivity", "interfering_across", "loss"]
    deep = ("flag-1", "flag-2")
    return Finding(
        rows=summaries,
        statistics=[*drawn[:2], "interfering_within", "interfering_across", "lowest_cosine", "highest_cosine", "loss"],
        figures={"": by_condition(only(values, drawn), only(summaries, drawn))},
        statements={
            "with layers and the flag features are translated": min(mean(c, "context_selectivity") for c in deep)
            > 0.75,
            "without layers they are not": mean("flag-0", "context_selectivity") < 0.01,
            "the flag alone does not lower the loss": abs(mean("flag-0", "loss") / mean("blind-0", "loss") - 1) < 0.1,
            "the flag with layers lowers it fivefold": all(
                mean(f"flag-{k}", "loss") * 5 < mean(f"blind-{k}", "loss") for k in (1, 2)
            ),
            "no interference across is left": max(mean(c, "interfering_across") for c in deep) < 0.005,
            "translated features are not antipodal": min(mean(c, "lowest_cosine") for c in deep) > -0.7,
        },
    )


def z_target(values: Values, summaries: Summaries) -> Finding:
    mean = means_of(summaries)
    drawn = ["represented", "context_selectivity", "interfering_across", "loss"]
    lost = {name: int((array.sel(statistic="represented") < ALL).sum()) for name, array in values.items()}
    median = {name: float(array.sel(statistic="loss").median()) for name, array in values.items()}
    # A model that does not see the context does best with half of each value: Σ I p/12 over both subsets.
    half = 2 * sum(0.7**k for k in range(1, 11)) * 0.15 / 12
    blind = [mean(f"blind-{k}", "loss") for k in range(3)]
    return Finding(
        rows=summaries,
        statistics=[*drawn[:2], "interfering_within", "interfering_across", "lowest_cosine", "highest_cosine", "loss"],
        figures={"": by_condition(only(values, drawn), only(summaries, drawn))},
        statements={
            "blind models guess half of each value": all(half < loss < 1.1 * half for loss in blind),
            "the flag is enough without layers": mean("flag-0", "loss") < 0.1 * mean("blind-0", "loss"),
            "but without layers nothing is translated": mean("flag-0", "context_selectivity") < 0.01,
            "with layers features are translated": min(mean(f"flag-{k}", "context_selectivity") for k in (1, 2)) > 0.9,
            "more models with two layers than with one lack an output": lost["flag-2"] > lost["flag-1"] > 0,
            "the median is far below that of the flag alone": max(median["flag-1"], median["flag-2"])
            < median["flag-0"] / 4,
        },
        numbers={
            "half": shown(half),
            **{
                f"{what}_{k}": text
                for k in (1, 2)
                for what, text in (("lost", str(lost[f"flag-{k}"])), ("median", shown(median[f"flag-{k}"])))
            },
        },
    )


def activations(values: Values, summaries: Summaries) -> Finding:
    mean = means_of(summaries)
    drawn = ["represented", "interfering_within", "interfering_across", "loss"]
    names = [name.removesuffix("-fixed") for name in summaries if name.endswith("-fixed")]
    flat = ("tanh", "abs", "identity")
    smooth = ("gelu", "silu", "softplus", "sigmoid")
    fixed = {name: mean(f"{name}-fixed", "represented") for name in names}
    losses = {name: mean(f"{name}-fixed", "loss") for name in names}
    return Finding(
        rows=summaries,
        statistics=["represented", "total_dimensionality", "energy_within", "energy_across", "share_across", "loss"],
        figures={
            f"-{regime}": by_condition(only(_ending(values, regime), drawn), only(_ending(summaries, regime), drawn))
            for regime in ("fixed", "anticorrelated")
        },
        statements={
            "none represents more than ReLU": max(fixed.values()) == fixed["relu"],
            "leaky ReLU is like ReLU": abs(fixed["relu"] - fixed["leaky-relu"]) < 0.2,
            "the smooth ones represent fewer": max(fixed[name] for name in smooth) < fixed["relu"] - 1,
            "tanh, abs and identity keep ten": all(abs(fixed[name] - 10) < 0.1 for name in flat),
            "ReLU has the lowest loss": min(losses, key=lambda name: losses[name]) == "relu",
        },
    )


def context_deducible(values: Values, summaries: Summaries) -> Finding:
    drawn = ["represented_comedy", "represented_tragedy", "share_across", "loss"]
    systems = [name.removesuffix("-deducible") for name in values if name.endswith("-deducible")]
    differences = {
        system: over_seeds(values[f"{system}-deducible"] - values[f"{system}-conditional"]) for system in systems
    }
    change = means_of(differences)
    by_x1 = ("uniform-x1", "signed-x1", "tanh-x1")
    return Finding(
        rows=summaries,
        statistics=["represented", *drawn[:2], "energy_within", "energy_across", "share_across", "loss"],
        figures={
            f"-{kind}": by_condition(only(_starting(values, kind), drawn), only(_starting(summaries, kind), drawn))
            for kind in ("uniform", "signed", "tanh")
        },
        differences=differences,
        statements={
            "as many features are represented": all(abs(change(name, "represented")) < 0.3 for name in systems),
            "with the sum, comedy gains what tragedy loses": all(
                change(f"{kind}-sum", "represented_comedy") > 1 and change(f"{kind}-sum", "represented_tragedy") < -1
                for kind in ("uniform", "signed")
            ),
            "with x_1 neither does": all(
                abs(change(name, f"represented_{subset}")) < 0.3 for name in by_x1 for subset in ("comedy", "tragedy")
            ),
            "with the sum of signed values energy moves within subsets": change("signed-sum", "share_across") < -0.2,
            "tanh keeps ten": all(
                abs(means_of(summaries)(n, "represented") - 10) < 0.1 for n in _starting(values, "tanh-")
            ),
        },
    )


def _ending(data: Mapping[str, Data], regime: str) -> dict[str, Data]:
    """The conditions `<name>-<regime>`, as <name>."""
    return {name.removesuffix(f"-{regime}"): one for name, one in data.items() if name.endswith(f"-{regime}")}


def _starting(data: Mapping[str, Data], kind: str) -> dict[str, Data]:
    return {name: one for name, one in data.items() if name.startswith(kind)}
