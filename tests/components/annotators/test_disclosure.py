"""What tables may show, and an attacker who tries to work out what they don't."""

from __future__ import annotations

import csv
import hashlib
import itertools
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

from components import disclosure, identitykey
from components.annotators.entries import entries, entry, snapshot
from components.records import Annotator
from components.shown import Shown, by_key, too_close

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


def test_a_crossing_does_not_show_what_a_margin_hides():
    """30 women in two age bands: gender is hidden, since everybody is alike, and the crossing would say it."""
    gender, age = disclosure.margin({"woman": 30}, k=5), disclosure.margin({"20-29": 15, "30-39": 15}, k=5)

    crossed = {("woman", "20-29"): 15, ("woman", "30-39"): 15}

    assert disclosure.crossing(crossed, k=10, margins=(gender, age)) is None
    assert disclosure.crossing(crossed, k=10, margins=(age, age)) == crossed


def _people(sizes, levels, k=5):
    """Tables of people who live in these places; `levels`: name → place → where it lies."""
    places = [place for place, size in sizes.items() for _ in range(size)]
    wider = {name: disclosure.Table([lies[place] for place in places], k) for name, lies in levels.items()}
    return {"place": disclosure.Table(places, k), **wider}


def test_a_region_that_shows_is_the_total_of_its_countries():
    """Published by themselves, US 20 and North America 24 say CA 4. So US is hidden as well, and two of Europe's."""
    sizes = {"DE": 10, "FR": 3, "US": 20, "CA": 4, "IN": 9, "CN": 8}
    lies = {"DE": "Europe", "FR": "Europe", "US": "North America", "CA": "North America", "IN": "Asia", "CN": "Asia"}

    shown = disclosure.together(_people(sizes, {"region": lies}))

    assert shown["region"].cells == {"Asia": 17, "Europe": 13, "North America": 24}
    assert shown["place"].cells == {"CA": None, "CN": 8, "DE": None, "FR": None, "IN": 9, "US": None}


def test_countries_that_can_not_be_protected_within_their_region_leave_the_table():
    """FR 3 and BE 4 are Europe's 7: each of them is 3 or 4, whatever else is hidden."""
    sizes = {"FR": 3, "BE": 4, "US": 20, "CA": 14}
    lies = {"FR": "Europe", "BE": "Europe", "US": "North America", "CA": "North America"}

    shown = disclosure.together(_people(sizes, {"region": lies}))

    assert shown["region"].cells == {"Europe": 7, "North America": 34}
    assert set(shown["place"].cells.values()) == {None}


def test_the_same_few_in_two_tables_without_a_record_cost_neither_its_other_cells():
    gender = ["woman"] * 12 + ["man"] * 15 + ["not recorded"] * 2
    age = ["20-29", "30-39", "40-49"] * 9 + ["not recorded"] * 2

    shown = disclosure.together({"gender": disclosure.Table(gender, 5), "age": disclosure.Table(age, 5)})

    assert [shown[name].hidden for name in ("gender", "age")] == [2, 2]


def _range(tables, shown, name, value):
    """The fewest and most people in a hidden cell, for an attacker who knows which city lies where, and how many people."""
    cells = [(table, cell) for table in tables for cell in sorted(set(tables[table].values))]
    people = len(next(iter(tables.values())).values)
    rows, sums = [], []
    for table in tables:
        rows.append([float(at == table) for at, _ in cells])
        sums.append(people)
    for (one, first), (other, second) in itertools.combinations(tables.items(), 2):
        for ours, theirs in _lying(first.values, second.values):
            rows.append([(at == one and cell in ours) - float(at == other and cell in theirs) for at, cell in cells])
            sums.append(0)
    bounds = [(count, count) if (count := shown[at].cells[cell]) is not None else (0, people) for at, cell in cells]
    wanted = np.array([float(cell == (name, value)) for cell in cells])
    ends = [linprog(sign * wanted, A_eq=rows, b_eq=sums, bounds=bounds) for sign in (1, -1)]
    assert all(end.success for end in ends)
    return round(ends[0].fun), round(-ends[1].fun)


def _lying(first, second):
    """Places and the one place that they lie in, where it has no others."""
    for wide in sorted(set(second)):
        inside = {one for one, other in zip(first, second, strict=True) if other == wide}
        if all(other == wide for one, other in zip(first, second, strict=True) if one in inside):
            yield inside, {wide}


def test_an_attacker_can_not_work_out_a_hidden_cell_from_tables_of_the_same_people():
    """Cities lie in countries, countries in regions. Whatever is known of the others, a cell below k, in a table that shows
    something, can be anything from 0 to k at least. One table at a time would not do: it fails in most of these worlds."""
    rng = np.random.default_rng(1)
    attacked = apart = 0
    for _ in range(40):
        sizes = {f"city {number}": int(size) for number, size in enumerate(rng.integers(1, 16, 9))}
        country = {city: f"country {number // 2}" for number, city in enumerate(sizes)}
        region = {city: f"region {number // 4}" for number, city in enumerate(sizes)}
        tables = _people(sizes, {"country": country, "region": region})
        shown = disclosure.together(tables)
        alone = {name: disclosure.margin(table.counts, k=5) for name, table in tables.items()}
        small = [(name, value) for name, table in tables.items() for value, size in table.counts.items() if size < 5]
        for name, value in small:
            low, high = _range(tables, alone, name, value)
            apart += high == low
            if any(count is not None for count in shown[name].cells.values()):
                low, high = _range(tables, shown, name, value)
                attacked += 1
                assert high - low >= 5, (sizes, shown, name, value)
    assert attacked > 20
    assert apart > 20, "one table at a time"


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

    assert entry(before) != entry(after)
    assert entry(before) == entry(before.model_copy(update={"retained_until": "2030-01-01T00:00:00Z"}))
    assert disclosure.differs_too_little([entry(before)], [entry(after)], k=5) == 2


def test_digests_of_people_can_not_be_tried_out_without_the_key():
    """All that somebody could say of their gender is four values: without a key, one of four digests is the person's."""
    said = [Annotator(pseudonym="a", kind="human", demographics={"gender": value}) for value in ("woman", "man", "other", "-")]
    key = "k" * 32

    plain, keyed = entry(said[1]), entry(said[1], key=key)

    assert plain in {entry(guess) for guess in said}
    assert keyed not in {entry(guess) for guess in said} | {entry(guess, key="j" * 32) for guess in said}
    assert entries(said[1], key=key) == {"": plain, identitykey.name_of(key): keyed}
    assert entries(said[1], key="") == {"": plain}
    assert snapshot(["a", "b"], key=key).startswith("hmac-sha256:")
    assert snapshot(["a", "b"]) == "sha256:" + hashlib.sha256(b"a\nb").hexdigest()


def test_sets_of_people_from_before_there_was_a_key_are_still_compared():
    people = [Annotator(pseudonym=f"a{row}", kind="human") for row in range(30)]
    before = Shown(sorted(entry(person) for person in people))
    key = "k" * 32
    names = ["", identitykey.name_of(key)]
    now = by_key([entries(person, key=key) for person in people[1:]], names)

    assert too_close(now, [before], k=5).startswith("fewer than 5 people came or went")
    assert too_close(now, [Shown(now[names[1]], key=names[1])], k=5) == ""
    assert too_close(now, [Shown([], key="0" * 16)], k=5).startswith("an earlier release kept digests of its people by another")
