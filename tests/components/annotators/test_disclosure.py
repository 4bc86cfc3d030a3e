"""What tables may show, and an attacker who tries to work out what they don't."""

from __future__ import annotations

import csv
import itertools
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from components.annotators import disclosure
from components.records import Annotator

ROOT = Path(__file__).resolve().parents[3]
D3CODE = Path(os.environ.get("PLUMBLINE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "d3code" / "raters.csv"


def test_small_cells_are_hidden_and_one_more_where_a_total_would_give_one_away():
    """3 is below 5; alone it would be 45 less the others. The second one is not chosen by its size, which would be a hint."""
    shown = disclosure.margin({"a": 20, "b": 3, "c": 9, "d": 13}, k=5)

    assert disclosure.margin({"a": 20, "b": 3, "other": 9}, k=5).cells == {"a": 20, "b": None, "other": None}
    assert shown.cells == {"a": None, "b": None, "c": 9, "d": 13}
    assert (shown.base, shown.hidden) == (45, 2)


def test_hidden_cells_count_at_least_twice_k_together():
    """1 and 2 are hidden, 6 with them: 9 is below 10, so one more goes."""
    shown = disclosure.margin({"a": 1, "b": 2, "c": 6, "d": 8, "e": 30}, k=5)

    assert shown.cells == {"a": None, "b": None, "c": None, "d": None, "e": 30}


def test_a_zero_shows_only_where_the_list_of_values_was_fixed():
    assert disclosure.margin({"a": 8, "b": 9}, k=5, fixed=("a", "b", "c")).cells["c"] == 0
    assert disclosure.margin({"a": 10, "b": 9, "c": 0}, k=5).cells == {"a": None, "b": 9, "c": None}


def test_where_everybody_is_alike_nothing_shows():
    """A pool of one group: the table would tell everybody's value."""
    assert disclosure.margin({"woman": 40}, k=5).cells == {"woman": None}


def test_a_crossing_shows_whole_or_not_at_all():
    whole = {("w", "x"): 12, ("w", "y"): 11, ("m", "x"): 30, ("m", "y"): 10}

    assert disclosure.crossing(whole, k=10) == whole
    assert disclosure.crossing(whole | {("m", "y"): 9}, k=10) is None
    assert disclosure.crossing({pair: n for pair, n in whole.items() if pair != ("m", "y")}, k=10) is None


def test_rates_of_small_groups_are_hidden_and_others_too_coarse_to_count_back():
    """1 of 18 is 5.6 %: shown as 0.05, which 1 of 18 and 1 of 22 share."""
    assert disclosure.rate(1 / 18, 4, k=5) is None
    assert disclosure.rate(1 / 18, 18, k=5) == disclosure.rate(1 / 22, 22, k=5) == 0.05
    assert disclosure.rate(0.8764, 400, k=5) == 0.88


@pytest.mark.parametrize("k", [5, 10])
def test_an_attacker_can_not_work_out_a_hidden_cell_from_the_table(k):
    """The attacker knows the rules, all shown cells and even the exact total, and lists every table that fits.

    For each hidden cell at least two different counts remain possible, over 300 random tables.
    """
    rng = np.random.default_rng(k)
    attacked = 0
    for _ in range(300):
        counts = {value: int(count) for value, count in zip("abcde", rng.integers(0, 3 * k, 5), strict=True) if count}
        shown = disclosure.margin(counts, k=k).cells
        hidden = [value for value, count in shown.items() if count is None]
        if not hidden or len(hidden) > 3:
            continue
        rest = sum(counts.values()) - sum(count for count in shown.values() if count is not None)
        fits = [
            guess
            for guess in itertools.product(range(1, rest + 1), repeat=len(hidden))
            if sum(guess) == rest and disclosure.margin({**counts, **dict(zip(hidden, guess, strict=True))}, k=k).cells == shown
        ]
        attacked += 1
        for place in range(len(hidden)):
            assert len({guess[place] for guess in fits}) >= 2, (counts, shown)
    assert attacked > 60


def test_an_attacker_can_not_subtract_two_releases():
    """The second release has one woman more. Published, the difference of the two tables would be her."""
    before = [f"person-{number}" for number in range(40)]

    assert disclosure.differs_too_little(before, [*before, "new"], k=5) == 1
    assert disclosure.differs_too_little(before, before[3:], k=5) == 3
    assert disclosure.differs_too_little(before, before, k=5) == 0
    assert disclosure.differs_too_little(before, [*before, *(f"new-{number}" for number in range(5))], k=5) == 0


@pytest.mark.skipif(not D3CODE.exists(), reason="the shared data are not here")
def test_a_real_pool_of_4309_raters_shows_its_margins_and_hides_gender_by_age():
    """D3code: 2,149 men, 2,119 women, 41 other. Gender by age has a cell of two people (obligations, section 11.3)."""
    with D3CODE.open(encoding="utf-8") as file:
        raters = list(csv.DictReader(file))

    gender = disclosure.margin(Counter(row["Gender"] for row in raters), k=10)
    by_age = disclosure.crossing(Counter((row["Gender"], row["Age"]) for row in raters), k=10)

    assert gender.cells == {"Man": 2149, "Other": 41, "Woman": 2119}
    assert gender.base == 4300
    assert by_age is None


def test_an_attacker_can_not_subtract_from_a_release_before_the_last_one():
    """Forty people, then fifty, then the first forty and one more: the second and third differ by eleven, but not the first."""
    first = [f"person-{number}" for number in range(40)]
    second = [*first, *(f"new-{number}" for number in range(10))]
    third = [*first, "somebody"]

    assert disclosure.differs_too_little(second, third, k=5) == 0
    assert disclosure.differs_too_little(first, third, k=5) == 1


def test_who_changes_a_value_counts_as_one_who_leaves_and_one_who_comes():
    before = Annotator(pseudonym="a", kind="human", demographics={"gender": "woman"}, guidelines=["v1"])
    after = before.model_copy(update={"demographics": {"gender": "man"}})

    assert disclosure.entry(before) != disclosure.entry(after)
    assert disclosure.entry(before) == disclosure.entry(before.model_copy(update={"retained_until": "2030-01-01T00:00:00Z"}))
    assert disclosure.differs_too_little([disclosure.entry(before)], [disclosure.entry(after)], k=5) == 2
