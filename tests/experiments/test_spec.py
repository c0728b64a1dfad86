"""Experiment files: what is accepted, what the tables are, and the one line that says what is wrong."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import toysup
from toysup.experiments.experiment_file import parse_change

MINIMAL = """
name = "mine"
[model]
n_features = 4
n_hidden = 2
[regime]
feature_probability = 0.1
[training]
steps = 10
batch_size = 8
"""
HALVES = {"regime__contexts": ["a", "b"], "regime__subsets": {"a": "1-2", "b": "3-4"}}
TWO = {"regime__contexts": ["a", "b"]}


def load(tmp_path: Path, text: str, **changes: object) -> toysup.Experiment:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return toysup.load_experiment(path, changes={key.replace("__", "."): value for key, value in changes.items()})


def refusal(tmp_path: Path, text: str, **changes: object) -> str:
    with pytest.raises(toysup.UsageError) as caught:
        load(tmp_path, text, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def tables(condition: str) -> toysup.Regime:
    (found,) = toysup.load_experiment("conditional-importance").select([condition])
    return found.regime.resolve(found.model.n_features)


def test_post_tables() -> None:
    decay = 0.7 ** np.arange(1, 11)
    here, away = np.ones(10), np.zeros(10)
    own = np.stack([np.r_[here, away], np.r_[away, here]])
    both = np.r_[decay, decay]
    for name, activation, importance in [
        ("fixed", np.ones((2, 20)), np.stack([both, both])),
        ("conditional", np.ones((2, 20)), own * both),
        ("anticorrelated", own, np.stack([both, both])),
    ]:
        regime = tables(name)
        np.testing.assert_allclose(regime.activation_probability, 0.15 * activation, rtol=1e-15)
        np.testing.assert_allclose(regime.importance, importance, rtol=1e-15)
        assert regime.context_probability.tolist() == [0.5, 0.5]
        assert regime.subset == ("comedy",) * 10 + ("tragedy",) * 10


def test_split_40_without_unimportant_features_is_anticorrelated() -> None:
    split, anticorrelated = tables("split-40"), tables("anticorrelated")
    kept = np.r_[0:10, 30:40]
    assert not split.importance[:, 10:30].any()
    np.testing.assert_array_equal(split.activation_probability[:, kept], anticorrelated.activation_probability)
    np.testing.assert_allclose(split.importance[:, kept], anticorrelated.importance, rtol=1e-8)
    assert [split.subset[i] for i in kept] == list(anticorrelated.subset)


def test_tms_intro_counts_its_importance_from_zero() -> None:
    (condition,) = toysup.load_experiment("tms-intro").conditions
    regime = next(condition.at(cell) for cell in condition.cells()).regime.resolve(5)
    np.testing.assert_allclose(regime.importance, [[1, 0.9, 0.81, 0.729, 0.6561]])
    np.testing.assert_allclose(condition.sweeps["feature_probability"], 20.0 ** -(np.arange(10) / 9), atol=1e-7)


def test_features_of_several_subsets_and_of_none(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "feature_probability = 0.1",
        "feature_probability = 0.5\noutside_probability = 0.1\noutside_importance = 0.2\n"
        'context_probability = { a = 0.25, b = 0.75 }\nsubsets = { a = "1-2", b = [2, 3] }',
    )
    regime = load(tmp_path, text).conditions[0].regime.resolve(4)
    assert regime.subset == ("a", "a+b", "b", "none")
    np.testing.assert_allclose(regime.activation_probability, [[0.5, 0.5, 0.05, 0.5], [0.05, 0.5, 0.5, 0.5]])
    np.testing.assert_allclose(regime.importance, [[1, 1, 0.2, 1], [0.2, 1, 1, 1]])


def test_tables_are_taken_as_they_are(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "feature_probability = 0.1",
        "activation_probability = [[0.1, 0.2, 0.3, 0.4]]\nimportance = [[4, 3, 2, 1]]",
    )
    regime = load(tmp_path, text).conditions[0].regime.resolve(4)
    assert regime.activation_probability.tolist() == [[0.1, 0.2, 0.3, 0.4]]
    assert regime.importance.tolist() == [[4, 3, 2, 1]]


def test_a_condition_replaces_what_its_key_is_an_alternative_to(tmp_path: Path) -> None:
    text = MINIMAL + '[[condition]]\nname = "long"\ntraining.epochs = 3\ntraining.dataset_size = 20\n'
    (condition,) = load(tmp_path, text).conditions
    assert condition.training.steps is None
    assert condition.recorded_steps == (0, 3, 6, 9)  # ceil(20 / 8) = 3 steps in an epoch


def test_a_sweep_is_a_list_where_one_value_is_allowed(tmp_path: Path) -> None:
    changes = {"regime__feature_probability": [0.1, 0.2], "training__learning_rate": [1, 2, 3]}
    (condition,) = load(tmp_path, MINIMAL, **changes).conditions
    assert condition.sweeps == {"feature_probability": (0.1, 0.2), "learning_rate": (1.0, 2.0, 3.0)}
    cells = list(condition.cells())
    assert len(cells) == 6
    assert cells[1] == {"feature_probability": 0.1, "learning_rate": 2.0}
    assert condition.at(cells[1]).training.learning_rate == 2.0
    assert condition.at(cells[1]).sweeps == {}


@pytest.mark.parametrize(
    ("spread", "values"),
    [
        ({"log": [0.001, 1, 4]}, (0.001, 0.01, 0.1, 1.0)),
        ({"log": [1, 0.05, 3]}, (1.0, 0.22360679775, 0.05)),
        ({"linear": [0.1, 0.7, 7]}, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)),
        ({"linear": [0, 1, 4]}, (0.0, 0.333333333333, 0.666666666667, 1.0)),
        ({"linear": [1, 0, 2]}, (1.0, 0.0)),
    ],
)
def test_a_range_is_the_list_of_its_values(tmp_path: Path, spread: dict, values: tuple[float, ...]) -> None:
    (condition,) = load(tmp_path, MINIMAL, regime__feature_probability=spread).conditions
    assert condition.sweeps == {"feature_probability": values}
    (written_out,) = load(tmp_path, MINIMAL, regime__feature_probability=list(values)).conditions
    assert condition.identity == written_out.identity
    ((kind, ends),) = spread.items()
    in_file = MINIMAL.replace("feature_probability = 0.1", f"feature_probability = {{ {kind} = {ends} }}")
    assert load(tmp_path, in_file).conditions[0].identity == written_out.identity
    path, value = parse_change(f"regime.feature_probability={{ {kind} = {ends} }}")
    assert load(tmp_path, MINIMAL, **{path: value}).conditions[0].identity == written_out.identity


@pytest.mark.parametrize(
    ("spread", "words"),
    [
        ({"lin": [0.1, 1, 3]}, ["a range is { log = [first, last, count] }"]),
        ({"log": [0.1, 1]}, ["a range is"]),
        ({}, ["a range is"]),
        ({"log": [0.1, 1, 3], "linear": [0.1, 1, 3]}, ["a range is"]),
        ({"log": [0, 1, 3]}, ["above 0"]),
        ({"log": [0.1, 1, 3.0]}, ["whole number of values"]),
        ({"linear": [0.1, 1, 1]}, ["whole number of values, from 2"]),
        ({"linear": [0.1, 1, 10**9]}, ["whole number of values"]),
        ({"linear": ["a", 1, 3]}, ["are numbers"]),
        ({"linear": [0, 10**400, 3]}, ["are numbers"]),
        ({"linear": [0.5, 0.5, 3]}, ["different numbers"]),
        ({"linear": [0.5, 1.5, 3]}, ["from 0 to 1"]),
    ],
)
def test_a_wrong_range_is_refused(tmp_path: Path, spread: dict, words: list[str]) -> None:
    message = refusal(tmp_path, MINIMAL, regime__feature_probability=spread)
    assert all(word in message for word in ["regime.feature_probability", *words]), message
    assert "range" in refusal(tmp_path, MINIMAL, training__learning_rate={"log": [1, 2]})


@pytest.mark.parametrize(
    ("training", "record", "steps"),
    [
        ({"steps": 1000}, {"log_spaced": 4}, (0, 1, 10, 100, 1000)),
        ({"steps": 10}, {"steps": [3, 7]}, (0, 3, 7, 10)),
        ({"epochs": 4, "dataset_size": 16}, {"every_epochs": 3}, (0, 6, 8)),
        ({"epochs": 4, "dataset_size": 16}, {"epochs": [1, 2]}, (0, 2, 4, 8)),
        ({"epochs": 2, "dataset_size": 16}, {}, (0, 2, 4)),
        ({"steps": 10}, {"every_steps": 4}, (0, 4, 8, 10)),
        ({"epochs": 2, "dataset_size": 16}, {"every_steps": 3}, (0, 3, 4)),
        # What lies beyond the end is left out.
        ({"steps": 10}, {"steps": [3, 11]}, (0, 3, 10)),
        ({"epochs": 1, "dataset_size": 16}, {"epochs": [1, 4, 8]}, (0, 2)),
        ({"steps": 3, "dataset_size": 16}, {"epochs": [1, 2]}, (0, 2, 3)),
        ({"epochs": 1, "dataset_size": 16}, {"every_epochs": 5}, (0, 2)),
    ],
)
def test_recorded_steps(tmp_path: Path, training: dict, record: dict, steps: tuple[int, ...]) -> None:
    changes = {f"training__{key}": value for key, value in training.items()}
    changes |= {f"record__{key}": value for key, value in record.items()}
    assert load(tmp_path, MINIMAL, **changes).conditions[0].recorded_steps == steps


def test_recordings_that_are_left_out_are_named(tmp_path: Path) -> None:
    def left_out(**changes: object) -> str:
        (condition,) = load(tmp_path, MINIMAL, **changes).conditions
        return condition.record.left_out(condition.training)

    epochs = {"training__epochs": 2, "training__dataset_size": 16}
    assert left_out() == left_out(record__steps=[3, 10]) == left_out(**epochs, record__epochs=[1, 2]) == ""
    assert left_out(**epochs, record__epochs=[1, 4, 8]) == (
        "training ends at epoch 2, so epochs 4, 8 of [record] cannot be recorded"
    )
    assert left_out(record__steps=[3, 11]) == "training ends at step 10, so step 11 of [record] cannot be recorded"
    assert "step 10, so steps 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, … of" in left_out(record__steps=[*range(31)])


def test_what_is_left_out_is_no_part_of_the_identity(tmp_path: Path) -> None:
    """Runs of a shortened file are extended by the file that never asked for more."""
    long, short = ({"record__steps": steps} for steps in ([3, 20], [3]))
    one, other = (load(tmp_path, MINIMAL, **changes).conditions[0].identity for changes in (long, short))
    assert one == other
    assert toysup.Condition(name="again", **json.loads(one)).recorded_steps == (0, 3, 10)


def test_every_built_in_experiment_can_be_shortened(tmp_path: Path) -> None:
    for name in toysup.builtin_experiments():
        steps = {"training.epochs": 1} if name not in ("tms-intro",) else {"training.steps": 5}
        for condition in toysup.load_experiment(name, changes=steps).conditions:
            assert condition.recorded_steps[-1] == condition.training.n_steps


def test_default_record_of_steps_is_twenty_log_spaced(tmp_path: Path) -> None:
    steps = load(tmp_path, MINIMAL, training__steps=10**6).conditions[0].recorded_steps
    assert steps[:2] == (0, 1)
    assert steps[-1] == 10**6
    assert len(steps) == 21


def test_learning_rate_schedules(tmp_path: Path) -> None:
    def factor(schedule: str) -> np.ndarray:
        condition = load(tmp_path, MINIMAL, training__steps=4, training__schedule=schedule).conditions[0]
        return condition.training.learning_rate_factor()

    np.testing.assert_allclose(factor("constant"), [1, 1, 1, 1])
    np.testing.assert_allclose(factor("linear"), [1, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(factor("cosine"), [1, (1 + np.sqrt(0.5)) / 2, 0.5, (1 - np.sqrt(0.5)) / 2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"regime__feature_probability": 1.5}, ["regime.feature_probability = 1.5", "from 0 to 1"]),
        ({"regime__feature_probability": [0.1, 0.1]}, ["different numbers"]),
        ({"training__batch_size": 0}, ["training.batch_size = 0", "greater than or equal to 1"]),
        ({"training__optimizer": "adan"}, ["training.optimizer = 'adan'", "'adam', 'adamw' or 'sgd'"]),
        ({"training__momentum": 0.9}, ["momentum needs optimizer = 'sgd'"]),
        ({"training__epochs": 2}, ["epochs need a dataset_size"]),
        ({"training__learning_rat": 1}, ["unknown key", "learning_rate"]),
        ({"trainin__steps": 1}, ["trainin.steps", "training"]),
        ({"model__n_hidden": [1, 2]}, ["model.n_hidden = [1, 2]"]),
        ({"regime__subsets": {"comedy": "1-2"}}, ["comedy", "none of all"]),
        ({"regime__importance": [1, 2]}, ["importance does not fit", "4 numbers"]),
        ({"regime__importance": [-1, 2, 3, 4]}, ["0 or more"]),
        ({"regime__context_probability": {"a": 0.4, "b": 0.4}}, ["sum to 1"]),
        ({"record__steps": [-1]}, ["record.steps", "= -1", "greater than or equal to 0"]),
        ({"record__epochs": [-1], "training__dataset_size": 8}, ["record.epochs", "= -1"]),
        ({"record__every_steps": 0}, ["record.every_steps = 0"]),
        ({"record__every_steps": 1, "training__steps": 10**7}, ["asks for 10000000 snapshots"]),
        ({"record__epochs": [1]}, ["dataset_size"]),
        ({"training__steps": "10"}, ["training.steps = '10'"]),
        ({"training__batch_size": True}, ["training.batch_size = True"]),
        ({"training__steps": 10**20}, ["at most 100000000"]),
        ({"record__steps": 5}, ["record.steps = 5", "list"]),
        ({"regime__importance": [[1, 2, 3, 4], [1]]}, ["importance does not fit"]),
        ({"regime__importance": [1, [2], 3, 4]}, ["regime.importance"]),
        ({"regime__importance_decay": 0.5, "regime__importance_start": -10000}, ["not finite"]),
        # No importance outside times too much inside is neither.
        ({**HALVES, "regime__importance_decay": 1e200, "regime__outside_importance": 0.0}, ["not finite"]),
        ({"regime__importance_start": 10**20}, ["importance_start", "less than or equal to 10000"]),
        ({"regime__context_probability": {"a": "0.5", "b": 0.5}}, ["regime.context_probability.a = '0.5'"]),
        ({"regime__context_probability.all.x": 1}, ["the path is too long"]),
        ({"training__beta1": [0.1, 0.9], "training__optimizer": "sgd"}, ["changes nothing"]),
        (
            {**TWO, "regime__context_rule": "sum(x) > 0"},
            ["needs values that can be negative", "'signed', or write > median"],
        ),
        ({**TWO, "regime__context_rule": "x_2 > 1"}, ["'x_2 > 1' is never true", "> median splits evenly"]),
        (
            {**TWO, "regime__context_rule": "x_2 > -1", "regime__values": "signed"},
            ["'x_2 > -1' is always true", "> median"],
        ),
        ({**TWO, "regime__context_rule": "x_5 > median"}, ["names feature 5, but there are 4"]),
        ({**TWO, "regime__context_rule": "x1 > 0"}, ["regime.context_rule = 'x1 > 0'", "write sum(x) > 0, x_1 > 0.5"]),
        ({**TWO, "regime__context_rule": "x_0 > 0"}, ["is not a rule"]),
        ({**TWO, "regime__context_rule": "x_1 > 1.2.3"}, ["is not a rule"]),
        (
            {"regime__contexts": ["a", "b", "c"], "regime__context_rule": "x_1 > median"},
            ["needs contexts = [name where"],
        ),
        ({"regime__context_rule": "x_1 > median"}, ["needs contexts = [name where"]),
        (
            {"regime__context_probability": {"a": 0.5, "b": 0.5}, "regime__context_rule": "x_1 > median"},
            ["probabilities follow from it"],
        ),
        (
            {**TWO, "regime__context_rule": "x_1 > median", "regime__outside_probability": 0.5},
            ["cannot decide which features are active"],
        ),
        (
            {**TWO, "regime__context_rule": "sum(x) > median", "regime__together": ["1-2"]},
            ["sum(x) needs independent features", "x_k goes with groups"],
        ),
        ({"regime__activation_probability": [[0.1] * 8]}, ["activation_probability does not fit", "4 numbers"]),
        ({"regime__importance": [[1] * 8, [1] * 8], **TWO}, ["importance does not fit", "4 numbers in each of 2 rows"]),
        (
            {"regime__together": ["1-2"], "regime__exclusive": ["2-3"]},
            ["feature 2 is in two groups", "at most one is allowed"],
        ),
        ({"regime__together": ["1-2", "2-3"]}, ["feature 2 is in two groups, together-1 and together-2"]),
        (
            {"regime__exclusive": ["1-3"], "regime__feature_probability": 0.4},
            ["sum to 1.2", "the sum must be at most 1"],
        ),
        ({"regime__exclusive": ["1-3"], "regime__feature_probability": [0.1, 0.4]}, ["sum to 1.2"]),
        (
            {"regime__together": ["1-2"], "regime__activation_probability": [0.1, 0.2, 0.3, 0.4]},
            ["features 1, 2 differ in probability", "they must be equal"],
        ),
        ({"regime__together": ["3"]}, ["needs at least two features"]),
        ({"regime__together": ["3-5"]}, ["together: '3-5' is not a range of features, such as 1-4"]),
        ({"regime__correlation": 0.5}, ["correlation needs groups of features in together"]),
        ({"model__encoder_layers": [5]}, ["a tied model decodes with Wᵀ", "model.tied = false"]),
        ({**TWO, "regime__target": "z"}, ["a tied model has one output for each feature", "model.tied = false"]),
        ({"regime__target": "abs"}, ["x itself where values cannot be negative", "values = 'signed'"]),
        ({"regime__target": "y"}, ["regime.target = 'y'", "'x', 'abs' or 'z'"]),
        ({"regime__values": "normal"}, ["regime.values = 'normal'", "'uniform', 'signed', 'binary' or a"]),
        ({"regime__values": 1e39}, ["regime.values = 1e+39", "float32 can hold, and not 0"]),
        ({"regime__values": 0}, ["regime.values = 0", "and not 0"]),
        ({"regime__values": True}, ["regime.values = True", "or a number"]),
        ({"regime__contexts": ["all", "a"]}, ["names a context 'all'"]),
        ({"regime__together": [[]]}, ["needs at least two features, not none"]),
        (
            {"regime__contexts": ["a", "b", "c"], "regime__context_input": "flag"},
            ["'flag' needs 2 contexts, not 3", "'one-hot' fits"],
        ),
        ({"regime__context_input": "one-hot"}, ["shows the model nothing where there is one context"]),
        ({"regime__context_input": "flag"}, ["shows the model nothing where there is one context", "give contexts"]),
        ({"regime__contexts": []}, ["needs at least one name, and names that differ"]),
        ({"regime__contexts": ["a", "a"]}, ["names that differ"]),
        ({"regime__contexts": ["a b"]}, ["letters, digits, - and _"]),
        ({"regime__contexts": ["none", "a"]}, ["is not none"]),
        ({"model__architecture": "autoencodr"}, ["no architecture 'autoencodr'; did you mean autoencoder?"]),
        ({"model__layer_activation": "rellu"}, ["model.layer_activation: no activation 'rellu'", "did you mean relu"]),
        ({"model__hidden_activation": "identidy"}, ["model.hidden_activation", "identity"]),
        ({"model__encoder_layers": [0], "model__tied": False}, ["model.encoder_layers.0 = 0"]),
        ({"training__learning_rate": 10**400}, ["training.learning_rate = ", "a number above 0"]),
        ({"training__learning_rate": 16**5000}, ["training.learning_rate = a int", "a number above 0"]),
        ({"model__n_hidden": 10**30}, ["model.n_hidden = ", "less than or equal to 100000"]),
        ({"model__n_features": 10**5, "model__n_hidden": 10**5}, ["has 10000100000 parameters; at most 1000000000"]),
        ({"record__log_spaced": 10**9}, ["asks for 1000000000 snapshots; at most 1000000"]),
        ({"training__steps": 10**8, "training__dataset_size": 1, "record__every_epochs": 1}, ["100000000 snapshots"]),
        ({"regime__contexts": [f"c{k}" for k in range(101)], "model__n_features": 10**5}, ["tables of more than"]),
        (
            {**TWO, "regime__context_rule": "sum(x) > median", "model__n_features": 1001},
            ["a rule on sum(x) supports at most 1000 features"],
        ),
        (
            {f"training__{key}": [k / 1e4 for k in range(1, 9999)] for key in ("learning_rate", "weight_decay")},
            ["the sweep has 99960004 cells"],
        ),
    ],
)
def test_wrong_values_are_refused_in_one_line(tmp_path: Path, change: dict, words: list[str]) -> None:
    line = refusal(tmp_path, MINIMAL, **change)
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL.replace("n_hidden", "n_hiden"), ["mine.toml", "model.n_hiden", "n_hidden"]),
        (MINIMAL + "[recrod]\n", ["mine.toml", "recrod", "record"]),
        (MINIMAL.replace("steps = 10", ""), ["epochs or steps is missing"]),
        (MINIMAL.replace('name = "mine"', ""), ["name is missing"]),
        (MINIMAL.replace('"mine"', '"../mine"'), ["name = '../mine'"]),
        (MINIMAL + '[[condition]]\nname = "a"\n[[condition]]\nname = "a"\n', ["two conditions", "a"]),
        (MINIMAL + "[[condition]]\nname = 'a'\nmodle.n_hidden = 1\n", ["condition a", "modle", "model"]),
        ("name = ", ["mine.toml", "not TOML"]),
        ("x = " + "9" * 5000, ["mine.toml", "not TOML"]),
        ("x = " + "[" * 5000, ["mine.toml", "not TOML"]),
        (MINIMAL.replace('"mine"', '"figures"'), ["where figures go"]),
        (MINIMAL.replace('"mine"', f'"{"m" * 300}"'), ["at most 100"]),
        (MINIMAL.replace("n_hidden = 2", "n_hidden = [{" + "a." * 1500 + "a = 1}]"), ["model.n_hidden = "]),
        (MINIMAL + f"[[condition]]\nname = {list(range(1000))}\n", ["condition [0, 1, 2", "...: name = "]),
        ("#" * (2**24 + 1), ["not a file of at most 16 MiB"]),
    ],
    # A whole text as its name would go from worker to worker.
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    line = refusal(tmp_path, text)
    assert all(word in line for word in words), line


def test_a_pipe_is_no_experiment(tmp_path: Path) -> None:
    """To open it would wait for ever."""
    os.mkfifo(tmp_path / "x.toml")
    with pytest.raises(toysup.UsageError, match=r"x\.toml: cannot be read: not a file"):
        toysup.load_experiment(tmp_path / "x.toml")


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(toysup.UsageError, match="did you mean conditional-importance"):
        toysup.load_experiment("conditional-importence")
    with pytest.raises(toysup.UsageError, match="cannot be read"):
        toysup.load_experiment("nowhere.toml")
    with pytest.raises(toysup.UsageError, match="no condition 'fixd'; did you mean fixed"):
        toysup.load_experiment("conditional-importance").select(["fixd"])


def test_changes_are_toml_values_or_bare_words() -> None:
    assert parse_change("training.learning_rate=3e-3") == ("training.learning_rate", 0.003)
    assert parse_change("training.optimizer=sgd") == ("training.optimizer", "sgd")
    assert parse_change("regime.feature_probability = [0.1, 0.2]")[1] == [0.1, 0.2]
    with pytest.raises(toysup.UsageError, match="KEY=VALUE"):
        parse_change("training.epochs")


def test_one_entry_of_a_table_may_be_changed_by_its_path() -> None:
    changes = {"regime.context_probability.comedy": 0.25, "regime.context_probability.tragedy": 0.75, "name": "again"}
    experiment = toysup.load_experiment("conditional-importance", changes=changes)
    assert experiment.name == "again"
    assert experiment.conditions[0].regime.context_probability == {"comedy": 0.25, "tragedy": 0.75}


def test_equal_conditions_have_equal_identities_however_they_are_written(tmp_path: Path) -> None:
    def identity(**changes: object) -> object:
        return json.loads(load(tmp_path, MINIMAL, **changes).conditions[0].identity)

    assert identity(record__log_spaced=20) == identity(regime__importance_decay=1.0) == identity()
    assert identity(training__batch_size=9) != identity()


def test_experiments_are_frozen_and_their_identity_is_complete() -> None:
    experiment = toysup.load_experiment("conditional-importance")
    with pytest.raises(ValueError, match="frozen"):
        experiment.conditions[0].training.batch_size = 1
    identity = json.loads(experiment.conditions[0].identity)
    assert set(identity) == {"model", "regime", "training", "record"}
    rebuilt = toysup.Condition(name="again", **identity)
    assert rebuilt.identity == experiment.conditions[0].identity


def test_experiments_conditions_and_specs_print_what_was_given() -> None:
    experiment = toysup.load_experiment("conditional-importance")
    assert (
        repr(experiment)
        == str(experiment)
        == (
            "<Experiment 'conditional-importance' 'Conditional importance in toy models of superposition': "
            "fixed, conditional, anticorrelated, split-40>"
        )
    )
    lines = str(experiment.conditions[1]).splitlines()
    assert lines[:2] == ["Condition('conditional',", "  model=ModelSpec(n_features=20, n_hidden=10),"]
    assert lines[-1] == "  record=RecordSpec(every_epochs=1))"
    table = toysup.RegimeSpec(activation_probability=[0.5] * 1000)
    assert repr(table) == "RegimeSpec(activation_probability=" + repr((0.5,) * 1000)[:57] + "...)"
    crowd = [experiment.conditions[0].model_copy(update={"name": f"c{number}"}) for number in range(30)]
    assert repr(toysup.Experiment(name="e", conditions=crowd)).endswith("c6, c7, … (30 in all)>")
