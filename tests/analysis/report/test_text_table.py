"""Tables of text: letters of any width, and what is too wide for a terminal."""

from toysup.analysis.report.text_table import Column, text_table, text_width, wrapped_lines

COLUMNS = [
    Column("condition", ["fixed"] * 2 + ["conditional"] * 2),
    Column("subset", ["comedy", "tragedy"] * 2),
    Column("statistic", ["energy"] * 4),
    Column("mean", ["1.5", "22.25", "3", "–"], numbers=True),
    Column("n_seeds", ["20"] * 4, numbers=True),
]


def test_columns_are_aligned() -> None:
    assert text_table(COLUMNS[:4], keys=3).splitlines() == [
        "",
        "  condition     subset    statistic    mean",
        " ───────────────────────────────────────────",
        "  fixed         comedy    energy        1.5",
        "  fixed         tragedy   energy      22.25",
        "  conditional   comedy    energy          3",
        "  conditional   tragedy   energy          –",
        "",
    ]


def test_wide_letters_take_two_columns_and_accents_none() -> None:
    assert (text_width("喜劇"), text_width("e\u0301"), text_width("ｶ")) == (4, 1, 1)
    lines = text_table([Column("subset", ["喜劇", "cafe\u0301"]), Column("mean", ["1", "2"], numbers=True)], keys=1)
    ends = {text_width(line) for line in lines.splitlines()[1:5] if "─" not in line}
    assert len(ends) == 1


def test_what_all_rows_share_is_written_once() -> None:
    assert text_table(COLUMNS, keys=3, width=40).splitlines() == [
        "",
        "  statistic: energy   n_seeds: 20",
        "",
        "  condition     subset     mean",
        " ───────────────────────────────",
        "  fixed         comedy      1.5",
        "  fixed         tragedy   22.25",
        "  conditional   comedy        3",
        "  conditional   tragedy       –",
        "",
    ]


def test_the_first_keys_become_headings_of_the_rows_that_share_them() -> None:
    mixed = [Column(c.name, [c.cells[row] for row in (0, 2, 1, 3)], c.numbers) for c in COLUMNS]
    assert text_table(mixed, keys=3, width=25).splitlines() == [
        "",
        "  statistic: energy",
        "  n_seeds: 20",
        "",
        "  condition: fixed",
        "",
        "  subset     mean",
        " ─────────────────",
        "  comedy      1.5",
        "  tragedy   22.25",
        "",
        "  condition: conditional",
        "",
        "  subset     mean",
        " ─────────────────",
        "  comedy        3",
        "  tragedy       –",
        "",
    ]


def test_further_columns_follow_below_beside_the_last_key() -> None:
    columns = [COLUMNS[1], COLUMNS[3], Column("p_value", ["0.1", "0.2", "0.3", "0.4"], numbers=True)]
    lines = text_table(columns, keys=1, width=20).splitlines()
    headers = [line.split() for line in lines if "subset" in line]
    assert headers == [["subset", "mean"], ["subset", "p_value"]]
    assert max(map(len, lines)) <= 20


def test_one_row_is_a_list_of_its_values() -> None:
    one = [Column(column.name, column.cells[:1]) for column in COLUMNS]
    assert text_table(one, keys=3, width=38).splitlines() == [
        "",
        "  condition: fixed   subset: comedy",
        "  statistic: energy   mean: 1.5",
        "  n_seeds: 20",
        "",
    ]
    assert "─" not in text_table(one, keys=3, width=38)


def test_long_lines_go_on_where_they_begin() -> None:
    text = "verdict\n    a claim about all features\n\n"
    assert wrapped_lines(text, None) == text
    assert wrapped_lines(text, 18) == "verdict\n    a claim about\n    all features\n\n"
