"""Names of figures, and what a reader is told of glyphs that the font lacks."""

from pathlib import Path

import toysup
from toysup.analysis.figures._text import wrapped
from toysup.analysis.report.writing_figures import _readable, file_name


def test_latex_can_include_every_figure() -> None:
    assert file_name("gram-a.b-feature_probability=0.1") == "gram-a-b-feature-probability-0p1"
    assert file_name("map-learning rate=1e-05") == "map-learning-rate-1e-05"


def test_missing_glyphs_are_one_message() -> None:
    glyph = "Glyph {} (\\N{{CJK}}) missing from font(s) DejaVu Sans."
    (message,) = _readable([glyph.format(ord("日")), glyph.format(ord("本")), glyph.format(ord("日"))])
    assert "lacks 日本:" in message


def test_names_break_only_where_they_are_longer_than_a_line() -> None:
    assert wrapped("loss of weight-decay", width=14) == "loss of\nweight-decay"
    assert wrapped("feature_probability = 0.05", width=24) == "feature_probability =\n0.05"


def test_a_byte_order_mark_is_no_part_of_an_experiment(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = 'name = "mine"\nmodel = { n_features = 2, n_hidden = 1 }\nregime = { feature_probability = 0.1 }\n'
    path.write_text(text + "training = { steps = 2, batch_size = 2 }\n", encoding="utf-8-sig")
    assert toysup.load_experiment(path).name == "mine"
