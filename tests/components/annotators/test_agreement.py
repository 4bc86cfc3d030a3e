"""Krippendorff's alpha against the worked example of its author and against the `krippendorff`-style definition by hand."""

from __future__ import annotations

import numpy as np
import pytest

from components.annotators.agreement import alpha

KRIPPENDORFF_2011 = (
    # Nominal data, four observers, twelve units (Computing Krippendorff's Alpha-Reliability, 2011, section C).
    "1 1 . 1",
    "2 2 3 2",
    "3 3 3 3",
    "3 3 3 3",
    "2 2 2 2",
    "1 2 3 4",
    "4 4 4 4",
    "1 1 2 1",
    "2 2 2 2",
    ". 5 5 5",
    ". . 1 1",
    ". . 3 .",
)


def _rows(units):
    cells = [(unit, int(value) - 1) for unit, row in enumerate(units) for value in row.split() if value != "."]
    return np.array([unit for unit, _ in cells]), np.array([value for _, value in cells], np.int8)


def test_the_authors_example_gives_the_authors_number():
    found = alpha(*_rows(KRIPPENDORFF_2011), classes=5)

    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert (found.pairs, found.labels) == (11, 40), "the twelfth unit has one value and says nothing"


def test_the_interval_holds_the_value_and_narrows_with_data():
    unit, value = _rows(KRIPPENDORFF_2011)
    few = alpha(unit, value, classes=5)

    many = alpha(np.concatenate([unit + 12 * copy for copy in range(30)]), np.tile(value, 30), classes=5)

    assert few.low < few.value < few.high
    assert many.high - many.low < 0.4 * (few.high - few.low)
    assert many.value == pytest.approx(few.value, abs=0.01)


def test_thrown_dice_agree_as_chance_does():
    rng = np.random.default_rng(3)

    found = alpha(np.repeat(np.arange(4000), 2), rng.integers(0, 3, 8000).astype(np.int8))

    assert found.low < 0 < found.high
    assert abs(found.value) < 0.04


@pytest.mark.parametrize("values", [[1] * 40, []], ids=["one class", "no labels"])
def test_where_nothing_varies_there_is_no_alpha(values):
    assert alpha(np.repeat(np.arange(20), 2)[: len(values)], np.array(values, np.int8)) is None


def test_few_pairs_with_two_labels_give_no_alpha():
    unit, value = _rows(KRIPPENDORFF_2011[:9])

    assert alpha(unit, value, classes=5) is None


def test_who_repeats_himself_agrees_with_nobody(world):
    """Two people throw coins, one of them gives every label three times."""
    made = world(600)
    made.label("ann-a", accuracy=0.5)
    thrown = len(made.rows)
    made.label("ann-b", accuracy=0.5)
    for copy in (2, 3):
        made.rows += [row | {"id": f"{row['id']} {copy}"} for row in made.rows[:thrown]]

    labels = made.read()

    assert (len(labels.ids), len(labels.repeats)) == (1200, 1200)
    found = alpha(labels.pair, labels.chosen)
    assert found.low < 0 < found.high
    made.rows = [row for row in made.rows if row["annotator"] == "ann-a"]
    alone = made.read()
    assert alpha(alone.pair, alone.chosen) is None, "nobody else labelled"
