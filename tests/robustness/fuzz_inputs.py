"""Hostile inputs: values of any kind, edits of a tree of tables, experiment files, and text for options."""

import datetime
import json
import math
import tomllib
from collections.abc import Mapping
from importlib import resources
from typing import Any

from hypothesis import strategies as st

FILES = [
    path.read_bytes() for path in resources.files("toysup.experiments.builtin").iterdir() if path.name.endswith(".toml")
]
TABLES = [tomllib.loads(text.decode()) for text in FILES]
WORDS = [
    "", " ", "x", "all", "none", "relu", "sgd", "adam", "cosine", "z", "abs", "signed", "binary", "one-hot", "flag",
    "1-10",
    "11-20", "1-999999999", "20-1", "1,,2", "sum(x) > median", "x_1 > 0", "sum(x) > 1e400", "x_99 > 0.5",
    "sum(x) > .", "nan",
    "../../etc", "/", "a/b", "figures", "name.nc", "-1", "\x00", "\n", "a\nb", "\u202e", "\U0001f600", "ü" * 200,
    "A" * 5000,
    "{", "[" * 2000, '"', "'", "=", "__class__", "{0}", "%s", "\udcff",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 3, 20, 256, 10**4, 10**5, 10**6, 2**24, 2**31 - 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 10**20,
    10**30,
    10**400, 16**5000, 0.0, -0.0, 0.5, 1.0, 1.5, 1e-3, 1e-300, 5e-324, 1e38, 1e39, 1e308, math.nan, math.inf, -math.inf,
]  # fmt: skip
KEYS = [
    "name", "title", "references", "model", "regime", "training", "record", "condition", "n_features", "n_hidden",
    "activation",
    "hidden_activation", "layer_activation", "architecture", "tied", "biases", "encoder_layers", "decoder_layers",
    "context_probability", "contexts", "subsets", "feature_probability", "importance_decay", "importance_start",
    "outside_probability", "outside_importance", "activation_probability", "importance", "values", "together",
    "exclusive",
    "correlation", "context_rule", "context_input", "target", "epochs", "steps", "batch_size", "dataset_size",
    "optimizer",
    "learning_rate", "weight_decay", "momentum", "beta1", "beta2", "epsilon", "schedule", "every_epochs",
    "log_spaced", "comedy",
    "tragedy", "sweep", "n_feature", "", "model.n_features", "ü", "__init__", "a" * 300,
]  # fmt: skip

words = st.one_of(st.sampled_from(WORDS), st.text(max_size=20))
numbers = st.one_of(st.sampled_from(NUMBERS), st.integers(), st.floats(), st.integers(0, 50), st.floats(0, 1))
dates = st.sampled_from([datetime.date(2000, 1, 1), datetime.time(1), datetime.datetime(1, 1, 1)])
long_lists = st.builds(
    lambda size, scale: [scale * (i + 1) for i in range(size)],
    st.sampled_from([30, 200, 20_000]),
    st.sampled_from([1, 1e-5, 0.001, -1.0]),
)
deep = st.builds(lambda depth, table: _nested(depth, table), st.sampled_from([3, 40, 90]), st.booleans())
plain = st.one_of(numbers, words, st.booleans())
values = st.one_of(
    plain,
    plain,
    st.lists(plain, max_size=4),
    st.lists(st.floats(0, 1), min_size=1, max_size=21),
    st.lists(st.lists(numbers, max_size=3), max_size=3),
    st.dictionaries(st.sampled_from(KEYS) | words, plain, max_size=3),
    dates,
    long_lists,
    deep,
)


def _nested(depth: int, table: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value} if table else [value]
    return value


@st.composite
def edited(draw: st.DrawFn, tree: Mapping[str, Any], *, most: int = 3) -> dict[str, Any]:
    """The tree with one to `most` of its parts replaced, removed, renamed or added."""
    new = json.loads(json.dumps(tree))
    for _ in range(draw(st.integers(1, most))):
        place, key = new, None
        for _ in range(4):
            if not place or (key is not None and draw(st.integers(0, 3)) == 0):
                break
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            parent, key = place, draw(st.sampled_from(keys))
            place = parent[key]
            if not isinstance(place, dict | list):
                break
        match draw(st.integers(0, 5)):
            case 0 if key is not None:
                del parent[key]
            case 1 if isinstance(place, dict):
                place[draw(st.sampled_from(KEYS))] = draw(values)
            case 2 if isinstance(place, list):
                place.insert(0, draw(values))
            case 3:
                table = new.setdefault(draw(st.sampled_from(["model", "regime", "training", "record"])), {})
                if isinstance(table, dict):
                    table[draw(st.sampled_from(KEYS))] = draw(values)
            case _ if key is not None:
                parent[key] = draw(values)
    return new


def toml(value: Any) -> str:
    """The value as TOML within a line."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value) if abs(value) < 10**100 else ("-" if value < 0 else "") + hex(abs(value))
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        case dict():
            return "{" + ", ".join(f"{toml(str(key))} = {toml(own)}" for key, own in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case datetime.date() | datetime.time():
            return value.isoformat()
        case _:
            return repr(value)


def file_of(table: Mapping[str, Any]) -> bytes:
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in table.items()).encode("utf-8", "surrogatepass")


def _one_condition(table: dict[str, Any], number: int) -> dict[str, Any]:
    """One condition is as good as twelve and takes a twelfth of the time."""
    return (
        table | {"condition": [table["condition"][number % len(table["condition"])]]} if "condition" in table else table
    )


tables = st.builds(_one_condition, st.sampled_from(TABLES), st.integers(0, 11)).flatmap(edited).map(file_of)


@st.composite
def texts(draw: st.DrawFn) -> bytes:
    """A file of the package with some of its bytes changed, or what is no file of ours at all."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.binary(max_size=200), st.sampled_from(_STRANGE)))
    text = bytearray(draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        piece = draw(st.one_of(st.binary(max_size=4), st.sampled_from(_PIECES)))
        text[at : at + draw(st.integers(0, 3) | st.integers(0, 400))] = piece
    return bytes(text)


_PIECES = [
    b"",
    b"\n",
    b"\xff",
    b"[",
    b"]",
    b"[[",
    b"}",
    b"=",
    b'"',
    b'"""',
    b"#",
    b".",
    b",",
    b"a.b.c = 1\n",
    b"[model]\n",
    b"\x00",
]
_STRANGE = [
    b"", b"[" * 10_000, b"a = " + b"[" * 500 + b"]" * 500, b"a." * 3000 + b"a = 1",
    b"name = 'x'\nmodel." + b"a." * 1500 + b"a = 1",
    b"name = 'x'\nmodel.n_features = [{" + b"a." * 1500 + b"a = 1}]", b"\xef\xbb\xbfname = 'x'", b"\xff\xfen\x00",
    b"x" * 10**6,
    b"name = 'x'\n" * 3, b"a = 1" + b"0" * 5000, b"a = 0x" + b"f" * 5000, b"{}",
    b"name = 'x'\n[regime]\n[model]\n[training]\n",
]  # fmt: skip

PATHS = [f"{table}.{key}" for table in ("model", "regime", "training", "record") for key in KEYS] + [
    "name",
    "title",
    "x",
]
paths = st.one_of(st.sampled_from(PATHS), st.builds("{}.{}".format, st.sampled_from(PATHS), words), words)
changes = st.one_of(
    st.builds("{}={}".format, paths, values.map(toml) | words),
    st.builds("{}={}".format, st.sampled_from(PATHS), values.map(toml)),
    words,
    st.binary(max_size=20).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
)
# Options of toysup-train as a shell gives them: without a zero byte.
options = st.lists(
    st.one_of(
        st.tuples(st.just("--set"), changes),
        st.tuples(st.just("--set"), changes),
        st.tuples(st.just("--set"), changes),
        st.tuples(st.sampled_from(["--seeds", "--first-seed"]), numbers.map(lambda number: toml(number)[:3000])),
        st.tuples(
            st.sampled_from(["--condition", "--engine", "--device"]), words | st.sampled_from(["torch", "fused", "cpu"])
        ),
    ),
    min_size=1,
    max_size=3,
).map(lambda pairs: [text.replace("\x00", "") for pair in pairs for text in pair])
