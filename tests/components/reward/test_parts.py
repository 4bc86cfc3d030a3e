"""Tables of some people beside those of all, and an attacker who subtracts them."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from components import disclosure
from components.disclosure import Table
from components.reward import parts
from components.reward.parts import Known


def _known(tables, k=5):
    """Tables of all people, as they are shown."""
    shown = disclosure.together({name: Table(values, k) for name, values in tables.items()})
    return {
        name: Known(values, k, frozenset(value for value, count in shown[name].cells.items() if count is None))
        for name, values in tables.items()
    }


def _people(**counts):
    """Value → (some, others): everybody's value, and who is one of the some."""
    values = [value for value, (some, others) in counts.items() for _ in range(some + others)]
    return values, [flag for some, others in counts.values() for flag in [True] * some + [False] * others]


def test_a_row_counts_enough_people_on_either_side_and_the_others_share_one():
    """Of eight in the south three trained the model: 8 less 3 would be five, and 3 itself too few. West joins them."""
    values, is_some = _people(north=(9, 11), south=(3, 5), west=(6, 7), east=(10, 20))

    assert parts.rows(_known({"region": values}), is_some) == {"region": ["north", "west"]}, (
        "east, first by name, joins the south"
    )


def test_a_value_of_which_only_a_few_did_not_train_it_has_no_row_either():
    """All of the north but two trained it: the row would say so of the two."""
    values, is_some = _people(north=(28, 2), south=(12, 9), west=(8, 9))

    assert parts.rows(_known({"region": values}), is_some)["region"] == ["west"]


def test_values_that_are_enough_on_both_sides_all_have_rows():
    values, is_some = _people(north=(9, 11), south=(5, 5))

    assert parts.rows(_known({"region": values}), is_some) == {"region": ["north", "south"]}


def test_a_value_that_the_table_of_all_hides_has_no_row():
    """4 of the west are hidden there, and the east with them. These together are enough, on both sides: no more is taken."""
    values, is_some = _people(north=(9, 11), south=(12, 9), west=(2, 2), east=(10, 20))
    known = _known({"region": values})

    assert known["region"].hidden == {"west", "east"}
    assert parts.rows(known, is_some)["region"] == ["north", "south"]


def test_where_too_few_are_left_out_nothing_shows():
    values, is_some = _people(north=(20, 2), south=(20, 2))

    assert parts.rows(_known({"region": values}), is_some) == {"region": []}


def test_a_country_is_not_what_its_region_less_another_country_leaves():
    """Europe 24, of whom 12 trained it; DE 16, of whom 9. FR would be 3. So DE has no row, and ES, FR and DE are one."""
    values, is_some = _people(DE=(9, 7), FR=(3, 5), US=(8, 9), CA=(7, 8))
    regions = ["Europe" if value in {"DE", "FR"} else "America" for value in values]

    rows = parts.rows(_known({"country": values, "region": regions}), is_some)

    assert rows["region"] == ["America", "Europe"]
    assert rows["country"] == ["US"]


def _possible(known, is_some, rows, name, value):
    """Every number of people with a value, among the some, that fits what is shown of a table: by counting all."""
    table = known[name]
    all_, some = Counter(table.values), table.of(is_some)
    values = sorted(all_)
    most = {one: range(some[one], some[one] + 1) if one in rows[name] else range(all_[one] + 1) for one in values}
    fits = (dict(zip(values, guess, strict=True)) for guess in itertools.product(*most.values()))
    return {guess[value] for guess in fits if sum(guess.values()) == sum(is_some)}


@pytest.mark.parametrize("k", [5, 10])
def test_an_attacker_who_subtracts_the_table_of_some_from_that_of_all_learns_no_small_number(k):
    """Sixty pools of four regions. Shown as they are, most tables of the some give away a number below k on a side; with shared
    rows each such number can be any of k + 1 at least."""
    rng = np.random.default_rng(k)
    naive = attacked = 0
    for _ in range(60):
        sizes = {place: tuple(int(size) for size in rng.integers(0, 3 * k, 2)) for place in "abcd"}
        values, is_some = _people(**sizes)
        known = _known({"region": values}, k)
        rows = parts.rows(known, is_some)
        small = [place for place, sides in sizes.items() if min(sides) < k and place in known["region"].values]
        naive += any(place not in known["region"].hidden for place in small)
        for place in small:
            assert place not in rows["region"]
            if place not in known["region"].hidden and rows["region"]:
                attacked += 1
                possible = _possible(known, is_some, rows, "region", place)
                assert max(possible) - min(possible) >= k, (sizes, rows, place)
    assert naive > 30, "a table of the some with a row for each value"
    assert attacked > 10


def test_an_attacker_who_knows_which_city_lies_where_learns_no_small_number():
    """Cities in countries in regions: three tables of all and three of some, at once. A row less the rows of all that lies in
    its place never leaves fewer than five people."""
    rng = np.random.default_rng(3)
    subtracted = unguarded = 0
    for _ in range(12):
        sizes = {f"city {place}": tuple(int(size) for size in rng.integers(2, 14, 2)) for place in range(6)}
        values, is_some = _people(**sizes)
        levels = {"city": values, "country": [f"country {int(value[-1]) // 2}" for value in values]}
        levels["region"] = [f"region {int(value[-1]) // 4}" for value in values]
        known = _known(levels)
        rows = parts.rows(known, is_some)
        alone = {name: parts.rows({name: table}, is_some)[name] for name, table in known.items()}
        for fine, coarse in itertools.permutations(levels, 2):
            unguarded += _subtracted(levels, is_some, alone, fine, coarse)
            subtracted += _subtracted(levels, is_some, rows, fine, coarse)
    assert subtracted == 0
    assert unguarded > 0, "each table by itself"


def _subtracted(levels, is_some, rows, fine, coarse):
    """How many small numbers an attacker finds by subtracting rows of a fine table from a row of a coarse one."""
    found = 0
    for place in rows[coarse]:
        inside = {value for value, lies in zip(levels[fine], levels[coarse], strict=True) if lies == place}
        if any(value in inside and lies != place for value, lies in zip(levels[fine], levels[coarse], strict=True)):
            continue
        left = inside - set(rows[fine])
        for side in (True, False):
            count = sum(value in left and flag is side for value, flag in zip(levels[fine], is_some, strict=True))
            found += bool(left) and count < 5
    return found
